"""What is odd about outcomes and treatments: they do not vary, hold codes for missing ones, or a covariate tells them.

Letters: N rows, D columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.tables.preparation import CanonicalTable
from dowhy_cina.tables.remarks import (
    copied_treatment_remark,
    outcome_remark,
    outcome_sentinels_remark,
    telling_remark,
    unseen_noise_remark,
)
from dowhy_cina.tables.sentinels import find_sentinels

#: Share of the outcome's variance within arms that a column, or all covariates, tell from which one may be the outcome,
#: and the same of a column among some of the rows, which rule out most columns; fewest rows.
LEAST_TOLD, LEAST_GLIMPSED, LEAST_ROWS = 0.995, 0.95, 20
_GLIMPSED_ROWS = 512
#: Numbers that people write for a missing one; those of less than three digits have to repeat.
MISSING_CODES = tuple(sign * (10**digits - 1) for digits in range(1, 10) for sign in (1, -1))
LARGE_CODE = 999
#: Chance that any column tells the arms apart where none has to do with them, and rows with another value than most.
MOST_CHANCE, LEAST_OTHERS = 0.01, 3


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
        Mean square that regressions leave of the standardised outcome which have not seen it.
    """
    copied = copied_treatment_remark(names[place] for place in separating_columns(rows))
    if not np.ptp(outcome):
        return outcome_remark(False) + copied
    arms = [rows.outcome[rows.treatment == arm] for arm in (0, 1)]
    unseen = unseen_noise_remark((len(arms[0]), len(arms[1])), (bool(np.ptp(arms[0])), bool(np.ptp(arms[1]))))
    counted = ((value, int((outcome == value).sum())) for value in outcome_sentinels(outcome))
    telling = [names[place] for place in telling_columns(rows)]
    inside = sum(float(np.square(own - own.mean()).sum()) for own in arms)
    told = 1 - left * len(rows.outcome) / inside if inside > 0 and len(rows.outcome) >= LEAST_ROWS else 0.0
    told_by = telling_remark(telling, told if told >= LEAST_TOLD else None)
    return unseen + outcome_sentinels_remark(counted) + told_by + copied


def outcome_sentinels(outcome: Array) -> tuple[float, ...]:
    """Values of the outcome that may stand for a missing one: since this only warns, less clear ones than in columns.

    A known code is one where it is the largest or smallest value and apart from the others, and so is the only negative
    value, if it repeats.
    """
    low, high = float(outcome.min()), float(outcome.max())
    suspects = {value for value in (low, high) if value in MISSING_CODES}
    if low < 0 and not ((outcome > low) & (outcome < 0)).any():
        suspects.add(low)
    found = set(find_sentinels(outcome))
    for value in suspects:
        others = outcome[outcome != value]
        first, last = np.quantile(others, [0.25, 0.75])
        spread, apart = float(np.ptp(others)), float(np.abs(others - value).min())
        if abs(value) >= LARGE_CODE:
            is_far = apart >= max(float(last - first), spread / 2)
        else:
            # A third value beside two others may be one like these.
            has_few = len(np.unique(others)) < LEAST_OTHERS
            is_far = len(outcome) - len(others) > 1 and (apart > spread if has_few else apart >= spread)
        # Of two values one is no code.
        if spread > 0 and is_far:
            found.add(value)
    return tuple(sorted(found))


def separating_columns(rows: CanonicalTable) -> list[int]:
    """Places of the columns whose values beyond a threshold are those of one arm, where that is no chance."""
    control, treated_rows = rows.arms
    ways = math.lgamma(control + treated_rows + 1) - math.lgamma(control + 1) - math.lgamma(treated_rows + 1)
    if math.log(2 * rows.covariates.shape[1] / MOST_CHANCE) > ways:
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
    places = places[_told(columns[:, places], arms, outcome) >= LEAST_TOLD] if places.size else places
    # An event that two rows had may be the only two rows of a rare kind by chance.
    return [
        place
        for place in places.tolist()
        if (columns[:, place] != _most_frequent(columns[:, place])).sum() >= LEAST_OTHERS
    ]


def _most_frequent(values: Array) -> float:
    """The value that most rows have."""
    found, rows = np.unique(values, return_counts=True)
    return float(found[rows.argmax()])


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
