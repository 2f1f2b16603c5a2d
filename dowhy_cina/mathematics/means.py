"""Target balancing of a kernel's features with the means of columns beside them, as far as few rows can carry that.

An arm's weights minimise ``|phi' a - phi*|^2 / 2 + amplitude^2 |z' a - z*|^2 / 2 + ridge sum_i a_i^2 / (2 r_i)``: the
problem of :mod:`dowhy_cina.mathematics.newton` for the kernel's features phi and, beside them, the columns z times an
amplitude. Its square is the ridge times a *stress*. At a stress of one, a difference of d standard deviations left in a
column costs as much as an effective sample size of ``1 / d^2`` rows: what is right where a column moves the outcome by
its noise. The stress is one unless the weights would then be worth less than half of the rows that the kernel's
balance alone leaves; it is then the largest at which they are worth as many.

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
from dowhy_cina.mathematics.newton import ArmProblem, DualPoint, Sums, solve_dual_of_target, weights_at

#: Stress on the columns' means, and the least that is tried.
STRESS, LEAST_STRESS = 1.0, 1e-4
#: Share of the effective sample size under the kernel's balance alone that the weights keep.
KEPT_SIZE = 0.5
#: Halvings of the range of the stress' logarithm.
HALVINGS = 6


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
    """Solution of the dual of every table, the stress it is for, and the Newton steps that led there."""

    point: DualPoint
    stress: Tables
    steps: int

    def amplitude(self, ridge: Tables) -> Tables:
        """Factor of the columns."""
        return (self.stress * ridge).sqrt()


def solve_with_means(
    target: MeansTarget, ridge: Tables, count: Tables, sums_at: Callable[[DualPoint, Tables | None], Sums]
) -> Solved:
    """Solve the problem above, given what the rows of an arm add up to at a point of the dual.

    Parameters
    ----------
    target : MeansTarget
    ridge, count : Tensor, shape (B,)
        Ridge, and the arm's sum of sampling weights.
    sums_at : callable
        Takes a point and the amplitude (B,) of the columns; of the kernel's features alone where that is None.
    """
    point, sums, steps = solve_dual_of_target(target.features, ridge, count, lambda at: sums_at(at, None))
    floor = KEPT_SIZE * effective_size(sums, ridge)
    least, most = torch.full_like(ridge, math.log(LEAST_STRESS)), torch.full_like(ridge, math.log(STRESS))
    found = Solved(
        replace(point, slope=torch.cat([point.slope, torch.zeros_like(target.columns)], 1)), most.exp(), steps
    )
    found, sums = _moved(found, most.exp(), target, ridge, count, sums_at)
    short = effective_size(sums, ridge) < floor
    if not bool(short.any()):
        return found
    for _ in range(HALVINGS):
        middle = (least + most) / 2
        found, sums = _moved(found, torch.where(short, middle.exp(), found.stress), target, ridge, count, sums_at)
        enough = effective_size(sums, ridge) >= floor
        least, most = torch.where(enough, middle, least), torch.where(enough, most, middle)
    return _moved(found, torch.where(short, least.exp(), found.stress), target, ridge, count, sums_at)[0]


def _moved(
    found: Solved,
    stress: Tables,
    target: MeansTarget,
    ridge: Tables,
    count: Tables,
    sums_at: Callable[[DualPoint, Tables | None], Sums],
) -> tuple[Solved, Sums]:
    """Solution for another stress, from the same weights on."""
    amplitude, size = (stress * ridge).sqrt(), target.features.shape[1]
    slope = found.point.slope.clone()
    slope[:, size:] *= (found.amplitude(ridge) / amplitude)[:, None]
    start = DualPoint(slope, found.point.level)
    goal = target.joined(amplitude)
    point, sums, steps = solve_dual_of_target(goal, ridge, count, lambda at: sums_at(at, amplitude), start)
    return Solved(point, stress, found.steps + steps), sums


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

    def joined(amplitude: Tables) -> ArmProblem:
        features = JoinedFeatures(problem.features, columns, amplitude)
        return replace(problem, features=features, target=target.joined(amplitude))

    def sums_at(point: DualPoint, amplitude: Tables | None) -> Sums:
        return point.sums(problem if amplitude is None else joined(amplitude))

    with torch.no_grad():
        found = solve_with_means(target, problem.ridge, problem.arm.sum(1), sums_at)
    final = joined(found.amplitude(problem.ridge))
    return final, weights_at(final, found.point), found.steps
