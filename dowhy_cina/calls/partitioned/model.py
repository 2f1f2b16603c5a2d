"""The forward pass as sums over partitions: scores, outcome models and the keys of the balancing layer.

Letters: n rows of a partition, D covariates, M landmarks. Every tensor has a first axis of one table.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.calls.partitioned.columns import EncodedPart
from dowhy_cina.calls.partitioned.outcomes import by_others, combinations, fit_outcomes, is_empty, kernels_of
from dowhy_cina.calls.partitioned.partitions import Extremes, Partitions, Spread, Sums, state_here
from dowhy_cina.calls.partitioned.sharing import fit_borrowing, with_borrowing
from dowhy_cina.calls.partitioned.states import Fitted, OwnState, RowScores, RowState
from dowhy_cina.mathematics.kernels import LandmarkKernel, scaled_keys
from dowhy_cina.mathematics.passes import gather_rows
from dowhy_cina.mathematics.ridge import RidgeFit, cross_validated_fit, gram_statistics
from dowhy_cina.mathematics.rows import RowFeatures
from dowhy_cina.model.links import LogLink, Powers
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.state import Pilot, ScoreModel, Settings, TableBatch
from dowhy_cina.searches.added import Additions
from dowhy_cina.searches.indicators import Indicators, may_have_labels
from dowhy_cina.searches.label_search import labels_of
from dowhy_cina.searches.labels import Labels

Rows = Float[Tensor, "1 n"]
#: Candidates for the logarithms of the control and of the treated arm.
Links = tuple[list[LogLink], list[LogLink]]


def label_sums(part: EncodedPart, indicators: Indicators) -> Sums:
    """Sums of a partition's rows over the levels of each label."""
    rows, treatment = part.covariates[0], part.treatment[0].numpy()
    return {f"label{place}": indicators.sums(place, rows, treatment) for place in range(len(indicators.groups))}


def labels_of_all(partitions: Partitions, pilot: TableBatch) -> list[Labels | None]:
    """Columns of the table's labels, whose levels are those of the pilot rows, as they are in all rows."""
    may_have = bool(may_have_labels(pilot.covariates)[0])
    indicators = Indicators.of(pilot.covariates[0]) if may_have else None
    if indicators is None:
        return [None]
    found = partitions.run(label_sums, ["encoded"], indicators=indicators)
    sums = [found[f"label{place}"] for place in range(len(indicators.groups))]
    return [labels_of(indicators, sums, pilot.covariates)]


def add_columns(part: EncodedPart, added: Additions) -> tuple[EncodedPart, Sums]:
    """A partition's rows with further columns."""
    return replace(part, covariates=added.extended(part.covariates)), {}


def score_features(part: EncodedPart, settings: Settings, kernel: LandmarkKernel) -> RowFeatures:
    """Kernels of a partition's rows in the propensity regression."""
    return kernels_of(kernel, scaled_keys(part.covariates, settings.treatment_scales))


def score_sums(part: EncodedPart, settings: Settings, kernel: LandmarkKernel) -> Sums:
    """Statistics of the propensity regression, and the shape of each arm's outcomes."""
    if is_empty(part):
        return {}
    features, ones = score_features(part, settings, kernel), torch.ones_like(part.treatment)
    return {
        "fit": gram_statistics(features, part.treatment, ones),
        f"powers{part.arm}": Powers.of(part.outcome, ones),
        f"ends{part.arm}": Extremes(part.outcome.amin(1), part.outcome.amax(1)),
    }


def scores_of(
    part: EncodedPart, settings: Settings, kernel: LandmarkKernel, fit: RidgeFit, links: Links
) -> tuple[RowScores, Sums]:
    """Propensity scores of a partition, the spread of the fitted ones, and the shape of the outcomes' logarithms."""
    if is_empty(part):
        return RowScores(part.treatment, part.treatment), {}
    scores = RowScores(*by_others(fit, score_features(part, settings, kernel), part.treatment))
    sums: Sums = {"scores": Spread.of(scores.fitted[0, :, None])}
    ones = torch.ones_like(part.treatment)
    for place, link in enumerate(links[part.arm]):
        sums[f"logs{part.arm}{place}"] = Powers.of(link.forward(part.outcome, ones), ones)
    return scores, sums


def finish(part: EncodedPart, own: OwnState, fitted: Fitted) -> tuple[RowState, Sums]:
    """What is known of rows in the end, and the spread of prognostic scores."""
    if is_empty(part):
        nothing = own.clean
        return RowState(own.scores, (nothing, nothing), nothing, (nothing, nothing)), {}
    state = with_borrowing(part, own, fitted)
    return state, {"prognosis": Spread.of(torch.cat(state.prognosis).T)}


def balance_keys(part: EncodedPart, state: RowState, fitted: Fitted) -> Float[Tensor, "1 n K"]:
    """Keys of a partition's rows in the balancing layer."""
    assert fitted.pair is not None
    coordinates = fitted.pair.coordinates(state.prognosis)
    coordinate = fitted.scores.coordinate(state.scores.fitted)
    return fitted.model.balance_keys(part.covariates, coordinate, coordinates, fitted.settings)


def _landmark_part(pilot: TableBatch) -> EncodedPart:
    """The landmarks as a partition of their own."""
    x, t, y = (gather_rows(v, pilot.landmarks) for v in (pilot.covariates, pilot.treatment, pilot.outcome))
    return EncodedPart(x, t, y)


@torch.no_grad()
def forward(
    partitions: Partitions, model: CinaModel, pilot: TableBatch, totals: Float[Tensor, "1 4"], known: Pilot | None
) -> tuple[Fitted, Sums]:
    """Fit scores, outcome models and the balancing space by passes over the partitions.

    ``known`` is what the pilot says, where that is known. The partitions keep the states ``scores`` and ``state``.
    The numbers are those of :meth:`CinaModel.forward`; the sums beside them are those of :func:`predictions`.
    """
    settings = model.settings(pilot, known or model.pilot(pilot), totals)
    marks = _landmark_part(pilot)
    kernel = LandmarkKernel(scaled_keys(marks.covariates, settings.treatment_scales), settings.treatment_amplitudes)
    found = partitions.run(score_sums, ["encoded"], settings=settings, kernel=kernel)
    fit = cross_validated_fit(found["fit"], settings.log_multipliers["treatment_penalty"].exp())
    powers = [found[f"powers{arm}"] for arm in (0, 1)]
    ends = [(found[f"ends{arm}"].lower, found[f"ends{arm}"].upper) for arm in (0, 1)]
    control, treated = (LogLink.candidates(*pair) for pair in zip(powers, ends, strict=True))
    scored: dict[str, Any] = {"settings": settings, "kernel": kernel, "fit": fit, "links": (control, treated)}
    shape = partitions.run(scores_of, ["encoded"], "scores", **scored)
    spread, share = shape["scores"], totals[:, 1:2] / totals[:, :1]
    floor = model.config.propensity_floor * (share * (1 - share)).sqrt()
    scores = ScoreModel.of(kernel, fit, spread.mean[None], spread.sd[None], floor)
    # The landmarks' own states are computed here: they are few, and the next kernels are made of them.
    mark_scores = state_here(scores_of, marks, **scored)
    coordinate = scores.coordinate(mark_scores.fitted)
    spaces = [model.outcome_space(marks.covariates, coordinate, settings, arm) for arm in (0, 1)]
    least = [
        LogLink.least_skewed(own, powers[arm], [shape[f"logs{arm}{place}"] for place in range(len(own))])
        for arm, own in enumerate((control, treated))
    ]
    links = [None if link is None else (link, own) for link, own in zip(least, (control, treated), strict=True)]
    fitted = Fitted(model, settings, scores, (spaces[0], spaces[1]), (links[0], links[1]))
    fitted, found, raw = fit_outcomes(partitions, fitted, (marks, mark_scores))
    mark_own = state_here(combinations, marks, raw, fitted=fitted)
    fitted = fit_borrowing(partitions, fitted)
    spread = partitions.run(finish, ["encoded", "own"], "state", fitted=fitted)["prognosis"]
    partitions.forget("own")
    moments = list(zip(spread.mean[:, None], spread.sd[:, None], strict=True))
    fitted = replace(fitted, pair=model.prognosis(moments[0], moments[1]))
    mark_state = state_here(finish, marks, mark_own, fitted=fitted)
    balance = LandmarkKernel(balance_keys(marks, mark_state, fitted), settings.treatment_amplitudes)
    return replace(fitted, balance_kernel=balance), found
