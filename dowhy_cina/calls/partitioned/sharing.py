"""What an arm borrows from the other arm's regression, as sums over partitions: the effect, its share and its range.

Letters: n rows of a partition, L columns. Every tensor has a first axis of one table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.calls.partitioned.columns import EncodedPart
from dowhy_cina.calls.partitioned.outcomes import by_others, is_empty, outcome_rows, range_of, range_sums
from dowhy_cina.calls.partitioned.partitions import Extremes, Partitions, Sums
from dowhy_cina.calls.partitioned.states import Fitted, OwnState, RowScores, RowState
from dowhy_cina.mathematics.balancing import Tables
from dowhy_cina.mathematics.columns import ColumnFeatures
from dowhy_cina.mathematics.ridge import RidgeFit, cross_validated_fit, gram_statistics
from dowhy_cina.model.agreement import Agreement
from dowhy_cina.model.lacking import TOLERANCE, Lacking, told
from dowhy_cina.model.outcome import Moment, Response
from dowhy_cina.model.shares import likeness
from dowhy_cina.model.sharing import ArmRegression, Borrowed, EffectResponse, SharedRows

Rows = Float[Tensor, "1 n"]


@dataclass(frozen=True)
class ArmResponse:
    """How an arm's mean outcome weighs the outcomes of its own rows and, where it borrows, of the other arm's."""

    own: Response
    lent: Response | None


def shared_rows(part: EncodedPart, scores: RowScores, fitted: Fitted, arm: int) -> SharedRows:
    """A partition's rows as an arm's regression sees them."""
    own = outcome_rows(part, scores, fitted, arm)
    if fitted.arms[arm].borrowed is None:
        return SharedRows(own, own)  # nobody asks for the other's
    return SharedRows(own, outcome_rows(part, scores, fitted, 1 - arm))


def _lent(own: OwnState, fitted: Fitted, arm: int) -> Rows:
    """What the other arm's regression says of all rows, within its range."""
    return fitted.regressions[1 - arm].clip(own.fitted[1 - arm])


def effect_sums(part: EncodedPart, own: OwnState, fitted: Fitted) -> Sums:
    """Statistics of the effect of the rows' arm, in the columns."""
    if is_empty(part):
        return {}
    response, columns = part.outcome - _lent(own, fitted, part.arm), ColumnFeatures(part.covariates)
    return {
        f"effect{part.arm}": gram_statistics(columns, response, torch.ones_like(response)),
        f"ends{part.arm}": Extremes(part.covariates.amin(1), part.covariates.amax(1)),
    }


def lending_sums(
    part: EncodedPart, own: OwnState, fitted: Fitted, effects: list[RidgeFit], ends: list[Extremes]
) -> Sums:
    """How each arm's outcomes agree with what it may borrow, and what its effect spans and leaves.

    Also how many rows are of a kind that the other arm, the ends of whose columns are given, may lack.
    """
    if is_empty(part):
        return {}
    arm, ones = part.arm, torch.ones_like(part.outcome)
    effect, lent = effects[arm], _lent(own, fitted, arm)
    response = part.outcome - lent
    by_fit, clean = by_others(effect, ColumnFeatures(part.covariates), response)
    wanted, offered = part.outcome - own.clean, lent + clean - own.clean
    other = 1 - arm
    level, constant = ends[other].lower, ends[other].upper - ends[other].lower < TOLERANCE
    apart = (part.covariates - level[:, None]) * constant[:, None]
    missed = _lent(own, fitted, other) + effects[other].predict(ColumnFeatures(part.covariates))
    missed = missed - fitted.regressions[other].clip(own.fitted[other])
    return {
        f"off{other}": (apart.abs() >= TOLERANCE).to(ones.dtype).sum(1),
        f"squares{other}": torch.bmm(apart.mT, apart),
        f"missed{other}": torch.bmm(missed[:, None], apart)[:, 0],
        f"agreement{arm}": Agreement.of(wanted, offered, ones),
        f"alike{arm}": Agreement.of(wanted, offered, likeness(ones, own.scores.propensity, arm)),
        **range_sums(arm, by_fit, response, effect.intercept[:, None], clean),
    }


def fit_borrowing(partitions: Partitions, fitted: Fitted) -> Fitted:
    """Both regressions with what their arms borrow, as :func:`~dowhy_cina.model.fitting.with_borrowing` does."""
    names, one = ["encoded", "own"], torch.ones(1, dtype=torch.float64, device="cpu")
    sums = partitions.run(effect_sums, names, fitted=fitted)
    effects = [cross_validated_fit(sums[f"effect{arm}"], one) for arm in (0, 1)]
    ends, sizes = [sums[f"ends{arm}"] for arm in (0, 1)], [sums[f"effect{arm}"].count[:, None] for arm in (0, 1)]
    sums = partitions.run(lending_sums, names, fitted=fitted, effects=effects, ends=ends)
    varying = torch.maximum(ends[0].upper, ends[1].upper) > torch.minimum(ends[0].lower, ends[1].lower)
    arms = []
    for arm, effect in enumerate(effects):
        share = torch.minimum(sums[f"agreement{arm}"].trust, sums[f"alike{arm}"].trust)
        rows = told(sums[f"off{arm}"], sizes[arm], sizes[1 - arm], 1.0, varying.sum(1, keepdim=True))
        lacking = Lacking(rows, ends[arm].lower, torch.zeros_like(rows))
        if lacking.any:
            lacking = lacking.by_means(sums[f"squares{arm}"], (1 - share[:, None]) * sums[f"missed{arm}"])
        borrowed = Borrowed(fitted.regressions[1 - arm], effect, *range_of(sums, arm), share, lacking)
        arms.append(
            ArmRegression(fitted.regressions[arm], borrowed if bool((share > 0).any()) or lacking.any else None)
        )
    return replace(fitted, arms=tuple(arms))


def with_borrowing(part: EncodedPart, own: OwnState, fitted: Fitted) -> RowState:
    """Mean outcomes of a partition's rows, and what those say that have not seen them."""
    means, loo, prognosis = [], part.outcome - own.clean, []
    for arm, regression in enumerate(fitted.arms):
        mean, borrowed, inside = regression.own.clip(own.fitted[arm]), regression.borrowed, arm == part.arm
        prognosis.append(mean)
        if borrowed is not None:
            share, lent = borrowed.share[:, None], _lent(own, fitted, arm)
            columns = ColumnFeatures(part.covariates)
            if inside:
                by_fit, clean = by_others(borrowed.effect, columns, part.outcome - lent)
                loo = loo - share * (lent + clean - own.clean)
            else:
                by_fit = borrowed.effect.predict(columns)
            mean = mean + share * (lent + borrowed.clip(by_fit) - mean) + borrowed.lacking.offset(columns)
        means.append(mean)
    return RowState(own.scores, (means[0], means[1]), loo, (prognosis[0], prognosis[1]))


def moments_of(found: Sums, fitted: Fitted, share: tuple[float, float]) -> tuple[Moment, Moment]:
    """Moments of a target in which each row of an arm has this weight, from the sums of ``outcomes.predictions``."""
    own = [share[0] * found[f"moments{arm}0"] + share[1] * found[f"moments{arm}1"] for arm in (0, 1)]
    control, treated = (
        own[arm] if regression.borrowed is None else torch.cat([own[arm], own[1 - arm]], 1)
        for arm, regression in enumerate(fitted.arms)
    )
    return control, treated


def lent_sums(part: EncodedPart, state: RowState, fitted: Fitted, effects: list[EffectResponse | None]) -> Sums:
    """Moments of each borrowing arm's rows in its source, weighted as its effect weighs them."""
    if is_empty(part):
        return {}
    arm, effect = part.arm, effects[part.arm]
    if effect is None:
        return {}
    rows = outcome_rows(part, state.scores, fitted, 1 - arm)
    return {f"lent{arm}": fitted.arms[arm].lent_moment(SharedRows(rows, rows), effect.of(rows.columns))}


def arm_responses(
    partitions: Partitions, fitted: Fitted, target: tuple[Moment, Moment], weighted: list[Moment], shrinkage: Tables
) -> list[ArmResponse]:
    """How both arms' augmented means weigh outcomes, see :func:`~dowhy_cina.estimating.estimation.arm_weights`.

    Parameters
    ----------
    target : tuple of Tensor, shape (1, K)
        Moments of the target.
    weighted : list of Tensor, shape (1, K)
        Those of the rows of each arm with their balancing weights.
    shrinkage : Tensor, shape (1,)
        Share of the correction.
    """
    directions = [goal - shrinkage[:, None] * moment for goal, moment in zip(target, weighted, strict=True)]
    pairs = [fitted.arms[arm].response(direction, 1 - shrinkage) for arm, direction in enumerate(directions)]
    effects, sums = [effect for _, effect in pairs], {}
    if any(effect is not None for effect in effects):
        sums = partitions.run(lent_sums, ["encoded", "state"], fitted=fitted, effects=effects)
    lent = [
        fitted.arms[arm].lent_response(direction, sums[f"lent{arm}"]) if f"lent{arm}" in sums else None
        for arm, direction in enumerate(directions)
    ]
    return [ArmResponse(own, borrowed) for (own, _), borrowed in zip(pairs, lent, strict=True)]
