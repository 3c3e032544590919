"""What can go wrong that is not a bug, and the exit code for each. The messages are for the user, and complete.

    FashionError                1
    ├── SearchError             1   the search ended without a trial to show
    ├── SettingsError           2   what was asked for cannot be done
    └── DataError               3   the data are missing, incomplete or damaged
        └── DownloadError       3   the data are not here, and the network did not give them

Bad arguments end with 2 as well, by way of argparse, and an interrupt from the keyboard ends with 130.
"""

from __future__ import annotations


class FashionError(Exception):
    """The root: every error that ends the program with a message instead of a traceback."""

    exit_code = 1


class SearchError(FashionError):
    """The search ended, but no trial of it can be shown."""


class SettingsError(FashionError):
    """The settings contradict each other, or the project that they name."""

    exit_code = 2


class DataError(FashionError):
    """The data cannot be used. The message names the file, what is wrong with it, and what to do."""

    exit_code = 3


class DownloadError(DataError):
    """The files are not here and could not be had from the network."""
