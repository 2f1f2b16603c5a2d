"""Waves: covariates along which outcomes go up and down, in time or on a map, by turns that wide kernels smooth away.

A pilot's kernels are as wide as all covariates together ask for, and what outcomes do along one of them in a few turns,
or along two together, is left in its residuals. So these are searched for cosines of a covariate's rank, and for
products of two such, a group of them at a time. What goes with the residuals beyond doubt becomes columns of the
regressions and of what the weights balance, and of kernels where these predict better with them. The treatment has no
say in the search.

Letters: B tables, P pilot rows, n of any rows, D covariates, C of them that are looked at, G groups, W waves, V
covariates that waves are made of, L knots, M orders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.clusters import sums_by_cluster
from dowhy_cina.model.steps import ALIKE

#: Half waves of the groups that are looked for: all up to one of these, of one covariate and of each of two.
SINGLE, PAIRED = (4, 8, 16), (3, 5)
#: Most covariates that are looked at, those first along which the pilot's outcome regressions change most; most groups
#: that are looked at closely, and most that are taken.
MOST_COLUMNS, MOST_LOOKED_AT, MOST_GROUPS = 20, 20, 4
#: Ranks are interpolated between so many quantiles; intervals between these that a covariate must have to be looked at.
KNOTS, LEAST_INTERVALS = 65, 8
#: Rows for each wave of a group.
ROWS_OF_A_WAVE = 10
#: Chance with which waves are found in residuals that are noise. Of a function that smooth regressions learn in part,
#: what they leave may be waves of a few turns, too.
FALSE_ALARMS = 0.01


@dataclass(frozen=True)
class Group:
    """Waves that belong together: all orders from one half wave to ``orders``, of one covariate or of each of two.

    ``z_score`` is the normal score of their test.
    """

    columns: tuple[int, ...]
    orders: int
    z_score: float


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
        Half waves over all ranks.
    treatment_scales, outcome_scales : Tensor, shape (B, W)
        Of the waves in either kind of kernels; zero of those that kernels do not see.
    """

    places: Int[Tensor, "B V"]
    knots: Float[Tensor, "B V L"]
    factors: Int[Tensor, "B W 2"]
    orders: Int[Tensor, "B W 2"]
    treatment_scales: Float[Tensor, "B W"]
    outcome_scales: Float[Tensor, "B W"]

    @classmethod
    def of(cls, covariates: Float[Tensor, "1 P D"], groups: list[Group]) -> Waves:
        """Waves of some groups, with knots that are learned from rows; no scales yet."""
        device, used = covariates.device, sorted({column for group in groups for column in group.columns})
        factors, orders = [], []
        for group in groups:
            columns, most = group.columns, group.orders
            first, second = used.index(columns[0]), used.index(columns[1]) if len(columns) > 1 else -1
            seconds = range(1, most + 1) if len(columns) > 1 else (0,)
            pairs = [(one, other) for one in range(1, most + 1) for other in seconds]
            factors += [(first, second)] * len(pairs)
            orders += pairs
        parts = (torch.tensor([part], device=device) for part in (used, factors, orders))
        places, made_of, half_waves = parts
        knots = knots_of(covariates[0, :, used])[None]
        unseen = knots.new_zeros(1, made_of.shape[1])
        return cls(places, knots, made_of, half_waves, unseen, unseen)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers W of waves and V of covariates; tables with the same ones can be computed with together."""
        return self.factors.shape[1], self.places.shape[1]

    @property
    def members(self) -> list[list[int]]:
        """Waves of each group of one table."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for place, pair in enumerate(self.factors[0].tolist()):
            groups.setdefault(tuple(pair), []).append(place)
        return list(groups.values())

    @property
    def groups(self) -> list[list[int]]:
        """Covariates of each group of waves, of one table."""
        pairs = dict.fromkeys(map(tuple, self.factors[0].tolist()))
        return [[int(self.places[0, factor]) for factor in pair if factor >= 0] for pair in pairs]

    def columns_of(self, covariates: Float[Tensor, "B n D"]) -> Float[Tensor, "B n W"]:
        """Waves of rows."""
        rows = covariates.shape[1]
        values = covariates.gather(2, self.places[:, None].expand(-1, rows, -1)).mT
        ranks = ranks_of(values, self.knots)
        waves = covariates.new_ones(len(covariates), rows, self.factors.shape[1])
        for place in range(self.factors.shape[1]):
            for side in (0, 1):
                factor, order = self.factors[:, place, side, None], self.orders[:, place, side, None].to(ranks.dtype)
                angle = math.pi * order * ranks.gather(1, factor.clamp_min(0)[..., None].expand(-1, -1, rows))[:, 0]
                waves[..., place] *= torch.where(factor < 0, 1, math.sqrt(2) * torch.cos(angle))
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
    places = gradient_shares.argsort(descending=True, stable=True)[:MOST_COLUMNS]
    knots = knots_of(covariates[:, places])
    places, knots = (part[(knots.diff(dim=1) > ALIKE).sum(1) >= LEAST_INTERVALS] for part in (places, knots))
    units_per_row = 1.0 if cluster is None else len(torch.unique(cluster)) / len(cluster)
    most = units_per_row * len(residual) / ROWS_OF_A_WAVE
    single, paired = [own for own in SINGLE if own <= most], [own for own in PAIRED if own**2 <= most]
    if not len(places) or not single:
        return []
    waves, residual = _cosines(ranks_of(covariates[:, places].T, knots), max(single)), residual - residual.mean()
    alone = (waves @ residual).square() / (waves.square() @ residual.square())
    together = _products(waves[:, : max(paired, default=1)], residual)
    pairs = torch.triu_indices(len(places), len(places), 1, device=places.device)
    # Rows of a cluster may say the same: what they say together is counted once, and closely below.
    scores = [_z_score(units_per_row * alone[:, :own].sum(1), own) for own in single]
    scores += [
        _z_score(units_per_row * together[:, :own, :, :own].sum((1, 3))[pairs[0], pairs[1]], own**2) for own in paired
    ]
    columns = [places[:, None]] * len(single) + [places[pairs].T.sort(1).values] * len(paired)
    critical = NormalDist().inv_cdf(1 - FALSE_ALARMS / sum(map(len, scores)))
    found = [
        Group(tuple(columns[kind][place].tolist()), orders, float(scores[kind][place]))
        for kind, orders in enumerate(single + paired)
        for place in (scores[kind] > critical).nonzero()[:, 0].tolist()
    ]
    clearest: dict[tuple[int, ...], Group] = {}
    for group in sorted(found, key=lambda own: -own.z_score)[:MOST_LOOKED_AT]:
        if len(clearest) < MOST_GROUPS and group.columns not in clearest:
            own = [int((places == column).nonzero()) for column in group.columns]
            z_score = _score_test([waves[one, : group.orders] for one in own], residual, cluster)
            if z_score > critical:
                clearest[group.columns] = replace(group, z_score=z_score)
    return sorted(clearest.values(), key=lambda own: -own.z_score)


def _score_test(
    factors: list[Float[Tensor, "M P"]], residual: Float[Tensor, " P"], cluster: Int[Tensor, " P"] | None
) -> float:
    """Normal score of a group of waves by the score test that is robust to unequal variances and to clusters.

    Where few rows carry most of the noise, waves of their ranks go together with it: their squares are no sum of as
    many that are independent.
    """
    waves = factors[0] if len(factors) == 1 else (factors[0][:, None] * factors[1]).flatten(0, 1)
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


def _products(waves: Float[Tensor, "C M P"], residual: Float[Tensor, " P"]) -> Float[Tensor, "C M C M"]:
    """Squared t statistics of the products of two cosines in a residual, robust to unequal variances."""
    flat = waves.flatten(0, 1)
    squares = flat.square()
    sums = (flat * residual) @ flat.T
    noise = (squares * residual.square()) @ squares.T
    return (sums.square() / noise).view(*waves.shape[:2], *waves.shape[:2])
