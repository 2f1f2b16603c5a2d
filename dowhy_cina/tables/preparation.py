"""Encoded tables in the order and the tensors that the model computes with.

Letters: B tables, N rows, D covariates, M landmarks.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from dowhy_cina._caching import cached_property
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.mathematics.devices import THREADED_ROWS, resolve_device
from dowhy_cina.mathematics.memory import MemoryPlan, plan_memory
from dowhy_cina.mathematics.rows import KERNELS
from dowhy_cina.mathematics.scaling import Array, standardise
from dowhy_cina.model.state import TableBatch
from dowhy_cina.tables.canonical import canonical_row_key, cluster_key, first_arm, sort_rows, turns_of
from dowhy_cina.tables.covariates import Preprocessor

#: Rows from which the pilot learns column scales.
PILOT_ROWS = 8192


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
        Place of each row in the given table; see :func:`arms_are_apart`.
    turns : ndarray of int, shape (N,)
        Rows of the same arm with the same covariates that come before each row.
    scale : float
        Standard deviation of the outcome, in its unit.
    blank : bool
        Whether there is no column.
    cluster : ndarray of int, shape (N,), optional
        Codes from 0 in the order of the rows.
    """

    covariates: Array
    treatment: Array
    outcome: Array
    weights: Array
    weighted: bool
    order: npt.NDArray[np.int64]
    turns: npt.NDArray[np.int64]
    scale: float
    blank: bool
    cluster: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls,
        covariates: Array,
        treatment: Array,
        outcome: Array,
        sample_weight: Array | None = None,
        cluster: npt.NDArray[np.int64] | None = None,
    ) -> CanonicalTable:
        """Sort and scale an encoded table."""
        key = canonical_row_key(covariates)
        keys: list[npt.NDArray[Any]] = [outcome, treatment, key]
        keys = keys if sample_weight is None else [sample_weight, *keys]
        if cluster is not None:
            # Of its rows that share a key, and of rows that are the same in several clusters, only the first may lead.
            keys[-2] = np.abs(treatment - first_arm(key, treatment, outcome))
            keys = [cluster, cluster_key(cluster, keys), *keys]
        order = sort_rows(keys)
        if arms_are_apart(len(order), cluster):
            order = np.concatenate([order[treatment[order] == arm] for arm in (0, 1)])
        (scaled,), scaling = standardise(outcome[None, order], clip=np.inf)
        blank = not covariates.shape[1]
        columns = np.zeros((len(treatment), 1)) if blank else covariates[order]
        weights = np.ones(len(order)) if sample_weight is None else sample_weight[order]
        weights = weights * (len(weights) / weights.sum())
        scale = float(scaling.sd[0] / scaling.unit[0])
        turns = turns_of(key[order], treatment[order], outcome[order])
        codes = None if cluster is None else pd.factorize(cluster[order])[0].astype(np.int64)
        return cls(
            columns, treatment[order], scaled, weights, sample_weight is not None, order, turns, scale, blank, codes
        )

    @property
    def arms(self) -> tuple[int, int]:
        """Rows, or clusters where there are any, of controls and treated."""
        return clusters_of_arms(self.treatment, self.cluster)

    @property
    def counts(self) -> Array:
        """Sampling weights of the rows, which add up to the number of clusters where there are any."""
        if self.cluster is None:
            return self.weights
        return self.weights * (float(self.cluster.max() + 1) / len(self.cluster))

    def by_key(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Ascending rows in the order of their keys, which that of the table is where the arms are not apart."""
        if not arms_are_apart(len(self.order), self.cluster):
            return rows
        keys = self.outcome[rows], self.treatment[rows], canonical_row_key(self.covariates[rows])
        return rows[sort_rows(keys)]

    def leading(self, size: int) -> npt.NDArray[np.int64]:
        """Rows that lead: half from each arm where both have enough, and as few of each cluster as make up the size."""
        if self.cluster is None:
            return self.by_key(stratified_rows(self.treatment, size, turns=self.turns))
        few = rows_of_clusters(self.cluster, size)
        return few[stratified_rows(self.treatment[few], size, turns=self.turns[few])]

    def landmarks(self, size: int) -> npt.NDArray[np.int64]:
        """Leading rows, of which none repeats the covariates of another one of its cluster."""
        if self.cluster is None:
            return self.leading(size)
        repeats = pd.DataFrame(self.covariates).assign(cluster=self.cluster).duplicated().to_numpy()
        first = np.flatnonzero(~repeats)
        few = first[rows_of_clusters(self.cluster[first], size)]
        return few[stratified_rows(self.treatment[few], size, turns=self.turns[few])]


@dataclass(frozen=True)
class PreparedTable:
    """A checked and encoded table, and how it is to be computed.

    Attributes
    ----------
    encoded : ndarray, shape (N, D)
        Standardised covariates of the rows that are compared.
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
    unweighted : int
        How many of the rows that are not compared have one of the treatments, and no sampling weight.
    """

    encoded: Array
    treatment: Array
    outcome: Array
    keep: npt.NDArray[np.bool_]
    preprocessor: Preprocessor
    options: EstimatorOptions
    sample_weight: Array | None = None
    cluster: npt.NDArray[np.int64] | None = None
    given: tuple[Any, Any] = (None, None)
    unweighted: int = 0

    @cached_property
    def readable(self) -> pd.DataFrame:
        """The compared rows' covariates in their own units; refits have none."""
        covariates = self.given[0]
        return self.preprocessor.readable(covariates if self.keep.all() else covariates[self.keep])

    @cached_property
    def without_far(self) -> pd.DataFrame:
        """The same without what is far from a column's other numbers, for tables of balance."""
        return self.preprocessor.cut(self.readable)

    @cached_property
    def copied(self) -> tuple[Any, Any]:
        """The caller's covariates and clusters as a result keeps them, whatever becomes of the caller's own.

        Columns of floats are copied once: they are those of :attr:`readable`, and may not be written to.
        """
        covariates, cluster = self.given
        cluster = None if cluster is None else np.array(cluster)
        named = isinstance(covariates, pd.DataFrame)
        types = list(covariates.dtypes) if named else [covariates.dtype]
        if not (self.keep.all() and self.preprocessor.is_plain and all(kind == np.float64 for kind in types)):
            return covariates.copy(), cluster
        values = self.readable.to_numpy().view()
        values.flags.writeable = False
        if not named:
            return values, cluster
        return pd.DataFrame(values, covariates.index, covariates.columns, copy=False), cluster

    @cached_property
    def rows(self) -> CanonicalTable:
        """The table in canonical order; an arm in a single cluster leaves none that could be left out."""
        few = self.cluster is not None and min(clusters_of_arms(self.treatment, self.cluster)) < 2
        cluster = None if few else self.cluster
        return CanonicalTable.of(self.encoded, self.treatment, self.outcome, self.sample_weight, cluster)

    @cached_property
    def device(self) -> torch.device:
        """Where it is computed."""
        return resolve_device(self.options.device)

    @cached_property
    def landmarks(self) -> int:
        """Rows that span the kernels, if there are so many."""
        return self.options.landmarks_for(*self.rows.arms)

    @cached_property
    def batch(self) -> TableBatch:
        """What the model takes, with the storage that the memory allows."""
        batch = table_batch([self.rows], self.landmarks, self.device)
        return replace(batch, storage=self.memory.storage)

    @cached_property
    def memory(self) -> MemoryPlan:
        """What may be kept of the rows' features."""
        landmarks = leading_count(len(self.treatment), self.landmarks)
        clusters = 0 if self.cluster is None else int(self.cluster.max()) + 1
        shape = (len(self.treatment), self.encoded.shape[1], landmarks)
        return plan_memory(*shape, self.device, self.options.memory_limit, clusters)

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
        if self.is_exact or self.rows.cluster is not None or self.memory.storage.kept != KERNELS:
            return None
        return (self.encoded.shape, self.landmarks, self.sample_weight is None, self.options)


def table_batch(tables: Sequence[CanonicalTable], landmarks: int, device: torch.device) -> TableBatch:
    """Stack tables of one shape on a device, with the rows that lead in each; one with clusters goes alone."""
    clusters = [table.cluster for table in tables if table.cluster is not None]
    batch = TableBatch.stack(
        [table.covariates for table in tables],
        [table.treatment for table in tables],
        [table.outcome for table in tables],
        [table.landmarks(landmarks) for table in tables],
        [table.leading(PILOT_ROWS) for table in tables],
        [table.counts for table in tables] if any(table.weighted for table in tables) or clusters else None,
        clusters or None,
    )
    return replace(batch, blank=tables[0].blank).to(device)


def arms_are_apart(rows: int, cluster: npt.NDArray[np.int64] | None) -> bool:
    """Whether controls come before the treated: passes over an arm of a long table read rows that lie together."""
    return cluster is None and rows > PILOT_ROWS


def clusters_of_arms(treatment: Array, cluster: npt.NDArray[np.int64] | None) -> tuple[int, int]:
    """Count the clusters, or rows where there are none, that controls and treated rows come from."""
    control, treated = (np.flatnonzero(treatment == arm) for arm in (0, 1))
    if cluster is None:
        return len(control), len(treated)
    return len(np.unique(cluster[control])), len(np.unique(cluster[treated]))


def rows_of_clusters(cluster: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """First rows of each cluster, as many of each as make up no more than ``size`` in all, and at least one."""
    place = pd.Series(cluster).groupby(cluster).cumcount().to_numpy()
    most = max(1, int(np.searchsorted(np.bincount(place).cumsum(), size, side="right")))
    return np.flatnonzero(place < most)


def stratified_rows(
    treatment: Array,
    size: int,
    rng: np.random.Generator | None = None,
    turns: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.int64]:
    """Rows of each arm, half from each where both have enough; all rows of a table no longer than ``size``.

    The first of each arm, or random ones with a generator. With ``turns``, see :class:`CanonicalTable`, one row of each
    distinct kind comes before the second of any. An odd number counts as one fewer: no rule could give the last row to
    one of two equal arms without knowing their names.
    """
    if len(treatment) <= size:
        return np.arange(len(treatment))
    control, treated = np.flatnonzero(treatment == 0), np.flatnonzero(treatment == 1)
    if turns is not None and turns.any():
        control, treated = (arm[np.argsort(turns[arm], kind="stable")] for arm in (control, treated))
    if rng is not None:
        control, treated = rng.permutation(control), rng.permutation(treated)
    number = leading_count(len(treatment), size)
    share = max(min(len(treated), number // 2), number - len(control))
    return np.sort(np.concatenate([control[: number - share], treated[:share]]))


def leading_count(rows: int, size: int) -> int:
    """Count the rows that :func:`stratified_rows` takes: all of few, and of more an even number of at most ``size``."""
    return rows if rows <= size else size - size % 2
