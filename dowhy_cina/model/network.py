"""The zero-shot model: pilot fits, settings in context, scores, outcome models and the balancing layer.

Letters: B tables, N rows, D covariates, M landmarks, K key coordinates.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dowhy_cina.config import ModelConfig
from dowhy_cina.mathematics.balancing import Rows, Tables
from dowhy_cina.mathematics.clusters import (
    Clusters,
    cluster_statistics,
    clustered_cross_validation,
    clustered_ridge,
    left_out,
)
from dowhy_cina.mathematics.kernels import LandmarkKernel, heads, mixed, scaled_keys, squared_distances
from dowhy_cina.mathematics.passes import gather_rows, places_of
from dowhy_cina.mathematics.ridge import (
    Gcv,
    GramStatistics,
    cross_validated_ridge,
    generalised_cross_validation,
    gram_statistics,
    leave_one_out_residuals,
    ridge_coefficients,
)
from dowhy_cina.mathematics.rows import RowFeatures
from dowhy_cina.mathematics.screening import ArmMoments
from dowhy_cina.model.attention import BalancingValues, CinaLayer
from dowhy_cina.model.encoder import ColumnEncoder, column_features, table_features, table_totals
from dowhy_cina.model.fitting import FittedOutcome, OwnOutcome, borrow, fit_own, with_borrowing
from dowhy_cina.model.outcome import ARMS
from dowhy_cina.model.shares import likeness
from dowhy_cina.model.sharing import SharedRows
from dowhy_cina.model.smoother import Smoother
from dowhy_cina.model.spaces import OutcomeSpace, outcome_keys
from dowhy_cina.model.state import (
    ForeignRows,
    Part,
    Pilot,
    ScoreModel,
    ScorePair,
    Settings,
    TableBatch,
    ZeroShot,
    each_tensor,
)
from dowhy_cina.model.variance import ConditionalHead, VarianceHead


class CinaModel(nn.Module):
    """Two attention layers whose settings a column-token transformer predicts in context.

    Layer one is three kernel regressions, which give every row a propensity and two prognostic scores.
    Layer two is the CInA layer on keys made of scaled covariates and those scores. An untrained model is the fixed rule
    of :class:`ModelConfig`.
    """

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or ModelConfig()
        self.encoder = ColumnEncoder(self.config)
        self.layer = CinaLayer(self.config.dual_layers)
        self.variance = VarianceHead()
        self.conditional = ConditionalHead()

    def forward(self, table: TableBatch, held: Settings | None = None, pilot: Pilot | None = None) -> ZeroShot:
        """Settings, scores, outcome models and balancing features of a batch of tables.

        With ``held``, settings of tables like these, nothing is predicted anew; ``pilot`` is that of the tables, where
        it is known.
        """
        settings = self.settings(table, pilot or self.pilot(table)) if held is None else held
        scores, fitted, propensity = self.fit_scores(table, settings)
        coordinate = scores.coordinate(fitted)
        control, treated = self.fit_outcomes(table, settings, coordinate, propensity)
        means = (control.means, treated.means)
        own = table.treatment > 0
        loo = torch.where(own, treated.loo_residuals, control.loo_residuals)
        prognostic = control.prognosis, treated.prognosis
        pair = self.prognosis(*((score.mean(1), score.std(1, unbiased=False)) for score in prognostic))
        balance = self.balance_space(table, settings, coordinate, pair.coordinates(prognostic))
        moments = None
        if balance.is_streamed and len(own) == 1:
            columns = self.balance_columns(table.covariates, coordinate)
            moments = ArmMoments(balance, columns, (table.arm(0), table.arm(1)))
        return ZeroShot(
            settings=settings,
            scores=scores,
            outcomes=(control, treated),
            propensity=propensity,
            coordinate=coordinate,
            residuals=table.outcome - torch.where(own, means[1], means[0]),
            loo_residuals=loo,
            prognosis=pair,
            balance_kernel=balance.kernel,
            balance_features=balance.together() if "balance" in table.storage.kept else balance,
            balance_ridge=self.balance_ridge(scores, settings),
            arm_moments=moments,
            added=table.added,
        )

    @torch.no_grad()
    def pilot(self, table: TableBatch) -> Pilot:
        """Isotropic kernel ridge fits on the pilot rows and the mean squared gradient of each along every column."""
        x, t, y = (table.at_pilot(part) for part in (table.without_waves, table.treatment, table.outcome))
        divisor = self.config.key_width * math.sqrt(x.shape[2])
        landmarks = gather_rows(table.without_waves, table.landmarks) / divisor
        kernel = LandmarkKernel(landmarks, self._amplitudes(x.new_zeros(2, x.shape[0])))
        keys = x / divisor
        terms = heads(squared_distances(keys, landmarks))
        features = RowFeatures(kernel, keys, kernel.whitened(mixed(terms, kernel.amplitudes)))
        clusters = None if table.clusters is None else table.clusters.take(table.pilot).alone()
        regressions, chosen = _pilot_fits(features, t, y, clusters, table.arms_are_alike)
        coefficients, factors = ridge_coefficients(regressions, chosen.penalty)

        def by_table(values: Tensor) -> Tensor:
            """Bring the regressions from the first axis to the last."""
            return values.reshape(3, len(x), *values.shape[1:]).movedim(0, -1)

        gradients = kernel.mean_squared_gradients(keys, terms, by_table(coefficients))
        shares = gradients / gradients.sum(1, keepdim=True).clamp_min(1e-30)
        departures = regressions.mean_response - (regressions.mean_features * coefficients).sum(1)
        fitted = features.times_several(by_table(coefficients).mT) + by_table(departures)[..., None]
        residual = y - torch.where(t > 0, fitted[:, 2], fitted[:, 1])
        centres, factors = by_table(regressions.mean_features)[..., 1:], by_table(factors)[..., 1:]
        weight = by_table(regressions.count)[:, 0] / t.shape[1]
        smoother = Smoother(features.together(), t, centres, factors, weight)
        return Pilot(shares, by_table(chosen.explained), 1 + by_table(chosen.degrees_of_freedom), residual, smoother)

    def settings(self, table: TableBatch, pilot: Pilot, totals: Float[Tensor, "B 4"] | None = None) -> Settings:
        """Column scales, amplitudes and multipliers: the fixed rule times the network's bounded corrections.

        ``totals`` are the :func:`~dowhy_cina.model.encoder.table_totals` of a table of which the pilot rows alone are
        here.
        """
        x, t, y = (table.at_pilot(part) for part in (table.without_waves, table.treatment, table.outcome))
        clusters = table.clusters
        sizes = None if clusters is None else clusters.take(table.pilot).of_arms(t)
        columns = column_features(x, t, y, pilot.shares, sizes)
        if totals is None:
            totals = table_totals(table.treatment, table.outcome, None if clusters is None else table.arm_sizes)
        summary = table_features(totals, x.shape[2], pilot.explained, pilot.freedom)
        corrections, log = self.encoder(columns, summary)
        counts = (totals[:, :1] - totals[:, 1:2], totals[:, 1:2])
        own = (pilot.shares[..., 1], pilot.shares[..., 2])
        pooled = (counts[0] * own[0] + counts[1] * own[1]) / (counts[0] + counts[1])
        trust = [count / (count + self.config.small_arm) for count in counts]
        outcome_scales = [
            self._scales(
                trust[arm] * own[arm] + (1 - trust[arm]) * pooled,
                log["outcome_isotropic"],
                corrections[..., 1 + arm],
                log["outcome_width"],
            )
            for arm in (0, 1)
        ]
        treatment_scales = self._scales(
            pilot.shares[..., 0], log["treatment_isotropic"], corrections[..., 0], log["treatment_width"]
        )
        scales = treatment_scales, (outcome_scales[0], outcome_scales[1])
        return Settings(
            *(scales if table.added is None else table.added.with_scales(*scales)),
            self._amplitudes(torch.stack([log["treatment_short"], log["treatment_wide"]])),
            self._amplitudes(torch.stack([log["outcome_short"], log["outcome_wide"]])),
            log,
        )

    def _scales(
        self,
        shares: Float[Tensor, "B D"],
        isotropic: Float[Tensor, " B"],
        correction: Float[Tensor, "B D"],
        width: Float[Tensor, " B"],
    ) -> Float[Tensor, "B D"]:
        start = math.log(self.config.isotropic_share / (1 - self.config.isotropic_share))
        isotropic = torch.sigmoid(start + isotropic)[:, None]
        squared = isotropic / shares.shape[1] + (1 - isotropic) * shares
        return squared.sqrt() * torch.exp(correction - width[:, None]) / self.config.key_width

    def _amplitudes(self, log: Float[Tensor, "2 B"]) -> Float[Tensor, "B 3"]:
        short, wide = log.exp()
        return torch.stack(
            [self.config.short_amplitude * short, torch.ones_like(short), self.config.wide_amplitude * wide], -1
        )

    def fit_scores(self, table: TableBatch, settings: Settings) -> tuple[ScoreModel, Rows, Rows]:
        """Propensity scores of all rows by kernel ridge: as fitted, a function of the covariates, and leave-one-out.

        Where few rows are alike, their scores left out tell the treated from the controls: in a cell of n rows, k of
        them treated, a treated row's is (k - 1) / (n - 1), a control's k / (n - 1). So keys are made of fitted ones.
        """
        keys = scaled_keys(table.covariates, settings.treatment_scales)
        # These are gone before the balancing layer's are there: they need no memory of their own.
        features = self._balancing_rows(table, settings, keys)
        multiplier = settings.log_multipliers["treatment_penalty"].exp()
        # Without sampling weights: weighted, leaving out a heavy row would shift its score more, and the score would
        # tell what the weights depend on.
        ones = torch.ones_like(table.treatment)
        if table.clusters is None:
            fit = cross_validated_ridge(features, table.treatment, ones, multiplier)
            fitted, leverage = fit.predictions(features, ones)
            propensity = table.treatment - leave_one_out_residuals(table.treatment, fitted, leverage)
        else:
            rows, everyone = table.clusters.share * ones, (features, places_of(ones))
            fit = clustered_ridge(features, table.treatment, rows, multiplier, table.clusters)
            fitted, propensity = left_out(fit, features, everyone, table.treatment, rows, table.clusters)
        floor = self.config.propensity_floor * table.treatment.std(1, unbiased=False, keepdim=True)
        mean, sd = fitted.mean(1, keepdim=True), fitted.std(1, unbiased=False, keepdim=True)
        return ScoreModel.of(features.kernel, fit, mean, sd, floor), fitted, propensity

    def outcome_space(
        self, covariates: Float[Tensor, "B M D"], coordinate: Float[Tensor, "B M"], settings: Settings, arm: int
    ) -> OutcomeSpace:
        """Space of one arm's outcome regression, of which the landmarks' covariates and scores are given."""
        multiplier = settings.log_multipliers["propensity_in_outcome"].exp()[:, None]
        scale = self.config.propensity_scale / self.config.key_width * multiplier
        scales = settings.outcome_scales[arm]
        landmarks = outcome_keys(covariates, coordinate, scales, scale)
        return OutcomeSpace(scales, scale, LandmarkKernel(landmarks, settings.outcome_amplitudes))

    def outcome_penalty(self, settings: Settings, arm: int) -> Float[Tensor, " B"]:
        """Multiple of the cross-validated penalty of one arm's outcome regression."""
        return settings.log_multipliers[f"{ARMS[arm]}_penalty"].exp()

    def fit_outcomes(
        self, table: TableBatch, settings: Settings, coordinate: Rows, propensity: Rows
    ) -> tuple[FittedOutcome, FittedOutcome]:
        """Outcome regressions of both arms and what they say of every row."""
        marks, at_marks = (gather_rows(part, table.landmarks) for part in (table.covariates, coordinate))

        def of_arm(arm: int) -> tuple[OutcomeSpace, Tensor, Tensor, Rows, Rows, Rows, Tables]:
            """What the regression of one arm by its own rows is fitted to."""
            space, rows = self.outcome_space(marks, at_marks, settings, arm), table.arm(arm)
            keys, multiplier = space.keys(table.covariates, coordinate), self.outcome_penalty(settings, arm)
            return space, keys, table.covariates, table.outcome, rows, likeness(rows, propensity, arm), multiplier

        parts = [of_arm(arm) for arm in (0, 1)]
        if table.arms_are_alike:
            both = each_tensor(parts, torch.cat)
            own = fit_own(*both, table.storage, ARMS[0])
            lent = [torch.cat(part.chunk(2)[::-1]) for part in own.clipped]
            borrowings = _halves(borrow(own, (lent[0], lent[1]), both[3]))
            control, treated = _own_halves(own)
        else:
            control, treated = (
                fit_own(*part, table.storage, ARMS[arm], table.clusters, table.arm(1 - arm))
                for arm, part in enumerate(parts)
            )
            of_control = borrow(control, treated.clipped, table.outcome)
            borrowings = of_control, borrow(treated, control.clipped, table.outcome)
        return with_borrowing(control, treated, borrowings[0]), with_borrowing(treated, control, borrowings[1])

    def prognosis(self, control: tuple[Tensor, Tensor], treated: tuple[Tensor, Tensor]) -> ScorePair:
        """Centres and divisors that make the prognostic scores key coordinates, from their means and sd (B,)."""
        floor = self.config.propensity_floor
        centres, spreads = zip(control, treated, strict=True)
        divisors = [sd[:, None].clamp_min(floor) for sd in spreads]
        return ScorePair((centres[0][:, None], centres[1][:, None]), (divisors[0], divisors[1]))

    def balance_ridge(self, scores: ScoreModel, settings: Settings) -> Float[Tensor, " B"]:
        """Ridge of target balancing."""
        return self.config.balance_ridge * scores.fit.penalty * settings.log_multipliers["balance_ridge"].exp()

    def balance_keys(
        self, covariates: Float[Tensor, "B N D"], coordinate: Rows, prognosis: list[Rows], settings: Settings
    ) -> Float[Tensor, "B N K"]:
        """Scaled covariates and the three scores: keys of the balancing layer."""
        log, width = settings.log_multipliers, self.config.key_width
        propensity = self.config.propensity_scale / width * log["propensity_in_balance"].exp()[:, None] * coordinate
        scale = self.config.prognostic_scale / width * log["prognosis_in_balance"].exp()[:, None]
        scores = [propensity, *(scale * score for score in prognosis)]
        return torch.cat([scaled_keys(covariates, settings.treatment_scales), torch.stack(scores, -1)], -1)

    def balance_columns(self, covariates: Float[Tensor, "B N D"], coordinate: Rows) -> Float[Tensor, "B N L"]:
        """Columns whose means are balanced beside the kernel's features: the covariates and the propensity score."""
        return torch.cat([covariates, coordinate[..., None]], -1)

    def balance_space(
        self, table: TableBatch, settings: Settings, coordinate: Rows, prognosis: list[Rows]
    ) -> RowFeatures:
        """Features of the balancing layer for every row."""
        keys = self.balance_keys(table.covariates, coordinate, prognosis, settings)
        return self._balancing_rows(table, settings, keys)

    def _balancing_rows(self, table: TableBatch, settings: Settings, keys: Float[Tensor, "B N K"]) -> RowFeatures:
        kernel = LandmarkKernel(gather_rows(keys, table.landmarks), settings.treatment_amplitudes)
        return RowFeatures.build(kernel, keys, "balance" in table.storage.kept, table.storage.block_entries)

    def regularisation(self, state: ZeroShot) -> Float[Tensor, " B"]:
        """Lambda of the CInA dual in context."""
        multiplier = state.settings.log_multipliers["regularisation"].exp()
        return self.config.regularisation * state.balance_kernel.diagonal * multiplier

    def values(self, table: TableBatch, state: ZeroShot) -> BalancingValues:
        """Zero-shot values of the CInA layer: arm against arm, the paper's estimator."""
        values: BalancingValues = self.layer(state.balance_features, table.signs, self.regularisation(state))
        return values

    def foreign_rows(self, state: ZeroShot, covariates: Float[Tensor, "B n D"]) -> ForeignRows:
        """What the fitted models say of rows that are not in the table."""
        settings = state.settings
        keys = scaled_keys(covariates, settings.treatment_scales)
        propensity = state.scores.fit.predict(RowFeatures(state.scores.kernel, keys, None))
        coordinate = state.scores.coordinate(propensity)
        regressions = [fitted.regression for fitted in state.outcomes]
        control, treated = (regression.own.rows(covariates, coordinate) for regression in regressions)
        outcome_rows = SharedRows(control, treated), SharedRows(treated, control)
        means = (regressions[0].predict(outcome_rows[0]), regressions[1].predict(outcome_rows[1]))
        prognosis = regressions[0].own.predict(control), regressions[1].own.predict(treated)
        balance_keys = self.balance_keys(covariates, coordinate, state.prognosis.coordinates(prognosis), settings)
        return ForeignRows(propensity, means, outcome_rows, balance_keys)


def _halves(whole: Part) -> tuple[Part, Part]:
    """A structure of the first half of the tables, and of the others."""

    def first(parts: list[Tensor]) -> Tensor:
        return parts[0][: parts[0].shape[0] // 2]

    def second(parts: list[Tensor]) -> Tensor:
        return parts[0][parts[0].shape[0] // 2 :]

    return each_tensor([whole], first), each_tensor([whole], second)


def _own_halves(whole: OwnOutcome) -> tuple[OwnOutcome, OwnOutcome]:
    """Regressions of both arms, with what is known already; that of an arm without a logarithm goes without."""
    factors, halves = whole.regression.space.kernel.factor.chunk(2), []
    for factor, half in zip(factors, _halves(whole), strict=True):
        half.regression.space.kernel.set_factor(factor)
        logarithms = half.regression.logarithms
        if logarithms and not bool(logarithms[0].link.used.any()):
            half = replace(half, regression=replace(half.regression, logarithms=()))
        halves.append(half)
    return halves[0], halves[1]


def _pilot_fits(
    features: RowFeatures, treatment: Rows, outcome: Rows, clusters: Clusters | None, alike: bool
) -> tuple[GramStatistics, Gcv]:
    """Statistics and penalties of the regressions of T, Y in controls and Y in treated: three after each other."""

    def of_rows(rows: Rows, outcome: Rows) -> GramStatistics:
        own = places_of(rows)
        return gram_statistics(features.take(own), outcome.gather(1, own), rows.gather(1, own))

    if clusters is None:
        if alike:
            both = of_rows(torch.cat([1 - treatment, treatment]), outcome.repeat(2, 1))
            arms = _halves(both)
        else:
            arms = of_rows(1 - treatment, outcome), of_rows(treatment, outcome)
        everyone = arms[0].of_constant(0.0) + arms[1].of_constant(1.0)
        # The three regressions of every table are chosen and solved together.
        regressions = each_tensor((everyone, *arms), torch.cat)
        return regressions, generalised_cross_validation(regressions)
    share = torch.full_like(treatment, clusters.share)
    found = [cluster_statistics(features, treatment, share, clusters)]
    for rows in (1 - treatment, treatment):
        own = places_of(rows)
        response, inside = outcome.gather(1, own), share.gather(1, own)
        found.append(cluster_statistics(features.take(own), response, inside, clusters.take(own)))
    chosen = [clustered_cross_validation(statistics) for statistics in found]
    return each_tensor([statistics.rows for statistics in found], torch.cat), each_tensor(chosen, torch.cat)
