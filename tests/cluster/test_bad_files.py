"""A search's files with wounds: whoever reads them shows what can be read, or says in a line what cannot."""

from __future__ import annotations

import collections
import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cluster import follow
from cluster.dashboard.feed import delta
from cluster.errors import ClusterError
from cluster.status import Standing
from cluster.watched import Watched
from tests.made_up import MadeUp, write

# As many as CLUSTER_FUZZ_FILES says, for who has the time: `make fuzz`.
COUNT = int(os.environ.get("CLUSTER_FUZZ_FILES", "400"))
LINES = [b"[]\n", b"7\n", b"{}\n", b"\xff\n", b"[" * 50_000]
VALUES: list[Any] = [None, 7, -1, 1e308, True, "x", "../../escaped", "\x1b[2J", "", [], {}, [[]], {"name": 1}]


def spoil(path: Path, chance: random.Random) -> str:
    """Wounds a file in one of several ways; returns which."""
    body = path.read_bytes()
    way = chance.choice(["cut", "bytes", "noise", "empty", "gone", "value", "value", "line", "directory"])
    if way == "cut":
        path.write_bytes(body[: chance.randrange(len(body) + 1)])
    elif way == "bytes":
        found = bytearray(body)
        for _ in range(chance.randint(1, 20)):
            found[chance.randrange(len(found))] = chance.randrange(256)
        path.write_bytes(found)
    elif way == "noise":
        path.write_bytes(chance.randbytes(chance.choice([1, 100, 10_000])))
    elif way == "empty":
        path.write_bytes(b"")
    elif way == "gone":
        path.unlink()
    elif way == "directory":
        path.unlink()
        path.mkdir()
    elif way == "line":
        kept = body.splitlines(keepends=True)
        kept.insert(chance.randrange(len(kept) + 1), chance.choice(LINES))
        path.write_bytes(b"".join(kept))
    else:
        lines = body.decode().splitlines()
        number = chance.randrange(len(lines)) if path.suffix == ".jsonl" else -1
        facts = json.loads(body if number < 0 else lines[number])
        put(facts, chance)
        if number < 0:
            path.write_text(json.dumps(facts))
        else:
            path.write_text("\n".join([*lines[:number], json.dumps(facts), *lines[number + 1 :], ""]))
    return way


def put(facts: Any, chance: random.Random) -> None:
    """Puts something else in one place of what JSON made."""
    while isinstance(facts, dict | list) and facts:
        place = chance.choice(list(facts) if isinstance(facts, dict) else list(range(len(facts))))
        if chance.random() < 0.4 or not isinstance(facts[place], dict | list):
            facts[place] = chance.choice(VALUES)
            return
        facts = facts[place]


def test_readers_show_what_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(1)
    whole = write(tmp_path / "whole", MadeUp(trials=4, max_trials=5, running=1, lost=1, failed=1, epochs=2))
    files = [x.relative_to(whole) for x in sorted(whole.rglob("*.json*"))]
    assert len(files) >= 6
    counted: collections.Counter[str] = collections.Counter()
    project = tmp_path / "project"
    console = Console(file=open(os.devnull, "w"))  # noqa: SIM115
    for number in range(COUNT):
        shutil.copytree(whole, project)
        wounds = [(name, spoil(project / name, chance)) for name in chance.sample(files, chance.choice([1, 1, 2]))]
        try:
            record = follow.read(project)
            standing = Standing.of(record)
            standing.tell(console, time.time())
            json.dumps(standing.as_json())
            reading = Watched(project).look()
            json.dumps(delta(reading, "", 0, time.time()))
            counted["shown"] += 1
        except ClusterError as error:
            refused = str(error)
            counted["refused"] += 1
        except Exception as error:
            raise AssertionError(f"message {number}: {wounds}") from error
        else:
            refused = str(project)
        assert len(refused) < 1000
        assert str(project) in refused
        shutil.rmtree(project)
    console.file.close()
    assert sorted(x.name for x in tmp_path.iterdir()) == ["whole"]
    with capsys.disabled():
        print(f"\n{COUNT} bad files: {dict(counted)}")
