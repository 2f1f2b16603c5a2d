"""How the rows were drawn: sampling weights and clusters, checked.

Letters: N rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dowhy_cina.errors import InputError, InputTypeError, first_rows


def check_sample_weight(sample_weight: Any, n: int) -> npt.NDArray[np.float64]:
    """Return sampling weights (N,) as float64 values.

    Raises
    ------
    InputError
        If the length differs from ``n``, or values are negative, missing or infinite.
    InputTypeError
        If they are no numbers.
    """
    try:
        weights = np.array(sample_weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputTypeError(f"sample_weight: expected numbers, got values that are none ({error}).") from error
    if weights.shape != (n,):
        raise InputError(f"sample_weight: expected shape ({n},), a weight for each row, got {weights.shape}.")
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        raise InputError(
            f"sample_weight: expected finite weights that are not negative, got {bad.size} others of {n} "
            f"({first_rows(bad.tolist())}). Correct them, or leave these rows out."
        )
    return weights


def check_cluster(cluster: Any, n: int, keep: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return cluster labels as codes from 0, of the rows that are compared.

    Parameters
    ----------
    cluster : array-like, shape (N,)
        Labels of any kind.
    n
        Rows of the table.
    keep : ndarray of bool, shape (N,)
        Rows that are compared.

    Raises
    ------
    InputError
        If the length differs from ``n``, labels are missing, or there is only one cluster.
    """
    labels = pd.Series(cluster).reset_index(drop=True)
    if len(labels) != n:
        raise InputError(f"cluster: expected {n} labels, one for each row, got {len(labels)}.")
    missing = np.flatnonzero(labels.isna())
    if missing.size:
        raise InputError(f"cluster: expected a label for each row, got {missing.size} missing of {n}. Fill them in.")
    # By the label's text, so that neither the order of rows nor the type of the labels decides the codes.
    codes, names = pd.factorize(labels[keep].astype(str), sort=True)
    if len(names) < 2:
        raise InputError(
            f"cluster: expected at least two clusters, got one ({names[0]!r}). Leave cluster at None if the rows are "
            "independent."
        )
    return codes.astype(np.int64)
