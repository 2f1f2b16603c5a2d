"""The search for waves in what smooth regressions leave: candidates of every kind, and which are beyond doubt.

Letters: P pilot rows, D covariates, C, E and F of them, G groups, W waves, M and K orders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import NormalDist

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.clusters import sums_by_cluster
from dowhy_cina.mathematics.design_effects import independent_share
from dowhy_cina.searches.priorities import looked_at_first
from dowhy_cina.searches.steps import ALIKE
from dowhy_cina.searches.waves import BEND, SQUARE, Group, curve, knots_of, ranks_of, squared_normals

#: Half waves of the groups that are looked for: all up to one of these, of one covariate and of each of two, and of one
#: beside those of two values.
SINGLE, PAIRED, DIVIDED = (4, 8, 16), (3, 5), 4
#: Most covariates that are looked at, see :func:`looked_at_first`, alone and in pairs, and of two values; for bends
#: those along which the pilot's regressions change most; most groups that are looked at closely, and that are taken.
MOST_COLUMNS, MOST_DIVIDING, MOST_BENT, MOST_LOOKED_AT, MOST_GROUPS = 20, 8, 60, 20, 4
#: Intervals between the quantiles that a covariate must have to be looked at.
LEAST_INTERVALS = 8
#: Independent rows for each wave of a group, and clusters beyond one for each.
ROWS_OF_A_WAVE, LEAST_FREEDOM = 10, 5
#: Chance with which waves are found in residuals that are noise. Of a function that smooth regressions learn in part,
#: what they leave may be waves of a few turns, too.
FALSE_ALARMS = 0.01
#: Lengths of the cycles that are looked for in whole numbers: of heaped ones, weekdays, months and hours.
CYCLES = (5, 7, 12, 24)
#: Fewest values of a covariate of whole numbers, and how far off one of them may be for rounding.
LEAST_VALUES, WHOLE = 15, 1e-3


def find_waves(
    covariates: Float[Tensor, "P D"],
    residual: Float[Tensor, " P"],
    gradient_shares: Float[Tensor, " D"],
    cluster: Int[Tensor, " P"] | None = None,
) -> list[Group]:
    """Look for waves in what smooth regressions leave of outcomes.

    Parameters
    ----------
    covariates : Tensor, shape (P, D)
        Standardised.
    residual : Tensor, shape (P,)
        What the regression of the row's arm leaves of its outcome.
    gradient_shares : Tensor, shape (D,)
        How much the regressions change along each covariate.
    cluster : Tensor of int, shape (P,), optional
        Codes of clusters.

    Returns
    -------
    list of Group
        Those beyond doubt, the clearest first; each covariate or pair once.

    References
    ----------
    Wilson and Hilferty (1931), The distribution of chi-square, PNAS 17, for the chance of a sum of squares.
    """
    residual = residual - residual.mean()
    units_per_row = independent_share(residual.cpu().numpy(), None if cluster is None else cluster.cpu().numpy())
    # Those that are looked at and, after them, others that may bend.
    first = looked_at_first(*(part.cpu().numpy() for part in (covariates, residual, gradient_shares)))[:MOST_BENT]
    bending = gradient_shares.argsort(descending=True, stable=True)[:MOST_BENT]
    looked_at = torch.from_numpy(first).to(bending)
    leading = torch.cat([looked_at, bending[~torch.isin(bending, looked_at)]])
    columns = covariates[:, leading].T
    ascending = torch.from_numpy(np.sort(columns.cpu().numpy())).to(covariates)
    knots = knots_of(ascending.T)
    intervals = (knots.diff(dim=1) > ALIKE).sum(1)
    # Those that take many values, and those that take two.
    many, two = intervals >= LEAST_INTERVALS, intervals == 1
    ranks = torch.zeros_like(covariates).T
    ranks[leading] = ranks_of(columns, knots)
    bent = bending[torch.isin(bending, leading[many])]
    kinds = _candidates(ranks, residual, (leading[many], leading[two][:MOST_DIVIDING], bent), units_per_row)
    if kinds:
        chosen = [part[many][:MOST_COLUMNS] for part in (leading, ascending)]
        kinds += _cycles(covariates, residual, chosen[0], chosen[1], units_per_row)
    if not kinds:
        return []
    # Every kind has the same chance of a false alarm, however many groups are of it.
    chances = [FALSE_ALARMS / (len(kinds) * kind.considered(covariates.shape[1])) for kind in kinds]
    critical = [NormalDist().inv_cdf(1 - chance) for chance in chances]
    # Rows of a cluster may say the same: what they say together is counted once, and closely below.
    found = [
        (-score, number, place)
        for number, (kind, least) in enumerate(zip(kinds, critical, strict=True))
        for place, score in kind.above(least, units_per_row)
    ]
    clearest: dict[tuple[tuple[int, ...], bool], Group] = {}
    for _, kind, place in sorted(found)[:MOST_LOOKED_AT]:
        group = kinds[kind].group(place)
        name = group.columns, group.ends is None
        if len(clearest) < MOST_GROUPS and name not in clearest:
            z_score = score_test(_waves_of(group, ranks, covariates), residual, cluster)
            if z_score > critical[kind]:
                clearest[name] = replace(group, z_score=z_score)
    return sorted(clearest.values(), key=lambda own: -own.z_score)


@dataclass(frozen=True)
class _Kind:
    """Groups of one kind.

    Attributes
    ----------
    columns : list of tuple of int
        Covariates of each.
    make : callable
        Makes a group of its covariates and a number of half waves.
    orders : int
        Those half waves.
    squares : Tensor, shape (G,)
        Sums of the waves' squared t statistics.
    """

    columns: Sequence[tuple[int, ...]]
    make: Callable[[Sequence[int], int], Group]
    orders: int
    squares: Float[Tensor, " G"]

    def considered(self, covariates: int) -> int:
        """Groups among which these are, given the number of covariates; bends are one group."""
        if covariates <= MOST_COLUMNS or self.make == Group.bends:
            return len(self.columns)
        return covariates * (covariates - 1) // 2 if self.make == Group.together else covariates

    def above(self, least: float, units_per_row: float) -> Iterator[tuple[int, float]]:
        """Groups whose normal scores are above this, and their scores, where so many units are in a row."""
        count = len(self.group(0).waves)
        for place in (units_per_row * self.squares > least_squares(least, count)).nonzero()[:, 0].tolist():
            yield place, z_score(units_per_row * float(self.squares[place]), count)

    def group(self, place: int) -> Group:
        """The group in a place."""
        return self.make(self.columns[place], self.orders)


def _candidates(
    ranks: Float[Tensor, "D P"],
    residual: Float[Tensor, " P"],
    chosen: tuple[Int[Tensor, " C"], Int[Tensor, " E"], Int[Tensor, " F"]],
    units_per_row: float,
) -> list[_Kind]:
    """Groups that are looked for, given covariates that take many values, those that take two, and those that bend."""
    many, two, bending = chosen
    most, places = int(units_per_row * len(residual) / ROWS_OF_A_WAVE), many[:MOST_COLUMNS]
    single, paired = [own for own in SINGLE if own <= most], [own for own in PAIRED if own**2 <= most]
    if not len(places) or not single:
        return []
    columns, dividing, bent = places.tolist(), two.tolist(), bending[:most].tolist()
    waves = cosines(ranks[places], max(single))
    alone = (waves @ residual).square() / (waves.square() @ residual.square())
    kinds = [_Kind([(column,) for column in columns], Group.alone, own, alone[:, :own].sum(1)) for own in single]
    pairs = torch.triu_indices(len(places), len(places), 1, device=places.device)
    members = list(zip(*places[pairs].tolist(), strict=True))
    leading = waves[:, : max(paired, default=1)]
    together = _products(leading, leading, residual)
    for own in paired if members else ():
        squares = together[:, :own, :, :own].sum((1, 3))[pairs[0], pairs[1]]
        kinds.append(_Kind(members, Group.together, own, squares))
    if dividing and DIVIDED * len(dividing) <= most:
        beside = _products(waves[:, :DIVIDED], cosines(ranks[two], 1), residual).sum((1, 2, 3))
        kinds.append(_Kind([(column, *dividing) for column in columns], Group.divided, DIVIDED, beside))
    for order in (BEND, SQUARE) if bent else ():
        bends = squared_normals(ranks[bent]) if order == SQUARE else torch.cos(math.pi * order * ranks[bent])
        squares = (bends @ residual).square() / (bends.square() @ residual.square())
        kinds.append(_Kind([tuple(bent)], Group.bends, order, squares.sum()[None]))
    return kinds


def _cycles(
    covariates: Float[Tensor, "P D"],
    residual: Float[Tensor, " P"],
    many: Int[Tensor, " C"],
    ascending: Float[Tensor, "C P"],
    units_per_row: float,
) -> list[_Kind]:
    """Cycles of covariates that are whole numbers, but for their unit and origin; these are given sorted, too."""
    gaps = ascending.diff(dim=1)
    apart = gaps > ALIKE
    step = torch.where(apart, gaps, torch.inf).amin(1)
    counts = torch.where(apart, gaps / step[:, None], 0)
    whole = ((counts - counts.round()).abs() <= WHOLE).all(1) & (apart.sum(1) >= LEAST_VALUES - 1)
    chosen = whole.nonzero()[:, 0].tolist()
    grids = {int(many[at]): (float(ascending[at, 0]), float(step[at]), float(ascending[at, -1])) for at in chosen}
    kinds = []
    for length in CYCLES:
        long = [(column,) for column, (first, unit, last) in grids.items() if last - first >= 2 * length * unit]
        if long and length - 1 <= units_per_row * len(residual) / ROWS_OF_A_WAVE:
            make = partial(Group.cycle, grids)
            waves = torch.stack([_waves_of(make(own, length), covariates.T, covariates) for own in long])
            squares = (waves @ residual).square() / (waves.square() @ residual.square())
            kinds.append(_Kind(long, make, length, squares.sum(1)))
    return kinds


def _waves_of(group: Group, ranks: Float[Tensor, "D P"], covariates: Float[Tensor, "P D"]) -> Float[Tensor, "W P"]:
    """Waves of a group, times what is the same for all rows."""
    if group.ends is not None:
        ranks = (covariates.T - group.ends[0]) / (group.ends[1] - group.ends[0])
    first, order, second, other = torch.tensor(group.waves, device=ranks.device).T
    return curve(ranks[first], order[:, None]) * curve(ranks[second], other[:, None])


def score_test(waves: Float[Tensor, "W P"], residual: Float[Tensor, " P"], cluster: Int[Tensor, " P"] | None) -> float:
    """Normal score of a group of waves by the score test that is robust to unequal variances and to clusters.

    Where few rows carry most of the noise, waves of their ranks go together with it: their squares are no sum of as
    many that are independent.
    """
    scores = sums_by_cluster(waves * residual, None if cluster is None else cluster.expand(len(waves), -1))
    total, noise = scores.sum(1), scores @ scores.T
    squares = total @ torch.linalg.pinv(noise, hermitian=True) @ total
    return _hotelling_score(float(squares), *scores.shape)


def _hotelling_score(squares: float, count: int, units: int) -> float:
    """Normal score of such a sum of squares of so many units about their own means (Hotelling 1931, Paulson 1942).

    Of few units the sum itself is at most their number, whatever they agree on.
    """
    freedom = units - count
    if freedom < LEAST_FREEDOM:
        return -math.inf
    ratio = squares * freedom / (count * max(units - squares, 1e-9))
    own, other = 2 / (9 * count), 2 / (9 * freedom)
    root: float = ratio ** (1 / 3)
    return ((1 - other) * root - (1 - own)) / math.sqrt(other * root**2 + own)


def z_score(squares: float, count: int) -> float:
    """Normal score of a sum of so many squared t statistics (Wilson and Hilferty 1931), whose chance may be zero."""
    spread = 2 / (9 * count)
    root: float = (squares / count) ** (1 / 3)
    return (root - (1 - spread)) / math.sqrt(spread)


def least_squares(score: float, count: int) -> float:
    """The sum that has a :func:`z_score`."""
    spread = 2 / (9 * count)
    return count * max(score * math.sqrt(spread) + 1 - spread, 0.0) ** 3


def cosines(ranks: Float[Tensor, "C P"], most: int) -> Float[Tensor, "C M P"]:
    """Cosines of ranks, from half a wave on: each by the two before it, which takes less time than a cosine."""
    first = torch.cos(math.pi * ranks)
    waves, twice = ranks.new_empty(len(ranks), most, ranks.shape[1]), 2 * first
    waves[:, 0] = first
    for own in range(1, most):
        torch.mul(twice, waves[:, own - 1], out=waves[:, own]).sub_(waves[:, own - 2] if own > 1 else 1)
    return waves


def _products(
    one: Float[Tensor, "C M P"], other: Float[Tensor, "E K P"], residual: Float[Tensor, " P"]
) -> Float[Tensor, "C M E K"]:
    """Squared t statistics of the products of two cosines in a residual, robust to unequal variances."""
    first, second = one.flatten(0, 1), other.flatten(0, 1)
    squared = first.square()
    sums, noise = (
        (first * residual) @ second.T,
        (squared * residual.square()) @ (squared if one is other else second.square()).T,
    )
    return (sums.square() / noise).view(*one.shape[:2], *other.shape[:2])
