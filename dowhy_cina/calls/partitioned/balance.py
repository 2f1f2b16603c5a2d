"""Target balancing over partitions: weights of both arms, and what is known of them.

Letters: n rows of a partition, M landmarks, L columns, K = M + L; the two arms are the first axis of what belongs to
them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.calls.partitioned.arms import PartitionedArms, of_both, target_sums
from dowhy_cina.calls.partitioned.columns import EncodedPart
from dowhy_cina.calls.partitioned.outcomes import is_empty
from dowhy_cina.calls.partitioned.partitions import Extremes, Partitions, Sums
from dowhy_cina.calls.partitioned.states import Fitted
from dowhy_cina.mathematics.balancing import (
    JoinedFeatures,
    TargetCertificate,
    gap_from_sums,
    lowest_imbalance,
    objective_from_sums,
)
from dowhy_cina.mathematics.dual import DualPoint
from dowhy_cina.mathematics.means import MeansTarget, solve_with_means

Rows = Float[Tensor, "1 n"]


@dataclass(frozen=True)
class Balanced:
    """Weights of both arms, which are the state ``weights``, and what is known of their problem.

    Attributes
    ----------
    target : MeansTarget
        Of the kernel's features and of the columns.
    means, uniform : Tensor, shape (2, M)
        Of the kernel's features under the weights and under uniform ones.
    ridge : Tensor, shape (2,)
    slope : Tensor, shape (2, K)
        Gradient in the means, of features and columns as they are.
    inner, reference, size : Tensor, shape (2,)
        Mean of the rows' gradients under the weights, the objective of uniform ones, and the imbalance.
    """

    target: MeansTarget
    means: Float[Tensor, "2 M"]
    uniform: Float[Tensor, "2 M"]
    ridge: Float[Tensor, " 2"]
    slope: Float[Tensor, "2 K"]
    inner: Float[Tensor, " 2"]
    reference: Float[Tensor, " 2"]
    size: Float[Tensor, " 2"]

    def gradients(self, part: EncodedPart, features: JoinedFeatures, weights: Rows) -> Sums:
        """Extremes of the gradient of each arm's objective in the weights of its rows."""
        arm = part.arm
        return {
            f"gradient{arm}": Extremes(*(features.times(self.slope[arm][None]) + self.ridge[arm] * weights).aminmax())
        }

    def certificate(self, gradients: Sums) -> TargetCertificate:
        """Gap, imbalance and its lowest of both arms, from the sums of :meth:`gradients`."""
        smallest = torch.stack([gradients[f"gradient{arm}"].lower for arm in (0, 1)])
        gap = gap_from_sums(self.inner, smallest, self.reference)
        return TargetCertificate(gap, self.size, lowest_imbalance(self.size, gap * self.reference))


def weigh(part: EncodedPart, margins: Rows, totals: Float[Tensor, " 2"]) -> tuple[Rows, Sums]:
    """Weights of a partition's rows, given their margins at the solution and what those of each arm sum to."""
    return margins if is_empty(part) else margins.clamp_min(0) / totals[part.arm], {}


def solve(
    partitions: Partitions, fitted: Fitted, counts: tuple[float, float], share: tuple[float, float], ridge: Tensor
) -> Balanced:
    """Balance both arms to the target, as :func:`~dowhy_cina.mathematics.means.balance_with_means` does.

    Parameters
    ----------
    counts : tuple of float
        Rows of the control and of the treated arm.
    share : tuple of float
        Weight of each row of an arm in the target.
    ridge : Tensor, shape (1,)

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
    target = MeansTarget(mean[:, :size].repeat(2, 1), mean[:, size:].repeat(2, 1))
    both, rows = ridge.repeat(2), ridge.new_tensor(counts)
    arms = PartitionedArms(partitions, fitted, moments, DualPoint.start(both, rows, mean.shape[1]))
    solved = solve_with_means(target, both, rows, arms.evaluate, arms.settle)
    at, ridge = arms.look(solved.at.point).sums, solved.ridge
    partitions.run(weigh, ["encoded", "margins"], "weights", totals=at.margins)
    partitions.forget("reference", "margins")
    # The columns have their amplitude as a factor in the problem, and none in its rows.
    scale, goal = solved.dual.scale, target.joined(solved.amplitude)
    means, uniform = at.moment / at.margins[:, None], moments.carried / moments.carrying[:, None]
    slope, before = means * scale - goal, (uniform * scale - goal).norm(dim=1)
    inner = (means * scale * slope).sum(1) + ridge * at.squares / at.margins.square()
    reference = objective_from_sums(before, 1 / moments.carrying, ridge)
    one = MeansTarget(target.features[:1], target.columns[:1])
    pair = means[:, :size], uniform[:, :size]
    return Balanced(one, *pair, ridge, slope * scale, inner, reference, slope.norm(dim=1))
