"""The roles of columns, checked: treatment, outcome, sampling weights and clusters.

Letters: N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dowhy_cina.errors import InputError, InputTypeError, first_rows
from dowhy_cina.tables.columns import holds_numbers, number_column
from dowhy_cina.tables.reading import as_array, inferred, unmasked
from dowhy_cina.tables.words import numbers_and_words

#: Sizes between which an outcome's largest value must be: beyond, an interval could leave the range of floats.
SMALLEST_OUTCOME, LARGEST_OUTCOME = 1e-280, 1e280
#: Largest whole number of which any column can be asked.
_LARGEST_WHOLE = 2**1023
#: Levels that a message lists before it stops.
LISTED_LEVELS = 10
#: Numeric levels from which a treatment is called continuous in the message; fewer if they are not whole numbers.
CONTINUOUS_LEVELS = 20
CONTINUOUS_FRACTIONS = 5


@dataclass(frozen=True)
class TreatmentCoding:
    """Which value of the treatment column is the treated arm and which is the control arm."""

    treated: Any
    control: Any


def encode_treatment(
    treatment: Any,
    treatment_value: Any = None,
    control_value: Any = None,
    repeats: npt.NDArray[np.int64] | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], TreatmentCoding]:
    """Code a treatment column as 1 (treated) and 0 (control).

    Parameters
    ----------
    treatment : array_like, shape (N,)
        Boolean, numeric, text or categorical; nullable pandas types are taken.
    treatment_value, control_value
        Values of the two arms; rows with another value are set aside. Without them the column must have two levels of
        which the larger number (``True`` of a boolean) is the treated arm; 1 and 2 may be codes of yes and no.
    repeats : ndarray of int, shape (N,), optional
        Rows of a table that each value stands for, which messages count; one by default.

    Returns
    -------
    arm : ndarray, shape (N,)
        1.0 in treated rows, 0.0 in all others.
    keep : ndarray of bool, shape (N,)
        False where the row has neither of the two values.
    coding : TreatmentCoding
        The values of the two arms.

    Raises
    ------
    InputError
        If values are missing (or masked) or infinite, an arm has no row, or the two arms cannot be told.
    InputTypeError
        If the column holds neither numbers, booleans, text nor categories.
    """
    for name, value in (("treatment_value", treatment_value), ("control_value", control_value)):
        check_value(value, name)
    values = _level_values(as_series(treatment, "treatment"), repeats)
    if treatment_value is None or control_value is None:
        treatment_value, control_value = _infer_arms(values, treatment_value, control_value, repeats)
    treated, control = _rows_with(values, treatment_value), _rows_with(values, control_value)
    if bool((treated & control).any()) or treatment_value == control_value:
        raise InputError(
            f"treatment_value and control_value: expected two different values, got {treatment_value!r} twice."
        )
    counts = _count(treated, repeats), _count(control, repeats)
    for arm, count in zip(("treated", "control"), counts, strict=True):
        if count == 0:
            raise InputError(
                f"no {arm} row: {counts[0]} rows have the treatment value {treatment_value!r} (treated) and "
                f"{counts[1]} the value {control_value!r} (control); the column holds "
                f"{_describe_levels(values, repeats)}. {_looks_continuous(values)}Both arms need at least one row: "
                "check the data, or name the values of both as treatment_value and control_value."
            )
    return treated.astype(np.float64), treated | control, TreatmentCoding(treatment_value, control_value)


def check_outcome(outcome: Any, n: int, places: npt.NDArray[np.intp] | None = None) -> npt.NDArray[np.float64]:
    """Return the outcome as finite float64 values.

    Parameters
    ----------
    outcome : array_like, shape (N,)
        Numbers or booleans; an object column that holds only those is taken.
    n
        Rows of the table that it belongs to.
    places : ndarray of int, shape (N,), optional
        Where they are in the caller's table, for an error to name; all rows in order by default.

    Returns
    -------
    ndarray, shape (N,)
        In the outcome's own unit; never a view that a caller could mutate through.

    Raises
    ------
    InputError
        If the length differs from `n`, or values are missing (or masked) or infinite, or so large or small that
        intervals about them would not be.
    InputTypeError
        If the outcome is text, dates or anything else that is not a number.
    """
    series = as_series(outcome, "outcome")
    if len(series) != n:
        raise InputError(f"outcome: expected {n} values, one for each row of the table, got {len(series)}.")
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = pd.Series(np.asarray(series))
    if not holds_numbers(series, "outcome"):
        if np.isfinite(numbers_and_words(series).numbers).sum() > 0.5 * series.notna().sum():
            raise InputTypeError(
                f"outcome: expected numbers, got numbers written as text: {_example(series)}. Convert them with "
                "pandas.to_numeric, or read the file with thousands= and decimal= of pandas.read_csv."
            )
        raise InputTypeError(
            f"outcome: expected numbers or booleans, got {_example(series)}. Code it as numbers, for example 1 for the "
            "event and 0 for none."
        )
    values = number_column(series, "outcome")
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        named = first_rows((bad if places is None else places[bad]).tolist())
        raise InputError(
            f"outcome: expected finite numbers, got {bad.size} missing or infinite of {n} ({named}). Leave these rows "
            "out or fill them in; the estimator does not guess outcomes."
        )
    size = float(np.abs(values).max(initial=0.0))
    if size and not SMALLEST_OUTCOME <= size <= LARGEST_OUTCOME:
        raise InputError(
            f"outcome: expected a largest value between {SMALLEST_OUTCOME:g} and {LARGEST_OUTCOME:g} in size, got "
            f"{size:.3g}. Give it in another unit, in which the effect is too."
        )
    return values.copy()


def as_series(values: Any, what: str) -> pd.Series[Any]:
    """Return a column as a pandas Series; a single column in two dimensions is taken as that column.

    Raises
    ------
    InputError, InputTypeError
        If it has another shape or makes no array.
    """
    values = unmasked(values, what)
    if isinstance(values, pd.DataFrame):
        values = values.iloc[:, 0] if values.shape[1] == 1 else values.to_numpy()
    if isinstance(values, pd.Series):
        return values
    if not isinstance(values, pd.api.extensions.ExtensionArray | pd.Index):
        mixed = isinstance(values, Sequence) and not isinstance(values, str | bytes)
        # Through objects, or numpy would turn [0, "a"] into text and [1, None] into an error.
        values = as_array(values, what, object if mixed else None)
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.ndim != 1:
            raise InputError(
                f"{what}: expected one value per row, shape (N,), got shape {values.shape}. Pass a single column."
            )
    # Objects stay objects: in a whole number beyond the largest float pandas' own guess is an error of its own.
    series = pd.Series(values, dtype=object if values.dtype == object else None)
    return inferred(series, what) if series.dtype == object else series


def check_value(value: Any, name: str) -> None:
    """Refuse what is no single value of a treatment; None stands for one that is not named.

    Raises
    ------
    InputError
        If it is a missing value or beyond the largest float.
    InputTypeError
        If it is a container.
    """
    try:
        hash(value)
        single = np.ndim(value) == 0
    except (TypeError, ValueError):  # lists, also of different lengths
        single = False
    if not single:
        raise InputTypeError(f"{name}: expected a single value of the treatment column, got {value!r}.")
    if isinstance(value, int) and abs(value) > _LARGEST_WHOLE:
        raise InputError(f"{name}: expected a value of the treatment column, got a number beyond the largest float.")
    if value is not None and pd.isna(value):
        raise InputError(f"{name}: expected a value of the treatment column, got {value!r}, a missing one.")


def _count(mask: npt.NDArray[np.bool_], repeats: npt.NDArray[np.int64] | None) -> int:
    """Count the rows of some values."""
    return int(mask.sum() if repeats is None else repeats[mask].sum())


def _level_values(series: pd.Series[Any], repeats: npt.NDArray[np.int64] | None) -> npt.NDArray[Any]:
    """Return the treatment's values as booleans, whole numbers, floats, or objects where they are no numbers."""
    if len(series) == 0:
        raise InputError("treatment: expected at least one treated and one control row, got an empty table.")
    missing = np.flatnonzero(series.isna().to_numpy())
    if missing.size:
        raise InputError(
            f"treatment: expected a value in every row, got {missing.size} missing of {len(series)} "
            f"({first_rows(missing.tolist())}). Leave these rows out."
        )
    if isinstance(series.dtype, pd.CategoricalDtype) or series.dtype == object:
        series = inferred(pd.Series(np.asarray(series)), "treatment")
    if not holds_numbers(series, "treatment"):
        return np.asarray(series, dtype=object)
    if pd.api.types.is_bool_dtype(series.dtype):
        return series.to_numpy(dtype=np.bool_)
    if pd.api.types.is_integer_dtype(series.dtype):
        return series.to_numpy(dtype=np.uint64 if pd.api.types.is_unsigned_integer_dtype(series.dtype) else np.int64)
    values = number_column(series, "treatment")
    infinite = np.isinf(values)
    if infinite.any():
        where = f" ({first_rows(np.flatnonzero(infinite).tolist())})" if repeats is None else ""
        raise InputError(
            f"treatment: expected finite values, got {_count(infinite, repeats)} infinite of "
            f"{_count(np.ones_like(infinite), repeats)}{where}. Leave these rows out or correct them."
        )
    return values


def _levels(values: npt.NDArray[Any]) -> list[Any]:
    """Return the levels in ascending order as plain Python values."""
    unique = pd.unique(values)
    if values.dtype.kind != "O":
        return [level.item() for level in np.sort(unique)]
    return sorted(unique, key=lambda level: (type(level).__name__, str(level)))


def _describe_levels(values: npt.NDArray[Any], repeats: npt.NDArray[np.int64] | None) -> str:
    """List the levels with their rows, as many as fit in a message."""
    levels = _levels(values)
    shown = [f"{level!r} ({_count(_rows_with(values, level), repeats)} rows)" for level in levels[:LISTED_LEVELS]]
    more = len(levels) - len(shown)
    return ", ".join(shown) + (f" and {more} more levels" if more else "")


def _infer_arms(
    values: npt.NDArray[Any], treated: Any, control: Any, repeats: npt.NDArray[np.int64] | None
) -> tuple[Any, Any]:
    """Tell the two arms from the column where the user named none or only one of them."""
    levels = _levels(values)
    if len(levels) > 2:
        raise InputError(_too_many_levels(values, levels, repeats))
    if treated is not None or control is not None:
        others = [level for level in levels if level not in (treated, control)]
        if len(others) != 1:
            raise InputError(
                "treatment: expected two levels of which one was named, got the levels "
                f"{_describe_levels(values, repeats)}. Name both treatment_value and control_value."
            )
        return (others[0], control) if treated is None else (treated, others[0])
    if values.dtype.kind == "O" or levels == [1, 2]:
        raise InputError(
            f"treatment: got the levels {_describe_levels(values, repeats)}, and which of them is treated is not "
            "known. Name the one as treatment_value and the other as control_value."
        )
    if len(levels) == 1:
        if levels[0] not in (0, 1):
            raise InputError(
                f"treatment: expected two levels, got {levels[0]!r} in all {_count(values == levels[0], repeats)} "
                "rows. There is no other arm to compare with: add its rows."
            )
        return type(levels[0])(1), type(levels[0])(0)
    return levels[1], levels[0]


def _is_continuous(values: npt.NDArray[Any], levels: list[Any]) -> bool:
    """Whether there are more levels than a treatment has."""
    whole = values.dtype.kind != "f" or all(level == int(level) for level in levels)
    return values.dtype.kind != "O" and len(levels) > (CONTINUOUS_LEVELS if whole else CONTINUOUS_FRACTIONS)


def _looks_continuous(values: npt.NDArray[Any]) -> str:
    """What to say beside a missing arm where no level may be meant."""
    if not _is_continuous(values, _levels(values)):
        return ""
    return "It looks continuous, and the effect of a dose is not estimated: cut it into two groups. "


def _too_many_levels(values: npt.NDArray[Any], levels: list[Any], repeats: npt.NDArray[np.int64] | None) -> str:
    if _is_continuous(values, levels):
        return (
            f"treatment: expected two levels, got {len(levels)} from {levels[0]!r} to {levels[-1]!r}; it looks "
            "continuous, and the effect of a dose is not estimated. Cut it into two groups, or name the two values to "
            "compare as treatment_value and control_value."
        )
    return (
        f"treatment: expected two levels, got {len(levels)}: {_describe_levels(values, repeats)}. Name the two to "
        "compare as treatment_value and control_value; rows of the others are set aside."
    )


def _rows_with(values: npt.NDArray[Any], level: Any) -> npt.NDArray[np.bool_]:
    """Mask of the rows that hold a level; a number never equals a text."""
    if values.dtype.kind != "O" and not isinstance(level, bool | int | float | np.number | np.bool_):
        return np.zeros(len(values), dtype=np.bool_)
    return np.asarray(values == level, dtype=np.bool_)


def _example(series: pd.Series[Any]) -> str:
    present = series.dropna()
    if present.empty:
        return f"a column of type {series.dtype} without any value"
    return f"{type(present.iloc[0]).__name__} values such as {present.iloc[0]!r}"


def check_sample_weight(sample_weight: Any, n: int, keep: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return sampling weights (N,) as float64 values, zero of the rows that are not compared.

    Raises
    ------
    InputError
        If the length differs from ``n``, or values of compared rows are negative, missing or infinite.
    InputTypeError
        If they are no numbers.
    """
    weights = np.array(as_array(sample_weight, "sample_weight", np.float64))
    if weights.shape != (n,):
        raise InputError(f"sample_weight: expected shape ({n},), a weight for each row, got {weights.shape}.")
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)) & keep)
    if bad.size:
        raise InputError(
            f"sample_weight: expected finite weights that are not negative, got {bad.size} others of {n} "
            f"({first_rows(bad.tolist())}). Correct them, or leave these rows out."
        )
    return np.where(keep, weights, 0.0)


def check_cluster(cluster: Any, n: int, keep: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64] | None:
    """Return cluster labels as codes from 0, of the rows that are compared; None if each has a label of its own.

    Parameters
    ----------
    cluster : array-like, shape (N,)
        Labels of any kind that can be told apart.
    n
        Rows of the table.
    keep : ndarray of bool, shape (N,)
        Rows that are compared.

    Returns
    -------
    ndarray of int, shape (rows compared,), or None

    Raises
    ------
    InputError
        If the length differs from ``n``, labels of compared rows are missing, or there is only one cluster.
    InputTypeError
        If labels are containers.
    """
    labels = as_series(cluster, "cluster").reset_index(drop=True)
    if len(labels) != n:
        raise InputError(f"cluster: expected {n} labels, one for each row, got {len(labels)}.")
    missing = np.flatnonzero(labels.isna() & keep)
    if missing.size:
        raise InputError(f"cluster: expected a label for each row, got {missing.size} missing of {n}. Fill them in.")
    try:
        pd.factorize(labels)
    except TypeError as error:
        raise InputTypeError(f"cluster: expected numbers or text as labels, got others ({error}).") from error
    # By the label's text, so that neither the order of rows nor the type of the labels decides the codes.
    codes, names = pd.factorize(labels[keep].astype(str), sort=True)
    if len(names) < 2:
        raise InputError(
            f"cluster: expected at least two clusters, got one ({names[0]!r}). Leave cluster at None if the rows are "
            "independent."
        )
    return None if len(names) == len(codes) else codes.astype(np.int64)
