"""A table after its one forward pass: the augmented estimate for any target population and its influence function.

Letters: N rows, D covariates, M target rows.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from dowhy_cina import checkpoint
from dowhy_cina.balancing import imbalance
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.devices import resolve_device
from dowhy_cina.diagnostics import balance_table, effective_sample_size, overlap_warnings
from dowhy_cina.errors import InputError, InputTypeError
from dowhy_cina.nn.model import CinaModel, TableBatch
from dowhy_cina.preprocessing import Preprocessor, canonical_row_key
from dowhy_cina.results import EffectResult, Plan
from dowhy_cina.scaling import standardise
from dowhy_cina.weighting import (
    EXACT_GAP,
    Weighting,
    arm_against_arm,
    arm_against_arm_exact,
    arm_to_target,
    uniform,
    with_kernel_of_all_rows,
)

Array = npt.NDArray[np.float64]

#: Rows that span the kernels; a table with no more is computed exactly.
LANDMARKS = 256
#: Rows from which the pilot learns column scales.
PILOT_ROWS = 4096
TARGETS = ("ate", "att", "atc")


@dataclass(frozen=True)
class _Target:
    """A target population: row weights in canonical order, or foreign covariate rows."""

    name: str
    weights: Array
    foreign: Array | None = None


@dataclass(frozen=True)
class _Moments:
    """What an estimate needs of its target: mean balancing features, the rows' modelled effects and their weights."""

    features: Tensor
    effects: Tensor
    row_weights: Tensor


class Analysis:
    """A preprocessed table after its forward pass; effects for any target population follow without another one.

    Made by :func:`dowhy_cina.inference.analyse`.
    """

    def __init__(
        self,
        covariates: Array,
        readable: pd.DataFrame,
        treatment: Array,
        outcome: Array,
        keep: npt.NDArray[np.bool_],
        preprocessor: Preprocessor,
        options: EstimatorOptions,
    ) -> None:
        self.options = options
        self._preprocessor, self._readable, self._keep = preprocessor, readable, keep
        self.device = resolve_device(options.device)
        self._is_exact = options.checkpoint == "exact"
        self._model = (
            untrained_model(self.device) if self._is_exact else checkpoint.load(options.checkpoint, self.device)
        )
        # Computed in an order that depends on the rows' content alone, so that no permutation changes a digit.
        self._order = np.lexsort((outcome, treatment, canonical_row_key(covariates)))
        self._treatment, self._outcome = treatment[self._order], outcome[self._order]
        (outcomes,), scaling = standardise(self._outcome[None], clip=np.inf)
        self._scale = float(scaling.sd[0] / scaling.unit[0])
        self._covariates = covariates[self._order] if covariates.shape[1] else np.zeros((len(treatment), 1))
        self.columns = covariates.shape[1]
        landmarks = stratified_rows(self._treatment, LANDMARKS)
        self.plan = Plan(
            "exact" if len(landmarks) == len(treatment) else "landmarks",
            len(landmarks),
            len(treatment),
            self.columns,
            str(self.device),
            "float64",
        )
        self._table = TableBatch(
            self._tensor(self._covariates),
            self._tensor(self._treatment),
            self._tensor(outcomes),
            torch.from_numpy(landmarks).to(self.device)[None],
            torch.from_numpy(stratified_rows(self._treatment, PILOT_ROWS)).to(self.device)[None],
        )
        with torch.no_grad():
            self._state = self._model.forward(self._table)
            if self._is_exact:
                self._state, self._bandwidth = with_kernel_of_all_rows(self._table, self._state)
                self.plan = dataclasses.replace(self.plan, route="exact", landmarks=len(treatment))

    def _tensor(self, values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64)).to(self.device)[None]

    def _in_table_order(self, values: Array, fill: float) -> Array:
        """Values per canonical row, put back to the caller's rows; ``fill`` for rows set aside."""
        kept = np.empty(len(self._order))
        kept[self._order] = values
        result = np.full(len(self._keep), fill)
        result[self._keep] = kept
        return result

    @cached_property
    def _arm_against_arm(self) -> Weighting:
        if self._is_exact:
            return arm_against_arm_exact(self._table, self._state, self._bandwidth)
        return arm_against_arm(self._model, self._table, self._state, self.options.refine)

    def effect(self, target_units: Any = "ate", confidence_level: float = 0.95) -> EffectResult:
        """Average effect in a target population.

        Parameters
        ----------
        target_units : {"ate", "att", "atc"}, boolean mask of shape (N,), or DataFrame of M covariate rows
        confidence_level : float
            In (0, 1).

        Returns
        -------
        EffectResult

        Raises
        ------
        InputError, InputTypeError
            If the target is not one of these, or names no row.
        NotImplementedError
            For the overlap population, which this release does not have.
        """
        if not 0 < confidence_level < 1:
            raise InputError(f"confidence_level must be in (0, 1), got {confidence_level!r}; for example 0.95.")
        target = self._target(target_units)
        with torch.no_grad():
            moments = self._moments(target)
            weighting = self._weights(target, moments)
            value, error = self._estimate(target, moments, weighting.weights)
            worst = self._worst_case(moments, weighting.weights)
        return self._result(target, weighting, value, error, confidence_level, worst)

    def _target(self, units: Any) -> _Target:
        n, t = len(self._treatment), self._treatment
        if isinstance(units, str):
            if units == "overlap":
                raise NotImplementedError(
                    "target_units='overlap' is not in this release; expected 'ate', 'att' or 'atc'."
                )
            if units not in TARGETS:
                raise InputError(
                    f"target_units must be 'ate', 'att', 'atc', a boolean mask or a DataFrame, got {units!r}."
                )
            rows = {"ate": np.ones(n), "att": t, "atc": 1 - t}[units]
            return _Target(units, rows / rows.sum())
        if isinstance(units, pd.DataFrame):
            if not len(units):
                raise InputError("target_units: expected at least one covariate row, got an empty DataFrame.")
            foreign = self._preprocessor.transform(units)
            return _Target("rows", np.zeros(n), foreign if self.columns else np.zeros((len(units), 1)))
        mask = np.asarray(units)
        if mask.dtype != np.bool_ or mask.shape != self._keep.shape:
            raise InputTypeError(
                f"target_units: expected 'ate', 'att', 'atc', a DataFrame of covariate rows, or a boolean mask of "
                f"shape {self._keep.shape}, got {type(units).__name__} of dtype {mask.dtype} and shape {mask.shape}."
            )
        rows = mask[self._keep][self._order].astype(np.float64)
        if not rows.any():
            raise InputError("target_units: the mask names no row of the compared arms; expected at least one True.")
        return _Target("rows", rows / rows.sum())

    def _moments(self, target: _Target) -> _Moments:
        state = self._state
        if target.foreign is None:
            q = self._tensor(target.weights)
            return _Moments(torch.einsum("bnm,bn->bm", state.balance_features, q), state.means[1] - state.means[0], q)
        rows = self._tensor(target.foreign)
        _, means, keys = self._model.foreign_rows(state, rows)
        if self._is_exact:
            keys = rows / self._bandwidth
        q = torch.full_like(means[0], 1 / rows.shape[1])
        return _Moments(state.balance_kernel.mean_features(keys, q), means[1] - means[0], q)

    def _weights(self, target: _Target, moments: _Moments) -> Weighting:
        """Balance the arms against each other, or each to the target."""
        table = self._table
        if not self.columns:
            return uniform(table)
        alone = self.options.augmentation == "none"
        if target.name == "ate" and (alone or self._is_exact):
            return self._arm_against_arm
        refine = EXACT_GAP if self._is_exact else self.options.refine
        arms = []
        for name, arm in (("atc", 1 - table.treatment), ("att", table.treatment)):
            if alone and target.name == name:
                arms.append(Weighting(moments.row_weights, 0.0))
            else:
                arms.append(arm_to_target(self._model, self._state, arm, moments.features, refine))
        return Weighting(
            arms[0].weights + arms[1].weights,
            max(arm.gap for arm in arms),
            sum(arm.imbalance for arm in arms),
            sum(arm.lowest_imbalance for arm in arms),
            max(arm.steps for arm in arms),
            all(arm.converged for arm in arms),
        )

    def _estimate(self, target: _Target, moments: _Moments, weights: Tensor) -> tuple[float, float]:
        """Effect and standard error in sd of the outcome."""
        table, state = self._table, self._state
        signed = weights * table.signs
        if self.options.augmentation == "none":
            residuals, loo, plug_in, spread = table.outcome, table.outcome, 0.0, 0.0
        else:
            residuals, loo = state.residuals, state.loo_residuals
            plug_in = float((moments.row_weights * moments.effects).sum())
            spread = float((moments.row_weights * (moments.effects - plug_in)).square().sum())
        value = plug_in + float((signed * residuals).sum())
        arms = [loo - (weights * arm * loo).sum() for arm in (1 - table.treatment, table.treatment)]
        centred = torch.where(table.treatment > 0, arms[1], arms[0])
        scatter = signed * centred
        if target.foreign is None and self.options.augmentation != "none":
            deviation = moments.row_weights * (moments.effects - plug_in)
            return value, float((deviation + scatter).square().sum().sqrt())
        # Foreign rows are taken as a sample of their population, independent of the table.
        return value, math.sqrt(spread + float(scatter.square().sum()))

    def _worst_case(self, moments: _Moments, weights: Tensor) -> tuple[float, float]:
        """Worst-case shift per unit norm, before and after weighting, in sd of the outcome."""
        features, sizes = self._state.balance_features, [0.0, 0.0]
        for arm in (1 - self._table.treatment, self._table.treatment):
            for k, row_weights in enumerate((arm / arm.sum(), weights * arm)):
                sizes[k] += float(imbalance(features, row_weights, moments.features))
        return sizes[0], sizes[1]

    def _result(
        self,
        target: _Target,
        weighting: Weighting,
        value: float,
        error: float,
        level: float,
        worst: tuple[float, float],
    ) -> EffectResult:
        final = weighting.weights[0].cpu().numpy()
        sizes = (int((1 - self._treatment).sum()), int(self._treatment.sum()))
        interval, p_value, standard_error = None, None, None
        if min(sizes) > 1:
            standard_error = error * self._scale
            interval, p_value = normal_inference(value * self._scale, standard_error, level)
        propensity = self._state.propensity[0].cpu().numpy().clip(0, 1)
        readable = self._readable.iloc[self._order]
        balance = balance_table(readable, self._treatment, final)
        notes = overlap_warnings(self._treatment, final, target.weights, propensity, balance)
        if not weighting.converged:
            goal = EXACT_GAP if self._is_exact else self.options.refine
            notes += (
                f"The balancing problem was not solved to the relative duality gap {goal:g}: {weighting.gap:.2g} was "
                f"reached in {weighting.steps} steps. Ask for a larger gap.",
            )
        return EffectResult(
            value=value * self._scale,
            standard_error=standard_error,
            confidence_interval=interval,
            p_value=p_value,
            confidence_level=level,
            target=target.name,
            weights=self._in_table_order(final, 0.0),
            target_weights=self._in_table_order(target.weights, 0.0),
            treatment=self._in_table_order(self._treatment, -1.0).astype(np.int8),
            propensity=self._in_table_order(propensity, np.nan),
            outcome_scale=self._scale,
            balance=balance,
            effective_sample_size=effective_sample_size(final, self._treatment),
            duality_gap=weighting.gap,
            refinement_steps=weighting.steps,
            minimised_bias=weighting.imbalance * self._scale,
            lowest_bias=weighting.lowest_imbalance * self._scale,
            worst_case_bias=worst[1] * self._scale,
            worst_case_bias_before=worst[0] * self._scale,
            plan=self.plan,
            warnings=notes,
            rows_set_aside=int((~self._keep).sum()),
            checkpoint=self.options.checkpoint,
            augmentation=self.options.augmentation,
        )


@lru_cache(maxsize=2)
def untrained_model(device: torch.device) -> CinaModel:
    """Fixed rule without a checkpoint, for the outcome models beside exact weights."""
    with torch.random.fork_rng(devices=[]):
        return CinaModel().double().eval().to(device)


def stratified_rows(treatment: Array, size: int) -> npt.NDArray[np.int64]:
    """First rows of each arm, half from each where both have enough; all rows of a table no longer than ``size``."""
    if len(treatment) <= size:
        return np.arange(len(treatment))
    control, treated = np.flatnonzero(treatment == 0), np.flatnonzero(treatment == 1)
    share = max(min(len(treated), size // 2), size - len(control))
    return np.sort(np.concatenate([control[: size - share], treated[:share]]))


def normal_inference(value: float, standard_error: float, level: float) -> tuple[tuple[float, float], float]:
    """Interval and two-sided p-value of a normal estimate; they agree on whether zero is excluded."""
    half = float(stats.norm.ppf(0.5 + level / 2)) * standard_error
    if standard_error == 0:
        return (value, value), float(value == 0)
    return (value - half, value + half), float(2 * stats.norm.sf(abs(value) / standard_error))
