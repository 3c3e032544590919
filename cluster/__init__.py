"""Runs any KerasTuner program, unchanged, on a cluster of workers.

The map of the package, from the outside in; imports go only downwards:

    cli          names the commands; what goes wrong in one becomes a line and an exit code
    commands     the commands and their options; the only readers of argv and environment
    launch       `run --workers N`: chief and workers as child processes
    ray_backend  the same program on Ray Tune; the only importer of Ray
    worker       the supervisor of a trainer; trainer_process: the trainer as it sees it
    doctor       what this host has for a search, and what it lacks
    dashboard    the live page: server and static files
    status       a search in a table
    metrics      what Prometheus reads; losses: why attempts were lost, in classes
    tensorboard  TensorBoard's files of a search; optuna_export: a study of Optuna's; notebook: what `load` gives
    terminal     the search at the lower end of a terminal, other output above it; panel: what is drawn there
    roles        what tuner.search() does in each role
    observer     follows a search in the process that owns it, for those who show it
    follow       reads a search's files into a record, while they grow
    record       what is known of a search: trials, attempts, epochs, workers
    rpc          the chief on the wire
    watched      searches that are looked at from outside; changes: what has changed in a record, for a wire
    chief        who is here, and the program's searches one after another
    trainer      what stands in for tuner.oracle during a search
    search       one search: an oracle and its leases behind one lock
    thinking     what an oracle will be asked next, thought out beside the search
    pruning      which trials of a search are stopped early; prune: by which rule
    report       a search as tables, pictures and a page; several side by side
    placement    where a trainer runs: a slot on a GPU, or the processor
    coreshare    a trainer's share of its host's cores, dealt again when workers come and go
    seams        KerasTuner's private names, and only here
    program      the user's script or module
    notices      TensorFlow's notices, left out of a child's output; lines: as a terminal shows them in the end
    asides       what a child tells its parent in the middle of its output
    streams      this process's own output, led elsewhere; logs: what trials print, kept; jsonlog: the log as JSON
    leash        a child that does not outlive its parent
    resume       what a trial needs to go on at its next epoch
    past         what the event log tells of the processes before
    memory       a trainer's share of its GPU's memory, and whether it has run out
    iterators    tf.data iterators that end at once
    garbage      fewer and shorter looks for garbage
    bayes        KerasTuner's Gaussian process, thought out in milliseconds
    oracles      TPE, a Gaussian process, CMA-ES and Sobol's points, for any program
    devices      which GPUs there are; slots: who holds one; cores: who may run where
    afterimport  acts as soon as a module has been imported
    policy       what the user decides about a search; limits
    leases       grant, renew, expire, fence
    state        what is on disk
    errors       every error, and its exit code

A program needs none of this. `is_chief` is for the code that one process alone should run, `load` for notebooks.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cluster.errors import ClusterError

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.notebook import Search

__all__ = ["ClusterError", "is_chief", "load"]

_role: Any = None  # set by roles.run for as long as the program runs


def is_chief() -> bool:
    """Whether this process should do what must be done once: True on the chief, in a local run and without a launcher.

    Use it around a final retraining or a plot:

        tuner.search(x, y)
        if cluster.is_chief():
            tuner.get_best_models()[0].save("best.keras")

    In a process that KerasTuner's own variables make a distributed worker, without the launcher, it is False.
    """
    if _role is not None:
        return bool(_role.is_chief)
    return "KERASTUNER_ORACLE_IP" not in os.environ or "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")


def load(directory: str | Path) -> Search:
    """Reads a search from its files, in a notebook, while it runs or afterwards.

        search = cluster.load("results/digits")
        search.trials.plot.scatter("hp:rate", "score", logx=True)
        search.figures["history"]

    Args:
        directory: The project directory.

    Raises:
        UsageError: it is none, or cannot be read; where projects are in it, the text names them.
    """
    from cluster.notebook import Search

    return Search(directory)
