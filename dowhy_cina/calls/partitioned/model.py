"""The forward pass as sums over partitions: scores, outcome models and the keys of the balancing layer.

Letters: n rows of a partition, D covariates, M landmarks. Every tensor has a first axis of one table.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.calls.partitioned.columns import EncodedPart
from dowhy_cina.calls.partitioned.partitions import Extremes, Partitions, Spread, Sums
from dowhy_cina.mathematics.kernels import LandmarkKernel, RowFeatures, gather_rows, places_of
from dowhy_cina.mathematics.ridge import (
    GramStatistics,
    RidgeFit,
    fit_ridge,
    generalised_cross_validation,
    gram_statistics,
    leave_one_out_residuals,
)
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.state import OutcomeModel, ScoreModel, ScorePair, Settings, TableBatch

Rows = Float[Tensor, "1 n"]


@dataclass(frozen=True)
class Fitted:
    """What is known of the whole table, step by step; sent to every worker.

    Attributes
    ----------
    model : CinaModel
    settings : Settings
    marks : Tensor, shape (1, M, D)
        Covariates of the landmarks.
    scores, outcomes, pair
        As in :class:`dowhy_cina.model.state.ZeroShot`, once they are fitted.
    balance_kernel : LandmarkKernel, optional
    """

    model: CinaModel
    settings: Settings
    marks: Tensor
    scores: ScoreModel | None = None
    outcomes: tuple[OutcomeModel, OutcomeModel] | None = None
    pair: ScorePair | None = None
    balance_kernel: LandmarkKernel | None = None


@dataclass(frozen=True)
class RowState:
    """What is known of a partition's rows.

    Attributes
    ----------
    propensity : Tensor, shape (1, n)
        Leave-one-out.
    means : tuple of Tensor, shape (1, n)
        Predicted mean outcomes of both arms.
    loo_residuals : Tensor, shape (1, n)
    """

    propensity: Rows
    means: tuple[Rows, Rows]
    loo_residuals: Rows


def fit_of(statistics: GramStatistics, multiplier: Tensor) -> RidgeFit:
    """Ridge regression with a multiple of the penalty that cross-validation chooses."""
    return fit_ridge(statistics, generalised_cross_validation(statistics).penalty * multiplier)


def is_empty(part: EncodedPart) -> bool:
    """Whether a partition has no row of either arm."""
    return part.treatment.shape[1] == 0


def score_features(part: EncodedPart, settings: Settings, kernel: LandmarkKernel) -> RowFeatures:
    """Kernels of a partition's rows in the propensity regression."""
    return RowFeatures.of_kernels(kernel, part.covariates * settings.treatment_scales[:, None])


def score_sums(part: EncodedPart, settings: Settings, kernel: LandmarkKernel) -> Sums:
    """Statistics of the propensity regression."""
    if is_empty(part):
        return {}
    features = score_features(part, settings, kernel)
    return {"fit": gram_statistics(features, part.treatment, torch.ones_like(part.treatment))}


def scores_of(part: EncodedPart, settings: Settings, kernel: LandmarkKernel, fit: RidgeFit) -> tuple[Rows, Sums]:
    """Leave-one-out propensity scores of a partition, and their spread."""
    if is_empty(part):
        return part.treatment, {}
    features, ones = score_features(part, settings, kernel), torch.ones_like(part.treatment)
    leverage = fit.leverage(features, ones)
    residuals = leave_one_out_residuals(part.treatment, fit.predict(features), leverage)
    propensity = part.treatment - residuals
    return propensity, {"scores": Spread.of(propensity[0, :, None])}


def outcome_features(
    part: EncodedPart, propensity: Rows, fitted: Fitted, arm: int, places: Int[Tensor, "1 n"] | None = None
) -> RowFeatures:
    """Kernels of a partition's rows, or of some of them, in an outcome regression."""
    assert fitted.scores is not None
    assert fitted.outcomes is not None
    covariates, coordinate = part.covariates, fitted.scores.coordinate(propensity)
    if places is not None:
        covariates, coordinate = gather_rows(covariates, places), coordinate.gather(1, places)
    keys = fitted.model.outcome_keys(covariates, coordinate, fitted.settings, arm)
    return RowFeatures.of_kernels(fitted.outcomes[arm].kernel, keys)


def arm_rows(part: EncodedPart, arm: int) -> Rows:
    """1 for the rows of an arm, 0 for the others."""
    return part.treatment if arm else 1 - part.treatment


def outcome_sums(part: EncodedPart, propensity: Rows, fitted: Fitted) -> Sums:
    """Statistics of both outcome regressions; none of an arm that has no row here."""
    sums: Sums = {}
    for arm in (0, 1):
        own = places_of(arm_rows(part, arm))
        if own.shape[1]:
            features = outcome_features(part, propensity, fitted, arm, own).with_features()
            ones = torch.ones_like(features.keys[..., 0])
            sums[f"fit{arm}"] = gram_statistics(features, part.outcome.gather(1, own), ones)
    return sums


def predictions(part: EncodedPart, propensity: Rows, fitted: Fitted) -> tuple[RowState, Sums]:
    """Unclipped means of both arms and leave-one-out residuals of each row's own, with what the arms' means span.

    The sums also hold the mean features of each regression over the rows of both arms, ``moments[regression][arm]``.
    """
    if is_empty(part):
        return RowState(propensity, (propensity, propensity), propensity), {}
    assert fitted.outcomes is not None
    sums: Sums = {}
    means, residuals = [], torch.zeros_like(part.outcome)
    for arm, model in enumerate(fitted.outcomes):
        features, rows = outcome_features(part, propensity, fitted, arm), arm_rows(part, arm)
        found = model.fit.predict(features)
        own = places_of(rows)
        leverage = model.fit.leverage(features.take(own), rows.gather(1, own))
        loo = leave_one_out_residuals(part.outcome, found, torch.zeros_like(rows).scatter(1, own, leverage))
        residuals = torch.where(rows > 0, loo, residuals)
        means.append(found)
        for other in (0, 1):
            sums[f"moments{arm}{other}"] = features.mean(arm_rows(part, other))
        if rows.any():
            sums[f"range{arm}"] = Extremes(found[rows > 0].amin(), found[rows > 0].amax())
    return RowState(propensity, (means[0], means[1]), residuals), sums


def clipped(part: EncodedPart, state: RowState, fitted: Fitted) -> tuple[RowState, Sums]:
    """Means within the arms' ranges, and the spread of the prognostic scores."""
    if is_empty(part):
        return state, {}
    assert fitted.outcomes is not None
    control, treated = (model.clip(mean) for model, mean in zip(fitted.outcomes, state.means, strict=True))
    state = dataclasses.replace(state, means=(control, treated))
    return state, {"prognosis": Spread.of(torch.cat(prognostic_scores(part, state)).T)}


def prognostic_scores(part: EncodedPart, state: RowState) -> tuple[Rows, Rows]:
    """Predictions of each row for both arms, its own arm's leave-one-out."""
    treated, clean = part.treatment > 0, part.outcome - state.loo_residuals
    return torch.where(treated, state.means[0], clean), torch.where(treated, clean, state.means[1])


def balance_keys(part: EncodedPart, state: RowState, fitted: Fitted) -> Float[Tensor, "1 n K"]:
    """Keys of a partition's rows in the balancing layer."""
    assert fitted.scores is not None
    assert fitted.pair is not None
    coordinates = fitted.pair.coordinates(prognostic_scores(part, state))
    coordinate = fitted.scores.coordinate(state.propensity)
    return fitted.model.balance_keys(part.covariates, coordinate, coordinates, fitted.settings)


def _landmark_part(pilot: TableBatch) -> EncodedPart:
    """The landmarks as a partition of their own."""
    x, t, y = (gather_rows(v, pilot.landmarks) for v in (pilot.covariates, pilot.treatment, pilot.outcome))
    return EncodedPart(x, t, y)


@torch.no_grad()
def forward(
    partitions: Partitions, model: CinaModel, pilot: TableBatch, totals: Float[Tensor, "1 4"]
) -> tuple[Fitted, Sums]:
    """Fit scores, outcome models and the balancing space by passes over the partitions.

    They keep the states ``propensity`` and ``state``. The numbers are those of :meth:`CinaModel.forward`; the sums
    beside them are the features of each outcome regression over the rows of each arm.
    """
    settings = model.settings(pilot, model.pilot(pilot), totals)
    marks = _landmark_part(pilot)
    log = settings.log_multipliers
    kernel = LandmarkKernel(marks.covariates * settings.treatment_scales[:, None], settings.treatment_amplitudes)
    found = partitions.run(score_sums, ["encoded"], settings=settings, kernel=kernel)
    fit = fit_of(found["fit"], log["treatment_penalty"].exp())
    spread = partitions.run(scores_of, ["encoded"], "propensity", settings=settings, kernel=kernel, fit=fit)["scores"]
    share = totals[:, 1:2] / totals[:, :1]
    floor = model.config.propensity_floor * (share * (1 - share)).sqrt()
    scores = ScoreModel(kernel, fit, spread.mean[None], torch.maximum(spread.sd[None], floor))
    # The landmarks' own states are computed here: they are few, and the next kernels are made of them.
    mark_propensity = scores_of(marks, settings, kernel, fit)[0]
    coordinate = scores.coordinate(mark_propensity)
    kernels = [
        LandmarkKernel(model.outcome_keys(marks.covariates, coordinate, settings, arm), settings.outcome_amplitudes)
        for arm in (0, 1)
    ]
    fitted = Fitted(model, settings, marks.covariates, scores, _unfitted(kernels, fit))
    found = partitions.run(outcome_sums, ["encoded", "propensity"], fitted=fitted)
    fits = [fit_of(found[f"fit{arm}"], log[f"{name}_penalty"].exp()) for arm, name in enumerate(("control", "treated"))]
    unbounded = torch.full((1, 1), torch.inf, dtype=torch.float64)
    models = [OutcomeModel(kernels[arm], fits[arm], -unbounded, unbounded) for arm in (0, 1)]
    fitted = dataclasses.replace(fitted, outcomes=(models[0], models[1]))
    found = partitions.run(predictions, ["encoded", "propensity"], "raw", fitted=fitted)
    ranges = [found[f"range{arm}"] for arm in (0, 1)]
    models = [
        dataclasses.replace(models[arm], lower=ranges[arm].lower.view(1, 1), upper=ranges[arm].upper.view(1, 1))
        for arm in (0, 1)
    ]
    mark_state = predictions(marks, mark_propensity, fitted)[0]
    fitted = dataclasses.replace(fitted, outcomes=(models[0], models[1]))
    spread = partitions.run(clipped, ["encoded", "raw"], "state", fitted=fitted)["prognosis"]
    partitions.forget("raw")
    divisors = spread.sd.clamp_min(model.config.propensity_floor)
    centres = spread.mean.view(2, 1, 1).unbind(0)
    pair = ScorePair((centres[0], centres[1]), (divisors[0].view(1, 1), divisors[1].view(1, 1)))
    fitted = dataclasses.replace(fitted, pair=pair)
    mark_state = clipped(marks, mark_state, fitted)[0]
    balance = LandmarkKernel(balance_keys(marks, mark_state, fitted), settings.treatment_amplitudes)
    return dataclasses.replace(fitted, balance_kernel=balance), {k: v for k, v in found.items() if "moments" in k}


def _unfitted(kernels: list[LandmarkKernel], fit: RidgeFit) -> tuple[OutcomeModel, OutcomeModel]:
    """Outcome models of which only the kernels are known."""
    zero = torch.zeros(1, 1, dtype=torch.float64)
    models = [OutcomeModel(kernel, fit, zero, zero) for kernel in kernels]
    return models[0], models[1]
