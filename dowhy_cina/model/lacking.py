"""Kinds of rows that an arm lacks: a column does not vary in the arm, though in the other one it does.

What an arm's own regression says of such rows is that they are like its own, which nothing in the arm bears out. Where
nobody with a contraindication is treated the treated rows do not know what it does to outcomes; the controls do. So the
arm's predictions of such rows get an offset, by which they are on the average what the other arm's regression and a
linear effect make of them.

Letters: B tables, N rows, n rows of an arm, L columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.balancing import Rows, Tables
from dowhy_cina.mathematics.columns import ColumnFeatures
from dowhy_cina.mathematics.passes import gather_rows

#: Chance that an arm has no row of such a kind in any column, were the arms alike. Fewest rows of a kind, by the root
#: of all rows: fewer move the answer by less than half a standard error, if they differ by a standard deviation.
MOST_CHANCE, LEAST_OF_ROOT = 0.01, 0.5
#: Difference, in standard deviations, from which a row is of another kind.
TOLERANCE = 1e-9
#: Rows of an arm that show whether a column may be constant in it.
_GLANCED_ROWS = 256


@dataclass(frozen=True)
class Lacking:
    """What an arm lacks, and what its predictions of such rows are moved by: ``(z(x) - level) . slope``.

    Attributes
    ----------
    rows : Tensor, shape (B, L)
        Rows of the other arm of a kind that this one lacks, by each column.
    level, slope : Tensor, shape (B, L)
        Value of the column in the arm; slopes are zero where it lacks none.
    """

    rows: Float[Tensor, "B L"]
    level: Float[Tensor, "B L"]
    slope: Float[Tensor, "B L"]

    @property
    def any(self) -> bool:
        """Whether there is such a kind in any table."""
        return bool((self.rows > 0).any())

    def offset(self, columns: ColumnFeatures) -> Float[Tensor, "B n"]:
        """What predictions of rows are moved by."""
        return columns.times(self.slope) - (self.level * self.slope).sum(1, keepdim=True)

    def mean_offset(self, means: Float[Tensor, "B L"]) -> Tables:
        """The same of a population, given the columns' means."""
        return ((means - self.level) * self.slope).sum(1)

    def by_means(self, squares: Float[Tensor, "B L L"], products: Float[Tensor, "B L"]) -> Lacking:
        """The same with slopes by least squares, given products of the other rows' ``z - level``, and with offsets."""
        which = (self.rows > 0).any(0).nonzero()[:, 0]
        inside = (self.rows[:, which] > 0).to(squares.dtype)
        gram = squares[:, which][..., which] * inside[:, None] * inside[..., None]
        diagonal = gram.diagonal(dim1=1, dim2=2)
        # Columns that tell the same share what they say.
        gram = gram + torch.diag_embed(torch.where(diagonal > 0, 1e-9 * diagonal.amax(1, keepdim=True), 1))
        slope = torch.zeros_like(self.rows)
        slope[:, which] = torch.linalg.solve(gram, (products[:, which] * inside)[..., None])[..., 0]
        return replace(self, slope=slope)


def lacking_of(
    columns: Float[Tensor, "B N L"], places: Int[Tensor, "B n"], arm: Rows, independent: float, missed: Rows
) -> Lacking:
    """What an arm lacks, given what its predictions miss of those that are borrowed; see :func:`lacking_rows`."""
    level = gather_rows(columns, places[:, :1])[:, 0]
    rows = lacking_rows(columns, places, arm, independent)
    lacking = Lacking(rows, level, torch.zeros_like(rows))
    if not lacking.any:
        return lacking
    apart = (columns - level[:, None]) * (arm <= 0)[..., None]
    return lacking.by_means(torch.bmm(apart.mT, apart), torch.bmm(missed[:, None], apart)[:, 0])


def lacking_rows(
    columns: Float[Tensor, "B N L"], places: Int[Tensor, "B n"], arm: Rows, independent: float = 1.0
) -> Float[Tensor, "B L"]:
    """How many of the other rows are of a kind that an arm lacks, by each column; none if chance may have done it.

    Parameters
    ----------
    columns : Tensor, shape (B, N, L)
        Standardised.
    places : Tensor of int, shape (B, n)
        Rows of the arm, with others behind them in tables whose arm has fewer than another's.
    arm : Tensor, shape (B, N)
        Sampling weights of the arm's rows, zero of others.
    independent : float
        Clusters by rows where there are any.
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
        sizes, varying = rows.sum(1, keepdim=True), (columns != columns[:, :1]).any(1).sum(1, keepdim=True)
        found[:, which] = told(off * (own == 0), sizes, rows.shape[1] - sizes, independent, varying)
    return found


def told(
    off: Float[Tensor, "B L"],
    own: Float[Tensor, "B 1"],
    other: Float[Tensor, "B 1"],
    independent: float,
    columns: Int[Tensor, "B 1"],
) -> Float[Tensor, "B L"]:
    """Counts of rows of a kind that is in one arm alone, where they are so many that this matters and is no chance.

    Given the rows of the arm without them and of the other one, of which a share is independent, and how many columns
    vary, each of which may tell of such a kind by chance [1]_.

    References
    ----------
    .. [1] Dunn (1961), Multiple comparisons among means, Journal of the American Statistical Association 56, 52-64.
    """
    counted, rows = independent * off, own + other
    chance = columns * (other / rows) ** counted
    # A column that tells the arms apart is no kind of rows.
    matters = (counted >= LEAST_OF_ROOT * (independent * rows).sqrt()) & (off < other)
    return torch.where((chance <= MOST_CHANCE) & matters, off, 0)
