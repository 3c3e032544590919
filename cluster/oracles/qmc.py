"""Sobol's points, of SciPy."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.oracles.latent import coordinates, count
from cluster.oracles.oracle import ModelOracle

AHEAD = 32  # points that are looked at, a power of two


class QMCOracle(ModelOracle):
    """Proposes points that fill the space more evenly than random ones: Sobol's, scrambled by the seed.

    Learns nothing from scores. Takes what every oracle of KerasTuner's takes. Every hyperparameter has a dimension;
    that of one that is not active is left out.
    """

    def points(self) -> Iterator[dict[str, float]]:
        """The next points of the sequence."""
        from scipy.stats.qmc import Sobol

        names = [name for name, hp in coordinates(self.hyperparameters.space).items() if count(hp) != 1]
        if not names:
            yield {}
            return
        engine = Sobol(len(names), scramble=True, seed=self.dice().getrandbits(31))
        if self.start_order:  # it cannot go on by none
            engine.fast_forward(len(self.start_order))
        for row in engine.random(AHEAD).tolist():
            yield dict(zip(names, row, strict=True))
