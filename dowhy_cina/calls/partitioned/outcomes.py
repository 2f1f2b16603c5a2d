"""The outcome regressions as sums over partitions: members, their shares, and what they say of each row.

Letters: n rows of a partition, M landmarks. Every tensor has a first axis of one table.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.calls.partitioned.columns import EncodedPart
from dowhy_cina.calls.partitioned.partitions import Extremes, Partitions, Smallest, Sums, state_here
from dowhy_cina.calls.partitioned.states import Fitted, Links, OwnState, RawState, Rows, RowScores
from dowhy_cina.mathematics.columns import ColumnFeatures, RegressionFeatures
from dowhy_cina.mathematics.kernels import LandmarkKernel
from dowhy_cina.mathematics.ridge import RidgeFit, cross_validated_fit, gram_statistics, leave_one_out_residuals
from dowhy_cina.mathematics.rows import RowFeatures
from dowhy_cina.model.agreement import Agreement
from dowhy_cina.model.fitting import allowed_range
from dowhy_cina.model.links import LogLink
from dowhy_cina.model.outcome import LogMember, Member, OutcomeRegression, combined
from dowhy_cina.model.shares import likeness, with_share
from dowhy_cina.model.spaces import OutcomeRows

#: Shares of the members of both regressions, as far as they are known.
Shares = tuple[list[Tensor], ...]


def is_empty(part: EncodedPart) -> bool:
    """Whether a partition has no row of either arm."""
    return part.treatment.shape[1] == 0


def kernels_of(kernel: LandmarkKernel, keys: Float[Tensor, "1 n K"]) -> RowFeatures:
    """Kernels of rows that a pass looks at together, which are one block."""
    return RowFeatures.build(kernel, keys, whiten=False, block_entries=keys.shape[1] * kernel.landmarks.shape[1])


def outcome_rows(part: EncodedPart, scores: RowScores, fitted: Fitted, arm: int) -> OutcomeRows:
    """A partition's rows as the outcome regression of an arm sees them."""
    space = fitted.spaces[arm]
    keys = space.keys(part.covariates, fitted.scores.coordinate(scores.fitted))
    return OutcomeRows(kernels_of(space.kernel, keys), ColumnFeatures(part.covariates))


def by_others(fit: RidgeFit, rows: RegressionFeatures, response: Rows) -> tuple[Rows, Rows]:
    """Predictions of rows, all of which are in the fit: by itself, and by all others."""
    fitted = fit.predict(rows)
    leverage = fit.leverage(rows, torch.ones_like(response))
    return fitted, response - leave_one_out_residuals(response, fitted, leverage)


def chance(propensity: Rows, arm: int) -> Rows:
    """Chance that rows had of being in an arm."""
    bounded = propensity.clamp(0, 1)
    return bounded if arm else 1 - bounded


def tried(links: Links | None) -> list[tuple[LogLink, bool]]:
    """Logarithms of an arm that are regressed on, and whether it is on the columns."""
    return [] if links is None else [(links[0], False), *((link, True) for link in links[1])]


def outcome_sums(part: EncodedPart, scores: RowScores, fitted: Fitted) -> Sums:
    """Statistics of the regression of the rows' arm by kernel, columns and logarithm."""
    if is_empty(part):
        return {}
    arm, outcome, ones = part.arm, part.outcome, torch.ones_like(part.outcome)
    rows = outcome_rows(part, scores, fitted, arm).with_features()
    sums: Sums = {
        f"kernel{arm}": gram_statistics(rows.kernel, outcome, ones),
        f"linear{arm}": gram_statistics(rows.columns, outcome, ones),
    }
    for place, (link, straight) in enumerate(tried(fitted.links[arm])):
        features = rows.columns if straight else rows.kernel
        sums[f"log{arm}{place}"] = gram_statistics(features, link.forward(outcome, ones), ones)
    return sums


def log_errors(part: EncodedPart, regressions: tuple[OutcomeRegression, ...]) -> Sums:
    """How well each logarithm in the columns predicts its arm's outcomes by the other rows.

    With the outcomes m above the logarithm's zero and the exponentials e of predictions, the sums of m, e, m^2, m e and
    e^2, from which the squared error follows whatever the factor of the way back.
    """
    if is_empty(part):
        return {}
    sums: Sums = {}
    arm, columns = part.arm, ColumnFeatures(part.covariates)
    for place, log in enumerate(regressions[arm].logarithms):
        if log.straight:
            response = log.link.forward(part.outcome, torch.ones_like(part.outcome))
            above, grown = response.exp(), log.link.grown(by_others(log.fit, columns, response)[1])
            parts = [above, grown, above.square(), above * grown, grown.square()]
            sums[f"errors{arm}{place}"] = torch.stack([part.sum(1) for part in parts])
    return sums


def predictions(part: EncodedPart, scores: RowScores, fitted: Fitted) -> tuple[RawState, Sums]:
    """What each member says of both arms, and of each row's own arm by the other rows.

    The sums hold the moments of each regression over the rows of both arms, ``moments[regression][arm]``, the smallest
    chances that rows of each arm had of their treatment, and what the way back from each logarithm rests on; moments
    and the latter with a factor of one.
    """
    if is_empty(part):
        return RawState(scores, ((), ()), ()), {}
    arm, ones = part.arm, torch.ones_like(part.treatment)
    sums: Sums = {f"chances{arm}": Smallest(chance(scores.propensity, arm)[0])}
    fits, clean = [], [torch.zeros_like(ones) for _ in range(fitted.most_members)]
    for place, regression in enumerate(fitted.regressions):
        rows = outcome_rows(part, scores, fitted, place)
        sums[f"moments{place}{arm}"] = regression.moment(rows, ones)
        if place != arm:
            members = (regression.kernel.fit, rows.kernel), (regression.linear.fit, rows.columns)
            logs = [log.logarithms(rows) for log in regression.logarithms]
            fits.append((*(fit.predict(features) for fit, features in members), *logs))
            continue
        found, of_logs = _by_members(part, regression, rows)
        fits.append(tuple(pair[0] for pair in found))
        clean[: len(found)] = [pair[1] for pair in found]
        sums |= of_logs
    return RawState(scores, (fits[0], fits[1]), tuple(clean)), sums


def _by_members(
    part: EncodedPart, regression: OutcomeRegression, rows: OutcomeRows
) -> tuple[list[tuple[Rows, Rows]], Sums]:
    """What each member of the regression of the rows' own arm says of them, and what ways back rest on."""
    sums: Sums = {}
    found = [
        by_others(regression.kernel.fit, rows.kernel, part.outcome),
        by_others(regression.linear.fit, rows.columns, part.outcome),
    ]
    for place, log in enumerate(regression.logarithms):
        response = log.link.forward(part.outcome, torch.ones_like(part.outcome))
        found.append(by_others(log.fit, log.features(rows), response))
        grown, name = log.link.grown(found[-1][1]), f"{part.arm}{place}"
        sums |= {f"grown{name}": grown.sum(1), f"centre{name}": log.features(rows).mean(grown)}
    return found, sums


def agreements(part: EncodedPart, raw: RawState, fitted: Fitted, shares: Shares, last: bool) -> Sums:
    """How each arm's outcomes agree with its next member, given the shares of those before, or in the end with all."""
    if is_empty(part):
        return {}
    arm, ones = part.arm, torch.ones_like(part.outcome)
    regression, known = fitted.regressions[arm], shares[arm]
    mean, clean = regression.intercept, raw.clean_of(regression)
    found, place = combined(mean, clean[: len(known)], known), len(known)
    if last:
        return {f"agreement{arm}": Agreement.of(part.outcome - mean, found - mean, ones)}
    if place == len(clean):
        return {}
    return {
        f"{name}{arm}": Agreement.of(part.outcome - found, clean[place] - found, weights)
        for name, weights in (("agreement", ones), ("alike", likeness(ones, raw.scores.propensity, arm)))
    }


def range_sums(arm: int, fitted: Rows, response: Rows, mean: Tensor, clean: Rows) -> Sums:
    """What :func:`range_of` needs of fitted values of an arm's rows, given predictions of them by the others."""
    return {
        f"ends{arm}": Extremes(fitted.amin(1, keepdim=True), fitted.amax(1, keepdim=True)),
        f"left{arm}": (response - clean).square().sum(1),
        f"total{arm}": (response - mean).square().sum(1),
    }


def range_of(sums: Sums, arm: int) -> tuple[Float[Tensor, "1 1"], Float[Tensor, "1 1"]]:
    """Range of an arm's predictions."""
    ends, tiny = sums[f"ends{arm}"], torch.finfo(torch.float64).tiny
    left = sums[f"left{arm}"] / sums[f"total{arm}"].clamp_min(tiny)
    return allowed_range((ends.lower, ends.upper), left)


def combinations(part: EncodedPart, raw: RawState, fitted: Fitted) -> tuple[OwnState, Sums]:
    """Predictions by all members, what they span in their arms, and what those by the other rows leave."""
    if is_empty(part):
        nothing = part.treatment
        return OwnState(raw.scores, (nothing, nothing), nothing), {}
    control, treated = (one.combined(raw.fitted_of(one, arm)) for arm, one in enumerate(fitted.regressions))
    arm = part.arm
    regression, own = fitted.regressions[arm], treated if arm else control
    mean, share = regression.intercept, 1 / regression.kernel.fit.count[:, None]
    without = part.outcome - leave_one_out_residuals(part.outcome, mean, share.expand_as(part.outcome))
    clean = combined(without, raw.clean_of(regression), regression.shares)
    return OwnState(raw.scores, (control, treated), clean), range_sums(arm, own, part.outcome, mean, clean)


def fit_outcomes(
    partitions: Partitions, fitted: Fitted, marks: tuple[EncodedPart, RowScores]
) -> tuple[Fitted, Sums, RawState]:
    """Both regressions by the arms' own rows, the sums of :func:`predictions`, and what members say of the landmarks.

    The state ``own`` is kept.
    """
    regressions = _members(fitted, partitions.run(outcome_sums, ["encoded", "scores"], fitted=fitted))
    if any(fitted.links):
        regressions = _best(regressions, partitions.run(log_errors, ["encoded"], regressions=regressions))
    fitted = replace(fitted, regressions=regressions)
    found = partitions.run(predictions, ["encoded", "scores"], "raw", fitted=fitted)
    raw = state_here(predictions, *marks, fitted=fitted)
    fitted = replace(fitted, regressions=tuple(_scaled(r, found, arm) for arm, r in enumerate(fitted.regressions)))
    shares: Shares = tuple([torch.ones(1, dtype=torch.float64, device="cpu")] for _ in fitted.regressions)
    for _ in range(1, fitted.most_members):
        sums = partitions.run(agreements, ["encoded", "raw"], fitted=fitted, shares=shares, last=False)
        shares = tuple(
            with_share(own, torch.minimum(sums[f"agreement{arm}"].trust, sums[f"alike{arm}"].trust))
            if f"agreement{arm}" in sums
            else own
            for arm, own in enumerate(shares)
        )
    sums = partitions.run(agreements, ["encoded", "raw"], fitted=fitted, shares=shares, last=True)
    kept = [
        regression.with_shares([sums[f"agreement{arm}"].trust * share for share in shares[arm]])
        for arm, regression in enumerate(fitted.regressions)
    ]
    fitted = replace(fitted, regressions=tuple(kept))
    sums = partitions.run(combinations, ["encoded", "raw"], "own", fitted=fitted)
    partitions.forget("raw")
    bounded = []
    for arm, regression in enumerate(fitted.regressions):
        lower, upper = range_of(sums, arm)
        bounded.append(replace(regression, lower=lower, upper=upper))
    return replace(fitted, regressions=tuple(bounded)), found, raw


def _members(fitted: Fitted, found: Sums) -> tuple[OutcomeRegression, ...]:
    """Both regressions from the statistics of :func:`outcome_sums`, all of whose kernel is kept.

    They have all logarithms of the columns that are tried.
    """
    one = torch.ones(1, dtype=torch.float64, device="cpu")
    unbounded = torch.full_like(one, torch.inf)[None]
    regressions = []
    for arm, (space, links) in enumerate(zip(fitted.spaces, fitted.links, strict=True)):
        multiplier = fitted.model.outcome_penalty(fitted.settings, arm)
        kernel = cross_validated_fit(found[f"kernel{arm}"], multiplier)
        linear = cross_validated_fit(found[f"linear{arm}"], one)
        logarithms = []
        for place, (link, straight) in enumerate(tried(links)):
            fit = cross_validated_fit(found[f"log{arm}{place}"], one if straight else multiplier)
            logarithms.append(LogMember(fit, link, 0 * one, fit.centre, straight))
        members = Member(kernel, one), Member(linear, 0 * one)
        regressions.append(OutcomeRegression(space, *members, tuple(logarithms), -unbounded, unbounded))
    return tuple(regressions)


def _best(regressions: tuple[OutcomeRegression, ...], found: Sums) -> tuple[OutcomeRegression, ...]:
    """Regressions that keep, of the logarithms of the columns, the one with the least of :func:`log_errors`."""
    kept = []
    for arm, regression in enumerate(regressions):
        errors = {}
        for place in range(len(regression.logarithms)):
            if f"errors{arm}{place}" in found:
                above, grown, squares, product, grown_squares = found[f"errors{arm}{place}"]
                factor = above / grown
                errors[place] = float(squares - 2 * factor * product + factor.square() * grown_squares)
        best = min(errors, key=errors.__getitem__, default=None)
        logs = (log for place, log in enumerate(regression.logarithms) if not log.straight or place == best)
        kept.append(replace(regression, logarithms=tuple(logs)))
    return tuple(kept)


def _scaled(regression: OutcomeRegression, found: Sums, arm: int) -> OutcomeRegression:
    """Regression with the ways back from its logarithms; scales its moments, which had factors of one, in place."""
    logs = []
    for place, log in enumerate(regression.logarithms):
        grown = found[f"grown{arm}{place}"]
        link = log.link.scaled(grown / log.fit.count)
        logs.append(replace(log, link=link, centre=found[f"centre{arm}{place}"] / grown[:, None]))
    for other in (0, 1):
        moment = found[f"moments{arm}{other}"]
        found[f"moments{arm}{other}"] = regression.rescaled(moment, [log.link.factor for log in logs])
    return replace(regression, logarithms=tuple(logs))
