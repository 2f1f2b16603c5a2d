"""What a pilot's regressions make of any values of its rows, as they do of outcomes.

Letters: B tables, P pilot rows, M landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.mathematics.dense import solve_by_factor


@dataclass(frozen=True)
class Smoother:
    """Kernel ridge regressions of both arms as a linear map: each row's value becomes the fitted one of its own arm.

    Attributes
    ----------
    features : Tensor, shape (B, P, M)
    treatment : Tensor, shape (B, P)
        0 or 1.
    centres : Tensor, shape (B, M, 2)
        Mean features of the control and of the treated arm.
    factors : Tensor, shape (B, M, M, 2)
        Factors of the arms' normal equations.
    weight : Tensor, shape (B,)
        Of every row in these; less than one for rows in clusters.
    """

    features: Float[Tensor, "B P M"]
    treatment: Float[Tensor, "B P"]
    centres: Float[Tensor, "B M 2"]
    factors: Float[Tensor, "B M M 2"]
    weight: Float[Tensor, " B"]

    def smoothed(self, values: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]:
        """Fitted values."""
        fitted = torch.zeros_like(values)
        for arm, rows in enumerate((1 - self.treatment, self.treatment)):
            mean = (rows * values).sum(1, keepdim=True) / rows.sum(1, keepdim=True)
            cross = self.weight[:, None] * torch.bmm((rows * (values - mean))[:, None], self.features)[:, 0]
            coefficients = solve_by_factor(self.factors[..., arm], cross)
            apart = torch.bmm(self.features, coefficients[..., None])[..., 0]
            level = mean - (self.centres[..., arm] * coefficients).sum(1, keepdim=True)
            fitted = fitted + rows * (level + apart)
        return fitted
