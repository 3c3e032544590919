"""The command line: `python -m fashion train|tune|compare`.

Owns: arguments, their help and checks, exit codes (see `errors.py`), and how log messages look. Does not own: what
the commands do. Keras is imported only once the arguments are known to be good, so help and errors come at once.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from fashion.errors import FashionError
from fashion.quiet import import_keras
from fashion.settings import ORACLES, PRECISIONS, SOURCES, SPACES, TRAIN_SIZE, Oracle, Settings

DEFAULTS = Settings()
BAD_ARGUMENTS = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class Parser(argparse.ArgumentParser):
    """An argument parser that shows defaults in its help, takes no abbreviations, and whose errors are one line."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.ArgumentDefaultsHelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_ARGUMENTS, f"{self.prog}: error: {message} (help: {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit code."""
    parsed = vars(make_parser().parse_args(arguments))
    settings = Settings(**{field.name: parsed[field.name] for field in fields(Settings) if field.name in parsed})
    # Without effect where logging is set up already.
    logging.basicConfig(format="%(levelname)s: %(message)s")
    logging.getLogger("fashion").setLevel(logging.INFO)
    try:
        import_keras()
        _run(parsed["command"], settings, parsed.get("oracles", ()))
    except FashionError as error:
        print(f"fashion: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("fashion: interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    return 0


def _run(command: str, settings: Settings, oracles: Sequence[Oracle]) -> None:
    if command == "train":
        from fashion import train

        train.run(settings)
    elif command == "tune":
        from fashion import tune

        tune.run(settings)
    else:
        from fashion import compare

        compare.run(settings, oracles)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser; its defaults are those of `Settings`."""
    parser = Parser(prog="python -m fashion", description="Tunes a small CNN on Fashion-MNIST with KerasTuner.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="train|tune|compare")

    train = commands.add_parser("train", help="train the baseline", description=TRAIN)
    _add_training(train)
    tune = commands.add_parser("tune", help="run one search", description=TUNE)
    _add_training(tune)
    _add_search(tune)
    tune.add_argument("--oracle", choices=ORACLES, default=DEFAULTS.oracle, help="how the next trial is chosen")
    tune.add_argument(
        "--project",
        metavar="NAME",
        default=argparse.SUPPRESS,
        help="folder in DIRECTORY; fashion-<oracle> if not given",
    )
    compare = commands.add_parser("compare", help="the baseline and several searches", description=COMPARE)
    _add_training(compare)
    _add_search(compare)
    compare.add_argument(
        "--oracles", type=_oracles, default="random,grid,bayesian", help=f"comma-separated, of {', '.join(ORACLES)}"
    )
    return parser


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--epochs", type=_count(), default=DEFAULTS.epochs, help="epochs, or the most a trial may take")
    parser.add_argument("--batch-size", type=_count(), default=DEFAULTS.batch_size, help="images a training step")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=DEFAULTS.precision,
        help="of the arithmetic; mixed_bfloat16 is quicker where the processor has it (AVX512-BF16, AMX)",
    )
    parser.add_argument("--seed", type=_count(2**32 - 1), default=DEFAULTS.seed, help="for everything random; from 1")
    parser.add_argument(
        "--train-samples",
        type=_count(TRAIN_SIZE),
        metavar="N",
        default=argparse.SUPPRESS,
        help=f"train on the first N images only (and validate on N/9); all {TRAIN_SIZE:,} if not given",
    )
    parser.add_argument(
        "--data",
        choices=SOURCES,
        default=DEFAULTS.data,
        help="real: Fashion-MNIST or an error; generated: drawn images; auto: real if possible, or a warning and drawn",
    )


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-trials",
        type=_count(),
        default=DEFAULTS.max_trials,
        help="trials a search; hyperband sets its own number",
    )
    parser.add_argument("--space", choices=SPACES, default=DEFAULTS.space, help="what is tuned")
    parser.add_argument("--directory", type=Path, default=DEFAULTS.directory, help="where results are kept")


def _count(most: int | None = None) -> Callable[[str], int]:
    """Returns a reader of whole numbers from 1 to `most`."""

    def read(text: str) -> int:
        limits = "at least 1" if most is None else f"in 1..{most}"
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number {limits}, not {text!r}") from None
        if number < 1 or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"must be {limits}, not {number}")
        return number

    return read


def _oracles(text: str) -> tuple[Oracle, ...]:
    names = [name.strip() for name in text.split(",")]
    chosen = tuple(oracle for name in dict.fromkeys(names) for oracle in ORACLES if oracle == name)
    unknown = [name for name in names if name not in ORACLES]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown oracle {unknown[0]!r} (choose from {', '.join(ORACLES)})")
    return chosen


DATA = """The data are taken from the folder in FASHION_MNIST_DIR, Keras's cache, or the network, whichever comes
first."""

TRAIN = f"""Trains the baseline, two convolutions and a dense layer with the default hyperparameters, and tests it.
{DATA}"""

TUNE = f"""Searches for better hyperparameters: learning rate, dense units and epochs; the wide space adds dropout,
batch normalisation, kernel size, mirrored images, batch size and a third block. The best model is tested once and
kept in DIRECTORY/NAME/best. The same command resumes a search that was interrupted. {DATA}"""

COMPARE = f"""Trains the baseline, then searches with each oracle, and writes the results beside those of the original
experiment to DIRECTORY/compare.md and compare.json. The same command resumes. {DATA}"""

if __name__ == "__main__":
    sys.exit(main())
