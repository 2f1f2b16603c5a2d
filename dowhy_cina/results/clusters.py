"""Arms whose rows come from few clusters, which tell little of how clusters differ.

With few clusters, cluster-robust standard errors lean to the small side (Cameron and Miller 2015, A Practitioner's
Guide to Cluster-Robust Inference, Journal of Human Resources 50(2), section VI).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dowhy_cina.results.diagnostics import SMALL_ARM

#: Columns that say which cluster a row is in from which that is worth a warning.
FEWEST_LEVELS = 3


def clusters_warnings(counts: tuple[int, int]) -> tuple[str, ...]:
    """Say which arm has rows of few clusters, with what consequence, and what to do.

    Parameters
    ----------
    counts : tuple of int
        Of the control and of the treated arm, of a table with clusters.

    Returns
    -------
    tuple of str
        Empty if both arms have enough.
    """
    texts = [_warning(arm, count) for arm, count in zip(("control", "treated"), counts, strict=True)]
    return tuple(text for text in texts if text)


def _warning(arm: str, count: int) -> str:
    if count == 1:
        return (
            f"The rows of the {arm} arm are in a single cluster: how clusters differ cannot be told from the effect, "
            f"so there is no standard error, interval or p-value. Add clusters with {arm} rows."
        )
    if count < SMALL_ARM:
        return (
            f"The rows of the {arm} arm are in {count} clusters only: standard error and interval are rough, and more "
            f"likely too small. Add clusters with {arm} rows."
        )
    return ""


def levels_warning(
    covariates: npt.NDArray[np.float64], treatment: npt.NDArray[np.float64], cluster: npt.NDArray[np.int64]
) -> tuple[str, ...]:
    """Warn of covariates that say which cluster a row is in, where the treatment varies inside these clusters.

    Parameters
    ----------
    covariates : ndarray, shape (N, D)
        Encoded.
    treatment : ndarray, shape (N,)
        0 or 1.
    cluster : ndarray of int, shape (N,)
        Codes from 0.

    Returns
    -------
    tuple of str
        Empty where fewer than :data:`FEWEST_LEVELS` columns are such.
    """
    sizes = np.bincount(cluster)
    varies = np.bincount(cluster, treatment) % sizes > 0
    named = 0
    for column in covariates.T:
        above = column == column.max()
        if (above | (column == column.min())).all():
            inside = np.bincount(cluster, above)
            own = inside.argmax()
            named += int((inside > 0).sum() == 1 and inside[own] == sizes[own] and varies[own])
    if named < FEWEST_LEVELS:
        return ()
    return (
        f"{named} columns of the covariates say which cluster a row is in, and the treatment varies inside it: left "
        "out with its cluster, such a level is not learned, and the estimate may be off. Give the label as a covariate "
        "or as the cluster, not as both.",
    )
