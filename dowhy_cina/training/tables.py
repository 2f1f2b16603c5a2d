"""From simulated tables to training batches, reproducible from (seed, index) alone.

Letters: B tables, N rows, D covariates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from dowhy_cina.config import TrainingConfig
from dowhy_cina.errors import InputError
from dowhy_cina.nn.model import TableBatch
from dowhy_cina.scaling import standardise
from dowhy_cina.simulators import REGISTRY, SimulatedTable, draw_table
from dowhy_cina.training.objectives import LabelledBatch

#: Rows of a batch's tables together at most.
BATCH_ROWS = 8000


def draw_shape(rng: np.random.Generator, config: TrainingConfig) -> tuple[int, int, int]:
    """Rows and columns log-uniform, and how many tables of that shape make a batch."""
    rows = int(np.exp(rng.uniform(np.log(config.min_rows), np.log(config.max_rows))))
    columns = int(np.exp(rng.uniform(np.log(2), np.log(config.max_columns))))
    return rows, columns, max(1, min(config.tables_per_batch, BATCH_ROWS // rows))


def label(
    table: SimulatedTable, target: np.ndarray, inverse: tuple[np.ndarray, np.ndarray], scale: float
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
    # Few rows with huge inverse propensities make the oracle's noise worse than any estimator's: bounded.
    bounded = float(np.clip(noise.sum(), -2 * attainable, 2 * attainable)) if attainable < 0.3 * scale else 0.0
    return (effect + bounded) / scale, effect / scale, min(attainable / scale, 0.5)


def target_population(
    rng: np.random.Generator, table: SimulatedTable
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Target weights (ATE mostly, ATT and ATC at times) and the oracle's weights of control and treated rows."""
    t, e, n = table.treatment, table.propensity, len(table.treatment)
    kind = rng.choice(["ate", "att", "atc"], p=[0.65, 0.25, 0.10])
    if kind == "ate":
        return np.full(n, 1 / n), (1 / (1 - e) / n, 1 / e / n)
    if kind == "att":
        return t / t.sum(), (e / (1 - e) / t.sum(), np.full(n, 1 / t.sum()))
    controls = (1 - t).sum()
    return (1 - t) / controls, (np.full(n, 1 / controls), (1 - e) / e / controls)


def stratified_rows(rng: np.random.Generator, treatment: np.ndarray, size: int) -> np.ndarray:
    """At most ``size`` rows, half from each arm where both have enough."""
    if len(treatment) <= size:
        return np.arange(len(treatment))
    arms = [rng.permutation(np.flatnonzero(treatment == arm)) for arm in (0, 1)]
    treated = max(min(len(arms[1]), size // 2), size - len(arms[0]))
    return np.concatenate([arms[0][: size - treated], arms[1][:treated]])


def draw_batch(seed: int, index: int, config: TrainingConfig, families: Sequence[str]) -> LabelledBatch:
    """A batch: tables of one shape, standardised, with labels."""
    rng = np.random.default_rng([seed, index])
    rows, columns, count = draw_shape(rng, config)
    tables = [draw_table(rng, rows, columns, families=families) for _ in range(count)]
    x, t, y, q, labels, marks = [], [], [], [], [], []
    for table in tables:
        scale = float(table.outcome.std())
        target, inverse = target_population(rng, table)
        x.append(standardise(table.covariates.T)[0].T)
        t.append(table.treatment)
        y.append((table.outcome - table.outcome.mean()) / scale)
        q.append(target)
        labels.append(label(table, target, inverse, scale))
        marks.append(stratified_rows(rng, table.treatment, config.landmarks))
    pilot = torch.arange(rows).expand(count, rows)
    batch = TableBatch(_stack(x), _stack(t), _stack(y), torch.from_numpy(np.stack(marks)), pilot)
    values = _stack(labels)
    return LabelledBatch(batch, _stack(q), values[:, 0], values[:, 1], values[:, 2])


def _stack(parts: Sequence[Any]) -> torch.Tensor:
    return torch.from_numpy(np.stack(parts).astype(np.float64))


def training_families(config: TrainingConfig, collections: Sequence[str] | None = None) -> list[str]:
    """Named families, or all registered ones without those that validation keeps for itself.

    Raises
    ------
    NotImplementedError
        If a collection is not a registered simulator.
    InputError
        If a family is both trained on and kept for validation, or none is left for one of them.
    """
    kept = [name for name in REGISTRY if name in config.validation_families]
    if len(kept) != len(config.validation_families) or not 0 < len(kept) < len(REGISTRY):
        given = list(config.validation_families)
        raise InputError(f"validation_families must be some, not all, of {', '.join(REGISTRY)}; got {given}.")
    if collections is None:
        return [name for name in REGISTRY if name not in kept]
    if not collections:
        raise InputError(f"collections must name at least one of {', '.join(REGISTRY)}; got none.")
    foreign = [name for name in collections if name not in REGISTRY]
    if foreign:
        raise NotImplementedError(
            f"collections: {foreign} are not simulators ({', '.join(REGISTRY)}); other tables are not in this release."
        )
    shared = sorted(set(collections) & set(config.validation_families))
    if shared:
        raise InputError(
            f"expected validation_families that training does not see, got {shared} in both; name them in one place."
        )
    return list(collections)


class TableStream(IterableDataset[LabelledBatch]):
    """Batches from an index on, dealt to worker processes in turn so that their number does not change the order."""

    def __init__(self, config: TrainingConfig, families: Sequence[str], start: int = 0) -> None:
        super().__init__()
        self.config, self.families, self.start = config, families, start

    def __iter__(self) -> Iterator[LabelledBatch]:
        worker = get_worker_info()
        offset, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        index = self.start + offset
        while True:
            yield draw_batch(self.config.seed, index, self.config, self.families)
            index += stride
