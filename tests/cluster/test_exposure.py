"""Who may listen where without TLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster import exposure
from cluster.errors import UsageError

HERE = ["127.0.0.1:8000", "127.8.8.8:1", "localhost:80", "LocalHost:80", "[::1]:8000", "unix:/run/chief.sock"]
OUTSIDE = ["0.0.0.0:8000", "[::]:8000", "192.168.1.7:8000", "10.0.0.7:80", "chief:8000", "localhost.example:80"]


def interface(root: Path, name: str, index: int, link: int) -> None:
    place = root / "sys/class/net" / name
    place.mkdir(parents=True)
    (place / "ifindex").write_text(f"{index}\n")
    (place / "iflink").write_text(f"{link}\n")


@pytest.mark.parametrize("listen", HERE)
def test_on_this_machine_anything_goes(listen: str, tmp_path: Path) -> None:
    exposure.check(listen, tls=False, insecure=False, root=tmp_path)


@pytest.mark.parametrize("listen", OUTSIDE)
def test_elsewhere_it_takes_tls_or_the_users_word(listen: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"{listen.replace('[', '.')[:5]}.*--tls-cert.*--insecure"):
        exposure.check(listen, tls=False, insecure=False, root=tmp_path)
    exposure.check(listen, tls=True, insecure=False, root=tmp_path)
    exposure.check(listen, tls=False, insecure=True, root=tmp_path)


@pytest.mark.parametrize("mark", exposure.MARKS)
def test_in_a_container_with_a_network_of_its_own(mark: str, tmp_path: Path) -> None:
    (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mark).touch()
    interface(tmp_path, "lo", 1, 1)
    interface(tmp_path, "eth0", 12, 13)
    interface(tmp_path, "eth1", 14, 15)
    exposure.check("0.0.0.0:8000", tls=False, insecure=False, root=tmp_path)


def test_a_container_on_its_hosts_network_is_none(tmp_path: Path) -> None:
    (tmp_path / ".dockerenv").touch()
    assert not exposure.in_private_network(tmp_path), "nothing says what interfaces there are"
    interface(tmp_path, "lo", 1, 1)
    interface(tmp_path, "enp3s0", 2, 2)
    interface(tmp_path, "veth12", 3, 4)
    assert not exposure.in_private_network(tmp_path)


def test_a_host_with_virtual_interfaces_is_none(tmp_path: Path) -> None:
    interface(tmp_path, "eth0", 12, 13)
    assert not exposure.in_private_network(tmp_path)
