"""Calibration of conditional effects: rows of simulated samples whose effects are known, by Student's likelihood.

Letters: B samples, n rows of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.state import ZeroShot, errors_at
from dowhy_cina.model.variance import ConditionalHead, RowError

#: Rows of a sample whose effects are compared with the truth: their errors are far from independent.
ROWS_OF_SAMPLE = 48
#: Share of the rows whose 95 % intervals must hold the effect. Simulated surfaces are rougher than those of tables with
#: measured covariates, where the same intervals hold more: both shares should lie near 95 %.
ROWS_COVERAGE, LEVEL = 0.935, 0.95
#: Degrees of freedom of the likelihood: with a normal one the few worst samples would decide the fit, with the four or
#: five that fit best they would hardly count.
FREEDOM = 10.0


@dataclass(frozen=True)
class RowErrors:
    """Errors of conditional effects, in sd of the outcome, and what each arm's regression says of them.

    Attributes
    ----------
    error : Tensor, shape (B, n)
    arms : tuple of RowError
        Control, treated.
    """

    error: Float[Tensor, "B n"]
    arms: tuple[RowError, RowError]

    def coverage(self, model: CinaModel) -> float:
        """Share of the rows whose 95 % intervals hold the effect."""
        return float((self.multiple(model) < 1).double().mean())

    def multiple(self, model: CinaModel) -> Float[Tensor, "B n"]:
        """Error in half widths of the interval."""
        with torch.no_grad():
            half = float(stats.norm.ppf(0.5 + LEVEL / 2)) * model.conditional(self.arms).sqrt()
        multiple: Tensor = self.error.abs() / half
        return multiple


@torch.no_grad()
def row_errors(
    model: CinaModel,
    state: ZeroShot,
    covariates: Float[Tensor, "1 N D"],
    effects: Float[Tensor, " N"],
    rng: np.random.Generator,
) -> RowErrors:
    """Errors at some rows of one sample, drawn with replacement, whose effects are known in the batch's unit."""
    chosen = torch.from_numpy(rng.integers(0, len(effects), ROWS_OF_SAMPLE))
    rows = model.foreign_rows(state, covariates[:, chosen])
    return RowErrors(rows.means[1] - rows.means[0] - effects[chosen], errors_at(state, rows))


def fit_conditional(model: CinaModel, rows: RowErrors, steps: int = 300) -> None:
    """Fit the conditional head by maximum likelihood, then scale it to :data:`ROWS_COVERAGE`; changes it in place.

    It begins with an uncalibrated head, whatever the model has: what the samples do not say stays near that.
    """
    model.conditional.load_state_dict(ConditionalHead().state_dict())
    coefficients = model.conditional.coefficients
    coefficients.requires_grad_(True)
    optimiser = torch.optim.Adam([coefficients], lr=0.05)
    for _ in range(steps):
        law = torch.distributions.StudentT(FREEDOM, scale=model.conditional(rows.arms).sqrt())
        likelihood = law.log_prob(rows.error).mean()  # type: ignore[no-untyped-call]
        prior = coefficients.square().sum()
        optimiser.zero_grad()
        (1e-4 * prior - likelihood).backward()
        optimiser.step()
    coefficients.requires_grad_(False)
    coefficients.data[0] += 2 * float(torch.log(rows.multiple(model).flatten().quantile(ROWS_COVERAGE)))
