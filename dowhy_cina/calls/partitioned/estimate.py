"""An average effect from the partitions of a Dask DataFrame.

Letters: n rows of a partition, N rows, M landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dask
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.calls.partitioned.balance import Balanced, Split, arm_features, solve
from dowhy_cina.calls.partitioned.columns import Coding, EncodedPart, Roles, arms_only, encode, learn
from dowhy_cina.calls.partitioned.model import Fitted, RowState, arm_rows, forward, is_empty, outcome_features
from dowhy_cina.calls.partitioned.partitions import Partitions, Spread, Sums
from dowhy_cina.calls.partitioned.result import PartitionedResult
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import InputError
from dowhy_cina.estimating.estimation import Estimates, Moments
from dowhy_cina.estimating.variance import t_inference, unclipped
from dowhy_cina.mathematics.kernels import block_rows, places_of
from dowhy_cina.model.state import TableBatch
from dowhy_cina.results.diagnostics import EffectiveSampleSize
from dowhy_cina.results.effect import Plan
from dowhy_cina.tables.preparation import load_model

TARGETS = ("ate", "att", "atc")
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Weights:
    """What turns the states of a partition into weights.

    Attributes
    ----------
    totals : tuple of float
        Sum of each arm's solution.
    share : tuple of float
        Weight of each row of an arm in the target.
    """

    totals: tuple[float, float]
    share: tuple[float, float]

    def balancing(self, part: EncodedPart, split: Split) -> Tensor:
        """Balancing weights of a partition's rows (1, n)."""
        return split[0] / torch.where(part.treatment > 0, self.totals[1], self.totals[0])

    def target(self, part: EncodedPart) -> Tensor:
        """Weights of a partition's rows (1, n) in the target."""
        return torch.where(part.treatment > 0, self.share[1], self.share[0]).to(part.outcome.dtype)


def residual_sums(part: EncodedPart, state: RowState, split: Split, fitted: Fitted, weights: Weights) -> Sums:
    """Weighted residuals, their noise, the modelled effect, and what each arm's weights make of its features."""
    if is_empty(part):
        return {}
    balancing, signs = weights.balancing(part, split), 2 * part.treatment - 1
    own_mean = torch.where(part.treatment > 0, state.means[1], state.means[0])
    sums: Sums = {
        "correction": (balancing * signs * (part.outcome - own_mean)).sum(1),
        "noise": (balancing * state.loo_residuals).square().sum(1),
        "plug_in": (weights.target(part) * (state.means[1] - state.means[0])).sum(1),
    }
    for arm in (0, 1):
        rows, own = arm_rows(part, arm), places_of(arm_rows(part, arm))
        features = outcome_features(part, state.propensity, fitted, arm, own)
        sums[f"features{arm}"] = features.mean(balancing.gather(1, own))
        sums[f"loo{arm}"] = (rows * balancing * state.loo_residuals).sum(1)
        sums[f"squares{arm}"] = (rows * state.loo_residuals.square()).sum(1)
        sums[f"kish{arm}"] = (rows * balancing.square()).sum(1)
    return sums


def contribution_sums(
    part: EncodedPart,
    state: RowState,
    split: Split,
    fitted: Fitted,
    weights: Weights,
    estimates: Estimates,
    solved: list[Tensor],
    loo: list[Tensor],
) -> Sums:
    """Squares of each row's contribution to the error, and the features that the outcome weights leave."""
    if is_empty(part):
        return {}
    assert fitted.outcomes is not None
    balancing, share = weights.balancing(part, split), estimates.shrinkage[:, None]
    sums: Sums = {}
    balance = arm_features(part, state, fitted)
    scatter = torch.zeros_like(balancing)
    for arm, model in enumerate(fitted.outcomes):
        places, fit = places_of(arm_rows(part, arm)), model.fit
        features = outcome_features(part, state.propensity, fitted, arm, places)
        level = (1 - share) / fit.count[:, None] - (fit.centre * solved[arm]).sum(1, keepdim=True)
        inside = share * balancing.gather(1, places) + level + features.times(solved[arm])
        own = torch.zeros_like(balancing).scatter(1, places, inside)
        sums[f"outcome{arm}"], sums[f"balance{arm}"] = features.mean(inside), balance.mean(own)
        scatter = scatter + (2 * arm - 1) * own * (state.loo_residuals - loo[arm][:, None])
    deviation = weights.target(part) * (state.means[1] - state.means[0] - estimates.plug_in[:, None])
    squares = scatter.square()
    return {
        **sums,
        "total": (scatter + deviation).square().sum(1),
        "scatter": squares.sum(1),
        "fourth": squares.square().sum(1),
    }


def bias_of_sums(fitted: Fitted, moments: Moments, estimates: Estimates, sums: Sums) -> Float[Tensor, "1 K"]:
    """:func:`dowhy_cina.estimating.variance.bias_parts`, from sums over all partitions."""
    assert fitted.outcomes is not None
    assert fitted.balance_kernel is not None
    regression, balance = torch.zeros_like(estimates.value), torch.zeros_like(estimates.value)
    for arm, model in enumerate(fitted.outcomes):
        missing = (moments.outcome_features[arm] - sums[f"outcome{arm}"]).square().sum(1)
        regression = regression + model.fit.signal_variance * missing
        missing = (moments.features - sums[f"balance{arm}"]).square().sum(1)
        balance = balance + sums[f"squares{arm}"] / model.fit.count * missing / fitted.balance_kernel.diagonal
    entered = estimates.shrinkage * estimates.correction
    withheld = estimates.correction - entered
    clipped = unclipped(fitted.outcomes, moments) - estimates.plug_in
    return torch.stack([regression, balance, entered.square(), withheld.square(), clipped.square()], 1)


def column_sums(raw: pd.DataFrame, part: EncodedPart, split: Split, coding: Coding, weights: Weights) -> Sums:
    """Spread of the covariates in each arm and their weighted means."""
    rows, _, treatment = arms_only(raw, coding)
    if not len(rows):
        return {}
    readable = coding.preprocessor.readable(rows[coding.roles.covariates])
    values = torch.from_numpy(np.ascontiguousarray(readable.to_numpy(dtype=np.float64)))
    balancing, treated = weights.balancing(part, split)[0], torch.from_numpy(treatment > 0)
    sums: Sums = {f"arm{arm}": Spread.of(values[treated == bool(arm)]) for arm in (0, 1)}
    sums |= {f"mean{arm}": (balancing * (treated == bool(arm))) @ values for arm in (0, 1)}
    return sums


def row_values(
    raw: pd.DataFrame, part: EncodedPart, state: RowState, split: Split, how: tuple[Coding, Weights, str]
) -> Any:
    """Weights or propensities of a partition's rows as a Series with its index."""
    coding, weights, name = how
    keep = arms_only(raw, coding)[1]
    values = np.full(len(raw), 0.0 if name == "weight" else np.nan)
    found = weights.balancing(part, split) if name == "weight" else state.propensity.clamp(0, 1)
    values[keep] = found[0].numpy()
    return pd.Series(values, index=raw.index, name=name)


def estimate_partitioned(
    table: Any,
    roles: Roles,
    values: tuple[Any, Any] = (None, None),
    target: str = "ate",
    options: EstimatorOptions | None = None,
    confidence_level: float = 0.95,
) -> PartitionedResult:
    """Average effect of a binary treatment from the partitions of a Dask DataFrame.

    Parameters
    ----------
    table : dask.dataframe.DataFrame
    roles : Roles
    values : tuple
        Values of the treated and of the control arm; None if the column tells them.
    target : {"ate", "att", "atc"}
    options : EstimatorOptions, optional
    confidence_level : float
        In (0, 1).

    Returns
    -------
    PartitionedResult

    Raises
    ------
    InputError, InputTypeError
        If the table allows no estimate.
    NotImplementedError
        For options that partitions do not have.
    """
    options = options or EstimatorOptions()
    _refuse(target, options, confidence_level)
    partitions = Partitions(table.to_delayed())
    coding = learn(partitions, roles, values)
    found = partitions.run(encode, ["part"], "encoded", coding=coding)
    totals = found["totals"][None]
    counts = (float(totals[0, 0] - totals[0, 1]), float(totals[0, 1]))
    model = load_model(options, _CPU)
    pilot = _pilot(found["leaders"].chosen((int(counts[0]), int(counts[1])), options.landmarks))
    with torch.no_grad():
        fitted, moments = forward(partitions, model, pilot, totals)
        share = {"ate": (1 / sum(counts),) * 2, "att": (0.0, 1 / counts[1]), "atc": (1 / counts[0], 0.0)}[target]
        ridge = model.config.balance_ridge * fitted.scores.fit.penalty  # type: ignore[union-attr]
        ridge = ridge * fitted.settings.log_multipliers["balance_ridge"].exp()
        balanced = solve(partitions, fitted, counts, share, float(ridge))
        weights = Weights(balanced.totals, share)
        result = _effect(partitions, fitted, balanced, weights, moments, counts, coding, float(confidence_level))
    landmarks = pilot.landmarks.shape[1]
    rows = int(sum(counts))
    route = "exact" if landmarks == rows else "landmarks"
    columns = len(coding.preprocessor.names_out)
    return PartitionedResult(
        **result,
        confidence_level=float(confidence_level),
        target=target,
        plan=Plan(route, landmarks, rows, columns, "dask", "float64", block_rows(landmarks), 0, 0),
        rows_set_aside=found["aside"],
        checkpoint=options.checkpoint,
        augmentation=options.augmentation,
        weights=_series(partitions, (coding, weights, "weight")),
        propensity=_series(partitions, (coding, weights, "propensity")),
    )


def _refuse(target: Any, options: EstimatorOptions, confidence_level: float) -> None:
    if not isinstance(target, str) or target not in TARGETS:
        raise NotImplementedError(f"target_units of a Dask DataFrame must be one of {TARGETS}, got {target!r}.")
    for name, default in (("augmentation", "kernel"), ("refine", None), ("memory_limit", None)):
        if getattr(options, name) != default:
            raise NotImplementedError(f"{name}={getattr(options, name)!r} is not available for a Dask DataFrame.")
    if options.checkpoint == "exact" or options.device not in ("auto", "cpu"):
        raise NotImplementedError("checkpoint='exact' and GPUs are not available for a Dask DataFrame.")
    if not 0 < confidence_level < 1:
        raise InputError(f"confidence_level must be in (0, 1), got {confidence_level!r}; for example 0.95.")


def _pilot(chosen: tuple[Any, Any]) -> TableBatch:
    rows, marks = chosen
    x, t, y = (torch.from_numpy(np.ascontiguousarray(part))[None] for part in (rows[:, :-2], rows[:, -2], rows[:, -1]))
    return TableBatch(x, t, y, torch.from_numpy(marks)[None], torch.arange(len(rows))[None])


def _series(partitions: Partitions, how: tuple[Coding, Weights, str]) -> Any:
    import dask.dataframe as dd

    states = [partitions.states(name) for name in ("part", "encoded", "state", "split")]
    call = dask.delayed(row_values, pure=False)
    shared = dask.delayed(how, traverse=False, pure=False)
    parts = [call(*row, shared) for row in zip(*states, strict=True)]
    return dd.from_delayed(parts, meta=pd.Series([], dtype=np.float64, name=how[2]), verify_meta=False)


def _effect(
    partitions: Partitions,
    fitted: Fitted,
    balanced: Balanced,
    weights: Weights,
    means: Sums,
    counts: tuple[float, float],
    coding: Coding,
    level: float,
) -> dict[str, Any]:
    """Value, inference and balance, by three more passes."""
    names = ["encoded", "state", "split"]
    assert fitted.outcomes is not None
    found = partitions.run(residual_sums, names, fitted=fitted, weights=weights)
    square = found["correction"].square()
    shrinkage = square / (square + found["noise"]).clamp_min(torch.finfo(square.dtype).tiny)
    empty = square.new_zeros(1, 0)
    value = found["plug_in"] + shrinkage * found["correction"]
    estimates = Estimates(value, found["plug_in"], found["correction"], shrinkage, empty, empty, empty)
    targets = [
        weights.share[0] * means[f"moments{arm}0"] + weights.share[1] * means[f"moments{arm}1"] for arm in (0, 1)
    ]
    moments = Moments(balanced.target, (targets[0], targets[1]), empty, empty, True)
    solved = []
    for arm, model in enumerate(fitted.outcomes):
        kept = (1 - shrinkage)[:, None]
        direction = targets[arm] - shrinkage[:, None] * found[f"features{arm}"] - kept * model.fit.centre
        solved.append(torch.cholesky_solve(direction[..., None], model.fit.factor)[..., 0])
    loo = [found[f"loo{arm}"] for arm in (0, 1)]
    shared = {"fitted": fitted, "weights": weights, "estimates": estimates, "solved": solved, "loo": loo}
    noise = partitions.run(contribution_sums, names, None, **shared)
    bias = bias_of_sums(fitted, moments, estimates, {**found, **noise})
    variance = fitted.model.variance(noise["total"], bias, torch.tensor([min(counts)], dtype=torch.float64))
    tiny = torch.finfo(torch.float64).tiny
    freedom = float((noise["scatter"].square() / noise["fourth"].clamp_min(tiny) - 1).clamp_min(2))
    effect, error = float(value) * coding.scale, float(variance.sqrt()) * coding.scale
    interval, p_value = t_inference(effect, error, freedom, level) if min(counts) > 1 else (None, None)
    kish = [1 / float(found[f"kish{arm}"]) for arm in (0, 1)]
    distance = [
        sum(float((mean - balanced.target).norm()) for mean in pair) for pair in (balanced.uniform, balanced.means)
    ]
    return {
        "value": effect,
        "standard_error": None if interval is None else error,
        "confidence_interval": interval,
        "p_value": p_value,
        "outcome_scale": coding.scale,
        "balance": _balance(partitions, coding, weights),
        "effective_sample_size": EffectiveSampleSize(kish[1], kish[0]),
        "duality_gap": balanced.gap,
        "worst_case_bias": distance[1] * coding.scale,
        "worst_case_bias_before": distance[0] * coding.scale,
        "correction_share": float(shrinkage),
        "degrees_of_freedom": freedom,
    }


def _balance(partitions: Partitions, coding: Coding, weights: Weights) -> pd.DataFrame:
    """Standardised mean differences of every covariate, before and after weighting."""
    found = partitions.run(column_sums, ["part", "encoded", "split"], coding=coding, weights=weights)
    control, treated = found["arm0"], found["arm1"]
    unit = ((control.variance + treated.variance) / 2).sqrt()
    unit = torch.where(unit > 0, unit, (control + treated).sd.clamp_min(torch.finfo(torch.float64).tiny))
    index = pd.Index(coding.preprocessor.names_readable, name="covariate", dtype=object)
    before, after = (treated.mean - control.mean) / unit, (found["mean1"] - found["mean0"]) / unit
    return pd.DataFrame({"before": before.numpy(), "after": after.numpy()}, index=index)
