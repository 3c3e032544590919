"""Imports Keras without the notices that TensorFlow's libraries print while they load.

Owns: TensorFlow's log level, where the user has not set it. Does not own: any other log.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
NOTICES = (b"I0000 ", b"WARNING: All log messages before absl::InitializeLog()")


def import_keras() -> None:
    """Imports Keras, quietly unless the user has set TensorFlow's log level below "2".

    The level "2" (warnings off, errors on) takes care of most notices; the Python side of TensorFlow is set alike, or
    it would warn of retracing every few trials, each of which is a new model. The notices of oneDNN come from C++
    before the level is looked at, and go straight to file descriptor 2; so that is turned aside during the import,
    and everything but the notices is put back afterwards.
    """
    if os.environ.setdefault(LEVEL, "2") not in ("2", "3"):
        return
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if "keras" in sys.modules:
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            import keras  # noqa: F401
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            aside.seek(0)
            for line in aside:
                if not line.startswith(NOTICES):
                    os.write(2, line)
