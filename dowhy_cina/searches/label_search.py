"""The search for labels of many levels, and what their levels say of the treatment.

Labels are found in their indicators, see :mod:`dowhy_cina.searches.indicators`.

Letters: B tables, N rows, n of any rows, D covariates, L indicators of a label, K covariates that are none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.design_effects import comparable
from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.searches.indicators import Indicators, may_have_labels
from dowhy_cina.searches.labels import Labels

#: Most covariates of one label whose slopes are taken, the clearest first, and share of labels without any that get
#: some: more than of what outcomes ask for, since a missed one costs bias, another column a few degrees of freedom.
MOST_SLOPES, FALSE_SLOPES = 4, 0.1
#: Spread below which a column is constant.
_CONSTANT = 1e-9


@dataclass(frozen=True)
class _Column:
    """A column of one label: what it is in each level, of which the first is that of rows without any.

    Attributes
    ----------
    group : list of int
        Indicators.
    along : int
    levels, slopes : ndarray, shape (L + 1,)
    """

    group: list[int]
    along: int
    levels: Array
    slopes: Array


@dataclass(frozen=True)
class _Label:
    """One label of a table, and what it says of the treatment.

    Attributes
    ----------
    group : list of int
    sums : ndarray, shape (L + 1, 2 + 3 K)
    share : float
        Independent rows by rows: less than one where rows of a cluster have the same treatment beyond their level's.
    """

    group: list[int]
    sums: Array
    share: float

    @property
    def sizes(self) -> Array:
        """Rows of each level."""
        return self.sums[:, 0]

    @property
    def treated(self) -> Array:
        """Share of each level's rows that is treated."""
        shares: Array = self.sums[:, 1] / np.maximum(self.sizes, 1)
        return shares

    def columns(self, others: list[int]) -> list[_Column]:
        """Columns of the label, none of which is constant; none where too little of the treatment can be compared."""
        if not comparable(self.sizes, self.sums[:, 1], self.share):
            return []
        found = [self._shares(), *self._slopes(others)]
        return [column for column in found if column is not None]

    def _shares(self) -> _Column | None:
        """The share of each level that is treated, as if one more row were treated as often as all rows are."""
        rows, units = self.sizes.sum(), self.share * self.sizes
        levels = (self.treated - self.sums[:, 1].sum() / rows) * units / (units + 1)
        apart = levels - self.sizes @ levels / rows
        spread = float(np.sqrt(self.sizes @ apart**2 / rows))
        if spread < _CONSTANT:
            return None
        # Skewed to the right: so it is the same where the arms change places.
        return _Column(self.group, -1, _pointed(apart / spread, self.sizes @ apart**3), np.zeros_like(levels))

    def _slopes(self, others: list[int]) -> list[_Column]:
        """How much more often rows of each level are treated along covariates whose part changes with the level."""
        critical = NormalDist().inv_cdf(1 - FALSE_SLOPES / max(len(others), 1))
        found = [(*self._slopes_along(place), along) for place, along in enumerate(others)]
        found = sorted((one for one in found if one[0] > critical), key=lambda one: (-one[0], one[3]))
        return [_Column(self.group, along, -means * slopes, slopes) for _, means, slopes, along in found[:MOST_SLOPES]]

    def _slopes_along(self, place: int) -> tuple[float, Array, Array]:
        """Along one covariate the normal score of there being other slopes than one, its means, and these slopes.

        They are less that of all rows, and as if each level had one more row, at the covariate's average distance, with
        the slope of all; in standard deviations of what they make of rows.
        """
        firsts, seconds, products = self.sums[:, 2 + 3 * place : 5 + 3 * place].T
        means, units = firsts / np.maximum(self.sizes, 1), self.share * self.sizes
        squares, common = np.maximum(seconds - firsts * means, 0), products - firsts * self.treated
        # Of a covariate of whole levels nothing lies inside them but rounding.
        seen = (units > 1) & (squares > _CONSTANT * self.sizes)
        if not seen.any():
            return -np.inf, means, np.zeros_like(means)
        slope = common.sum() / squares.sum()
        moved = common - slope * squares
        left = self.sizes * self.treated * (1 - self.treated) - 2 * slope * common + slope**2 * squares
        noise = self.share * left[seen] / (units[seen] - 1)
        excess = float((self.share * moved[seen] ** 2 / squares[seen] - noise).sum())
        slopes = moved / (squares + squares.sum() / units.sum())
        spread, chance = np.sqrt(squares @ slopes**2 / self.sizes.sum()), np.sqrt(2 * (noise**2).sum())
        if not chance > 0 or spread < _CONSTANT:
            return -np.inf, means, slopes
        return excess / chance, means, _pointed(slopes / spread, squares @ (slopes * np.abs(slopes)))


def _pointed(values: Array, direction: float) -> Array:
    """Values, or their opposites where the direction is negative."""
    return -values if direction < 0 else values


def find_labels(
    covariates: Float[Tensor, "B N D"], treatment: Float[Tensor, "B N"], cluster: Int[Tensor, "B N"] | None = None
) -> list[Labels | None]:
    """Look for labels of many levels, and make columns of them.

    Parameters
    ----------
    covariates : Tensor, shape (B, N, D)
        Standardised.
    treatment : Tensor, shape (B, N)
        0 or 1.
    cluster : Tensor of int, shape (B, N), optional
        Codes of clusters.

    Returns
    -------
    list of Labels or None
        Of each table; None where no label has a column of its own.
    """
    found: list[Labels | None] = [None] * len(covariates)
    for place in may_have_labels(covariates).nonzero()[:, 0].tolist():
        rows, t = covariates[place], treatment[place].cpu().numpy()
        own = None if cluster is None else cluster[place].cpu().numpy()
        indicators = Indicators.of(rows, cluster=own)
        if indicators is not None:
            sums = [indicators.sums(label, rows, t) for label in range(len(indicators.groups))]
            found[place] = labels_of(indicators, sums, rows, indicators.independent(rows, t, own))
    return found


def labels_of(
    indicators: Indicators, sums: list[Array], like: Tensor, shares: list[float] | None = None
) -> Labels | None:
    """Columns of one table's labels, given the sums of each.

    Parameters
    ----------
    indicators : Indicators
    sums : list of ndarray, shape (L + 1, 2 + 3 K)
        Of the whole table.
    like : Tensor
        Of the device and kind of the covariates.
    shares : list of float, optional
        Independent rows by rows of each label; one each by default.
    """
    made: list[_Column] = []
    for group, own, share in zip(indicators.groups, sums, shares or [1.0] * len(sums), strict=True):
        made += _Label(group, own, share).columns(indicators.others)
    if not made:
        return None

    def part(of: Callable[[_Column], Array]) -> tuple[Tensor, Tensor]:
        coefficients, constants = np.zeros((len(made), len(indicators.ones))), np.zeros(len(made))
        for place, column in enumerate(made):
            values, zeros, ones = of(column), indicators.zeros[column.group], indicators.ones[column.group]
            coefficients[place, column.group] = (values[1:] - values[0]) / (ones - zeros)
            constants[place] = values[0] - coefficients[place, column.group] @ zeros
        return torch.from_numpy(constants)[None].to(like), torch.from_numpy(coefficients)[None].to(like)

    levels, share_slopes = part(lambda column: column.levels)
    slope_levels, slopes = part(lambda column: column.slopes)
    members = torch.zeros_like(slopes, dtype=torch.bool)
    for place, column in enumerate(made):
        members[0, place, column.group] = True
    along = torch.tensor([[column.along for column in made]], device=like.device)
    return Labels(along, slope_levels, levels, slopes, share_slopes, members)
