"""SIGTERM is heard wherever Python is when it comes."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc, os, signal, time
from cluster.process import on_sigterm

class Told(Exception):
    pass

def tell(signum, frame):
    raise Told

def callback(phase, info, calls=[]):
    calls.append(phase)
    if len(calls) == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000):
        pass

on_sigterm(tell)
gc.callbacks.append(callback)
try:
    gc.collect()
    time.sleep(30)
except Told:
    print("told")
"""


def test_it_is_not_lost_while_python_looks_for_garbage() -> None:
    """Whatever is raised in what is called then is shown and dropped; JAX has Python call it."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("told\n", "")
