"""What `cluster doctor` asks of this program: whether the real images are here.

Owns: telling it. Does not own: where to look, and which files are right (see `data.py` and `idx.py`). Never downloads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from fashion import data
from fashion.errors import DataError
from fashion.idx import OFFICIAL, OfficialFiles, check, missing

Finding = tuple[str, str, str]


def diagnose(environ: Mapping[str, str] | None = None, files: OfficialFiles = OFFICIAL) -> Iterator[Finding]:
    """Looks for Fashion-MNIST where a run would, short of the network.

    Args:
        environ: Where `FASHION_MNIST_DIR` and `KERAS_HOME` are read from; `os.environ` by default.
        files: The files that count as official.

    Returns:
        The state (`ok`, `note` or `problem`), what was found, and what to do.
    """
    environ = os.environ if environ is None else environ
    if given := environ.get(data.VARIABLE):
        yield _given(Path(given).expanduser(), files)
        return
    caches = data.keras_caches(environ)
    whole = [folder for folder in caches if not missing(folder, files)]
    if whole:
        yield _checked(whole[0], files)
        return
    yield (
        "note",
        f"Fashion-MNIST is not in {caches[0]}: a run downloads it, or, without a network, draws images in its place",
        f"Set {data.VARIABLE} to a folder with the four official files",
    )


def _given(folder: Path, files: OfficialFiles) -> Finding:
    if lacking := missing(folder, files):
        names = ", ".join(file.name for file in lacking)
        advice = f"Put the four official files there, or unset {data.VARIABLE}"
        return "problem", f"{data.VARIABLE} is {folder}, where there is no {names}", advice
    return _checked(folder, files)


def _checked(folder: Path, files: OfficialFiles) -> Finding:
    try:
        for file in files:
            check(folder / file.name, file)
    except DataError as error:
        what, _, advice = str(error).rstrip(".").rpartition(". ")
        return "problem", what, advice
    return "ok", f"Fashion-MNIST, the real images, in {folder}", ""
