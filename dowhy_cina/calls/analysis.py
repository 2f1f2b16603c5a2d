"""A table after its one forward pass: the augmented estimate for any target population and its influence function.

Letters: N rows, D covariates, M target rows.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from dowhy_cina.calls.conditional import ConditionalEffects
from dowhy_cina.errors import InputError, InputTypeError
from dowhy_cina.estimating.estimation import (
    Estimates,
    Moments,
    augmented,
    moments_in_table,
    moments_of_rows,
    weights_alone,
    worst_case,
)
from dowhy_cina.estimating.variance import bias_parts, degrees_of_freedom, sampling_variance, smaller_arm, t_inference
from dowhy_cina.estimating.weighting import (
    EXACT_GAP,
    Weighting,
    arm_against_arm,
    arm_against_arm_exact,
    balance_arms,
    uniform,
    with_kernel_of_all_rows,
)
from dowhy_cina.mathematics.devices import threads_for
from dowhy_cina.mathematics.memory import rows_of_a_block
from dowhy_cina.model.state import ZeroShot, without_rows
from dowhy_cina.results.diagnostics import balance_table, effective_sample_size, overlap_verdict, overlap_warnings
from dowhy_cina.results.effect import EffectResult, Plan
from dowhy_cina.tables.preparation import PreparedTable, forward_alone, load_model

Array = npt.NDArray[np.float64]

TARGETS = ("ate", "att", "atc")


@dataclass(frozen=True)
class _Target:
    """A target population: row weights in canonical order, or foreign covariate rows."""

    name: str
    weights: Array
    foreign: Array | None = None


class Analysis:
    """A preprocessed table after its forward pass; effects for any target population follow without another one.

    Made by :func:`dowhy_cina.calls.direct.analyse`.
    """

    def __init__(self, prepared: PreparedTable, state: ZeroShot | None = None) -> None:
        """Run the model, unless it has been run for this table already.

        Parameters
        ----------
        prepared : PreparedTable
        state : ZeroShot, optional
            What :func:`~dowhy_cina.tables.preparation.forward_together` gave for the table.
        """
        rows, table = prepared.rows, prepared.batch
        self.options, self.device, self._given = prepared.options, prepared.device, prepared.given
        self._preprocessor, self._readable, self._keep = prepared.preprocessor, prepared.readable, prepared.keep
        self._is_exact, self._threaded_rows = prepared.is_exact, prepared.threaded_rows
        self._model = load_model(prepared.options, self.device)
        self._rows, self._order, self._scale, self._treatment = rows, rows.order, rows.scale, rows.treatment
        cluster = prepared.cluster
        self._cluster = None if cluster is None else torch.from_numpy(cluster[self._order]).to(self.device)[None]
        self.columns = prepared.encoded.shape[1]
        if state is None:
            state, storage = forward_alone(prepared)
            table = dataclasses.replace(table, storage=storage)
        self._table, landmarks = table, table.landmarks.shape[1]
        if self._is_exact:
            with torch.no_grad(), threads_for(self._threaded_rows):
                state, self._bandwidth = with_kernel_of_all_rows(table, state)
            landmarks = len(self._treatment)
        self._state = state
        self.plan = Plan(
            "exact" if landmarks == len(self._treatment) else "landmarks",
            landmarks,
            len(self._treatment),
            self.columns,
            str(self.device),
            "float64",
            min(rows_of_a_block(table.storage, landmarks), len(self._treatment)),
            table.storage.kept,
            prepared.memory.needed,
        )

    def _in_table_order(self, values: Array, fill: float) -> Array:
        """Values per canonical row, put back to the caller's rows; ``fill`` for rows set aside."""
        kept = np.empty(len(self._order))
        kept[self._order] = values
        result = np.full(len(self._keep), fill)
        result[self._keep] = kept
        return result

    @cached_property
    def function(self) -> ConditionalEffects | None:
        """Modelled effects at any covariates; none if only weights were asked for."""
        if self.options.augmentation == "none":
            return None
        return ConditionalEffects(self._model, without_rows(self._state), self._preprocessor, self._scale, self.columns)

    @cached_property
    def _arm_against_arm(self) -> Weighting:
        if self._is_exact:
            return arm_against_arm_exact(self._table, self._state, self._bandwidth)
        return arm_against_arm(self._model, self._table, self._state, self.options.refine)

    def effect(self, target_units: Any = "ate", confidence_level: float = 0.95) -> EffectResult:
        """Average effect in a target population.

        Parameters
        ----------
        target_units : {"ate", "att", "atc", "overlap"}, boolean mask of shape (N,), or DataFrame of M covariate rows
        confidence_level : float
            In (0, 1).

        Returns
        -------
        EffectResult

        Raises
        ------
        InputError, InputTypeError
            If the target is not one of these, or names no row.
        """
        if not 0 < confidence_level < 1:
            raise InputError(f"confidence_level must be in (0, 1), got {confidence_level!r}; for example 0.95.")
        target = self._target(target_units)
        with torch.no_grad(), threads_for(self._threaded_rows):
            moments = self._moments(target)
            weighting = self._weights(target, moments)
            if self.options.augmentation == "none":
                estimates = weights_alone(self._table, moments, weighting.weights)
            else:
                estimates = augmented(self._table, self._state, moments, weighting.weights)
            error, freedom = self._uncertainty(moments, estimates)
            worst = worst_case(self._table, self._state, moments, weighting.weights)
        return self._result(target, weighting, estimates, error, freedom, float(confidence_level), worst)

    def _uncertainty(self, moments: Moments, estimates: Estimates) -> tuple[float, float]:
        """Standard error in sd of the outcome and its degrees of freedom."""
        variance = sampling_variance(estimates, moments.in_table, self._cluster)
        if self.options.augmentation != "none" and self.columns:
            bias = bias_parts(self._table, self._state, moments, estimates)
            variance = self._model.variance(variance, bias, smaller_arm(self._table))
        freedom = degrees_of_freedom(estimates.scatter, self._cluster)
        return float(variance.sqrt()), float(freedom)

    def _target(self, units: Any) -> _Target:
        n, t = len(self._treatment), self._treatment
        if isinstance(units, str):
            if units not in (*TARGETS, "overlap"):
                names = "'ate', 'att', 'atc', 'overlap'"
                raise InputError(f"target_units must be {names}, a boolean mask or a DataFrame, got {units!r}.")
            if units == "overlap":
                return self._overlap()
            rows = {"ate": np.ones(n), "att": t, "atc": 1 - t}[units] * self._rows.weights
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
        rows = mask[self._keep][self._order] * self._rows.weights
        if not rows.any():
            raise InputError("target_units: the mask names no row of the compared arms; expected at least one True.")
        return _Target("rows", rows / rows.sum())

    def _overlap(self) -> _Target:
        """Rows weighed by ``e (1 - e)``."""
        propensity = self._state.propensity[0].cpu().numpy().clip(0, 1)
        rows = propensity * (1 - propensity) * self._rows.weights
        if not rows.sum() > 0:
            raise InputError(
                "target_units='overlap': no row could have got either treatment; the arms have no common population."
            )
        return _Target("overlap", rows / rows.sum())

    def _moments(self, target: _Target) -> Moments:
        if target.foreign is None:
            return moments_in_table(self._state, torch.from_numpy(target.weights).to(self.device)[None])
        rows = torch.from_numpy(target.foreign).to(self.device)[None]
        keys = rows / self._bandwidth if self._is_exact else None
        return moments_of_rows(self._model, self._state, rows, keys)

    def _weights(self, target: _Target, moments: Moments) -> Weighting:
        """Balance the arms against each other, or each to the target."""
        table = self._table
        if not self.columns:
            return uniform(table)
        alone = self.options.augmentation == "none"
        if target.name == "ate" and (alone or self._is_exact):
            return self._arm_against_arm
        refine = EXACT_GAP if self._is_exact else self.options.refine
        return balance_arms(
            self._model, table, self._state, moments.features, refine, untouched=target.name if alone else None
        )

    def _result(
        self,
        target: _Target,
        weighting: Weighting,
        estimates: Estimates,
        error: float,
        freedom: float,
        level: float,
        worst: tuple[Tensor, Tensor],
    ) -> EffectResult:
        final = weighting.weights[0].cpu().numpy()
        value = float(estimates.value)
        gap = float(weighting.gap)
        sizes = (int((1 - self._treatment).sum()), int(self._treatment.sum()))
        interval, p_value, standard_error = None, None, None
        if min(sizes) > 1:
            standard_error = error * self._scale
            interval, p_value = t_inference(value * self._scale, standard_error, freedom, level)
        propensity = self._state.propensity[0].cpu().numpy().clip(0, 1)
        readable = self._readable.iloc[self._order]
        balance = balance_table(readable, self._treatment, final)
        verdict = overlap_verdict(self._treatment, final, target.weights, propensity, balance)
        notes = overlap_warnings(self._treatment, verdict) + self._unsolved(weighting)
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
            duality_gap=gap,
            refinement_steps=weighting.steps,
            minimised_bias=float(weighting.imbalance) * self._scale,
            lowest_bias=float(weighting.lowest_imbalance) * self._scale,
            worst_case_bias=float(worst[1]) * self._scale,
            worst_case_bias_before=float(worst[0]) * self._scale,
            plan=self.plan,
            warnings=notes,
            rows_set_aside=int((~self._keep).sum()),
            checkpoint=self.options.checkpoint,
            augmentation=self.options.augmentation,
            correction_share=float(estimates.shrinkage),
            degrees_of_freedom=freedom,
            pseudo_outcomes=self._pseudo_outcomes(estimates, value),
            overlap=verdict,
            covariates=self._given[0],
            cluster=self._given[1],
            function=self.function,
        )

    def _unsolved(self, weighting: Weighting) -> tuple[str, ...]:
        """Warn of a balancing problem that was not solved to the gap that was asked for."""
        if weighting.converged:
            return ()
        goal = EXACT_GAP if self._is_exact else self.options.refine
        return (
            f"The balancing problem was not solved to the relative duality gap {goal:g}: {float(weighting.gap):.2g} "
            f"was reached in {weighting.steps} steps. Ask for a larger gap.",
        )

    def _pseudo_outcomes(self, estimates: Estimates, value: float) -> Array:
        """Doubly robust scores of the rows, whose mean is the estimate; NaN where the target is not in the table."""
        rows = len(self._treatment)
        if estimates.deviation.shape[1] != rows:
            return np.full(len(self._keep), np.nan)
        scores = rows * (estimates.deviation + estimates.scatter)[0].cpu().numpy()
        return self._in_table_order((value + scores - scores.mean()) * self._scale, np.nan)
