"""The fit of an arm's outcome regression: its members, and the share of each that left-out rows bear out.

The linear member is kept as far as its departure from the kernel's predictions explains what these leave, then the
logarithm's as far as it explains what both leave, and then the arm's mean takes its share: each time by predictions of
rows by the other rows of the arm, or by its rows of other clusters, see :mod:`dowhy_cina.model.agreement`. A member has
to be borne out twice, by the arm's rows as they are and weighted so that they stand for the other arm's: most targets
are there, and a line that serves the bulk of a large arm may be wrong for the few that a small one resembles. In the
same way each arm then borrows from the other, see :mod:`dowhy_cina.model.sharing`.

Letters: B tables, N rows of a table, n rows of an arm, L columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina._caching import cached_property
from dowhy_cina.mathematics.balancing import Rows, Tables
from dowhy_cina.mathematics.clusters import Clusters, clustered_ridge, left_out, mean_left_out
from dowhy_cina.mathematics.columns import ColumnFeatures, RegressionFeatures
from dowhy_cina.mathematics.passes import places_of
from dowhy_cina.mathematics.ridge import (
    LEAST_UNEXPLAINED,
    RidgeFit,
    cross_validated_ridge,
    leave_one_out_residuals,
)
from dowhy_cina.mathematics.rows import RowFeatures, Storage
from dowhy_cina.model.lacking import Lacking, lacking_of
from dowhy_cina.model.links import LogLink, Powers
from dowhy_cina.model.outcome import LogMember, Member, Moment, OutcomeRegression, combined
from dowhy_cina.model.shares import borne_out, member_shares
from dowhy_cina.model.sharing import ArmRegression, Borrowed, SharedRows
from dowhy_cina.model.spaces import OutcomeRows, OutcomeSpace
from dowhy_cina.model.sums import RegressionSums

#: By how much predictions may leave the range of the arm's own, in such ranges: this times the ratio of the outcome's
#: explained and unexplained variances. An arm whose outcome is explained may speak of rows beyond it.
MARGIN = 0.1


@dataclass(frozen=True)
class FittedOutcome:
    """An outcome regression and what it says of the rows of its table.

    Attributes
    ----------
    regression : ArmRegression
    rows : SharedRows
        Every row of the table.
    means : Tensor, shape (B, N)
        Predicted mean outcomes.
    loo_residuals : Tensor, shape (B, N)
        Errors of predictions by all other rows, or by those of other clusters; meant for the arm's rows.
    prognosis : Tensor, shape (B, N)
        Scores for the balancing layer: predictions of all rows by the arm's own regression, kept within the range.
        They are functions of the covariates: left out, a row's score would fall with its own outcome, and weights that
        tell rows apart by it would choose them by their noise. Nothing is borrowed.
    sums : tuple of RegressionSums, optional
        Of the arm's own regression and of the one that it borrows from, where the fits have told them.
    """

    regression: ArmRegression
    rows: SharedRows
    means: Rows
    loo_residuals: Rows
    prognosis: Rows
    sums: tuple[RegressionSums | None, RegressionSums | None] = (None, None)

    def moment(self, weights: Rows, everywhere: Rows | None = None) -> Moment:
        """Moment of a population of the table's rows, see :meth:`ArmRegression.moment`."""
        return self.regression.moment(self.rows, weights, everywhere)

    def moment_of_arms(self, own: Tables, other: Tables) -> Moment | None:
        """Moment of a population, given its rows' shares by arm; None where the fits have not told it."""
        sums, lent = self.sums
        if sums is None or (lent is None and self.regression.borrowed is not None):
            return None
        moment = sums.of_arms(own, other)
        return moment if lent is None else torch.cat([moment, lent.of_arms(other, own)], 1)

    def without_rows(self, own: OutcomeRegression, other: OutcomeRegression) -> FittedOutcome:
        """The same without what belongs to the table's rows, given both arms' own regressions without it."""
        empty = self.means[:, :0].clone()  # a slice would keep all rows alive
        rows = SharedRows(self.rows.own.without_rows(), self.rows.other.without_rows())
        return FittedOutcome(self.regression.of(own, other), rows, empty, empty, empty)


@dataclass(frozen=True)
class _Arm:
    """Rows of an arm in every table of a batch, and how its regressions leave out.

    Attributes
    ----------
    rows : OutcomeRows
        All rows of the table.
    places : Tensor of int, shape (B, n)
        Where those of the arm are.
    weights, alike : Tensor, shape (B, N)
        Sampling weights of the arm's rows, zero for the others, and those with which they stand for the other arm's.
    clusters : Clusters, optional
        Of the table's rows.
    """

    rows: OutcomeRows
    places: Int[Tensor, "B n"]
    weights: Rows
    alike: Rows
    clusters: Clusters | None

    def fit(self, features: RegressionFeatures, response: Rows, multiplier: Tables) -> RidgeFit:
        """Ridge regression of a response in features of the arm's rows."""
        own, inside = response.gather(1, self.places), self.weights.gather(1, self.places)
        if self.clusters is None:
            return cross_validated_ridge(features, own, inside, multiplier)
        return clustered_ridge(features, own, inside, multiplier, self.clusters.take(self.places))

    def predictions(
        self,
        fit: RidgeFit,
        features: tuple[RegressionFeatures, RegressionFeatures],
        response: Rows,
    ) -> tuple[Rows, Rows]:
        """Predictions of all rows, whose features and those of the arm's are given: by the fit, and left out."""
        if self.clusters is None:
            return leave_one_out(fit, features[0], features[1], self.places, response, self.weights)
        own = (features[1], self.places)
        return left_out(fit, features[0], own, response, self.weights, self.clusters)

    @property
    def cluster(self) -> Int[Tensor, "B N"] | None:
        """Codes of the clusters."""
        return None if self.clusters is None else self.clusters.codes


@dataclass(frozen=True)
class OwnOutcome:
    """The regression of an arm by its own rows, and what it says of the rows of its table.

    Attributes
    ----------
    data : _Arm
    regression : OutcomeRegression
    fitted, clean : Tensor, shape (B, N)
        Predictions of all rows, and by other rows of the arm alone, or by its rows of other clusters; neither is kept
        within the range.
    sums : RegressionSums, optional
        What the fit has told.
    """

    data: _Arm
    regression: OutcomeRegression
    fitted: Rows
    clean: Rows
    sums: RegressionSums | None = None

    @cached_property
    def clipped(self) -> tuple[Rows, Rows]:
        """Both kinds of predictions, kept within the range."""
        return self.regression.clip(self.fitted), self.regression.clip(self.clean)


def fit_own(
    space: OutcomeSpace,
    keys: Float[Tensor, "B N K"],
    columns: Float[Tensor, "B N L"],
    outcome: Rows,
    arm: Rows,
    alike: Rows,
    multiplier: Tables,
    storage: Storage,
    name: str,
    clusters: Clusters | None = None,
    others: Rows | None = None,
) -> OwnOutcome:
    """Fit the regression of one arm by its own rows.

    Parameters
    ----------
    space : OutcomeSpace
    keys, columns : Tensor, shape (B, N, K) and (B, N, L)
        Of the table's rows.
    outcome, arm : Tensor, shape (B, N)
        Outcomes, and sampling weights of the arm's rows, zero for the others.
    alike : Tensor, shape (B, N)
        Weights with which the arm's rows stand for the other arm's, see :func:`likeness`.
    multiplier : Tensor, shape (B,)
        Of the penalty that generalised cross-validation chooses for the kernel.
    storage : Storage
    name : str
        The arm's among the kernels that may be kept.
    clusters : Clusters, optional
        Of the table's rows. An arm in a single one is fitted as if its rows were independent: without that
        cluster there is no fit that could be asked.
    others : Tensor, shape (B, N), optional
        Sampling weights of the other arm's rows; sums over both arms come with the fit, where it can tell them.
    """
    kernel = RowFeatures.build(space.kernel, keys, name in storage.kept, storage.block_entries, whiten=False)
    rows = OutcomeRows(kernel, ColumnFeatures(columns, storage.block_entries))
    clusters = None if clusters is None or bool((clusters.among(arm > 0) < 2).any()) else clusters
    places = places_of(arm)
    # The fit needs the features of its own arm's rows; for all rows' predictions their kernels will do.
    own = rows.take(places).with_features()
    data = _Arm(rows, places, arm, alike, clusters)
    by_kernel = data.fit(own.kernel, outcome, multiplier)
    by_columns = data.fit(own.columns, outcome, torch.ones_like(multiplier))
    sums = None
    if kernel.is_streamed and clusters is None and others is not None:
        beside = (arm, columns), (others, columns[..., :0])
        fitted, leverage, crossed = by_kernel.streamed_predictions(rows.kernel, arm, beside)
        found = [_left_out(outcome, fitted, leverage, arm)]
        total = (by_columns.count[:, None] * by_columns.centre)[:, None]
        products = torch.cat([crossed[0], torch.cat([total, by_columns.second_moments], 1)], 2)
        moment = torch.cat([crossed[1][:, 0], rows.columns.mean(others)], 1)
        sums = RegressionSums(products, by_kernel.second_moments, moment)
    else:
        found = [data.predictions(by_kernel, (rows.kernel, own.kernel), outcome)]
    found.append(data.predictions(by_columns, (rows.columns, own.columns), outcome))
    logarithms = _fit_logarithms(data, own, outcome, multiplier)
    found.extend(predictions for _, predictions in logarithms)
    by_fit, left_out_ones = ([pair[place] for pair in found] for place in (0, 1))
    mean = by_kernel.intercept[:, None]
    used = [log.link.used for log, _ in logarithms]
    shares = member_shares(outcome, mean, left_out_ones, (arm, alike), used, data.cluster)
    if clusters is None:
        without = outcome - leave_one_out_residuals(outcome, mean, arm / by_kernel.count[:, None])
    else:
        without = mean_left_out(by_kernel.intercept, outcome, arm, clusters)
    fitted, clean = combined(mean, by_fit, shares), combined(without, left_out_ones, shares)
    if clusters is None:
        clean = torch.where(arm > 0, clean, fitted)
    bounds = allowed_range(ends_of(fitted, arm), unexplained_share(outcome, mean, outcome - clean, arm))
    members = Member(by_kernel, shares[0]), Member(by_columns, shares[1])
    logs = tuple(replace(log, share=share) for (log, _), share in zip(logarithms, shares[2:], strict=True))
    regression = OutcomeRegression(space, *members, logs, *bounds)
    return OwnOutcome(data, regression, fitted, clean, None if logs else sums)


@dataclass(frozen=True)
class Borrowing:
    """What an arm borrows from the other one, and predictions of the rows with it.

    Attributes
    ----------
    effect, lower, upper, share, lacking
        As in :class:`~dowhy_cina.model.sharing.Borrowed`.
    means, loo_residuals : Tensor, shape (B, N)
        As in :class:`FittedOutcome`.
    """

    effect: RidgeFit
    lower: Float[Tensor, "B 1"]
    upper: Float[Tensor, "B 1"]
    share: Tables
    lacking: Lacking
    means: Rows
    loo_residuals: Rows


def borrow(own: OwnOutcome, lent: tuple[Rows, Rows], outcome: Rows) -> Borrowing:
    """What an arm borrows of the other arm's predictions of all rows: by its regression, and without what it has seen.

    Nobody's outcome is predicted by a regression that has seen it: not by the other arm's own either.
    """
    data, arm = own.data, own.data.weights
    features = data.rows.columns, data.rows.columns.take(data.places)
    response = torch.where(arm > 0, outcome - lent[0], 0)
    effect = data.fit(features[1], response, torch.ones_like(own.regression.kernel.share))
    by_fit, clean = data.predictions(effect, features, response)
    # The arm's rows alone are judged, of whose outcomes the source knows nothing; with clusters it is asked without.
    offered, wanted = lent[1] + clean - own.clean, outcome - own.clean
    share = borne_out(wanted, offered, (arm, data.alike), data.cluster)
    left = unexplained_share(response, effect.intercept[:, None], response - clean, arm)
    bounds, kept = allowed_range(ends_of(by_fit, arm), left), share[:, None]
    means = own.clipped[0]
    independent = 1.0 if data.clusters is None else data.clusters.share
    # Kinds of rows of which an arm's own rows cannot tell become, on the average, what is borrowed of them.
    missed = (1 - kept) * (lent[0] + by_fit - means)
    lacking = lacking_of(data.rows.columns.values, data.places, arm, independent, missed)
    means = means + kept * (lent[0] + by_fit.clamp(*bounds) - means) + lacking.offset(data.rows.columns)
    return Borrowing(effect, *bounds, share, lacking, means, wanted - kept * offered)


def with_borrowing(own: OwnOutcome, other: OwnOutcome, found: Borrowing) -> FittedOutcome:
    """The regression of one arm, with what it borrows from the other arm's."""
    borrowed = None
    if bool((found.share > 0).any()) or found.lacking.any:
        borrowed = Borrowed(other.regression, found.effect, found.lower, found.upper, found.share, found.lacking)
    rows = SharedRows(own.data.rows, other.data.rows)
    regression = ArmRegression(own.regression, borrowed)
    sums = own.sums, None if borrowed is None else other.sums
    return FittedOutcome(regression, rows, found.means, found.loo_residuals, own.clipped[0], sums)


def _fit_logarithms(
    data: _Arm, own: OutcomeRows, outcome: Rows, multiplier: Tables
) -> list[tuple[LogMember, tuple[Rows, Rows]]]:
    """Regressions of the outcome's logarithm, all of which is kept, and their predictions; none where no table has one.

    The kernel follows what the logarithm leaves, and takes the one that is the least skewed. For the columns it has to
    be the right one: theirs is that with which they predict outcomes best.
    """
    arm, before = data.weights, Powers.of(outcome, data.weights)
    if not bool(LogLink.tried(before).any()):
        return []
    lower, upper = ends_of(outcome, arm)
    links = LogLink.candidates(before, (lower[:, 0], upper[:, 0]))
    link = LogLink.least_skewed(links, before, [Powers.of(one.forward(outcome, arm), arm) for one in links])
    if link is None:
        return []
    by_columns = [_fit_logarithm(data, own, outcome, one, None) for one in links]
    errors = [(arm * (outcome - clean).square()).sum(1) for _, (_, clean) in by_columns]
    best = replace(LogLink.of_least(links, torch.stack(errors)), used=link.used)
    return [_fit_logarithm(data, own, outcome, link, multiplier), _fit_logarithm(data, own, outcome, best, None)]


def _fit_logarithm(
    data: _Arm, own: OutcomeRows, outcome: Rows, link: LogLink, multiplier: Tables | None
) -> tuple[LogMember, tuple[Rows, Rows]]:
    """Regression of a logarithm in the columns, or in the kernel with a multiplier of its penalty, and predictions."""
    arm, straight = data.weights, multiplier is None
    features = (data.rows.columns, own.columns) if straight else (data.rows.kernel, own.kernel)
    response = link.forward(outcome, arm)
    fit = data.fit(features[1], response, torch.ones_like(link.shift) if multiplier is None else multiplier)
    fitted, clean = data.predictions(fit, features, response)
    grown = arm * link.grown(clean)
    total = grown.sum(1)
    link = link.scaled(total / fit.count)
    centre = features[1].mean(grown.gather(1, data.places)) / total[:, None]
    return LogMember(fit, link, torch.ones_like(total), centre, straight), (link.back(fitted), link.back(clean))


def leave_one_out(
    fit: RidgeFit,
    rows: RegressionFeatures,
    own: RegressionFeatures,
    places: Int[Tensor, "B n"],
    response: Rows,
    arm: Rows,
) -> tuple[Rows, Rows]:
    """Predictions of all rows by the fit itself, and of the arm's rows, which are ``own``, by their other rows."""
    if isinstance(rows, RowFeatures) and rows.is_streamed:
        fitted, leverage = fit.predictions(rows, arm)
    else:
        leverage = torch.zeros_like(arm).scatter(1, places, fit.leverage(own, arm.gather(1, places)))
        fitted = fit.predict(rows)
    return _left_out(response, fitted, leverage, arm)


def _left_out(response: Rows, fitted: Rows, leverage: Rows, arm: Rows) -> tuple[Rows, Rows]:
    """Predictions of all rows, and of the arm's rows by their other rows."""
    left = response - leave_one_out_residuals(response, fitted, leverage)
    return fitted, torch.where(arm > 0, left, fitted)


def ends_of(values: Rows, arm: Rows) -> tuple[Float[Tensor, "B 1"], Float[Tensor, "B 1"]]:
    """Smallest and largest value of the arm's rows."""
    outside = arm <= 0
    lower = values.masked_fill(outside, torch.inf).amin(1, keepdim=True)
    return lower, values.masked_fill(outside, -torch.inf).amax(1, keepdim=True)


def unexplained_share(outcome: Rows, mean: Float[Tensor, "B 1"], loo: Rows, arm: Rows) -> Tables:
    """Share of the arm's outcome variance that predictions by the other rows leave."""
    total = (arm * (outcome - mean).square()).sum(1)
    return (arm * loo.square()).sum(1) / total.clamp_min(torch.finfo(total.dtype).tiny)


def allowed_range(
    ends: tuple[Float[Tensor, "B 1"], Float[Tensor, "B 1"]], unexplained: Tables
) -> tuple[Float[Tensor, "B 1"], Float[Tensor, "B 1"]]:
    """Range of predictions: that of the arm's fitted values, and a margin on both sides, see :data:`MARGIN`."""
    unexplained = unexplained.clamp(LEAST_UNEXPLAINED, 1)
    margin = (MARGIN * (1 - unexplained) / unexplained)[:, None] * (ends[1] - ends[0])
    return ends[0] - margin, ends[1] + margin
