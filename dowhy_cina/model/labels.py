"""Labels of many levels: how often each level is treated, and how much more often along a covariate.

A ridge shrinks what the indicator of a rare level says, and kernels hardly see it: what many levels do to treatment and
outcome is learned in part, and the answer keeps the rest. As in Mundlak's device, one column stands for all of it, the
share of the level that is treated: a linear regression of the outcome on the treatment and this column gives what one
on an indicator of every level gives. Where a covariate's part in the treatment changes from level to level, as it does
where each clinic selects by a rule of its own, a column for these slopes does the same. The outcome has no say in it.

Labels are found in the columns: indicators of which no two are ever one together, whoever has made them.

Letters: B tables, N rows, n of any rows, D covariates, R columns, L levels.

References
----------
Mundlak (1978), On the pooling of time series and cross section data, Econometrica 46, 69-85.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dowhy_cina.mathematics.passes import each_strip, sum_blocks
from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.model.wave_search import FALSE_ALARMS

#: Fewest levels of a label that a ridge does not learn by itself, and fewest rows, or clusters, of a level on average.
LEAST_LEVELS, LEAST_ROWS = 5, 2
#: Share of the treatment's variance that has to be left inside the levels: of less, nothing can be compared there.
LEAST_INSIDE = 0.1
#: Most covariates of one label whose slopes are taken, the clearest first.
MOST_SLOPES = 4
#: Rows that show whether a table has indicators at all.
_GLANCED_ROWS = 256

Codes = npt.NDArray[np.int64]


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
    spared : Tensor, shape (B,)
        Columns that count no longer where those of a table tell how much may be left to learn: a label is one.
    """

    along: Int[Tensor, "B R"]
    slope_levels: Float[Tensor, "B R"]
    levels: Float[Tensor, "B R"]
    slopes: Float[Tensor, "B R D"]
    shares: Float[Tensor, "B R D"]
    members: Bool[Tensor, "B R D"]
    spared: Float[Tensor, " B"]

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
        Of each table; None where no label has an own column.
    """
    glance = covariates[:, :_GLANCED_ROWS]
    low, high = glance.amin(1, keepdim=True), glance.amax(1, keepdim=True)
    many = ((glance == low) | (glance == high)).all(1).sum(1) >= LEAST_LEVELS
    found: list[Labels | None] = [None] * len(covariates)
    for place in many.nonzero()[:, 0].tolist():
        own = None if cluster is None else cluster[place].cpu().numpy()
        found[place] = _labels_of(covariates[place], treatment[place].cpu().numpy(), own)
    return found


def _labels_of(covariates: Float[Tensor, "N D"], treatment: Array, cluster: Codes | None) -> Labels | None:
    """Columns of one table's labels."""
    low, high = covariates.amin(0), covariates.amax(0)
    binary = ((covariates == low) | (covariates == high)).all(0) & (low < high)
    # Indicators of rare levels may point either way.
    frequent = (covariates == high).sum(0) * 2 > len(covariates)
    ends = torch.where(frequent, high, low), torch.where(frequent, low, high)
    groups = _groups(covariates, binary.nonzero()[:, 0], ends[1])
    used = {column for group in groups for column in group}
    others = [column for column in range(covariates.shape[1]) if column not in used]
    made: list[_Column] = []
    spared = 0
    for group in groups:
        label = _Label.of(group, _level_of_rows(covariates, group, ends[1]), treatment, cluster)
        if label is not None:
            own = [label.shares(), *label.slopes({place: covariates[:, place].cpu().numpy() for place in others})]
            made += [column for column in own if column.spread]
            spared += len(group) - 1
    return _stacked(made, ends, spared) if made else None


def _groups(covariates: Float[Tensor, "N D"], binary: Int[Tensor, " C"], ones: Float[Tensor, " D"]) -> list[list[int]]:
    """Indicators of labels: groups of columns of two values of which no two are one in the same row.

    From the most frequent one on, since those of other labels hardly ever miss it.
    """

    def together(strip: slice) -> Tensor:
        own = (covariates[strip, binary] == ones[binary]).float()
        return (own.T @ own).double()

    if len(binary) < LEAST_LEVELS:
        return []
    counts = sum_blocks(each_strip(len(covariates), together)).cpu().numpy()
    sizes, apart = counts.diagonal(), counts == 0
    left = [place for place in np.argsort(-sizes, kind="stable").tolist() if apart[place].sum() >= LEAST_LEVELS - 1]
    groups = []
    while len(left) >= LEAST_LEVELS:
        allowed, group = np.ones(len(sizes), dtype=np.bool_), []
        for place in left:
            if allowed[place]:
                group.append(place)
                allowed &= apart[place]
        # Those that are left behind by a small group may be in another one without its first.
        left = [place for place in left if place not in group] if len(group) >= LEAST_LEVELS else left[1:]
        if len(group) >= LEAST_LEVELS:
            groups.append(sorted(binary[group].tolist()))
    return groups


def _level_of_rows(covariates: Float[Tensor, "N D"], group: list[int], ones: Float[Tensor, " D"]) -> Codes:
    """Level of each row: from 1 the place of its indicator in the group, 0 of rows without any."""
    columns = torch.tensor(group, device=covariates.device)
    numbers = torch.arange(1, len(group) + 1, dtype=torch.float64, device=covariates.device)

    def levels(strip: slice) -> Tensor:
        return (covariates[strip, columns] == ones[columns]).double() @ numbers

    codes: Codes = torch.cat(each_strip(len(covariates), levels)).long().cpu().numpy()
    return codes


@dataclass(frozen=True)
class _Column:
    """A column of one label: what it is in each level, of which the first is that of rows without any.

    Attributes
    ----------
    group : list of int
        Indicators.
    along : int
    levels, slopes : ndarray, shape (L + 1,)
    centre, spread : float
        Mean and standard deviation over the rows, the latter negative of a column that is skewed to the left.
    """

    group: list[int]
    along: int
    levels: Array
    slopes: Array
    centre: float
    spread: float


@dataclass(frozen=True)
class _Label:
    """One label of a table, and what it says of the treatment.

    Attributes
    ----------
    group : list of int
    codes : ndarray of int, shape (N,)
        Level of each row.
    sizes, treated : ndarray, shape (L + 1,)
        Rows of each level, and the share of them that is treated.
    left : ndarray, shape (N,)
        Treatment less the share of the row's level.
    share : float
        Independent rows by rows: less than one where rows of a cluster have the same treatment beyond their level's.
    """

    group: list[int]
    codes: Codes
    sizes: Array
    treated: Array
    left: Array
    share: float

    @classmethod
    def of(cls, group: list[int], codes: Codes, treatment: Array, cluster: Codes | None) -> _Label | None:
        """Look at the treatment in each level; None where too little of it can be compared there."""
        sizes = np.bincount(codes, minlength=len(group) + 1).astype(np.float64)
        treated = np.bincount(codes, treatment, len(sizes)) / np.maximum(sizes, 1)
        left = treatment - treated[codes]
        squares, share = float(left @ left), 1.0
        if cluster is not None and squares > 0:
            share = 1 / max(1.0, float((np.bincount(cluster, left) ** 2).sum()) / squares)
        label = cls(group, codes, sizes, treated, left, share)
        inside = squares >= LEAST_INSIDE * len(codes) * treatment.var()
        return label if inside and share * len(codes) >= LEAST_ROWS * label.present.sum() else None

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Whether each level has rows."""
        return self.sizes > 0

    def sums(self, values: Array) -> Array:
        """Sums of the rows of each level."""
        return np.asarray(np.bincount(self.codes, values, len(self.sizes)), dtype=np.float64)

    def column(self, along: int, levels: Array, slopes: Array, values: Array) -> _Column:
        """A column of which the rows' values are given."""
        centre = float(values.mean())
        apart = values - centre
        spread = float(np.sqrt((apart**2).mean()))
        alike = spread <= np.finfo(np.float64).eps * len(values) * float(np.abs(levels).max(initial=0))
        spread = 0.0 if alike else spread
        return _Column(self.group, along, levels, slopes, centre, -spread if (apart**3).sum() < 0 else spread)

    def shares(self) -> _Column:
        """The share of each level that is treated, as if one more row were treated as often as all rows are."""
        units = self.share * self.sizes
        levels = (self.treated - (self.sizes @ self.treated) / len(self.codes)) * units / (units + 1)
        return self.column(-1, levels, np.zeros_like(levels), levels[self.codes])

    def slopes(self, covariates: dict[int, Array]) -> list[_Column]:
        """How much more often rows of each level are treated along covariates whose part changes with the level."""
        critical = NormalDist().inv_cdf(1 - FALSE_ALARMS / max(len(covariates), 1))
        found = []
        for along, values in covariates.items():
            z_score, column = self.slopes_along(along, values)
            if z_score > critical:
                found.append((-z_score, along, column))
        return [column for _, _, column in sorted(found, key=lambda one: one[:2])[:MOST_SLOPES]]

    def slopes_along(self, along: int, covariate: Array) -> tuple[float, _Column]:
        """Slopes along one covariate, less that of all rows, and the normal score of there being several.

        As if each level had one more row, at the covariate's average distance, with the slope of all rows.
        """
        means = self.sums(covariate) / np.maximum(self.sizes, 1)
        values, units = covariate - means[self.codes], self.share * self.sizes
        left = self.left - (self.left @ values) / max(values @ values, np.finfo(np.float64).tiny) * values
        sums, squares = self.sums(values * left), self.share * self.sums(values**2)
        seen = (units > 1) & (squares > 1e-9 * units)
        noise = self.share * self.sums(left**2)[seen] / (units[seen] - 1)
        score = (self.share * sums[seen]) ** 2 / squares[seen]
        excess = float((score - noise).sum())
        spread = float(np.sqrt(2 * (noise**2).sum()))
        if not seen.any() or spread == 0 or excess <= 0:
            return -np.inf, self.column(along, np.zeros_like(means), np.zeros_like(means), np.zeros(len(values)))
        slopes = self.share * sums / (squares + squares.sum() / units.sum())
        return excess / spread, self.column(along, -means * slopes, slopes, values * slopes[self.codes])


def _stacked(made: list[_Column], ends: tuple[Tensor, Tensor], spared: int) -> Labels:
    """Columns of one table, in terms of its covariates, whose values for zero and one are given where they are two."""
    like, values = ends[0], (ends[0].cpu().numpy(), ends[1].cpu().numpy())

    def part(of: Callable[[_Column], Array]) -> tuple[Tensor, Tensor]:
        constants, coefficients = zip(*(_of_indicators(one.group, of(one), values) for one in made), strict=True)
        return like.new_tensor(constants)[None], torch.from_numpy(np.stack(coefficients))[None].to(like)

    levels, shares = part(lambda column: (column.levels - column.centre) / column.spread)
    slope_levels, slopes = part(lambda column: column.slopes / column.spread)
    along = torch.tensor([[column.along for column in made]], device=like.device)
    members = torch.zeros_like(shares, dtype=torch.bool)
    for place, column in enumerate(made):
        members[0, place, column.group] = True
    return Labels(along, slope_levels, levels, slopes, shares, members, like.new_tensor([float(spared)]))


def _of_indicators(group: list[int], levels: Array, ends: tuple[Array, Array]) -> tuple[float, Array]:
    """Constant and coefficients of all covariates whose sum is the value of the row's level."""
    zero, one = ends
    coefficients = np.zeros(len(zero))
    coefficients[group] = (levels[1:] - levels[0]) / (one - zero)[group]
    return float(levels[0] - coefficients @ zero), coefficients
