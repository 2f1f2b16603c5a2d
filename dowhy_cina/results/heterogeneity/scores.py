"""Scores of rows, and the checks that everything built on them shares.

Letters: N rows.
"""

from __future__ import annotations

from numbers import Real
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from dowhy_cina.errors import InputError, InputTypeError
from dowhy_cina.mathematics.scaling import Array, unit_of
from dowhy_cina.tables.columns import check_real, holds_dates, holds_numbers, is_hashable, number_column, typed
from dowhy_cina.tables.matching import check_order
from dowhy_cina.tables.reading import as_array, as_frame, check_unique, inferred

Codes = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


class Reading(Protocol):
    """How an estimate reads its covariates, such as :class:`dowhy_cina.tables.Preprocessor`."""

    def as_read(self, columns: pd.DataFrame) -> pd.DataFrame:
        """Some raw covariates with the values that the estimate reads in them."""
        ...


def select_modifiers(covariates: Any, by: Any, reading: Reading | None = None) -> pd.DataFrame:
    """Columns to look for effect modification in.

    Parameters
    ----------
    covariates : DataFrame or ndarray of N rows, or None
        The columns of an array are called "x0", "x1", ...
    by : column name, list of column names, or Series, DataFrame or ndarray of N rows
        A list is one of names; values of one's own are aligned by position.
    reading : Reading, optional
        Of columns by name: numbers that stand for missing ones are missing, numbers that came as text are numbers, and
        codes are labels. Values of one's own stay as they are.

    Returns
    -------
    DataFrame, N rows
        With columns as :func:`modifier_column` reads them.

    Raises
    ------
    InputError
        If a name is not that of a covariate or comes twice, or the values have another number of rows or no column.
    InputTypeError
        If names are given where the covariates are not known, it is neither names nor values, or a column holds complex
        numbers, containers or records.
    """
    check_no_records(by, "effect modifiers")
    if isinstance(by, np.ndarray) and by.ndim != 1:
        if by.ndim != 2:
            raise InputError(f"expected values of shape (N,) or (N, columns), got shape {by.shape}.")
        by = pd.DataFrame(by, columns=[f"group{column}" for column in range(by.shape[1])])
    if isinstance(by, pd.Series | pd.DataFrame | np.ndarray | pd.Categorical):
        values = by if isinstance(by, pd.DataFrame) else pd.DataFrame({getattr(by, "name", None) or "group": by})
        if covariates is not None and len(values) != len(covariates):
            raise InputError(f"expected a value for each of {len(covariates)} rows, got {len(values)}.")
        check_order(values, covariates, "effect modifiers")
        if not values.shape[1]:
            raise InputError("expected at least one column of effect modifiers, got a frame without columns.")
        return modifier_columns(values.reset_index(drop=True))
    if covariates is None:
        raise InputTypeError(
            f"the covariates are not kept in pickles: expected the columns themselves, got the name {by!r}."
        )
    covariates = as_frame(covariates)
    names = list(by) if isinstance(by, list | tuple) else [by]
    odd = [name for name in names if not is_hashable(name)]
    if odd:
        raise InputTypeError(f"expected names of covariates, or a Series, DataFrame or ndarray, got {odd[0]!r}.")
    known = [str(name) for name in covariates.columns]
    unknown = [name for name in names if name not in covariates.columns]
    if unknown or not names:
        raise InputError(
            f"expected covariates as effect modifiers, got {unknown or 'none'}; the covariates are {known}. Pass the "
            "values of another column themselves."
        )
    chosen = pd.DataFrame(covariates[names]).reset_index(drop=True)
    return modifier_columns(chosen if reading is None else reading.as_read(chosen))


def modifier_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of a frame as :func:`modifier_column` reads them.

    Raises
    ------
    InputError
        If two columns have one name.
    InputTypeError
        As `modifier_column`.
    """
    check_unique(list(frame.columns), "effect modifiers")
    columns = [modifier_column(column, f"effect modifier {str(name)!r}") for name, column in frame.items()]
    return pd.concat(columns, axis=1).set_axis(frame.columns, axis=1) if columns else frame


def modifier_column(column: pd.Series[Any], what: str) -> pd.Series[Any]:
    """Column as the estimate reads it: numbers as such, also where they stand as objects, anything else as labels.

    Truth values stay what they are, and so do dates: they are no covariates, but groups may be made of them.

    Raises
    ------
    InputError
        If a number is beyond the largest float.
    InputTypeError
        If it holds complex numbers or containers.
    """
    column = inferred(column, what)
    check_real(column, what)
    if pd.api.types.infer_dtype(column, skipna=True) == "boolean":
        return column.astype("boolean") if column.dtype == object else column
    return column if holds_dates(column) else typed(column, what)


def check_no_records(values: Any, what: str) -> None:
    """Refuse a structured array of numpy, whose rows are records of several values.

    Raises
    ------
    InputTypeError
        If it is one.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind == "V":
        raise InputTypeError(
            f"{what}: expected one value for each row, got records of dtype {values.dtype}. Pass one field, or "
            "pandas.DataFrame(values) where several columns are meant."
        )


def real_numbers(values: Any, what: str) -> Array:
    """Values of any shape as floats, missing ones as NaN.

    Raises
    ------
    InputError
        If a number is beyond the largest float.
    InputTypeError
        If they are complex, text, dates, containers or records.
    """
    array = as_array(values, what)
    check_no_records(array, what)
    column = inferred(pd.Series(array.ravel()), what)
    if not holds_numbers(column, what):
        label = column.dropna().iloc[0]
        raise InputTypeError(f"{what}: expected numbers, got {label!r}; turn text into numbers first.")
    return number_column(column, what).reshape(array.shape)


def finite_column(columns: pd.DataFrame, expected: str) -> Array:
    """The only column (N,) of modifiers, of finite numbers.

    Raises
    ------
    InputError
        If there are more columns, or it holds labels, missing or infinite numbers.
    """
    if columns.shape[1] != 1 or not pd.api.types.is_numeric_dtype(columns.iloc[:, 0]):
        names = [str(name) for name in columns.columns]
        raise InputError(
            f"expected {expected}, got {names}; for labels or several columns there is group_effects. Of a covariate "
            "that the estimate took for labels give the numbers themselves."
        )
    values = real_numbers(columns.iloc[:, 0], expected)
    if not np.isfinite(values).all():
        raise InputError(
            f"expected {expected}, got missing or infinite ones, or ones that were taken for missing; fill them in, or "
            "leave these rows out."
        )
    return values


def in_size(pseudo_outcomes: npt.ArrayLike) -> tuple[Array, float]:
    """Scores in a power of two near the largest of them, so that powers of them neither overflow nor vanish.

    Returns
    -------
    scores : ndarray, shape (N,)
    size : float
        That they have to be multiplied by.
    """
    scores = np.asarray(pseudo_outcomes, dtype=np.float64)
    unit = float(unit_of(np.abs(scores).max(initial=0.0)))
    return scores * unit, 1 / unit


def contributions(pseudo_outcomes: npt.ArrayLike, weights: npt.ArrayLike | None) -> tuple[Array, Array]:
    """What each row adds to the average effect, and its weight in the target population.

    Parameters
    ----------
    pseudo_outcomes : array-like, shape (N,)
    weights : array-like, shape (N,), optional
        Any scale; equal by default.

    Returns
    -------
    a, q : ndarray, shape (N,)
        q sums to one, a to the effect.

    Raises
    ------
    InputError
        If lengths differ, a score is not finite, a weight is negative or none is positive.
    """
    scores = np.asarray(pseudo_outcomes, dtype=np.float64)
    if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
        raise InputError(f"expected finite pseudo-outcomes, one for each row, got an array of shape {scores.shape}.")
    q = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)
    if q.shape != scores.shape:
        raise InputError(f"expected a weight for each of {len(scores)} rows, got shape {q.shape}.")
    if not (q >= 0).all() or not np.isfinite(q).all():
        raise InputError("expected weights that are finite and not negative; leave out the rows that have others.")
    if not q.any():
        raise InputError(
            "expected weights of which some are positive, got zeros: the target population is not in the table."
        )
    q = q / q.sum()
    mean = float(scores.mean())
    return (scores - mean) / len(scores) + q * mean, q


def cluster_codes(cluster: Any, rows: int) -> Codes:
    """Number clusters from zero.

    Raises
    ------
    InputError
        If there is not a label for each row, one is missing, or all are the same.
    """
    codes, labels = pd.factorize(np.asarray(cluster), use_na_sentinel=True)
    if codes.shape != (rows,):
        raise InputError(f"expected a cluster for each of {rows} rows, got {len(codes)}.")
    if (codes < 0).any():
        raise InputError("expected a cluster for every row, got missing labels; give each of these rows its own.")
    if len(labels) < 2:
        raise InputError(
            "expected at least two clusters, got one: nothing tells how clusters differ. Leave cluster out, or name a "
            "column with more."
        )
    return np.asarray(codes, dtype=np.intp)


def check_level(level: Any, what: str = "level") -> float:
    """Return a confidence level as a float.

    Raises
    ------
    InputError
        If it is outside (0, 1).
    InputTypeError
        If it is no number.
    """
    if not isinstance(level, Real) or isinstance(level, bool):
        raise InputTypeError(f"expected a {what} in (0, 1), a number, got {level!r}; for example 0.95.")
    if not 0 < float(level) < 1:
        raise InputError(f"expected a {what} in (0, 1), got {level!r}; for example 0.95.")
    return float(level)
