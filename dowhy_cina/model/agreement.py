"""How far outcomes bear out a prediction by the other rows, and so how much of it is kept.

Letters: B tables, N rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.balancing import Rows, Tables
from dowhy_cina.mathematics.clusters import sums_by_cluster

#: Least of what is wanted that an offer may be of its size: of two predictions that are the same by two ways of
#: computing them, rounding is all that is offered.
LEAST_OFFERED = 1e-6
#: Least sum of squares of an offer, in variances of the table's outcome, however little is wanted: where an arm's
#: outcomes are all but the same, as beside one far outcome, what is wanted may be near to rounding too.
LEAST_SQUARES = 1e-20


@dataclass(frozen=True)
class Agreement:
    """How what is wanted of an arm's rows follows what is offered: sums over the arm, shape (B,).

    Wanted are outcomes less a prediction by the other rows, such as the arm's mean, and offered another prediction
    by the other rows less that one. With each row's product ``u = r wanted offered`` and square ``v = r offered^2``, r
    its sampling weight, these are the sums of u, v, u^2, u v and v^2; those of parts of a table can be added. With
    clusters u and v are summed in each first.
    """

    products: Tables
    squares: Tables
    spread: tuple[Tables, Tables, Tables]

    @classmethod
    def of(cls, wanted: Rows, offered: Rows, arm: Rows, cluster: Int[Tensor, "B N"] | None = None) -> Agreement:
        """Agreement of the arm's rows, given their sampling weights and the codes of their clusters."""
        weighted = arm * offered
        u, v = (sums_by_cluster(rows, cluster) for rows in (weighted * wanted, weighted * offered))
        both = torch.stack([u, v], 1)
        sums, squares = both.sum(2), both @ both.mT
        return cls(sums[:, 0], sums[:, 1], (squares[:, 0, 0], squares[:, 0, 1], squares[:, 1, 1]))

    def __add__(self, other: Agreement) -> Agreement:
        spread = [one + two for one, two in zip(self.spread, other.spread, strict=True)]
        return Agreement(
            self.products + other.products, self.squares + other.squares, (spread[0], spread[1], spread[2])
        )

    @property
    def trust(self) -> Float[Tensor, " B"]:
        """Share of what is offered that outcomes bear out, in [0, 1].

        The slope b of what is wanted on what is offered, less what its own noise makes of it: ``b (1 - 2 se^2 / b^2)``,
        nothing where the square of ``b / se`` is below two, which is where Akaike's criterion prefers to do without.
        The standard error is robust to unequal variances, or one outcome would vouch for itself.
        """
        tiny = torch.finfo(self.squares.dtype).tiny
        squares = self.squares.clamp_min(tiny)
        slope = self.products / squares
        uu, uv, vv = self.spread
        noise = (uu - slope * (2 * uv - slope * vv)).clamp_min(0) / squares.square().clamp_min(tiny)
        borne_out = (slope - 2 * noise / slope.clamp_min(1e-6)).clamp(0, 1)
        offered = (slope * LEAST_OFFERED < 1) & (self.squares > LEAST_SQUARES)
        return torch.where(offered, borne_out, 0)
