"""Who could reach a listener: its own machine, its own containers, or others, for whom it needs TLS.

Owns the rule, and telling a container's private network from a host's.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from cluster.errors import UsageError

MARKS = (".dockerenv", "run/.containerenv")  # what Docker and Podman leave in a container


def check(listen: str, *, tls: bool, insecure: bool, root: Path = Path("/")) -> None:
    """Refuses a listener that others than this machine and its containers could listen in on.

    Args:
        listen: HOST:PORT or `unix:PATH`.
        tls: Whether it talks TLS.
        insecure: Whether the user insists.
        root: The root of the file system.

    Raises:
        UsageError: it is open to others, in clear.
    """
    if tls or insecure or is_here(listen) or in_private_network(root):
        return
    raise UsageError(
        f"what is said at {listen} could be read and changed on the way by others than this machine's users. Give it "
        "TLS (--tls-cert, --tls-key; `cluster certs DIR` makes them), listen on 127.0.0.1, or insist with --insecure"
    )


def is_here(listen: str) -> bool:
    """Whether a listener can be reached from its own machine alone."""
    if listen.startswith("unix:"):
        return True
    host = listen.rpartition(":")[0].removeprefix("[").removesuffix("]").lower()
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def in_private_network(root: Path = Path("/")) -> bool:
    """Whether this is a container that has a network of its own, with no interface of the host's.

    Such a network reaches as far as the engine lets it: to other containers, and to whom the user publishes a port. A
    host's own interface is no end of another (`ifindex` and `iflink` are the same), a container's is.
    """
    if not any((root / mark).exists() for mark in MARKS):
        return False
    try:
        interfaces = [x for x in (root / "sys/class/net").iterdir() if x.name != "lo" and (x / "iflink").exists()]
        ends = [(x / "ifindex").read_text().strip() != (x / "iflink").read_text().strip() for x in interfaces]
    except OSError:
        return False
    return all(ends)
