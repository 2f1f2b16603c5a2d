"""Laws of the treatment, with a wanted share and strength of selection, and of the outcome, with exact moments.

Letters: N rows. A *response* is the latent, roughly standardised signal from which the law of the outcome is built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from dowhy_cina.learning.simulators.mechanisms import unit
from dowhy_cina.learning.simulators.table import FloatArray


def expit(logit: FloatArray) -> FloatArray:
    """Logistic function, safe at any logit."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logit, -35, 35))))


def smallest_arm(rows: int) -> int:
    """Rows that each arm holds at least: 10, fewer in tables under 40 rows."""
    return 10 if rows >= 40 else max(2, rows // 5)


def bent_index(rng: np.random.Generator, index: FloatArray) -> FloatArray:
    """Bend the index of a part of the tables: saturating or in steps instead of proportional."""
    style = rng.random()
    if style < 0.1:
        return unit(np.tanh(2 * index))
    if style < 0.2:
        return unit(np.floor(rng.uniform(0.5, 1.5) * index))
    return index


def propensities(index: FloatArray, share: float, overlap: float) -> FloatArray:
    """Probability of treatment whose logit is ``overlap * index`` plus the constant that gives the treated share.

    Parameters
    ----------
    index : (N,) array
        Standardised index.
    share : float
        Mean probability wanted.
    overlap : float
        Standard deviation of the logit; 0 is a randomised experiment.

    Returns
    -------
    (N,) array
        Probabilities kept off 0 and 1 by 0.003, or by a twentieth of the rarer share where that is less.
    """
    floor = min(0.003, share / 20, (1 - share) / 20)
    logit = overlap * index
    sample = logit[:: max(1, logit.size // 1024)]  # rows are exchangeable: a slice is enough to place the constant
    low, high = -40.0, 40.0
    for _ in range(30):
        middle = (low + high) / 2
        if np.clip(expit(sample + middle), floor, 1 - floor).mean() < share:
            low = middle
        else:
            high = middle
    return np.clip(expit(logit + (low + high) / 2), floor, 1 - floor)


def assign(rng: np.random.Generator, propensity: FloatArray) -> FloatArray:
    """Draw treatments from their probabilities.

    A draw that leaves an arm nearly empty is repeated; where that does not help the likeliest rows are moved.

    Returns
    -------
    (N,) array
        0 or 1; each arm has at least ``smallest_arm`` rows.
    """
    rows, least = propensity.size, smallest_arm(propensity.size)
    for _ in range(20):
        treatment = (rng.random(rows) < propensity).astype(np.float64)
        if least <= treatment.sum() <= rows - least:
            return treatment
    order = np.argsort(propensity + 1e-9 * rng.random(rows))
    treatment[order[-least:]] = 1.0
    treatment[order[:least]] = 0.0
    return treatment


ADDITIVE_KINDS = ("gaussian", "heteroskedastic", "heavy_tailed")
KINDS = (*ADDITIVE_KINDS, "binary", "count", "zero_inflated", "lognormal", "censored")


@dataclass(frozen=True)
class OutcomeLaw:
    """Conditional law of the outcome in one arm.

    Attributes
    ----------
    kind : str
        One of ``KINDS``.
    mean, sd : (N,) array
        Exact conditional mean and standard deviation.
    shape : float
        Gamma shape of ``count`` (infinite: Poisson) and ``zero_inflated``, log-scale sd of ``lognormal``, sd before
        censoring of ``censored``.
    parameter : (N,) array
        Probability of a value above zero of ``zero_inflated``, mean before censoring of ``censored``; 1 otherwise.
    bounds : pair of float
        Floor and cap of ``censored``.
    """

    kind: str
    mean: FloatArray
    sd: FloatArray
    shape: float
    parameter: FloatArray
    bounds: tuple[float, float] = (-np.inf, np.inf)

    def draw(self, rng: np.random.Generator) -> FloatArray:
        """Draw one outcome per row, shape (N,)."""
        rows = self.mean.size
        if self.kind == "binary":
            return (rng.random(rows) < self.mean).astype(np.float64)
        if self.kind == "count":
            dispersion = rng.gamma(self.shape, 1 / self.shape, rows) if np.isfinite(self.shape) else 1.0
            return rng.poisson(self.mean * dispersion).astype(np.float64)
        if self.kind == "zero_inflated":
            size = self.mean / self.parameter * rng.gamma(self.shape, 1 / self.shape, rows)
            return np.where(rng.random(rows) < self.parameter, size, 0.0)
        if self.kind == "lognormal":
            return np.asarray(self.mean * np.exp(self.shape * rng.normal(size=rows) - self.shape**2 / 2))
        if self.kind == "censored":
            return np.clip(self.parameter + self.shape * rng.normal(size=rows), *self.bounds)
        noise = rng.standard_t(3, rows) / np.sqrt(3) if self.kind == "heavy_tailed" else rng.normal(size=rows)
        return self.mean + self.sd * noise


def merge(law0: OutcomeLaw, law1: OutcomeLaw, treatment: FloatArray) -> OutcomeLaw:
    """Law of the observed outcome: each row follows the law of its own arm."""
    treated = treatment == 1
    return OutcomeLaw(
        law0.kind,
        np.where(treated, law1.mean, law0.mean),
        np.where(treated, law1.sd, law0.sd),
        law0.shape,
        np.where(treated, law1.parameter, law0.parameter),
        law0.bounds,
    )


def noise_sd(noise_share: float) -> float:
    """Noise to a signal of variance 1 that makes up ``noise_share`` of the outcome's variance."""
    return float(np.sqrt(noise_share / (1 - noise_share)))


def outcome_laws(
    rng: np.random.Generator,
    kind: str,
    responses: tuple[FloatArray, FloatArray],
    noise_share: float,
    spread: FloatArray,
) -> tuple[OutcomeLaw, OutcomeLaw]:
    """Build the laws of both arms from their responses.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the parameters shared by both arms.
    kind : str
        One of ``KINDS``.
    responses : pair of (N,) arrays
        Latent response under control and under treatment; equal responses give equal laws.
    noise_share : float
        Share of noise in the outcome's variance (of the additive kinds; the others take it as a guide).
    spread : (N,) array
        Standardised log-scale of the noise of ``heteroskedastic``.
    """
    slope, base = rng.uniform(0.2, 0.8), rng.normal()
    if kind == "binary":
        base, slope = 1.3 * base, 0.2 + 3 * (1 - noise_share) * rng.random()
        return _both(responses, lambda r: _binary_law(np.clip(base + slope * r, -8, 8)))
    if kind == "count":
        shape = float(np.inf) if rng.random() < 0.5 else rng.uniform(0.8, 8)
        return _both(responses, lambda r: _count_law(np.clip(1 + base + slope * r, -4, 6), shape))
    if kind == "zero_inflated":
        shape, pull = rng.uniform(0.7, 6), rng.uniform(0, 1.5)
        return _both(responses, lambda r: _zero_inflated_law(slope * r, np.clip(base + pull * r, -5, 5), shape))
    if kind == "lognormal":
        shape = 0.15 + noise_share * rng.random()
        return _both(responses, lambda r: _lognormal_law(slope * r, shape))
    if kind == "censored":
        bounds = rng.uniform(-1.5, 0.2), float(rng.choice([rng.uniform(0.6, 2.0), np.inf]))
        return _both(responses, lambda r: _censored_law(r, noise_sd(noise_share), bounds))
    sd = np.full(spread.size, noise_sd(noise_share))
    if kind == "heteroskedastic":
        scale = np.exp(rng.uniform(0.2, 0.8) * np.clip(spread, -3, 3))
        sd = sd * scale / np.sqrt(np.mean(scale**2))
    return _both(responses, lambda r: OutcomeLaw(kind, r, sd, 1.0, np.ones_like(r)))


def _both(
    responses: tuple[FloatArray, FloatArray], build: Callable[[FloatArray], OutcomeLaw]
) -> tuple[OutcomeLaw, OutcomeLaw]:
    return build(responses[0]), build(responses[1])


def _binary_law(logit: FloatArray) -> OutcomeLaw:
    mean = expit(logit)
    return OutcomeLaw("binary", mean, np.sqrt(mean * (1 - mean)), 1.0, np.ones_like(mean))


def _count_law(log_mean: FloatArray, shape: float) -> OutcomeLaw:
    mean = np.exp(log_mean)
    return OutcomeLaw("count", mean, np.sqrt(mean + mean**2 / shape), shape, np.ones_like(mean))


def _zero_inflated_law(log_size: FloatArray, logit: FloatArray, shape: float) -> OutcomeLaw:
    size, chance = np.exp(np.clip(log_size, -5, 5)), expit(logit)
    variance = chance * size**2 * (1 + 1 / shape - chance)
    return OutcomeLaw("zero_inflated", chance * size, np.sqrt(variance), shape, chance)


def _lognormal_law(log_size: FloatArray, shape: float) -> OutcomeLaw:
    mean = np.exp(np.clip(log_size, -6, 6) + shape**2 / 2)
    return OutcomeLaw("lognormal", mean, mean * np.sqrt(np.expm1(shape**2)), shape, np.ones_like(mean))


def _censored_law(middle: FloatArray, sd: float, bounds: tuple[float, float]) -> OutcomeLaw:
    """Normal law cut off at a floor and a cap, with its exact moments (Tobit)."""
    low, high = ((bound - middle) / sd for bound in bounds)
    below, above = ndtr(low), ndtr(-high)
    inside = 1 - below - above
    density = [np.exp(-(edge**2) / 2) / np.sqrt(2 * np.pi) for edge in (low, high)]
    # Moments in sd about ``middle``: an edge at infinity has density and probability zero, and no moment.
    high = np.where(np.isfinite(high), high, 0.0)
    mean = low * below + high * above + density[0] - density[1]
    second = low**2 * below + high**2 * above + inside + low * density[0] - high * density[1]
    # Rows beyond a bound have next to no spread; the floor keeps them from dominating sums of inverse variances.
    spread = sd * np.sqrt(np.maximum(second - mean**2, 1e-6))
    return OutcomeLaw("censored", middle + sd * mean, spread, sd, middle, bounds)
