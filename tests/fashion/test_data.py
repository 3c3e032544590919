"""Loading: where the data come from, in which order, how they are split, and that a fall back is never silent."""

from __future__ import annotations

import logging
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fashion import data
from fashion.data import Dataset
from fashion.download import fetch
from fashion.errors import DataError, DownloadError
from fashion.idx import OfficialFiles, read_folder
from fashion.settings import Source
from tests.fashion.conftest import TEST, TRAIN

Small = tuple[Path, OfficialFiles]
Bare = dict[str, str]


@pytest.fixture(scope="module")
def generated() -> Dataset:
    return data.load("generated")


def cache_of(environ: Bare) -> Path:
    return Path(environ["KERAS_HOME"]) / "datasets" / "fashion-mnist"


def check_form(dataset: Dataset, train: int, val: int, test: int) -> None:
    (x_train, y_train), (x_val, y_val), (x_test, y_test) = dataset
    for images, labels, count in ((x_train, y_train, train), (x_val, y_val, val), (x_test, y_test, test)):
        assert images.shape == (count, 28, 28, 1)
        assert images.dtype == np.float32
        assert 0 <= images.min() < images.max() <= 1
        assert labels.shape == (count,)
        assert labels.dtype == np.int64
        assert set(np.unique(labels)) <= set(range(10))


def test_generated_data_have_the_form_of_the_real(generated: Dataset) -> None:
    check_form(generated, 54_000, 6_000, 10_000)
    assert generated.generated
    assert generated.kind == "generated"
    assert "generated" in generated.title
    assert "NOT Fashion-MNIST" in generated.title


def test_fewer_samples_are_the_first_ones(generated: Dataset) -> None:
    few = data.load("generated", train_samples=900)
    check_form(few, 900, 100, 10_000)
    for part, whole in zip(few, generated, strict=True):
        np.testing.assert_array_equal(part[0], whole[0][: len(part[0])])
        np.testing.assert_array_equal(part[1], whole[1][: len(part[1])])


@pytest.mark.parametrize("samples", [0, -1, 54_001])
def test_impossible_numbers_of_samples_are_refused(samples: int) -> None:
    with pytest.raises(ValueError, match=r"must be in 1\.\.54000"):
        data.load("generated", train_samples=samples)


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(ValueError, match="choose from auto, real, generated"):
        data.load("mnist")  # type: ignore[arg-type]


def test_the_last_tenth_is_for_validation(small: Small) -> None:
    folder, files = small
    dataset = data.load("real", environ={"FASHION_MNIST_DIR": str(folder)}, files=files)
    raw = read_folder(folder, files)
    check_form(dataset, 54, 6, TEST)
    assert not dataset.generated
    assert dataset.kind == "real"
    np.testing.assert_allclose(dataset.train[0][..., 0], raw.train_images[:54] / 255, rtol=1e-6)
    np.testing.assert_allclose(dataset.val[0][..., 0], raw.train_images[54:] / 255, rtol=1e-6)
    np.testing.assert_array_equal(dataset.val[1], raw.train_labels[54:])
    np.testing.assert_array_equal(dataset.test[1], raw.test_labels)


def test_fewer_real_samples_keep_the_validation_part_apart(small: Small) -> None:
    folder, files = small
    environ = {"FASHION_MNIST_DIR": str(folder)}
    dataset = data.load("real", 18, environ=environ, files=files)
    check_form(dataset, 18, 2, TEST)
    whole = data.load("real", environ=environ, files=files)
    np.testing.assert_array_equal(dataset.val[0], whole.val[0][:2])
    assert len(data.load("real", 1, environ=environ, files=files).val[0]) == 1


def test_the_variable_comes_before_the_cache(bare: Bare, small: Small, tmp_path: Path) -> None:
    folder, files = small
    cache_of(bare).mkdir(parents=True)
    for file in files:
        (cache_of(bare) / file.name).write_bytes(b"never looked at")
    assert not data.load("auto", environ=bare | {"FASHION_MNIST_DIR": str(folder)}, files=files).generated


def test_the_process_environment_is_the_default(bare: Bare, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_MNIST_DIR", str(small[0]))
    assert not data.load("real", files=small[1]).generated


@pytest.mark.parametrize("source", ["auto", "real"])
def test_a_variable_that_lacks_files_is_an_error_even_for_auto(bare: Bare, small: Small, source: Source) -> None:
    folder, files = small
    (folder / files.test_labels.name).unlink()
    with pytest.raises(DataError, match=r"FASHION_MNIST_DIR is .*lacks test-labels\.gz\. Put"):
        data.load(source, environ=bare | {"FASHION_MNIST_DIR": str(folder)}, files=files)
    with pytest.raises(DataError, match="is not a folder"):
        data.load(source, environ=bare | {"FASHION_MNIST_DIR": str(folder / "absent")}, files=files)


def test_a_variable_with_a_wrong_file_is_an_error(bare: Bare, small: Small) -> None:
    folder, files = small
    with (folder / files.train_images.name).open("r+b") as file:
        file.write(b"!")
    with pytest.raises(DataError, match=r"train-images\.gz is not the official file: expected MD5"):
        data.load("auto", environ=bare | {"FASHION_MNIST_DIR": str(folder)}, files=files)


def test_an_empty_variable_is_no_variable(bare: Bare, small: Small) -> None:
    folder, files = small
    shutil.copytree(folder, cache_of(bare))
    assert not data.load("real", environ=bare | {"FASHION_MNIST_DIR": ""}, files=files).generated


def test_the_temporary_cache_is_read_too(bare: Bare, small: Small, tmp_path: Path) -> None:
    folder, files = small
    shutil.copytree(folder, tmp_path / ".keras" / "datasets" / "fashion-mnist")
    assert not data.load("real", environ=bare, files=files).generated


def test_nothing_is_downloaded_twice(bare: Bare, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, files = small
    monkeypatch.undo()  # the network that fails; the address is a file
    monkeypatch.setattr(data, "fetch", partial(fetch, base_url=f"{folder.as_uri()}/"))
    environ = bare | {"FASHION_MNIST_DIR": ""}
    assert len(data.load("real", environ=environ, files=files).train[0]) == TRAIN - TRAIN // 10
    shutil.rmtree(folder)
    assert not data.load("real", environ=environ, files=files).generated


def test_auto_falls_back_loudly(bare: Bare, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        dataset = data.load("auto", 50, environ=bare)
    assert dataset.generated
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    for words in ("GENERATED", "no network in this test", "FASHION_MNIST_DIR", "--data real"):
        assert words in record.getMessage()


def test_real_never_falls_back(bare: Bare) -> None:
    with pytest.raises(DownloadError, match="Set FASHION_MNIST_DIR"):
        data.load("real", environ=bare)


def test_generated_never_looks_for_files(bare: Bare, caplog: pytest.LogCaptureFixture) -> None:
    assert data.load("generated", 50, environ=bare | {"FASHION_MNIST_DIR": "absent"}).generated
    assert not caplog.records


@pytest.mark.parametrize("source", ["auto", "real"])
def test_a_damaged_cache_is_an_error_without_network(bare: Bare, small: Small, source: Source) -> None:
    folder, files = small
    shutil.copytree(folder, cache_of(bare))
    path = cache_of(bare) / files.train_images.name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"train-images\.gz is not the official file"):
        data.load(source, environ=bare, files=files)


def test_a_damaged_cache_is_repaired_with_a_network(
    bare: Bare, small: Small, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, files = small
    shutil.copytree(folder, cache_of(bare))
    (cache_of(bare) / files.train_images.name).write_bytes(b"cut")
    monkeypatch.undo()
    monkeypatch.setattr(data, "fetch", partial(fetch, base_url=f"{folder.as_uri()}/"))
    assert not data.load("auto", environ=bare, files=files).generated
    assert "not the official file" in caplog.text


@pytest.mark.realdata
@pytest.mark.skipif(not os.environ.get("FASHION_MNIST_DIR"), reason="FASHION_MNIST_DIR is not set: no real data")
def test_the_real_data() -> None:
    dataset = data.load("real")
    check_form(dataset, 54_000, 6_000, 10_000)
    assert not dataset.generated
    assert dataset.title == "Fashion-MNIST"
    (_, y_train), (_, y_val), (_, y_test) = dataset
    assert np.bincount(np.concatenate([y_train, y_val])).tolist() == [6_000] * 10
    assert np.bincount(y_test).tolist() == [1_000] * 10
    assert y_train[:5].tolist() == [9, 0, 0, 3, 0]
