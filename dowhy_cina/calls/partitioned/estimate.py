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
from torch import Tensor

from dowhy_cina.calls.additions import lacking_kinds, readable
from dowhy_cina.calls.partitioned.balance import Balanced, Rows, solve
from dowhy_cina.calls.partitioned.columns import Coding, EncodedPart, Roles, arms_only, encode, learn
from dowhy_cina.calls.partitioned.model import add_columns, balance_keys, forward, labels_of_all
from dowhy_cina.calls.partitioned.outcomes import chance, is_empty, kernels_of
from dowhy_cina.calls.partitioned.partitions import Extremes, Partitions, Spread, Sums
from dowhy_cina.calls.partitioned.sharing import ArmResponse, arm_responses, moments_of, shared_rows
from dowhy_cina.calls.partitioned.states import Fitted, RowState
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.estimating.estimation import Effect, Moments, augmented
from dowhy_cina.estimating.targets import ARMS_OF, arm_shares
from dowhy_cina.estimating.variance import (
    Reached,
    bias_parts,
    freedom_from_sums,
    noise_of_arm,
    t_inference,
    unseen_variance,
)
from dowhy_cina.mathematics.rows import block_rows
from dowhy_cina.mathematics.scaling import usual_arithmetic
from dowhy_cina.model.checkpoint import load_model
from dowhy_cina.model.search import with_own_additions
from dowhy_cina.model.sharing import SharedRows
from dowhy_cina.model.state import TableBatch
from dowhy_cina.results.diagnostics import Arm, Arms, support_limit
from dowhy_cina.results.effect import PartitionedResult, Plan
from dowhy_cina.results.heterogeneity.scores import check_level
from dowhy_cina.results.overlap import grade_overlap, overlap_warnings, relative_width
from dowhy_cina.tables.codes import find_codes
from dowhy_cina.tables.preparation import PILOT_ROWS
from dowhy_cina.tables.remarks import codes_remark, outcome_remark, unseen_noise_remark

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class TargetShares:
    """Weight of each row of the control and of the treated arm in the target."""

    share: tuple[float, float]


def residual_sums(
    part: EncodedPart, state: RowState, balancing: Rows, fitted: Fitted, shares: TargetShares, limits: list[float]
) -> Sums:
    """Weighted residuals, their noise, the modelled effect, and what each arm's weights make of its features.

    The sums also hold each arm's rows without a counterpart, whose chance of the other arm is below its limit.
    """
    if is_empty(part):
        return {}
    arm, loo = part.arm, balancing * state.loo_residuals
    seen = shared_rows(part, state.scores, fitted, arm)
    return {
        "correction": (2 * arm - 1) * (balancing * (part.outcome - state.means[arm])).sum(1),
        "noise": loo.square().sum(1),
        "plug_in": shares.share[arm] * (state.means[1] - state.means[0]).sum(1),
        f"moment{arm}": fitted.arms[arm].moment(seen, balancing),
        f"loo{arm}": loo.sum(1),
        f"squares{arm}": state.loo_residuals.square().sum(1),
        f"kish{arm}": balancing.square().sum(1),
        f"weights{arm}": Extremes(balancing.amin(), balancing.amax()),
        f"outside{arm}": (chance(state.scores.propensity, 1 - arm) < limits[arm]).sum(1),
    }


@dataclass(frozen=True)
class Contributing:
    """What is known of the estimate and its weights once the rows' contributions to its error are asked for.

    Attributes
    ----------
    effect : Effect
    responses : list of ArmResponse
    loo : list of Tensor, shape (1,)
        Weighted means of each arm's leave-one-out residuals.
    """

    effect: Effect
    responses: list[ArmResponse]
    loo: list[Tensor]


def contribution_sums(
    part: EncodedPart, state: RowState, balancing: Rows, fitted: Fitted, shares: TargetShares, given: Contributing
) -> Sums:
    """Squares of each row's contribution to the error, and the features that outcome weights reach."""
    if is_empty(part):
        return {}
    arm, other, effect = part.arm, 1 - part.arm, given.effect
    seen = shared_rows(part, state.scores, fitted, arm)
    own = effect.shrinkage[:, None] * balancing + given.responses[arm].own.of(seen.own)
    sums: Sums = {f"outcome{arm}": fitted.arms[arm].moment(seen, own)}
    lent, lending = torch.zeros_like(own), given.responses[other].lent
    if lending is not None:
        # The other arm borrows, and weighs these rows, too.
        lent, nothing = lending.of(seen.own), own.new_zeros(1, fitted.arms[other].own.moment_size)
        moment = fitted.arms[other].lent_moment(SharedRows(seen.own, seen.own), lent)
        sums[f"outcome{other}"] = torch.cat([nothing, moment], 1)
    assert fitted.balance_kernel is not None
    features = kernels_of(fitted.balance_kernel, balance_keys(part, state, fitted))
    centred = state.loo_residuals - given.loo[arm][:, None]
    scatter = (2 * arm - 1) * (own - lent) * centred
    deviation = shares.share[arm] * (state.means[1] - state.means[0] - effect.plug_in[:, None])
    squares, weights = scatter.square(), (lent, own) if arm else (own, lent)
    return {
        **sums,
        "balance": features.means(torch.stack(weights, 1)),
        "total": (scatter + deviation).square().sum(1),
        f"spread{arm}": own.square().sum(1),
        f"noise{arm}": torch.stack(noise_of_arm(centred, torch.ones_like(own))),
        "scatter": squares.sum(1),
        "fourth": squares.square().sum(1),
    }


def column_sums(raw: pd.DataFrame, part: EncodedPart, balancing: Rows, coding: Coding) -> Sums:
    """Spread of the covariates in each arm and their weighted means."""
    rows, _, treatment = arms_only(raw, coding)
    if not len(rows):
        return {}
    values = torch.from_numpy(coding.preprocessor.readable_deviations(rows[coding.roles.covariates]))
    own, treated = torch.from_numpy(part.as_they_came(balancing)), torch.from_numpy(treatment > 0)
    sums: Sums = {f"arm{arm}": Spread.of(values[treated == bool(arm)]) for arm in (0, 1)}
    sums |= {f"mean{arm}": (own * (treated == bool(arm))) @ values for arm in (0, 1)}
    return sums


def row_values(raw: pd.DataFrame, part: EncodedPart, state: RowState, balancing: Rows, how: tuple[Coding, str]) -> Any:
    """Weights or propensities of a partition's rows as a Series with its index."""
    coding, name = how
    keep = arms_only(raw, coding)[1]
    values = np.full(len(raw), 0.0 if name == "weight" else np.nan)
    values[keep] = part.as_they_came(balancing if name == "weight" else state.scores.propensity.clamp(0, 1))
    return pd.Series(values, index=raw.index, name=name)


@usual_arithmetic()
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
    model = load_model(options.checkpoint, _CPU)
    arms = int(counts[0]), int(counts[1])
    pilot = _pilot(found["leaders"].chosen(arms, options.landmarks_for(*arms)))
    with torch.no_grad():
        pilot, known = with_own_additions(model, pilot, labels_of_all(partitions, pilot))
        if pilot.added is not None:
            partitions.run(add_columns, ["encoded"], "encoded", added=pilot.added)
        fitted, moments = forward(partitions, model, pilot, totals, known)
        share = arm_shares(target, counts)
        ridge = model.balance_ridge(fitted.scores, fitted.settings)
        balanced = solve(partitions, fitted, counts, share, ridge, pilot.given)
        shares = TargetShares(share)
        columns = float(pilot.independent_columns)
        result = _effect(
            partitions, fitted, balanced, shares, moments, counts, columns, coding, float(confidence_level)
        )
    rows, landmarks = sum(arms), pilot.landmarks.shape[1]
    route = "exact" if landmarks == rows else "landmarks"
    columns, preprocessor = len(coding.preprocessor.names_out), coding.preprocessor
    x, t = pilot.covariates[0, :, :columns].numpy(), pilot.treatment[0].numpy()
    codes = [(preprocessor.names_out[place], count) for place, count in find_codes(x.T, np.sort(x.T, axis=1), t)]
    result["warnings"] += lacking_kinds(fitted.arms, preprocessor.names_out) + codes_remark(codes, False)
    return PartitionedResult(
        **result,
        confidence_level=float(confidence_level),
        target=target,
        plan=Plan(route, landmarks, rows, columns, "dask", "float64", block_rows(landmarks), 0, 0),
        refinement_steps=0,
        **readable(pilot.added, coding.preprocessor),
        rows_set_aside=found["aside"],
        checkpoint=options.checkpoint,
        augmentation=options.augmentation,
        weights=_series(partitions, (coding, "weight")),
        propensity=_series(partitions, (coding, "propensity")),
    )


def _refuse(target: Any, options: EstimatorOptions, confidence_level: float) -> None:
    if not isinstance(target, str) or target not in ARMS_OF:
        raise NotImplementedError(f"target_units of a Dask DataFrame must be one of {tuple(ARMS_OF)}, got {target!r}.")
    for name, default in (("augmentation", "kernel"), ("refine", None), ("memory_limit", None)):
        if getattr(options, name) != default:
            raise NotImplementedError(f"{name}={getattr(options, name)!r} is not available for a Dask DataFrame.")
    if options.checkpoint == "exact" or options.device not in ("auto", "cpu"):
        raise NotImplementedError(
            "checkpoint='exact' and GPUs (devices but 'auto' and 'cpu') are not available for a Dask DataFrame, got "
            f"checkpoint={options.checkpoint!r} and device={options.device!r}."
        )
    if options.landmarks is not None and options.landmarks > PILOT_ROWS:
        raise NotImplementedError(
            f"landmarks of a Dask DataFrame must be at most {PILOT_ROWS}, the rows that lead, got {options.landmarks}."
        )
    check_level(confidence_level, "confidence_level")


def _pilot(chosen: tuple[Any, Any]) -> TableBatch:
    rows, marks = chosen
    return TableBatch.stack([rows[:, :-2]], [rows[:, -2]], [rows[:, -1]], [marks])


def _series(partitions: Partitions, how: tuple[Coding, str]) -> Any:
    import dask.dataframe as dd

    states = [partitions.states(name) for name in ("part", "encoded", "state", "weights")]
    call = dask.delayed(row_values, pure=False)
    shared = dask.delayed(how, traverse=False, pure=False)
    parts = [call(*row, shared) for row in zip(*states, strict=True)]
    return dd.from_delayed(parts, meta=pd.Series([], dtype=np.float64, name=how[1]), verify_meta=False)


def _effect(
    partitions: Partitions,
    fitted: Fitted,
    balanced: Balanced,
    shares: TargetShares,
    means: Sums,
    counts: tuple[float, float],
    columns: float,
    coding: Coding,
    level: float,
) -> dict[str, Any]:
    """Value, inference, balance and overlap, by three more passes, or four where an arm borrows."""
    names = ["encoded", "state", "weights"]
    limits = [support_limit(means[f"chances{1 - k}"].least.numpy(), counts[1 - k], sum(counts)) for k in (0, 1)]
    found = partitions.run(residual_sums, names, fitted=fitted, shares=shares, limits=limits)
    effect = augmented(found["plug_in"], found["correction"], found["noise"])
    empty = effect.value.new_zeros(1, 0)
    moments = Moments(balanced.target, moments_of(means, fitted, shares.share), empty, empty)
    weighted = [found[f"moment{arm}"] for arm in (0, 1)]
    responses = arm_responses(partitions, fitted, moments.outcomes, weighted, effect.shrinkage)
    loo = [found[f"loo{arm}"] for arm in (0, 1)]
    given = Contributing(effect, responses, loo)
    noise = partitions.run(contribution_sums, names, fitted=fitted, shares=shares, given=given)
    reached = [
        Reached(noise[f"outcome{arm}"], noise["balance"][:, arm], found[f"squares{arm}"] / counts[arm])
        for arm in (0, 1)
    ]
    assert fitted.balance_kernel is not None
    regressions = (fitted.arms[0], fitted.arms[1])
    bias = bias_parts(regressions, fitted.balance_kernel.diagonal, moments, effect, (reached[0], reached[1]))
    sizes = torch.tensor([[min(counts)], [columns]], dtype=torch.float64, device="cpu")
    variance = fitted.model.variance(noise["total"] + _unseen(noise, counts), bias, *sizes)
    rows = torch.full_like(noise["scatter"], sum(counts))
    freedom = float(freedom_from_sums(noise["scatter"], noise["fourth"], rows))
    scale = coding.outcome_scale
    value, error = float(effect.value) * scale, float(variance.sqrt()) * scale if coding.varies else 0.0
    interval, p_value = t_inference(value, error, freedom, level) if min(counts) > 1 else (None, None)
    width = relative_width(interval, coding.outcome_range / coding.unit)
    shows = [float(noise[f"noise{arm}"][0]) > 0 for arm in (0, 1)]
    unseen = unseen_noise_remark((int(counts[0]), int(counts[1])), (shows[0], shows[1]))
    return {
        "value": value,
        "standard_error": None if interval is None else error,
        "confidence_interval": interval,
        "p_value": p_value,
        "outcome_scale": scale,
        "correction_share": float(effect.shrinkage),
        "degrees_of_freedom": freedom,
        **_certificate(balanced, scale),
        **_overlap(_sum_arms(found, shares, counts), _balance(partitions, coding), width, coding, unseen),
    }


def _unseen(noise: Sums, counts: tuple[float, float]) -> Tensor:
    """Variance of noise that an arm is too small to show."""
    shown = [(noise[f"noise{arm}"][0], noise[f"noise{arm}"][1]) for arm in (0, 1)]
    spread = [noise[f"spread{arm}"] for arm in (0, 1)]
    return unseen_variance(shown, [spread[arm].new_tensor([counts[arm]]) for arm in (0, 1)], spread)


def _certificate(balanced: Balanced, scale: float) -> dict[str, float]:
    """How well the weights balance, in the outcome's unit."""
    known, (after, before) = balanced.solution.certificate, balanced.shifts.tolist()
    return {
        "duality_gap": float(known.gap.max()),
        "minimised_bias": float(known.imbalance.sum()) * scale,
        "lowest_bias": float(known.lowest.sum()) * scale,
        "worst_case_bias": after * scale,
        "worst_case_bias_before": before * scale,
    }


def _sum_arms(found: Sums, shares: TargetShares, counts: tuple[float, float]) -> Arms:
    """What each arm adds up to, from :func:`residual_sums`."""
    control, treated = (
        Arm(
            int(counts[arm]),
            1 / float(found[f"kish{arm}"]),
            float(found[f"weights{arm}"].upper),
            int(found[f"outside{arm}"]),
            counts[arm] * shares.share[arm],
            float(found[f"outside{arm}"]) * shares.share[arm],
        )
        for arm in (0, 1)
    )
    return Arms(treated, control)


def _overlap(
    arms: Arms, balance: pd.DataFrame, width: float, coding: Coding, unseen: tuple[str, ...]
) -> dict[str, Any]:
    verdict = grade_overlap(arms, balance, width)
    remarks = outcome_remark(coding.varies) + unseen + coding.preprocessor.remarks
    warnings = overlap_warnings(arms, verdict) + remarks
    return {"arms": arms, "balance": balance, "overlap": verdict, "warnings": warnings}


def _balance(partitions: Partitions, coding: Coding) -> pd.DataFrame:
    """Standardised mean differences of every covariate, before and after weighting."""
    found = partitions.run(column_sums, ["part", "encoded", "weights"], coding=coding)
    control, treated = found["arm0"], found["arm1"]
    unit = ((control.variance + treated.variance) / 2).sqrt()
    unit = torch.where(unit > 0, unit, (control + treated).sd.clamp_min(torch.finfo(torch.float64).tiny))
    index = pd.Index(coding.preprocessor.names_readable, name="covariate", dtype=object)
    before, after = (treated.mean - control.mean) / unit, (found["mean1"] - found["mean0"]) / unit
    return pd.DataFrame({"before": before.numpy(), "after": after.numpy()}, index=index)
