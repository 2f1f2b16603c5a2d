"""What whoever reads a result should know of how its covariates were read.

Letters: N rows, D columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from dowhy_cina.mathematics.design_effects import independent_share
from dowhy_cina.mathematics.scaling import Array

#: Levels up to which labels are taken to be meant as such.
PLAIN_LEVELS = 20
#: Levels, as a share of the rows, from which most may be numbers or dates, if they read like these, or names of rows.
NUMBER_SHARE, NAME_SHARE = 0.1, 0.5
#: Values from which whole numbers may be codes, most of them by rows, half waves of what may be smooth in them, and how
#: clear it must be that they are: its chance, and the share of the treatment's variance that values explain beyond it.
LEAST_CODES, MOST_CODES, SMOOTH_WAVES, CHANCE, LEAST_EXPLAINED = 10, 1 / 3, 8, 3e-7, 0.05
_GLANCED_ROWS = 256
_DATE = r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"


def constant_remark(names: Iterable[str]) -> tuple[str, ...]:
    """Say which covariates cannot be adjusted for."""
    listed = ", ".join(map(repr, names))
    return (f"Not adjusted for, since constant or empty: {listed}.",) if listed else ()


def outcome_remark(varies: bool) -> tuple[str, ...]:
    """Say what a constant outcome means."""
    if varies:
        return ()
    return ("The outcome is constant: nothing tells how far another sample's effect would be from zero.",)


def codes_remark(
    names: Sequence[str],
    covariates: Array,
    treatment: Array,
    in_own_units: Callable[[npt.NDArray[np.int64], Array], tuple[Array, Array]],
    cluster: npt.NDArray[np.int64] | None = None,
) -> tuple[str, ...]:
    """Say which whole numbers look like codes of labels: the treatment goes by each value, not by a curve.

    Parameters
    ----------
    names : sequence of str
        Of D columns.
    covariates : ndarray, shape (N, D)
        Standardised; of long tables some of the rows.
    treatment : ndarray, shape (N,)
        0 or 1.
    in_own_units : callable
        Gives values of columns in the covariates' units.
    cluster : ndarray of int, shape (N,), optional
        Codes of clusters.

    Returns
    -------
    tuple of str
        Empty where nothing is odd.
    """
    ascending = np.sort(covariates[:_GLANCED_ROWS], axis=0)
    few = (np.diff(ascending, axis=0) > 0).sum(0) < 0.8 * len(ascending)
    found = []
    for column in np.flatnonzero(few & (ascending[0] < ascending[-1])):
        values, codes = np.unique(covariates[:, column], return_inverse=True)
        if LEAST_CODES <= len(values) <= MOST_CODES * len(codes):
            own = in_own_units(np.full(len(values), column), values)[0]
            whole = np.abs(own - np.rint(own)).max() < 1e-6 * max(1.0, float(np.abs(own).max()))
            if whole and _goes_by_value(codes, treatment, len(values), cluster):
                found.append(f"{names[column]!r} ({len(values)} values)")
    return tuple(
        f"The covariate {name} holds whole numbers, and how often rows are treated differs from value to value by more "
        "than a curve could: if they are codes, such as of places, make them text, or they are not adjusted for well."
        for name in found
    )


def _goes_by_value(
    codes: npt.NDArray[np.int64], treatment: Array, count: int, cluster: npt.NDArray[np.int64] | None
) -> bool:
    """Whether the treatment differs between values, from 0 in their order, beyond waves of their ranks."""
    sizes = np.bincount(codes, minlength=count)
    ranks = (np.cumsum(sizes) - sizes / 2) / len(codes)
    waves = np.cos(np.pi * np.arange(SMOOTH_WAVES + 1) * ranks[:, None])
    # Weighted by rows, the regression of rows is that of the values' means.
    root, means = np.sqrt(sizes)[:, None], np.bincount(codes, treatment, count) / sizes
    basis = np.linalg.qr(root * waves)[0]
    left = root[:, 0] * means - basis @ (basis.T @ (root[:, 0] * means))
    inside = float((sizes * means * (1 - means)).sum())
    # Rows of clusters that are treated as a whole tell of no value.
    free = independent_share(treatment - means[codes], cluster) * len(codes) - count
    of_values = count - SMOOTH_WAVES - 1
    if inside <= 0 or free <= 0:
        return False
    squares, total = float(left @ left), float(len(codes) * treatment.var())
    clear = bool(special.chdtrc(of_values, squares * free / inside) < CHANCE)
    return clear and squares - of_values * inside / free > LEAST_EXPLAINED * total


def labels_remark(name: str, levels: tuple[Any, ...], rows: int) -> tuple[str, ...]:
    """Say where labels look like something else, and what to do.

    Parameters
    ----------
    name : str
        Of the covariate.
    levels : tuple
        That occur; None stands for missing.
    rows : int
        Of the table.

    Returns
    -------
    tuple of str
        Empty where nothing is odd.
    """
    text = pd.Series([level for level in levels if isinstance(level, str)], dtype=object)
    if len(text) <= max(PLAIN_LEVELS, NUMBER_SHARE * rows):
        return ()
    if pd.to_numeric(text.str.replace(",", ""), errors="coerce").notna().mean() > 0.5:
        kind, remedy = "numbers written as text", "Convert it, for example with pandas.to_numeric and errors='coerce'."
    elif text.str.match(_DATE).mean() > 0.5:
        kind, remedy = "dates written as text", "Turn dates into numbers, for example days since the first one."
    elif len(text) > NAME_SHARE * rows:
        kind, remedy = "labels of which most occur once", "If they name rows, leave it out; if not, group its levels."
    else:
        return ()
    return (f"The covariate {name!r} holds {kind}: each of {len(levels)} levels is an indicator of its own. {remedy}",)
