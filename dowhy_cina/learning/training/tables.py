"""From simulated tables to training batches of one shape, with low-variance labels.

Letters: B tables, N rows, D covariates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dowhy_cina.config import TrainingConfig
from dowhy_cina.learning.simulators import SimulatedTable, draw_table
from dowhy_cina.learning.simulators.table import FloatArray, IntArray
from dowhy_cina.learning.training.objectives import Labels, TrainingBatch
from dowhy_cina.mathematics.scaling import standardise
from dowhy_cina.model.state import TableBatch
from dowhy_cina.tables.preparation import stratified_rows

#: Rows of a batch's tables together at most.
BATCH_ROWS = 8000


def draw_shape(rng: np.random.Generator, config: TrainingConfig) -> tuple[int, int, int]:
    """Rows and columns log-uniform, and how many tables of that shape make a batch."""
    rows = int(np.exp(rng.uniform(np.log(config.min_rows), np.log(config.max_rows))))
    columns = int(np.exp(rng.uniform(np.log(2), np.log(config.max_columns))))
    return rows, columns, max(1, min(config.tables_per_batch, BATCH_ROWS // rows))


def label(
    table: SimulatedTable, target: FloatArray, inverse: tuple[FloatArray, FloatArray], scale: float
) -> tuple[float, float, float]:
    """Low-variance label, effect and attainable standard error in sd of the outcome.

    The noise of the oracle's augmented estimate belongs to every estimator that sees this outcome; without it in the
    label the network would be asked to predict it.

    Parameters
    ----------
    table : SimulatedTable
    target : array, shape (N,)
        Weights of the target population, summing to one.
    inverse : tuple of array, shape (N,)
        Weights of the oracle's augmentation for control and for treated rows.
    scale : float
        Standard deviation of the outcome.
    """
    treated = table.treatment > 0
    ratio = np.where(treated, inverse[1], -inverse[0])
    noise = ratio * (table.outcome - np.where(treated, table.mu1, table.mu0))
    effect = float(target @ (table.mu1 - table.mu0))
    attainable = float(np.sqrt(np.sum((ratio * table.noise_sd) ** 2)))
    # Few rows with huge inverse propensities make the oracle's noise worse than any estimator's: bounded, trusted less.
    trust = 1 / (1 + (attainable / (0.2 * scale)) ** 4)
    bounded = trust * float(np.clip(noise.sum(), -2 * attainable, 2 * attainable))
    return (effect + bounded) / scale, effect / scale, min(attainable / scale, 0.5)


def target_population(
    rng: np.random.Generator, table: SimulatedTable
) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
    """Target weights (ATE mostly, ATT and ATC at times) and the oracle's weights of control and treated rows."""
    t, e, n = table.treatment, table.propensity, len(table.treatment)
    kind = rng.choice(["ate", "att", "atc"], p=[0.65, 0.25, 0.10])
    if kind == "ate":
        return np.full(n, 1 / n), (1 / (1 - e) / n, 1 / e / n)
    if kind == "att":
        return t / t.sum(), (e / (1 - e) / t.sum(), np.full(n, 1 / t.sum()))
    controls = (1 - t).sum()
    return (1 - t) / controls, (np.full(n, 1 / controls), (1 - e) / e / controls)


def simulated_batch(rng: np.random.Generator, config: TrainingConfig, families: Sequence[str]) -> TrainingBatch:
    """Draw tables of one shape from simulators, standardised; with labels unless outcomes are not to be read."""
    rows, columns, count = draw_shape(rng, config)
    tables = [draw_table(rng, rows, columns, families=families) for _ in range(count)]
    x, t, y, q, labels, marks = [], [], [], [], [], []
    for table in tables:
        target, inverse = target_population(rng, table)
        x.append(standardise(table.covariates.T)[0].T)
        t.append(table.treatment)
        q.append(target)
        marks.append(stratified_rows(table.treatment, config.landmarks, rng))
        if config.outcomes:
            scale = float(table.outcome.std())
            y.append((table.outcome - table.outcome.mean()) / scale)
            labels.append(label(table, target, inverse, scale))
    return stack_tables(x, t, y, q, labels, marks)


def stack_tables(
    covariates: Sequence[FloatArray],
    treatments: Sequence[FloatArray],
    outcomes: Sequence[FloatArray],
    targets: Sequence[FloatArray],
    labels: Sequence[tuple[float, float, float]],
    landmarks: Sequence[IntArray],
) -> TrainingBatch:
    """Stack standardised tables of one shape; without outcomes these are zero, and there are no labels."""
    outcomes = outcomes or [np.zeros(len(treatment)) for treatment in treatments]
    table = TableBatch.stack(covariates, treatments, outcomes, landmarks)
    target, known = torch.from_numpy(np.stack(targets)), torch.tensor(labels, dtype=torch.float64)
    return TrainingBatch(table, target, Labels(*known.unbind(1)) if labels else None)
