"""Messages that no worker sends: bytes at random, fields that make no sense, true messages with a wound.

The same seed gives the same messages. Left out: `AbortSearch`, which ends a search also when nothing is in it, as it
should; and what waits, for a search that the chief has yet to come to or as long as the message says.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from cluster.rpc import cluster_pb2 as pb
from cluster.rpc.stock import METHODS, PREFIX

SERVICE = pb.DESCRIPTOR.services_by_name["Cluster"]
STREAMED = f"/{SERVICE.full_name}/Attend"
TEXTS = [
    "",
    "0",
    "1",
    "none",
    "../../escaped",
    "/escaped",
    "trial_0/../../escaped",
    "a\0b",
    "\n\r\x1b[2J",
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "%s%n{}",
    "\u202egnp.exe",
    "ü" * 3000,
    "w" * 100_000,
    "{}",
    "[]",
    "null",
    "true",
    "1e999",
    "NaN",
    '"text"',
    '{"trial_id": 7}',
    '{"trial_id": ["0"], "hyperparameters": {}}',
    '{"trial_id": "../../escaped", "status": "COMPLETED"}',
    '{"space": [], "values": {}}',
    '{"space": [{"class_name": "Float", "config": {}}], "values": {}}',
    '{"space": [{"class_name": "os.system", "config": {"name": "x"}}], "values": {}}',
    '{"space": 1, "values": 2}',
    "[" * 100_000,
    '{"a":' * 5000 + "1" + "}" * 5000,
    '{"cut": ',
]
# Of files: what a trial may hold, and what leads elsewhere.
NAMES = ["checkpoint.weights.h5", "resume/attempt-1/state.json", "trial.json", "../escaped", "a/../../escaped", "a//b"]
NAMES += ["/escaped", ".escaped", "a/.escaped/b", "a\\escaped", "a\nescaped", "a" * 300, "/".join("a" * 300)]
DIGESTS = [hashlib.sha256(x).hexdigest() for x in (b"", b"x")] + ["0" * 64, "0" * 63, "../" * 21 + "x", "A" * 64]
NUMBERS = [0, 1, -1, 2, 7, 2**31 - 1, -(2**31), 1000]
REALS = [0.0, -0.0, 1.0, -1.0, math.nan, math.inf, -math.inf, 1e308, 5e-324]


def messages(seed: int, true: list[str]) -> Iterator[tuple[str, bytes]]:
    """Without end: a method's path, and the bytes of a request to it.

    Args:
        seed: Which messages.
        true: JSON as true workers send it; some fields hold it, whole or wounded.
    """
    chance = random.Random(seed)
    requests = {f"/{SERVICE.full_name}/{x.name}": GetMessageClass(x.input_type) for x in SERVICE.methods}
    del requests[f"/{SERVICE.full_name}/AbortSearch"]
    stock = [f"{PREFIX}{name}" for name in METHODS]
    while True:
        if chance.random() < 0.15:
            yield chance.choice([*stock, f"/{SERVICE.full_name}/None", "/", "/a/b/c"]), _noise(chance)
            continue
        method, kind = chance.choice(list(requests.items()))
        way = chance.random()
        if way < 0.2:
            yield method, _noise(chance)
            continue
        body = _filled(kind, chance, true).SerializeToString()
        yield method, body if way < 0.7 else _wounded(body, chance)


def _noise(chance: random.Random) -> bytes:
    return chance.randbytes(chance.choice([0, 1, 3, 20, 300, 5000]))


def _wounded(body: bytes, chance: random.Random) -> bytes:
    """With a piece cut off, or some bytes that are others."""
    if not body or chance.random() < 0.3:
        return body[: chance.randrange(len(body) + 1)]
    found = bytearray(body)
    for _ in range(chance.randint(1, 8)):
        found[chance.randrange(len(found))] = chance.randrange(256)
    return bytes(found)


def _filled(kind: type[Message], chance: random.Random, true: list[str]) -> Message:
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        if chance.random() < 0.8:
            _fill(message, field, chance, true)
    return message


def _fill(message: Message, field: Any, chance: random.Random, true: list[str]) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        for _ in range(chance.choice([0, 1, 3])):
            getattr(message, field.name)[_text(chance, true)] = chance.choice(REALS)
    elif field.message_type is not None and field.is_repeated:
        kind = GetMessageClass(field.message_type)
        getattr(message, field.name).extend(_filled(kind, chance, true) for _ in range(chance.choice([0, 1, 3])))
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(_filled(GetMessageClass(field.message_type), chance, true))
    elif field.name == "wait_seconds":  # what waits long is tested elsewhere
        setattr(message, field.name, chance.choice([0.0, -1.0, math.nan, -math.inf, 0.001]))
    elif field.is_repeated:
        getattr(message, field.name).extend(_text(chance, true) for _ in range(chance.choice([0, 1, 5])))
    else:
        setattr(message, field.name, _value(field, chance, true))


def _value(field: Any, chance: random.Random, true: list[str]) -> Any:
    if field.type == FieldDescriptor.TYPE_BOOL:
        return chance.random() < 0.5
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return chance.choice(REALS)
    if field.type in (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64):
        known = field.name in ("search", "index")
        return chance.choice([0, 0, 0, -1, -(2**31)] if known else NUMBERS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return chance.choice([b"", b"x", _noise(chance), bytes(2_000_000)])
    if field.name == "trial_id" and chance.random() < 0.5:
        return "0000"  # the one that is held
    if field.name in ("name", "digest") and chance.random() < 0.5:
        return chance.choice([*DIGESTS, *NAMES])
    return _text(chance, true)


def _text(chance: random.Random, true: list[str]) -> str:
    if not true or chance.random() < 0.6:
        return chance.choice(TEXTS)
    text = chance.choice(true)
    way = chance.random()
    if way < 0.3:
        return text
    if way < 0.5:
        return text[: chance.randrange(len(text))]
    facts = json.loads(text)
    _spoil(facts, chance)
    return json.dumps(facts)


def _spoil(facts: Any, chance: random.Random) -> None:
    """Puts something else in one place of what JSON made."""
    while isinstance(facts, dict | list) and facts:
        place = chance.choice(list(facts) if isinstance(facts, dict) else list(range(len(facts))))
        if chance.random() < 0.5 or not isinstance(facts[place], dict | list):
            facts[place] = chance.choice([None, 7, -1, "x", "../../escaped", [], {}, [[]], {"name": 1}, True, 1e308])
            return
        facts = facts[place]
