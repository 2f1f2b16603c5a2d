"""Families whose confounding is hard to learn: it runs through all columns, through kinks, ranks or the score itself.

In half of their tables the logit of treatment and the outcome have a component in common, whose share of either is
drawn: little of it is learned from few rows, and what is not learned is bias.

Letters: N rows, D covariates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dowhy_cina.learning.simulators.assembly import Switches, assemble, draw_switches, observe, select
from dowhy_cina.learning.simulators.covariates import any_covariates
from dowhy_cina.learning.simulators.laws import expit
from dowhy_cina.learning.simulators.mechanisms import quadratic, random_function, standard_view, unit
from dowhy_cina.learning.simulators.table import FloatArray, SimulatedTable

SHARED = 0.5  # chance that the logit of treatment and the outcome have a component in common
WIDE_LAWS = ("blocks", "blocks", "banded", "clusters", "correlated_gaussians", "heavy_tails")


def hard_switches(rng: np.random.Generator) -> Switches:
    """Switches with treated shares from 0.02 to 0.98, noise from hardly any to nearly all, and no targeting."""
    switches = draw_switches(rng)
    noise = np.exp(rng.uniform(np.log(1e-3), np.log(0.05))), rng.uniform(0.85, 0.97), switches.noise_share
    return replace(
        switches,
        share=1 / (1 + float(np.exp(rng.uniform(-3.9, 3.9)))) if rng.random() < 0.3 else switches.share,
        overlap=float(rng.choice([0.0, rng.uniform(0.4, 1.2), rng.uniform(1.0, 3.2)], p=[0.04, 0.4, 0.56])),
        targeting=0.0,
        noise_share=float(rng.choice(noise, p=[0.2, 0.1, 0.7])),
    )


def paired(rng: np.random.Generator, draw: Callable[[], FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Draw a selection index and a prognosis (N,); in half of the tables they share a component, of drawn strengths."""
    index, prognosis = unit(draw()), unit(draw())
    if rng.random() >= SHARED:
        return index, prognosis
    common = unit(draw())
    first, second = rng.uniform(0.4, 1.0, 2)
    sign = rng.choice([-1.0, 1.0])
    index = unit(first * common + np.sqrt(1 - first**2) * index)
    return index, unit(second * sign * common + np.sqrt(1 - second**2) * prognosis)


def active_columns(rng: np.random.Generator, view: FloatArray) -> FloatArray:
    """Keep all columns, a few of them, or any number."""
    columns = view.shape[1]
    style = rng.random()
    if style < 0.5:
        return view
    most = min(columns, 6) if style < 0.75 else columns
    return view[:, rng.choice(columns, int(rng.integers(1, most + 1)), replace=False)]


def gaussian_process(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Gaussian processes in all columns, mostly, of any lengthscale, for selection and response."""
    covariates = any_covariates(rng, rows, columns)
    view = standard_view(rng, covariates)
    if rng.random() < 0.3:
        view = active_columns(rng, view)
    index, prognosis = paired(rng, lambda: random_function(rng, view, ("gaussian_process",)))
    return assemble(rng, "gaussian_process", covariates, index, prognosis, hard_switches(rng), view)


def kinks(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Ramps, thresholds, waves and products of a few of many columns for selection and response."""
    covariates = any_covariates(rng, rows, columns)
    view = active_columns(rng, standard_view(rng, covariates))
    index, prognosis = paired(rng, lambda: random_function(rng, view, ("kinks",)))
    return assemble(rng, "kinks", covariates, index, prognosis, hard_switches(rng), view)


def ranks(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Interactions of the columns' ranks for selection and response."""
    covariates = any_covariates(rng, rows, columns)
    view = standard_view(rng, covariates)
    index, prognosis = paired(rng, lambda: random_function(rng, view, ("ranks",)))
    return assemble(rng, "ranks", covariates, index, prognosis, hard_switches(rng), view)


def wide(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Many columns of which each matters a little: means of groups of correlated columns and a dense linear part."""
    covariates = any_covariates(rng, rows, columns, WIDE_LAWS)
    view = standard_view(rng, covariates)
    groups = int(rng.integers(1, 2 + min(columns // 2, 12)))
    member = np.arange(columns) * groups // columns if rng.random() < 0.6 else rng.integers(groups, size=columns)
    scores = unit(view @ (member[:, None] == np.arange(groups)).astype(np.float64))

    def draw() -> FloatArray:
        dense = unit(view @ rng.normal(size=columns))
        return unit(rng.uniform(0, 1) * dense + rng.uniform(0.2, 1) * random_function(rng, scores))

    index, prognosis = paired(rng, draw)
    return assemble(rng, "wide", covariates, index, prognosis, hard_switches(rng), scores)


def score_driven(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Outcomes that bend with the logit of treatment, and treated responses that level off where few are treated."""
    covariates = any_covariates(rng, rows, columns)
    view = active_columns(rng, standard_view(rng, covariates))
    index = random_function(rng, view, ("linear", "gaussian_process", "kinks", "additive", "network"))
    place, rate = rng.normal(0, 0.8), rng.uniform(0.7, 2.5)
    curves: tuple[Callable[[FloatArray], FloatArray], ...] = (
        lambda z: np.exp(np.clip(0.6 * rate * z, -4, 4)),
        lambda z: (z - place) ** 2,
        lambda z: np.maximum(z - place, 0.0),
        lambda z: np.tanh(2 * rate * (z - place)),
        lambda z: np.sin(rate * (z - place)),
        lambda z: expit(rate * z + place),
    )
    driven = unit(rng.choice([-1.0, 1.0]) * curves[int(rng.integers(len(curves)))](index))
    share = rng.uniform(0.3, 1.0)
    prognosis = unit(share * driven + np.sqrt(1 - share**2) * random_function(rng, view))
    switches = hard_switches(rng)
    if rng.random() < 0.4:
        switches = replace(switches, share=float(np.exp(rng.uniform(np.log(0.02), np.log(0.12)))))
    kind = str(rng.choice(["flat", "score", switches.heterogeneity], p=[0.35, 0.2, 0.45]))
    return assemble(rng, "score_driven", covariates, index, prognosis, replace(switches, heterogeneity=kind), view)


def skewed(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Outcomes whose mean is the exponential of a linear index, in one arm or in both, with noise of one size."""
    covariates = any_covariates(rng, rows, columns)
    view = active_columns(rng, standard_view(rng, covariates))
    index, line = paired(rng, lambda: random_function(rng, view, ("linear", "linear", "additive", "kinks")))
    switches = replace(hard_switches(rng), outcome=str(rng.choice(["gaussian", "heteroskedastic", "heavy_tailed"])))
    steep = rng.uniform(0.4, 1.3)
    prognosis = unit(np.exp(np.clip(steep * line, -5, 5)))
    other = np.sqrt(0.8) * line + np.sqrt(0.2) * random_function(rng, view, ("linear",))
    styles: tuple[Callable[[], FloatArray], ...] = (
        lambda: prognosis,
        lambda: prognosis + rng.uniform(-0.5, 0.5) * np.maximum(prognosis - prognosis.min(), 0.0),
        lambda: rng.uniform(0.3, 1.2) * unit(other),
        lambda: unit(np.exp(np.clip(steep * other, -5, 5))),
    )
    treated = prognosis if switches.null else styles[int(rng.integers(len(styles)))]() + switches.effect_size
    treatment, propensity = select(rng, index, switches)
    return observe(rng, "skewed", covariates, (treatment, propensity), (prognosis, treated), switches, index)


def quadratic_forms(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Quadratic forms in all columns for selection and response, with a form in common in half of the tables."""
    covariates = any_covariates(rng, rows, columns)
    view = standard_view(rng, covariates)
    index, prognosis = paired(rng, lambda: quadratic(rng, view))
    return assemble(rng, "quadratic_forms", covariates, index, prognosis, hard_switches(rng), view)
