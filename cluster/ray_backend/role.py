"""What `tuner.search()` does under `cluster run --ray`: Ray Tune runs its trials, and fills the program's oracle."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import time
from collections.abc import Callable
from typing import Any

from cluster.errors import CannotSave, SearchFailed
from cluster.policy import Policy
from cluster.program import Identity
from cluster.ray_backend import borrowed
from cluster.ray_backend.connect import Places, Room, Wanted, connected
from cluster.ray_backend.ship import Fit, pack
from cluster.roles import Lookers, OwnerRole
from cluster.search import Search

log = logging.getLogger(__name__)


class RayRole(OwnerRole):
    """The driver of a Ray Tune run; trials run in Ray's processes.

    Args:
        identity: The program.
        policy: What the user decides about a search.
        wanted: What the user decides about Ray.
        fresh: Start every search anew, whatever is there.
    """

    def __init__(
        self, identity: Identity, policy: Policy, wanted: Wanted, *, fresh: bool = False, lookers: Lookers = ()
    ) -> None:
        super().__init__(identity, policy, fresh=fresh, lookers=lookers)
        borrowed.check_names(wanted.scheduler, wanted.search)
        self._wanted = wanted

    def search(self, tuner: Any, loop: Callable[[], None]) -> None:
        """Runs the search's trials on Ray."""
        assert isinstance(loop, functools.partial)
        borrowed.check_program(tuner, self._wanted.scheduler, self._wanted.search)
        fit = Fit(loop.args[1:], loop.keywords)
        shipment = pack(tuner, fit)
        with connected(self._wanted, os.environ) as room:
            loan = borrowed.borrow(self._wanted.search, tuner.oracle) if self._wanted.search else None
            search = self._begin(tuner, "ray")
            try:
                try:
                    with contextlib.nullcontext() if loan is None else loan.proposing():
                        _run(search, shipment, room, self._wanted, _judge(self._wanted, tuner, fit), loan)
                except BaseException:
                    search.give_back("the run was stopped")
                    raise
                self._end(search, tuner)
            finally:
                self._close(search)


def _judge(wanted: Wanted, tuner: Any, fit: Fit) -> Any:
    """Who stops trials early; None where nobody does."""
    from cluster.ray_backend.judge import Judge

    if not wanted.scheduler:
        return None
    epochs = fit.kwargs.get("epochs")
    last = epochs if isinstance(epochs, int) and epochs > 0 else None
    return Judge(
        wanted.scheduler,
        borrowed.make_scheduler(wanted.scheduler, tuner.oracle.objective.direction, last),
        last,
    )


def _run(search: Search, shipment: Any, room: Room, wanted: Wanted, judge: Any, loan: borrowed.Loan | None) -> None:
    from ray import tune

    from cluster.ray_backend.remote import run_trial
    from cluster.ray_backend.searcher import Follower, OracleSearcher, Overseer
    from cluster.rpc import codec
    from cluster.trainer import Device

    device = f"ray {room.cpus:g} cpu" + (f" {room.gpus:g} gpu" if room.gpus else "")
    places = Places(room, wanted.workers)
    searcher = OracleSearcher(search, codec.trial_to_json, codec.trial_from_json, device, places, judge, loan)
    storage = wanted.storage or str(search.directory / "ray")
    trainable = tune.with_parameters(run_trial, shipment=shipment)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": room.cpus, "gpu": room.gpus}),
        param_space={"cpus": room.cpus, "on": Device(device)},
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=judge,
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=lambda trial: f"trial-{trial.trial_id}",
            trial_dirname_creator=lambda trial: f"trial-{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name=f"{search.id}-{time.time_ns()}",
            storage_path=storage,
            stop=Overseer(searcher, search),
            callbacks=[Follower(searcher, search)],
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            failure_config=tune.FailureConfig(max_failures=0),  # what is lost runs again by the search's own rules
            verbose=0,
        ),
    )
    logging.getLogger("ray.tune.analysis").setLevel(logging.ERROR)  # the files that it looks for are not written
    tuner.fit()
    if searcher.failure is not None:
        raise searcher.failure
    if not search.over:
        raise SearchFailed("Ray Tune ended before the search had come to its end; what it wrote says why")
    if wanted.storage is None and not isinstance(search.failure, CannotSave):
        shutil.rmtree(storage, ignore_errors=True)  # the weights are in the project by now
