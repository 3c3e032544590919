"""The seams: what goes in and comes out, and what they mend in KerasTuner's files."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from cluster import seams
from cluster.errors import MissingDependency
from cluster.search import Answer
from tests.cluster.conftest import OwnerRole, finish, make_oracle, make_tuner, open_search, take


def test_the_installed_kerastuner_is_one_that_the_seams_know() -> None:
    import keras_tuner.src

    seams.check(importlib.metadata.version("keras-tuner"), keras_tuner.src)


@pytest.mark.parametrize("version", ["1.4.7", "1.5.0", "2.0"])
def test_another_version_is_refused_with_what_mends_it(version: str) -> None:
    with pytest.raises(
        MissingDependency, match=rf"KerasTuner {version} is installed.*pip install 'keras-tuner>=1.4.8,<1.5'"
    ):
        seams.check(version, types.ModuleType("keras_tuner.src"))


def test_a_private_name_that_changed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras_tuner.src
    from keras_tuner.src import utils

    monkeypatch.setattr(utils, "save_json", lambda path: None)
    with pytest.raises(MissingDependency, match=r"has no utils.save_json\(path, obj\)"):
        seams.check("1.4.8", keras_tuner.src)


def test_everything_is_put_back() -> None:
    import keras_tuner
    from keras_tuner.src import utils
    from keras_tuner.src.engine import oracle

    names: list[tuple[Any, str]] = [
        (keras_tuner.engine.base_tuner.BaseTuner, "__init__"),
        (keras_tuner.engine.base_tuner.BaseTuner, "search"),
        (utils, "save_json"),
        (oracle, "THREADS"),
        (keras_tuner.oracles.GridSearchOracle, "get_state"),
    ]
    before = [getattr(owner, name) for owner, name in names]
    with seams.installed(OwnerRole()):
        assert all(getattr(owner, name) is not old for (owner, name), old in zip(names, before, strict=True))
    assert [getattr(owner, name) for owner, name in names] == before


def test_the_program_decides_its_backend_before_kerastuner_is_imported() -> None:
    """Nothing is imported ahead of the program, and the seams are there as soon as KerasTuner is."""
    code = """
import sys
from cluster import seams
from tests.cluster.conftest import OwnerRole
with seams.installed(OwnerRole()):
    assert not {"keras", "tensorflow", "keras_tuner"} & set(sys.modules)
    import keras_tuner
    assert keras_tuner.engine.base_tuner.BaseTuner.search.__globals__["__name__"] == "cluster.seams.install"
    assert type(keras_tuner.__spec__.loader).__name__ == "SourceFileLoader"
assert keras_tuner.engine.base_tuner.BaseTuner.search.__globals__["__name__"] != "cluster.seams.install"
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.usefixtures("owned")
def test_kerastuners_own_variables_make_no_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "1")
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "mischief-1")
    tuner = make_tuner(tmp_path, make_oracle())
    assert type(tuner.oracle).__name__ == "RandomSearchOracle"
    assert tuner.tuner_id == "tuner0"
    assert os.environ["KERASTUNER_TUNER_ID"] == "mischief-1"


@pytest.mark.usefixtures("owned")
def test_a_project_of_kerastuners_own_chief_is_reloaded(tmp_path: Path) -> None:
    with open_search(tmp_path) as search:
        finish(search, take(search), 1.0)
    project = tmp_path / "project"
    (project / "tuner0.json").rename(project / "chief.json")
    tuner = make_tuner(tmp_path, make_oracle())
    assert [t.score for t in tuner.oracle.trials.values()] == [1.0]


def test_stock_kerastuner_reloads_what_we_wrote(tmp_path: Path) -> None:
    with seams.installed(OwnerRole()), open_search(tmp_path) as search:
        for _ in range(3):
            finish(search, take(search))
    tuner = make_tuner(tmp_path, make_oracle())
    tuner.reload()
    best = tuner.oracle.get_best_trials(3)
    assert [t.status for t in best] == ["COMPLETED"] * 3
    assert best[0].score == min(t.hyperparameters["x"] for t in best)
    assert tuner.remaining_trials == 0
    tuner.results_summary()


@pytest.mark.usefixtures("owned")
def test_grid_search_goes_on_after_every_trial(tmp_path: Path) -> None:
    """The chief restarts between any two calls; every value is tried once, in the order of an undisturbed run."""
    seen = []
    while True:
        with open_search(tmp_path, oracle=make_oracle("GridSearchOracle", trials=None)) as search:
            answer = search.next_trial("w", "t")
            if answer is Answer.OVER:
                break
            seen.append(answer.trial.hyperparameters["x"])  # type: ignore[union-attr]
        with open_search(tmp_path, oracle=make_oracle("GridSearchOracle", trials=None)) as search:
            finish(search, take(search))
    assert seen == list(range(10))


@pytest.mark.usefixtures("owned")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_bayesian_optimisation_goes_on_with_the_same_proposals(tmp_path: Path) -> None:
    """The chief restarts before each trial of the second run; the model's random numbers go on where they were."""

    def oracle() -> Any:
        import keras_tuner

        space = keras_tuner.HyperParameters()
        space.Float("x", 0.0, 1.0)
        space.Float("y", 0.0, 1.0)
        return make_oracle("BayesianOptimizationOracle", trials=7, hyperparameters=space, num_initial_points=3)

    def proposals(directory: Path, restarts: bool) -> list[dict[str, float]]:
        with contextlib.ExitStack() as stack:
            search = stack.enter_context(open_search(directory, oracle=oracle()))
            found = []
            while (answer := search.next_trial("w", "t")) is not Answer.OVER:
                values = dict(answer.trial.hyperparameters.values)  # type: ignore[union-attr]
                found.append(values)
                finish(search, answer, (values["x"] - 0.3) ** 2 + values["y"])  # type: ignore[arg-type]
                if restarts:
                    search = stack.enter_context(open_search(directory, oracle=oracle()))
            return found

    undisturbed = proposals(tmp_path / "a", restarts=False)
    assert len(undisturbed) == 7
    assert proposals(tmp_path / "b", restarts=True) == undisturbed


@pytest.mark.usefixtures("owned")
def test_a_grid_search_that_stock_kerastuner_saved_goes_on(tmp_path: Path) -> None:
    with open_search(tmp_path, oracle=make_oracle("GridSearchOracle", trials=None)) as search:
        for _ in range(4):
            finish(search, take(search))
    path = tmp_path / "project" / "oracle.json"
    saved = json.loads(path.read_text())
    del saved["ordered_ids"], saved["populate_next"]
    path.write_text(json.dumps(saved))
    with open_search(tmp_path, oracle=make_oracle("GridSearchOracle", trials=None)) as search:
        while search.next_trial("w", "t") is not Answer.OVER:
            finish(search, take(search, trainer="t"))
        assert sorted(t["hyperparameters"]["values"]["x"] for t in search.state()["trials"]) == list(range(10))


@pytest.mark.usefixtures("owned")
class TestACrash:
    """What a crash leaves between two writes is mended when the project is opened again."""

    def test_after_the_trial_and_before_the_oracle_was_saved(self, tmp_path: Path) -> None:
        with open_search(tmp_path) as search:
            grant = take(search)
            old = (tmp_path / "project" / "oracle.json").read_bytes()
            finish(search, grant, 4.0)
        (tmp_path / "project" / "oracle.json").write_bytes(old)
        with open_search(tmp_path) as search:
            assert search.trial("0").status == "COMPLETED"
            assert search.state()["oracle"]["end_order"] == ["0"]
            assert take(search).trial.trial_id == "1"
            search.end_trial(grant.trial, grant.attempt)  # the worker repeats what had no answer

    def test_before_the_oracle_knew_of_a_new_trial(self, tmp_path: Path) -> None:
        with open_search(tmp_path) as search:
            finish(search, take(search))
            old = (tmp_path / "project" / "oracle.json").read_bytes()
            lost = take(search)
        (tmp_path / "project" / "oracle.json").write_bytes(old)
        with open_search(tmp_path) as search:
            again = take(search)
            assert again.trial.trial_id == lost.trial.trial_id
            assert again.trial.hyperparameters.values == lost.trial.hyperparameters.values
            assert again.attempt == 2
            assert len(search.state()["trials"]) == 2

    @pytest.mark.parametrize("damage", ["cut", "gone"])
    def test_in_the_middle_of_a_trials_file(self, tmp_path: Path, damage: str) -> None:
        with open_search(tmp_path) as search:
            for _ in range(2):
                finish(search, take(search))
            values = dict(search.trial("0").hyperparameters.values)
        path = tmp_path / "project" / "trial_0" / "trial.json"
        path.write_bytes(path.read_bytes()[:40]) if damage == "cut" else path.unlink()
        with open_search(tmp_path) as search:
            again = take(search)
            assert (again.trial.trial_id, again.attempt) == ("0", 2)
            assert again.trial.hyperparameters.values == values
            finish(search, again)
            assert take(search).trial.trial_id == "2"
            assert search.trial("1").status == "COMPLETED"


@pytest.mark.usefixtures("owned")
def test_a_stock_message_has_parents_before_children(tmp_path: Path) -> None:
    import keras_tuner

    space = keras_tuner.HyperParameters()
    kind = space.Choice("kind", ["a", "b"])
    with space.conditional_scope("kind", ["a"]):
        space.Float("rate", 0.0, 1.0)
        space.Boolean("flag")
        with space.conditional_scope("flag", [True]):
            space.Int("units", 1, 3)
    assert kind == "a"
    found = seams.space_from_proto(space.to_proto())
    names = [hp.name for hp in found.space]
    assert sorted(names) == ["flag", "kind", "rate", "units"]
    assert names.index("kind") < names.index("rate")
    assert names.index("flag") < names.index("units")
