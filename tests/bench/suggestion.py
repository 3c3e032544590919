"""Bayesian suggestions: how long they take, how good they are and how many of them are new, beside stock KerasTuner.

    python -m tests.bench --runs 3 --json suggestion.json suggestion

Both sides are KerasTuner's own `BayesianOptimizationOracle`, once as it is and once under the seams, asked as its
chief asks it: one suggestion after another, under its lock, nothing thought out ahead.

Time: random floats stand for the trials before. Ours goes on through as many trials as it needs for a 95th percentile;
the length scale of its model is chosen anew on the way where its schedule says so. A stock suggestion is measured once
in each run, and with 1,000 trials once in all, in 10 dimensions, as it takes minutes there.

Quality: Branin's function, Hartmann's in 6 dimensions and Levy's in 4, ten seeds each, 30 trials; the simple regret is
the best value found less the least there is. The seeds decide all, so that each is run once, whatever `--runs` says.

New: on 60 points, how many of 40 suggestions are distinct.
"""

from __future__ import annotations

import contextlib
import math
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.bench.figures import Figures

Point = list[float]

DIMENSIONS = (4, 10, 20)
TRIALS = {50: 40, 200: 40, 1000: 100}  # trials before, and how many suggestions of ours are measured
SLOW = (1000, 10)  # trials and dimensions of the one stock suggestion that takes minutes
SEEDS = range(1, 11)
BUDGET = 30
LIMIT = 180.0  # seconds for the one stock suggestion with 1,000 trials
MINUTES = 45.0  # for three runs
SIDES = ("stock", "cluster")


# --- functions to be minimised over a unit cube, brought to a least value of 0


def branin(u: Point) -> float:
    """Branin's function: three minima, all of them least."""
    x, y = 15 * u[0] - 5, 15 * u[1]
    curve = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return curve**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.397887


def hartmann(u: Point) -> float:
    """Hartmann's function in 6 dimensions: six minima, one of them least."""
    weights = (1.0, 1.2, 3.0, 3.2)
    widths = (
        (10, 3, 17, 3.5, 1.7, 8),
        (0.05, 10, 17, 0.1, 8, 14),
        (3, 3.5, 1.7, 10, 17, 8),
        (17, 8, 0.05, 10, 0.1, 14),
    )
    middles = (
        (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
        (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
        (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
        (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
    )
    wells = [
        weight * math.exp(-sum(a * (x - p) ** 2 for a, x, p in zip(width, u, middle, strict=True)))
        for weight, width, middle in zip(weights, widths, middles, strict=True)
    ]
    return 3.32237 - sum(wells)


def levy(u: Point) -> float:
    """Levy's function: waves in a bowl."""
    w = [1 + (20 * x - 11) / 4 for x in u]
    inner = sum((x - 1) ** 2 * (1 + 10 * math.sin(math.pi * x + 1) ** 2) for x in w[:-1])
    last = (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)
    return math.sin(math.pi * w[0]) ** 2 + inner + last


FUNCTIONS: dict[str, tuple[Callable[[Point], float], int]] = {
    "Branin": (branin, 2),
    "Hartmann 6": (hartmann, 6),
    "Levy 4": (levy, 4),
}


# --- one oracle, of either side


class _Owner:
    """The role of a process that owns its project and runs no search."""

    tuner_id = "tuner0"
    owns_files = True

    def prepare(self, project: Path, overwrite: bool) -> None:
        """Nothing to prepare."""

    def search(self, tuner: Any, loop: Callable[[], None]) -> None:
        """Nothing to search."""


@contextlib.contextmanager
def oracle_of(side: str, dimensions: int, *, seed: int = 1, discrete: bool = False) -> Iterator[Any]:
    """KerasTuner's oracle over floats, or over 60 points, in a directory that goes away."""
    from cluster import seams

    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if side == "cluster":
            stack.enter_context(seams.installed(_Owner()))
        import keras_tuner

        space = keras_tuner.HyperParameters()
        if discrete:
            space.Int("a", 0, 4)
            space.Choice("b", ["x", "y", "z"])
            space.Float("c", 0.0, 0.3, step=0.1)
        else:
            for axis in range(dimensions):
                space.Float(f"x{axis}", 0.0, 1.0)
        oracle = keras_tuner.oracles.BayesianOptimizationOracle(
            objective=keras_tuner.Objective("score", "min"), max_trials=10_000, hyperparameters=space, seed=seed
        )
        oracle.verbose = 0
        oracle._set_project_dir(stack.enter_context(tempfile.TemporaryDirectory()), "bench")
        # Neither side's files are measured, nor how they are written.
        oracle.save = oracle._save_trial = lambda *_: None
        yield oracle


def end(oracle: Any, trial: Any, score: float) -> None:
    """A trial ends as it does on KerasTuner's chief."""
    oracle.update_trial(trial.trial_id, {"score": score})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)


def suggest(oracle: Any) -> tuple[Any, float]:
    """The next trial, and how long it took."""
    start = time.perf_counter()
    trial = oracle.create_trial("w")
    return trial, time.perf_counter() - start


def point_of(trial: Any) -> Point:
    """Where a trial over floats lies."""
    return list(trial.hyperparameters.values.values())


# --- what is measured


def seconds(side: str, trials: int, dimensions: int, number: int) -> list[float]:
    """How long suggestions take, from so many trials on."""

    def score(trial: Any) -> float:
        return sum((x - 0.3) ** 2 + 0.3 * math.sin(9 * x) for x in point_of(trial))

    with oracle_of(side, dimensions) as oracle:
        # The search has come so far, and its model with it: half of what is measured lies on either side.
        before = trials if side == "stock" else trials - number // 2
        oracle.num_initial_points = before
        for _ in range(before):
            trial = oracle.create_trial("w")
            end(oracle, trial, score(trial))
        if side == "cluster":
            trial = oracle.create_trial("w")
            end(oracle, trial, score(trial))
        took = []
        for _ in range(number):
            trial, time_taken = suggest(oracle)
            took.append(time_taken)
            end(oracle, trial, score(trial))
        return took


def regret(side: str, name: str, seed: int) -> float:
    """The simple regret of one search."""
    function, dimensions = FUNCTIONS[name]
    best = math.inf
    with oracle_of(side, dimensions, seed=seed) as oracle:
        for _ in range(BUDGET):
            trial, _ = suggest(oracle)
            value = function(point_of(trial))
            best = min(best, value)
            end(oracle, trial, value)
    return best


def distinct(side: str, seed: int) -> float:
    """How many of 40 suggestions on 60 points are distinct."""
    seen = set()
    with oracle_of(side, 3, seed=seed, discrete=True) as oracle:
        for _ in range(40):
            trial, _ = suggest(oracle)
            values = trial.hyperparameters.values
            seen.add(tuple(sorted(values.items())))
            end(oracle, trial, (values["a"] - 1) ** 2 + "xyz".index(values["b"]) + values["c"])
    return float(len(seen))


def _one_thread() -> None:
    """Processes beside each other share the cores; more threads than cores would be measured otherwise."""
    from threadpoolctl import threadpool_limits

    warnings.simplefilter("ignore")
    threadpool_limits(1)


def percentile(values: list[float], share: float) -> float:
    """The least value that this share of them does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def main(runs: int) -> dict[str, Figures]:
    """Measures both sides in turn; returns figures by side, the names of which tell their units."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sides: dict[str, Figures] = {side: {} for side in SIDES}
    for run in range(runs):
        for trials, number in TRIALS.items():
            for dimensions in DIMENSIONS:
                name = f"{trials} trials, d={dimensions}"
                ours = seconds("cluster", trials, dimensions, number)
                for what, value in (
                    ("median", statistics.median(ours)),
                    ("p95", percentile(ours, 0.95)),
                    ("longest", max(ours)),
                ):
                    sides["cluster"].setdefault(f"{name}: {what} [s]", []).append(value)
                if trials < SLOW[0]:
                    stock = seconds("stock", trials, dimensions, 1)
                    sides["stock"].setdefault(f"{name}: median [s]", []).extend(stock)
                elif (trials, dimensions) == SLOW and run == 0:
                    sides["stock"][f"{name}: median [s]"] = [_at_most(LIMIT, trials, dimensions)]
    spawn = get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn, initializer=_one_thread) as pool:
        asked = {
            (side, name, seed): pool.submit(regret, side, name, seed)
            for name in FUNCTIONS
            for seed in SEEDS
            for side in SIDES
        }
        new = {(side, seed): pool.submit(distinct, side, seed) for seed in SEEDS[:3] for side in SIDES}
        for (side, name, _), answer in asked.items():
            sides[side].setdefault(f"{name}: regret []", []).append(answer.result())
        for (side, _), answer in new.items():
            sides[side].setdefault("distinct of 40, on 60 points []", []).append(answer.result())
    return sides


def _at_most(limit: float, trials: int, dimensions: int) -> float:
    """One stock suggestion in a process of its own, which is stopped at the limit; the limit, then."""
    process = get_context("spawn").Pool(1)
    try:
        found = process.apply_async(seconds, ("stock", trials, dimensions, 1))
        return found.get(limit)[0]
    except TimeoutError:
        return limit
    finally:
        process.terminate()
        process.join()
