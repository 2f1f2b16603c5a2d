"""Target balancing solved through its dual: a Newton method on as many variables as there are features.

On the simplex, the weights ``a`` of an arm with sampling weights ``r`` minimise
``|phi' a - target|^2 / 2 + ridge sum_i a_i^2 / (2 r_i)``. The dual is a function of a slope ``u`` and a level ``v``,

    minimise  |u|^2 / 2 + u' target - v + sum_i r_i max(0, v - phi_i' u)^2 / (2 ridge)

whose solution gives the weights, ``a_i = r_i max(0, v - phi_i' u) / ridge``, and ``u = phi' a - target``: the rows
attend to one query. It is convex and once differentiable, quadratic as long as the same rows carry weight, and a Newton
step goes to the minimum over those. So the last step ends at the solution, to rounding, wherever the first one began.
A point takes one pass over the rows; the curvature that the next step needs is of those that carry weight, or of those
that began and ceased to since the last step.

Letters: B tables, N rows, M features.

References
----------
Qi and Sun (1993), A nonsmooth version of Newton's method, Mathematical Programming 58.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dowhy_cina._caching import cached_property
from dowhy_cina.mathematics.balancing import (
    Features,
    Rows,
    Tables,
    apply,
    combine,
    features_gram,
    relative_target_gap,
    scale_rows,
    take_rows,
)
from dowhy_cina.mathematics.dense import lower_factor, solve_by_factor
from dowhy_cina.mathematics.kernels import places_of

#: Largest entry of the dual's gradient at which a table is solved; the weights then sum to one within it.
TOLERANCE = 1e-10
#: Steps after which a table is left as it is; rare arms far from their target take some twenty.
MOST_STEPS = 100
#: Halvings of a step, and the share of its slope's promise that a step has to keep.
HALVINGS, SUFFICIENT = 30, 1e-4
#: Rows that count as carrying weight in the level's curvature, as a share of all, where none does.
LEAST_CARRYING = 1e-3


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

    def gap(self, weights: Rows) -> Tables:
        """Relative duality gap of weights on the simplex."""
        return relative_target_gap(self.features, weights, self.arm, self.target, self.ridge)


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


class ArmRows:
    """Rows of an arm in memory, and their curvature where it was last asked for.

    Parameters
    ----------
    features : Tensor of shape (B, N, M), RowFeatures or JoinedFeatures
    arm : Tensor, shape (B, N)
        Sampling weights, 0 for rows that are not in it.
    """

    def __init__(self, features: Features, arm: Rows) -> None:
        self._features, self._arm = features, arm
        self._last: tuple[Rows, Curvature] | None = None

    def evaluate(self, point: DualPoint) -> Evaluated:
        """Evaluate a point of the dual."""
        margins = point.margins(self._features)
        shares = margins.clamp_min(0) * self._arm
        sums = Sums(shares.sum(1), (shares * margins).sum(1), combine(self._features, shares))
        return Evaluated(point, sums, lambda: self._curvature(self._arm * (margins > 0)))

    def _curvature(self, carrying: Rows) -> Curvature:
        """From the rows that carry weight, or from those that began and ceased to since the last time, if fewer."""
        if torch.is_grad_enabled():
            return self._of(carrying)
        if self._last is None:
            found = self._of(carrying)
        else:
            before, found = self._last
            begun, ceased = (carrying - before).clamp_min(0), (before - carrying).clamp_min(0)
            changed = _most(begun + ceased)
            if changed >= _most(carrying):
                found = self._of(carrying)
            elif changed:
                found = _joined(torch.add, found, _joined(torch.sub, self._of(begun), self._of(ceased)))
        self._last = carrying, replace(found, carrying=carrying.sum(1))
        return self._last[1]

    def _of(self, arm: Rows) -> Curvature:
        places = places_of(arm)
        features = self._features
        if places.shape != arm.shape:
            features, arm = take_rows(features, places), arm.gather(1, places)
        return Curvature(arm.sum(1), combine(features, arm), features_gram(scale_rows(features, arm.sqrt())))


def _most(weights: Rows) -> int:
    """Most rows with a weight in any table."""
    return int((weights > 0).sum(1).max())


@dataclass(frozen=True)
class Dual:
    """The dual of every table, but for what its rows add up to.

    Attributes
    ----------
    target : Tensor, shape (B, M)
    ridge, count : Tensor, shape (B,)
        The latter the arm's sum of sampling weights.
    scale : Tensor, shape (B, M)
        Factors of the features; points are those of the features without. A feature times zero is left out.
    """

    target: Float[Tensor, "B M"]
    ridge: Tables
    count: Tables
    scale: Float[Tensor, "B M"]

    @classmethod
    def of_problem(cls, problem: ArmProblem) -> Dual:
        """The dual of a problem, whose features have no further factors."""
        return cls(problem.target, problem.ridge, problem.arm.sum(1), torch.ones_like(problem.target))

    @cached_property
    def _unscale(self) -> Float[Tensor, "B M"]:
        """Inverse factors; zero for features that are left out."""
        return torch.where(self.scale > 0, 1 / self.scale, 0.0)

    def scaled(self, point: DualPoint) -> DualPoint:
        """Point of the features times their factors."""
        return DualPoint(point.slope * self._unscale, point.level)

    def value(self, at: Evaluated) -> Tables:
        """Dual objective, to be minimised."""
        slope = at.point.slope
        linear = (slope * ((slope * (self._unscale * self._unscale) / 2) + self.target)).sum(1) - at.point.level
        return linear + at.sums.squares / (2 * self.ridge)

    def gradient(self, at: Evaluated) -> Float[Tensor, "B K"]:
        """Gradient in the slope and level of the features times their factors, side by side."""
        moment = at.sums.moment / self.ridge[:, None]
        slope = self.scaled(at.point).slope + self.scale * (self.target - moment)
        return torch.cat([slope, (at.sums.margins / self.ridge - 1)[:, None]], 1)

    def solve(self, curvature: Curvature, right: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """Solution of the Newton system, which is the Hessian times the ridge."""
        size, scale = self.scale.shape[1], self.scale
        system = right.new_empty(len(right), size + 1, size + 1)
        system[:, :size, :size] = curvature.gram * scale[:, :, None] * scale[:, None]
        system[:, :size, size] = system[:, size, :size] = -curvature.carried * scale
        carrying = torch.where(curvature.carrying > 0, curvature.carrying, LEAST_CARRYING * self.count)
        system[:, size, size] = carrying * (1 + 1e-12)
        # Times the ridge, so that a small one does not drive the entries apart.
        system.diagonal(dim1=1, dim2=2)[:, :size] += self.ridge[:, None]
        return solve_by_factor(lower_factor(system), right)

    def direction(self, at: Evaluated, gradient: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """Step to the minimum over the rows that carry weight, from where the gradient is this."""
        return self.solve(at.curvature, gradient * -self.ridge[:, None])

    def moved(self, point: DualPoint, step: Float[Tensor, "B K"]) -> DualPoint:
        """Point that lies a step away."""
        return DualPoint(point.slope + self.scale * step[:, :-1], point.level + step[:, -1])


def line_search(
    dual: Dual,
    at: Evaluated,
    value: Tables,
    gradient: Float[Tensor, "B K"],
    moving: Bool[Tensor, " B"],
    evaluate: Evaluate,
) -> tuple[Evaluated, Tables]:
    """Step of the moving tables from a point of this value and gradient, halved until the dual falls as promised.

    Returns
    -------
    Evaluated, Tensor of shape (B,)
        Where it leads, and the value there.
    """
    direction = dual.direction(at, gradient)
    promise, length = SUFFICIENT * (gradient * direction).sum(1), moving.to(value.dtype)
    for _ in range(HALVINGS):
        found = evaluate(dual.moved(at.point, length[:, None] * direction))
        new = dual.value(found)
        short = new > value + length * promise
        if bool(short.any()):
            # Below the rounding of the value nothing can be promised.
            short = short & (new - value > 1e-13 * value.abs())
        if not bool(short.any()):
            break
        length = torch.where(short, length / 2, length)
    return found, new


def solve_dual_of_target(
    dual: Dual, evaluate: Evaluate, start: Evaluated, tolerance: Tables | float = TOLERANCE
) -> tuple[Evaluated, int]:
    """Solution of the dual, and the steps it took, each of which takes one pass over the rows or a few.

    A table that is solved stays, so that its solution does not depend on its company in the batch.

    Parameters
    ----------
    dual : Dual
    evaluate : callable
    start : Evaluated
        Where to begin.
    tolerance : Tensor of shape (B,), or float
        Largest entry of the gradient at which a table is solved.
    """
    at, steps = start, 0
    lowest = smallest = torch.full_like(dual.ridge, torch.inf)
    value = dual.value(at)
    while steps < MOST_STEPS:
        gradient = dual.gradient(at)
        size = gradient.abs().amax(1)
        moving = size > tolerance
        if steps and bool(moving.any()):
            # A table that neither falls nor levels out any more has come as far as its rounding lets it.
            moving = moving & ((value < lowest) | (size < smallest))
        if not bool(moving.any()):
            break
        steps, lowest, smallest = steps + 1, torch.minimum(value, lowest), torch.minimum(size, smallest)
        at, value = line_search(dual, at, value, gradient, moving, evaluate)
    return at, steps


def balance_to_target(problem: ArmProblem) -> tuple[Rows, int]:
    """Weights of an arm that minimise target balancing, to rounding, and the steps to them; they sum to one."""
    with torch.no_grad():
        dual, rows = Dual.of_problem(problem), ArmRows(problem.features, problem.arm)
        start = rows.evaluate(DualPoint.start(dual.ridge, dual.count, dual.target.shape[1]))
        found, steps = solve_dual_of_target(dual, rows.evaluate, start)
    return weights_at(problem, found.point), steps


def weights_at(problem: ArmProblem, point: DualPoint) -> Rows:
    """Weights at the solution of the dual.

    Gradients flow through one more step, which at the solution has the solution's derivatives.
    """
    if torch.is_grad_enabled():
        dual, at = Dual.of_problem(problem), ArmRows(problem.features, problem.arm).evaluate(point)
        point = dual.moved(point, dual.direction(at, dual.gradient(at)))
    return simplex(point.weights(problem), problem.arm)


def simplex(weights: Rows, arm: Rows) -> Rows:
    """Weights that sum to one; uniform where none is positive."""
    total = weights.sum(1, keepdim=True)
    scaled = weights / total.clamp_min(torch.finfo(total.dtype).tiny)
    return torch.where(total > 0, scaled, arm / arm.sum(1, keepdim=True))
