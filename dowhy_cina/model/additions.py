"""Columns that a search adds to tables: steps, which kernels see, too, and waves, which they do not.

Letters: B tables, n of any rows, D covariates, S steps, W waves.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.model.steps import Steps
from dowhy_cina.model.waves import Waves


@dataclass(frozen=True)
class Additions:
    """What is added to the covariates of tables with as many steps and waves, in this order; None where there is none.

    Attributes
    ----------
    steps : Steps, optional
    waves : Waves, optional
    """

    steps: Steps | None = None
    waves: Waves | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of steps, of waves, and of the covariates that these are made of."""
        return 0 if self.steps is None else self.steps.count, *((0, 0) if self.waves is None else self.waves.shape)

    @property
    def outside_kernels(self) -> int:
        """How many of the last columns no kernel sees."""
        return self.shape[1]

    def extended(self, covariates: Float[Tensor, "B n D"]) -> Float[Tensor, "B n D+S+W"]:
        """Covariates of rows with the further columns."""
        parts = [part.columns_of(covariates) for part in (self.steps, self.waves) if part is not None]
        return torch.cat([covariates, *parts], 2)

    def narrowed(self, scales: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """Scales of the columns that kernels see, no smaller than waves ask for."""
        if self.waves is None:
            return scales
        least = self.waves.scales
        return torch.maximum(scales, torch.nn.functional.pad(least, (0, scales.shape[1] - least.shape[1])))

    def reordered(self, places: Int[Tensor, " D"]) -> Additions:
        """The same where each covariate is in another place."""
        steps, waves = self.steps, self.waves
        return Additions(steps and steps.reordered(places), waves and waves.reordered(places))
