"""Downloads the official files of Fashion-MNIST into the folder where Keras keeps its own copy.

Owns: the address, the time limit, and that a file appears under its name only when it is whole and checked. Does not
own: when to download (see `data.py`).

Keras's own loader (`keras.datasets.fashion_mnist.load_data`) is not called, because it writes straight to the final
name and sets no time limit: of several processes that start together, one would read what another has half written,
and a network that drops packets would hold them all for minutes. Address and folder are Keras's, so each finds the
files of the other.
"""

from __future__ import annotations

import http.client
import logging
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from fashion.errors import DataError, DownloadError
from fashion.idx import OfficialFile, check

BASE_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
TIMEOUT = 10.0  # seconds without a byte from the other side

log = logging.getLogger(__name__)


def fetch(files: Iterable[OfficialFile], folder: Path, base_url: str = BASE_URL) -> None:
    """Downloads files into a folder, which is created; existing ones of these names are replaced.

    Raises:
        DownloadError: The network, the disk, or a file that is not the official one. Nothing half-written remains.
    """
    for file in files:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
                path = Path(temporary) / file.name
                log.info("Downloading %s (%.1f MB)", base_url + file.name, file.size / 1e6)
                with urllib.request.urlopen(base_url + file.name, timeout=TIMEOUT) as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target)
                check(path, file)
                os.replace(path, folder / file.name)
        except (OSError, http.client.HTTPException, DataError) as error:
            # URLError hides what happened in `reason`; an HTTPError has a fair text of its own.
            raise DownloadError(f"{file.name} could not be downloaded: {getattr(error, 'reason', error)}") from error
