"""Who is let in to a chief, as real processes: tokens, TLS, and what the user is told where one of them is wrong."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster import credentials
from tests.e2e.launcher import PROGRAMS, Running, check_completed, children, cluster, events

PROGRAM = [str(PROGRAMS / "sleep_trials.py"), "--trials", "3", "--seconds", "0"]
QUICKLY = ("--connect-timeout", "3")


def descendants(pid: int) -> list[int]:
    return [one for child in children(pid) for one in (child, *descendants(child))]


def test_workers_of_one_user_find_the_token_by_themselves(start: Callable[..., Running], tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path / "home"), "CLUSTER_TOKEN": ""}
    chief = start("chief", "--listen", "127.0.0.1:18801", *PROGRAM, **home)
    worker = start("worker", "--chief", "127.0.0.1:18801", *PROGRAM, **home)  # whichever is first
    assert (chief.end(), worker.end()) == (0, 0), chief.output + worker.output
    check_completed(tmp_path / "results" / "sleep", 3)
    token = credentials.find(home)
    assert token is not None
    assert token.value not in chief.output + worker.output


def test_a_worker_with_another_token_is_refused(start: Callable[..., Running], tmp_path: Path) -> None:
    chief = start("chief", "--listen", "127.0.0.1:18802", *PROGRAM, CLUSTER_TOKEN="of the chief")
    chief.read_until("the chief listens")
    file = tmp_path / "token"
    file.write_text("another\n")
    file.chmod(0o600)
    done = cluster(tmp_path, "worker", "--chief", "127.0.0.1:18802", "--token-file", str(file), *PROGRAM)
    assert (done.returncode, "Traceback" in done.stdout) == (8, False), done.stdout
    assert f"the chief at 127.0.0.1:18802 does not take the token of {file}." in done.stdout
    for words in (["status", "127.0.0.1:18802"], ["dashboard", "127.0.0.1:18802"]):
        looked = cluster(tmp_path, *words, CLUSTER_TOKEN="another")
        assert (looked.returncode, "Traceback" in looked.stdout) == (8, False), looked.stdout
        assert "does not take the token of CLUSTER_TOKEN" in looked.stdout
    chief.read_until(r"refused a call without the right token from 127\.0\.0\.1; 1 so far")
    right = ("--chief", "127.0.0.1:18802", "--name", "right")
    worker = start("worker", *right, *PROGRAM, CLUSTER_TOKEN="of the chief")
    assert (worker.end(), chief.end()) == (0, 0), worker.output + chief.output
    check_completed(tmp_path / "results" / "sleep", 3)
    assert {event["worker"] for event in events(tmp_path / "results" / "sleep", "grant")} == {"right"}


@pytest.mark.parametrize("place", ["a home", "no home", "a file"])
def test_run_hands_the_token_on_unseen(start: Callable[..., Running], tmp_path: Path, place: str) -> None:
    """It is in no command line and no output; where it comes from a file, in no environment either."""
    options, environment = [], {"HOME": str(tmp_path / "home"), "CLUSTER_TOKEN": ""}
    if place == "no home":
        (tmp_path / "home").write_text("a file")
    if place == "a file":
        (tmp_path / "token").write_text("a token of the user's")
        (tmp_path / "token").chmod(0o600)
        options = ["--token-file", str(tmp_path / "token")]
    program = [*PROGRAM[:-3], "2", "--seconds", "1"]
    run = start("run", "--workers", "2", *options, *program, **environment)
    run.read_until("trial 0 →")
    seen = b""
    for pid in [run.process.pid, *descendants(run.process.pid)]:
        seen += Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    files = [Path(x.decode()) for x in seen.split(b"\0") if x.endswith(b"/token")]
    if place == "a home":
        files.append(tmp_path / "home" / credentials.FILE)
    assert files
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    [token] = {file.read_text().strip() for file in files}
    assert run.end() == 0, run.output
    assert token.encode() not in seen
    assert token not in run.output
    check_completed(tmp_path / "results" / "sleep", 2)


def test_who_listens_for_others_needs_tls_or_insists(start: Callable[..., Running], tmp_path: Path) -> None:
    done = cluster(tmp_path, "chief", "--listen", "0.0.0.0:18803", *PROGRAM)
    assert (done.returncode, "Traceback" in done.stdout) == (2, False), done.stdout
    assert "could be read and changed on the way" in done.stdout
    assert not (tmp_path / "results").exists()
    chief = start("chief", "--listen", "0.0.0.0:18803", "--insecure", *PROGRAM)
    chief.read_until("the chief listens on 0.0.0.0:18803$")
    assert start("worker", "--chief", "127.0.0.1:18803", *PROGRAM).end() == 0
    assert chief.end() == 0, chief.output


class TestTls:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        made = cluster(tmp_path, "certs", "certs", "--host", "tuning.example")
        assert made.returncode == 0, made.stdout
        assert "certificates for tuning.example, localhost, 127.0.0.1, ::1, chief, good for 365 days" in made.stdout
        place = tmp_path / "certs"
        assert {x.name: x.stat().st_mode & 0o777 for x in place.iterdir()} == {
            f"{role}.{kind}": mode
            for role in ("ca", "chief", "worker")
            for kind, mode in (("pem", 0o644), ("key", 0o600))
        }
        for role in ("chief", "worker"):
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(place / f"{role}.pem", place / f"{role}.key")
        return place

    @staticmethod
    def own(place: Path, role: str) -> list[str]:
        return ["--tls-cert", str(place / f"{role}.pem"), "--tls-key", str(place / f"{role}.key")]

    def test_a_search_with_certificates_on_both_sides(
        self, start: Callable[..., Running], tmp_path: Path, place: Path
    ) -> None:
        ca = str(place / "ca.pem")
        address = "127.0.0.1:18804"
        listen = ["--listen", address, *self.own(place, "chief"), "--tls-client-ca", ca]
        chief = start("chief", *listen, *PROGRAM)
        chief.read_until("the chief listens on 127.0.0.1:18804 with TLS")
        mutual = ["--tls-ca", ca, *self.own(place, "worker")]

        plain = cluster(tmp_path, "worker", "--chief", address, *QUICKLY, *PROGRAM)
        assert (plain.returncode, "Something listens there, but it talks TLS" in plain.stdout) == (7, True), (
            plain.stdout
        )
        alone = cluster(tmp_path, "worker", "--chief", address, "--tls-ca", ca, *QUICKLY, *PROGRAM)
        assert (alone.returncode, "it wants a certificate: --tls-cert, --tls-key" in alone.stdout) == (7, True), (
            alone.stdout
        )
        looked = cluster(tmp_path, "status", address, *mutual)
        assert looked.returncode == 0, looked.stdout

        worker = start("worker", "--chief", address, *mutual, *PROGRAM)
        assert (worker.end(), chief.end()) == (0, 0), worker.output + chief.output
        check_completed(tmp_path / "results" / "sleep", 3)

    def test_the_wrong_chief_is_not_trusted(self, start: Callable[..., Running], tmp_path: Path, place: Path) -> None:
        address = "127.0.0.1:18805"
        chief = start("chief", "--listen", address, *self.own(place, "chief"), *PROGRAM)
        chief.read_until("the chief listens")
        assert cluster(tmp_path, "certs", "others").returncode == 0
        others = str(tmp_path / "others" / "ca.pem")
        done = cluster(tmp_path, "worker", "--chief", address, "--tls-ca", others, *QUICKLY, *PROGRAM)
        assert done.returncode == 7, done.stdout
        assert f"its certificate is not what --tls-ca {others} vouches for" in done.stdout
        assert "Traceback" not in done.stdout

    def test_a_chief_without_tls_is_told_of(self, start: Callable[..., Running], tmp_path: Path, place: Path) -> None:
        address = "127.0.0.1:18806"
        start("chief", "--listen", address, *PROGRAM).read_until("the chief listens")
        ca = ["--tls-ca", str(place / "ca.pem")]
        done = cluster(tmp_path, "worker", "--chief", address, *ca, *QUICKLY, *PROGRAM)
        assert (done.returncode, "it does not talk TLS, which --tls-ca asks for" in done.stdout) == (7, True), (
            done.stdout
        )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["chief", "--tls-cert", "x.pem", "x.py"], "--tls-cert is given and --tls-key is not"),
        (["chief", "--tls-key", "x.key", "x.py"], "--tls-key is given and --tls-cert is not"),
        (
            ["chief", "--tls-cert", "x.pem", "--tls-key", "x.key", "x.py"],
            "--tls-cert x.pem cannot be read: No such file",
        ),
        (["chief", "--tls-cert", "text", "--tls-key", "text", "x.py"], "--tls-key text are no certificate and its key"),
        (["chief", "--tls-client-ca", "text", "x.py"], "--tls-client-ca asks for TLS, which needs --tls-cert"),
        (["worker", "--tls-ca", "none", "x.py"], "--tls-ca none cannot be read: No such file"),
        (["worker", "--tls-ca", "text", "x.py"], "--tls-ca text holds no certificate of an authority"),
        (["worker", "--token-file", "none", "x.py"], "the token file none cannot be read: No such file"),
        (["chief", "--token-file", ".", "x.py"], "the token file . cannot be read: Is a directory"),
        (["certs", "certs", "--host", "no host"], "--host 'no host' is no name of a host and no address"),
        (["certs", "certs", "--days", "0"], "--days"),
        (["certs", "there"], "there/ca.pem is there already, and is not overwritten"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, words: list[str], text: str) -> None:
    (tmp_path / "x.py").write_text("")
    (tmp_path / "text").write_text("no certificate")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "ca.pem").write_text("of somebody")
    done = cluster(tmp_path, *words)
    assert (done.returncode, "Traceback" in done.stdout) == (2, False), done.stdout
    assert text in done.stdout
    assert (tmp_path / "there" / "ca.pem").read_text() == "of somebody"


def test_certificates_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = cluster(tmp_path, "certs", "file/certs")
    assert (done.returncode, "Traceback" in done.stdout) == (6, False), done.stdout
    assert "certificates cannot be written to file/certs" in done.stdout
    assert os.listdir(tmp_path) == ["file"]
