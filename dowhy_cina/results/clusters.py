"""Arms whose rows come from few clusters, which tell little of how clusters differ.

With few clusters, cluster-robust standard errors lean to the small side (Cameron and Miller 2015, A Practitioner's
Guide to Cluster-Robust Inference, Journal of Human Resources 50(2), section VI).

Letters: N rows.
"""

from __future__ import annotations

from dowhy_cina.results.diagnostics import SMALL_ARM


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


def weights_warnings(counts: tuple[int, int], rows: tuple[int, int]) -> tuple[str, ...]:
    """Say which arm has rows that count for nothing but one, with what consequence, and what to do.

    Parameters
    ----------
    counts, rows : tuple of int
        Of controls and treated, the rows with a positive sampling weight, and all.

    Returns
    -------
    tuple of str
        Empty if more than one counts in both arms.
    """
    return tuple(
        f"Of {total} {arm} rows one has a positive sampling weight: the scatter of the arm is unknown, so there is no "
        f"standard error, interval or p-value. Give more {arm} rows a weight."
        for arm, count, total in zip(("control", "treated"), counts, rows, strict=True)
        if count == 1 < total
    )


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
