"""Addresses: HOST:PORT, the path of a socket file, and what Ray takes for one. Pure text; nothing is looked up.

Owns what counts as an address, so that a slip of the pen is told of at once and is not waited for.
"""

from __future__ import annotations

import ipaddress

from cluster.errors import UsageError

FILE = "unix:"  # before the path of a socket file
RAYS_OWN = ("auto", "local")


def split(address: str, *, any_port: bool = False) -> tuple[str, int]:
    """The host, without brackets, and the port of HOST:PORT.

    Args:
        address: The address.
        any_port: Whether the port may be 0, for any that is free.

    Raises:
        UsageError: it is none.
    """
    host, _, port = address.rpartition(":")
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    if not (digits and (0 if any_port else 1) <= int(port) <= 65535 and _is_host(host)):
        raise UsageError(f"{_short(address)} is no address; give HOST:PORT, such as 127.0.0.1:8000")
    return host.removeprefix("[").removesuffix("]"), int(port)


def check_address(address: str) -> str:
    """Returns `address` when it is HOST:PORT or `unix:PATH`.

    Raises:
        UsageError: it is neither.
    """
    if not (address.startswith(FILE) and len(address) > len(FILE) and address.isprintable()):
        split(address)
    return address


def check_ray(address: str) -> str:
    """Returns `address` when a Ray cluster may have it: HOST:PORT, ray://HOST:PORT, `auto` or `local`.

    Raises:
        UsageError: none can.
    """
    if address not in RAYS_OWN:
        try:
            split(address.removeprefix("ray://"))
        except UsageError:
            raise UsageError(
                f"{_short(address)} is no address of a Ray cluster; give HOST:PORT, ray://HOST:PORT or auto"
            ) from None
    return address


def _is_host(host: str) -> bool:
    """Whether this can be a host's name or address; one of IPv6 stands in brackets."""
    if host.startswith("[") and host.endswith("]"):
        try:
            return ipaddress.ip_address(host[1:-1]).version == 6
        except ValueError:
            return False
    labels = host.removesuffix(".").split(".")
    return len(host) <= 253 and all(
        0 < len(label) < 64 and label.replace("-", "").replace("_", "").isalnum() for label in labels
    )


def _short(text: str) -> str:
    """As it was given, in quotes; a long text's beginning."""
    return repr(text) if len(text) <= 100 else f"{text[:100]!r}…"
