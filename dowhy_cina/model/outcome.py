"""The outcome regression of an arm, as the few things that an estimate asks of it.

Whatever a regression averages over a population is its *moment* of that population, shape (B, K): linear in the rows'
weights, so that moments add up over parts of a table, and read by the regression alone.

Letters: B tables, N rows of a table, n of any rows, D covariates, M landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.balancing import Rows, Tables
from dowhy_cina.mathematics.clusters import Clusters, clustered_ridge, left_out, mean_left_out, sums_by_cluster
from dowhy_cina.mathematics.kernels import LandmarkKernel, RowFeatures, Storage, places_of
from dowhy_cina.mathematics.ridge import RidgeFit, cross_validated_ridge, leave_one_out_residuals
from dowhy_cina.model.variance import RowError

Moment = Float[Tensor, "B K"]

#: Arms, in the order of every pair.
ARMS = ("control", "treated")


@dataclass(frozen=True)
class OutcomeSpace:
    """Where a regression looks for likeness of rows: in their scaled covariates and propensity score.

    Attributes
    ----------
    scales : Tensor, shape (B, D)
        Factors of the covariates.
    score_scale : Tensor, shape (B, 1)
        Factor of the propensity score's coordinate.
    kernel : LandmarkKernel
    """

    scales: Float[Tensor, "B D"]
    score_scale: Float[Tensor, "B 1"]
    kernel: LandmarkKernel

    def keys(self, covariates: Float[Tensor, "B n D"], coordinate: Float[Tensor, "B n"]) -> Float[Tensor, "B n K"]:
        """Keys of rows."""
        return outcome_keys(covariates, coordinate, self.scales, self.score_scale)


def outcome_keys(
    covariates: Float[Tensor, "B n D"],
    coordinate: Float[Tensor, "B n"],
    scales: Float[Tensor, "B D"],
    score_scale: Float[Tensor, "B 1"],
) -> Float[Tensor, "B n K"]:
    """Scaled covariates and propensity score of rows."""
    return torch.cat([covariates * scales[:, None], (score_scale * coordinate)[..., None]], -1)


@dataclass(frozen=True)
class Response:
    """How a prediction weighs the outcome of each row that it was fitted to: ``level + slope . phi(x)``."""

    level: Float[Tensor, "B 1"]
    slope: Float[Tensor, "B M"]

    def of(self, rows: RowFeatures) -> Float[Tensor, "B n"]:
        """Weights of the outcomes of rows of sampling weight one."""
        return self.level + rows.times(self.slope)


@dataclass(frozen=True)
class OutcomeRegression:
    """Kernel ridge regression of one arm's outcome in every table of a batch.

    Attributes
    ----------
    space : OutcomeSpace
    fit : RidgeFit
    trust : Tensor, shape (B,)
        Share of the fit's departure from the arm's mean that predictions keep, see :class:`Agreement`.
    lower, upper : Tensor, shape (B, 1)
        Range of the predictions in the arm.
    """

    space: OutcomeSpace
    fit: RidgeFit
    trust: Tables
    lower: Float[Tensor, "B 1"]
    upper: Float[Tensor, "B 1"]

    def rows(self, covariates: Float[Tensor, "B n D"], coordinate: Float[Tensor, "B n"]) -> RowFeatures:
        """Rows that are not in the table, as the regression sees them."""
        return RowFeatures.build(self.space.kernel, self.space.keys(covariates, coordinate))

    def clip(self, fitted: Float[Tensor, "B n"]) -> Float[Tensor, "B n"]:
        """Predictions within the arm's fitted range: no extrapolation beyond what the arm shows."""
        return torch.minimum(torch.maximum(fitted, self.lower), self.upper)

    def predict(self, rows: RowFeatures) -> Float[Tensor, "B n"]:
        """Mean outcome of rows."""
        return self.clip(self.unclipped(self.fit.predict(rows)))

    def unclipped(self, fitted: Float[Tensor, "B n"]) -> Float[Tensor, "B n"]:
        """Predictions that the fit's own stand for, before they are kept within the range."""
        return toward_mean(self.fit, fitted, self.trust)

    def mean(self, moment: Moment) -> Tables:
        """Mean outcome of a population, were no prediction clipped."""
        return self.fit.intercept + self.trust * ((moment - self.fit.centre) * self.fit.coefficients).sum(1)

    def response(self, target: Moment, weighted: Moment, share: Tables) -> Response:
        """How the mean outcome of a target, less a share of that of the arm's weighted rows, weighs the arm's outcomes.

        With the share s, of row i: ``(1 - s) / n + trust (phi_i - centre)' (G + penalty)^-1 m`` where
        ``m = target - s weighted - (1 - s) centre``. Where s is the share of the weighted residuals that an augmented
        estimate takes in, s times the row's own weight completes its weight in that estimate.
        """
        share = share[:, None]
        direction = target - share * weighted - (1 - share) * self.fit.centre
        slope = self.trust[:, None] * self.fit.solve(direction)
        level = (1 - share) / self.fit.count[:, None] - (self.fit.centre * slope).sum(1, keepdim=True)
        return Response(level, slope)

    def missed(self, target: Moment, reached: Moment) -> Tables:
        """Variance of the regression function's difference between a target and what weights of outcomes reach.

        That is their squared imbalance times the function's variance under the ridge's Gaussian process.
        """
        return self.fit.signal_variance * (target - reached).square().sum(1)

    def posterior_variance(self, rows: RowFeatures) -> Float[Tensor, "B n"]:
        """Variance of the regression function at rows, with the kernel scaled to the data's most likely process.

        ``s^2 [kappa(x, x) - |phi|^2 + penalty (phi - centre)' (G + penalty)^-1 (phi - centre)] + s^2 penalty / n``.

        References
        ----------
        Rasmussen and Williams (2006), Gaussian processes for machine learning, Eq. 2.26 and 8.27.
        """
        unseen, seen = self._posterior_parts(rows)
        return unseen + seen

    def _posterior_parts(self, rows: RowFeatures) -> tuple[Float[Tensor, "B n"], Float[Tensor, "B n"]]:
        """Posterior variance that the landmarks cannot represent, the formula's first two terms, and the rest."""
        fit, unseen, seen = self.fit, [], []
        centre = torch.linalg.solve_triangular(fit.factor, fit.centre[..., None], upper=False)
        for _, block in rows.blocks():
            half = torch.linalg.solve_triangular(fit.factor, block.transpose(-1, -2), upper=False) - centre
            unseen.append((self.space.kernel.diagonal[:, None] - block.square().sum(2)).clamp_min(0))
            seen.append(fit.penalty[:, None] * (half.square().sum(1) + 1 / fit.count[:, None]))
        scale = fit.signal_variance[:, None]
        return scale * torch.cat(unseen, 1), scale * torch.cat(seen, 1)

    def error_at(self, rows: RowFeatures) -> RowError:
        """What there is to say of the error of predictions at rows."""
        fit, tiny = self.fit, torch.finfo(rows.keys.dtype).tiny
        unseen, seen = self._posterior_parts(rows)
        posterior = (unseen + seen).clamp_min(tiny)
        by_fit = fit.predict(rows)
        predicted = self.unclipped(by_fit)
        spread = (fit.fitted_variance[:, None] + seen).clamp_min(tiny)
        departure = (predicted - fit.intercept[:, None]).square() / spread
        moved = (by_fit - self.clip(predicted)).square() / posterior
        return RowError(posterior, (seen / posterior).clamp_min(tiny), fit.evidence, departure, moved)


@dataclass(frozen=True)
class FittedOutcome:
    """An outcome regression and what it says of the rows of its table.

    Attributes
    ----------
    regression : OutcomeRegression
    rows : RowFeatures
        Every row of the table.
    means : Tensor, shape (B, N)
        Predicted mean outcomes.
    loo_residuals : Tensor, shape (B, N)
        Errors of predictions by all other rows of the arm, or by its rows of other clusters; of the other arm's rows,
        errors of ``apart``, or plain ones where rows are no clusters.
    apart : Tensor, shape (B, N)
        Predicted mean outcomes of the other arm's rows by rows that are not in their cluster; no other than ``means``
        where rows are no clusters.
    """

    regression: OutcomeRegression
    rows: RowFeatures
    means: Rows
    loo_residuals: Rows
    apart: Rows

    def moment(self, weights: Rows) -> Moment:
        """Moment of a population of the table's rows."""
        return self.rows.mean(weights)

    def without_rows(self) -> FittedOutcome:
        """The same without what belongs to the table's rows."""
        empty = self.means[:, :0].clone()  # a slice would keep all rows alive
        space = replace(self.regression.space, kernel=self.regression.space.kernel.compact())
        rows = RowFeatures(space.kernel, self.rows.keys[:, :0].clone(), None)
        return FittedOutcome(replace(self.regression, space=space), rows, empty, empty, empty)


def fit_outcome(
    space: OutcomeSpace,
    keys: Float[Tensor, "B N K"],
    outcome: Rows,
    arm: Rows,
    multiplier: Tables,
    storage: Storage,
    name: str,
    clusters: Clusters | None = None,
) -> FittedOutcome:
    """Fit the regression of one arm.

    Parameters
    ----------
    space : OutcomeSpace
    keys : Tensor, shape (B, N, K)
        Of the table's rows.
    outcome, arm : Tensor, shape (B, N)
        Outcomes, and sampling weights of the arm's rows, zero for the others.
    multiplier : Tensor, shape (B,)
        Of the penalty that generalised cross-validation chooses.
    storage : Storage
    name : str
        The arm's among the kernels that may be kept.
    clusters : Clusters, optional
        Of the table's rows. An arm in a single one is fitted as if its rows were independent: without that
        cluster there is no fit that could be asked.
    """
    rows = RowFeatures.build(space.kernel, keys, name in storage.kept, storage.block_entries, whiten=False)
    # The fit needs the features of its own arm's rows; for all rows' predictions their kernels will do.
    places = places_of(arm)
    own, inside = rows.take(places).with_features(), arm.gather(1, places)
    clusters = None if clusters is None or bool((clusters.among(arm > 0) < 2).any()) else clusters
    if clusters is None:
        fit = cross_validated_ridge(own, outcome.gather(1, places), inside, multiplier)
        fitted, loo = leave_one_out(fit, rows, own, places, outcome, arm)
        trust = Agreement.of(fit, outcome, loo, arm).trust
        fitted, loo = guarded(fit, trust, fitted, loo, outcome, arm)
    else:
        fit = clustered_ridge(own, outcome.gather(1, places), inside, multiplier, clusters.take(places))
        fitted, clean = left_out(fit, rows, (own, places), outcome, arm, clusters)
        trust = Agreement.of(fit, outcome, outcome - clean, arm, clusters.codes).trust
        fitted, mean = toward_mean(fit, fitted, trust), mean_left_out(fit.intercept, outcome, arm, clusters)
        clean = mean + trust[:, None] * (clean - mean)
        loo = outcome - clean
    outside = arm <= 0
    lower = fitted.masked_fill(outside, torch.inf).amin(1, keepdim=True)
    upper = fitted.masked_fill(outside, -torch.inf).amax(1, keepdim=True)
    regression = OutcomeRegression(space, fit, trust, lower, upper)
    means = regression.clip(fitted)
    return FittedOutcome(regression, rows, means, loo, means if clusters is None else regression.clip(clean))


def leave_one_out(
    fit: RidgeFit, rows: RowFeatures, own: RowFeatures, places: Int[Tensor, "B n"], outcome: Rows, arm: Rows
) -> tuple[Rows, Rows]:
    """Predictions of all rows by the fit itself, and their errors: leave-one-out in the arm, whose rows are ``own``."""
    leverage = torch.zeros_like(arm).scatter(1, places, fit.leverage(own, arm.gather(1, places)))
    fitted = fit.predict(rows)
    return fitted, leave_one_out_residuals(outcome, fitted, leverage)


@dataclass(frozen=True)
class Agreement:
    """How an arm's outcomes follow the predictions by its other rows: sums over the arm, shape (B,).

    With each row's product ``u = r y p`` and square ``v = r p^2`` of outcome and prediction about the arm's mean, r its
    sampling weight, these are the sums of u, v, u^2, u v and v^2; those of parts of a table can be added. With clusters
    u and v are summed in each first.
    """

    products: Tables
    squares: Tables
    spread: tuple[Tables, Tables, Tables]

    @classmethod
    def of(
        cls, fit: RidgeFit, outcome: Rows, loo: Rows, arm: Rows, cluster: Int[Tensor, "B N"] | None = None
    ) -> Agreement:
        """Agreement of the arm's rows, whose leave-one-out errors are given, and the codes of their clusters."""
        centred = outcome - fit.intercept[:, None]
        left = centred - loo
        u, v = (sums_by_cluster(rows, cluster) for rows in (arm * centred * left, arm * left.square()))
        return cls(u.sum(1), v.sum(1), (u.square().sum(1), (u * v).sum(1), v.square().sum(1)))

    def __add__(self, other: Agreement) -> Agreement:
        spread = [one + two for one, two in zip(self.spread, other.spread, strict=True)]
        return Agreement(
            self.products + other.products, self.squares + other.squares, (spread[0], spread[1], spread[2])
        )

    @property
    def trust(self) -> Tables:
        """Share of the fit's departure from the arm's mean that outcomes bear out, in [0, 1].

        The slope b of the outcomes on the predictions by the other rows, less what its own noise makes of it:
        ``b (1 - 2 se^2 / b^2)``, nothing where the square of ``b / se`` is below two, which is where Akaike's criterion
        prefers the mean. The standard error is robust to unequal variances, or one outcome would vouch for itself.
        """
        tiny = torch.finfo(self.squares.dtype).tiny
        squares = self.squares.clamp_min(tiny)
        slope = self.products / squares
        uu, uv, vv = self.spread
        noise = (uu - 2 * slope * uv + slope.square() * vv).clamp_min(0) / squares.square().clamp_min(tiny)
        return (slope - 2 * noise / slope.clamp_min(1e-6)).clamp(0, 1)


def toward_mean(fit: RidgeFit, fitted: Float[Tensor, "B n"], trust: Tables) -> Float[Tensor, "B n"]:
    """Predictions that keep a share of the fit's departure from the arm's mean."""
    mean = fit.intercept[:, None]
    return mean + trust[:, None] * (fitted - mean)


def guarded(fit: RidgeFit, trust: Tables, fitted: Rows, loo: Rows, outcome: Rows, arm: Rows) -> tuple[Rows, Rows]:
    """:func:`leave_one_out` of predictions that keep a share of the fit's departure from the arm's mean."""
    fitted, share = toward_mean(fit, fitted, trust), trust[:, None]
    by_mean = leave_one_out_residuals(outcome, fit.intercept[:, None], arm / fit.count[:, None])
    return fitted, torch.where(arm > 0, share * loo + (1 - share) * by_mean, outcome - fitted)
