"""The outcome regression of an arm, as the few things that an estimate asks of it.

Ridge regressions, its *members*, say what an arm's outcome is on the average: one in the kernel's features, one in the
columns as they are, which goes on beyond the arm's rows, and, where outcomes are skewed, one of their logarithm in
each of both. A prediction is the arm's mean and a share of each member's departure from it, see
:mod:`dowhy_cina.model.fitting`.

Whatever a regression averages over a population is its *moment* of that population, shape (B, K): linear in the rows'
weights, so that moments add up over parts of a table, and read by the regression alone.

Letters: B tables, N rows of a table, n of any rows, D covariates, M landmarks, L columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina._caching import cached_property
from dowhy_cina.mathematics.balancing import Tables
from dowhy_cina.mathematics.columns import RegressionFeatures
from dowhy_cina.mathematics.ridge import RidgeFit
from dowhy_cina.model.links import LogLink
from dowhy_cina.model.spaces import OutcomeRows, OutcomeSpace

Moment = Float[Tensor, "B K"]

#: Arms, in the order of every pair.
ARMS = ("control", "treated")


@dataclass(frozen=True)
class Member:
    """A ridge regression of an arm's outcome, and the share of its departure from the arm's mean that is kept, (B,)."""

    fit: RidgeFit
    share: Tables


@dataclass(frozen=True)
class LogMember:
    """A ridge regression of the logarithm of an arm's outcome, and the share of its departure that is kept.

    Attributes
    ----------
    fit : RidgeFit
    link : LogLink
    share : Tensor, shape (B,)
    centre : Tensor, shape (B, M) or (B, L)
        Mean of the features in the arm, weighted by the exponentials of predictions, on which the link's factor rests.
    straight : bool
        Whether the features are the columns; otherwise they are the kernel's.
    """

    fit: RidgeFit
    link: LogLink
    share: Tables
    centre: Float[Tensor, "B M"]
    straight: bool

    def features(self, rows: OutcomeRows) -> RegressionFeatures:
        """What the regression reads of rows."""
        return rows.columns if self.straight else rows.kernel

    def logarithms(self, rows: OutcomeRows) -> Float[Tensor, "B n"]:
        """Predicted logarithms of rows."""
        return self.fit.predict(self.features(rows))


@dataclass(frozen=True)
class Response:
    """How a prediction weighs the outcome of each row that it was fitted to.

    That is ``level + kernel . phi(x) + linear . z(x)`` and, for each logarithm g, ``g'(m(x)) (level + slope . f(x))``,
    with m(x) the mean outcome by it and f(x) the features that it is regressed on.

    Attributes
    ----------
    level : Tensor, shape (B, 1)
    kernel, linear : Tensor, shape (B, M) and (B, L)
    logarithms : sequence of tuples of LogMember and Tensor of shape (B, 1) and (B, M) or (B, L)
    """

    level: Float[Tensor, "B 1"]
    kernel: Float[Tensor, "B M"]
    linear: Float[Tensor, "B L"]
    logarithms: Sequence[tuple[LogMember, Float[Tensor, "B 1"], Float[Tensor, "B M"]]] = ()

    def scaled(self, factor: Float[Tensor, "B 1"]) -> Response:
        """The same times a factor."""
        scaled = [(log, factor * level, factor * slope) for log, level, slope in self.logarithms]
        return Response(factor * self.level, factor * self.kernel, factor * self.linear, scaled)

    def with_linear(self, level: Float[Tensor, "B 1"], slope: Float[Tensor, "B L"]) -> Response:
        """With an addition that is linear in the columns."""
        return replace(self, level=self.level + level, linear=self.linear + slope)

    def of(self, rows: OutcomeRows, inside: Float[Tensor, "B n"] | None = None) -> Float[Tensor, "B n"]:
        """Weights of the outcomes of rows of sampling weight one; those of the arm alone mean something.

        With ``inside`` those of its zeros may be anything.
        """
        total = self.level + rows.kernel.times(self.kernel, inside) + rows.columns.times(self.linear)
        for log, level, slope in self.logarithms:
            total = total + (level + log.features(rows).times(slope)) * log.link.forward_slope(log.logarithms(rows))
        return total


@dataclass(frozen=True)
class OutcomeRegression:
    """Regression of one arm's outcome in every table of a batch.

    Attributes
    ----------
    space : OutcomeSpace
    kernel, linear : Member
    logarithms : tuple of LogMember
        Empty where no table of the batch has one.
    lower, upper : Tensor, shape (B, 1)
        Range of the predictions.
    """

    space: OutcomeSpace
    kernel: Member
    linear: Member
    logarithms: tuple[LogMember, ...]
    lower: Float[Tensor, "B 1"]
    upper: Float[Tensor, "B 1"]

    @property
    def intercept(self) -> Float[Tensor, "B 1"]:
        """Mean outcome of the arm."""
        return self.kernel.fit.intercept[:, None]

    @property
    def trust(self) -> Tables:
        """Share of the members' departure from the arm's mean that predictions keep."""
        return sum(self.shares[1:], self.kernel.share)

    def rows(self, covariates: Float[Tensor, "B n D"], coordinate: Float[Tensor, "B n"]) -> OutcomeRows:
        """Rows that are not in the table, as the regression sees them."""
        return self.space.rows(covariates, coordinate)

    def clip(self, fitted: Float[Tensor, "B n"]) -> Float[Tensor, "B n"]:
        """Predictions within the range."""
        return torch.minimum(torch.maximum(fitted, self.lower), self.upper)

    def predict(self, rows: OutcomeRows) -> Float[Tensor, "B n"]:
        """Mean outcome of rows."""
        return self.clip(self.combined(self.parts(rows)))

    def parts(self, rows: OutcomeRows) -> list[Float[Tensor, "B n"]]:
        """What each member says of rows, in the outcome's unit."""
        parts = [self.kernel.fit.predict(rows.kernel), self.linear.fit.predict(rows.columns)]
        return self.in_outcomes([*parts, *(log.logarithms(rows) for log in self.logarithms)])

    def in_outcomes(self, parts: list[Float[Tensor, "B n"]]) -> list[Float[Tensor, "B n"]]:
        """What each member says, in the outcome's unit, given what their ridge regressions do."""
        backs = zip(self.logarithms, parts[2:], strict=True)
        return [*parts[:2], *(log.link.back(part) for log, part in backs)]

    def with_shares(self, shares: list[Tables]) -> OutcomeRegression:
        """The same members with other shares."""
        kernel, linear = (
            replace(one, share=share) for one, share in zip((self.kernel, self.linear), shares[:2], strict=True)
        )
        logs = tuple(replace(log, share=share) for log, share in zip(self.logarithms, shares[2:], strict=True))
        return replace(self, kernel=kernel, linear=linear, logarithms=logs)

    def combined(self, parts: list[Float[Tensor, "B n"]]) -> Float[Tensor, "B n"]:
        """Predictions that the members' own stand for, before they are kept within the range."""
        return combined(self.intercept, parts, self.shares)

    @property
    def shares(self) -> list[Tables]:
        """Share of each member."""
        return [self.kernel.share, self.linear.share, *(log.share for log in self.logarithms)]

    @cached_property
    def among_members(self) -> list[Tables]:
        """Shares that sum to one; the kernel's is one where nothing is kept."""
        total, tiny = self.trust, torch.finfo(self.trust.dtype).tiny
        shares = [share / total.clamp_min(tiny) for share in self.shares]
        return [torch.where(total > 0, shares[0], 1.0), *shares[1:]]

    def moment(self, rows: OutcomeRows, weights: Float[Tensor, "B n"]) -> Moment:
        """Moment of a population of rows with these weights.

        Mean features and columns and, of each logarithm, the mean slope of the way back and of its features times it.
        """
        return self.moments(rows, weights[:, None])[:, 0]

    def moments(self, rows: OutcomeRows, weights: Float[Tensor, "B k n"]) -> Float[Tensor, "B k K"]:
        """:meth:`moment` for several weights of each row, by one pass where no logarithm enters."""
        if self.logarithms:
            return torch.stack([self._tilted_moment(rows, own) for own in weights.unbind(1)], 1)
        return torch.cat([rows.kernel.means(weights), rows.columns.means(weights)], 2)

    def _tilted_moment(self, rows: OutcomeRows, weights: Float[Tensor, "B n"]) -> Moment:
        parts = [rows.kernel.mean(weights), rows.columns.mean(weights)]
        for log in self.logarithms:
            tilted = weights * log.link.slope(log.logarithms(rows))
            parts += [tilted.sum(1, keepdim=True), log.features(rows).mean(tilted)]
        return torch.cat(parts, 1)

    def rescaled(self, moment: Moment, factors: Sequence[Tables]) -> Moment:
        """Moment with other factors of the logarithms' ways back, which had been one."""
        parts = self._split(moment)
        for place, factor in enumerate(factors):
            for part in (2 + 2 * place, 3 + 2 * place):
                parts[part] = factor[:, None] * parts[part]
        return torch.cat(parts, 1)

    def columns_of(self, moment: Moment) -> Float[Tensor, "B L"]:
        """Mean columns of a moment's population."""
        return self._split(moment)[1]

    @property
    def moment_size(self) -> int:
        """Number K of a moment's entries."""
        return sum(self._sizes)

    @property
    def _sizes(self) -> list[int]:
        """Numbers of features, of columns and, for each logarithm, one and that of its features."""
        logarithms = [size for log in self.logarithms for size in (1, log.fit.centre.shape[1])]
        return [self.kernel.fit.centre.shape[1], self.linear.fit.centre.shape[1], *logarithms]

    def _split(self, moment: Moment) -> list[Tensor]:
        """Mean features and columns and, of each logarithm, the mean slope and the mean of its features times it."""
        return list(torch.split(moment, self._sizes, 1))

    def mean(self, moment: Moment) -> Tables:
        """Mean outcome of a population whose weights sum to one, were no prediction clipped."""
        departures = zip(self.shares, self.departures(moment), strict=True)
        return self.intercept[:, 0] + sum(share * departure for share, departure in departures)

    def departures(self, moment: Moment) -> list[Tables]:
        """What each member says of a population whose weights sum to one, less the arm's mean."""
        parts = self._split(moment)
        found = [
            ((part - member.fit.centre) * member.fit.coefficients).sum(1)
            for member, part in zip((self.kernel, self.linear), parts[:2], strict=True)
        ]
        for log, slope in zip(self.logarithms, parts[2::2], strict=True):
            found.append(slope[:, 0] - log.link.sign * log.link.shift - self.intercept[:, 0])
        return found

    def response(self, direction: Moment, left: Tables) -> Response:
        """How a mean outcome, or a difference of some, weighs the arm's outcomes.

        Where a population's moment is asked for, the direction is that moment and ``left`` is one. Where the moment of
        the arm's weighted rows is taken off it, times the share s of weighted residuals that an augmented estimate
        takes in, ``left`` is 1 - s, and s times a row's own weight completes its weight in that estimate. With a
        member's share w, of row i: ``left / n + w (phi_i - centre)' (G + penalty)^-1 (direction - left centre)``.
        Predictions by a logarithm are taken to first order, and its shift as given.

        Parameters
        ----------
        direction : Tensor, shape (B, K)
            Moment of weights.
        left : Tensor, shape (B,)
            What these weights sum to.
        """
        parts, rest = self._split(direction), left[:, None]
        level, slopes = rest / self.kernel.fit.count[:, None], []
        for member, part in zip((self.kernel, self.linear), parts[:2], strict=True):
            slope = member.share[:, None] * member.fit.solve(part - rest * member.fit.centre)
            level = level - (member.fit.centre * slope).sum(1, keepdim=True)
            slopes.append(slope)
        logarithms = []
        for log, slope_sum, tilted in zip(self.logarithms, parts[2::2], parts[3::2], strict=True):
            kept = log.share[:, None]
            # Of the outcomes' mean, on which the factor rests, and no longer of the arm's own.
            of_mean = slope_sum * (log.link.sign / log.link.level)[:, None] - rest
            level = level + kept * of_mean / self.kernel.fit.count[:, None]
            slope = kept * log.fit.solve(tilted - slope_sum * log.centre)
            logarithms.append((log, -(log.fit.centre * slope).sum(1, keepdim=True), slope))
        return Response(level, slopes[0], slopes[1], logarithms)

    def missed(self, target: Moment, reached: Moment) -> Tables:
        """Variance of the regression function's difference between a target and what weights of outcomes reach.

        That is their squared imbalance times the function's variance under a ridge's Gaussian process, averaged over
        the members by their shares; what a logarithm misses is taken for what the member of the same features does.
        Never more than the arm's mean misses: to first order, outcomes at a logarithm's end may weigh anything.
        """
        pairs = zip(self._split(target), self._split(reached), strict=True)
        kernel, linear = (
            member.fit.signal_variance
            * torch.minimum((goal - own).square().sum(1), (goal - member.fit.centre).square().sum(1))
            for member, (goal, own) in zip((self.kernel, self.linear), pairs, strict=False)
        )
        straight = self._straight
        return (1 - straight) * kernel + straight * linear

    @property
    def _straight(self) -> Tables:
        """Share of the members that are linear in the columns, by themselves or before the way back."""
        shares = self.among_members
        return sum((share for log, share in zip(self.logarithms, shares[2:], strict=True) if log.straight), shares[1])

    def posterior_parts(self, rows: OutcomeRows) -> tuple[Float[Tensor, "B n"], Float[Tensor, "B n"]]:
        """Variance of the regression function at rows, averaged over the members by their shares, in two parts.

        For each, with its kernel scaled to the data's most likely process, what landmarks cannot represent,
        ``s^2 [kappa(x, x) - |phi|^2]``, and the rest, ``s^2 penalty [(phi - centre)' (G + penalty)^-1 (phi - centre)
        + 1 / n]``; that of a logarithm is times the squared slope of the way back.

        References
        ----------
        Rasmussen and Williams (2006), Gaussian processes for machine learning, Eq. 2.26 and 8.27.
        """
        shares = self.among_members
        unseen, seen = posterior_parts(self.kernel.fit, rows.kernel, self.space.kernel.diagonal)
        straight = posterior_parts(self.linear.fit, rows.columns)[1]
        unseen, seen = unseen * shares[0][:, None], seen * shares[0][:, None] + straight * shares[1][:, None]
        for log, share in zip(self.logarithms, shares[2:], strict=True):
            diagonal = None if log.straight else self.space.kernel.diagonal
            parts = posterior_parts(log.fit, log.features(rows), diagonal)
            squared = share[:, None] * log.link.slope(log.logarithms(rows)).square()
            unseen, seen = unseen + squared * parts[0], seen + squared * parts[1]
        return unseen, seen

    @property
    def fitted_variance(self) -> Tables:
        """Variance of the fitted values over the arm, averaged over the members; logarithms as in :meth:`missed`."""
        straight = self._straight
        return (1 - straight) * self.kernel.fit.fitted_variance + straight * self.linear.fit.fitted_variance

    def untrimmed(self, parts: list[Float[Tensor, "B n"]]) -> Float[Tensor, "B n"]:
        """Predictions that were nothing of the members' departure from the arm's mean withheld."""
        return combined(self.intercept, parts, self.among_members)

    def without_rows(self) -> OutcomeRegression:
        """The same without what can be computed again."""
        return replace(self, space=replace(self.space, kernel=self.space.kernel.compact()))


def combined(
    mean: Float[Tensor, "B 1"], parts: list[Float[Tensor, "B n"]], shares: list[Tables]
) -> Float[Tensor, "B n"]:
    """A mean and shares of what parts depart from it."""
    total = mean
    for part, share in zip(parts, shares, strict=True):
        total = total + share[:, None] * (part - mean)
    return total


def posterior_parts(
    fit: RidgeFit, rows: RegressionFeatures, diagonal: Tables | None = None
) -> tuple[Float[Tensor, "B n"], Float[Tensor, "B n"]]:
    """Posterior variance of a ridge's process: what features leave of the kernel's diagonal, if any, and the rest."""
    unseen, seen = [], []
    centre = torch.linalg.solve_triangular(fit.factor, fit.centre[..., None], upper=False)
    for _, block in rows.blocks():
        half = torch.linalg.solve_triangular(fit.factor, block.mT, upper=False) - centre
        if diagonal is not None:
            unseen.append((diagonal[:, None] - block.square().sum(2)).clamp_min(0))
        seen.append(fit.penalty[:, None] * (half.square().sum(1) + 1 / fit.count[:, None]))
    scale, rest = fit.signal_variance[:, None], torch.cat(seen, 1)
    return scale * (torch.cat(unseen, 1) if unseen else torch.zeros_like(rest)), scale * rest
