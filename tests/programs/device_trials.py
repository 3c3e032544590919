"""A KerasTuner program whose trials write down what they run on: `device_trials.py [--trials N] [--seconds S]`.

Each trial appends a JSON line to seen.jsonl. While it runs, its process holds a lock on a file named after its GPU: a
second one on the same GPU would find it locked, and says so. HUNGRY=packed makes the third trial run out of memory
where the GPU is shared, HUNGRY=always wherever it runs.
"""

import argparse
import fcntl
import json
import os
import pathlib
import time

import keras_tuner

parser = argparse.ArgumentParser()
parser.add_argument("--trials", type=int, default=8)
parser.add_argument("--seconds", type=float, default=1.0)
arguments = parser.parse_args()


class ResourceExhaustedError(Exception):
    """As TensorFlow's."""


class DeviceTuner(keras_tuner.engine.base_tuner.BaseTuner):
    def run_trial(self, trial, *args, **kwargs):
        gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
        packed = "XLA_PYTHON_CLIENT_MEM_FRACTION" in os.environ
        with open(f"witness-{gpu}" + (f"-{os.getpid()}" if packed else ""), "a") as witness:
            try:
                fcntl.flock(witness, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = True
            except BlockingIOError:
                alone = False
            seen = {
                "trial": trial.trial_id,
                "gpu": gpu,
                "alone": alone,
                "packed": packed,
                "cores": sorted(os.sched_getaffinity(0)),
                "threads": os.environ.get("OMP_NUM_THREADS"),
                "process": os.getpid(),
                "began": time.time(),
            }
            with pathlib.Path("seen.jsonl").open("a") as lines:
                lines.write(json.dumps(seen) + "\n")
            time.sleep(arguments.seconds)
            hungry = os.environ.get("HUNGRY")
            if trial.trial_id == "2" and (hungry == "always" or (hungry == "packed" and packed)):
                raise ResourceExhaustedError("OOM when allocating tensor with shape[1000000]")
        return trial.hyperparameters.Float("x", 0.0, 1.0)


oracle = keras_tuner.oracles.RandomSearchOracle(
    objective=keras_tuner.Objective("score", "min"), max_trials=arguments.trials, seed=7
)
tuner = DeviceTuner(oracle=oracle, directory="results", project_name="devices")
tuner.search()
if os.environ.get("CUDA_VISIBLE_DEVICES") == "-1":
    print("no GPU is seen here")
