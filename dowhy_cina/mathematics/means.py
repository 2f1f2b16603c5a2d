"""Target balancing of a kernel's features with the means of columns beside them, as far as few rows can carry that.

An arm's weights minimise ``|phi' a - phi*|^2 / 2 + amplitude^2 |z' a - z*|^2 / 2 + ridge sum_i a_i^2 / (2 r_i)``: the
problem of :mod:`dowhy_cina.mathematics.newton` for the kernel's features phi and, beside them, the columns z times an
amplitude. Its square is the ridge times a *stress*. At a stress of one, a difference of d standard deviations left in a
column costs as much as an effective sample size of ``1 / d^2`` rows: what is right where a column moves the outcome by
its noise.

Weights are no more concentrated than two bounds allow. With the columns they are worth :func:`least_size` rows and half
of what the kernel's balance alone leaves: where they would not be, the stress is the largest at which they are. The
kernel alone leaves twice the least size, or there would be nothing to spend on the columns: where it would not, the
ridge is the smallest at which it does.

Letters: B tables, N rows, M features, L columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina._caching import cached_property
from dowhy_cina.mathematics.balancing import JoinedFeatures, Rows, Tables, TargetCertificate, objective_from_sums
from dowhy_cina.mathematics.concentration import LARGEST_SHARE, LEAST_FACTOR
from dowhy_cina.mathematics.dual import ArmProblem, Curvature, DualPoint, Evaluate, Evaluated, Sums
from dowhy_cina.mathematics.newton import TOLERANCE, ArmRows, Dual, simplex, solve_dual_of_target, weights_at
from dowhy_cina.mathematics.screening import StreamedRows, rows_of_arm

#: Stress on the columns' means, and the least that is tried.
STRESS, LEAST_STRESS = 1.0, 1e-4
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
    """Means to be matched: of the kernel's features, shape (B, M), and of the columns beside them, shape (B, L)."""

    features: Float[Tensor, "B M"]
    columns: Float[Tensor, "B L"]

    def joined(self, amplitude: Tables) -> Float[Tensor, "B K"]:
        """Means of the kernel's features and of the columns times an amplitude."""
        return torch.cat([self.features, amplitude[:, None] * self.columns], 1)

    def repeated(self, times: int) -> MeansTarget:
        """The same for as many arms of each table, one after the other."""
        return MeansTarget(self.features.repeat(times, 1), self.columns.repeat(times, 1))

    def dual(self, ridge: Tables, stress: Tables, count: Tables) -> Dual:
        """The dual whose columns have the amplitude as their factor; of a stress of zero, the kernel alone."""
        scale = torch.ones_like(self.features), (stress * ridge).sqrt()[:, None].expand_as(self.columns)
        return Dual(self.joined(torch.ones_like(ridge)), ridge, count, torch.cat(scale, 1))


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
    stress : Tensor, shape (B,)
    """

    dual: Dual
    at: Evaluated
    uniform: Evaluated
    stress: Tables

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


def least_size(count: Tables) -> Tables:
    """:func:`dowhy_cina.mathematics.concentration.least_size` of every table."""
    return torch.minimum(LEAST_FACTOR * count ** (1 / 3), LARGEST_SHARE * count)


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
    zero, columns = torch.zeros_like(ridge), target.columns.shape[1]

    def solve(found: Solved, ridge: Tables, stress: Tables, tolerance: Tables | float) -> Solved:
        dual = target.dual(ridge, stress, count)
        at, _ = solve_dual_of_target(dual, evaluate, found.at.times(ridge / found.ridge), tolerance)
        return Solved(dual, at, found.uniform, stress)

    def kernel_alone(found: Solved, log_multiple: Tables, tolerance: Tables | float) -> Solved:
        return solve(found, ridge * log_multiple.exp(), zero, tolerance)

    def with_columns(found: Solved, log_stress: Tables, tolerance: Tables | float) -> Solved:
        return solve(found, found.ridge, log_stress.exp(), tolerance)

    def step_in_ridge(found: Solved, floor: Tables) -> Tables:
        return torch.log(floor / found.size) / found.slope_in_ridge()

    uniform = evaluate(DualPoint.start(ridge, count, target.features.shape[1] + columns))
    start, floor = Solved(target.dual(ridge, zero, count), uniform, uniform, zero), least_size(count)
    most = zero + math.log(LARGEST_RIDGE)
    room = torch.minimum(floor / KEPT_SIZE, LARGEST_SHARE * count)
    ends = zero + math.log(STRESS), zero + math.log(LEAST_STRESS)

    def beside(alone: Solved) -> Solved:
        """Solution with the columns, given that of the kernel alone."""

        def step_in_stress(found: Solved, floor: Tables) -> Tables:
            slope = found.slope_in_stress(columns)
            # What the columns cost begins in proportion to the stress; they may bring size instead.
            cost, most = (torch.log(alone.size / size) for size in (found.size, floor))
            step = torch.where((cost > 0) & (most > NEAR * cost), torch.log(most / cost) * cost, most - cost) / -slope
            # The least stress is the first to be tried, since the kernel's balance alone is all but its solution.
            return torch.where(found.stress < STRESS, step, -torch.inf)

        least = torch.maximum(floor, KEPT_SIZE * alone.size)
        return _least_concentrated(with_columns, step_in_stress, alone, least, *ends)

    open_ = True
    while True:
        if open_:
            alone = _least_concentrated(kernel_alone, step_in_ridge, start, room, zero, most)
        found = beside(alone)
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
) -> tuple[ArmProblem, Rows, Solution]:
    """Weights of an arm whose features balance a target with the means of columns, their problem, and what is known.

    Parameters
    ----------
    problem : ArmProblem
        Of the kernel's features.
    columns : Tensor, shape (B, N, L)
        In units of their spread.
    goal : Tensor, shape (B, L)
        Their means in the target.
    known : Curvature, optional
        Of the whole arm, the columns beside the kernel's features.

    Returns
    -------
    ArmProblem, Tensor of shape (B, N), Solution
    """
    target = MeansTarget(problem.target, goal)

    with torch.no_grad():
        if isinstance(problem.features, Tensor):
            rows = ArmRows(torch.cat([problem.features, columns], 2), problem.arm)
        else:
            features = JoinedFeatures(problem.features, columns, torch.ones_like(problem.ridge))
            rows = rows_of_arm(features, problem.arm, known)
        found = solve_with_means(target, problem.ridge, problem.arm.sum(1), rows.evaluate, rows.settle)
    # The factor of the ridge and the stress are taken as given by gradients.
    ridge = problem.ridge * (found.ridge / problem.ridge.detach())
    amplitude = (found.stress * ridge).sqrt()
    features = JoinedFeatures(problem.features, columns, amplitude)
    final = ArmProblem(features, problem.arm, target.joined(amplitude), ridge)
    if isinstance(rows, StreamedRows):
        weights = simplex(rows.margins(found.at.point).clamp_min(0) * problem.arm, problem.arm)
    else:
        weights = weights_at(final, found.point)
    return final, weights, found.solution
