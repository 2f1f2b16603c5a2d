"""Kinds of rows that an arm lacks: a column does not vary in the arm, though in the other one it does.

What an arm's own regression says of such rows is that they are like its own, which nothing in the arm bears out. Where
nobody with a contraindication is treated the treated rows do not know what it does to outcomes; the controls do.

Letters: B tables, N rows, n rows of an arm, L columns.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.balancing import Rows
from dowhy_cina.mathematics.passes import gather_rows

#: Rows of a kind that it lacks which an arm would have, were these as frequent there as in the other arm: by chance it
#: has none once in 3,000 times.
LEAST_EXPECTED = 8.0
#: Difference, in standard deviations, from which a row is of another kind.
TOLERANCE = 1e-9
#: Rows of an arm that show whether a column may be constant in it.
_GLANCED_ROWS = 256


def lacking_rows(columns: Float[Tensor, "B N L"], places: Int[Tensor, "B n"], arm: Rows) -> Float[Tensor, "B L"]:
    """How many of the other rows are of a kind that an arm lacks, by each column; none if chance may have done it.

    Parameters
    ----------
    columns : Tensor, shape (B, N, L)
        Standardised.
    places : Tensor of int, shape (B, n)
        Rows of the arm, with others behind them in tables whose arm has fewer than another's.
    arm : Tensor, shape (B, N)
        Sampling weights of the arm's rows, zero of others.
    """
    few = places[:, :_GLANCED_ROWS]
    level, inside = gather_rows(columns, few[:, :1]), (arm > 0).gather(1, few)[..., None]
    constant = ((gather_rows(columns, few) - level).abs() < TOLERANCE) | ~inside
    found = torch.zeros_like(level[:, 0])
    which = constant.all(1).any(0).nonzero()[:, 0]
    if len(which):
        rows = (arm > 0).to(arm.dtype)
        differs = ((columns[..., which] - level[..., which]).abs() >= TOLERANCE).to(arm.dtype)
        own, off = torch.bmm(rows[:, None], differs)[:, 0], differs.sum(1)
        sizes = rows.sum(1, keepdim=True)
        found[:, which] = told(off * (own == 0), sizes, rows.shape[1] - sizes, arm.sum(1, keepdim=True) / sizes)
    return found


def told(
    off: Float[Tensor, "B L"], own: Float[Tensor, "B 1"], other: Float[Tensor, "B 1"], share: Float[Tensor, "B 1"]
) -> Float[Tensor, "B L"]:
    """Counts of rows of a kind that is in one arm alone, where they are so many that this is no chance.

    Given the rows of the arm without them and of the other one, of which a share is independent.
    """
    return torch.where(off * share * own / other.clamp_min(1) >= LEAST_EXPECTED, off, 0)
