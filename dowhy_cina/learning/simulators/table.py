"""The simulated table and its true quantities.

Letters: N rows, D covariates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dowhy_cina.errors import InputError, InputTypeError, came, whole_number

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
#: Rows and columns of the smallest table that is simulated.
FEWEST_ROWS, FEWEST_COLUMNS = 20, 1


@dataclass(frozen=True)
class SimulatedTable:
    """One observational table whose causal truth is known.

    Attributes
    ----------
    covariates : (N, D) array
        Covariates in raw units.
    treatment : (N,) array
        0 for control, 1 for treated.
    outcome : (N,) array
        Observed outcome.
    mu0, mu1 : (N,) array
        Exact conditional means of the outcome under control and under treatment.
    propensity : (N,) array
        Probability of treatment given the covariates.
    noise_sd : (N,) array
        Exact conditional standard deviation of the observed outcome given covariates and treatment.
    family : str
        Name of the simulator that drew the table.
    """

    covariates: FloatArray
    treatment: FloatArray
    outcome: FloatArray
    mu0: FloatArray
    mu1: FloatArray
    propensity: FloatArray
    noise_sd: FloatArray
    family: str

    @property
    def effect(self) -> float:
        """Average effect over the rows of the table (sample ATE), in units of the outcome."""
        return float(np.mean(self.mu1 - self.mu0))

    @property
    def effect_treated(self) -> float:
        """Average effect over the treated rows (sample ATT), in units of the outcome."""
        return float(np.mean((self.mu1 - self.mu0)[self.treatment == 1]))

    @property
    def oracle_label(self) -> float:
        """Augmented inverse-propensity estimate with the true nuisances, in units of the outcome.

        ``effect + mean((T / e - (1 - T) / (1 - e)) * (Y - mu_T))``: the best regular estimator makes this very error,
        so as a training label it leaves only the error that a model can learn to avoid. It is unbiased for ``effect``
        given the covariates.
        """
        residual = self.outcome - np.where(self.treatment == 1, self.mu1, self.mu0)
        weight = self.treatment / self.propensity - (1 - self.treatment) / (1 - self.propensity)
        return self.effect + float(np.mean(weight * residual))


Simulator = Callable[[np.random.Generator, int, int], SimulatedTable]


def check_shape(rows: Any, columns: Any) -> tuple[int, int]:
    """Return the shape of a simulated table as ints.

    Raises
    ------
    InputError, InputTypeError
        If it is no whole number of rows and columns, or too few.
    """
    return whole_number(rows, "rows", FEWEST_ROWS), whole_number(columns, "columns", FEWEST_COLUMNS)


def as_generator(random_state: Any) -> np.random.Generator:
    """Return a generator itself, or one of a seed; None stands for a seed of the system's.

    Raises
    ------
    InputError
        If a seed is negative.
    InputTypeError
        If it is nothing that numpy makes a generator of.
    """
    expected = "rng must be a numpy.random.Generator or a seed, a whole number from 0 on"
    try:
        return np.random.default_rng(random_state)
    except TypeError as error:
        raise InputTypeError(f"{expected}, got {came(random_state)}; numpy.random.default_rng makes one.") from error
    except ValueError as error:
        raise InputError(f"{expected}, got {came(random_state)} ({error}).") from error
