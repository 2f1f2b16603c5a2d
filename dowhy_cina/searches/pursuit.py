"""What candidates of a search are measured against: a residual and a basis, which grows with what is taken.

Letters: P pilot rows, C candidates, G directions of the basis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from dowhy_cina.mathematics.dense import product_of
from dowhy_cina.mathematics.scaling import Array

#: Fewest independent rows on either side of a step, and fewest clusters with rows there, or all of fewer.
LEAST_ROWS = 20
#: Least share of a candidate's squares that the covariates and the steps before it must leave.
LEAST_OWN = 0.01
#: Least length, relative to its values, of a direction of the basis.
LEAST_SMOOTH = 1e-6


@dataclass
class Pursuit:
    """What candidates are measured against, which grows with the steps that are taken.

    Attributes
    ----------
    residual : ndarray, shape (P,)
        Without its part along the basis.
    basis : ndarray, shape (P, G)
        Orthonormal: what is given, and the steps so far.
    smoothed : callable
        What the smooth regressions make of values (P,) in place of outcomes.
    cluster : ndarray of int, shape (P,), optional
    """

    residual: Array
    basis: Array
    smoothed: Callable[[Array], Array]
    cluster: npt.NDArray[np.int64] | None

    def sums(self, rows: Array) -> Array:
        """Sums (C, G) of rows (C, P) over the clusters."""
        return pd.DataFrame(rows.T).groupby(self.cluster).sum().to_numpy().T

    def own(self, signs: Array) -> Array:
        """Candidates (C, P) without their parts along the basis."""
        apart: Array = signs - (signs @ self.basis) @ self.basis.T
        return apart

    def gains(self, signs: Array) -> Array:
        """Squared t statistics (C,) of candidates; zero where the basis leaves next to nothing of one.

        They are robust to unequal variances, or some rare outcome would vouch for a rare step, and to clusters.
        """
        rows, given = self.basis.shape
        # Rows weigh the same in a candidate's own squares, and as much as their residuals' squares in its noise.
        weights = np.stack([np.full(rows, 1 / rows), np.square(self.residual)], 1)
        sides = [self.basis * weight[:, None] for weight in weights.T]
        beside = np.column_stack([*sides, self.residual, weights[:, 0]])
        products = product_of(torch.from_numpy(signs), torch.from_numpy(beside)).numpy()
        along, squares = rows * products[:, :given], np.square(signs) @ weights
        left, noise = (
            square - 2 * (along * part).sum(1) + (along * (along @ (self.basis.T @ side))).sum(1)
            for square, part, side in zip(squares.T, np.split(products[:, :-2], 2, axis=1), sides, strict=True)
        )
        total = np.square(products[:, -2] - along @ (self.basis.T @ self.residual))
        usable = left > LEAST_OWN * (squares[:, 0] - np.square(products[:, -1]))
        if self.cluster is None:
            return self._scores(total, noise, usable, 1 - given / rows, rows)
        sizes, own = np.bincount(self.cluster), self.own(signs)
        noise = np.square(self.sums(own * self.residual)).sum(1)
        held = [(self.sums((signs * side > 0).astype(np.float64)) > 0).sum(1) for side in (1, -1)]
        usable &= np.minimum(*held) >= min(LEAST_ROWS, len(sizes))
        # What is given has taken from the sums of clusters, by as much as it lies between them, and the candidate does.
        between = (self.sums(own) ** 2 / sizes).sum(1) / np.maximum(rows * left, np.finfo(np.float64).tiny)
        lost = np.minimum(between, 1) * float((self.sums(self.basis.T) ** 2 / sizes).sum()) / len(sizes)
        return self._scores(total, noise, usable, 1 - lost, len(sizes))

    @staticmethod
    def _scores(total: Array, noise: Array, usable: npt.NDArray[np.bool_], left: Array | float, units: int) -> Array:
        """Gains from squared sums and the noise in them, of which the basis has left a share of independent units."""
        usable = usable & (noise > 0)
        shares = np.where(usable, total / np.where(usable, noise, 1), 0) * np.clip(left, 0, 1)
        return student_gains(shares, units)

    def add(self, signs: Array) -> None:
        """Add a step (P,), and what smooth regressions learn of it, to the basis.

        What they leave of outcomes that jump is the step less its smooth part, which goes up and down about the jump:
        without that part in the basis the same jump would be found again and again on either side.
        """
        for values in (signs, self.smoothed(signs)):
            own = self.own(values[None])[0]
            if np.linalg.norm(own) > LEAST_SMOOTH * np.linalg.norm(values):
                direction: Array = own / np.linalg.norm(own)
                self.residual = self.residual - direction * (direction @ self.residual)
                self.basis = np.column_stack([self.basis, direction])


def student_gains(shares: Array, count: int) -> Array:
    """Squared normal scores of squares of sums by sums of squares, of so many independent terms.

    Of terms about a mean that is not zero that share is at most their number: their squared t statistic is not, and
    its normal score is nearly that of Wallace (1959), Bounds on normal approximations to Student's distribution.
    """
    freedom = count - 1
    squares = freedom * shares / np.maximum(count - shares, np.finfo(np.float64).tiny)
    scores: Array = ((8 * freedom + 1) / (8 * freedom + 3)) ** 2 * freedom * np.log1p(squares / freedom)
    return scores
