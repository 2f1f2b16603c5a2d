"""What is odd about an outcome: it does not vary, has numbers for missing ones, or a covariate tells it.

Letters: N rows, D columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.tables.preparation import CanonicalTable
from dowhy_cina.tables.remarks import outcome_remark, outcome_sentinels_remark, telling_remark
from dowhy_cina.tables.sentinels import find_sentinels

#: Share of the outcome's variance within arms that a column tells, from which it may be the outcome, and the same among
#: some of the rows, which rule out most columns; fewest rows.
LEAST_TOLD, LEAST_GLIMPSED, LEAST_ROWS = 0.9999, 0.99, 20
_GLIMPSED_ROWS = 512


def outcome_remarks(outcome: Array, rows: CanonicalTable, names: Sequence[str]) -> tuple[str, ...]:
    """What whoever reads a result should know of its outcome.

    Parameters
    ----------
    outcome : ndarray, shape (N,)
        In its own unit.
    rows : CanonicalTable
        The same, and treatment and covariates beside it.
    names : sequence of str
        Of the covariates' columns.
    """
    if not np.ptp(outcome):
        return outcome_remark(False)
    counted = ((value, int((outcome == value).sum())) for value in find_sentinels(outcome))
    return outcome_sentinels_remark(counted) + telling_remark(names[place] for place in telling_columns(rows))


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
