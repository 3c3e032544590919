"""Holds a lock on a file named after its GPU for as long as it lives, and says in held.txt whether it was alone.

Loads nothing, so that hundreds can be started and killed.
"""

import fcntl
import os
import time

gpu = os.environ["CUDA_VISIBLE_DEVICES"]
if gpu != "-1":
    witness = open(f"witness-{gpu}", "a")  # noqa: SIM115
    try:
        fcntl.flock(witness, fcntl.LOCK_EX | fcntl.LOCK_NB)
        word = "alone"
    except BlockingIOError:
        word = "SECOND"
    with open("held.txt", "a") as lines:
        lines.write(f"{gpu} {word} {os.getpid()}\n")
time.sleep(1000)
