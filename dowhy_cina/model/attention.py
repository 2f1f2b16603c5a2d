"""The CInA layer: self-attention whose value vectors are the dual variables of optimal covariate balancing.

Letters: B tables, N rows, M features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dowhy_cina.mathematics.balancing import (
    DEFAULT_CONVENTION,
    Convention,
    Kernel,
    alpha_from_values,
    apply,
    combine,
    key_normaliser,
    make_feasible,
    relative_duality_gap,
    values_from_alpha,
    weights_from_alpha,
)
from dowhy_cina.mathematics.splitting import (
    DUAL_STEP,
    RELAXATION,
    Splitting,
    dual_program,
)


def cina_attention(
    features: Float[Tensor, "B N M"],
    values: Float[Tensor, "B N"],
    normaliser: Float[Tensor, "B N"],
    convention: Convention = DEFAULT_CONVENTION,
) -> Float[Tensor, "B N"]:
    """Attention with the kernel given by its features.

    ``f_i = sum_j kappa_ij v_j / h_j`` when it is normalised over queries, ``sum_j kappa_ij v_j / h_i`` over rows.
    """
    if convention is Convention.ROWS:
        return apply(features, combine(features, values)) / normaliser
    return apply(features, combine(features, values / normaliser))


@dataclass(frozen=True)
class BalancingValues:
    """Zero-shot values of the CInA layer and what they carry."""

    values: Float[Tensor, "B N"]
    normaliser: Float[Tensor, "B N"]
    alpha: Float[Tensor, "B N"]
    weights: Float[Tensor, "B N"]
    duality_gap: Float[Tensor, " B"]
    solver: Splitting


class CinaLayer(nn.Module):
    """Layer that balances arm against arm: values from unrolled splitting steps.

    Each step is an attention product followed by a clip to the dual's box.
    """

    def __init__(self, dual_layers: int) -> None:
        super().__init__()
        self.dual_layers = dual_layers

    def forward(
        self,
        features: Kernel,
        signs: Float[Tensor, "B N"],
        regularisation: Float[Tensor, " B"],
    ) -> BalancingValues:
        """Values that balance arm against arm (Eq. 3 and 6), with their certificate."""
        program = dual_program(features, signs, regularisation)
        solver = Splitting(program, torch.full_like(regularisation, DUAL_STEP))
        alpha = make_feasible(solver.run(self.dual_layers, RELAXATION), signs)
        normaliser = key_normaliser(features)
        values = values_from_alpha(alpha, signs, normaliser, regularisation)
        carried = alpha_from_values(values, signs, normaliser, regularisation)
        gap = relative_duality_gap(features, carried, signs, regularisation)
        return BalancingValues(values, normaliser, carried, weights_from_alpha(carried, signs), gap, solver)
