"""The forward pass as sums over partitions: scores, outcome models and the keys of the balancing layer.

Letters: n rows of a partition, D covariates, M landmarks. Every tensor has a first axis of one table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.calls.partitioned.columns import EncodedPart
from dowhy_cina.calls.partitioned.partitions import Extremes, Partitions, Smallest, Spread, Sums
from dowhy_cina.mathematics.kernels import LandmarkKernel, RowFeatures, gather_rows, places_of
from dowhy_cina.mathematics.ridge import RidgeFit, cross_validated_fit, gram_statistics, leave_one_out_residuals
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.outcome import (
    Agreement,
    OutcomeRegression,
    OutcomeSpace,
    guarded,
    leave_one_out,
    toward_mean,
)
from dowhy_cina.model.state import ScoreModel, ScorePair, Settings, TableBatch, prognostic_scores

Rows = Float[Tensor, "1 n"]


@dataclass(frozen=True)
class Fitted:
    """What is known of the whole table, step by step; sent to every worker.

    Attributes
    ----------
    model : CinaModel
    settings : Settings
    scores, pair
        As in :class:`dowhy_cina.model.state.ZeroShot`, once they are fitted.
    spaces : tuple of OutcomeSpace
        Of the outcome regressions that are still to be fitted.
    regressions : tuple of OutcomeRegression
    balance_kernel : LandmarkKernel
    """

    model: CinaModel
    settings: Settings
    scores: ScoreModel
    spaces: tuple[OutcomeSpace, OutcomeSpace]
    regressions: tuple[OutcomeRegression, ...] = ()
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


def is_empty(part: EncodedPart) -> bool:
    """Whether a partition has no row of either arm."""
    return part.treatment.shape[1] == 0


def score_features(part: EncodedPart, settings: Settings, kernel: LandmarkKernel) -> RowFeatures:
    """Kernels of a partition's rows in the propensity regression."""
    return RowFeatures.build(kernel, part.covariates * settings.treatment_scales[:, None], whiten=False)


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
    covariates, coordinate = part.covariates, fitted.scores.coordinate(propensity)
    if places is not None:
        covariates, coordinate = gather_rows(covariates, places), coordinate.gather(1, places)
    space = fitted.spaces[arm]
    return RowFeatures.build(space.kernel, space.keys(covariates, coordinate), whiten=False)


def arm_rows(part: EncodedPart, arm: int) -> Rows:
    """1 for the rows of an arm, 0 for the others."""
    return part.treatment if arm else 1 - part.treatment


def chance(propensity: Rows, arm: int) -> Rows:
    """Chance that rows had of being in an arm."""
    bounded = propensity.clamp(0, 1)
    return bounded if arm else 1 - bounded


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
    """What the fits alone say of both arms, and leave-one-out residuals of each row's own.

    The sums hold what the fits span in their arms, how outcomes agree with predictions by the other rows, the moments
    of each regression over the rows of both arms, ``moments[regression][arm]``, and the smallest chances that rows of
    each arm had of their treatment.
    """
    if is_empty(part):
        return RowState(propensity, (propensity, propensity), propensity), {}
    sums: Sums = {}
    means, residuals = [], torch.zeros_like(part.outcome)
    for arm, regression in enumerate(fitted.regressions):
        features, rows = outcome_features(part, propensity, fitted, arm), arm_rows(part, arm)
        places = places_of(rows)
        found, loo = leave_one_out(regression.fit, features, features.take(places), places, part.outcome, rows)
        residuals = torch.where(rows > 0, loo, residuals)
        means.append(found)
        sums[f"agreement{arm}"] = Agreement.of(regression.fit, part.outcome, loo, rows)
        for other in (0, 1):
            sums[f"moments{arm}{other}"] = features.mean(arm_rows(part, other))
        if rows.any():
            sums[f"range{arm}"] = Extremes(found[rows > 0].amin(), found[rows > 0].amax())
            sums[f"chances{arm}"] = Smallest(chance(propensity, arm)[rows > 0])
    return RowState(propensity, (means[0], means[1]), residuals), sums


def guard(part: EncodedPart, state: RowState, fitted: Fitted) -> tuple[RowState, Sums]:
    """Means shrunk by the trust in each regression, within the arms' ranges, and the spread of prognostic scores."""
    if is_empty(part):
        return state, {}
    means, residuals = [], torch.zeros_like(part.outcome)
    for arm, (regression, mean) in enumerate(zip(fitted.regressions, state.means, strict=True)):
        rows = arm_rows(part, arm)
        found, loo = guarded(regression.fit, regression.trust, mean, state.loo_residuals, part.outcome, rows)
        residuals = torch.where(rows > 0, loo, residuals)
        means.append(regression.clip(found))
    state = replace(state, means=(means[0], means[1]), loo_residuals=residuals)
    return state, {"prognosis": Spread.of(torch.cat(_prognosis(part, state)).T)}


def _prognosis(part: EncodedPart, state: RowState) -> tuple[Rows, Rows]:
    return prognostic_scores(part.treatment, part.outcome, state.means, state.loo_residuals)


def balance_keys(part: EncodedPart, state: RowState, fitted: Fitted) -> Float[Tensor, "1 n K"]:
    """Keys of a partition's rows in the balancing layer."""
    assert fitted.pair is not None
    coordinates = fitted.pair.coordinates(_prognosis(part, state))
    coordinate = fitted.scores.coordinate(state.propensity)
    return fitted.model.balance_keys(part.covariates, coordinate, coordinates, fitted.settings)


def _trusted(regression: OutcomeRegression, found: Sums, arm: int) -> OutcomeRegression:
    """Regression with the trust and the range that the sums of :func:`predictions` give it."""
    trust = found[f"agreement{arm}"].trust
    lower, upper = (
        toward_mean(regression.fit, end.view(1, 1), trust)
        for end in (found[f"range{arm}"].lower, found[f"range{arm}"].upper)
    )
    return replace(regression, trust=trust, lower=lower, upper=upper)


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
    beside them are those of :func:`predictions`.
    """
    settings = model.settings(pilot, model.pilot(pilot), totals)
    marks = _landmark_part(pilot)
    kernel = LandmarkKernel(marks.covariates * settings.treatment_scales[:, None], settings.treatment_amplitudes)
    found = partitions.run(score_sums, ["encoded"], settings=settings, kernel=kernel)
    fit = cross_validated_fit(found["fit"], settings.log_multipliers["treatment_penalty"].exp())
    spread = partitions.run(scores_of, ["encoded"], "propensity", settings=settings, kernel=kernel, fit=fit)["scores"]
    share = totals[:, 1:2] / totals[:, :1]
    floor = model.config.propensity_floor * (share * (1 - share)).sqrt()
    scores = ScoreModel.of(kernel, fit, spread.mean[None], spread.sd[None], floor)
    # The landmarks' own states are computed here: they are few, and the next kernels are made of them.
    mark_propensity = scores_of(marks, settings, kernel, fit)[0]
    coordinate = scores.coordinate(mark_propensity)
    control, treated = (model.outcome_space(marks.covariates, coordinate, settings, arm) for arm in (0, 1))
    fitted = Fitted(model, settings, scores, (control, treated))
    found = partitions.run(outcome_sums, ["encoded", "propensity"], fitted=fitted)
    unbounded = torch.full((1, 1), torch.inf, dtype=torch.float64)
    regressions = [
        OutcomeRegression(
            space,
            cross_validated_fit(found[f"fit{arm}"], model.outcome_penalty(settings, arm)),
            torch.ones(1, dtype=torch.float64),
            -unbounded,
            unbounded,
        )
        for arm, space in enumerate(fitted.spaces)
    ]
    fitted = replace(fitted, regressions=tuple(regressions))
    found = partitions.run(predictions, ["encoded", "propensity"], "raw", fitted=fitted)
    mark_state = predictions(marks, mark_propensity, fitted)[0]
    bounded = [_trusted(regression, found, arm) for arm, regression in enumerate(fitted.regressions)]
    fitted = replace(fitted, regressions=tuple(bounded))
    spread = partitions.run(guard, ["encoded", "raw"], "state", fitted=fitted)["prognosis"]
    partitions.forget("raw")
    moments = list(zip(spread.mean[:, None], spread.sd[:, None], strict=True))
    fitted = replace(fitted, pair=model.prognosis(moments[0], moments[1]))
    mark_state = guard(marks, mark_state, fitted)[0]
    balance = LandmarkKernel(balance_keys(marks, mark_state, fitted), settings.treatment_amplitudes)
    return replace(fitted, balance_kernel=balance), found
