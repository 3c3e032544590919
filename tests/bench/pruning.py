"""The flagship's wide space by random search, every trial to its end beside `--prune`: whole time and best accuracy.

`python -m tests.bench.pruning [--trials N] [--epochs N] [--runs N] …`: both sides in turn, with the same trials; each
run has a seed of its own. The clock starts with the first process and ends with the last. The aim: a best validation
accuracy that is at most 0.002 lower, in at most 0.6 of the time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.prune import RULES

LIMIT = 6 * 3600  # seconds for one run
LOWER, SHARE = 0.002, 0.6  # the aim: how much lower the accuracy may be, and in what share of the time


@dataclass(frozen=True)
class Run:
    """What one search took and came to.

    Attributes:
        side: `all` or the rule.
        seed: Of the search.
        seconds: Of the whole run.
        accuracy: The best validation accuracy, in [0, 1].
        epochs: How many were trained, of all trials together.
        pruned: How many trials were stopped early.
    """

    side: str
    seed: int
    seconds: float
    accuracy: float
    epochs: int
    pruned: int


def run(side: str, seed: int, options: Sequence[str], program: Sequence[str]) -> Run:
    """Runs one search."""
    with tempfile.TemporaryDirectory() as directory:
        words = [sys.executable, "-m", "cluster", "run", *options, *program]
        words += ["--seed", str(seed), "--directory", directory]
        start = time.perf_counter()
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT)
        seconds = time.perf_counter() - start
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}")
        project = Path(directory) / "fashion-random"
        best = json.loads((project / "best" / "hyperparameters.json").read_text())
        return Run(
            side,
            seed,
            round(seconds, 3),
            float(best["val_accuracy"]),
            sum(event["event"] == "epoch" for event in _lines(project / "epochs.jsonl")),
            sum(event["event"] == "pruned" for event in _lines(project / "events.jsonl")),
        )


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def summary(runs: Sequence[Run], rule: str) -> str:
    """A table of the seeds, and how the medians stand to the aim."""
    lines = ["seed   seconds all / pruned   share   best all / pruned   difference   epochs all / pruned   stopped"]
    shares, differences = [], []
    for seed in dict.fromkeys(x.seed for x in runs):
        whole, early = (next(x for x in runs if (x.seed, x.side) == (seed, side)) for side in ("all", rule))
        shares.append(early.seconds / whole.seconds)
        differences.append(early.accuracy - whole.accuracy)
        lines.append(
            f"{seed:4}   {whole.seconds:9.1f} / {early.seconds:8.1f}   {shares[-1]:5.2f}   "
            f"{whole.accuracy:8.4f} / {early.accuracy:6.4f}   {differences[-1]:+10.4f}   "
            f"{whole.epochs:10} / {early.epochs:6}   {early.pruned:7}"
        )
    share, difference = statistics.median(shares), statistics.median(differences)
    reached = "reached" if share <= SHARE and difference >= -LOWER else "missed"
    lines.append(f"median share {share:.2f} (aim {SHARE}), difference {difference:+.4f} (aim -{LOWER}): {reached}")
    return "\n".join(lines)


def main() -> None:
    """Measures both sides in turn."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pruning", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=24, help="trials a search (default: 24)")
    parser.add_argument("--epochs", type=int, default=9, help="the most epochs a trial may take (default: 9)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side, a seed each (default: 3)")
    parser.add_argument("--seed", type=int, default=1, help="the first seed (default: 1)")
    parser.add_argument("--workers", type=int, default=2, help="workers of this box (default: 2)")
    parser.add_argument("--prune", choices=RULES, default="asha", help="the rule (default: asha)")
    parser.add_argument("--min-epochs", type=int, default=1, help="as --prune-min-epochs (default: 1)")
    parser.add_argument("--factor", type=int, default=3, help="as --prune-factor (default: 3)")
    parser.add_argument("--data", default="real", help="as of fashion (default: real)")
    parser.add_argument("--train-samples", type=int, help="train on so many images (default: all)")
    parser.add_argument("--json", type=Path, help="where to keep every figure")
    given = parser.parse_args()
    program = ["-m", "fashion", "tune", "--data", given.data, "--oracle", "random", "--space", "wide"]
    program += ["--max-trials", str(given.trials), "--epochs", str(given.epochs)]
    program += ["--train-samples", str(given.train_samples)] if given.train_samples else []
    rule = ["--prune", given.prune, "--prune-min-epochs", str(given.min_epochs), "--prune-factor", str(given.factor)]
    runs: list[Run] = []
    for seed in range(given.seed, given.seed + given.runs):
        for side, more in (("all", []), (given.prune, rule)):
            found = run(side, seed, ["--workers", str(given.workers), *more], program)
            runs.append(found)
            print(
                f"seed {seed}, {side}: {found.seconds:.0f} s, best validation accuracy {found.accuracy:.4f}, "
                f"{found.epochs} epochs, {found.pruned} stopped",
                flush=True,
            )
    print(f"\n{summary(runs, given.prune)}")
    if given.json:
        given.json.write_text(json.dumps([asdict(x) for x in runs], indent=2) + "\n")


if __name__ == "__main__":
    main()
