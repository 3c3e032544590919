"""The token that every call to a chief carries: where it is looked for, and the file in which one is made.

Owns that file's place and mode. The token itself is in no command line and no log: what is said of it names its place.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cluster.errors import UsageError

log = logging.getLogger(__name__)

VARIABLE = "CLUSTER_TOKEN"
FILE = ".keras-tuning-cluster/token"  # in the user's home: chief, workers and pages of one user find each other by it
MOST = 4096  # bytes; what is longer is no token


@dataclass(frozen=True)
class Token:
    """A token, and where it comes from.

    Attributes:
        value: The token: printable ASCII, for it travels in headers.
        place: Where it was found, in words.
        file: The file that holds it; None where it is a variable's.
    """

    value: str = field(repr=False)
    place: str
    file: Path | None = None


def find(environment: Mapping[str, str], file: Path | None = None) -> Token | None:
    """The token of this process; None where there is none.

    Args:
        environment: The variables: CLUSTER_TOKEN counts where no file is named, and HOME says where the user's is.
        file: A file that holds it.

    Raises:
        UsageError: the file cannot be read, or what is there is no token.
    """
    if file is not None:
        return _read(file)
    value = environment.get(VARIABLE, "").strip()
    if value:
        return Token(_checked(value, VARIABLE), VARIABLE)
    own = own_file(environment)
    return _read(own) if own is not None and own.exists() else None


def find_or_make(environment: Mapping[str, str], file: Path | None = None) -> Token:
    """The token of this process; where there is none, one is made and kept in the user's own file.

    Args:
        environment: As in `find`.
        file: As in `find`; it is never made.

    Raises:
        UsageError: as in `find`, or the user's own file cannot be made.
    """
    found = find(environment, file)
    if found is not None:
        return found
    own = own_file(environment)
    if own is None:
        raise UsageError(f"there is no home directory to keep a token in; set {VARIABLE}, or name a --token-file")
    try:
        own.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        make(own)
    except OSError as error:
        raise UsageError(
            f"a token cannot be kept in {own}: {error.strerror}. Set {VARIABLE}, or name a --token-file"
        ) from error
    return _read(own)


def make(file: Path) -> None:
    """Makes a token in a file that only its user can read; one that is there already stays.

    Raises:
        OSError: the file cannot be written.
    """
    draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(f"{secrets.token_urlsafe(32)}\n")
        with contextlib.suppress(FileExistsError):  # another process was first: its token is everybody's
            os.link(draft, file)
    finally:
        draft.unlink(missing_ok=True)


def own_file(environment: Mapping[str, str]) -> Path | None:
    """The user's own token file, whether it is there or not; None without a home directory."""
    home = environment.get("HOME", "")
    return Path(home) / FILE if home else None


def _read(file: Path) -> Token:
    try:
        with file.open("rb") as stream:
            about = os.fstat(stream.fileno())
            text = stream.read(MOST + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"the token file {file} cannot be read: {why}") from error
    if about.st_uid == os.getuid() and stat.S_IMODE(about.st_mode) & 0o077:
        log.warning("the token file %s can be read by others; chmod 600 keeps it yours", file)
    if not text.strip():
        raise UsageError(f"the token file {file} is empty")
    return Token(_checked(text.strip(), f"the token file {file}"), str(file), file)


def _checked(value: str, place: str) -> str:
    if len(value) > MOST or not all(" " <= letter <= "~" for letter in value):
        raise UsageError(f"{place} holds no token: a token is one line of printable ASCII, {MOST} characters at most")
    return value
