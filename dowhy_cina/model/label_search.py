"""The search for labels of many levels, and what their levels say of the treatment.

Labels are found in the columns: indicators of which no two are ever one together, whoever has made them. What is asked
of the rows are sums over each level, so that parts of a table can be added.

Letters: B tables, N rows, n of any rows, D covariates, L indicators of a label, K covariates that are none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dowhy_cina.mathematics.design_effects import independent_share
from dowhy_cina.mathematics.passes import each_strip, sum_blocks
from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.model.labels import Labels

#: Fewest levels of a label that a ridge does not learn by itself, and fewest independent rows of a level, half of which
#: have to have as many.
LEAST_LEVELS, LEAST_ROWS = 10, 2
#: Columns that may turn out to be in no label before the search for further labels ends.
MOST_FAILURES = 20
#: Share of the treatment's variance that has to be left inside the levels: of less, nothing can be compared there.
LEAST_INSIDE = 0.1
#: Most covariates of one label whose slopes are taken, the clearest first, and share of labels without any that get
#: some: more than of what outcomes ask for, since a missed one costs bias, another column a few degrees of freedom.
MOST_SLOPES, FALSE_SLOPES = 4, 0.1
#: Rows that show whether a table has indicators at all.
_GLANCED_ROWS = 256
#: Spread below which a column is constant.
_CONSTANT = 1e-9

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Indicators:
    """Indicators of the labels of one table, and what they are made of.

    Attributes
    ----------
    groups : tuple of list of int
        Covariates that are the indicators of each label.
    zeros, ones : ndarray, shape (D,)
        The two values of each indicator, the rarer one last.
    """

    groups: tuple[list[int], ...]
    zeros: Array
    ones: Array

    @classmethod
    def of(cls, covariates: Float[Tensor, "N D"]) -> Indicators | None:
        """Look for groups of columns of two values of which no two are one in the same row; None without any."""
        low, high = covariates.amin(0), covariates.amax(0)
        binary = (((covariates == low) | (covariates == high)).all(0) & (low < high)).nonzero()[:, 0]
        # Those of rare levels may point either way.
        frequent = (covariates == high).sum(0) * 2 > len(covariates)
        ones = torch.where(frequent, low, high)

        def together(strip: slice) -> Tensor:
            own = (covariates[strip, binary] == ones[binary]).float()
            return (own.T @ own).double()

        if len(binary) < LEAST_LEVELS:
            return None
        counts = sum_blocks(each_strip(len(covariates), together)).cpu().numpy()
        groups = [sorted(binary[group].tolist()) for group in _disjoint(counts)]
        zeros = torch.where(frequent, high, low)
        return cls(tuple(groups), zeros.cpu().numpy(), ones.cpu().numpy()) if groups else None

    @property
    def others(self) -> list[int]:
        """Covariates that are no indicators."""
        used = {column for group in self.groups for column in group}
        return [column for column in range(len(self.ones)) if column not in used]

    def _levels(self, place: int, covariates: Float[Tensor, "n D"]) -> Codes:
        """Level of rows in one label: from 1 the place of the row's indicator in its group, 0 of rows without any."""
        columns = torch.tensor(self.groups[place], device=covariates.device)
        ones = torch.from_numpy(self.ones).to(covariates)[columns]
        numbers = torch.arange(1, len(columns) + 1, dtype=torch.float64, device=covariates.device)
        strips = each_strip(len(covariates), lambda strip: (covariates[strip, columns] == ones).double() @ numbers)
        codes: Codes = torch.cat(strips).long().cpu().numpy()
        return codes

    def sums(self, place: int, covariates: Float[Tensor, "n D"], treatment: Array) -> Array:
        """Sums (L + 1, 2 + 3 K) over the rows of each level of one label; those of parts of a table can be added.

        Of 1 and t, and of x, x squared and x t for every other covariate.
        """
        codes, count = self._levels(place, covariates), len(self.groups[place]) + 1
        found = [np.ones(len(codes)), treatment]
        for column in self.others:
            values = covariates[:, column].cpu().numpy()
            found += [values, values**2, values * treatment]
        return np.stack([np.bincount(codes, values, count) for values in found], 1)

    def independent(self, covariates: Float[Tensor, "n D"], treatment: Array, cluster: Codes) -> list[float]:
        """Independent rows by rows, as far as clusters have in common what the levels of each label leave of t."""
        found = []
        for place in range(len(self.groups)):
            codes = self._levels(place, covariates)
            left = treatment - (np.bincount(codes, treatment) / np.maximum(np.bincount(codes), 1))[codes]
            found.append(independent_share(left, cluster))
        return found


def _disjoint(counts: Array) -> list[list[int]]:
    """Groups of columns of which no two have a row in common, given how many each two have.

    Each time the column is taken that misses most of those that are left: the other levels of its label, and few of
    another one's, which it misses by chance.
    """
    apart, sizes = counts == 0, counts.diagonal()
    left, groups, failures = np.ones(len(counts), dtype=np.bool_), list[list[int]](), 0
    while failures < MOST_FAILURES:
        left &= apart[:, left].sum(1) >= LEAST_LEVELS - 1
        candidates, group = left.copy(), list[int]()
        partners = apart[:, left].sum(1)
        while candidates.any():
            best = int(np.argmax(np.where(candidates, partners * (sizes.max() + 1) + sizes, -1)))
            group.append(best)
            gone = candidates & ~apart[best]
            partners = partners - apart[:, gone].sum(1)
            candidates &= apart[best]
        if len(group) >= LEAST_LEVELS:
            groups.append(group)
            left[group] = False
        elif group:
            failures += 1
            left[group[0]] = False
        else:
            break
    return groups


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
        inside, total = self._squares()
        if inside < LEAST_INSIDE * total or np.median(self.share * self.sizes[self.sizes > 0]) < LEAST_ROWS - 1e-9:
            return []
        found = [self._shares(), *self._slopes(others)]
        return [column for column in found if column is not None]

    def _squares(self) -> tuple[float, float]:
        """Sums of squares of the treatment inside the levels, and of all rows."""
        mean = self.sums[:, 1].sum() / self.sizes.sum()
        inside = float((self.sizes * self.treated * (1 - self.treated)).sum())
        return inside, float(self.sizes.sum() * mean * (1 - mean))

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
        indicators = Indicators.of(rows)
        if indicators is not None:
            sums = [indicators.sums(label, rows, t) for label in range(len(indicators.groups))]
            shares = None if cluster is None else indicators.independent(rows, t, cluster[place].cpu().numpy())
            found[place] = labels_of(indicators, sums, rows, shares)
    return found


def may_have_labels(covariates: Float[Tensor, "B N D"]) -> Bool[Tensor, " B"]:
    """Whether as many columns as a label needs have two values in the first rows of tables."""
    glance = covariates[:, :_GLANCED_ROWS]
    low, high = glance.amin(1, keepdim=True), glance.amax(1, keepdim=True)
    return ((glance == low) | (glance == high)).all(1).sum(1) >= LEAST_LEVELS


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
    spared = 0
    for group, own, share in zip(indicators.groups, sums, shares or [1.0] * len(sums), strict=True):
        columns = _Label(group, own, share).columns(indicators.others)
        made += columns
        spared += len(group) - 1 if columns else 0
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
    return Labels(along, slope_levels, levels, slopes, share_slopes, members, like.new_tensor([float(spared)]))
