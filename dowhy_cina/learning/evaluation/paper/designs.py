"""The paper's simulated designs: Simulation A by mechanism, Erdos-Renyi structural models by size of the graph.

Letters: N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from dowhy_cina.learning.simulators.assembly import Switches
from dowhy_cina.learning.simulators.designs import simulation_a
from dowhy_cina.learning.simulators.families import structural
from dowhy_cina.learning.simulators.table import SimulatedTable


@dataclass(frozen=True)
class Design:
    """One of the paper's families of tables.

    Attributes
    ----------
    name : str
    columns : int
        Covariates.
    simulator : callable
        Draws a table from a generator, a number of rows and one of columns, with the switches given.
    targeting : float
        As of the switches.
    """

    name: str
    columns: int
    simulator: Callable[..., SimulatedTable]
    targeting: float = 0.0

    def draw(self, rng: np.random.Generator, rows: int) -> SimulatedTable:
        """Draw a table: half of the rows treated, moderate overlap, a continuous outcome, coefficients or graph anew.

        The effect is drawn too and varies a little between rows.
        """
        switches = Switches(
            share=0.5,
            overlap=1.2,
            targeting=self.targeting,
            effect_size=float(rng.normal(0, 0.5)),
            heterogeneity="weak",
            null=False,
            noise_share=0.3,
            outcome="gaussian",
        )
        return self.simulator(rng, rows, self.columns, switches=switches)

    def tables(self, count: int, seed: int, rows: int) -> Iterator[SimulatedTable]:
        """Tables to test on, from a stream that training never draws from."""
        for index in range(count):
            yield self.draw(np.random.default_rng([seed, 79, index]), rows)


#: Squares and products of covariates at most: none, and as many as there are.
LINEAR = Design("Simulation A, linear", 10, partial(simulation_a, terms=(0, 0)))
NONLINEAR = Design("Simulation A, nonlinear", 10, partial(simulation_a, terms=(3, 10)))
#: By covariates. Treatment follows the causes of the outcome too: few of the large graphs would be confounded without.
GRAPHS = {size: Design(f"Erdos-Renyi, {size}", size, structural, targeting=0.5) for size in (10, 20, 40)}
#: Designs by name: Simulation A's mechanism, or the number of covariates of the graph.
DESIGNS = {design.name: design for design in (LINEAR, NONLINEAR, *GRAPHS.values())}
