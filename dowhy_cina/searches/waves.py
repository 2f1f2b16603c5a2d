"""Waves: covariates along which outcomes go up and down, in time or on a map, by turns that wide kernels smooth away.

A pilot's kernels are as wide as all covariates together ask for, and what outcomes do along one of them in a few turns,
or along two together, is left in its residuals. So these are searched for cosines of a covariate's rank, and for
products of two such, a group of them at a time. A group may be of one covariate, of two, of one and of all covariates
of two values, a cycle of one that is whole numbers (weekdays), or a bend of every covariate: many small ones add up to
what none of them shows. What goes with the residuals beyond doubt becomes columns of the regressions and of what the
weights balance, and of kernels where these predict better with them. The treatment has no say in the search, see
:mod:`dowhy_cina.searches.wave_search`.

Letters: B tables, P pilot rows, n of any rows, D covariates, W waves, V covariates that waves are made of, L knots.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

#: Orders of bends: the half waves of one, and one that stands for the square of the normal score of a rank, which is
#: cut where ranks are hardly known.
BEND, SQUARE = 2, -1
NORMAL_ENDS = 1 / 128
#: Ranks are interpolated between so many quantiles.
KNOTS = 65


@dataclass(frozen=True)
class Group:
    """Waves that belong together.

    Attributes
    ----------
    waves : tuple
        Of each the one covariate and its half waves, or :data:`SQUARE`, and the other's; that is -1, and its half waves
        0, of a wave of one covariate. Less than :data:`SQUARE` they are those of a sine.
    z_score : float
        Normal score of their test.
    ends : tuple of float, optional
        Values between which half waves are counted; by default ranks are what they are made of.
    length : int
        Steps of a grid after which a cycle repeats itself; 0 of other groups.
    """

    waves: tuple[tuple[int, int, int, int], ...]
    z_score: float = 0.0
    ends: tuple[float, float] | None = None
    length: int = 0

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

    @classmethod
    def cycle(cls, grids: Mapping[int, tuple[float, float, float]], columns: Sequence[int], length: int) -> Group:
        """What repeats itself after so many steps of a covariate's grid, of which first value, step and last are given.

        Half waves are counted over as many cycles as there are, and as many before and after them.
        """
        first, step, last = grids[columns[0]]
        turns = math.ceil((last - first) / (length * step))
        ends = first - turns * length * step, first + 2 * turns * length * step
        orders = [6 * turns * turn for turn in range(1, length // 2 + 1)]
        both = [sign * order for order in orders for sign in (1, -1)]
        # The sine of half the steps is zero on the grid.
        return cls(tuple((columns[0], order, -1, 0) for order in both[: length - 1]), ends=ends, length=length)

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
        Their quantiles, evenly spread, or the values between which half waves are counted.
    factors : Tensor of int, shape (B, W, 2)
        Which of the V each wave is made of; -1 stands for the second one of a wave of one covariate.
    orders : Tensor of int, shape (B, W, 2)
        Half waves over all ranks, or :data:`SQUARE`; of sines with a minus.
    labels, lengths : Tensor of int, shape (B, W)
        Group of each wave, and the length of its cycle, as :class:`Group` has it.
    treatment_scales, outcome_scales : Tensor, shape (B, W)
        Of the waves in either kind of kernels; zero of those that kernels do not see.
    """

    places: Int[Tensor, "B V"]
    knots: Float[Tensor, "B V L"]
    factors: Int[Tensor, "B W 2"]
    orders: Int[Tensor, "B W 2"]
    labels: Int[Tensor, "B W"]
    lengths: Int[Tensor, "B W"]
    treatment_scales: Float[Tensor, "B W"]
    outcome_scales: Float[Tensor, "B W"]

    @classmethod
    def of(cls, covariates: Float[Tensor, "1 P D"], groups: list[Group]) -> Waves:
        """Waves of some groups, with knots that are learned from rows; no scales yet."""
        device = covariates.device
        used = sorted({(column, group.ends or ()) for group in groups for column in group.columns})
        place = {key: at for at, key in enumerate(used)}
        waves = [(wave, group.ends or ()) for group in groups for wave in group.waves]
        factors = [(place[first, ends], place.get((second, ends), -1)) for (first, _, second, _), ends in waves]
        labels = [(label, group.length) for label, group in enumerate(groups) for _ in group.waves]
        parts = ([column for column, _ in used], factors, [wave[1::2] for wave, _ in waves], *zip(*labels, strict=True))
        places, made_of, half_waves, members, lengths = (torch.tensor([part], device=device) for part in parts)
        knots = knots_of(covariates[0, :, places[0]])[None]
        for at, (_, ends) in enumerate(used):
            if ends:
                knots[0, at] = torch.linspace(*ends, KNOTS, dtype=knots.dtype, device=device)
        unseen = knots.new_zeros(1, made_of.shape[1])
        return cls(places, knots, made_of, half_waves, members, lengths, unseen, unseen)

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
    def groups(self) -> list[tuple[list[int], int]]:
        """Covariates of each group of waves, of one table, and the length of a cycle."""
        found = []
        for members in self.members:
            used = sorted(set(self.factors[0, members].flatten().tolist()) - {-1})
            found.append((self.places[0, used].tolist(), int(self.lengths[0, members[0]])))
        return found

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
                waves[..., place] *= torch.where(factor < 0, 1, curve(own, order))
        return waves

    def reordered(self, places: Int[Tensor, " D"]) -> Waves:
        """The same where each covariate is in another place."""
        return replace(self, places=places[self.places])


def knots_of(columns: Float[Tensor, "P C"]) -> Float[Tensor, "C L"]:
    """Quantiles of columns between which ranks are interpolated, of a kind that repeated rows do not change."""
    ascending = np.sort(columns.T.cpu().numpy(), axis=1)
    # Between two rows where a share of the rows ends, in the row where it does not.
    rows = ascending.shape[1]
    places = np.linspace(0, 1, KNOTS) * rows
    lower, upper = (place.astype(np.int64).clip(0, rows - 1) for place in (np.ceil(places) - 1, np.floor(places)))
    return torch.from_numpy(np.ascontiguousarray(ascending[:, lower] + ascending[:, upper]) / 2).to(columns)


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


def curve(ranks: Float[Tensor, "*B n"], orders: Int[Tensor, "*B 1"]) -> Float[Tensor, "*B n"]:
    """Cosine of so many half waves over all ranks, their sine, or a squared normal score; of about unit variance."""
    angles = math.pi * orders.abs().to(ranks.dtype) * ranks
    waves = torch.zeros_like(angles)
    if bool((orders >= 0).any()):
        waves = torch.where(orders >= 0, math.sqrt(2) * torch.cos(angles), waves)
    if bool((orders == SQUARE).any()):
        waves = torch.where(orders == SQUARE, squared_normals(ranks), waves)
    if bool((orders < SQUARE).any()):
        waves = torch.where(orders < SQUARE, math.sqrt(2) * torch.sin(angles), waves)
    return waves


def squared_normals(ranks: Float[Tensor, "*B n"]) -> Float[Tensor, "*B n"]:
    """Squared normal scores of ranks, of mean zero and about unit variance."""
    normal: Tensor = torch.special.ndtri(ranks.clamp(NORMAL_ENDS, 1 - NORMAL_ENDS))
    return (normal.square() - 1) / math.sqrt(2)
