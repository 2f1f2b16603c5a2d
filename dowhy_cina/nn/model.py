"""The zero-shot model: pilot fits, settings in context, leave-one-out scores, outcome models and the balancing layer.

Letters: B tables, N rows, D covariates, M landmarks, K key coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dowhy_cina.config import ModelConfig
from dowhy_cina.kernels import LandmarkKernel, gather_rows
from dowhy_cina.nn.attention import BalancingValues, CinaLayer
from dowhy_cina.nn.encoder import ColumnEncoder, column_features, table_features
from dowhy_cina.outcome import RidgeFit, fit_ridge, gcv_penalty, gram_statistics, leave_one_out_residuals

Rows = Float[Tensor, "B N"]


@dataclass(frozen=True)
class TableBatch:
    """Preprocessed tables of one shape.

    Attributes
    ----------
    covariates : Tensor, shape (B, N, D)
        Standardised columns.
    treatment : Tensor, shape (B, N)
        0 or 1.
    outcome : Tensor, shape (B, N)
        Standardised outcome.
    landmarks, pilot : Tensor of int, shape (B, M) and (B, P)
        Rows that span the kernels, and rows from which the pilot learns column scales.
    """

    covariates: Float[Tensor, "B N D"]
    treatment: Rows
    outcome: Rows
    landmarks: Int[Tensor, "B M"]
    pilot: Int[Tensor, "B P"]

    @property
    def signs(self) -> Rows:
        """W = 2 T - 1."""
        return 2 * self.treatment - 1


@dataclass(frozen=True)
class Pilot:
    """What isotropic fits of T, Y in controls and Y in treated say.

    That is the share of each column in the squared gradient, explained variance and degrees of freedom.
    """

    shares: Float[Tensor, "B D 3"]
    explained: Float[Tensor, "B 3"]
    freedom: Float[Tensor, "B 3"]


@dataclass(frozen=True)
class Settings:
    """Everything the closed forms need, predicted from the table.

    Scales multiply standardised columns; the two outcome scales belong to the control and to the treated arm.
    """

    treatment_scales: Float[Tensor, "B D"]
    outcome_scales: tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]
    treatment_amplitudes: Float[Tensor, "B H"]
    outcome_amplitudes: Float[Tensor, "B H"]
    log_multipliers: dict[str, Float[Tensor, " B"]]


@dataclass(frozen=True)
class ScoreModel:
    """Propensity regression and the divisor that turns its predictions into a key coordinate."""

    kernel: LandmarkKernel
    fit: RidgeFit
    centre: Float[Tensor, "B 1"]
    divisor: Float[Tensor, "B 1"]

    def coordinate(self, score: Rows) -> Rows:
        """Standardised score, bounded so that an outlier cannot leave every landmark behind."""
        return ((score - self.centre) / self.divisor).clamp(-4, 4)


@dataclass(frozen=True)
class OutcomeModel:
    """Outcome regression of one arm with the range of its fitted values."""

    kernel: LandmarkKernel
    fit: RidgeFit
    lower: Float[Tensor, "B 1"]
    upper: Float[Tensor, "B 1"]

    def clip(self, fitted: Rows) -> Rows:
        """Predictions within the arm's fitted range: no extrapolation beyond what the arm shows."""
        return torch.minimum(torch.maximum(fitted, self.lower), self.upper)


@dataclass(frozen=True)
class ZeroShot:
    """All that one forward pass knows of a table, before a target population is named.

    Attributes
    ----------
    settings : Settings
    scores : ScoreModel
    outcomes : tuple of OutcomeModel
        Control, treated; so are all pairs here.
    propensity : Tensor, shape (B, N)
        Leave-one-out, neither clipped nor a share: a regression's prediction of T.
    means : tuple of Tensor, shape (B, N)
        Predicted mean outcomes under control and under treatment, in the unit of the batch's outcome.
    residuals, loo_residuals : Tensor, shape (B, N)
        Errors of each row's own arm's prediction, in-sample and leave-one-out.
    prognosis : ScorePair
    balance_kernel : LandmarkKernel
    balance_features : Tensor, shape (B, N, M)
    balance_ridge : Tensor, shape (B,)
    """

    settings: Settings
    scores: ScoreModel
    outcomes: tuple[OutcomeModel, OutcomeModel]
    propensity: Rows
    means: tuple[Rows, Rows]
    residuals: Rows
    loo_residuals: Rows
    prognosis: ScorePair
    balance_kernel: LandmarkKernel
    balance_features: Float[Tensor, "B N M"]
    balance_ridge: Float[Tensor, " B"]


@dataclass(frozen=True)
class ScorePair:
    """Divisors of the two prognostic scores as key coordinates (outcome already centred)."""

    centres: tuple[Float[Tensor, "B 1"], Float[Tensor, "B 1"]]
    divisors: tuple[Float[Tensor, "B 1"], Float[Tensor, "B 1"]]

    def coordinates(self, means: tuple[Rows, Rows]) -> list[Rows]:
        """Standardised scores, bounded."""
        pairs = zip(means, self.centres, self.divisors, strict=True)
        return [((score - centre) / divisor).clamp(-4, 4) for score, centre, divisor in pairs]


class CinaModel(nn.Module):
    """Two attention layers whose settings a column-token transformer predicts in context.

    Layer one is three leave-one-out kernel regressions, which give every row a propensity and two prognostic scores.
    Layer two is the CInA layer on keys made of scaled covariates and those scores. An untrained model is the fixed rule
    of :class:`ModelConfig`.
    """

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or ModelConfig()
        self.encoder = ColumnEncoder(self.config)
        self.layer = CinaLayer(self.config.dual_layers, self.config.target_layers)

    def forward(self, table: TableBatch) -> ZeroShot:
        """Settings, scores, outcome models and balancing features of a batch of tables."""
        settings = self.settings(table, self.pilot(table))
        scores, propensity = self.fit_scores(table, settings)
        coordinate = scores.coordinate(propensity)
        fits = [self.fit_outcome(table, settings, coordinate, arm) for arm in (0, 1)]
        outcomes = (fits[0][0], fits[1][0])
        means = (fits[0][1], fits[1][1])
        treated = table.treatment > 0
        fitted = torch.where(treated, means[1], means[0])
        loo = torch.where(treated, fits[1][2], fits[0][2])
        # A row's own outcome enters its own arm's fit: as a key, its leave-one-out prediction replaces that.
        clean = table.outcome - loo
        prognostic = (torch.where(treated, means[0], clean), torch.where(treated, clean, means[1]))
        pair = self.prognosis(prognostic)
        kernel, features = self.balance_space(table, settings, coordinate, pair.coordinates(prognostic))
        ridge = self.config.balance_ridge * scores.fit.penalty * settings.log_multipliers["balance_ridge"].exp()
        return ZeroShot(
            settings, scores, outcomes, propensity, means, table.outcome - fitted, loo, pair, kernel, features, ridge
        )

    @torch.no_grad()
    def pilot(self, table: TableBatch) -> Pilot:
        """Isotropic kernel ridge fits on the pilot rows and the mean squared gradient of each along every column."""
        x, t, y = (gather_rows(v, table.pilot) for v in (table.covariates, table.treatment, table.outcome))
        divisor = self.config.key_width * math.sqrt(x.shape[2])
        landmarks = gather_rows(table.covariates, table.landmarks) / divisor
        kernel = LandmarkKernel.build(landmarks, self._amplitudes(x.new_zeros(2, x.shape[0])))
        shares, explained, freedom = [], [], []
        for rows, response in ((torch.ones_like(t), t), (1 - t, y), (t, y)):
            statistics = gram_statistics(kernel, x / divisor, response, rows)
            fit = fit_ridge(statistics, gcv_penalty(statistics))
            gradient = kernel.mean_squared_gradient(x / divisor, fit.coefficients)
            shares.append(gradient / gradient.sum(1, keepdim=True).clamp_min(1e-30))
            unexplained = (statistics.total - (statistics.cross * fit.coefficients).sum(1)).clamp_min(0)
            explained.append(1 - unexplained / statistics.total.clamp_min(1e-12))
            freedom.append(fit.degrees_of_freedom.clamp_min(1e-3))
        return Pilot(torch.stack(shares, -1), torch.stack(explained, -1), torch.stack(freedom, -1))

    def settings(self, table: TableBatch, pilot: Pilot) -> Settings:
        """Column scales, amplitudes and multipliers: the fixed rule times the network's bounded corrections."""
        x, t, y = (gather_rows(v, table.pilot) for v in (table.covariates, table.treatment, table.outcome))
        columns = column_features(x, t, y, pilot.shares)
        summary = table_features(table.treatment, table.outcome, x.shape[2], pilot.explained, pilot.freedom)
        corrections, log = self.encoder(columns, summary)
        treated = table.treatment.sum(1, keepdim=True)
        counts = (treated.new_full(treated.shape, table.treatment.shape[1]) - treated, treated)
        own = (pilot.shares[..., 1], pilot.shares[..., 2])
        pooled = (counts[0] * own[0] + counts[1] * own[1]) / (counts[0] + counts[1])
        trust = [count / (count + self.config.small_arm) for count in counts]
        outcome_scales = tuple(
            self._scales(
                trust[arm] * own[arm] + (1 - trust[arm]) * pooled,
                log["outcome_isotropic"],
                corrections[..., 1 + arm],
                log["outcome_width"],
            )
            for arm in (0, 1)
        )
        return Settings(
            self._scales(pilot.shares[..., 0], log["treatment_isotropic"], corrections[..., 0], log["treatment_width"]),
            (outcome_scales[0], outcome_scales[1]),
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

    def fit_scores(self, table: TableBatch, settings: Settings) -> tuple[ScoreModel, Rows]:
        """Propensity score of every row by kernel ridge, leave-one-out."""
        keys = table.covariates * settings.treatment_scales[:, None]
        kernel = LandmarkKernel.build(gather_rows(keys, table.landmarks), settings.treatment_amplitudes)
        ones = torch.ones_like(table.treatment)
        statistics = gram_statistics(kernel, keys, table.treatment, ones)
        penalty = gcv_penalty(statistics) * settings.log_multipliers["treatment_penalty"].exp()
        fit = fit_ridge(statistics, penalty)
        fitted, leverage = fit.predict_with_leverage(kernel, keys)
        propensity = table.treatment - leave_one_out_residuals(table.treatment, fitted, leverage)
        # Without the floor a score of a randomised treatment would be its own leave-one-out noise, which encodes T.
        floor = self.config.propensity_floor * table.treatment.std(1, unbiased=False, keepdim=True)
        divisor = torch.maximum(propensity.std(1, unbiased=False, keepdim=True), floor)
        return ScoreModel(kernel, fit, propensity.mean(1, keepdim=True), divisor), propensity

    def outcome_keys(
        self, covariates: Float[Tensor, "B N D"], coordinate: Rows, settings: Settings, arm: int
    ) -> Float[Tensor, "B N K"]:
        """Scaled covariates and the propensity score: keys of one arm's outcome regression."""
        multiplier = settings.log_multipliers["propensity_in_outcome"].exp()[:, None]
        scale = self.config.propensity_scale / self.config.key_width * multiplier
        return torch.cat([covariates * settings.outcome_scales[arm][:, None], (scale * coordinate)[..., None]], -1)

    def fit_outcome(
        self, table: TableBatch, settings: Settings, coordinate: Rows, arm: int
    ) -> tuple[OutcomeModel, Rows, Rows]:
        """Outcome regression of one arm: the model, its clipped predictions for all rows, leave-one-out residuals."""
        rows = table.treatment if arm else 1 - table.treatment
        keys = self.outcome_keys(table.covariates, coordinate, settings, arm)
        kernel = LandmarkKernel.build(gather_rows(keys, table.landmarks), settings.outcome_amplitudes)
        statistics = gram_statistics(kernel, keys, table.outcome, rows)
        name = "treated_penalty" if arm else "control_penalty"
        fit = fit_ridge(statistics, gcv_penalty(statistics) * settings.log_multipliers[name].exp())
        fitted, leverage = fit.predict_with_leverage(kernel, keys)
        inside = rows > 0
        lower = fitted.masked_fill(~inside, torch.inf).amin(1, keepdim=True)
        upper = fitted.masked_fill(~inside, -torch.inf).amax(1, keepdim=True)
        model = OutcomeModel(kernel, fit, lower, upper)
        return model, model.clip(fitted), leave_one_out_residuals(table.outcome, fitted, leverage)

    def prognosis(self, prognostic: tuple[Rows, Rows]) -> ScorePair:
        """Centres and divisors that make the prognostic scores key coordinates."""
        floor = self.config.propensity_floor
        centres = tuple(score.mean(1, keepdim=True) for score in prognostic)
        divisors = tuple(score.std(1, unbiased=False, keepdim=True).clamp_min(floor) for score in prognostic)
        return ScorePair((centres[0], centres[1]), (divisors[0], divisors[1]))

    def balance_keys(
        self, covariates: Float[Tensor, "B N D"], coordinate: Rows, prognosis: list[Rows], settings: Settings
    ) -> Float[Tensor, "B N K"]:
        """Scaled covariates and the three scores: keys of the balancing layer."""
        log, width = settings.log_multipliers, self.config.key_width
        propensity = self.config.propensity_scale / width * log["propensity_in_balance"].exp()[:, None] * coordinate
        scale = self.config.prognostic_scale / width * log["prognosis_in_balance"].exp()[:, None]
        scores = [propensity, *(scale * score for score in prognosis)]
        return torch.cat([covariates * settings.treatment_scales[:, None], torch.stack(scores, -1)], -1)

    def balance_space(
        self, table: TableBatch, settings: Settings, coordinate: Rows, prognosis: list[Rows]
    ) -> tuple[LandmarkKernel, Float[Tensor, "B N M"]]:
        """Kernel of the balancing layer and its features for every row."""
        keys = self.balance_keys(table.covariates, coordinate, prognosis, settings)
        kernel = LandmarkKernel.build(gather_rows(keys, table.landmarks), settings.treatment_amplitudes)
        return kernel, torch.cat([block for _, block in kernel.blocks(keys)], 1)

    def regularisation(self, state: ZeroShot) -> Float[Tensor, " B"]:
        """Lambda of the CInA dual in context."""
        multiplier = state.settings.log_multipliers["regularisation"].exp()
        return self.config.regularisation * state.balance_kernel.diagonal * multiplier

    def values(self, table: TableBatch, state: ZeroShot) -> BalancingValues:
        """Zero-shot values of the CInA layer: arm against arm, the paper's estimator."""
        step = self.config.dual_step * state.settings.log_multipliers["dual_step"].exp()
        values: BalancingValues = self.layer(state.balance_features, table.signs, self.regularisation(state), step)
        return values

    def weights(self, table: TableBatch, state: ZeroShot, target: Float[Tensor, "B M"]) -> Rows:
        """Weights of both arms that balance each to the target's mean features.

        Parameters
        ----------
        table : TableBatch
        state : ZeroShot
            What :meth:`forward` returned for the table.
        target : Tensor, shape (B, M)
            Mean balancing features of the target population.

        Returns
        -------
        Tensor, shape (B, N)
            Non-negative, each arm sums to one.
        """
        arms = [
            self.layer.balance_to(state.balance_features, arm, target, state.balance_ridge)[0]
            for arm in (1 - table.treatment, table.treatment)
        ]
        return arms[0] + arms[1]

    def foreign_rows(
        self, state: ZeroShot, covariates: Float[Tensor, "B n D"]
    ) -> tuple[Float[Tensor, "B n"], tuple[Float[Tensor, "B n"], Float[Tensor, "B n"]], Float[Tensor, "B n K"]]:
        """Propensity, predicted mean outcomes of both arms, and balancing keys of rows that are not in the table."""
        settings = state.settings
        keys = covariates * settings.treatment_scales[:, None]
        propensity = state.scores.fit.predict(state.scores.kernel, keys)
        coordinate = state.scores.coordinate(propensity)
        means = []
        for arm, model in enumerate(state.outcomes):
            outcome_keys = self.outcome_keys(covariates, coordinate, settings, arm)
            means.append(model.clip(model.fit.predict(model.kernel, outcome_keys)))
        pair = (means[0], means[1])
        return propensity, pair, self.balance_keys(covariates, coordinate, state.prognosis.coordinates(pair), settings)
