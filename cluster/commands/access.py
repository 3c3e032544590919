"""Options of those who listen for others or call them: the token, and TLS.

Owns the words of the command line; what they mean is in `credentials.py`, `rpc/tls.py` and `exposure.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster import credentials
from cluster.commands import checked

if TYPE_CHECKING:
    from cluster.rpc.client import Credentials

TokenFile = Annotated[
    Path | None,
    typer.Option(
        parser=checked.path,
        metavar=checked.PATH,
        envvar="CLUSTER_TOKEN_FILE",
        help="A file with the token that calls and pages ask for.  [default: CLUSTER_TOKEN, or what is kept in "
        "~/.keras-tuning-cluster/token]",
    ),
]
TlsCert = Annotated[
    Path | None,
    typer.Option(
        parser=checked.path,
        metavar=checked.PATH,
        envvar="CLUSTER_TLS_CERT",
        help="This process's certificate, as a PEM file, for TLS.",
    ),
]
TlsKey = Annotated[
    Path | None,
    typer.Option(
        parser=checked.path, metavar=checked.PATH, envvar="CLUSTER_TLS_KEY", help="The private key of --tls-cert."
    ),
]
TlsCa = Annotated[
    Path | None,
    typer.Option(
        parser=checked.path,
        metavar=checked.PATH,
        envvar="CLUSTER_TLS_CA",
        help="The authority of the chief's certificate: the chief is called by TLS.",
    ),
]
TlsClientCa = Annotated[
    Path | None,
    typer.Option(
        parser=checked.path,
        metavar=checked.PATH,
        envvar="CLUSTER_TLS_CLIENT_CA",
        help="The authority whose certificates workers must have.",
    ),
]
AllowStock = Annotated[
    int,
    typer.Option(
        "--allow-stock-clients",
        envvar="CLUSTER_ALLOW_STOCK_CLIENTS",
        count=True,
        min=0,
        max=2,
        help="Let stock KerasTuner clients in, which can send no token: from this machine; given twice, from anywhere.",
    ),
]
Insecure = Annotated[
    bool,
    typer.Option("--insecure", envvar="CLUSTER_INSECURE", help="Listen without TLS where others can listen in."),
]


def caller(
    token_file: Path | None = None,
    ca: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Credentials:
    """What a process that calls a chief brings along.

    Raises:
        UsageError: a file cannot be used.
    """
    from cluster.rpc.client import Credentials
    from cluster.rpc.tls import ClientTls

    # One that is made here is the chief's too, where both are the same user's on one host; whoever starts first.
    token = credentials.find_or_make(environment, token_file)
    return Credentials(token.value, token.place, ClientTls.of(ca, certificate, key))


def caller_words(
    token_file: Path | None, ca: Path | None, certificate: Path | None, key: Path | None
) -> tuple[str, ...]:
    """The same options for a child's command line."""
    named = {"--token-file": token_file, "--tls-ca": ca, "--tls-cert": certificate, "--tls-key": key}
    return tuple(word for name, file in named.items() if file is not None for word in (name, str(file)))
