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

        hps = coordinates(self.hyperparameters.space)
        names = [name for name, hp in hps.items() if count(hp) != 1]
        others = dict.fromkeys(hps, 0.5)  # the default of one value may be another
        if not names:
            yield others
            return
        engine = Sobol(len(names), scramble=True, seed=self.dice().getrandbits(31))
        if self.start_order:  # it cannot go on by none
            engine.fast_forward(len(self.start_order))
        for row in engine.random(AHEAD).tolist():
            yield {**others, **dict(zip(names, row, strict=True))}
