"""Designs after the causal literature: what makes published observational tables hard, drawn anew each time.

Letters: N rows, D covariates.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dowhy_cina.learning.simulators.assembly import Switches, assemble, draw_switches, views
from dowhy_cina.learning.simulators.covariates import mixed_covariates, real_covariates
from dowhy_cina.learning.simulators.latents import correlated_gaussians
from dowhy_cina.learning.simulators.mechanisms import random_function, standard_view, unit
from dowhy_cina.learning.simulators.table import FloatArray, SimulatedTable

SIMULATION_A_PAIRS = ((0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (0, 5), (1, 2), (2, 3), (3, 4), (4, 5))


def simulation_a(
    rng: np.random.Generator,
    rows: int,
    columns: int,
    *,
    terms: tuple[int, int] | None = None,
    switches: Switches | None = None,
) -> SimulatedTable:
    """Simulation A: ten covariates, six of them binary, from linear and additive to nonlinear with interactions.

    Covariates 1-4 confound, 5-7 predict treatment only, 8-10 the outcome only; coefficients are drawn anew. More
    columns are irrelevant ones; with fewer columns the absent covariates have no influence. How many squares and
    products there are at most (``terms``) and the switches are drawn unless they are given.

    References
    ----------
    Setoguchi et al. (2008), Pharmacoepidemiology and Drug Safety 17; Lee, Lessler & Stuart (2010), Statistics in
    Medicine 29.
    """
    normal = rng.normal(size=(rows, 10))
    for source, target, correlation in ((0, 4, 0.2), (1, 5, 0.9), (2, 7, 0.2), (3, 8, 0.9)):
        normal[:, target] = correlation * normal[:, source] + np.sqrt(1 - correlation**2) * normal[:, target]
    binary = [0, 2, 4, 5, 7, 8]
    normal[:, binary] = normal[:, binary] > rng.normal(0, 0.4, 6)
    kept = np.concatenate([rng.permutation(4), 4 + rng.permutation(6)])[:columns]
    present = np.zeros_like(normal)
    present[:, kept] = normal[:, kept]
    index = unit(_scenario(rng, present, [0, 1, 2, 3, 4, 5, 6], terms))
    prognosis = unit(_scenario(rng, present, [0, 1, 2, 3, 7, 8, 9], terms))
    covariates = normal[:, kept]
    if columns > 10:
        covariates = np.hstack([covariates, mixed_covariates(rng, rows, columns - 10)])
    return assemble(rng, "simulation_a", covariates, index, prognosis, switches or draw_switches(rng), unit(present))


def _scenario(
    rng: np.random.Generator, present: FloatArray, members: list[int], terms: tuple[int, int] | None
) -> FloatArray:
    """Linear predictor of the covariates named, with a given or drawn number of squares and interactions."""
    squares, products = terms or (None, None)
    coefficient = np.zeros(10)
    coefficient[members] = rng.normal(0, 0.6, len(members))
    predictor = present @ coefficient
    for column in [c for c in (1, 3, 6) if c in members][: int(rng.integers(0, 4)) if squares is None else squares]:
        predictor += coefficient[column] * present[:, column] ** 2
    pairs = [pair for pair in SIMULATION_A_PAIRS if pair[0] in members and pair[1] in members]
    for first, second in pairs[: int(rng.choice([0, 4, 10])) if products is None else products]:
        predictor += rng.uniform(0.5, 0.7) * coefficient[first] * present[:, first] * present[:, second]
    return np.asarray(predictor)


def targeted(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Targeted selection: treatment follows the expected outcome; many binary and one-hot columns."""
    emphasis = {"binary": 3.0, "gaussian": 1.0, "ordinal": 1.0, "count": 0.7, "skewed": 0.5, "flat": 0.3}
    covariates = mixed_covariates(rng, rows, columns, emphasis, one_hot=float(rng.uniform(0, 0.8)))
    for_treatment, for_outcome = views(rng, covariates)
    prognosis = random_function(rng, for_outcome)
    index = random_function(rng, for_treatment)
    switches = draw_switches(rng)
    switches = replace(
        switches,
        targeting=float(rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.0)),
        overlap=float(rng.uniform(0.4, 2.5)),
        outcome="binary" if rng.random() < 0.35 else switches.outcome,
    )
    return assemble(rng, "targeted", covariates, index, prognosis, switches, for_outcome)


def rare_treated(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Few treated in a corner of the covariate space, earnings-like outcomes, a target far from the treated.

    Lagged outcomes are covariates. The response depends on the selection index itself beside the covariates, and
    treated responses often level off where hardly anyone is treated.
    """
    covariates, lag = _with_lags(rng, rows, columns)
    for_treatment, for_outcome = views(rng, covariates)
    pull = rng.uniform(0.3, 1.5)
    index = unit(random_function(rng, for_treatment) - pull * lag)
    index = index if rng.random() < 0.5 else unit(index - rng.uniform(0.1, 0.4) * index**2)
    carried = rng.uniform(0, 1.5) * lag + rng.uniform(0, 0.8) * np.tanh(rng.normal(0, 1.5) * index)
    prognosis = unit(carried + rng.uniform(0.3, 1) * random_function(rng, for_outcome))
    switches = draw_switches(rng)
    switches = replace(
        switches,
        share=float(np.exp(rng.uniform(np.log(0.01), np.log(0.1)))),
        overlap=float(rng.uniform(1.5, 5.0)),
        targeting=0.0,
        effect_size=0.4 * switches.effect_size,
        heterogeneity="flat" if rng.random() < 0.4 else switches.heterogeneity,
        outcome=str(rng.choice(["zero_inflated", "lognormal", "heteroskedastic", switches.outcome])),
    )
    return assemble(rng, "rare_treated", covariates, index, prognosis, switches, for_outcome)


def _with_lags(rng: np.random.Generator, rows: int, columns: int) -> tuple[FloatArray, FloatArray]:
    """Covariates that begin with lagged, zero-inflated earnings, and the standardised mean of these lags."""
    lags = min(columns, int(rng.integers(1, 4)))
    lasting = rng.normal(size=(rows, 1))
    latent = unit(lasting + rng.uniform(0.2, 1) * rng.normal(size=(rows, lags)))
    earnings = np.maximum(np.exp(rng.uniform(0.3, 0.8) * latent) - rng.uniform(0.0, 0.9), 0.0)
    if lags == columns:
        return earnings * 1e4, unit(earnings.mean(axis=1))
    emphasis = {"binary": 3.0, "ordinal": 1.0, "count": 0.5, "gaussian": 1.0, "zero_inflated": 0.7, "skewed": 0.5}
    rest = mixed_covariates(rng, rows, columns - lags, emphasis)
    return np.hstack([earnings * 1e4, rest]), unit(earnings.mean(axis=1))


def surface(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Experiment of which a biased part of one arm is missing; linear or exponential response surfaces.

    The treated of a region stay with a small probability, so their logit of treatment is lower there by its logarithm.
    """
    emphasis = {"binary": 4.0, "gaussian": 1.5, "ordinal": 0.5}
    covariates = mixed_covariates(rng, rows, columns, emphasis, one_hot=0.0)
    view = standard_view(rng, covariates)
    chosen = rng.integers(columns, size=int(rng.integers(1, 4)))
    region = (view[:, chosen] > rng.normal(0, 0.5, chosen.size)).all(axis=1)
    drift = random_function(rng, view, ("linear",)) * rng.uniform(0, 0.4)
    index = unit(drift - region.astype(np.float64) * float(rng.uniform(0.5, 1.5)))
    sparse = rng.choice([0.0, 1.0, 2.0, 3.0, 4.0], size=columns, p=[0.55, 0.15, 0.12, 0.1, 0.08])
    line = unit(view @ sparse)
    curved = unit(np.exp(np.clip(rng.uniform(0.3, 1.1) * line, -5, 5)))
    style = rng.random()
    prognosis = line if style < 0.4 else curved
    switches = replace(draw_switches(rng), targeting=0.0, overlap=float(rng.uniform(0.3, 2.0)))
    modifiers = view if style < 0.6 else line[:, None]
    if style >= 0.6:
        switches = replace(switches, heterogeneity="separate")
    return assemble(rng, "surface", covariates, index, prognosis, switches, modifiers)


def kang_schafer(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Models linear in latent gaussians, of which only nonlinear, invertible transforms are observed.

    References
    ----------
    Kang & Schafer (2007), Statistical Science 22.
    """
    blocks = int(rng.integers(1, 1 + max(1, min(columns // 4, 4))))
    active = min(columns, 4 * blocks)
    latent = rng.normal(size=(rows, 4 * blocks))
    observed = np.hstack([_transform(latent[:, 4 * b : 4 * b + 4]) for b in range(blocks)])[:, :active]
    latent = latent[:, :active]
    kinds = ("linear",) if rng.random() < 0.6 else ("linear", "polynomial", "smooth")
    index, prognosis = (random_function(rng, latent, kinds) for _ in range(2))
    covariates = observed
    if columns > active:
        extra = correlated_gaussians(rng, rows, columns - active)
        covariates = np.hstack([observed, extra])
    return assemble(rng, "kang_schafer", covariates, index, prognosis, draw_switches(rng), latent)


def _transform(latent: FloatArray) -> FloatArray:
    """Observed covariates of four latent ones; the first k columns determine the first k latent values."""
    z1, z2, z3, z4 = latent.T
    return np.column_stack([np.exp(z1 / 2), z2 / (1 + np.exp(z1)) + 10, (z1 * z3 / 25 + 0.6) ** 3, (z2 + z4 + 20) ** 2])


def semi_synthetic(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Real covariates with simulated treatment and outcome."""
    covariates = real_covariates(rng, rows, columns)
    for_treatment, for_outcome = views(rng, covariates)
    index = random_function(rng, for_treatment)
    prognosis = random_function(rng, for_outcome)
    return assemble(rng, "semi_synthetic", covariates, index, prognosis, draw_switches(rng), for_outcome)


def far_controls(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Few treated in a poor corner, most controls far away from them, and responses that level off in between.

    A lasting, unobserved standing shows in lagged earnings with a spike at zero and one at a cap, and in most other
    covariates. Who is treated depends on these, steeply; earnings after treatment follow the lags, and the selection
    index itself where the relation is not linear. Treated responses mostly level off away from the treated, so that the
    effect on all rows is far from the effect on the treated.
    """
    standing = rng.normal(size=rows)
    lags = min(columns, int(rng.integers(1, 5)))
    covariates = np.hstack([_earnings(rng, standing, lags), _traits(rng, standing, columns - lags)])
    view = unit(covariates)
    past = unit(view[:, :lags].mean(axis=1))
    index = unit(-rng.uniform(0.3, 1.5) * past + _linear(rng, view[:, lags:]) + 0.3 * random_function(rng, view))
    index = unit(index + float(rng.choice([0.0, rng.uniform(-0.2, 0.0), rng.uniform(0.1, 0.8)])) * index**2)
    bent = unit(np.tanh(rng.normal(0, 1.5) * (index - rng.normal())))
    carried = rng.uniform(0.5, 1.5) * past - rng.uniform(0, 1.2) * index + rng.uniform(0, 0.8) * bent
    own = rng.uniform(0.2, 0.8) * _linear(rng, view) + rng.uniform(0, 0.5) * random_function(rng, view)
    prognosis = unit(carried + own)
    switches = draw_switches(rng)
    switches = replace(
        switches,
        share=float(np.exp(rng.uniform(np.log(0.01), np.log(0.06)))),
        overlap=float(rng.uniform(2.5, 6.0)),
        targeting=0.0,
        effect_size=0.4 * switches.effect_size,
        heterogeneity="flat" if rng.random() < 0.7 else switches.heterogeneity,
        null=bool(rng.random() < 0.05),
        outcome=str(rng.choice(["censored", "zero_inflated", "heavy_tailed", "lognormal"], p=[0.5, 0.3, 0.1, 0.1])),
    )
    return assemble(rng, "far_controls", covariates, index, prognosis, switches, view)


def _earnings(rng: np.random.Generator, standing: FloatArray, lags: int) -> FloatArray:
    """Lagged earnings (N, lags) that a floor of zero and a cap cut off."""
    noise = unit(rng.normal(size=(standing.size, 1)) + rng.uniform(0.2, 1) * rng.normal(size=(standing.size, lags)))
    level = standing[:, None] + rng.uniform(0.3, 1.0) * noise
    floor, cap = rng.uniform(-1.8, 0.0), rng.choice([rng.uniform(0.6, 2.0), np.inf])
    earnings = np.clip(level, floor, cap) - floor
    return np.asarray((earnings if rng.random() < 0.6 else np.expm1(earnings)) * 1e4)


def _traits(rng: np.random.Generator, standing: FloatArray, columns: int) -> FloatArray:
    """Other covariates (N, columns), many of them discrete, more or less related to the standing."""
    if not columns:
        return np.empty((standing.size, 0))
    emphasis = {"binary": 3.0, "ordinal": 1.0, "count": 0.7, "gaussian": 1.0, "skewed": 0.3}
    traits = mixed_covariates(rng, standing.size, columns, emphasis, one_hot=float(rng.choice([0.0, 0.3])))
    related = np.flatnonzero(rng.random(columns) < 0.6)
    latent = rng.normal(0, 1, related.size) * standing[:, None] + rng.normal(size=(standing.size, related.size))
    # Sorting a column by the latent keeps its marginal distribution and makes it depend on the standing.
    rank = np.argsort(np.argsort(latent, axis=0), axis=0)
    traits[:, related] = np.take_along_axis(np.sort(traits[:, related], axis=0), rank, axis=0)
    return traits


def _linear(rng: np.random.Generator, view: FloatArray) -> FloatArray:
    """Standardised linear function of some columns, zero without any."""
    return unit(view @ (rng.normal(size=view.shape[1]) * (rng.random(view.shape[1]) < 0.5)))


def records(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Administrative records: binary columns and one-hot blocks by the hundred, a binary outcome, targeted selection.

    Risk depends on a handful of columns beside a weak sum over many; who is treated follows the risk and columns of its
    own; effects are small.
    """
    emphasis = {"binary": 5.0, "ordinal": 1.5, "count": 0.7, "gaussian": 0.3}
    covariates = mixed_covariates(rng, rows, columns, emphasis, one_hot=float(rng.uniform(0.3, 0.9)))
    for_treatment, for_outcome = views(rng, covariates)
    strong = random_function(rng, for_outcome[:, : int(rng.integers(1, 11))])
    weak = _linear(rng, unit(covariates))
    prognosis = unit(rng.uniform(0.2, 1) * strong + rng.uniform(0, 1) * weak)
    index = random_function(rng, for_treatment)
    switches = draw_switches(rng)
    switches = replace(
        switches,
        targeting=float(rng.choice([-1.0, 1.0]) * rng.uniform(0.2, 1.0)),
        overlap=float(rng.uniform(0.3, 2.5)),
        effect_size=float(rng.choice([1.0, 0.3])) * switches.effect_size,
        outcome=str(rng.choice(["binary", "count", "zero_inflated"], p=[0.8, 0.1, 0.1])),
    )
    return assemble(rng, "records", covariates, index, prognosis, switches, for_outcome)
