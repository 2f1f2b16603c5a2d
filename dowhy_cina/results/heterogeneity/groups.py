"""Average effects by group.

Letters: N rows, G groups, C clusters.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dowhy_cina.errors import InputError, InputTypeError, whole_number
from dowhy_cina.mathematics.scaling import Array, unit_of, usual_arithmetic
from dowhy_cina.results.heterogeneity.inference import uncertainty
from dowhy_cina.results.heterogeneity.scores import (
    Codes,
    check_level,
    cluster_codes,
    contributions,
    in_size,
    modifier_column,
)
from dowhy_cina.tables.modifiers import MOST_GROUPS

#: Distinct numbers up to which each is a group of its own; more are cut at quantiles.
MOST_LEVELS = 6
#: Rows of each arm below which a group has no standard error: its scores then lean on an outcome model that no row of
#: the thin arm there contradicts, and scatter far less than the effect is uncertain.
ROWS_PER_ARM = 5
#: Sizes between which ranges of numbers are named without powers of ten.
_SMALLEST_PLAIN, _LARGEST_PLAIN = 1e-5, 1e16


@dataclass(frozen=True, eq=False)
class GroupEffects:
    """Average effects by group, with a test that they are all the same. Compared by identity.

    Attributes
    ----------
    table : DataFrame
        A row per group: ``effect``, ``standard_error``, ``lower``, ``upper`` in the outcome's unit and ``rows``, the
        group's rows in the target population; where the treatment is known also ``treated`` and ``control``, the
        group's rows of each arm, in the target or not. A group of a single row (or cluster), or with fewer than five
        rows of an arm, has an effect and no interval (NaN), and is left out of the test.
    statistic : float or None
        Wald statistic of equal effects in the groups that have a standard error; None if fewer than two have one.
    degrees_of_freedom : int
        Groups compared less one.
    p_value : float or None
        From Welch's F distribution; where groups share clusters, from Hotelling's.
    level : float
        Of the intervals.
    simultaneous : bool
        Whether the intervals hold the effects of all groups at once with this level, or each by itself.
    """

    table: pd.DataFrame
    statistic: float | None
    degrees_of_freedom: int
    p_value: float | None
    level: float
    simultaneous: bool = False

    def __str__(self) -> str:
        text = self.table.to_string(float_format="{:.4g}".format, na_rep="none")
        if self.simultaneous:
            text += f"\nthe intervals hold all groups at once, with {100 * self.level:g} %"
        if self.statistic is None or self.p_value is None:
            return f"{text}\nno test of equality: fewer than two groups have a standard error"
        test = f"Wald statistic {self.statistic:.3g}, {self.degrees_of_freedom} degrees of freedom"
        text += f"\nequal effects: p-value {self.p_value:.3g} ({test})"
        out = len(self.table) - self.degrees_of_freedom - 1
        return (
            f"{text}\nleft out of the test: {out} of {len(self.table)} groups, without a standard error"
            if out
            else text
        )


def group_labels(modifiers: pd.DataFrame, bins: int = 4) -> pd.Series[Any]:
    """Sort rows into groups by one or several columns.

    Parameters
    ----------
    modifiers : DataFrame, N rows
        Numbers with more than six distinct values are cut at quantiles; missing values are a group.
    bins : int
        Groups that a column of numbers is cut into.

    Returns
    -------
    Series of ordered categories, N rows
        "17 to 22", or "age 17 to 22, married 1" for several columns.

    Raises
    ------
    InputError
        If there are fewer than two bins or no column, or a number is infinite.
    InputTypeError
        If the bins are no whole number, or a column holds complex numbers or containers.
    """
    bins = whole_number(bins, "the number of bins", 2)
    if not modifiers.shape[1]:
        raise InputError("expected at least one column to group by, got a frame without columns.")
    names = [str(name) for name in modifiers.columns]
    parts = [_levels(column, min(bins, max(len(column), 2))) for _, column in modifiers.items()]
    if len(parts) == 1:
        return parts[0].rename(names[0])
    codes = [part.cat.codes.to_numpy() for part in parts]
    texts = [[f"{name} {level}" for level in part.cat.categories] for name, part in zip(names, parts, strict=True)]
    present = sorted(set(zip(*codes, strict=True)))
    joined = [", ".join(text[code] for text, code in zip(texts, row, strict=True)) for row in present]
    labels = dict(zip(present, _apart(joined, present), strict=True))
    values = [labels[row] for row in zip(*codes, strict=True)]
    return pd.Series(pd.Categorical(values, list(labels.values()), ordered=True), modifiers.index)


@usual_arithmetic()
def group_effects(
    pseudo_outcomes: npt.ArrayLike,
    groups: Any,
    level: float = 0.95,
    cluster: Any = None,
    weights: npt.ArrayLike | None = None,
    treatment: npt.ArrayLike | None = None,
    simultaneous: bool = False,
    shared_error: float = 0.0,
) -> GroupEffects:
    """Average effect in each group of rows, and a joint test that they are equal.

    Parameters
    ----------
    pseudo_outcomes : array-like, shape (N,)
        Doubly robust scores whose mean is the average effect in the target population, in the outcome's unit.
    groups : array-like, shape (N,)
        Labels; the order of a categorical is kept, missing labels are a group.
    level : float
        Of the intervals, in (0, 1); from t distributions. With the treatment known a group is two samples, one of each
        arm: variances by HC3, degrees of freedom by the effective number of rows (clusters) that carry each arm's
        noise. Otherwise it is one sample, with a degree of freedom less than it has rows (clusters).
    cluster : array-like, shape (N,), optional
        Labels of clusters of rows that are not independent; they may cross groups.
    weights : array-like, shape (N,), optional
        Weight of each row in the target population, any scale; equal by default.
    treatment : array-like, shape (N,), optional
        1 treated, 0 control. Groups with fewer than five rows of either arm then have no standard error. Without it
        nothing is known of the arms: the table does not count them, and every group of two rows has a standard error.
    simultaneous : bool
        Widen the intervals so that they hold the effects of all groups at once. Groups that share no cluster are
        independent, for which Sidak's level of each interval is exact; for others it is that of the largest of normal
        ratios with their correlation. Groups without a standard error do not count.
    shared_error : float
        Standard deviation of an error that the scores do not show and all groups share, in the outcome's unit; a
        result's own method takes what its standard error has beyond that of its scores. The test is without it.

    Returns
    -------
    GroupEffects

    Raises
    ------
    InputError, InputTypeError
        If lengths differ, a weight is negative or none is positive, no group has a row of the target, most of more than
        a hundred groups have fewer than five rows of an arm, there is one cluster only, the treatment holds another
        value than 0 and 1, or the level is not in (0, 1).

    References
    ----------
    Semenova & Chernozhukov (2021), Debiased machine learning of conditional average treatment effects and other causal
    functions, The Econometrics Journal 24. Sidak (1967), Rectangular confidence regions for the means of multivariate
    normal distributions, Journal of the American Statistical Association 62.
    """
    check_level(level)
    scores, size = in_size(pseudo_outcomes)
    added, q = contributions(scores, weights)
    codes, labels = _group_codes(groups, len(q))
    count = len(labels)
    clusters = None if cluster is None else cluster_codes(cluster, len(q))
    share = np.bincount(codes, q, count)
    inside = share > 0
    if not inside.any():
        raise InputError("expected a group with rows of the target population, got none.")
    effect = np.bincount(codes, added, count)[inside] / share[inside]
    position = np.cumsum(inside) - 1
    kept = inside[codes]
    code = position[codes[kept]]
    influence = (added[kept] - effect[code] * q[kept]) / share[inside][code]
    arms = {} if treatment is None else _arm_rows(treatment, codes, inside)
    _check_thin(arms)
    for rows in arms.values():
        influence[(rows < ROWS_PER_ARM)[code]] = np.nan
    own = None if clusters is None else clusters[kept]
    found = uncertainty(
        influence, code, len(effect), own, None if treatment is None else np.asarray(treatment)[kept] == 1
    )
    whole = found.with_shared(shared_error / size)
    half = whole.half_widths(level, simultaneous)
    columns = {"effect": effect, "standard_error": whole.errors, "lower": effect - half, "upper": effect + half}
    table = pd.DataFrame(
        {
            **{name: size * values for name, values in columns.items()},
            "rows": np.bincount(code, q[kept] > 0, len(effect)).astype(int),
            **arms,
        },
        index=labels[inside],
    )
    return GroupEffects(table, *found.equality(effect), level, simultaneous)


def _levels(column: pd.Series[Any], bins: int) -> pd.Series[Any]:
    """Groups of one covariate as ordered categories, named by the values they hold."""
    column = modifier_column(column, f"column {str(column.name)!r} to group by")
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        named = _named(column, str)
    elif column.nunique() <= MOST_LEVELS:
        named = _named(_finite(column), "{:g}".format)
    else:
        column = _finite(column)
        cut = pd.Series(np.searchsorted(_edges(column, bins), column, side="left"), column.index).where(column.notna())
        spans = column.groupby(cut).agg(["min", "max"])
        named = cut.astype("category").cat.rename_categories(_spans(spans["min"], spans["max"]))
    named = named.cat.as_ordered()
    if named.isna().any():
        missing = "(missing)" if "missing" in named.cat.categories else "missing"
        named = named.cat.add_categories(missing).fillna(missing)
    return named


def _named(column: pd.Series[Any], text: Callable[[Any], str]) -> pd.Series[Any]:
    """Levels of a column as categories with names that differ."""
    named = column if isinstance(column.dtype, pd.CategoricalDtype) else column.astype("category")
    named = named.cat.remove_unused_categories()
    levels = named.cat.categories
    return named.cat.rename_categories(_apart([text(level) for level in levels], levels))


def _apart(names: list[str], values: Iterable[Any]) -> list[str]:
    """Names of values; those that several share give way to all digits and quotes, and are numbered if need be."""
    counts = Counter(names)
    spelt = [repr(value.item() if isinstance(value, np.generic) else value) for value in values]
    names = [name if counts[name] == 1 else own for name, own in zip(names, spelt, strict=True)]
    counts = Counter(names)
    return [name if counts[name] == 1 else f"{name} ({place})" for place, name in enumerate(names, 1)]


def _finite(column: pd.Series[Any]) -> pd.Series[Any]:
    """Column of numbers, refused where they are infinite."""
    if np.isinf(column.to_numpy(np.float64, na_value=np.nan)).any():
        raise InputError(f"expected finite numbers to group by, got infinite ones in {str(column.name)!r}.")
    return column


def _edges(column: pd.Series[Any], bins: int) -> Array:
    """Largest values of the groups but the last.

    Values tied with a quantile stay together: many zeros are one group. What little is left between two quantiles then
    joins the group above it.
    """
    values = np.sort(column.dropna().to_numpy(np.float64))
    unit = float(unit_of(np.abs(values[[0, -1]]).max()))  # between numbers near the largest float no mean overflows
    kept: list[float] = []
    done = 0
    for edge in np.unique(np.quantile(values * unit, np.arange(1, bins) / bins)) / unit:
        below = int(np.searchsorted(values, edge, side="right"))
        if below - done >= len(values) / (3 * bins):
            kept.append(float(edge))
            done = below
    return np.array(kept)


def _spans(low: pd.Series[Any], high: pd.Series[Any]) -> list[str]:
    """Names of ranges of numbers, with as many decimals as keep them apart; very large and small ones with powers."""
    ends = np.array([low, high], dtype=np.float64)
    size = float(np.abs(ends).max())
    powers = size and not _SMALLEST_PLAIN <= size < _LARGEST_PLAIN
    first = 3 if powers else max(0, 2 - math.floor(math.log10(size or 1.0)))
    for digits in range(first, first + 15):
        write = f"{{:.{digits}g}}".format if powers else partial(np.format_float_positional, precision=digits, trim="-")
        names = [a if a == b else f"{a} to {b}" for a, b in zip(*(map(write, side) for side in ends), strict=True)]
        if len(set(names)) == len(names):
            break
    return _apart(names, ends.T.tolist())


def _group_codes(groups: Any, rows: int) -> tuple[Codes, pd.Index[Any]]:
    """Number groups from zero in their order, those without rows left out."""
    try:
        values = groups if isinstance(groups, pd.Series | pd.Categorical) else pd.Series(np.asarray(groups))
        found = pd.Categorical(values).remove_unused_categories()
    except (TypeError, ValueError) as error:
        raise InputTypeError(f"expected a label for each row to group by, got others ({error}).") from error
    if len(values) != rows:
        raise InputError(f"expected a group for each of {rows} rows, got {len(values)}.")
    codes, labels = np.array(found.codes, dtype=np.intp), found.categories
    if (codes < 0).any():
        codes[codes < 0] = len(labels)
        labels = pd.Index([*labels, "(missing)" if "missing" in labels else "missing"], dtype=object)
    return codes, labels.rename(getattr(values, "name", None) or "group")


def _arm_rows(treatment: npt.ArrayLike, codes: Codes, inside: npt.NDArray[np.bool_]) -> dict[str, Codes]:
    """Treated and control rows (G,) of each group that is inside the target."""
    values = np.asarray(treatment)
    if values.shape != codes.shape or not np.isin(values, (0, 1)).all():
        raise InputError(
            f"expected a treatment of 0 or 1 for each of {len(codes)} rows, got shape {values.shape} with the values "
            f"{pd.unique(values.ravel())[:5].tolist()}; leave out rows of other treatments."
        )
    arms = {"treated": values == 1, "control": values == 0}
    return {name: np.bincount(codes[own], minlength=len(inside))[inside] for name, own in arms.items()}


def _check_thin(arms: dict[str, Codes]) -> None:
    """Refuse many groups of which most have too few rows (G,) of an arm to say how certain their effects are.

    Raises
    ------
    InputError
        If there are such.
    """
    if not arms or len(arms["treated"]) <= MOST_GROUPS:
        return
    thin = int((np.minimum(arms["treated"], arms["control"]) < ROWS_PER_ARM).sum())
    if 2 * thin > (count := len(arms["treated"])):
        raise InputError(
            f"expected at most {MOST_GROUPS:,} groups where most have fewer than {ROWS_PER_ARM} rows of an arm, got "
            f"{count:,}, of which {thin:,} have: group the levels, take fewer columns or bins, or give numbers, which "
            "are cut at quantiles."
        )
