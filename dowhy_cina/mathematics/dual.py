"""Target balancing of an arm, and points of its dual: what the rows add up to there.

The problem and its dual are those of :mod:`dowhy_cina.mathematics.newton`.

Letters: B tables, N rows, M features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dowhy_cina._caching import cached_property
from dowhy_cina.mathematics.balancing import Features, Rows, Tables, TargetCertificate, apply, certify_target


@dataclass(frozen=True)
class ArmProblem:
    """Balancing of one arm of every table to a target.

    Attributes
    ----------
    features : Tensor of shape (B, N, M), or RowFeatures
    arm : Tensor, shape (B, N)
        Sampling weights of the arm's rows, 1 without; 0 for all others.
    target : Tensor, shape (B, M)
    ridge : Tensor, shape (B,)
        Positive.
    """

    features: Features
    arm: Rows
    target: Float[Tensor, "B M"]
    ridge: Tables

    def certificate(self, weights: Rows) -> TargetCertificate:
        """What is known of weights on the simplex."""
        return certify_target(self.features, weights, self.arm, self.target, self.ridge)


@dataclass(frozen=True)
class Sums:
    """What the rows of an arm add up to at a point of the dual; those of parts of a table can be added.

    Attributes
    ----------
    margins, squares : Tensor, shape (B,)
        Sums of ``r_i m_i`` and ``r_i m_i^2`` over the rows that carry weight: those with a positive margin
        ``m_i = v - phi_i' u``.
    moment : Tensor, shape (B, M)
        Sum of ``r_i m_i phi_i`` over the same rows.
    """

    margins: Tables
    squares: Tables
    moment: Float[Tensor, "B M"]

    def __add__(self, other: Sums) -> Sums:
        return _joined(torch.add, self, other)

    @property
    def effective_size(self) -> Tables:
        """``(sum a)^2 / sum a^2 / r`` of the weights."""
        return self.margins.square() / self.squares.clamp_min(torch.finfo(self.squares.dtype).tiny)


@dataclass(frozen=True)
class Curvature:
    """What the rows of an arm that carry weight add up to whatever it is; those of parts of a table can be added.

    Attributes
    ----------
    carrying : Tensor, shape (B,)
        Sum of ``r_i`` over the rows that carry weight.
    carried : Tensor, shape (B, M)
        Sum of ``r_i phi_i``.
    gram : Tensor, shape (B, M, M)
        Sum of ``r_i phi_i phi_i'``.
    """

    carrying: Tables
    carried: Float[Tensor, "B M"]
    gram: Float[Tensor, "B M M"]

    def __add__(self, other: Curvature) -> Curvature:
        return _joined(torch.add, self, other)

    def __sub__(self, other: Curvature) -> Curvature:
        return _joined(torch.sub, self, other)


Parts = TypeVar("Parts", Sums, Curvature, "DualPoint")


def _joined(join: Callable[[Tensor, Tensor], Tensor], one: Parts, two: Parts) -> Parts:
    return type(one)(*map(join, vars(one).values(), vars(two).values()))


def _chosen(chosen: Bool[Tensor, " B"], one: Parts, two: Parts) -> Parts:
    return _joined(lambda mine, other: torch.where(chosen.view(-1, *[1] * (mine.ndim - 1)), mine, other), one, two)


@dataclass(frozen=True)
class DualPoint:
    """Slope, shape (B, M), and level, shape (B,), of every table."""

    slope: Float[Tensor, "B M"]
    level: Tables

    @classmethod
    def start(cls, ridge: Tables, count: Tables, features: int) -> DualPoint:
        """Uniform weights, of arms with this sum of sampling weights."""
        return cls(ridge.new_zeros(len(ridge), features), ridge / count)

    def margins(self, features: Features) -> Rows:
        """``v - phi_i' u`` of every row."""
        if isinstance(features, Tensor):
            return torch.baddbmm(self.level[:, None, None], self.slope[:, None], features.mT, alpha=-1)[:, 0]
        return self.level[:, None] - apply(features, self.slope)

    def weights(self, problem: ArmProblem) -> Rows:
        """Weights before they sum to one."""
        return self.margins(problem.features).clamp_min(0) * problem.arm / problem.ridge[:, None]


@dataclass(frozen=True)
class Evaluated:
    """A point of the dual, what the rows add up to there, and how their curvature is found, where it is asked for."""

    point: DualPoint
    sums: Sums
    find: Callable[[], Curvature]

    @cached_property
    def curvature(self) -> Curvature:
        """Of the rows that carry weight."""
        return self.find()

    def times(self, factor: Tables) -> Evaluated:
        """Slope and level times a positive factor: the weights of a ridge as many times as large."""
        column = factor[:, None]
        point = DualPoint(self.point.slope * column, self.point.level * factor)
        sums = Sums(self.sums.margins * factor, self.sums.squares * factor.square(), self.sums.moment * column)
        return Evaluated(point, sums, lambda: self.curvature)

    def where(self, chosen: Bool[Tensor, " B"], other: Evaluated) -> Evaluated:
        """The chosen tables of this one, and the others of the other."""
        point, sums = _chosen(chosen, self.point, other.point), _chosen(chosen, self.sums, other.sums)
        return Evaluated(point, sums, lambda: _chosen(chosen, self.curvature, other.curvature))


#: Evaluates a point of the dual, which takes one pass over the rows.
Evaluate = Callable[[DualPoint], Evaluated]
