"""Every error that the cluster raises on purpose, and the exit code of each.

    ClusterError                 1
    ├── UsageError               2   an option, variable or program that makes no sense
    ├── SearchFailed             3   the search was ended by failures (also a RuntimeError, as in KerasTuner)
    ├── NoSearch                 4   the program ended without calling tuner.search()
    ├── CannotListen             5   the chief's address cannot be bound
    ├── DirectoryError           6   a project directory cannot be used (not writable, held by another chief)
    │   └── CannotSave               it could be used, and now cannot be written (full); the same command goes on
    ├── ChiefUnreachable         7   no chief answers, or it went away for too long
    ├── Refused                  8   the chief does not take this worker (another program, another space)
    │   └── WrongToken               nor anybody who comes with this token
    ├── MissingDependency        9   a package is missing, or is a version that the seams do not know
    ├── DeviceError             11   a driver, a GPU or the slot directory cannot be used
    ├── LeaseLost                    the trial was given to another worker; never leaves a trainer
    └── TrainerAhead                 the chief was restarted and is not where the trainer is, which begins again

A worker that lost trial after trial and was set aside ends with 10.

A program that raises ends with 1 and its own traceback; a program that exits keeps its own code. A run that was
interrupted ends with 128 + the signal's number: 130 for Ctrl-C, 143 for SIGTERM.
"""

from __future__ import annotations

PROGRAM_RAISED = 1
SET_ASIDE = 10


class ClusterError(Exception):
    """Root of the tree. Its text is shown to the user as it is, without a traceback."""

    exit_code = 1


class UsageError(ClusterError):
    """An option, an environment variable or a program that makes no sense."""

    exit_code = 2


class SearchFailed(ClusterError, RuntimeError):
    """The search was ended by failures: too many trials in a row, or an error that KerasTuner calls fatal."""

    exit_code = 3


class NoSearch(ClusterError):
    """The program came to its end and never called `tuner.search()`."""

    exit_code = 4


class CannotListen(ClusterError):
    """The chief cannot bind the address it was told to listen on."""

    exit_code = 5


class DirectoryError(ClusterError):
    """A project directory cannot be written, or another chief holds it."""

    exit_code = 6


class CannotSave(DirectoryError):
    """The disk is full or broken. What was saved is whole; as after a crash, the same command goes on from there."""


class ChiefUnreachable(ClusterError):
    """No chief answers at the address, or it stayed away for longer than the worker waits."""

    exit_code = 7


class Refused(ClusterError):
    """The chief does not take this worker; the text names the difference."""

    exit_code = 8


class WrongToken(Refused):
    """The chief does not take the caller's token; the text names where that comes from."""


class MissingDependency(ClusterError):
    """A package is missing or has a version that this release was not checked against."""

    exit_code = 9


class DeviceError(ClusterError):
    """The GPUs' driver or the slot directory cannot be used, or there is no GPU where one is wanted."""

    exit_code = 11


class LeaseLost(ClusterError):
    """This attempt at the trial is over: the chief gave the trial to another worker or ended it."""


class TrainerAhead(ClusterError):
    """The chief was restarted, and this trainer is in a search that it has not come to: the trainer begins again."""
