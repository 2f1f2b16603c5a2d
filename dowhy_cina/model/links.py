"""Logarithms of skewed outcomes: their choice, and the way back to the outcome's unit.

Earnings, costs and counts have a long tail that a regression of their logarithm follows with less effort. An outcome y
becomes ``g = log(sign y + shift)``, whatever its unit and origin: the sign is that of the arm's skewness, and the shift
puts the arm's extreme outcome a share of the standard deviation above zero. A prediction f of g means the outcome
``sign (factor exp(f) - shift)``, where the factor makes predictions of the arm's rows by its other rows right on the
average (Duan's smearing estimate in its ratio form).

Letters: B tables, N rows, n of any rows.

References
----------
Duan (1983), Smearing estimate: a nonparametric retransformation method, JASA 78.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dowhy_cina.mathematics.balancing import Tables

#: Distances of the extreme outcome from zero that are tried, in standard deviations of the arm's outcome.
DISTANCES = (0.01, 0.1, 1.0)
#: Skewness from which a logarithm is tried, and the share of it that the logarithm may keep.
LEAST_SKEWNESS, KEPT_SKEWNESS = 1.0, 0.75
#: Least standard deviation that a shift is measured in, in that of the table.
LEAST_SD = 1e-6
#: Least mean that the weights of outcomes are computed at, in that of the arm, both above the logarithm's zero.
LEAST_MEAN = 0.1
#: Predictions of the logarithm go no further than this above the largest that the arm shows.
BEYOND = 1.0


@dataclass(frozen=True)
class Powers:
    """Weights of rows, and their values' mean and sums of central powers, shape (B,); those of parts can be added.

    Attributes
    ----------
    count, mean : Tensor, shape (B,)
        Sum of the weights, and weighted mean; zero without rows.
    second, third : Tensor, shape (B,)
        Weighted sums of the second and the third power of deviations from the mean.
    """

    count: Tables
    mean: Tables
    second: Tables
    third: Tables

    @classmethod
    def of(cls, values: Float[Tensor, "B n"], rows: Float[Tensor, "B n"]) -> Powers:
        """Powers of weighted rows."""
        count = rows.sum(1)
        mean = (rows * values).sum(1) / _divisor(count)
        apart = values - mean[:, None]
        return cls(count, mean, (rows * apart.square()).sum(1), (rows * apart**3).sum(1))

    def __add__(self, other: Powers) -> Powers:
        count, apart = self.count + other.count, other.mean - self.mean
        share = other.count / _divisor(count)
        between = self.count * share * apart
        return Powers(
            count,
            self.mean + share * apart,
            self.second + other.second + between * apart,
            self.third
            + other.third
            + between * apart.square() * (1 - 2 * share)
            + 3 * apart * ((1 - share) * other.second - share * self.second),
        )

    @property
    def variance(self) -> Tables:
        """Weighted variance."""
        return self.second / _divisor(self.count)

    @property
    def skewness(self) -> Tables:
        """Third central moment in units of the standard deviation; zero where nothing varies."""
        variance, third = self.variance, self.third / _divisor(self.count)
        varies = variance > LEAST_SD**2
        return torch.where(varies, third / torch.where(varies, variance, 1) ** 1.5, 0.0)


def _divisor(count: Tables) -> Tables:
    return count.clamp_min(torch.finfo(count.dtype).tiny)


@dataclass(frozen=True)
class LogLink:
    """The logarithm of one arm's outcomes in every table of a batch, where it has one.

    Attributes
    ----------
    used : Tensor of bool, shape (B,)
    sign, shift : Tensor, shape (B,)
    highest : Tensor, shape (B,)
        Largest logarithm in the arm.
    level, factor : Tensor, shape (B,)
        Mean of ``sign y + shift`` in the arm, and the factor of the way back.
    """

    used: Bool[Tensor, " B"]
    sign: Tables
    shift: Tables
    highest: Tables
    level: Tables
    factor: Tables

    @staticmethod
    def tried(powers: Powers) -> Bool[Tensor, " B"]:
        """Whether outcomes with these power sums are skewed enough for a logarithm."""
        return powers.skewness.abs() >= LEAST_SKEWNESS

    @classmethod
    def candidates(cls, powers: Powers, ends: tuple[Tables, Tables]) -> list[LogLink]:
        """Links of arms with these power sums, smallest and largest outcomes: one for each of :data:`DISTANCES`.

        Their factor is not known yet.
        """
        sign = torch.where(powers.skewness < 0, -1.0, 1.0).to(ends[0].dtype)
        lowest, highest = (torch.where(sign > 0, *pair) for pair in ((ends[0], -ends[1]), (ends[1], -ends[0])))
        sd = powers.variance.sqrt().clamp_min(LEAST_SD)
        links = []
        for distance in DISTANCES:
            shift = distance * sd - lowest
            level = sign * powers.mean + shift
            top, used = torch.log(highest + shift), cls.tried(powers)
            links.append(cls(used, sign, shift, top, level, torch.ones_like(sd)))
        return links

    @classmethod
    def least_skewed(cls, links: Sequence[LogLink], before: Powers, after: Sequence[Powers]) -> LogLink | None:
        """The link whose logarithms, of these power sums, are the least skewed; none where no table uses one."""
        left = torch.stack([powers.skewness.abs() for powers in after])
        link = cls.of_least(links, left)
        used = link.used & (left.amin(0) < KEPT_SKEWNESS * before.skewness.abs())
        return replace(link, used=used) if bool(used.any()) else None

    @classmethod
    def of_least(cls, links: Sequence[LogLink], criterion: Float[Tensor, "K B"]) -> LogLink:
        """For every table the link whose criterion is the least."""
        place = criterion.argmin(0, keepdim=True)
        return cls(
            **{name: torch.stack([vars(one)[name] for one in links]).gather(0, place)[0] for name in vars(links[0])}
        )

    def forward(self, outcome: Float[Tensor, "B n"], arm: Float[Tensor, "B n"]) -> Float[Tensor, "B n"]:
        """Logarithms of the arm's outcomes; zero for other rows."""
        moved = self.sign[:, None] * outcome + self.shift[:, None]
        return torch.log(torch.where(arm > 0, moved, 1))

    def grown(self, fitted: Float[Tensor, "B n"]) -> Float[Tensor, "B n"]:
        """``exp`` of predicted logarithms, as far as they may go."""
        return torch.minimum(fitted, self.highest[:, None] + BEYOND).exp()

    def scaled(self, grown: Tables) -> LogLink:
        """The link whose predictions are right on the average, from the arm's mean of left-out :meth:`grown`."""
        return replace(self, factor=self.level / grown)

    def back(self, fitted: Float[Tensor, "B n"]) -> Float[Tensor, "B n"]:
        """Mean outcomes of rows with these predicted logarithms."""
        return self.sign[:, None] * (self.factor[:, None] * self.grown(fitted) - self.shift[:, None])

    def slope(self, fitted: Float[Tensor, "B n"]) -> Float[Tensor, "B n"]:
        """Derivative of :meth:`back`; that from below where a prediction may go no further."""
        return (self.sign * self.factor)[:, None] * self.grown(fitted)

    def forward_slope(self, fitted: Float[Tensor, "B n"]) -> Float[Tensor, "B n"]:
        """Derivative of :meth:`forward` at the mean outcomes of rows with these predicted logarithms.

        Means below :data:`LEAST_MEAN` are taken for that: to first order they would weigh more than outcomes can move
        them.
        """
        mean = self.factor[:, None] * self.grown(fitted)
        return self.sign[:, None] / torch.maximum(mean, LEAST_MEAN * self.level[:, None])
