"""What an arm's outcome regression borrows from the other arm's.

Most of what drives an outcome drives it with and without treatment. A regression of the one arm may therefore say what
the other arm's does, and a linear effect: a ridge regression, in the columns as they are, of what the other arm's
regression leaves of this arm's outcomes. It is kept beside the arm's own regression as far as rows that it has not seen
bear it out, see :mod:`dowhy_cina.model.agreement`. Either arm may borrow from the other's own regression.

Letters: B tables, N rows of a table, n of any rows, K and J of the moments of the arm's own regression and of the
other's, L columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.mathematics.balancing import Rows, Tables
from dowhy_cina.mathematics.columns import ColumnFeatures
from dowhy_cina.mathematics.ridge import RidgeFit
from dowhy_cina.model.lacking import Lacking
from dowhy_cina.model.outcome import Moment, OutcomeRegression, Response, posterior_parts
from dowhy_cina.model.spaces import OutcomeRows
from dowhy_cina.model.variance import RowError


@dataclass(frozen=True)
class SharedRows:
    """Rows as an arm's own regression and as the other arm's sees them."""

    own: OutcomeRows
    other: OutcomeRows


@dataclass(frozen=True)
class Borrowed:
    """The other arm's regression and a linear effect.

    Attributes
    ----------
    source : OutcomeRegression
        The other arm's own.
    effect : RidgeFit
        Regression, in the columns, of the arm's outcomes less what the source says of its rows.
    lower, upper : Tensor, shape (B, 1)
        Range of the effect's predictions.
    share : Tensor, shape (B,)
        Of this in the arm's predictions; the rest is the arm's own regression's.
    lacking : Lacking
        Kinds of the other arm's rows that this one lacks, and what is borrowed of them.
    """

    source: OutcomeRegression
    effect: RidgeFit
    lower: Float[Tensor, "B 1"]
    upper: Float[Tensor, "B 1"]
    share: Tables
    lacking: Lacking

    def clip(self, effects: Float[Tensor, "B n"]) -> Float[Tensor, "B n"]:
        """Predictions of the effect within their range."""
        return torch.minimum(torch.maximum(effects, self.lower), self.upper)

    def predict(self, rows: SharedRows) -> Float[Tensor, "B n"]:
        """What is borrowed for rows."""
        return self.source.predict(rows.other) + self.clip(self.effect.predict(rows.own.columns))

    def unclipped(self, rows: SharedRows) -> Float[Tensor, "B n"]:
        """The same where no range kept any of it."""
        source = self.source.combined(self.source.parts(rows.other))
        return source + self.effect.predict(rows.own.columns)


@dataclass(frozen=True)
class EffectResponse:
    """How what is borrowed weighs the arm's own outcomes: ``level + slope . z(x)``, shapes (B, 1) and (B, L)."""

    level: Float[Tensor, "B 1"]
    slope: Float[Tensor, "B L"]

    def of(self, columns: ColumnFeatures) -> Float[Tensor, "B n"]:
        """Weights of the outcomes of rows of sampling weight one."""
        return self.level + columns.times(self.slope)


@dataclass(frozen=True)
class ArmRegression:
    """Regression of one arm's outcome in every table of a batch.

    Its moments are those of the arm's own regression and, where something is borrowed, those of the source after them.

    Attributes
    ----------
    own : OutcomeRegression
        Of the arm's own rows alone.
    borrowed : Borrowed, optional
        None where no table of the batch borrows.
    """

    own: OutcomeRegression
    borrowed: Borrowed | None

    @property
    def intercept(self) -> Float[Tensor, "B 1"]:
        """Mean outcome of the arm."""
        return self.own.intercept

    def predict(self, rows: SharedRows) -> Float[Tensor, "B n"]:
        """Mean outcome of rows; what it is made of is kept within its ranges."""
        own = self.own.predict(rows.own)
        if self.borrowed is None:
            return own
        return self._joined(own, self.borrowed.predict(rows)) + self.borrowed.lacking.offset(rows.own.columns)

    def _joined(self, own: Tensor, lent: Tensor) -> Float[Tensor, "B n"]:
        """What the arm's own regression says and what is borrowed, by its share."""
        assert self.borrowed is not None
        return own + self.borrowed.share[:, None] * (lent - own)

    def moment(self, rows: SharedRows, weights: Float[Tensor, "B n"], everywhere: Rows | None = None) -> Moment:
        """Moment of a population of rows with these weights; ``everywhere`` are those for the source, if others."""
        own = self.own.moment(rows.own, weights)
        if self.borrowed is None:
            return own
        return torch.cat([own, self.lent_moment(rows, weights if everywhere is None else everywhere)], 1)

    def lent_moment(self, rows: SharedRows, weights: Float[Tensor, "B n"]) -> Moment:
        """Moment of rows in the source."""
        assert self.borrowed is not None
        return self.borrowed.source.moment(rows.other, weights)

    def split(self, moment: Moment) -> tuple[Moment, Moment]:
        """Moment of the arm's own regression, and of the source; empty where nothing is borrowed."""
        size = self.own.moment_size
        return moment[:, :size], moment[:, size:]

    def mean(self, moment: Moment) -> Tables:
        """Mean outcome of a population whose weights sum to one, were no prediction clipped."""
        part = self.split(moment)[0]
        own = self.own.mean(part)
        if self.borrowed is None:
            return own
        offset = self.borrowed.lacking.mean_offset(self.own.columns_of(part))
        return own + self.borrowed.share * (self._lent_mean(moment) - own) + offset

    def _lent_mean(self, moment: Moment) -> Tables:
        """What is borrowed for a population whose weights sum to one."""
        assert self.borrowed is not None
        own, other = self.split(moment)
        effect = self.borrowed.effect
        departure = ((self.own.columns_of(own) - effect.centre) * effect.coefficients).sum(1)
        mean: Tables = self.borrowed.source.mean(other) + effect.intercept + departure
        return mean

    def disagreement(self, moment: Moment) -> Tables:
        """Variance between what the members and the borrowed say of a population, each counted by its share."""
        own = self.split(moment)[0]
        shares, departures = self.own.among_members, self.own.departures(own)
        if self.borrowed is not None:
            lent = self.borrowed.share
            shares = [*((1 - lent) * share for share in shares), lent]
            departures = [*departures, self._lent_mean(moment) - self.intercept[:, 0]]
        average = sum(share * departure for share, departure in zip(shares, departures, strict=True))
        squares = [share * (departure - average).square() for share, departure in zip(shares, departures, strict=True)]
        return torch.stack(squares).sum(0)

    def response(self, direction: Moment, left: Tables) -> tuple[Response, EffectResponse | None]:
        """How a mean outcome weighs the arm's own outcomes: in all, and the part of it by what is borrowed.

        The latter weighs what the arm's outcomes differ in from the source's predictions, so its negative weighs these,
        see :meth:`lent_response`. Arguments as in :meth:`OutcomeRegression.response`.
        """
        own = self.split(direction)[0]
        response = self.own.response(own, left)
        if self.borrowed is None:
            return response, None
        effect, share, rest = self.borrowed.effect, self.borrowed.share[:, None], left[:, None]
        slope = share * effect.solve(self.own.columns_of(own) - rest * effect.centre)
        level = share * rest / effect.count[:, None] - (effect.centre * slope).sum(1, keepdim=True)
        part = EffectResponse(level, slope)
        return response.scaled(1 - share).with_linear(level, slope), part

    def lent_response(self, direction: Moment, reached: Moment) -> Response:
        """How a mean outcome weighs the other arm's outcomes.

        ``reached`` is the :meth:`lent_moment` of the arm's rows, weighted as the :class:`EffectResponse` weighs them.
        """
        assert self.borrowed is not None
        lent = self.borrowed.share[:, None] * self.split(direction)[1]
        return self.borrowed.source.response(lent - reached, torch.zeros_like(self.borrowed.share))

    def missed(self, target: Moment, reached: Moment) -> Tables:
        """Variance of the regression function's difference between a target and what weights of outcomes reach.

        What is borrowed misses what its source and what its linear effect do.
        """
        (target, lent_target), (reached, lent_reached) = self.split(target), self.split(reached)
        missed = self.own.missed(target, reached)
        if self.borrowed is None:
            return missed
        apart = self.own.columns_of(target) - self.own.columns_of(reached)
        lent = self.borrowed.effect.signal_variance * apart.square().sum(1)
        lent = lent + self.borrowed.source.missed(lent_target, lent_reached)
        return missed + self.borrowed.share * (lent - missed)

    def error_at(self, rows: SharedRows) -> RowError:
        """What there is to say of the error of predictions at rows."""
        tiny = torch.finfo(self.intercept.dtype).tiny
        unseen, seen = self.own.posterior_parts(rows.own)
        process = self.own.fitted_variance
        if self.borrowed is not None:
            share, source = self.borrowed.share[:, None], self.borrowed.source
            lent_unseen, lent_seen = source.posterior_parts(rows.other)
            lent_seen = lent_seen + posterior_parts(self.borrowed.effect, rows.own.columns)[1]
            unseen, seen = unseen + share * (lent_unseen - unseen), seen + share * (lent_seen - seen)
            of_lent = source.fitted_variance + self.borrowed.effect.fitted_variance
            process = process + self.borrowed.share * (of_lent - process)
        posterior = (unseen + seen).clamp_min(tiny)
        parts = self.own.parts(rows.own)
        predicted, untrimmed = self.own.combined(parts), self.own.untrimmed(parts)
        kept = self.own.clip(predicted)
        if self.borrowed is not None:
            lent = self.borrowed.unclipped(rows)
            predicted, untrimmed = self._joined(predicted, lent), self._joined(untrimmed, lent)
            kept = self._joined(kept, self.borrowed.predict(rows))
        departure = (predicted - self.intercept).square() / (process[:, None] + seen).clamp_min(tiny)
        moved = (untrimmed - kept).square() / posterior
        evidence = self.own.kernel.fit.evidence
        return RowError(posterior, (seen / posterior).clamp_min(tiny), evidence, departure, moved)

    def of(self, own: OutcomeRegression, other: OutcomeRegression) -> ArmRegression:
        """The same with these regressions of the arm and of the other one."""
        borrowed = None if self.borrowed is None else replace(self.borrowed, source=other)
        return ArmRegression(own, borrowed)
