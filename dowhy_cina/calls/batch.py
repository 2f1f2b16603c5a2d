"""Many encoded tables at once: those of one shape go through the model in one forward pass.

Letters: B tables, N rows, D covariates.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import InputError
from dowhy_cina.estimating.estimation import Moments, augmented, corrected, moments_in_table, weights_alone
from dowhy_cina.estimating.variance import bias_parts, degrees_of_freedom, sampling_variance, smaller_arm, t_inference
from dowhy_cina.estimating.weighting import arm_against_arm, balance_arms, uniform
from dowhy_cina.mathematics.devices import resolve_device, threads_for
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.state import Settings, TableBatch, ZeroShot
from dowhy_cina.tables.preparation import CanonicalTable, load_model, table_batch

Array = npt.NDArray[np.float64]

#: Entries of the features of a batch: eight tables of 1,000 rows. A pass of them takes as long as eight passes, but two
#: threads wait less for the interpreter between its operations.
BATCH_ENTRIES = 2**20


@dataclass(frozen=True)
class EncodedTable:
    """A table as :class:`dowhy_cina.tables.Preprocessor` encodes it.

    Attributes
    ----------
    covariates : ndarray, shape (N, D)
        Standardised columns.
    treatment : ndarray, shape (N,)
        0 or 1, both present.
    outcome : ndarray, shape (N,)
        Finite, in its own unit.
    target : {"ate", "att", "atc"} or boolean ndarray of shape (N,)
        Population whose average effect is wanted.
    names : tuple of str
        The preprocessor's names of the columns, for settings that are held.
    """

    covariates: Array
    treatment: Array
    outcome: Array
    target: str | npt.NDArray[np.bool_] = "ate"
    names: tuple[str, ...] = ()

    def target_weights(self) -> Array:
        """Weight of each row (N,) in the target population."""
        if isinstance(self.target, str):
            t = self.treatment
            rows = {"ate": np.ones(len(t)), "att": t, "atc": 1 - t}[self.target]
        else:
            rows = self.target.astype(np.float64)
        weights: Array = rows / rows.sum()
        return weights


@dataclass(frozen=True)
class BatchedEstimate:
    """Effect of one table of a batch, in the outcome's unit; without inference if an arm has a single row."""

    value: float
    standard_error: float | None
    confidence_interval: tuple[float, float] | None
    p_value: float | None


def estimate_encoded(
    tables: Sequence[EncodedTable], options: EstimatorOptions, confidence_level: float = 0.95
) -> list[BatchedEstimate]:
    """Effects of many tables, the numbers of :class:`dowhy_cina.calls.analysis.Analysis` one by one.

    Parameters
    ----------
    tables : sequence of EncodedTable
        Of any shapes.
    options : EstimatorOptions
        For a checkpoint that is not "exact".
    confidence_level : float

    Returns
    -------
    list of BatchedEstimate
        In the order of the tables.

    Raises
    ------
    InputError
        For ``checkpoint="exact"``, whose solver takes one table at a time.
    """
    results: dict[int, BatchedEstimate] = {}
    for places, batch in _passes(tables, options, None):
        results.update(zip(places, batch.inference(confidence_level), strict=True))
    return [results[place] for place in range(len(tables))]


@dataclass(frozen=True)
class HeldSettings:
    """Settings that the network predicted for one table, by the names of its columns, for refits of that table."""

    names: tuple[str, ...]
    settings: Settings

    @classmethod
    @torch.no_grad()
    def of(cls, table: EncodedTable, options: EstimatorOptions) -> HeldSettings:
        """Predict the settings of a table."""
        device = resolve_device(options.device)
        model = load_model(options, device)
        rows = CanonicalTable.of(table.covariates, table.treatment, table.outcome)
        batch = table_batch([rows], options.landmarks, device)
        return cls(table.names, model.settings(batch, model.pilot(batch)))

    def fits(self, names: tuple[str, ...]) -> bool:
        """Whether these are the same columns, in any order."""
        return bool(names) and sorted(names) == sorted(self.names)

    def stacked(self, tables: Sequence[EncodedTable]) -> Settings:
        """Settings for each of some tables with the same columns, in the order that each has them in."""
        parts = [self.settings.take([self.names.index(name) for name in table.names]) for table in tables]
        return Settings.joined(parts)


def values_encoded(
    tables: Sequence[EncodedTable], options: EstimatorOptions, held: HeldSettings | None = None
) -> list[float]:
    """Effects alone of many tables, as :func:`estimate_encoded` gives them, in the outcome's unit.

    Parameters
    ----------
    tables, options
        As there.
    held : HeldSettings, optional
        Settings of the table that these are refits of. Those with the same columns use them, and save the prediction;
        a refit with other columns (one more, or one that became constant) is predicted anew.

    Raises
    ------
    InputError
        As :func:`estimate_encoded`.
    """
    results: dict[int, float] = {}
    for places, batch in _passes(tables, options, held):
        results.update(zip(places, batch.values(), strict=True))
    return [results[place] for place in range(len(tables))]


@dataclass(frozen=True)
class _Pass:
    """Tables of one shape after their forward pass, with balancing weights."""

    model: CinaModel
    table: TableBatch
    state: ZeroShot
    moments: Moments
    weights: Tensor
    scales: Array
    alone: bool
    has_columns: bool

    @torch.no_grad()
    def values(self) -> list[float]:
        """Effects in the outcome's unit."""
        if self.alone:
            value = weights_alone(self.table, self.moments, self.weights).value
        else:
            value = corrected(self.table, self.state, self.moments, self.weights).value
        return [float(effect) for effect in value.cpu().numpy() * self.scales]

    @torch.no_grad()
    def inference(self, level: float) -> list[BatchedEstimate]:
        """Effects with intervals."""
        if self.alone:
            estimates = weights_alone(self.table, self.moments, self.weights)
        else:
            estimates = augmented(self.table, self.state, self.moments, self.weights)
        variance = sampling_variance(estimates, self.moments.in_table, None)
        smaller = smaller_arm(self.table)
        if not self.alone and self.has_columns:
            variance = self.model.variance(
                variance, bias_parts(self.table, self.state, self.moments, estimates), smaller
            )
        columns = (estimates.value, variance.sqrt(), degrees_of_freedom(estimates.scatter, None), smaller)
        results = []
        for scale, *row in zip(self.scales.tolist(), *(column.tolist() for column in columns), strict=True):
            value, error, freedom, rows = scale * row[0], scale * row[1], row[2], row[3]
            if rows < 2:
                results.append(BatchedEstimate(value, None, None, None))
            else:
                results.append(BatchedEstimate(value, error, *t_inference(value, error, freedom, level)))
        return results


def _passes(
    tables: Sequence[EncodedTable], options: EstimatorOptions, held: HeldSettings | None
) -> Iterator[tuple[list[int], _Pass]]:
    """Forward passes of tables of one shape and one kind of target, with the places of the tables."""
    if options.checkpoint == "exact":
        raise InputError("expected a pretrained checkpoint for a batch of tables, got 'exact': solve them one by one.")
    device = resolve_device(options.device)
    model = load_model(options, device)
    groups: dict[tuple[Hashable, str, bool], list[int]] = {}
    for place, table in enumerate(tables):
        name = table.target if isinstance(table.target, str) else "rows"
        is_held = held is not None and held.fits(table.names)
        groups.setdefault((table.covariates.shape, name, is_held), []).append(place)
    for (_, _, is_held), places in groups.items():
        rows = len(tables[places[0]].treatment)
        size = max(1, BATCH_ENTRIES // (rows * min(options.landmarks, rows)))
        for start in range(0, len(places), size):
            chunk = places[start : start + size]
            company = [tables[place] for place in chunk]
            settings = held.stacked(company) if held is not None and is_held else None
            yield chunk, _forward(model, company, options, device, settings)


@torch.no_grad()
def _forward(
    model: CinaModel,
    tables: Sequence[EncodedTable],
    options: EstimatorOptions,
    device: torch.device,
    held: Settings | None,
) -> _Pass:
    rows = [CanonicalTable.of(table.covariates, table.treatment, table.outcome) for table in tables]
    batch = table_batch(rows, options.landmarks, device)
    with threads_for(len(rows[0].treatment)):
        return _balanced(model, tables, rows, batch, options, held)


def _balanced(
    model: CinaModel,
    tables: Sequence[EncodedTable],
    rows: Sequence[CanonicalTable],
    batch: TableBatch,
    options: EstimatorOptions,
    held: Settings | None,
) -> _Pass:
    target = np.stack([table.target_weights()[row.order] for table, row in zip(tables, rows, strict=True)])
    state = model(batch, held)
    moments = moments_in_table(state, torch.from_numpy(target).to(batch.outcome.device))
    alone, name = options.augmentation == "none", tables[0].target
    has_columns = tables[0].covariates.shape[1] > 0
    if not has_columns:
        weights = uniform(batch).weights
    elif alone and isinstance(name, str) and name == "ate":
        weights = arm_against_arm(model, batch, state, options.refine).weights
    else:
        untouched = name if alone and isinstance(name, str) else None
        weights = balance_arms(model, batch, state, moments.features, options.refine, untouched).weights
    scales = np.array([row.scale for row in rows])
    return _Pass(model, batch, state, moments, weights, scales, alone, has_columns)
