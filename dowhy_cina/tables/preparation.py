"""Encoded tables in the order and the tensors that the model computes with.

Letters: B tables, N rows, D covariates, M landmarks.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from dowhy_cina.config import EstimatorOptions
from dowhy_cina.mathematics.devices import THREADED_ROWS, keep_freed_memory, resolve_device, threads_for
from dowhy_cina.mathematics.kernels import Storage
from dowhy_cina.mathematics.memory import MemoryPlan, plan_memory, with_smaller_blocks
from dowhy_cina.mathematics.scaling import standardise
from dowhy_cina.model import checkpoint
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.state import TableBatch, ZeroShot, one_table
from dowhy_cina.tables import Preprocessor, canonical_row_key

Array = npt.NDArray[np.float64]

#: Rows from which the pilot learns column scales.
PILOT_ROWS = 4096
#: Kernels of a table, whose features are all kept where memory allows.
ALL_KEPT = 3


@dataclass(frozen=True)
class CanonicalTable:
    """A table in an order that depends on its rows' content alone, so that no permutation changes a digit of an answer.

    Attributes
    ----------
    covariates : ndarray, shape (N, D)
        Standardised; a column of zeros stands for no column.
    treatment, outcome : ndarray, shape (N,)
        0 or 1, and the standardised outcome.
    weights : ndarray, shape (N,)
        Sampling weights with mean one.
    weighted : bool
        Whether they were given.
    order : ndarray of int, shape (N,)
        Place of each row in the given table.
    scale : float
        Standard deviation of the outcome, in its unit.
    """

    covariates: Array
    treatment: Array
    outcome: Array
    weights: Array
    weighted: bool
    order: npt.NDArray[np.int64]
    scale: float

    @classmethod
    def of(
        cls, covariates: Array, treatment: Array, outcome: Array, sample_weight: Array | None = None
    ) -> CanonicalTable:
        """Sort and scale an encoded table."""
        keys = [outcome, treatment, canonical_row_key(covariates)]
        order = np.lexsort(keys if sample_weight is None else [sample_weight, *keys])
        (scaled,), scaling = standardise(outcome[None, order], clip=np.inf)
        columns = covariates[order] if covariates.shape[1] else np.zeros((len(treatment), 1))
        weights = np.ones(len(order)) if sample_weight is None else sample_weight[order]
        weights = weights * (len(weights) / weights.sum())
        scale = float(scaling.sd[0] / scaling.unit[0])
        return cls(columns, treatment[order], scaled, weights, sample_weight is not None, order, scale)


@dataclass(frozen=True)
class PreparedTable:
    """A checked and encoded table, and how it is to be computed.

    Attributes
    ----------
    encoded : ndarray, shape (N, D)
        Standardised covariates of the rows that are compared.
    readable : DataFrame
        The same rows' covariates in their own units, for tables of balance.
    treatment, outcome : ndarray, shape (N,)
        0 or 1, and the outcome in its own unit.
    keep : ndarray of bool
        Which of the caller's rows are compared.
    preprocessor : Preprocessor
        What encoded them.
    options : EstimatorOptions
    sample_weight, cluster : ndarray of shape (N,), optional
    given : tuple
        The caller's covariates and clusters, for effects by group.
    """

    encoded: Array
    readable: pd.DataFrame
    treatment: Array
    outcome: Array
    keep: npt.NDArray[np.bool_]
    preprocessor: Preprocessor
    options: EstimatorOptions
    sample_weight: Array | None = None
    cluster: npt.NDArray[np.int64] | None = None
    given: tuple[Any, Any] = (None, None)

    @cached_property
    def rows(self) -> CanonicalTable:
        """The table in canonical order."""
        return CanonicalTable.of(self.encoded, self.treatment, self.outcome, self.sample_weight)

    @cached_property
    def device(self) -> torch.device:
        """Where it is computed."""
        return resolve_device(self.options.device)

    @cached_property
    def batch(self) -> TableBatch:
        """What the model takes, with the storage that the memory allows."""
        batch = table_batch([self.rows], self.options.landmarks, self.device)
        return replace(batch, storage=self.memory.storage)

    @cached_property
    def memory(self) -> MemoryPlan:
        """What may be kept of the rows' features."""
        landmarks = min(self.options.landmarks, len(self.treatment))
        return plan_memory(
            len(self.treatment), self.encoded.shape[1], landmarks, self.device, self.options.memory_limit
        )

    @property
    def is_exact(self) -> bool:
        """Whether the balancing problem is solved on the table's own kernel."""
        return self.options.checkpoint == "exact"

    @property
    def threaded_rows(self) -> int:
        """Rows that decide how many threads compute."""
        # An exact solution works on matrices of all rows, which keep all threads busy.
        return THREADED_ROWS if self.is_exact else len(self.treatment)

    @property
    def company(self) -> Hashable | None:
        """What tables must have in common to go through the model together; None for one that goes alone."""
        if self.is_exact or self.memory.storage.kept < ALL_KEPT:
            return None
        return (self.encoded.shape, self.sample_weight is None, self.options)


@torch.no_grad()
def forward_alone(prepared: PreparedTable) -> tuple[ZeroShot, Storage]:
    """One forward pass of one table, and what it kept.

    Raises
    ------
    torch.OutOfMemoryError
        If a GPU lacks memory with the smallest blocks too.
    """

    def run(storage: Storage) -> ZeroShot:
        state: ZeroShot = model(replace(prepared.batch, storage=storage))
        return state

    model = load_model(prepared.options, prepared.device)
    with threads_for(prepared.threaded_rows):
        return with_smaller_blocks(run, prepared.memory.storage)


@torch.no_grad()
def forward_together(tables: Sequence[PreparedTable]) -> list[ZeroShot]:
    """One forward pass of several tables.

    Parameters
    ----------
    tables : sequence of PreparedTable
        With the same :attr:`PreparedTable.company`, which is not None.

    Returns
    -------
    list of ZeroShot
        What :func:`forward_alone` gives for each, up to rounding.
    """
    first = tables[0]
    batch = table_batch([table.rows for table in tables], first.options.landmarks, first.device)
    with threads_for(first.threaded_rows):
        state = load_model(first.options, first.device)(batch)
    return [one_table(state, place) for place in range(len(tables))]


def table_batch(tables: Sequence[CanonicalTable], landmarks: int, device: torch.device) -> TableBatch:
    """Stack tables of one shape."""

    def stack(arrays: Sequence[npt.NDArray[np.generic]]) -> Tensor:
        return torch.from_numpy(np.stack([np.ascontiguousarray(array) for array in arrays])).to(device)

    return TableBatch(
        stack([table.covariates for table in tables]),
        stack([table.treatment for table in tables]),
        stack([table.outcome for table in tables]),
        stack([stratified_rows(table.treatment, landmarks) for table in tables]),
        stack([stratified_rows(table.treatment, PILOT_ROWS) for table in tables]),
        stack([table.weights for table in tables]) if any(table.weighted for table in tables) else None,
    )


def stratified_rows(treatment: Array, size: int) -> npt.NDArray[np.int64]:
    """First rows of each arm, half from each where both have enough; all rows of a table no longer than ``size``."""
    if len(treatment) <= size:
        return np.arange(len(treatment))
    control, treated = np.flatnonzero(treatment == 0), np.flatnonzero(treatment == 1)
    share = max(min(len(treated), size // 2), size - len(control))
    return np.sort(np.concatenate([control[: size - share], treated[:share]]))


def load_model(options: EstimatorOptions, device: torch.device) -> CinaModel:
    """Model of a checkpoint, or the fixed rule for the outcome models beside exact weights."""
    keep_freed_memory()
    return untrained_model(device) if options.checkpoint == "exact" else checkpoint.load(options.checkpoint, device)


@lru_cache(maxsize=2)
def untrained_model(device: torch.device) -> CinaModel:
    """Fixed rule without a checkpoint."""
    with torch.random.fork_rng(devices=[]):
        return CinaModel().double().eval().to(device)
