"""Target balancing of a kernel's features with the means of columns beside them, as far as few rows can carry that.

An arm's weights minimise ``|phi' a - phi*|^2 / 2 + amplitude^2 |z' a - z*|^2 / 2 + ridge sum_i a_i^2 / (2 r_i)``: the
problem of :mod:`dowhy_cina.mathematics.newton` for the kernel's features phi and, beside them, the columns z times an
amplitude. Its square is the ridge times a *stress*. At a stress of one, a difference of d standard deviations left in a
column costs as much as an effective sample size of ``1 / d^2`` rows: what is right where a column moves the outcome by
its noise.

Weights are no more concentrated than two bounds allow. Those of the kernel alone are worth :func:`least_size` rows at
least: where they would be worth fewer, the ridge is the smallest at which they are not. With the columns they are worth
that many and half of what the kernel's balance alone leaves: where they would not be, the stress is the largest at
which they are.

Letters: B tables, N rows, M features, L columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.mathematics.balancing import JoinedFeatures, Rows, Tables
from dowhy_cina.mathematics.concentration import LARGEST_SHARE, LEAST_FACTOR
from dowhy_cina.mathematics.newton import TOLERANCE, ArmProblem, DualPoint, Sums, solve_dual_of_target, weights_at

#: Stress on the columns' means, and the least that is tried.
STRESS, LEAST_STRESS = 1.0, 1e-4
#: Share of the effective sample size under the kernel's balance alone that the weights keep.
KEPT_SIZE = 0.5
#: Largest multiple of the ridge that is tried to reach the least effective size.
LARGEST_RIDGE = 1e5
#: Most solutions that are tried on the way to a size, how near its logarithm is near enough, and a try's tolerance.
TRIALS, NEAR, ROUGH = 8, 0.03, 1e-5


@dataclass(frozen=True)
class MeansTarget:
    """Means to be matched: of the kernel's features, shape (B, M), and of the columns beside them, shape (B, L)."""

    features: Float[Tensor, "B M"]
    columns: Float[Tensor, "B L"]

    def joined(self, amplitude: Tables) -> Float[Tensor, "B K"]:
        """Means of the kernel's features and of the columns times an amplitude."""
        return torch.cat([self.features, amplitude[:, None] * self.columns], 1)


@dataclass(frozen=True)
class Solved:
    """Solution of the dual of every table with a ridge and a stress of its own, and the Newton steps that led there."""

    point: DualPoint
    ridge: Tables
    stress: Tables
    steps: int

    @property
    def amplitude(self) -> Tables:
        """Factor of the columns."""
        return (self.stress * self.ridge).sqrt()

    def with_columns(self, count: int) -> Solved:
        """The same weights with so many columns beside the kernel's features, of the least stress."""
        slope = torch.cat([self.point.slope, self.ridge.new_zeros(len(self.ridge), count)], 1)
        return replace(self, point=DualPoint(slope, self.point.level))


#: What the rows of an arm add up to at a point of the dual, given the amplitude of the columns, or None for the kernel
#: alone, and the ridge.
SumsAt = Callable[[DualPoint, Tables | None, Tables], Sums]


def least_size(count: Tables) -> Tables:
    """:func:`dowhy_cina.mathematics.concentration.least_size` of every table."""
    return torch.minimum(LEAST_FACTOR * count ** (1 / 3), LARGEST_SHARE * count)


def solve_with_means(target: MeansTarget, ridge: Tables, count: Tables, sums_at: SumsAt) -> Solved:
    """Solve the problem above.

    Parameters
    ----------
    target : MeansTarget
    ridge, count : Tensor, shape (B,)
        Ridge, and the arm's sum of sampling weights.
    sums_at : callable
    """

    def kernel_alone(found: Solved, log_multiple: Tables, tolerance: float) -> tuple[Solved, Tables]:
        new = ridge * log_multiple.exp()
        factor = new / found.ridge
        start = DualPoint(found.point.slope * factor[:, None], found.point.level * factor)
        point, sums, steps = solve_dual_of_target(
            target.features, new, count, lambda at: sums_at(at, None, new), start, tolerance
        )
        return Solved(point, new, found.stress, found.steps + steps), effective_size(sums, new)

    def with_columns(found: Solved, log_stress: Tables, tolerance: float) -> tuple[Solved, Tables]:
        moved, columns = replace(found, stress=log_stress.exp()), target.features.shape[1]
        slope = found.point.slope.clone()
        slope[:, columns:] *= (found.amplitude / moved.amplitude)[:, None]
        point, sums, steps = solve_dual_of_target(
            target.joined(moved.amplitude),
            found.ridge,
            count,
            lambda at: sums_at(at, moved.amplitude, found.ridge),
            DualPoint(slope, found.point.level),
            tolerance,
        )
        return replace(moved, point=point, steps=found.steps + steps), effective_size(sums, found.ridge)

    zero = torch.zeros_like(ridge)
    least, most = zero + math.log(LEAST_STRESS), zero + math.log(STRESS)
    start = Solved(DualPoint.start(ridge, count, target.features.shape[1]), ridge, least.exp(), 0)
    floor = least_size(count)
    found, size = _least_concentrated(kernel_alone, start, floor, zero, zero + math.log(LARGEST_RIDGE))
    floor = torch.maximum(floor, KEPT_SIZE * size)
    return _least_concentrated(with_columns, found.with_columns(target.columns.shape[1]), floor, most, least)[0]


def _least_concentrated(
    solve: Callable[[Solved, Tables, float], tuple[Solved, Tables]],
    start: Solved,
    floor: Tables,
    wanted: Tables,
    safe: Tables,
) -> tuple[Solved, Tables]:
    """Solution for the parameter nearest to the wanted one, on the way to the safe one, whose size is the floor.

    ``solve`` takes the solution so far, the parameter (B,) and a tolerance, and gives the solution and its effective
    sample size. The search interpolates the size's logarithm between the ends of a bracket, and so does its last step,
    which hits the floor: the solution has no jumps. A table's search does not depend on its company in the batch.
    """
    found, size = solve(start, wanted, TOLERANCE)
    open_ = short = size < floor
    if not bool(short.any()):
        return found, size
    near, far, tried = wanted, torch.where(short, safe, wanted), wanted
    size_near, size_far = size, torch.full_like(size, torch.inf)
    for _ in range(TRIALS):
        share = torch.log(floor / size_near) / torch.log(size_far / size_near)
        share = torch.where(torch.isfinite(size_far), share, 0.5).clamp(0.1, 0.9)
        tried = torch.where(open_, near + share * (far - near), tried)
        found, size = solve(found, tried, ROUGH)
        below, above = open_ & (size < floor), open_ & (size >= floor)
        near, far = torch.where(below, tried, near), torch.where(above, tried, far)
        size_near, size_far = torch.where(below, size, size_near), torch.where(above, size, size_far)
        open_ = open_ & (torch.log(size / floor).abs() > NEAR)
        if not bool(open_.any()):
            break
    share = torch.log(floor / size_near) / torch.log(size_far / size_near)
    # The safe end, where nothing before it was enough, is the best there is.
    last = torch.where(torch.isfinite(size_far), near + share * (far - near), far)
    return solve(found, torch.where(short, last, wanted), TOLERANCE)


def effective_size(sums: Sums, ridge: Tables) -> Tables:
    """``(sum a)^2 / sum a^2 / r`` of the weights at a point of the dual."""
    return sums.weights.square() * ridge / sums.quadratic.clamp_min(torch.finfo(ridge.dtype).tiny)


def balance_with_means(
    problem: ArmProblem, columns: Float[Tensor, "B N L"], goal: Float[Tensor, "B L"]
) -> tuple[ArmProblem, Rows, int]:
    """Weights of an arm whose features balance a target with the means of columns, the joined problem, and the steps.

    Parameters
    ----------
    problem : ArmProblem
        Of the kernel's features.
    columns : Tensor, shape (B, N, L)
        In units of their spread.
    goal : Tensor, shape (B, L)
        Their means in the target.

    Returns
    -------
    ArmProblem, Tensor of shape (B, N), int
    """
    target = MeansTarget(problem.target, goal)

    def posed(amplitude: Tables | None, ridge: Tables) -> ArmProblem:
        if amplitude is None:
            return replace(problem, ridge=ridge)
        features = JoinedFeatures(problem.features, columns, amplitude)
        return ArmProblem(features, problem.arm, target.joined(amplitude), ridge)

    with torch.no_grad():
        found = solve_with_means(
            target, problem.ridge, problem.arm.sum(1), lambda at, amplitude, ridge: at.sums(posed(amplitude, ridge))
        )
    # The factor of the ridge and the stress are taken as given by gradients.
    ridge = problem.ridge * (found.ridge / problem.ridge.detach())
    final = posed((found.stress * ridge).sqrt(), ridge)
    return final, weights_at(final, found.point), found.steps
