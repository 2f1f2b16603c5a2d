"""Which covariates of many a search looks at first.

Letters: P pilot rows, D covariates.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dowhy_cina.mathematics.scaling import Array

#: Covariates up to which those come first along which a pilot's regressions change most.
FEW_COLUMNS = 20


def looked_at_first(covariates: Array, residual: Array, gradient_shares: Array) -> npt.NDArray[np.int64]:
    """Order in which a search looks at covariates.

    Regressions of many covariates hardly change along one that outcomes go with both ways, up and down: so of more than
    :data:`FEW_COLUMNS` every other one is that whose size goes most with what the regressions leave.

    Parameters
    ----------
    covariates : ndarray, shape (P, D)
        Standardised.
    residual : ndarray, shape (P,)
        What the regression of the row's arm leaves of its outcome.
    gradient_shares : ndarray, shape (D,)
        How much the regressions change along each covariate.
    """
    by_gradient = np.argsort(-gradient_shares, kind="stable")
    count = len(by_gradient)
    if count <= FEW_COLUMNS:
        return by_gradient
    centred, score = residual - residual.mean(), np.zeros(count)
    for values in (np.abs(covariates), np.square(covariates)):
        apart = values - values.mean(0)
        noise = np.square(apart).T @ np.square(centred)
        score = np.maximum(score, np.square(apart.T @ centred) / np.where(noise > 0, noise, np.inf))
    place = np.empty((2, count), dtype=np.int64)
    for own, order in zip(place, (by_gradient, np.argsort(-score, kind="stable")), strict=True):
        own[order] = np.arange(count)
    return np.argsort(np.minimum(2 * place[0], 2 * place[1] + 1), kind="stable")
