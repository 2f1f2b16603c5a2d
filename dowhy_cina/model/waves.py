"""Waves: covariates along which outcomes go up and down, in time or on a map, by turns that wide kernels smooth away.

A pilot's kernels are as wide as all covariates together ask for, and what outcomes do along one of them in a few turns,
or along two together, is left in its residuals. So these are searched for cosines of a covariate's rank, and for
products of two such, a group of them at a time. A group may be of one covariate, of two, of one and of all covariates
of two values, or a bend of every covariate: many small ones add up to what none of them shows. What goes with the
residuals beyond doubt becomes columns of the regressions and of what the weights balance, and of kernels where these
predict better with them. The treatment has no say in the search.

Letters: B tables, P pilot rows, n of any rows, D covariates, C of them that are looked at, G groups, W waves, V
covariates that waves are made of, L knots, M orders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.clusters import sums_by_cluster
from dowhy_cina.model.steps import ALIKE

#: Half waves of the groups that are looked for: all up to one of these, of one covariate and of each of two, and of one
#: beside those of two values.
SINGLE, PAIRED, DIVIDED = (4, 8, 16), (3, 5), 4
#: Orders of bends: the half waves of one, and one that stands for the square of the normal score of a rank, which is
#: cut where ranks are hardly known.
BEND, SQUARE = 2, -1
NORMAL_ENDS = 1 / 128
#: Most covariates that are looked at, those first along which the pilot's outcome regressions change most: alone and in
#: pairs, of two values, and for bends; most groups that are looked at closely, and most that are taken.
MOST_COLUMNS, MOST_DIVIDING, MOST_BENT, MOST_LOOKED_AT, MOST_GROUPS = 20, 8, 60, 20, 4
#: Ranks are interpolated between so many quantiles; intervals between these that a covariate must have to be looked at.
KNOTS, LEAST_INTERVALS = 65, 8
#: Rows for each wave of a group.
ROWS_OF_A_WAVE = 10
#: Chance with which waves are found in residuals that are noise. Of a function that smooth regressions learn in part,
#: what they leave may be waves of a few turns, too.
FALSE_ALARMS = 0.01


@dataclass(frozen=True)
class Group:
    """Waves that belong together.

    Attributes
    ----------
    waves : tuple
        Of each the one covariate and its half waves, or :data:`SQUARE`, and the other's; that is -1, and its half waves
        0, of a wave of one covariate.
    z_score : float
        Normal score of their test.
    """

    waves: tuple[tuple[int, int, int, int], ...]
    z_score: float = 0.0

    @classmethod
    def alone(cls, columns: Sequence[int], most: int) -> Group:
        """All orders of a covariate up to one."""
        return cls(tuple((columns[0], order, -1, 0) for order in range(1, most + 1)))

    @classmethod
    def together(cls, columns: Sequence[int], most: int) -> Group:
        """All orders of each of two covariates up to one."""
        (first, second), orders = sorted(columns), range(1, most + 1)
        return cls(tuple((first, one, second, other) for one in orders for other in orders))

    @classmethod
    def divided(cls, columns: Sequence[int], most: int) -> Group:
        """All orders of the first covariate up to one, beside each of the others, which take two values."""
        return cls(tuple((columns[0], order, other, 1) for other in columns[1:] for order in range(1, most + 1)))

    @classmethod
    def bends(cls, columns: Sequence[int], order: int) -> Group:
        """One order of each covariate."""
        return cls(tuple((column, order, -1, 0) for column in columns))

    @property
    def columns(self) -> tuple[int, ...]:
        """Covariates."""
        return tuple(sorted({column for wave in self.waves for column in wave[::2] if column >= 0}))


@dataclass(frozen=True)
class Waves:
    """Waves as columns: products of cosines of the ranks of one or two covariates, of about unit variance.

    Attributes
    ----------
    places : Tensor of int, shape (B, V)
        Covariates.
    knots : Tensor, shape (B, V, L)
        Their quantiles, evenly spread.
    factors : Tensor of int, shape (B, W, 2)
        Which of the V each wave is made of; -1 stands for the second one of a wave of one covariate.
    orders : Tensor of int, shape (B, W, 2)
        Half waves over all ranks, or :data:`SQUARE`.
    labels : Tensor of int, shape (B, W)
        Group of each wave.
    treatment_scales, outcome_scales : Tensor, shape (B, W)
        Of the waves in either kind of kernels; zero of those that kernels do not see.
    """

    places: Int[Tensor, "B V"]
    knots: Float[Tensor, "B V L"]
    factors: Int[Tensor, "B W 2"]
    orders: Int[Tensor, "B W 2"]
    labels: Int[Tensor, "B W"]
    treatment_scales: Float[Tensor, "B W"]
    outcome_scales: Float[Tensor, "B W"]

    @classmethod
    def of(cls, covariates: Float[Tensor, "1 P D"], groups: list[Group]) -> Waves:
        """Waves of some groups, with knots that are learned from rows; no scales yet."""
        device, used = covariates.device, sorted({column for group in groups for column in group.columns})
        place = {column: at for at, column in enumerate(used)} | {-1: -1}
        waves = [wave for group in groups for wave in group.waves]
        factors = [(place[first], place[second]) for first, _, second, _ in waves]
        labels = [label for label, group in enumerate(groups) for _ in group.waves]
        parts = (used, factors, [wave[1::2] for wave in waves], labels)
        places, made_of, half_waves, members = (torch.tensor([part], device=device) for part in parts)
        knots = knots_of(covariates[0, :, used])[None]
        unseen = knots.new_zeros(1, made_of.shape[1])
        return cls(places, knots, made_of, half_waves, members, unseen, unseen)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers W of waves and V of covariates; tables with the same ones can be computed with together."""
        return self.factors.shape[1], self.places.shape[1]

    @property
    def members(self) -> list[list[int]]:
        """Waves of each group of one table."""
        groups: dict[int, list[int]] = {}
        for place, label in enumerate(self.labels[0].tolist()):
            groups.setdefault(label, []).append(place)
        return list(groups.values())

    @property
    def groups(self) -> list[list[int]]:
        """Covariates of each group of waves, of one table."""
        used = (sorted(set(self.factors[0, members].flatten().tolist())) for members in self.members)
        return [[int(self.places[0, factor]) for factor in own if factor >= 0] for own in used]

    def columns_of(self, covariates: Float[Tensor, "B n D"]) -> Float[Tensor, "B n W"]:
        """Waves of rows."""
        rows = covariates.shape[1]
        values = covariates.gather(2, self.places[:, None].expand(-1, rows, -1)).mT
        ranks = ranks_of(values, self.knots)
        waves = covariates.new_ones(len(covariates), rows, self.factors.shape[1])
        for place in range(self.factors.shape[1]):
            for side in (0, 1):
                factor, order = self.factors[:, place, side, None], self.orders[:, place, side, None]
                own = ranks.gather(1, factor.clamp_min(0)[..., None].expand(-1, -1, rows))[:, 0]
                waves[..., place] *= torch.where(factor < 0, 1, _curve(own, order))
        return waves

    def reordered(self, places: Int[Tensor, " D"]) -> Waves:
        """The same where each covariate is in another place."""
        return replace(self, places=places[self.places])


def knots_of(columns: Float[Tensor, "P C"]) -> Float[Tensor, "C L"]:
    """Quantiles of columns between which ranks are interpolated, of a kind that repeated rows do not change."""
    shares, rows = np.linspace(0, 1, KNOTS), columns.T.contiguous().cpu().numpy()
    found = np.quantile(rows, shares, axis=1, method="averaged_inverted_cdf")
    return torch.from_numpy(np.ascontiguousarray(found.T)).to(columns)


def ranks_of(values: Float[Tensor, "*B n"], knots: Float[Tensor, "*B L"]) -> Float[Tensor, "*B n"]:
    """Ranks, from 0 to 1, of values among those that knots are quantiles of; of a value that many have, the middle."""
    values, last = values.contiguous(), knots.shape[-1] - 1
    # From either side ranks differ where knots meet.
    total, sides = torch.zeros_like(values), (False, True) if bool((knots.diff(dim=-1) <= 0).any()) else (True,)
    for right in sides:
        after = torch.searchsorted(knots, values, right=right)
        low = knots.gather(-1, (after - 1).clamp(0, last))
        gap = knots.gather(-1, after.clamp(0, last)) - low
        share = torch.where(gap > 0, (values - low) / torch.where(gap > 0, gap, 1), 0)
        total += torch.where(after == 0, 0, torch.where(after > last, last, after - 1 + share))
    return total / (len(sides) * last)


def _curve(ranks: Float[Tensor, "*B n"], orders: Int[Tensor, "*B 1"]) -> Float[Tensor, "*B n"]:
    """Cosine of so many half waves over all ranks, or the square of the normal score; of about unit variance."""
    if bool((orders != SQUARE).all()):
        return math.sqrt(2) * torch.cos(math.pi * orders.to(ranks.dtype) * ranks)
    normal = torch.special.ndtri(ranks.clamp(NORMAL_ENDS, 1 - NORMAL_ENDS))
    return torch.where(orders == SQUARE, (normal.square() - 1) / math.sqrt(2), _curve(ranks, orders.clamp_min(0)))


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
    units_per_row = 1.0 if cluster is None else len(torch.unique(cluster)) / len(cluster)
    residual = residual - residual.mean()
    leading = gradient_shares.argsort(descending=True, stable=True)[:MOST_BENT]
    knots = knots_of(covariates[:, leading])
    intervals = (knots.diff(dim=1) > ALIKE).sum(1)
    # Ranks of those that take many values, and of those that take two.
    parts = [leading[kind] for kind in (intervals >= LEAST_INTERVALS, intervals == 1)]
    ranks = torch.zeros_like(covariates).T
    ranks[leading] = ranks_of(covariates[:, leading].T, knots)
    kinds = _candidates(ranks, residual, parts[0], parts[1][:MOST_DIVIDING], units_per_row)
    if not kinds:
        return []
    # Rows of a cluster may say the same: what they say together is counted once, and closely below.
    scores = [replace(kind, squares=units_per_row * kind.squares).scores for kind in kinds]
    # Every kind has the same chance of a false alarm, however many groups are of it.
    critical = [NormalDist().inv_cdf(1 - FALSE_ALARMS / (len(kinds) * len(own))) for own in scores]
    found = [
        (-float(own[place]), kind, place)
        for kind, (own, least) in enumerate(zip(scores, critical, strict=True))
        for place in (own > least).nonzero()[:, 0].tolist()
    ]
    clearest: dict[tuple[int, ...], Group] = {}
    for _, kind, place in sorted(found)[:MOST_LOOKED_AT]:
        group = kinds[kind].group(place)
        if len(clearest) < MOST_GROUPS and group.columns not in clearest:
            z_score = _score_test(_waves_of(group, ranks), residual, cluster)
            if z_score > critical[kind]:
                clearest[group.columns] = replace(group, z_score=z_score)
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

    @property
    def scores(self) -> Float[Tensor, " G"]:
        """Normal scores."""
        return _z_score(self.squares, len(self.group(0).waves))

    def group(self, place: int) -> Group:
        """The group in a place."""
        return self.make(self.columns[place], self.orders)


def _candidates(
    ranks: Float[Tensor, "D P"],
    residual: Float[Tensor, " P"],
    many: Int[Tensor, " C"],
    two: Int[Tensor, " E"],
    units_per_row: float,
) -> list[_Kind]:
    """Groups that are looked for, given the covariates that take many values and those that take two."""
    most, places = int(units_per_row * len(residual) / ROWS_OF_A_WAVE), many[:MOST_COLUMNS]
    single, paired = [own for own in SINGLE if own <= most], [own for own in PAIRED if own**2 <= most]
    if not len(places) or not single:
        return []
    columns, dividing, bent = places.tolist(), two.tolist(), many[:most].tolist()
    waves = _cosines(ranks[places], max(single))
    alone = (waves @ residual).square() / (waves.square() @ residual.square())
    kinds = [_Kind([(column,) for column in columns], Group.alone, own, alone[:, :own].sum(1)) for own in single]
    pairs = torch.triu_indices(len(places), len(places), 1, device=places.device)
    members = list(zip(*places[pairs].tolist(), strict=True))
    together = _products(waves[:, : max(paired, default=1)], waves[:, : max(paired, default=1)], residual)
    for own in paired if members else ():
        squares = together[:, :own, :, :own].sum((1, 3))[pairs[0], pairs[1]]
        kinds.append(_Kind(members, Group.together, own, squares))
    if dividing and DIVIDED * len(dividing) <= most:
        beside = _products(waves[:, :DIVIDED], _cosines(ranks[two], 1), residual).sum((1, 2, 3))
        kinds.append(_Kind([(column, *dividing) for column in columns], Group.divided, DIVIDED, beside))
    for order in (BEND, SQUARE):
        bends = _curve(ranks[bent], places.new_tensor([[order]]))
        squares = (bends @ residual).square() / (bends.square() @ residual.square())
        kinds.append(_Kind([tuple(bent)], Group.bends, order, squares.sum()[None]))
    return kinds


def _waves_of(group: Group, ranks: Float[Tensor, "D P"]) -> Float[Tensor, "W P"]:
    """Waves of a group, times what is the same for all rows."""
    first, order, second, other = torch.tensor(group.waves, device=ranks.device).T
    return _curve(ranks[first], order[:, None]) * _curve(ranks[second], other[:, None])


def _score_test(waves: Float[Tensor, "W P"], residual: Float[Tensor, " P"], cluster: Int[Tensor, " P"] | None) -> float:
    """Normal score of a group of waves by the score test that is robust to unequal variances and to clusters.

    Where few rows carry most of the noise, waves of their ranks go together with it: their squares are no sum of as
    many that are independent.
    """
    scores = sums_by_cluster(waves * residual, None if cluster is None else cluster.expand(len(waves), -1))
    total, noise = scores.sum(1), scores @ scores.T
    return float(_z_score(total @ torch.linalg.pinv(noise, hermitian=True) @ total, len(total)))


def _z_score(squares: Float[Tensor, " G"], count: int) -> Float[Tensor, " G"]:
    """Normal scores of sums of so many squared t statistics (Wilson and Hilferty 1931), whose chances may be zero."""
    spread = 2 / (9 * count)
    return ((squares / count) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)


def _cosines(ranks: Float[Tensor, "C P"], most: int) -> Float[Tensor, "C M P"]:
    """Cosines of ranks, from half a wave on."""
    orders = torch.arange(1, most + 1, dtype=ranks.dtype, device=ranks.device)
    return torch.cos(math.pi * orders[:, None] * ranks[:, None])


def _products(
    one: Float[Tensor, "C M P"], other: Float[Tensor, "E K P"], residual: Float[Tensor, " P"]
) -> Float[Tensor, "C M E K"]:
    """Squared t statistics of the products of two cosines in a residual, robust to unequal variances."""
    first, second = one.flatten(0, 1), other.flatten(0, 1)
    sums = (first * residual) @ second.T
    noise = (first.square() * residual.square()) @ second.square().T
    return (sums.square() / noise).view(*one.shape[:2], *other.shape[:2])
