"""What a run can be asked to do: the choices, the defaults, and which of them make two runs the same search.

Owns: names, defaults and limits that the command line, the data and the search share. Does not own: how they are
read from the command line (`__main__.py`). Imports neither Keras nor NumPy, so that `--help` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

Source = Literal["auto", "real", "generated"]
Oracle = Literal["random", "grid", "bayesian", "hyperband"]
Space = Literal["default", "wide"]
Precision = Literal["float32", "mixed_bfloat16"]

SOURCES: tuple[Source, ...] = get_args(Source)
ORACLES: tuple[Oracle, ...] = get_args(Oracle)
SPACES: tuple[Space, ...] = get_args(Space)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

TRAIN_SIZE = 54_000  # images in the training part of the whole data set


@dataclass(frozen=True)
class Settings:
    """One run. `train` uses the first block only.

    `epochs` is the number that the baseline trains and the most that a trial may train. `project` None means
    `fashion-<oracle>`. KerasTuner takes seed 0 for "no seed", so seeds start at 1.
    """

    epochs: int = 5
    batch_size: int = 32
    seed: int = 1
    train_samples: int | None = None
    data: Source = "auto"
    precision: Precision = "float32"

    oracle: Oracle = "bayesian"
    max_trials: int = 8
    space: Space = "default"
    directory: Path = Path("results")
    project: str | None = None

    @property
    def project_name(self) -> str:
        """The project's folder within `directory`."""
        return self.project or f"fashion-{self.oracle}"

    @property
    def project_dir(self) -> Path:
        """Where KerasTuner keeps this search."""
        return self.directory / self.project_name

    def training(self, data_kind: str) -> dict[str, Any]:
        """What decides the result of one training, for JSON; `data_kind` is what "auto" turned out to be."""
        return {
            "data": data_kind,
            "train_samples": self.train_samples or TRAIN_SIZE,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "seed": self.seed,
            # Left out where it is the default: a search that was begun before there was a choice goes on.
            **({} if self.precision == "float32" else {"precision": self.precision}),
        }

    def search(self, data_kind: str) -> dict[str, Any]:
        """What decides which search it is, for JSON. `max_trials` is left out: a search may be asked for more."""
        return self.training(data_kind) | {"oracle": self.oracle, "space": self.space}
