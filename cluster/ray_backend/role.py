"""What `tuner.search()` does under `cluster run --ray`: Ray Tune runs its trials, and fills the program's oracle."""

from __future__ import annotations

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
from cluster.ray_backend.connect import Room, Wanted, connected
from cluster.ray_backend.ship import Fit, pack
from cluster.roles import OwnerRole
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

    def __init__(self, identity: Identity, policy: Policy, wanted: Wanted, *, fresh: bool = False) -> None:
        super().__init__(identity, policy, fresh=fresh)
        self._wanted = wanted

    def search(self, tuner: Any, loop: Callable[[], None]) -> None:
        """Runs the search's trials on Ray."""
        assert isinstance(loop, functools.partial)
        shipment = pack(tuner, Fit(loop.args[1:], loop.keywords))
        with connected(self._wanted, os.environ) as room:
            search = self._begin(tuner, "ray")
            try:
                try:
                    _run(search, shipment, room, self._wanted)
                except BaseException:
                    search.give_back("the run was stopped")
                    raise
                self._end(search, tuner)
            finally:
                search.close()


def _run(search: Search, shipment: Any, room: Room, wanted: Wanted) -> None:
    from ray import tune

    from cluster.ray_backend.remote import run_trial
    from cluster.ray_backend.searcher import Follower, OracleSearcher, Overseer
    from cluster.rpc import codec
    from cluster.trainer import Device

    device = f"ray {room.cpus:g} cpu" + (f" {room.gpus:g} gpu" if room.gpus else "")
    searcher = OracleSearcher(search, codec.trial_to_json, codec.trial_from_json, device)
    storage = wanted.storage or str(search.directory / "ray")
    on = Device(device, gpu=room.gpus > 0, packed=0 < room.gpus < 1)
    trainable = tune.with_parameters(run_trial, shipment=shipment)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": room.cpus, "gpu": room.gpus}),
        param_space={"cpus": room.cpus, "on": on},
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=room.at_once,  # Ray asks ahead, and an oracle knows more when it is asked later
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
