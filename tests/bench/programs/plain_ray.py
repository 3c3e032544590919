"""Ray Tune alone: `plain_ray.py --trials N --seconds S`, the peer of tests/programs/sleep_trials.py."""

import argparse
import json
import os
import tempfile
import time

import ray
from ray import tune

parser = argparse.ArgumentParser()
parser.add_argument("--trials", type=int, default=8)
parser.add_argument("--seconds", type=float, default=1.0)
parser.add_argument("--at-once", type=int, default=2)
parser.add_argument("--spells", help="a file to which each trial adds its process and its times")
arguments = parser.parse_args()


def trial(config: dict[str, float]) -> None:
    begin = time.time()
    time.sleep(arguments.seconds)
    if arguments.spells:
        line = json.dumps({"process": os.getpid(), "begin": begin, "end": time.time()})
        file = os.open(arguments.spells, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(file, f"{line}\n".encode())
        os.close(file)
    tune.report({"score": config["x"] ** 2})


ray.init(num_cpus=arguments.at_once, include_dashboard=False, log_to_driver=False)
tuner = tune.Tuner(
    tune.with_resources(trial, {"cpu": 1}),
    param_space={"x": tune.uniform(-1.0, 1.0)},
    tune_config=tune.TuneConfig(num_samples=arguments.trials, metric="score", mode="min", reuse_actors=True),
    run_config=tune.RunConfig(storage_path=tempfile.mkdtemp(), verbose=0),
)
began = time.time()
results = tuner.fit()
print("best", results.get_best_result().metrics["score"], "fit seconds", round(time.time() - began, 2))
