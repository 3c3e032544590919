# mypy: ignore-errors
"""A KerasTuner program whose trials write down what they were given, where they ran, and when.

It knows nothing of any cluster.
"""

import argparse
import json
import os
import pathlib
import socket
import time

import keras_tuner

SEEN = pathlib.Path("results/seen")


class Witness(keras_tuner.engine.base_tuner.BaseTuner):
    def run_trial(self, trial, seconds):
        host = socket.gethostname()
        seen = {
            "trial": trial.trial_id,
            "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "cores": sorted(os.sched_getaffinity(0)),
            "host": host,
            "start": time.time(),
        }
        file = SEEN / f"{host}-{os.getpid()}-{trial.trial_id}.json"
        file.write_text(json.dumps(seen))
        print(f"trial {trial.trial_id} begins on {host}", flush=True)
        time.sleep(seconds)
        file.write_text(json.dumps(seen | {"end": time.time()}))
        return trial.hyperparameters.get("x") ** 2


def build(hp):
    hp.Float("x", -1.0, 1.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()

    print(f"this process sees CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')}", flush=True)
    SEEN.mkdir(parents=True, exist_ok=True)
    oracle = keras_tuner.oracles.RandomSearchOracle(max_trials=options.trials, seed=7)
    tuner = Witness(oracle, build, directory="results", project_name="devices")
    tuner.search(options.seconds)


if __name__ == "__main__":
    main()
