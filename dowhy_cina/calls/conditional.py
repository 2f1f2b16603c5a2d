"""Conditional effects: the modelled effect at any covariate rows, with its posterior standard deviation.

Letters: n rows, M features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.mathematics.kernels import RowFeatures
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.state import OutcomeModel, ZeroShot
from dowhy_cina.tables import Preprocessor

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ConditionalEffects:
    """The two outcome regressions of an analysed table, ready for new rows; the table's own rows are not kept.

    Attributes
    ----------
    model : CinaModel
    state : ZeroShot
        Of one table.
    preprocessor : Preprocessor
    scale : float
        Standard deviation of the outcome, in its unit.
    columns : int
        Encoded columns; without any the effect is the same everywhere.
    """

    model: CinaModel
    state: ZeroShot
    preprocessor: Preprocessor
    scale: float
    columns: int

    @torch.no_grad()
    def at(self, covariates: Any) -> tuple[Array, Array]:
        """Effects and standard errors at covariate rows, in the outcome's unit.

        The variance is that of the Gaussian process whose mean the ridge regression is, arm by arm: it grows towards
        the prior's where an arm has no rows.

        Parameters
        ----------
        covariates : DataFrame or ndarray of n rows
            With the covariates of the table.

        Returns
        -------
        effects, standard_errors : ndarray, shape (n,)

        Raises
        ------
        InputError, InputTypeError
            If the rows do not have the table's covariates, or there is none.
        """
        encoded = self.preprocessor.transform(covariates)
        keys = torch.from_numpy(encoded if self.columns else np.zeros((len(encoded), 1)))[None]
        rows = self.model.foreign_rows(self.state, keys.to(self.state.propensity.device))
        effects = rows.means[1] - rows.means[0]
        variance = sum(
            posterior_variance(model, features)
            for model, features in zip(self.state.outcomes, rows.outcome_features, strict=True)
        )
        return self.scale * effects[0].cpu().numpy(), self.scale * torch.as_tensor(variance).sqrt()[0].cpu().numpy()


def posterior_variance(model: OutcomeModel, features: RowFeatures) -> Float[Tensor, "B n"]:
    """Variance of the regression function at new rows, with the kernel scaled to the data's most likely process.

    ``s^2 [kappa(x, x) - |phi|^2 + penalty (phi - centre)' (G + penalty)^-1 (phi - centre)] + s^2 penalty / n``.

    References
    ----------
    Rasmussen and Williams (2006), Gaussian processes for machine learning, Eq. 2.26 and 8.27.
    """
    fit, parts = model.fit, []
    centre = torch.linalg.solve_triangular(fit.factor, fit.centre[..., None], upper=False)
    for _, block in features.blocks():
        half = torch.linalg.solve_triangular(fit.factor, block.transpose(-1, -2), upper=False) - centre
        unseen = (model.kernel.diagonal[:, None] - block.square().sum(2)).clamp_min(0)
        parts.append(unseen + fit.penalty[:, None] * (half.square().sum(1) + 1 / fit.count[:, None]))
    return fit.signal_variance[:, None] * torch.cat(parts, 1)
