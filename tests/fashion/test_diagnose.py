"""What the program tells `cluster doctor` about its data: found, missing or damaged, and never downloaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fashion.diagnose import Finding, diagnose
from fashion.idx import OfficialFiles

Small = tuple[Path, OfficialFiles]
Bare = dict[str, str]


def finding(environ: Bare, files: OfficialFiles) -> Finding:
    [found] = diagnose(environ, files)
    return found


def test_nothing_here_is_a_note(bare: Bare, small: Small) -> None:
    state, text, advice = finding(bare, small[1])
    assert state == "note"
    assert f"not in {bare['KERAS_HOME']}/datasets/fashion-mnist: a run downloads it" in text
    assert "draws images in its place" in text
    assert advice == "Set FASHION_MNIST_DIR to a folder with the four official files"
    assert list(Path(bare["KERAS_HOME"]).iterdir()) == []


def test_the_folder_of_the_variable_is_told(bare: Bare, small: Small) -> None:
    folder, files = small
    assert finding({**bare, "FASHION_MNIST_DIR": str(folder)}, files) == (
        "ok",
        f"Fashion-MNIST, the real images, in {folder}",
        "",
    )


@pytest.mark.parametrize("cache", ["keras-home", ".keras"], ids=["home", "temporary"])
def test_the_caches_of_keras_are_looked_at(bare: Bare, small: Small, tmp_path: Path, cache: str) -> None:
    place = tmp_path / cache / "datasets" / "fashion-mnist"
    shutil.copytree(small[0], place)
    assert finding(bare, small[1]) == ("ok", f"Fashion-MNIST, the real images, in {place}", "")


def test_a_folder_that_lacks_a_file_is_a_problem_whatever_the_cache_has(bare: Bare, small: Small) -> None:
    folder, files = small
    shutil.copytree(folder, Path(bare["KERAS_HOME"]) / "datasets" / "fashion-mnist")
    (folder / files.test_labels.name).unlink()
    state, text, advice = finding({**bare, "FASHION_MNIST_DIR": str(folder)}, files)
    assert (state, text) == ("problem", f"FASHION_MNIST_DIR is {folder}, where there is no {files.test_labels.name}")
    assert advice == "Put the four official files there, or unset FASHION_MNIST_DIR"


def test_a_damaged_file_is_a_problem(bare: Bare, small: Small) -> None:
    folder, files = small
    with (folder / files.train_labels.name).open("ab") as file:
        file.write(b"x")
    state, text, advice = finding({**bare, "FASHION_MNIST_DIR": str(folder)}, files)
    assert state == "problem"
    assert f"{files.train_labels.name} is not the official file" in text
    assert advice.startswith("Delete it and get it again from")


def test_the_environment_of_the_process_is_the_default(bare: Bare) -> None:
    [(state, text, _)] = diagnose()
    assert state == "note"
    assert bare["KERAS_HOME"] in text
