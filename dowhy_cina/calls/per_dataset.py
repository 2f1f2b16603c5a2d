"""The paper's Algorithm 1: one table, its own values, solved to tolerance; no checkpoint and no outcome model.

Letters: N rows.
"""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning

from dowhy_cina.errors import CinaError, InputError, InputTypeError
from dowhy_cina.estimating.weighting import EXACT_GAP, EXACT_REGULARISATION, solve_table
from dowhy_cina.mathematics.balancing import values_from_alpha, weights_from_alpha
from dowhy_cina.mathematics.kernels import gaussian_gram, median_bandwidth, within_reach
from dowhy_cina.mathematics.scaling import Array, usual_arithmetic
from dowhy_cina.mathematics.solvers import check_rows
from dowhy_cina.tables import Preprocessor, canonical_row_key, check_outcome, encode_treatment

#: Sizes of settings whose squares are numbers.
SMALLEST, LARGEST = 1e-100, 1e100


class CinaPerDataset(BaseEstimator):  # type: ignore[misc]
    """Balancing weights of one table from a self-attention layer whose values are solved for, arm against arm.

    The keys are the standardised covariates, the attention kernel is Gaussian, and the values minimise the hinge loss
    of Eq. 6. Such values are dual variables of covariate balancing, which is how they are found. The same weights stand
    behind ``estimate_effect(..., checkpoint="exact", augmentation="none")``.

    Parameters
    ----------
    regularisation : float
        Lambda; the kernel's diagonal is one. The smaller, the better the balance and the fewer rows carry weight.
    bandwidth : float or "median"
        Of the Gaussian kernel, in standard deviations of a covariate; by default the median distance of two rows.
    tolerance : float
        Relative duality gap to reach.

    Attributes
    ----------
    weights_ : ndarray, shape (N,)
        Not negative, summing to one in each arm.
    alpha_ : ndarray, shape (N,)
        Dual variables, in [0, 1].
    values_ : ndarray, shape (N,)
        Values of the attention layer, normalised over queries.
    intercept_ : float
        Of the margin.
    bandwidth_ : float
    duality_gap_ : float
        Relative gap that was reached.
    n_iter_ : int
        Steps of the solver.

    References
    ----------
    Zhang et al. (2024), arXiv:2310.00809, Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from dowhy_cina import CinaPerDataset
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 2))
    >>> treatment = (x[:, 0] + rng.normal(size=200) > 0).astype(int)
    >>> balanced = CinaPerDataset().fit(x, treatment)
    >>> bool(balanced.duality_gap_ <= 1e-6)
    True
    """

    weights_: Array
    alpha_: Array
    values_: Array
    intercept_: float
    bandwidth_: float
    duality_gap_: float
    n_iter_: int

    def __init__(
        self,
        regularisation: float = EXACT_REGULARISATION,
        bandwidth: float | str = "median",
        tolerance: float = EXACT_GAP,
    ) -> None:
        self.regularisation = regularisation
        self.bandwidth = bandwidth
        self.tolerance = tolerance

    @usual_arithmetic()
    def fit(self, X: Any, treatment: Any) -> CinaPerDataset:
        """Solve the balancing problem of a table.

        Parameters
        ----------
        X : ndarray of shape (N, D) or DataFrame
            Covariates: numbers, booleans, strings, categories and missing values.
        treatment : array-like, shape (N,)
            Two levels, 0 and 1 or as sure to be told: the larger number is treated.

        Returns
        -------
        CinaPerDataset
            Itself.

        Raises
        ------
        InputError, InputTypeError
            If a setting or the table cannot be used; at most 5,000 rows are taken.

        Warns
        -----
        ConvergenceWarning
            If the solver stopped before the tolerance, with the gap that it reached.
        """
        self._check_settings()
        try:
            arm, _, _ = encode_treatment(treatment)
        except InputError as error:
            raise InputError(f"{error} CinaPerDataset.fit takes 0 and 1, and no names of values.") from error
        check_rows(len(arm), "CinaPerDataset")
        covariates = Preprocessor().fit_transform(X)
        if len(covariates) != len(arm):
            raise InputError(
                f"expected covariates and treatment of the same length, got {len(covariates)} and {len(arm)} rows."
            )
        # Solved in an order that depends on the rows' content alone, so that no permutation changes the answer.
        order = np.lexsort((arm, canonical_row_key(covariates)))
        columns = torch.from_numpy(covariates[order] if covariates.shape[1] else np.zeros((len(arm), 1)))[None]
        keys = within_reach(columns)
        signs = torch.from_numpy(2 * arm[order] - 1)[None]
        regularisation = torch.tensor([self.regularisation], dtype=torch.float64, device="cpu")
        self.bandwidth_ = median_bandwidth(keys[0]) if self.bandwidth == "median" else float(self.bandwidth)
        gram = gaussian_gram(keys, self.bandwidth_)
        solution = solve_table(keys, gram, signs, regularisation, self.tolerance)
        values = values_from_alpha(solution.alpha, signs, gram.sum(1), regularisation)
        rank = np.argsort(order)
        self.alpha_, self.values_, self.weights_ = (
            part[0].numpy()[rank] for part in (solution.alpha, values, weights_from_alpha(solution.alpha, signs))
        )
        self.intercept_, self.duality_gap_ = float(solution.intercept), float(solution.gap)
        self.n_iter_, self._signs = solution.iterations, 2 * arm - 1
        if not solution.converged:
            warnings.warn(
                f"CinaPerDataset stopped at the relative duality gap {self.duality_gap_:.2g}, above the tolerance "
                f"{self.tolerance:g}; raise the tolerance or the regularisation.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def effect(self, outcome: Any) -> float:
        """Weighted mean outcome of the treated minus that of the controls: the paper's estimate of the ATE.

        Parameters
        ----------
        outcome : array-like, shape (N,)
            Finite numbers, aligned with the rows of the fit.

        Raises
        ------
        CinaError
            If nothing was fitted.
        InputError, InputTypeError
            If the outcome does not fit the table.
        """
        if not hasattr(self, "weights_"):
            raise CinaError("CinaPerDataset: not fitted yet. Call fit(X, treatment) first.")
        return float((self.weights_ * self._signs) @ check_outcome(outcome, len(self.weights_)))

    def _check_settings(self) -> None:
        for name in ("regularisation", "tolerance"):
            if not isinstance(getattr(self, name), Real):
                raise InputTypeError(f"{name} must be a number, got {getattr(self, name)!r}.")
        if not SMALLEST <= float(self.regularisation) <= LARGEST:
            expected = f"between {SMALLEST:g} and {LARGEST:g}"
            raise InputError(f"regularisation must be {expected}, got {self.regularisation!r}; try 0.1.")
        if not 0 < self.tolerance < 1:
            raise InputError(f"tolerance must be a relative duality gap in (0, 1), got {self.tolerance!r}; try 1e-6.")
        usable = isinstance(self.bandwidth, Real) and SMALLEST <= float(self.bandwidth) <= LARGEST
        if not usable and not (isinstance(self.bandwidth, str) and self.bandwidth == "median"):
            expected = f"'median' or a number between {SMALLEST:g} and {LARGEST:g}"
            raise InputError(f"bandwidth must be {expected}, got {self.bandwidth!r}.")
