"""An index of all covariates: what a linear regression of the treatment makes of them.

Where a count of illnesses or the sum of a questionnaire's items decides at a cutoff, no covariate and no pair of them
jumps by itself, while their sum does. It is about the index by which the treatment goes, and steps are looked for along
that, too; where one is found the index is a column like the covariates.

Letters: B tables, P pilot rows, n of any rows, D covariates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.design_effects import Codes
from dowhy_cina.mathematics.scaling import Array

#: Fewest covariates of an index, and rows, or clusters of these, for each of them.
LEAST_COLUMNS, ROWS_OF_A_COLUMN = 3, 10


@dataclass(frozen=True)
class Index:
    """The index as a column, standardised on the pilot rows.

    Attributes
    ----------
    coefficients : Tensor, shape (B, D)
    centre : Tensor, shape (B, 1)
        Subtracted.
    """

    coefficients: Float[Tensor, "B D"]
    centre: Float[Tensor, "B 1"]

    #: Number of columns.
    count = 1

    def columns_of(self, covariates: Float[Tensor, "B n D"]) -> Float[Tensor, "B n 1"]:
        """Index of rows, given their covariates and, after them, further columns."""
        used = covariates[..., : self.coefficients.shape[1]]
        return used @ self.coefficients[..., None] - self.centre[..., None]

    def reordered(self, places: Int[Tensor, " D"]) -> Index:
        """The same where each covariate is in another place."""
        return Index(self.coefficients[:, places.argsort()], self.centre)


def index_of_treatment(covariates: Array, treatment: Array, cluster: Codes | None = None) -> Index | None:
    """Index of one table.

    Parameters
    ----------
    covariates : ndarray, shape (P, D)
        Standardised.
    treatment : ndarray, shape (P,)
        0 or 1.
    cluster : ndarray of int, shape (P,), optional
        Codes of clusters.

    Returns
    -------
    Index or None
        None where there are too few covariates, or too few rows for them.
    """
    rows, columns = covariates.shape if cluster is None else (len(np.unique(cluster)), covariates.shape[1])
    if columns < LEAST_COLUMNS or rows < ROWS_OF_A_COLUMN * columns:
        return None
    centred = covariates - covariates.mean(0)
    coefficients = np.linalg.lstsq(centred, treatment - treatment.mean(), rcond=None)[0]
    spread = (centred @ coefficients).std()
    if not spread > 0:
        return None
    coefficients = coefficients / spread
    centre = float(covariates.mean(0) @ coefficients)
    return Index(torch.from_numpy(coefficients)[None], torch.full((1, 1), centre, dtype=torch.float64, device="cpu"))
