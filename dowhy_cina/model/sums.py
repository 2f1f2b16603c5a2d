"""What the rows of both arms add up to as an outcome regression sees them, which its fit tells: by no further pass.

A response weighs rows by a function that is linear in their features and columns. So the moment of rows that are
weighted by one follows from sums of products.

Letters: B tables, M landmarks, L columns, K = M + L.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.mathematics.balancing import Tables
from dowhy_cina.mathematics.passes import weighted_sum
from dowhy_cina.model.outcome import Moment, Response


@dataclass(frozen=True)
class RegressionSums:
    """Sums over rows, by their sampling weights, as a regression without logarithms sees them.

    Attributes
    ----------
    beside : Tensor, shape (B, 1 + L, K)
        Of one and the columns times the features and the columns, over the regression's own arm.
    gram : Tensor, shape (B, M, M)
        Of the features times the features, over the same rows.
    others : Tensor, shape (B, K)
        Moment of the other arm's rows.
    """

    beside: Float[Tensor, "B J K"]
    gram: Float[Tensor, "B M M"]
    others: Moment

    def of_response(self, response: Response) -> Moment:
        """Moment of the own arm's rows, weighted by a response times their sampling weights."""
        products = torch.cat([self.gram, self.beside[:, 1:, : self.gram.shape[1]].mT], 2)
        beside = weighted_sum(torch.cat([response.level, response.linear], 1), self.beside)
        return beside + weighted_sum(response.kernel, products)

    def of_arms(self, own: Tables, other: Tables) -> Moment:
        """Moment of a population in which each row weighs its sampling weight times the share of its arm."""
        return own[:, None] * self.beside[:, 0] + other[:, None] * self.others
