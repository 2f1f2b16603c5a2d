"""Calibration of the variance heads: simulated samples of known populations, and Student's likelihood of the errors.

Letters: B samples, K parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from dowhy_cina.config import ModelConfig, TrainingConfig, check_samples
from dowhy_cina.estimating.pipeline import Estimation
from dowhy_cina.estimating.targets import Target
from dowhy_cina.learning.simulators import draw_table
from dowhy_cina.learning.training.collections import training_families
from dowhy_cina.learning.training.conditional import RowErrors, fit_conditional, row_errors
from dowhy_cina.learning.training.state import new_run
from dowhy_cina.mathematics.scaling import standardise
from dowhy_cina.model import checkpoint
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.search import with_own_additions
from dowhy_cina.model.state import each_tensor
from dowhy_cina.model.variance import REFERENCE_COLUMNS, VarianceHead
from dowhy_cina.tables.preparation import CanonicalTable, table_batch

#: Rows and columns of the samples, drawn log-uniformly between these.
ROWS, COLUMNS = (100, 3000), (2, 60)
#: Rows of a population in multiples of its sample, and at least.
POPULATION, SMALLEST_POPULATION = 5, 3000
#: Fewest rows of an arm; of fewer no interval is learned.
SMALLEST_ARM = 5
#: Share of the calibration samples whose intervals must hold the effect, a little above the nominal level: simulated
#: tables are friendlier than the next user's.
COVERAGE, LEVEL = 0.955, 0.95
#: Share of each family's intervals that must hold the effect, among its samples with few columns and with many, where
#: there are at least so many of these; and what the powers of the columns are raised by to that end, one of these.
FAMILY_COVERAGE, FAMILY_SAMPLES = 0.94, 100
SLOPES = tuple(0.1 * step for step in range(16))

#: Weights of the squared distance from an uncalibrated head beside the mean log likelihood: of the weights' logarithms,
#: and of the powers, which reach far where rows and columns are many.
PRIOR, POWERS_PRIOR = 0.001, 0.003
#: Added to the seed of a run: calibration samples come from another stream than its tables and its validation.
SEED_OFFSET = 2_000_003
#: The untrained rule as a checkpoint: a small network, since its output layers are zero.
RULE = ModelConfig(width=8, layers=1, heads=2)


@dataclass(frozen=True)
class Ingredients:
    """Errors of estimates of known effects, in sd of the outcome, and what their variance is made of.

    Attributes
    ----------
    error, sampling, smaller, columns, freedom : Tensor, shape (B,)
    bias : Tensor, shape (B, K)
    family : Tensor of int, shape (B,)
        Place of each sample's simulator among those drawn from.
    rows : RowErrors, optional
        Errors of effects of single rows; none where only the average's are known.
    """

    error: Float[Tensor, " B"]
    sampling: Float[Tensor, " B"]
    bias: Float[Tensor, "B K"]
    smaller: Float[Tensor, " B"]
    columns: Float[Tensor, " B"]
    freedom: Float[Tensor, " B"]
    family: Int[Tensor, " B"]
    rows: RowErrors | None = None

    def coverage(self, model: CinaModel, level: float = LEVEL) -> float:
        """Share of the intervals that hold the effect."""
        return float((self._multiple(model, level) < 1).double().mean())

    def _multiple(self, model: CinaModel, level: float = LEVEL) -> Float[Tensor, " B"]:
        """Error in half widths of the interval."""
        with torch.no_grad():
            variance = model.variance(self.sampling, self.bias, self.smaller, self.columns)
        quantile = torch.from_numpy(stats.t.ppf(0.5 + level / 2, self.freedom.numpy()))
        multiple: Tensor = self.error.abs() / (quantile * variance.sqrt())
        return multiple

    def _needed(self, model: CinaModel) -> Float[Tensor, " B"]:
        """Factor of the bias's weights at which the interval just holds the effect."""
        with torch.no_grad():
            sampling, total = (
                model.variance(self.sampling, bias, self.smaller, self.columns) for bias in (0 * self.bias, self.bias)
            )
        needed: Tensor = (self._multiple(model).square() * total - sampling) / (total - sampling).clamp_min(1e-300)
        return needed


@torch.no_grad()
def collect(model: CinaModel, families: Sequence[str], samples: int, landmarks: int, seed: int) -> Ingredients:
    """Estimate the effects in the populations of simulated samples, of which each is a random part."""
    found = []
    for index in range(samples):
        one = _draw(model, np.random.default_rng([seed, index]), list(families), landmarks)
        if one is not None:
            found.append(one)
    return each_tensor(found, torch.cat)


def _draw(model: CinaModel, rng: np.random.Generator, families: list[str], landmarks: int) -> Ingredients | None:
    """Ingredients of one sample; none if an arm is too small or the outcome constant."""
    rows, columns = (int(np.exp(rng.uniform(*np.log(bounds)))) for bounds in (ROWS, COLUMNS))
    population = draw_table(rng, max(POPULATION * rows, SMALLEST_POPULATION), columns, families=families)
    chosen = rng.permutation(len(population.treatment))[:rows]
    t, y = population.treatment[chosen].astype(np.float64), population.outcome[chosen]
    scale = float(y.std())
    if min(t.sum(), rows - t.sum()) < SMALLEST_ARM or not scale > 0:
        return None
    of_treated = bool(rng.random() < 0.25)
    members = population.propensity if of_treated else np.ones(len(population.treatment))
    effect = float(np.average(population.mu1 - population.mu0, weights=members)) / scale
    sample = CanonicalTable.of(standardise(population.covariates[chosen].T)[0].T, t, y)
    table = table_batch([sample], landmarks, torch.device("cpu"))
    table, pilot = with_own_additions(model, table)
    state = model(table, pilot=pilot)
    found = Estimation(model, table, state, Target.named("att" if of_treated else "ate", table, state))
    error = found.effect.value - effect
    effects = torch.from_numpy((population.mu1 - population.mu0)[chosen][sample.order] / scale)
    rows_known = row_errors(model, state, table.covariates, effects, rng)
    family = torch.tensor([families.index(population.family)])
    sizes = (found.smaller_arm, found.columns, found.degrees_of_freedom)
    return Ingredients(error, found.sampling, found.bias, *sizes, family, rows_known)


def fit_variance(model: CinaModel, ingredients: Ingredients, steps: int = 400) -> None:
    """Fit the variance head by maximum likelihood, then scale it; changes the model in place.

    It begins with an uncalibrated head, whatever the model has: what the samples do not say stays near that.
    The scale is that at which intervals hold the effect in :data:`COVERAGE` of the samples. Then what speaks of bias is
    raised, see :func:`_raise_bias`.
    """
    head = model.variance
    head.load_state_dict(VarianceHead().state_dict())
    parameters = [head.log_sampling, head.log_weights, head.growth, head.columns]
    pulls = PRIOR, PRIOR, POWERS_PRIOR, POWERS_PRIOR
    start = [parameter.detach().clone() for parameter in parameters]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(parameters, lr=0.05)
    # Beyond 60 degrees of freedom an outlier would decide the fit.
    freedom = ingredients.freedom.clamp_max(60)
    for _ in range(steps):
        variance = head(ingredients.sampling, ingredients.bias, ingredients.smaller, ingredients.columns)
        law = torch.distributions.StudentT(freedom, scale=variance.sqrt())
        likelihood = law.log_prob(ingredients.error).mean()  # type: ignore[no-untyped-call]
        prior = sum(pull * (p - s).square().sum() for p, s, pull in zip(parameters, start, pulls, strict=True))
        optimiser.zero_grad()
        (prior - likelihood).backward()
        optimiser.step()
    for parameter in parameters:
        parameter.requires_grad_(False)
    factor = 2 * float(torch.quantile(ingredients._multiple(model), COVERAGE).log())
    head.log_sampling.data.add_(factor)
    head.log_weights.data.add_(factor)
    _raise_bias(model, ingredients)


def _raise_bias(model: CinaModel, ingredients: Ingredients) -> None:
    """Raise the weights of what speaks of bias, and their powers of the columns, until every family's intervals hold.

    That is in :data:`FAMILY_COVERAGE` of its samples with at most :data:`REFERENCE_COLUMNS` columns and of those with
    more. What makes a family hard is bias, most of all that of many columns; where there is little of it intervals stay
    as they are. Of the ways to do so it is the one with the narrowest intervals on the average.
    """
    head, wide = model.variance, ingredients.columns > REFERENCE_COLUMNS
    families = [ingredients.family == family for family in range(int(ingredients.family.max()) + 1)]
    strata = [own & side for own in families for side in (wide, ~wide)]
    strata = [stratum for stratum in strata if int(stratum.sum()) >= FAMILY_SAMPLES]
    weights, powers = head.log_weights.detach().clone(), head.columns.detach().clone()
    if not strata:
        return
    ways = []
    for slope in SLOPES:
        head.log_weights.data, head.columns.data = weights.clone(), powers + slope
        needed = ingredients._needed(model)
        level = torch.stack([torch.quantile(needed[stratum], FAMILY_COVERAGE) for stratum in strata]).max()
        head.log_weights.data.add_(level.clamp_min(1).log())
        parts = (ingredients.sampling, ingredients.bias, ingredients.smaller, ingredients.columns)
        ways.append((float(head(*parts).log().mean()), head.log_weights.data, head.columns.data))
    _, head.log_weights.data, head.columns.data = min(ways, key=lambda way: way[0])


def calibrate(model: CinaModel, families: Sequence[str], samples: int, landmarks: int, seed: int) -> dict[str, float]:
    """Fit the variance heads on four fifths of the samples and tell how often intervals hold the effect in the rest.

    Parameters
    ----------
    model : CinaModel
        Changed in place.
    families : sequence of str
        Simulators to draw from.
    samples : int
        Draws; some give no sample, because an arm came out too small.
    landmarks, seed : int

    Returns
    -------
    dict
        ``coverage`` of 95 % intervals on the samples that were held out, ``rows_coverage`` of those of single rows'
        effects, and the number of samples.

    Raises
    ------
    InputError
        If there are fewer than ten samples.
    """
    check_samples(samples)
    every = collect(model, families, samples, landmarks, seed)
    held = torch.arange(len(every.error)) % 5 == 0
    fitted = each_tensor([every], lambda parts: parts[0][~held])
    rest = each_tensor([every], lambda parts: parts[0][held])
    fit_variance(model, fitted)
    figures = {"coverage": rest.coverage(model), "samples": len(rest.error)}
    if fitted.rows is not None and rest.rows is not None:
        fit_conditional(model, fitted.rows)
        figures["rows_coverage"] = rest.rows.coverage(model)
    return figures


def calibrate_checkpoint(
    path: Path, families: Sequence[str], samples: int, landmarks: int, seed: int
) -> dict[str, float]:
    """Calibrate the model of a checkpoint file and write it back, with what was found in its header."""
    model, header = checkpoint.read(path)
    figures = calibrate(model, families, samples, landmarks, seed)
    checkpoint.write(path, model, {**header, "calibration": figures})
    return figures


def write_rule(path: Path, samples: int, seed: int = 0) -> dict[str, float]:
    """Write the fixed rule, whose network corrects nothing, as a checkpoint with calibrated intervals of its own."""
    config = TrainingConfig(seed=seed)
    model = new_run(config, RULE, None, torch.device("cpu")).model.eval()
    figures = calibrate(model, training_families(config), samples, config.landmarks, seed + SEED_OFFSET)
    recipe = {"validation_families": config.validation_families, "calibration_samples": samples}
    checkpoint.write(path, model, {"model": asdict(RULE), "recipe": recipe, "steps": 0, "calibration": figures})
    return figures
