"""`python -m tests.bench [--runs N] [--json FILE] [NAME]...`: sides in turn, medians of several runs."""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
from pathlib import Path

from fashion.diagnose import diagnose
from tests.bench import containers, dispatch, flagship, processes, ray

BENCHES = {"processes": processes, "dispatch": dispatch, "containers": containers, "flagship": flagship, "ray": ray}


def engine_answers() -> bool:
    """Whether containers can run here."""
    return (
        shutil.which("docker") is not None and subprocess.run(["docker", "info"], capture_output=True).returncode == 0
    )


def real_data_is_here() -> bool:
    """Whether the flagship finds the real data, without a network."""
    return any(state == "ok" for state, *_ in diagnose())


def main() -> None:
    """Runs the benches and prints a table of medians."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measures the cluster beside its peers.")
    parser.add_argument(
        "benches", nargs="*", default=[], metavar="|".join(BENCHES), help="which; all, if none is named"
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each side (default: 3)")
    parser.add_argument("--json", type=Path, help="where to keep every figure")
    arguments = parser.parse_args()
    if unknown := set(arguments.benches) - set(BENCHES):
        parser.error(f"no bench is named {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    kept = {}
    for name in arguments.benches or BENCHES:
        if name == "containers" and not engine_answers():
            print("containers: left out, no Docker Engine answers")
            continue
        if name == "flagship" and not real_data_is_here():
            print("flagship: left out, the real data is not here (FASHION_MNIST_DIR)")
            continue
        if name == "ray" and not ray.is_there():
            print("ray: left out, Ray is not installed (the extra `ray`)")
            continue
        kept[name] = BENCHES[name].main(arguments.runs)
        print(f"\n{(BENCHES[name].__doc__ or name).splitlines()[0]}")
        for side, figures in kept[name].items():
            for what, found in figures.items():
                spread = f"{min(found):.1f} to {max(found):.1f}"
                unit = getattr(BENCHES[name], "UNIT", "s")
                print(f"  {side:<14} {what:<22} {statistics.median(found):6.1f} {unit}  (of {len(found)}: {spread})")
    if arguments.json:
        arguments.json.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
