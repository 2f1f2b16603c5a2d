"""From simulated tables to training batches of one shape, with low-variance labels.

Letters: B tables, N rows, D covariates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dowhy_cina.config import TrainingConfig
from dowhy_cina.learning.simulators import SimulatedTable, draw_table
from dowhy_cina.learning.simulators.outcomes import random_outcome
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


#: Target populations of training and their chances.
TARGETS = {"ate": 0.65, "att": 0.25, "atc": 0.10}


def target_population(kind: str, table: SimulatedTable) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
    """Target weights of "ate", "att" or "atc", and the oracle's weights of control and treated rows."""
    t, e, n = table.treatment, table.propensity, len(table.treatment)
    if kind == "ate":
        return np.full(n, 1 / n), (1 / (1 - e) / n, 1 / e / n)
    if kind == "att":
        return t / t.sum(), (e / (1 - e) / t.sum(), np.full(n, 1 / t.sum()))
    controls = (1 - t).sum()
    return (1 - t) / controls, (np.full(n, 1 / controls), (1 - e) / e / controls)


#: Rows of a simulated table without outcomes, in multiples of those of the batch: the others tell the propensity.
DRAWN_ROWS = 4
#: Rows of an arm that no subsample goes below, where the arm has as many.
KEPT_OF_ARM = 10


def subsample(rng: np.random.Generator, treatment: FloatArray, rows: int) -> IntArray:
    """Rows without repetition that keep the treated share, and ten of each arm where it has as many."""
    arms = [rng.permutation(np.flatnonzero(treatment == arm)) for arm in (0, 1)]
    least = [min(KEPT_OF_ARM, len(arm), rows // 2) for arm in arms]
    treated = round(rows * len(arms[1]) / len(treatment))
    treated = min(max(treated, least[1], rows - len(arms[0])), rows - least[0], len(arms[1]))
    return np.concatenate([arms[0][: rows - treated], arms[1][:treated]])


def with_random_outcome(rng: np.random.Generator, table: SimulatedTable, rows: int) -> SimulatedTable:
    """Random outcome on a subsample of a table of which only covariates and treatments are looked at."""
    chosen = subsample(rng, table.treatment, rows)
    others = np.setdiff1d(np.arange(len(table.treatment)), chosen)
    left_out = table.covariates[others], table.treatment[others]
    return random_outcome(rng, table.covariates[chosen], table.treatment[chosen], left_out)


def simulated_batch(rng: np.random.Generator, config: TrainingConfig, families: Sequence[str]) -> TrainingBatch:
    """Draw tables of one shape from simulators, standardised; their own outcomes only if these are to be read."""
    rows, columns, count = draw_shape(rng, config)
    drawn = not config.outcomes and config.random_outcomes
    tables = [draw_table(rng, DRAWN_ROWS * rows if drawn else rows, columns, families=families) for _ in range(count)]
    if drawn:
        tables = [with_random_outcome(rng, table, rows) for table in tables]
    kinds, marks = [], []
    for table in tables:
        kinds.append(str(rng.choice(list(TARGETS), p=list(TARGETS.values()))))
        marks.append(stratified_rows(table.treatment, config.landmarks, rng))
    x = [standardise(table.covariates.T)[0].T for table in tables]
    if config.outcomes or config.random_outcomes:
        return labelled_batch(x, kinds, tables, marks)
    targets = [target_population(*pair)[0] for pair in zip(kinds, tables, strict=True)]
    return stack_tables(x, [table.treatment for table in tables], [], targets, [], marks)


def labelled_batch(
    covariates: Sequence[FloatArray],
    kinds: Sequence[str],
    tables: Sequence[SimulatedTable],
    landmarks: Sequence[IntArray],
) -> TrainingBatch:
    """Stack simulated tables with standardised covariates and the labels of the populations that ``kinds`` names."""
    y, q, labels = [], [], []
    for kind, table in zip(kinds, tables, strict=True):
        target, inverse = target_population(kind, table)
        scale = float(table.outcome.std())
        q.append(target)
        y.append((table.outcome - table.outcome.mean()) / scale)
        labels.append(label(table, target, inverse, scale))
    return stack_tables(covariates, [table.treatment for table in tables], y, q, labels, landmarks)


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
