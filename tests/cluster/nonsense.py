"""What makes no sense, for each parameter of each command; `test_nonsense.py` gives it to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

LONG = "x" * 10_000
TERMINAL = "a\x1b[2Jb"  # clears a terminal that it is shown on
LINES = "a\nb"


@dataclass(frozen=True)
class Kind:
    """Values that a parameter must refuse.

    Attributes:
        values: Each with what the error has to say beside the parameter's name.
        beside: Words that go with it, so that it is looked at.
        codes: The exit codes of errors.py that a refusal may have.
        any_text: Why any other text is good; empty where it is not.
    """

    values: Mapping[str, str]
    beside: Sequence[str] = ()
    codes: Sequence[int] = (2,)
    any_text: str = ""


def number(least: float | None = None, most: float | None = None, *, whole: bool = False) -> Kind:
    """A number of at least and at most so much."""
    values = dict.fromkeys(["", "many", "nan", "inf", "-inf", "0x10", "1,5", "1e400", "½", LINES, "9" * 5000], "")
    values |= dict.fromkeys(["1.5", "1e3"] if whole else [], "")
    values |= {} if least is None else {f"{least - 1:g}": "", "-1": ""}
    values |= {"0": ""} if least is not None and least > 0 else {}
    values |= {} if most is None else {f"{most + 1:.0f}": "", "9" * 30: ""}
    return Kind(values)


def choice(*also: str) -> Kind:
    """One of some words."""
    return Kind(dict.fromkeys(["other", "7", "GPU ", TERMINAL, *also], "is none of"))


def path(also: Mapping[str, str], *, beside: Sequence[str] = (), codes: Sequence[int] = (2,)) -> Kind:
    """A path: beside what no path is, what `FILES` has and is no good here."""
    values = {"": "empty", LONG: "File name too long", LINES: "control characters", TERMINAL: "control characters"}
    return Kind({**values, "loop": "symbolic links", **also}, beside, codes)


ADDRESSES = [
    *("", "nonsense", "host:", ":80", "host:port", "host:-1", "host:99999", "host:²", "host:80:", "::1", "::1:80"),
    *(
        "[::1:80",
        "[x]:80",
        "http://host:80",
        "a b:80",
        "a..b:80",
        f"{LONG}:80",
        "host:8000/",
        TERMINAL,
        LINES,
        "x\n:80",
    ),
]


def address(*also: str, beside: Sequence[str] = ()) -> Kind:
    """HOST:PORT."""
    return Kind(dict.fromkeys([*ADDRESSES, *also], "is no address"), beside)


def name(why: str) -> Kind:
    """A name: nearly any text."""
    return Kind(dict.fromkeys([LONG, "x" * 301, TERMINAL, LINES, "\udcff"], "is no name"), any_text=why)


UNREADABLE = {
    "missing": "No such file",
    "directory": "Is a directory",
    "file/below": "Not a directory",
}
CERTIFICATE = {**UNREADABLE, "directory": "cannot be read", "pipe": "no regular file"}
NOT_PEM = {"noise": "no certificate", "empty": "no certificate", "words": "no certificate"}
PAIR = ["--tls-cert", "chief.pem", "--tls-key", "chief.key"]

SECONDS, COUNT, GIGABYTES = number(0, 1e9), number(1, 1_000_000, whole=True), number(0.001, 1e6)
SWITCH = Kind({})  # takes no value: see `test_a_switch_takes_no_value`
TOKEN = path({**UNREADABLE, "noise": "it is no text", "empty": "is empty", "words": "holds no token"})
DIRECTORY = path({"file": "no directory", "file/below": "no directory"})
CERT = path({**CERTIFICATE, **NOT_PEM, "chief.key": "no certificate"}, beside=["--tls-key", "chief.key"])
KEY = path({**CERTIFICATE, **NOT_PEM, "chief.pem": "no certificate"}, beside=["--tls-cert", "chief.pem"])
WORDS = Kind(
    {
        "": "there is no program ''",
        "missing.py": "there is no program",
        "directory": "there is no program",
        "pipe": "there is no program",
        "loop": "there is no program",
        "file/below": "there is no program",
        LONG: "File name too long",
        LINES: "there is no program",
        TERMINAL: "there is no program",
        "-x": "there is no option",
        "--x=3": "there is no option",
        "-m": "needs the name of a module",
    }
)
LEAF = {"missing": "is not there", "file": "is no directory", "file/below": "is not there"}
PLACE = path({**LEAF, "empty_directory": "is no project directory", "host:99999": "is not there"})
FILES_OPEN = dict.fromkeys(["", "x", "-1", "99999", "9" * 30, "1.5"], "")

# By the option's first name, or the argument's; where a command's own differs, by both.
OWN: dict[str, Kind] = {
    "words": WORDS,
    "place": PLACE,
    "directories": PLACE,
    "directory": path({"file": "cannot be written", "file/below": "cannot be written"}, codes=(2, 6)),
    "--workers": number(1, 10_000, whole=True),
    "--lease-seconds": number(1, 1e9),
    "--max-attempts": COUNT,
    "--trial-timeout": number(0.001, 1e9),
    "--stall-seconds": number(0.001, 1e9),
    "--max-minutes": number(0, 1e7),
    "--stop-at": number(),
    "--max-failures": COUNT,
    "--keep-checkpoints": COUNT,
    "--prune": choice(""),
    "--prune-min-epochs": COUNT,
    "--prune-factor": number(2, 1_000_000, whole=True),
    "--recycle-after": COUNT,
    "--recycle-gb": GIGABYTES,
    "--device": choice(""),
    "trainer --device": name("what a worker calls its device, shown to readers"),
    "--slots-per-gpu": COUNT,
    "--slot-dir": path({}),  # what is there is looked at where there are GPUs, and by doctor: see test_slots.py
    "--ray-address": Kind(
        dict.fromkeys([x for x in ADDRESSES if x], "is no address of a Ray cluster"), beside=["--ray"]
    ),
    "--cpus-per-trial": number(0.01, 1_000_000),
    "--gpus-per-trial": number(0, 1_000_000),
    "--ray-storage": Kind(
        {"": "empty", TERMINAL: "cannot be shown", LINES: "cannot be shown"},
        any_text="a URL or a path; Ray knows which there are",
    ),
    "--ray-scheduler": Kind(choice().values, beside=["--ray"]),
    "--ray-search": Kind(choice("pbt").values, beside=["--ray"]),
    "--dashboard-address": address(beside=["--dashboard"]),
    "--listen": address("host:0", "unix:", "unix:a\nb"),
    "--chief": address("host:0", "unix:"),
    "--head": address("host:0"),
    "--token-file": TOKEN,
    "run --token-file": replace(TOKEN, beside=["--dashboard"]),  # else it is not read
    "run --tls-cert": replace(CERT, beside=["--dashboard", *CERT.beside]),
    "run --tls-key": replace(KEY, beside=["--dashboard", *KEY.beside]),
    "--tls-cert": CERT,
    "--tls-key": KEY,
    "--tls-ca": path({**CERTIFICATE, **NOT_PEM, "chief.key": "no certificate"}),
    "--tls-client-ca": path({**CERTIFICATE, **NOT_PEM}, beside=PAIR),
    "--upload-gb": GIGABYTES,
    "--free-gb": number(0, 1e6),
    "--linger-seconds": SECONDS,
    "--alone-seconds": SECONDS,
    "--expected": number(0, 1_000_000, whole=True),
    "--connect-timeout": SECONDS,
    "--patience": SECONDS,
    "--drain-seconds": SECONDS,
    "--name": name("a worker's name, or a study's, is the user's to choose; empty is as good as none"),
    "--scratch": DIRECTORY,
    "--host": Kind(dict.fromkeys(["", "no host", LINES, LONG, "a..b", "schlüssel"], "is no name of a host")),
    "--days": number(1, 3650, whole=True),
    "--optuna": Kind(
        {"": "empty", TERMINAL: "cannot be shown", "nonsense": "cannot be opened", "nosuch://x": "cannot be opened"},
        any_text="a URL as SQLAlchemy names it, which looks at it",
    ),
    "--output": path({"file": "nothing can be written", "file/below": "nothing can be written"}),
    "--worker": name("what a worker is called, which it has looked at"),
    "--trainer": name("a number that a worker makes up"),
    "--cores": Kind(
        dict.fromkeys(["x", "1-", "-1", "1,,2", "0-99999999", "²", "65536", LINES], "cores") | {"65536": "core beyond"}
    ),
    "--memory-share": number(0, 1),
    "--memory-total": number(0, 2**63 - 1, whole=True),
    "--slot-files": Kind({x: "" for x in FILES_OPEN if x}),
    "--leash": Kind(FILES_OPEN),
    "--asides": name("a word that a launcher makes up"),
    "--cpus": COUNT,
}
SWITCHES = {
    *("--fresh", "--allow-cpu", "--ray", "--verbose", "--log-json", "--tensorboard", "--plots", "--dashboard"),
    *("--insecure", "--on-terminal", "--apart", "--hide-trials", "--json", "--overwrite", "--wait", "--packed"),
    *("--alone", "--allow-stock-clients"),
}
