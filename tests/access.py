"""The token of the tests: what their chiefs ask for, and their clients bring along."""

from __future__ import annotations

from cluster.credentials import Token
from cluster.rpc.client import Credentials
from cluster.rpc.guard import Guard, StockClients

TOKEN = Token("a token with = and ; in it", "the tests")
CALLER = Credentials(TOKEN.value, TOKEN.place)
BEARER = {"Authorization": f"Bearer {TOKEN.value}"}  # for the page


def guard(stock: StockClients = StockClients.NOWHERE) -> Guard:
    """Lets in who comes with the token."""
    return Guard(CALLER.token, stock)
