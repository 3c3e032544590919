"""What a child tells its parent within its output, and what a program writes that looks like it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cluster import asides
from cluster.asides import MARK, Asides, split

WORD = "0123456789abcdef"
ASIDE = MARK + WORD.encode()


def test_an_aside_is_told_after_what_was_written_before() -> None:
    code = (
        "import os, sys\n"
        "from cluster.asides import Asides\n"
        f"aside = Asides({WORD!r})\n"
        "print('first'); print('no end', end='')\n"
        "os.system('true')\n"
        "aside.tell(log='ä/0.log', number=1)\n"
        "os.dup2(2, 1)\n"  # the program leads its output elsewhere
        "aside.tell(log=None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    found = [split(line, WORD) for line in done.stdout.splitlines(keepends=True)]
    assert found == [
        (b"first\n", None),
        (b"no end\n", {"log": "ä/0.log", "number": 1}),
        (b"", {"log": None}),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"an ordinary line\n",
        b"\n",
        b"\xff\xfe\x00 no text\n",
        MARK + b" {}\n",
        MARK + b"another word " + b'{"log": "/etc/passwd"}\n',
        ASIDE + b"\n",
        ASIDE + b" \n",
        ASIDE + b" {broken\n",
        ASIDE + b" [1, 2]\n",
        ASIDE + b" null\n",
        ASIDE + b" " + b"[" * 100_000 + b"\n",
        ASIDE + b" \xff\n",
    ],
)
def test_what_is_none_is_passed_on_as_it_is(line: bytes) -> None:
    assert split(line, WORD) == (line, None)


def test_every_child_has_a_word_of_its_own() -> None:
    assert len({asides.new_word() for _ in range(100)}) == 100


def test_a_parent_that_has_gone_needs_no_telling(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    monkeypatch.setattr(os, "dup", lambda descriptor: write)
    aside = Asides(WORD)
    os.close(read)
    aside.tell(over=True)
    os.close(write)
