"""Arms whose rows come from few clusters, which tell little of how clusters differ.

With few clusters, cluster-robust standard errors lean to the small side (Cameron and Miller 2015, A Practitioner's
Guide to Cluster-Robust Inference, Journal of Human Resources 50(2), section VI).
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
