"""Target balancing of a kernel's features with the means of columns beside them, as far as few rows can carry that.

An arm's weights minimise ``|phi' a - phi*|^2 / 2 + amplitude^2 |z' a - z*|^2 / 2 + ridge sum_i a_i^2 / (2 r_i)``: the
problem of :mod:`dowhy_cina.mathematics.newton` for the kernel's features phi and, beside them, the columns z times an
amplitude. Its square is the ridge times a *stress*. At a stress of one, a difference of d standard deviations left in a
column costs as much as an effective sample size of ``1 / d^2`` rows: what is right where a column moves the outcome by
its noise.

Weights are no more concentrated than two bounds allow. With the columns they are worth the least size, see
:func:`~dowhy_cina.mathematics.concentration.least_size`, and half of what the kernel's balance alone leaves: where they
would not be, the stress is the largest at which they are. The kernel alone leaves twice the least size, or there would
be nothing to spend on the columns: where it would not, the ridge is the smallest at which it does.

Some of the columns are *given*, the others made of them: steps, waves, a propensity score. Where a given column is left
by more than :data:`MISSED`, though it need not be, the others have next to no stress, the given ones the least that
matches them, and the least size alone bounds what that costs.

Letters: B tables, N rows, M features, L columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dowhy_cina._caching import cached_property
from dowhy_cina.mathematics.balancing import JoinedFeatures, Rows, Tables, TargetCertificate, objective_from_sums
from dowhy_cina.mathematics.concentration import LARGEST_SHARE, LEAST_FACTOR
from dowhy_cina.mathematics.dual import ArmProblem, Curvature, DualPoint, Evaluate, Evaluated, Sums
from dowhy_cina.mathematics.newton import TOLERANCE, ArmRows, Dual, simplex, solve_dual_of_target, weights_at
from dowhy_cina.mathematics.screening import StreamedRows, rows_of_arm

#: Stress on the columns' means, the least that is tried, and the most on given columns that come before the others.
STRESS, LEAST_STRESS, MOST_STRESS = 1.0, 1e-4, 16.0
#: Difference of a given column that is missed, and one that matches; share of the stress that is left on other columns
#: where given ones come first; and how often what is between two stresses is halved then.
MISSED, MATCHED, LEAST_SHARE, HALVINGS = 0.1, 0.05, 0.01, 7
#: Share of the effective sample size under the kernel's balance alone that the weights keep.
KEPT_SIZE = 0.5
#: Largest multiple of the ridge that is tried to reach the least effective size.
LARGEST_RIDGE = 1e5
#: Most solutions that are tried on the way to a size, and how near its logarithm is near enough for the last step.
TRIALS, NEAR = 20, 1e-6
#: Logarithm of the size by which the last step may lead away, which is rounding.
AWAY = 1e-9
#: Tolerance of a try, and of the last one, whose weights may be so small that others would not do.
ROUGH, FINE = 1e-8, 1e-12


@dataclass(frozen=True)
class MeansTarget:
    """Means to be matched: of the kernel's features, shape (B, M), and of the columns beside them, shape (B, L).

    ``given`` is how many of the columns, the first ones, come before the others where not all can be matched.
    """

    features: Float[Tensor, "B M"]
    columns: Float[Tensor, "B L"]
    given: int = 0

    def repeated(self, times: int) -> MeansTarget:
        """The same for as many arms of each table, one after the other."""
        return MeansTarget(self.features.repeat(times, 1), self.columns.repeat(times, 1), self.given)

    def factors(self, others: Tables) -> Float[Tensor, "B L"]:
        """Factor of every column where the others have this share of the stress on the given ones."""
        factors = others.sqrt()[:, None].repeat(1, self.columns.shape[1])
        factors[:, : self.given] = 1
        return factors

    def dual(self, ridge: Tables, stress: Tables, others: Tables, count: Tables) -> Dual:
        """The dual whose columns have the amplitude as their factor; of a stress of zero, the kernel alone."""
        scale = [torch.ones_like(self.features), (stress * ridge).sqrt()[:, None] * self.factors(others)]
        return Dual(torch.cat([self.features, self.columns], 1), ridge, count, torch.cat(scale, 1))


@dataclass(frozen=True)
class Solution:
    """Weights that solve the dual of every table, by what the rows add up to: nothing of the rows is kept.

    Attributes
    ----------
    dual : Dual
    point : DualPoint
    sums, uniform : Sums
        At the point, and at one with uniform weights.
    """

    dual: Dual
    point: DualPoint
    sums: Sums
    uniform: Sums

    @cached_property
    def means(self) -> Float[Tensor, "B 2 K"]:
        """Mean features, and columns times their amplitude, under the weights and under uniform ones."""
        both = [sums.moment / sums.margins[:, None] for sums in (self.sums, self.uniform)]
        return torch.stack(both, 1) * self.dual.scale[:, None]

    @property
    def certificate(self) -> TargetCertificate:
        """What is known of the weights: the gap is between their objective and the dual's at the point."""
        dual = self.dual
        apart = self.means - (dual.target * dual.scale)[:, None]
        size, before = torch.linalg.vector_norm(apart, dim=2).unbind(1)
        own = objective_from_sums(size, 1 / self.sums.effective_size, dual.ridge)
        reference = objective_from_sums(before, 1 / dual.count, dual.ridge)
        return TargetCertificate.of_excess(own + dual.value(self.point, self.sums), reference, size)


@dataclass(frozen=True)
class Solved:
    """Solution of the dual of every table with a ridge and a stress of its own, and how it was found.

    Attributes
    ----------
    dual : Dual
    at, uniform : Evaluated
        The solution, and uniform weights.
    stress, others : Tensor, shape (B,)
        Stress on the given columns, and the share of it on the others.
    """

    dual: Dual
    at: Evaluated
    uniform: Evaluated
    stress: Tables
    others: Tables

    @property
    def ridge(self) -> Tables:
        """Ridge of every table."""
        return self.dual.ridge

    @property
    def amplitude(self) -> Tables:
        """Factor of the columns."""
        return (self.stress * self.ridge).sqrt()

    @property
    def point(self) -> DualPoint:
        """Point of the kernel's features and the columns times the amplitude."""
        return self.dual.scaled(self.at.point)

    @property
    def size(self) -> Tables:
        """Effective sample size of the weights."""
        return self.at.sums.effective_size

    def missed(self, target: MeansTarget, most: float) -> Bool[Tensor, " B"]:
        """Whether a given column is left by more than so much."""
        kernel, sums = target.features.shape[1], self.at.sums
        means = sums.moment[:, kernel : kernel + target.given] / sums.margins[:, None]
        return ((means - target.columns[:, : target.given]).abs() > most).any(1)

    @property
    def solution(self) -> Solution:
        """What is known of the weights."""
        return Solution(self.dual, self.at.point, self.at.sums, self.uniform.sums)

    def slope_in_ridge(self) -> Tables:
        """Derivative of the size's logarithm in the ridge's, without columns and while the same rows carry weight."""
        return 2 + self._change(-self._right())

    def slope_in_stress(self, columns: int) -> Tables:
        """Derivative of the size's logarithm in the stress's, while the same rows carry weight."""
        pull = torch.cat([self.point.slope, torch.zeros_like(self.ridge)[:, None]], 1)
        pull[:, : -columns - 1] = 0
        return self._change(-pull)

    def _right(self) -> Float[Tensor, "B K"]:
        gap = self.point.slope + self.dual.scale * self.dual.target
        return torch.cat([-gap, torch.ones_like(self.ridge)[:, None]], 1)

    def _change(self, pull: Float[Tensor, "B K"]) -> Tables:
        spread = self.at.sums.squares / self.ridge.square()
        return 2 * (self._right() * self.dual.solve(self.at.curvature, pull)).sum(1) / spread


@dataclass(frozen=True)
class _Problem:
    """The problem above, and how points of its dual are evaluated: see :func:`solve_with_means`."""

    target: MeansTarget
    ridge: Tables
    count: Tables
    evaluate: Evaluate

    @cached_property
    def floor(self) -> Tables:
        """Least effective size, :func:`dowhy_cina.mathematics.concentration.least_size` of every table."""
        return torch.minimum(LEAST_FACTOR * self.count ** (1 / 3), LARGEST_SHARE * self.count)

    @cached_property
    def start(self) -> Solved:
        """Uniform weights."""
        zero, one = torch.zeros_like(self.ridge), torch.ones_like(self.ridge)
        features = self.target.features.shape[1] + self.target.columns.shape[1]
        uniform = self.evaluate(DualPoint.start(self.ridge, self.count, features))
        return Solved(self.target.dual(self.ridge, zero, one, self.count), uniform, uniform, zero, one)

    def solve(
        self, found: Solved, ridge: Tables, stress: Tables, others: Tables, tolerance: Tables | float = ROUGH
    ) -> Solved:
        """Solution for a ridge and a stress, beginning with another one."""
        dual = self.target.dual(ridge, stress, others, self.count)
        at, _ = solve_dual_of_target(dual, self.evaluate, found.at.times(ridge / found.ridge), tolerance)
        return Solved(dual, at, found.uniform, stress, others)

    def alone(self, start: Solved) -> Solved:
        """Solution of the kernel alone, with the least ridge that leaves room for columns."""

        def solve(found: Solved, log_multiple: Tables, tolerance: Tables | float) -> Solved:
            return self.solve(found, self.ridge * log_multiple.exp(), start.stress, start.others, tolerance)

        def step(found: Solved, floor: Tables) -> Tables:
            return torch.log(floor / found.size) / found.slope_in_ridge()

        room = torch.minimum(self.floor / KEPT_SIZE, LARGEST_SHARE * self.count)
        none = torch.zeros_like(self.ridge)
        return _least_concentrated(solve, step, start, room, none, none + math.log(LARGEST_RIDGE))

    def beside(self, alone: Solved) -> Solved:
        """Solution with the columns, given that of the kernel alone, with the largest stress there is room for."""

        def solve(found: Solved, log_stress: Tables, tolerance: Tables | float) -> Solved:
            return self.solve(found, found.ridge, log_stress.exp(), found.others, tolerance)

        def step(found: Solved, floor: Tables) -> Tables:
            slope = found.slope_in_stress(self.target.columns.shape[1])
            # What the columns cost begins in proportion to the stress; they may bring size instead.
            cost, most = (torch.log(alone.size / size) for size in (found.size, floor))
            to_floor = torch.where((cost > 0) & (most > NEAR * cost), torch.log(most / cost) * cost, most - cost)
            # The least stress is the first to be tried, since the kernel's balance alone is all but its solution.
            return torch.where(found.stress < STRESS, to_floor / -slope, -torch.inf)

        floor, none = torch.maximum(self.floor, KEPT_SIZE * alone.size), torch.zeros_like(self.ridge)
        return _least_concentrated(solve, step, alone, floor, none + math.log(STRESS), none + math.log(LEAST_STRESS))

    def given_first(self, found: Solved) -> Solved:
        """Solution with the least stress, to some digits, that matches given columns which are missed, but can be."""
        missed = found.missed(self.target, MISSED)
        if not bool(missed.any()):
            return found
        one = torch.ones_like(self.ridge)
        enough, less, others = MOST_STRESS * one, LEAST_STRESS * one, LEAST_SHARE * one
        at = self.solve(found, found.ridge, enough, others)
        possible = missed & ~at.missed(self.target, MATCHED)
        if not bool(possible.any()):
            return found
        for _ in range(HALVINGS):
            stress = (enough * less).sqrt()
            at = self.solve(at, found.ridge, stress, others)
            short = at.missed(self.target, MATCHED)
            enough, less = torch.where(short, enough, stress), torch.where(short, stress, less)
        at = self.solve(at, found.ridge, enough, others, FINE)
        chosen = possible & (at.size >= self.floor)
        stress, others = torch.where(chosen, enough, found.stress), torch.where(chosen, others, found.others)
        dual = self.target.dual(found.ridge, stress, others, self.count)
        return replace(found, dual=dual, at=at.at.where(chosen, found.at), stress=stress, others=others)


def solve_with_means(
    target: MeansTarget,
    ridge: Tables,
    count: Tables,
    evaluate: Evaluate,
    settle: Callable[[Sequence[DualPoint]], int] = len,
) -> Solved:
    """Solve the problem above.

    Parameters
    ----------
    target : MeansTarget
    ridge, count : Tensor, shape (B,)
        Ridge, and the arm's sum of sampling weights.
    evaluate : callable
        Evaluates a point of the dual of the kernel's features and, beside them, the columns.
    settle : callable
        Says how many of some solutions, the first ones, were evaluated as they are; the next one is from then on.
    """
    problem = _Problem(target, ridge, count, evaluate)
    start, open_ = problem.start, True
    while True:
        if open_:
            alone = problem.alone(start)
        found = problem.given_first(problem.beside(alone))
        points = (alone.at.point, found.at.point) if open_ else (found.at.point,)
        right = settle(points)
        if right == len(points):
            return found
        open_ = open_ and not right
        if open_:
            start = replace(alone, at=evaluate(alone.at.point))


def _least_concentrated(
    solve: Callable[[Solved, Tables, Tables | float], Solved],
    step_to: Callable[[Solved, Tables], Tables],
    start: Solved,
    floor: Tables,
    wanted: Tables,
    safe: Tables,
) -> Solved:
    """Solution for the parameter nearest to the wanted one, on the way to the safe one, whose size is the floor.

    ``solve`` takes the solution so far, the parameter (B,) and a tolerance; ``step_to`` gives the Newton step in the
    parameter to a size. Steps are kept between the ends of a bracket. So is the last one, which hits the floor. The
    solution jumps only where the size does not rise all the way to the safe end, and one of the parameters that have
    the floor's size ceases to: with columns that bring size, if the kernel's balance alone is near the floor. A table's
    search does not depend on its company in the batch.
    """
    found, tried = solve(start, wanted, TOLERANCE), wanted
    open_ = short = found.size < floor
    if not bool(short.any()):
        return found
    near, far, untried = wanted, torch.where(short, safe, wanted), short
    for _ in range(TRIALS):
        if not bool(open_.any()):
            break
        share = (tried + step_to(found, floor) - near) / (far - near)
        share = torch.where((share > 0) & (share < 1), share, torch.where(untried & (share >= 1), 1.0, 0.5))
        tried = torch.where(open_, near + share * (far - near), tried)
        # The start is nearer to the safe end.
        begin = found.at.where(~open_ | (share < 1), start.at.times(found.ridge / start.ridge))
        found = solve(replace(found, at=begin), tried, ROUGH)
        below, above = open_ & (found.size < floor), open_ & (found.size >= floor)
        near, far, untried = torch.where(below, tried, near), torch.where(above, tried, far), untried & ~above
        near_enough = (torch.log(found.size / floor).abs() <= NEAR) & (tried != safe)
        open_ = open_ & ~near_enough & (near != far)
    step = torch.nan_to_num(step_to(found, floor))
    moved = torch.minimum(torch.maximum(tried + step, torch.minimum(near, far)), torch.maximum(near, far))
    tolerance = torch.where(short, FINE, TOLERANCE)
    last = solve(found, torch.where(short, moved, tried), tolerance)
    # Where a row is about to lose its weight the slope may be another one beyond: a step that leads away is taken back.
    before, after = (torch.log(one.size / floor).abs() for one in (found, last))
    away = short & (after > before + AWAY)
    return solve(last, torch.where(short & ~away, moved, tried), tolerance) if bool(away.any()) else last


def balance_with_means(
    problem: ArmProblem,
    columns: Float[Tensor, "B N L"],
    goal: Float[Tensor, "B L"],
    known: Curvature | None = None,
    given: int = 0,
) -> tuple[ArmProblem, Rows, Solution]:
    """Weights of an arm whose features balance a target with the means of columns, their problem, and what is known.

    Parameters
    ----------
    problem : ArmProblem
        Of the kernel.
    columns : Tensor, shape (B, N, L)
        In units of their spread.
    goal : Tensor, shape (B, L)
        Their means in the target.
    known : Curvature, optional
        Of the whole arm, the columns beside the kernel's features.
    given : int
        As in :class:`MeansTarget`.

    Returns
    -------
    ArmProblem, Tensor of shape (B, N), Solution
    """
    target = MeansTarget(problem.target, goal, given)

    with torch.no_grad():
        if isinstance(problem.features, Tensor):
            rows = ArmRows(torch.cat([problem.features, columns], 2), problem.arm)
        else:
            features = JoinedFeatures(problem.features, columns, torch.ones_like(problem.ridge))
            rows = rows_of_arm(features, problem.arm, known)
        found = solve_with_means(target, problem.ridge, problem.arm.sum(1), rows.evaluate, rows.settle)
    # The factor of the ridge and the stress are taken as given by gradients.
    ridge = problem.ridge * (found.ridge / problem.ridge.detach())
    amplitude, factors = (found.stress * ridge).sqrt(), target.factors(found.others)
    if bool((found.others < 1).any()):
        columns = columns * factors[:, None]
    features = JoinedFeatures(problem.features, columns, amplitude)
    goal = torch.cat([target.features, amplitude[:, None] * factors * target.columns], 1)
    final = ArmProblem(features, problem.arm, goal, ridge)
    if isinstance(rows, StreamedRows):
        weights = simplex(rows.margins(found.at.point).clamp_min(0) * problem.arm, problem.arm)
    else:
        weights = weights_at(final, found.point)
    return final, weights, found.solution
