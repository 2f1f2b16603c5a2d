"""Columns that a search adds to tables: those of labels, differences, an index, steps and waves.

Letters: B tables, n of any rows, D covariates, R columns of labels, K differences, I indices, S steps, W waves.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.searches.differences import Differences
from dowhy_cina.searches.index import Index
from dowhy_cina.searches.labels import Labels
from dowhy_cina.searches.steps import Steps
from dowhy_cina.searches.waves import Waves

Scales = Float[Tensor, "B K"]


@dataclass(frozen=True)
class Additions:
    """What is added to the covariates of tables with as many of each, in this order; None where there is none.

    Attributes
    ----------
    labels : Labels, optional
    differences : Differences, optional
    index : Index, optional
        With a step along it.
    steps, waves : Steps and Waves, optional
        Of the covariates and, after them, the columns of labels, the differences and the index.
    """

    labels: Labels | None = None
    differences: Differences | None = None
    index: Index | None = None
    steps: Steps | None = None
    waves: Waves | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of columns of labels, differences, indices, steps and waves, and of what these are made of."""
        parts = (self.labels, self.differences, self.index, self.steps)
        counts = (0 if part is None else part.count for part in parts)
        return *counts, *((0, 0) if self.waves is None else self.waves.shape)

    def extended(self, covariates: Float[Tensor, "B n D"]) -> Float[Tensor, "B n D+R+K+I+S+W"]:
        """Covariates of rows with the further columns."""
        for first in (self.labels, self.differences, self.index):
            if first is not None:
                covariates = torch.cat([covariates, first.columns_of(covariates)], 2)
        parts = [part.columns_of(covariates) for part in (self.steps, self.waves) if part is not None]
        return torch.cat([covariates, *parts], 2)

    def with_scales(self, treatment: Scales, outcome: tuple[Scales, Scales]) -> tuple[Scales, tuple[Scales, Scales]]:
        """Scales of all columns in both kinds of kernels, given those of the columns before the waves."""
        if self.waves is None:
            return treatment, outcome
        control, treated = (torch.cat([scales, self.waves.outcome_scales], 1) for scales in outcome)
        return torch.cat([treatment, self.waves.treatment_scales], 1), (control, treated)

    def reordered(self, places: Int[Tensor, " D"]) -> Additions:
        """The same where each covariate is in another place."""
        # Further columns, of which steps and waves are made, too, stay in their order.
        every = torch.cat([places, len(places) + torch.arange(sum(self.shape[:3]), device=places.device)])
        return Additions(
            self.labels and self.labels.reordered(places),
            self.differences and self.differences.reordered(places),
            self.index and self.index.reordered(places),
            self.steps and self.steps.reordered(every),
            self.waves and self.waves.reordered(every),
        )
