"""Where outcome regressions look for likeness, and rows as they see them.

Letters: B tables, n of any rows, D covariates, K coordinates of a key.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.columns import ColumnFeatures
from dowhy_cina.mathematics.kernels import LandmarkKernel, scaled_keys
from dowhy_cina.mathematics.rows import RowFeatures


@dataclass(frozen=True)
class OutcomeSpace:
    """Where a regression looks for likeness of rows: in their scaled covariates and propensity score.

    Attributes
    ----------
    scales : Tensor, shape (B, D)
        Factors of the covariates.
    score_scale : Tensor, shape (B, 1)
        Factor of the propensity score's coordinate.
    kernel : LandmarkKernel
    """

    scales: Float[Tensor, "B D"]
    score_scale: Float[Tensor, "B 1"]
    kernel: LandmarkKernel

    def keys(self, covariates: Float[Tensor, "B n D"], coordinate: Float[Tensor, "B n"]) -> Float[Tensor, "B n K"]:
        """Keys of rows."""
        return outcome_keys(covariates, coordinate, self.scales, self.score_scale)

    def rows(self, covariates: Float[Tensor, "B n D"], coordinate: Float[Tensor, "B n"]) -> OutcomeRows:
        """Rows that are not in the table."""
        kernel = RowFeatures.build(self.kernel, self.keys(covariates, coordinate))
        return OutcomeRows(kernel, ColumnFeatures(covariates))


def outcome_keys(
    covariates: Float[Tensor, "B n D"],
    coordinate: Float[Tensor, "B n"],
    scales: Float[Tensor, "B D"],
    score_scale: Float[Tensor, "B 1"],
) -> Float[Tensor, "B n K"]:
    """Scaled covariates and propensity score of rows."""
    return torch.cat([scaled_keys(covariates, scales), (score_scale * coordinate)[..., None]], -1)


@dataclass(frozen=True)
class OutcomeRows:
    """Rows as a regression sees them: in the features of its kernel and in columns."""

    kernel: RowFeatures
    columns: ColumnFeatures

    def take(self, index: Int[Tensor, "B n"]) -> OutcomeRows:
        """Some of the rows of each table."""
        return OutcomeRows(self.kernel.take(index), self.columns.take(index))

    def without_rows(self) -> OutcomeRows:
        """None of the rows, with nothing of them alive."""
        kernel = RowFeatures(self.kernel.kernel.compact(), self.kernel.keys[:, :0].clone(), None)
        return OutcomeRows(kernel, ColumnFeatures(self.columns.values[:, :0].clone()))

    def with_features(self) -> OutcomeRows:
        """Compute the kernel's features, see :meth:`RowFeatures.with_features`."""
        return replace(self, kernel=self.kernel.with_features())
