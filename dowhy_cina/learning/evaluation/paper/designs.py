"""The paper's simulated designs: Simulation A by mechanism, Erdos-Renyi structural models by size of the graph.

Letters: N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from dowhy_cina.config import TrainingConfig
from dowhy_cina.learning.simulators.assembly import Switches
from dowhy_cina.learning.simulators.designs import simulation_a
from dowhy_cina.learning.simulators.families import structural
from dowhy_cina.learning.simulators.table import SimulatedTable, Simulator
from dowhy_cina.learning.training.objectives import TrainingBatch
from dowhy_cina.learning.training.tables import training_batch

#: What all designs have in common: half of the rows treated, moderate overlap, an effect that varies a little,
#: continuous outcomes. The coefficients and the graphs are drawn anew for each table.
PLAIN = Switches(
    share=0.5,
    overlap=1.2,
    targeting=0.0,
    effect_size=0.5,
    heterogeneity="weak",
    null=False,
    noise_share=0.3,
    outcome="gaussian",
)


@dataclass(frozen=True)
class Design:
    """One of the paper's families of tables.

    Attributes
    ----------
    name : str
    columns : int
        Covariates.
    simulator : callable
        Draws a table from a generator, a number of rows and one of columns.
    """

    name: str
    columns: int
    simulator: Simulator

    def tables(self, count: int, seed: int, rows: int) -> Iterator[SimulatedTable]:
        """Tables to test on, from a stream that training never draws from."""
        for index in range(count):
            yield self.simulator(np.random.default_rng([seed, 79, index]), rows, self.columns)


@dataclass(frozen=True)
class DesignTables:
    """A design as a collection to train on; every table is drawn once, its rows as the recipe's ``max_rows``."""

    design: Design

    @property
    def names(self) -> tuple[str, ...]:
        """Name of the design."""
        return (self.design.name,)

    def batch(self, rng: np.random.Generator, config: TrainingConfig) -> TrainingBatch:
        """Draw tables; equal generators give equal batches."""
        design, count = self.design, config.tables_per_batch
        return training_batch(
            rng, config, [design.simulator(rng, config.max_rows, design.columns) for _ in range(count)]
        )


def _simulation_a(squares: int, products: int) -> Callable[..., SimulatedTable]:
    return partial(simulation_a, terms=(squares, products), switches=PLAIN)


LINEAR = Design("Simulation A, linear", 10, _simulation_a(0, 0))
NONLINEAR = Design("Simulation A, nonlinear", 10, _simulation_a(3, 10))
GRAPHS = {size: Design(f"Erdos-Renyi, {size}", size, partial(structural, switches=PLAIN)) for size in (10, 20, 40)}
#: Designs by name: Simulation A's mechanism, or the number of covariates of the graph.
DESIGNS = {design.name: design for design in (LINEAR, NONLINEAR, *GRAPHS.values())}
