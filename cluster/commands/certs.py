"""`cluster certs`: a small certificate authority, and certificates for a chief and its workers."""

from __future__ import annotations

import datetime
import socket
from pathlib import Path
from typing import Annotated

import typer

from cluster.commands import checked
from cluster.commands.shared import configure_logging
from cluster.errors import MissingDependency

HERE = ("localhost", "127.0.0.1", "::1", "chief")  # the last is the chief's name among its containers


def certs(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", parser=checked.path, help="Where to write them.", show_default=False)
    ],
    host: Annotated[
        list[str] | None,
        typer.Option(
            help="A name or address by which workers call the chief; may be given again.  [default: this host]"
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long they are good.")] = 365,
) -> None:
    """Make a certificate authority and certificates for a chief and its workers, for TLS in a trusted lab."""
    configure_logging()
    try:
        from cluster import certificates
    except ModuleNotFoundError as error:
        raise MissingDependency(f"certs needs {error.name}: pip install 'keras-tuning-cluster[certs]'") from error
    hosts = list(dict.fromkeys([*(host or [socket.gethostname()]), *HERE]))
    certificates.make(directory, hosts, days, datetime.datetime.now(datetime.UTC))
    at = f"{directory}/"
    typer.echo(
        f"certificates for {', '.join(hosts)}, good for {days} days, are in {directory}:\n"
        f"  chief:   --tls-cert {at}chief.pem --tls-key {at}chief.key --tls-client-ca {at}ca.pem\n"
        f"  workers: --tls-ca {at}ca.pem --tls-cert {at}worker.pem --tls-key {at}worker.key\n"
        f"Take ca.pem, worker.pem and worker.key to the workers' hosts; {at}ca.key signs new ones, and goes nowhere."
    )
