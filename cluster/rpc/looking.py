"""Looking at a chief's searches from outside: finding the chief, and reading a search as a record.

Owns telling an address from a directory, and what is said where no chief answers.
"""

from __future__ import annotations

from pathlib import Path

from cluster.address import check_address
from cluster.changes import merged
from cluster.errors import ChiefUnreachable, UsageError
from cluster.record import Record
from cluster.rpc.client import ChiefClient, Credentials

WAIT_SECONDS = 5.0  # for a chief that is just starting


def is_address(place: str) -> bool:
    """Whether a word of the command line is a chief's HOST:PORT, and not a directory."""
    try:
        check_address(place)
    except UsageError:
        return False
    return not Path(place).exists()


def connect(address: str, credentials: Credentials, seconds: float = WAIT_SECONDS) -> ChiefClient:
    """A connection to a chief, for calls that are not sent again.

    Args:
        address: Its HOST:PORT.
        credentials: What one is let in with.
        seconds: How long to wait for it.

    Raises:
        UsageError: the address is none.
        ChiefUnreachable: no chief answers.
    """
    client = ChiefClient(check_address(address), credentials, patience=0.0)
    if not client.wait_until_there(seconds):
        why = client.why_not_there()
        client.close()
        hint = why or ". Name the address that it was started with (--listen), or a project directory"
        raise ChiefUnreachable(f"no chief answers at {address}{hint}")
    return client


def read(address: str, credentials: Credentials, seconds: float = WAIT_SECONDS) -> Record:
    """The newest search of a chief, as it stands.

    Args:
        address: The chief's HOST:PORT.
        credentials: What one is let in with.
        seconds: How long to wait for it.

    Raises:
        UsageError: the address is none, or the chief has not come to a search.
        ChiefUnreachable: no chief answers.
    """
    client = connect(address, credentials, seconds)
    try:
        facts = client.watch()
    finally:
        client.close()
    if "project" not in facts:
        raise UsageError(f"the chief at {address} has not come to a search yet")
    return merged(None, facts)
