"""Oracles that KerasTuner lacks, for any program of its: under the launcher in every role, and without it.

    import cluster.oracles

    tuner = cluster.oracles.TPE(build_model, objective="val_accuracy", max_trials=50, seed=1)

oracle  what they have in common: numbers that depend on the seed and the trials alone, and no proposal twice
tpe     tree-structured Parzen estimators, of Optuna
gp      a Gaussian process, of Optuna
cmaes   an evolution strategy, of cmaes
qmc     Sobol's points, of SciPy
tuners  a tuner over each, as KerasTuner has for its own
study   a search's trials as Optuna has to see them
latent  the unit cube that all of them know, and KerasTuner's values

A name is imported when it is asked for: the cube is for those too who have no KerasTuner yet.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cluster.oracles.cmaes import CmaEsOracle
    from cluster.oracles.gp import GPOracle
    from cluster.oracles.qmc import QMCOracle
    from cluster.oracles.tpe import TPEOracle
    from cluster.oracles.tuners import GP, QMC, TPE, CmaEs

__all__ = ["GP", "QMC", "TPE", "CmaEs", "CmaEsOracle", "GPOracle", "QMCOracle", "TPEOracle"]

_HOMES = {
    "TPEOracle": "tpe",
    "GPOracle": "gp",
    "CmaEsOracle": "cmaes",
    "QMCOracle": "qmc",
    **dict.fromkeys(("TPE", "GP", "CmaEs", "QMC"), "tuners"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
