"""How much each hyperparameter matters: a random forest is fitted to the trials, and its inputs are shuffled.

Owns the model. Scikit-learn is imported when it is asked for, and not before.
"""

from __future__ import annotations

from typing import Any

from cluster.record import Record, Trial
from cluster.report.axes import Axis, axes
from cluster.report.series import ended

FEWEST = 8  # trials with a score, below which nothing can be said
ROWS = 500  # trials that are looked at at most
TREES = 50
SHUFFLES = 80  # of all hyperparameters together, about
SEED = 0


def importance(record: Record) -> dict[str, float] | None:
    """The share of each hyperparameter in what makes trials differ, the greatest first; they add up to 1.

    By how much worse a random forest tells the order of the trials when a hyperparameter's values are shuffled. The
    same trials give the same shares. Of many trials, as many as are quickly done, spread evenly.

    Returns:
        The shares by name; None with too few trials that have a score, or where neither the trials nor their scores
        differ.
    """
    trials = [x for x in ended(record) if x.scored]
    if len(trials) > ROWS:
        trials = [trials[n * len(trials) // ROWS] for n in range(ROWS)]
    inputs = [x for x in axes(record) if len({x.place(trial) for trial in trials}) > 1]
    scores = [x.score for x in trials]
    if len(trials) < FEWEST or len(set(scores)) < 2 or not inputs:
        return None
    raw = _shuffled(inputs, trials, scores)
    total = sum(raw)
    if total <= 1e-9:
        return None
    shares = {axis.name: share / total for axis, share in zip(inputs, raw, strict=True)}
    return dict(sorted(shares.items(), key=lambda x: -x[1]))


def _shuffled(inputs: list[Axis], trials: list[Trial], scores: list[Any]) -> list[float]:
    """By how much the forest's score falls when each input is shuffled; not less than 0."""
    import numpy as np
    from scipy.stats import rankdata
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    table = np.array([[x.stand(trial) for x in inputs] for trial in trials])
    # The encoder is part of the model, so that all columns of one hyperparameter are shuffled as one.
    names = [n for n, x in enumerate(inputs) if _unordered(x)]
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    model = make_pipeline(
        ColumnTransformer([("names", encoder, names)], remainder="passthrough"),
        RandomForestRegressor(TREES, min_samples_leaf=2, random_state=SEED),
    )
    # Their order, as a diverged trial's loss would outweigh all the others.
    target = rankdata(np.array(scores))
    model.fit(table, target)
    repeats = max(2, min(10, SHUFFLES // len(inputs)))
    found = permutation_importance(model, table, target, n_repeats=repeats, random_state=SEED)
    return [max(0.0, float(x)) for x in found.importances_mean]


def _unordered(axis: Axis) -> bool:
    """Whether the axis is of names, which have no order; yes and no have one, and numbers do."""
    return len(axis.categories) > 2 and not all(isinstance(x, int | float) for x in axis.categories)
