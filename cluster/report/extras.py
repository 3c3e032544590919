"""Which of the packages that draw are here."""

from __future__ import annotations

import importlib.util

from cluster.errors import MissingDependency


def without(*needed: tuple[str, str]) -> dict[str, str]:
    """Which of these packages are not here, each with what it draws; none of them is imported."""
    return {package: what for package, what in needed if importlib.util.find_spec(package) is None}


def complain(missing: dict[str, str]) -> None:
    """Says what could not be drawn.

    Raises:
        MissingDependency: something could not.
    """
    if missing:
        text = ", ".join(f"{what} needs {package}" for package, what in missing.items())
        raise MissingDependency(f"{text}, which is not here: pip install 'keras-tuning-cluster[ui]'")
