"""Resamples of a fitted table, for the bootstraps that a user of DoWhy asks for.

Letters: N rows of the fitted table.
"""

from __future__ import annotations

import copyreg
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from dowhy.causal_estimator import CausalEstimator

from dowhy_cina.adapter.host import FittedTable, Positions
from dowhy_cina.adapter.targets import TargetRows
from dowhy_cina.errors import InputError


def bootstrap_estimates(estimates: Any, params: Any) -> Any:
    """Estimates of resamples as DoWhy keeps them."""
    return CausalEstimator.BootstrapEstimates(estimates, params)


# A class inside a class, which pickles do not find by its name.
copyreg.pickle(CausalEstimator.BootstrapEstimates, lambda found: (bootstrap_estimates, tuple(found)))


def resamples(
    table: FittedTable, target: TargetRows, values: Sequence[Any], fraction: float, random_state: np.random.RandomState
) -> Iterator[tuple[FittedTable, TargetRows]]:
    """Draw rows with replacement, or whole clusters where the table names them, for ever.

    Rows without a sampling weight are none of the table's: none is drawn, and none counts for the size of a resample.
    Those of other treatments are drawn, as DoWhy draws them, and set aside again.

    Parameters
    ----------
    table
        Fitted table.
    target
        Rows whose effect is wanted; those of the table are resampled with it.
    values
        The two values of the treatment that are compared.
    fraction
        Size of a resample, as a share of the rows or clusters.
    random_state
        Advanced by each draw.

    Yields
    ------
    tuple of FittedTable and TargetRows
        Each with both arms, at least one row of the target, and rows of two clusters where there are any.

    Raises
    ------
    InputError
        If a resample would have fewer than two rows or clusters, or an arm has no row.
    """
    table, target = _weighted(table, target, values)
    arms = [table.arm(value) for value in values]
    for arm, value in zip(arms, values, strict=True):
        if not arm.any():
            raise InputError(f"expected rows of both arms to draw from, got none with the treatment {value!r}.")
    clusters, code = _clusters(table)
    compared = np.logical_or(*arms)
    units = len(arms[0]) if clusters is None else len(clusters)
    size = int(fraction * units)
    if size < 2:
        raise InputError(
            f"sample_size_fraction must leave at least two rows or clusters, got {fraction} of {units}: take a larger "
            "one."
        )
    while True:
        drawn = random_state.randint(units, size=size)
        rows = drawn if clusters is None else np.concatenate([clusters[unit] for unit in drawn])
        resampled = target.in_resample(rows)
        apart = clusters is None or len(np.unique(code[rows[compared[rows]]])) > 1
        if all(arm[rows].any() for arm in arms) and len(resampled.positions) and apart:
            yield table.take(rows), resampled


def _weighted(table: FittedTable, target: TargetRows, values: Sequence[Any]) -> tuple[FittedTable, TargetRows]:
    """Leave out the rows that are set aside, where there are sampling weights."""
    if table.sample_weight is None:
        return table, target
    counts = table.counts(values)
    rows = np.flatnonzero(counts)
    return (table, target) if counts.all() else (table.take(rows), target.in_resample(rows))


def _clusters(table: FittedTable) -> tuple[list[Positions] | None, Positions]:
    """Positions of the rows of each cluster, or None where each row is its own, and the cluster (N,) of each row."""
    if table.cluster is None:
        return None, np.arange(len(table.treatment))
    codes, _ = pd.factorize(table.cluster, use_na_sentinel=False)
    return np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1]), codes
