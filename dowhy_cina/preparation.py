"""Encoded tables in the order and the tensors that the model computes with.

Letters: B tables, N rows, D covariates, M landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dowhy_cina import checkpoint
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.nn.model import CinaModel
from dowhy_cina.nn.state import TableBatch
from dowhy_cina.preprocessing import canonical_row_key
from dowhy_cina.scaling import standardise

Array = npt.NDArray[np.float64]

#: Rows from which the pilot learns column scales.
PILOT_ROWS = 4096


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
    return untrained_model(device) if options.checkpoint == "exact" else checkpoint.load(options.checkpoint, device)


@lru_cache(maxsize=2)
def untrained_model(device: torch.device) -> CinaModel:
    """Fixed rule without a checkpoint."""
    with torch.random.fork_rng(devices=[]):
        return CinaModel().double().eval().to(device)
