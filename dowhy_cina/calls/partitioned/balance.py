"""Target balancing over partitions: weights of both arms, and what is known of them.

Letters: n rows of a partition. The two arms are the first axis of what belongs to them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.calls.partitioned.arms import PartitionedArms, of_both, target_sums
from dowhy_cina.calls.partitioned.columns import EncodedPart
from dowhy_cina.calls.partitioned.outcomes import is_empty
from dowhy_cina.calls.partitioned.partitions import Partitions, Sums
from dowhy_cina.calls.partitioned.states import Fitted
from dowhy_cina.mathematics.dual import DualPoint
from dowhy_cina.mathematics.means import MeansTarget, Solution, solve_with_means

Rows = Float[Tensor, "1 n"]


@dataclass(frozen=True)
class Balanced:
    """Weights of both arms, which are the state ``weights``, and what is known of their problem.

    Attributes
    ----------
    target : MeansTarget
        Of the kernel's features and of the columns.
    solution : Solution
        Of both arms.
    """

    target: MeansTarget
    solution: Solution

    @property
    def shifts(self) -> Float[Tensor, " 2"]:
        """Worst-case shifts per unit norm after weighting and before, summed over the arms."""
        goal = self.target.features
        sizes: Tensor = torch.linalg.vector_norm(self.solution.means[..., : goal.shape[1]] - goal, dim=2)
        return sizes.sum(0)


def weigh(part: EncodedPart, margins: Rows, totals: Float[Tensor, " 2"]) -> tuple[Rows, Sums]:
    """Weights of a partition's rows, given their margins at the solution and what those of each arm sum to."""
    return margins if is_empty(part) else margins.clamp_min(0) / totals[part.arm], {}


def solve(
    partitions: Partitions,
    fitted: Fitted,
    counts: tuple[float, float],
    share: tuple[float, float],
    ridge: Tensor,
    given: int,
) -> Balanced:
    """Balance both arms to the target, as :func:`~dowhy_cina.mathematics.means.balance_with_means` does.

    Parameters
    ----------
    counts : tuple of float
        Rows of the control and of the treated arm.
    share : tuple of float
        Weight of each row of an arm in the target.
    ridge : Tensor, shape (1,)
    given : int
        Columns before those that a search has added.

    Returns
    -------
    Balanced
        The weights are the state ``weights``.
    """
    names = ["encoded", "state"]
    moments = of_both(partitions.run(target_sums, names, "reference", fitted=fitted), "moments")
    assert fitted.balance_kernel is not None
    size = fitted.balance_kernel.landmarks.shape[1]
    mean = share[0] * moments.carried[:1] + share[1] * moments.carried[1:]
    target = MeansTarget(mean[:, :size], mean[:, size:], given)
    both, rows = ridge.repeat(2), ridge.new_tensor(counts)
    arms = PartitionedArms(partitions, fitted, moments, DualPoint.start(both, rows, mean.shape[1]))
    solved = solve_with_means(target.repeated(2), both, rows, arms.evaluate, arms.settle)
    sums = arms.look(solved.at.point).sums
    partitions.run(weigh, ["encoded", "margins"], "weights", totals=sums.margins)
    partitions.forget("reference", "margins")
    return Balanced(target, replace(solved.solution, sums=sums))
