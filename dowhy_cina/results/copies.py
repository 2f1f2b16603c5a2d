"""Exact copies of rows, which no estimate of error takes for what they are.

Letters: N rows, D covariates.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

#: Share of the rows from which copies are worth a warning.
COPIED_SHARE = 0.03
#: An outcome is practically continuous if at least this share of the distinct rows, and so many of them, have a value
#: that no other distinct row has: equal rows are then no coincidence.
ALONE_SHARE = 0.5
FEWEST_ALONE = 20


def copied_rows(covariates: Array, treatment: Array, outcome: Array) -> int:
    """Count rows that are exact copies of others, where that is no coincidence.

    Copies of a row whose outcome a different row has too, such as zero earnings, may be people alike and do not make
    the case; nor do those of a table whose outcome is not practically continuous.

    Parameters
    ----------
    covariates : ndarray, shape (N, D)
        Rows in an order in which equal ones are neighbours, such as the canonical one.
    treatment, outcome : ndarray, shape (N,)

    Returns
    -------
    int
        Rows that repeat one before them; 0 where so many, or fewer than 3 % of the rows, may be coincidence.
    """
    repeats = np.flatnonzero((np.diff(outcome) == 0) & (np.diff(treatment) == 0))
    for column in covariates.T:
        repeats = repeats[column[repeats] == column[repeats + 1]]
    if len(repeats) <= COPIED_SHARE * len(outcome):
        return 0
    first = np.ones(len(outcome), dtype=np.bool_)
    first[repeats + 1] = False
    _, value, holders = np.unique(outcome[first], return_inverse=True, return_counts=True)
    alone = holders[value] == 1
    if alone.sum() < max(ALONE_SHARE * len(alone), FEWEST_ALONE):
        return 0
    copies = ~first & alone[np.cumsum(first) - 1]
    return len(repeats) if copies.sum() > COPIED_SHARE * len(outcome) else 0


def copies_warning(covariates: Array, treatment: Array, outcome: Array) -> tuple[str, ...]:
    """Say what copies of rows do to a standard error that takes rows for independent, and what to do.

    Parameters
    ----------
    covariates, treatment, outcome
        As in :func:`copied_rows`.

    Returns
    -------
    tuple of str
        Empty if there are none to speak of.
    """
    copies = copied_rows(covariates, treatment, outcome)
    if not copies:
        return ()
    return (
        f"{copies} of {len(outcome)} rows are exact copies of others (covariates, treatment and outcome). What is left "
        "out to predict a row is found again in its copy, so that standard error and interval may be far off, either "
        "way. Name what belongs together with cluster=, or drop the copies and count them with sample_weight=.",
    )
