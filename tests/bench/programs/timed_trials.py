"""A KerasTuner program whose trials sleep, and write when they did: `timed_trials.py --trials N --seconds S`.

Each trial adds a line to the file `spells` in the working directory: its process, its begin and its end, in Unix
seconds. With `--first-until FILE` trial 0 lasts until that file is there, and with `--one-at-a-time` the oracle has
no other trial meanwhile.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import keras_tuner

PARSER = argparse.ArgumentParser()
PARSER.add_argument("--trials", type=int, default=8)
PARSER.add_argument("--seconds", type=float, default=1.0)
PARSER.add_argument("--first-until", type=Path)
PARSER.add_argument("--one-at-a-time", action="store_true")


class WaitingOracle(keras_tuner.oracles.RandomSearchOracle):  # type: ignore[misc]
    """Has no trial while another runs."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if self.ongoing_trials:
            return {"status": "IDLE"}
        return dict(super().populate_space(trial_id))


class TimedTuner(keras_tuner.engine.base_tuner.BaseTuner):  # type: ignore[misc]
    def on_search_begin(self) -> None:
        print("asks for trials", flush=True)

    def run_trial(self, trial: Any, options: argparse.Namespace) -> float:
        begin = time.time()
        time.sleep(options.seconds)
        if options.first_until is not None and int(trial.trial_id) == 0:
            while not options.first_until.exists():
                time.sleep(1.0)
        line = json.dumps({"process": os.getpid(), "begin": begin, "end": time.time()})
        file = os.open("spells", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(file, f"{line}\n".encode())
        os.close(file)
        return float(trial.hyperparameters.get("x")) ** 2


def main() -> None:
    options = PARSER.parse_args()
    space = keras_tuner.HyperParameters()
    space.Float("x", -1.0, 1.0)
    kind = WaitingOracle if options.one_at_a_time else keras_tuner.oracles.RandomSearchOracle
    oracle = kind(
        objective=keras_tuner.Objective("score", "min"), max_trials=options.trials, hyperparameters=space, seed=7
    )
    TimedTuner(oracle=oracle, directory="results", project_name="timed").search(options)


if __name__ == "__main__":
    main()
