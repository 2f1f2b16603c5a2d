"""What is odd about outcomes and treatments: they do not vary, hold codes for missing ones, or a covariate tells them.

Letters: N rows, D columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.tables.preparation import CanonicalTable
from dowhy_cina.tables.remarks import copied_treatment_remark, outcome_remark, outcome_sentinels_remark, telling_remark
from dowhy_cina.tables.sentinels import find_sentinels

#: Share of the outcome's variance within arms that a column, or all covariates, tell from which one may be the outcome,
#: and the same of a column among some of the rows, which rule out most columns; fewest rows.
LEAST_TOLD, LEAST_GLIMPSED, LEAST_ROWS = 0.995, 0.95, 20
_GLIMPSED_ROWS = 512
#: Numbers that people write for a missing one, and how far one is from all others, in interquartile ranges.
MISSING_CODES = tuple(sign * (10**digits - 1) for digits in range(1, 10) for sign in (1, -1))
LEAST_APART = 1.0


def outcome_remarks(outcome: Array, rows: CanonicalTable, names: Sequence[str], left: float) -> tuple[str, ...]:
    """What whoever reads a result should know of its outcome, and of copies of the treatment.

    Parameters
    ----------
    outcome : ndarray, shape (N,)
        In its own unit.
    rows : CanonicalTable
        The same, and treatment and covariates beside it.
    names : sequence of str
        Of the covariates' columns.
    left : float
        Share of the outcome's variance that regressions leave which have not seen it.
    """
    copied = copied_treatment_remark(names[place] for place in separating_columns(rows))
    if not np.ptp(outcome):
        return outcome_remark(False) + copied
    counted = ((value, int((outcome == value).sum())) for value in outcome_sentinels(outcome))
    telling = [names[place] for place in telling_columns(rows)]
    told = 1 - left if len(rows.outcome) >= LEAST_ROWS else 0.0
    return outcome_sentinels_remark(counted) + telling_remark(telling, told if told >= LEAST_TOLD else None) + copied


def outcome_sentinels(outcome: Array) -> tuple[float, ...]:
    """Values of the outcome that may stand for a missing one: since this only warns, less clear ones than in columns.

    A known code is one where it is the largest or smallest value and apart from the next, and so is the only negative
    value, if it repeats.
    """
    low, high = float(outcome.min()), float(outcome.max())
    suspects = [value for value in (low, high) if value in MISSING_CODES]
    if low < 0 and low not in suspects and (outcome == low).sum() > 1 and not ((outcome > low) & (outcome < 0)).any():
        suspects.append(low)
    found = set(find_sentinels(outcome))
    for value in suspects:
        others = outcome[outcome != value]
        first, last = np.quantile(others, [0.25, 0.75])
        # Of two values one is no code.
        if np.ptp(others) > 0 and np.abs(others - value).min() >= LEAST_APART * (last - first):
            found.add(value)
    return tuple(sorted(found))


def separating_columns(rows: CanonicalTable) -> list[int]:
    """Places of the columns of which each value, or all beyond a threshold, are in one arm alone."""
    if len(rows.treatment) < LEAST_ROWS:
        return []
    places, some = np.arange(rows.covariates.shape[1]), slice(None, None, max(1, len(rows.treatment) // _GLIMPSED_ROWS))
    for part in (some, slice(None)):
        columns, treated = rows.covariates[part][:, places], rows.treatment[part] == 1
        if treated.all() or not treated.any():
            continue
        inside, outside = columns[treated], columns[~treated]
        places = places[(inside.max(0) < outside.min(0)) | (outside.max(0) < inside.min(0))]
        if not places.size:
            break
    return places.tolist()


def telling_columns(rows: CanonicalTable) -> list[int]:
    """Places of the columns that tell the outcome all but exactly, but for the arms' levels."""
    if len(rows.outcome) < LEAST_ROWS:
        return []
    some = slice(None, None, max(1, len(rows.outcome) // _GLIMPSED_ROWS))
    columns, arms, outcome = rows.covariates, rows.treatment, rows.outcome
    places = np.flatnonzero(_told(columns[some], arms[some], outcome[some]) >= LEAST_GLIMPSED)
    return places[_told(columns[:, places], arms, outcome) >= LEAST_TOLD].tolist() if places.size else []


def _told(columns: Array, arms: Array, outcome: Array) -> Array:
    """Share of the outcome's variance within arms that each column tells, shape (D,)."""
    squares, products, total = np.zeros(columns.shape[1]), np.zeros(columns.shape[1]), 0.0
    for arm in (0, 1):
        inside = arms == arm
        own, left = columns[inside], outcome[inside]
        own, left = own - own.mean(0), left - left.mean()
        squares += np.einsum("nd,nd->d", own, own)
        products += left @ own
        total += float(left @ left)
    shares: Array = products**2 / np.maximum(squares * total, np.finfo(np.float64).tiny)
    return shares
