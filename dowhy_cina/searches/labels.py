"""Labels of many levels: how often each level is treated, and how much more often along a covariate.

A ridge shrinks what the indicator of a rare level says, and kernels hardly see it: what many levels do to treatment and
outcome is learned in part, and the answer keeps the rest. As in Mundlak's device, one column stands for all of it, the
share of the level that is treated: a linear regression of the outcome on the treatment and this column gives what one
on an indicator of every level gives. Where a covariate's part in the treatment changes from level to level, as it does
where each clinic selects by a rule of its own, a column for these slopes does the same. The outcome has no say in it,
see :mod:`dowhy_cina.searches.label_search`.

Letters: B tables, n of any rows, D covariates, R columns.

References
----------
Mundlak (1978), On the pooling of time series and cross section data, Econometrica 46, 69-85.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Labels:
    """Columns made of labels: ``x_j (a + A x) + b + B x``, standardised.

    Attributes
    ----------
    along : Tensor of int, shape (B, R)
        Covariate j whose slopes a column holds; -1 of one of shares, whose first part is zero.
    slope_levels, levels : Tensor, shape (B, R)
        a and b.
    slopes, shares : Tensor, shape (B, R, D)
        A and B: zero but for the label's indicators.
    members : Tensor of bool, shape (B, R, D)
        Whether a covariate is an indicator of the column's label.
    """

    along: Int[Tensor, "B R"]
    slope_levels: Float[Tensor, "B R"]
    levels: Float[Tensor, "B R"]
    slopes: Float[Tensor, "B R D"]
    shares: Float[Tensor, "B R D"]
    members: Bool[Tensor, "B R D"]

    @property
    def count(self) -> int:
        """Number R of columns."""
        return self.along.shape[1]

    def columns_of(self, covariates: Float[Tensor, "B n D"]) -> Float[Tensor, "B n R"]:
        """Columns of rows."""
        rows = covariates.shape[1]
        values = covariates @ self.shares.mT + self.levels[:, None]
        if bool((self.along >= 0).any()):
            own = covariates.gather(2, self.along.clamp_min(0)[:, None].expand(-1, rows, -1))
            values = values + own * (covariates @ self.slopes.mT + self.slope_levels[:, None])
        return values

    def reordered(self, places: Int[Tensor, " D"]) -> Labels:
        """The same where each covariate is in another place."""
        along, before = torch.where(self.along < 0, -1, places[self.along.clamp_min(0)]), places.argsort()
        slopes, shares, members = (part[..., before] for part in (self.slopes, self.shares, self.members))
        return replace(self, along=along, slopes=slopes, shares=shares, members=members)
