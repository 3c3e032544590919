"""Whether the installed KerasTuner is one that the seams know. The names were read in KerasTuner 1.4.8."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

from cluster.errors import MissingDependency

KERAS_TUNER = ("1.4.8", "1.5")

# What is used, and the parameters each must have.
EXPECTED = {
    "utils.save_json": ["path", "obj"],
    "engine.oracle.Display.on_trial_end": ["self", "trial"],
    "engine.oracle.Oracle._retry": ["self", "trial"],
    "engine.base_tuner.BaseTuner.__init__": [
        "self",
        "oracle",
        "hypermodel",
        "directory",
        "project_name",
        "overwrite",
        "kwargs",
    ],
    "engine.base_tuner.BaseTuner.search": ["self", "fit_args", "fit_kwargs"],
    "engine.base_tuner.BaseTuner._run_and_update_trial": ["self", "trial", "fit_args", "fit_kwargs"],
    "engine.base_tuner.BaseTuner.get_trial_dir": ["self", "trial_id"],
    "engine.base_tuner.BaseTuner.save": ["self"],
    "engine.base_tuner.BaseTuner.reload": ["self"],
    "engine.oracle.Oracle.reload": ["self"],
    "engine.oracle.Oracle._duplicate": ["self", "values"],
    "engine.oracle.Oracle._save_trial": ["self", "trial"],
    "engine.oracle.Oracle._record_values": ["self", "trial"],
    "engine.oracle.Oracle._check_consecutive_failures": ["self"],
    "engine.oracle.Oracle._get_oracle_fname": ["self"],
    "engine.oracle.Oracle._set_project_dir": ["self", "directory", "project_name"],
    "engine.tuner.Tuner.run_trial": ["self", "trial", "args", "kwargs"],
    "engine.tuner.Tuner._build_and_fit_model": ["self", "trial", "args", "kwargs"],
    "engine.tuner_utils.TunerCallback.__init__": ["self", "tuner", "trial"],
    "engine.tuner_utils.TunerCallback.on_epoch_begin": ["self", "epoch", "logs"],
    "engine.tuner_utils.TunerCallback.on_epoch_end": ["self", "epoch", "logs"],
    "engine.tuner_utils.SaveBestEpoch.__init__": ["self", "objective", "filepath"],
    "engine.tuner_utils.SaveBestEpoch.on_epoch_end": ["self", "epoch", "logs"],
    "engine.tuner_utils.SaveBestEpoch._save_model": ["self"],
    "tuners.hyperband.Hyperband._build_hypermodel": ["self", "hp"],
    "distribute.utils.has_chief_oracle": [],
    "distribute.utils.is_chief_oracle": [],
    "tuners.hyperband.HyperbandOracle.populate_space": ["self", "trial_id"],
    "tuners.hyperband.HyperbandOracle._remove_completed_brackets": ["self"],
    "tuners.hyperband.HyperbandOracle._get_size": ["self", "bracket_num", "round_num"],
    "tuners.hyperband.HyperbandOracle._get_epochs": ["self", "bracket_num", "round_num"],
    "tuners.bayesian.BayesianOptimizationOracle.populate_space": ["self", "trial_id"],
    "tuners.bayesian.BayesianOptimizationOracle._random_populate_space": ["self"],
    "tuners.bayesian.BayesianOptimizationOracle._vectorize_trials": ["self"],
    "tuners.bayesian.BayesianOptimizationOracle._vector_to_values": ["self", "vector"],
    "tuners.bayesian.BayesianOptimizationOracle._nonfixed_space": ["self"],
    "tuners.bayesian.BayesianOptimizationOracle._get_hp_bounds": ["self"],
    "tuners.bayesian.BayesianOptimizationOracle._make_gpr": ["self"],
    "engine.hyperparameters.hp_types.numerical.Numerical._get_n_values": ["self"],
    "engine.hyperparameters.hp_types.numerical.Numerical._get_value_by_index": ["self", "index"],
    "tuners.gridsearch.GridSearchOracle.populate_space": ["self", "trial_id"],
    "tuners.gridsearch.LinkedList.insert": ["self", "data", "data_pre"],
    "tuners.gridsearch.LinkedList.next": ["self", "data"],
}


def check(version: str, source: ModuleType) -> None:
    """Stops when this KerasTuner is not the one that the seams know.

    Args:
        version: Its version.
        source: The module `keras_tuner.src`.

    Raises:
        MissingDependency: another version, or a private name that changed; the text says which.
    """
    low, high = KERAS_TUNER
    if not _number(low) <= _number(version) < _number(high):
        raise MissingDependency(
            f"KerasTuner {version} is installed; this release was checked against >={low},<{high}. "
            f"Mend it with: pip install 'keras-tuner>={low},<{high}'"
        )
    for name, parameters in EXPECTED.items():
        *path, last = name.split(".")
        owner: Any = source
        for part in path:
            owner = getattr(owner, part, None)
        found = getattr(owner, last, None)
        if found is None or list(inspect.signature(found).parameters) != parameters:
            raise MissingDependency(
                f"KerasTuner {version} has no {name}({', '.join(parameters)}): it cannot be used here"
            )


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
