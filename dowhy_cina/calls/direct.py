"""The direct call: from the user's table to an effect.

Letters: N rows, D covariates, M target rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard, overload

import numpy as np
import numpy.typing as npt
import pandas as pd

from dowhy_cina.calls.analysis import Analysis
from dowhy_cina.calls.populations import check_request
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import InputError, InputTypeError
from dowhy_cina.mathematics.devices import return_freed_memory, threads_for
from dowhy_cina.mathematics.scaling import unit_of, usual_arithmetic
from dowhy_cina.results.effect import AverageEffect, EffectResult, PartitionedResult
from dowhy_cina.tables import (
    Preprocessor,
    check_cluster,
    check_outcome,
    check_sample_weight,
    encode_treatment,
)
from dowhy_cina.tables.matching import check_order
from dowhy_cina.tables.preparation import PreparedTable
from dowhy_cina.tables.reading import as_table
from dowhy_cina.tables.roles import as_series
from dowhy_cina.tables.selection import select_columns

if TYPE_CHECKING:
    from typing_extensions import Unpack  # of typing itself from Python 3.11 on
from typing import Protocol, TypedDict


class DaskFrame(Protocol):
    """A Dask DataFrame as far as it has to be told from other tables: Dask is not typed."""

    @property
    def npartitions(self) -> int: ...

    def to_delayed(self) -> Any: ...


class EffectOptions(TypedDict, total=False):
    """Keyword arguments of :func:`dowhy_cina.estimate_effect`, which documents them."""

    covariates: Sequence[str] | None
    treatment_value: Any
    control_value: Any
    target_units: Any
    augmentation: str
    checkpoint: str
    device: str
    confidence_level: float
    sample_weight: Any
    cluster: Any
    refine: float | None
    memory_limit: str | None
    landmarks: int | None


__all__ = ["Analysis", "EffectResult", "analyse", "estimate_effect"]


def analyse(
    X: Any,
    treatment: Any,
    outcome: Any,
    *,
    treatment_value: Any = None,
    control_value: Any = None,
    options: EstimatorOptions | None = None,
    sample_weight: Any = None,
    cluster: Any = None,
) -> Analysis:
    """Check and encode a table and run the model once.

    Parameters
    ----------
    X : ndarray of shape (N, D) or DataFrame
        Covariates; numbers, booleans, strings, categories and missing values.
    treatment, outcome : array-like, shape (N,)
        Aligned with ``X`` by position.
    treatment_value, control_value : optional
        Levels to compare; rows of other levels are set aside.
    options : EstimatorOptions, optional
    sample_weight : array-like, shape (N,), optional
        Sampling weights: not negative, with a positive sum in each arm. Rows of weight zero are set aside.
    cluster : array-like, shape (N,), optional
        Labels of at least two clusters of rows that may depend on each other; see :func:`estimate_effect`.

    Returns
    -------
    Analysis

    Raises
    ------
    InputError, InputTypeError
        If the table allows no estimate; the message says what was expected, what came and what to do.
    NotImplementedError
        For ``device="mps"``.
    """
    return Analysis(prepare(X, treatment, outcome, (treatment_value, control_value), options, sample_weight, cluster))


@usual_arithmetic()
def prepare(
    X: Any,
    treatment: Any,
    outcome: Any,
    values: tuple[Any, Any] = (None, None),
    options: EstimatorOptions | None = None,
    sample_weight: Any = None,
    cluster: Any = None,
) -> PreparedTable:
    """Check and encode a table.

    Parameters
    ----------
    X, treatment, outcome, options, sample_weight, cluster
        As in :func:`analyse`.
    values : tuple
        Levels of the treated and of the control arm; None if the column tells them.

    Returns
    -------
    PreparedTable

    Raises
    ------
    InputError, InputTypeError
        As :func:`analyse`.
    """
    options = options or EstimatorOptions()
    X = as_table(X)
    named = {"treatment": treatment, "outcome": outcome, "sample_weight": sample_weight, "cluster": cluster}
    # Of an array of covariates, the columns beside it are those of each other's rows.
    columns = (column for column in named.values() if isinstance(column, pd.Series))
    labelled = X if isinstance(X, pd.DataFrame) else next(columns, None)
    for name, column in named.items():
        check_order(column, labelled, name)
    t, keep, _ = encode_treatment(treatment, *values)
    if len(X) != len(keep):
        raise InputError(f"expected covariates and treatment of the same length, got {len(X)} and {len(keep)} rows.")
    outcome = as_series(outcome, "outcome")
    if len(outcome) != len(keep):
        raise InputError(f"outcome: expected {len(keep)} values, one for each row of the table, got {len(outcome)}.")
    weights, unweighted = None, 0
    if sample_weight is not None:
        weights = check_sample_weight(sample_weight, len(keep), keep)
        weights *= unit_of(weights.max(initial=0.0))  # their unit means nothing, and their sum may overflow
        refuse_unweighted(weights[keep], t[keep], options)
        # Rows of no weight would count as evidence, and as rows, wherever those are counted.
        unweighted, keep = int((weights[keep] == 0).sum()), keep & (weights > 0)
        weights = weights[keep]
    y = check_outcome(outcome[keep], int(keep.sum()), np.flatnonzero(keep))
    clusters = None if cluster is None else check_cluster(cluster, len(keep), keep)
    t = t[keep]
    preprocessor = Preprocessor()
    encoded = preprocessor.fit_transform(X if keep.all() else X[keep], t, clusters)
    given = (X, None if clusters is None else np.asarray(cluster))
    return PreparedTable(encoded, t, y, keep, preprocessor, options, weights, clusters, given, unweighted)


def refuse_unweighted(
    weights: npt.NDArray[np.float64], treatment: npt.NDArray[np.float64], options: EstimatorOptions
) -> None:
    """Refuse sampling weights that leave an arm empty, or that the chosen problem does not take.

    Raises
    ------
    InputError
    """
    for name, arm in (("control", treatment == 0), ("treated", treatment == 1)):
        if not weights[arm].sum() > 0:
            raise InputError(
                f"sample_weight: expected a positive weight in each arm, got none among the {name} rows. Rows of "
                f"weight zero are set aside: give {name} rows a weight, or leave sample_weight at None."
            )
    if options.checkpoint == "exact" or options.augmentation == "none":
        raise InputError(
            "sample_weight needs augmentation='kernel' and a pretrained checkpoint: the paper's weights balance the "
            "arms of the table as it is. Leave sample_weight at None, or augmentation and checkpoint at their defaults."
        )


@overload
def estimate_effect(
    X: DaskFrame, treatment: Any, outcome: Any, **options: Unpack[EffectOptions]
) -> PartitionedResult: ...
@overload
def estimate_effect(X: Any, treatment: Any, outcome: Any, **options: Unpack[EffectOptions]) -> EffectResult: ...
def estimate_effect(
    X: Any,
    treatment: Any,
    outcome: Any,
    *,
    covariates: Sequence[str] | None = None,
    treatment_value: Any = None,
    control_value: Any = None,
    target_units: Any = "ate",
    augmentation: str = "kernel",
    checkpoint: str = "cina-small",
    device: str = "auto",
    confidence_level: float = 0.95,
    sample_weight: Any = None,
    cluster: Any = None,
    refine: float | None = None,
    memory_limit: str | None = None,
    landmarks: int | None = None,
) -> AverageEffect:
    """Average effect of a binary treatment, zero-shot: one forward pass, nothing is fitted by gradient descent.

    Parameters
    ----------
    X : ndarray of shape (N, D), or DataFrame of pandas or Dask
        Covariates (numbers, booleans, strings, categories, missing values), aligned with the other arguments by
        position; or a whole DataFrame if ``treatment`` and ``outcome`` are names of its columns. Masked entries of
        numpy's masked arrays are missing values here and in the other arguments.
    treatment : array-like of shape (N,), or str
        Two levels, of which the larger number (True of booleans) is treated. Text, the codes 1 and 2, and more levels
        need ``treatment_value`` and ``control_value``.
    outcome : array-like of shape (N,), or str
        Finite numbers.
    covariates : sequence of str, optional
        Columns of ``X`` to adjust for; all but treatment and outcome by default.
    treatment_value, control_value : optional
        Levels to compare; rows of other levels are set aside.
    target_units : {"ate", "att", "atc", "overlap"}, boolean mask of shape (N,), or DataFrame of covariate rows
        Population whose average effect is wanted. A DataFrame whose rows are all the table's own names these, as a mask
        does; otherwise its rows are a sample of their population that is independent of the table. Rows of other
        treatments than the two compared count in a DataFrame, and not in a mask. "overlap" weighs
        each row by ``e (1 - e)`` with ``e`` its leave-one-out propensity, which stresses rows that could as well have
        got the other treatment.
    augmentation : {"kernel", "none"}
        Outcome models beside the weights, or the weights alone (for the ATE the paper's estimator, arm against arm).
    checkpoint : str
        Bundled name, path, or "exact": the balancing problem solved on a Gaussian kernel of this table's rows
        (Algorithm 1 of the paper), at most 5,000 of them.
    device : str
        "auto", "cpu", "cuda" or "cuda:1".
    confidence_level : float
        In (0, 1).
    refine : float, optional
        Continue from the zero-shot weights until the relative duality gap is at most this, for instance 1e-3.
    sample_weight : array-like of shape (N,), or str
        Sampling weights: not negative, with a positive sum in each arm; or the name of their column. Rows of weight
        zero are set aside: the answer is that of the table without them.
    cluster : array-like of shape (N,), or str
        Labels of clusters of rows that may depend on each other; or their column. What leaves a row out, from the
        penalties to the standard error, leaves its cluster out then, and a table counts as many rows as it has
        clusters. A label for each row is as good as none; an arm whose rows share one has no standard error.
        Without them the result warns where rows are exact copies of others and that is no coincidence.
    memory_limit : str, optional
        Most memory that the estimate plans with beside the table, for example "4GB"; half of what is free by default.
        With less, long tables take more passes.
    landmarks : int, optional
        Rows that span the kernels, at least 2: a table with no more of them is computed exactly, a longer one the
        closer to it, and the slower, the more there are. There an odd number counts as one fewer, for half from each
        arm. At most 8,192 of a Dask DataFrame. By default 128 where an arm has at most 1,024 rows (or clusters), up to
        256 where both have more, and from 49,000 rows to 98,000 down to 128 again, for time.

    Returns
    -------
    EffectResult
        For a Dask DataFrame a :class:`~dowhy_cina.results.effect.PartitionedResult`, whose weights stay on the
        workers. Both are :class:`~dowhy_cina.results.effect.AverageEffect`.

    Raises
    ------
    InputError, InputTypeError
        If the table allows no estimate; the message says what was expected, what came and what to do.
    NotImplementedError
        For options that a Dask DataFrame does not have, and for ``device="mps"``.

    References
    ----------
    Zhang et al. (2024), Towards Causal Foundation Model: on Duality between Optimal Balancing and Attention, ICML,
    arXiv:2310.00809.
    """
    options = EstimatorOptions(
        checkpoint=checkpoint,
        device=device,
        augmentation=augmentation,
        landmarks=landmarks,
        refine=refine,
        memory_limit=memory_limit,
    )
    if is_partitioned(X):
        refused = {"sample_weight": sample_weight, "cluster": cluster}
        values = (treatment_value, control_value)
        return _of_partitions(
            X, treatment, outcome, covariates, values, target_units, options, confidence_level, refused
        )
    prepared = prepare_columns(
        X, (treatment, outcome, sample_weight, cluster), covariates, (treatment_value, control_value), options
    )
    check_request(prepared, target_units, confidence_level)
    rows = len(prepared.treatment)
    with threads_for(prepared.threaded_rows):
        result = Analysis(prepared).effect(target_units, confidence_level)
    del prepared
    return_freed_memory(rows)
    return result


def prepare_columns(
    X: Any,
    roles: Sequence[Any],
    covariates: Sequence[str] | None,
    values: tuple[Any, Any],
    options: EstimatorOptions,
) -> PreparedTable:
    """:func:`prepare` for a table of which some columns may be named.

    Parameters
    ----------
    X : ndarray of shape (N, D) or DataFrame
    roles : sequence
        Treatment, outcome, sampling weight and cluster, each as values or as the name of a column of ``X``.
    covariates : sequence of str, optional
        As in :func:`estimate_effect`.
    values, options
        As in :func:`prepare`.

    Raises
    ------
    InputError, InputTypeError
        As :func:`select_columns` and :func:`prepare`.
    """
    X, (treatment, outcome, sample_weight, cluster) = select_columns(X, roles, covariates)
    return prepare(X, treatment, outcome, values, options, sample_weight, cluster)


def is_partitioned(X: Any) -> TypeGuard[DaskFrame]:
    """Whether a table is a Dask DataFrame."""
    return type(X).__module__.split(".")[0].startswith("dask")


def _of_partitions(
    table: Any,
    treatment: Any,
    outcome: Any,
    covariates: Sequence[str] | None,
    values: tuple[Any, Any],
    target_units: Any,
    options: EstimatorOptions,
    confidence_level: float,
    other_columns: Mapping[str, Any],
) -> PartitionedResult:
    """Estimate from a Dask DataFrame."""
    from dowhy_cina.calls.partitioned import Roles, estimate_partitioned

    for name, column in other_columns.items():
        if column is not None:
            raise NotImplementedError(f"{name} is not available for a Dask DataFrame; leave it at None.")
    if not (isinstance(treatment, str) and isinstance(outcome, str)) or not hasattr(table, "columns"):
        raise InputTypeError("a Dask DataFrame needs treatment and outcome as names of its columns.")
    # An empty frame with the table's columns stands for it where only names are looked at.
    chosen, _ = select_columns(pd.DataFrame(columns=table.columns), (treatment, outcome), covariates)
    roles = Roles(list(chosen.columns), treatment, outcome)
    return estimate_partitioned(table, roles, values, target_units, options, confidence_level)
