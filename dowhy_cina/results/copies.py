"""Copies of rows, which no estimate of error takes for what they are.

Letters: N rows, D covariates.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dowhy_cina.tables.canonical import canonical_row_key

Array = npt.NDArray[np.float64]

#: Share of the rows from which copies are worth a warning.
COPIED_SHARE = 0.03
#: Share of the rows from which those that repeat covariates and treatment of others may be rows of the same person,
#: fewest people, and share of the treatment's variance that is left to rows with the same covariates at most.
REPEATED_SHARE, FEWEST_PEOPLE, MOST_INSIDE = 0.3, 20, 0.02
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
    repeats = _repeats(covariates, treatment)
    repeats = repeats[outcome[repeats] == outcome[repeats + 1]]
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


def _repeats(covariates: Array, treatment: Array) -> npt.NDArray[np.intp]:
    """Rows whose covariates and treatment the next one has, too."""
    repeats = np.flatnonzero(np.diff(treatment) == 0)
    for column in covariates.T:
        repeats = repeats[column[repeats] == column[repeats + 1]]
    return repeats


def repeated_people(covariates: Array, treatment: Array) -> int:
    """Count rows that repeat covariates and treatment of others, where these seem to be rows of the same person.

    That is where rows with the same covariates have the same treatment all but always, which those of different people
    have not, if it is not given by a threshold. Arguments as in :func:`copied_rows`.

    Returns
    -------
    int
        Rows that repeat one before them; 0 where they may be different people, or are few.
    """
    repeats = _repeats(covariates, treatment)
    if len(repeats) < REPEATED_SHARE * len(treatment) or not 0 < treatment.mean() < 1:
        return 0
    control, treated = (covariates[treatment == arm] for arm in (0, 1))
    if ((control.max(0) < treated.min(0)) | (treated.max(0) < control.min(0))).any():
        return 0
    _, kind = np.unique(canonical_row_key(covariates), return_inverse=True)
    sizes = np.bincount(kind)
    shares = np.bincount(kind, treatment) / sizes
    inside = float(sizes @ (shares * (1 - shares)))
    is_alike = inside <= MOST_INSIDE * len(treatment) * treatment.var() and (sizes > 1).sum() >= FEWEST_PEOPLE
    return len(repeats) if is_alike else 0


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
        return _people_warning(repeated_people(covariates, treatment), len(outcome))
    return (
        f"{copies} of {len(outcome)} rows are exact copies of others (covariates, treatment and outcome). What is left "
        "out to predict a row is found again in its copy, so that standard error and interval may be far off, either "
        "way. Name what belongs together with cluster=, or drop the copies and count them with sample_weight=.",
    )


def _people_warning(repeats: int, rows: int) -> tuple[str, ...]:
    """Say what to do about rows of the same person."""
    if not repeats:
        return ()
    return (
        f"{repeats} of {rows} rows repeat the covariates of others, which always have the same treatment, too. If "
        "these are several rows of one person, name the person with cluster=: value, standard error and interval take "
        "them for different people.",
    )
