"""Conditional effects: the modelled effect at any covariate rows, with its posterior standard deviation.

Letters: n rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.state import ZeroShot
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
            fitted.regression.posterior_variance(own)
            for fitted, own in zip(self.state.outcomes, rows.outcome_rows, strict=True)
        )
        return self.scale * effects[0].cpu().numpy(), self.scale * torch.as_tensor(variance).sqrt()[0].cpu().numpy()
