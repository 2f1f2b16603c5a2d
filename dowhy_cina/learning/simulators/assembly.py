"""From covariates, a selection index and a prognosis to a table: the switches that all families share.

Letters: N rows, D covariates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dowhy_cina.learning.simulators.laws import (
    ADDITIVE_KINDS,
    KINDS,
    assign,
    bent_index,
    merge,
    noise_sd,
    outcome_laws,
    propensities,
)
from dowhy_cina.learning.simulators.mechanisms import random_function, standard_view, unit
from dowhy_cina.learning.simulators.table import FloatArray, IntArray, SimulatedTable

HETEROGENEITY = ("constant", "weak", "smooth", "separate", "score", "flat")
NULL_SHARE = 0.25


@dataclass(frozen=True)
class Switches:
    """What varies between tables of every family.

    Attributes
    ----------
    share : float
        Treated share.
    overlap : float
        Standard deviation of the propensity's logit; 0 is a randomised experiment.
    targeting : float
        Correlation of the selection index with the prognosis that is added to what shared columns cause, in [0, 1].
    effect_size : float
        Average effect on the response, in standard deviations of the outcome; signed.
    heterogeneity : str
        One of ``HETEROGENEITY``.
    null : bool
        No effect on any row.
    noise_share : float
        Share of noise in the outcome's variance.
    outcome : str
        Kind of outcome.
    """

    share: float
    overlap: float
    targeting: float
    effect_size: float
    heterogeneity: str
    null: bool
    noise_share: float
    outcome: str


def draw_switches(rng: np.random.Generator) -> Switches:
    """Draw the default switches; families replace some of them (``dataclasses.replace``)."""
    return Switches(
        share=_share(rng),
        overlap=float(rng.choice([0.0, rng.uniform(0.2, 2.0), rng.uniform(1.5, 3.2)], p=[0.12, 0.63, 0.25])),
        targeting=float(rng.choice([0.0, rng.uniform(0.1, 0.9)], p=[0.7, 0.3])),
        effect_size=float(rng.choice([-1.0, 1.0]) * 1.5 * rng.beta(1.0, 2.5)),
        heterogeneity=str(rng.choice(HETEROGENEITY, p=[0.2, 0.25, 0.2, 0.22, 0.08, 0.05])),
        null=bool(rng.random() < NULL_SHARE),
        noise_share=float(0.02 + 0.88 * rng.beta(1.2, 1.2)),
        outcome=str(rng.choice(KINDS, p=[0.38, 0.12, 0.10, 0.14, 0.06, 0.07, 0.08, 0.05])),
    )


def _share(rng: np.random.Generator) -> float:
    """Draw a treated share: mostly 0.1 to 0.9, sometimes down to 0.01 or up to 0.99."""
    style = rng.random()
    if style < 0.15:
        rare = float(np.exp(rng.uniform(np.log(0.01), np.log(0.1))))
        return rare if style < 0.11 else 1 - rare
    return 0.5 if style < 0.22 else float(rng.uniform(0.1, 0.9))


def select_columns(rng: np.random.Generator, columns: int) -> tuple[IntArray, IntArray]:
    """Draw the columns of the propensity and those of the outcome.

    Both sets have from one to many columns; the share of confounders among them is drawn too.
    """
    most = min(columns, 60)
    for_treatment, for_outcome = (max(1, round(most ** float(rng.beta(1.3, 1.1)))) for _ in range(2))
    order = rng.permutation(columns)
    shared = max(1, round(rng.beta(1.5, 1.0) * min(for_treatment, for_outcome)))
    own = order[for_treatment : for_treatment + for_outcome - shared]
    return order[:for_treatment], np.concatenate([order[:shared], own])


def assemble(
    rng: np.random.Generator,
    family: str,
    covariates: FloatArray,
    index: FloatArray,
    prognosis: FloatArray,
    switches: Switches,
    modifiers: FloatArray,
) -> SimulatedTable:
    """Turn an index and a prognosis into a table.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    family : str
        Name written into the table.
    covariates : (N, D) array
        Covariates in raw units.
    index, prognosis : (N,) array
        Standardised functions of the covariates: who is treated, and the response under control.
    switches : Switches
        Settings of this table.
    modifiers : (N, K) array
        Standardised columns that may modify the effect.
    """
    index = unit(np.sqrt(1 - switches.targeting**2) * index + switches.targeting * prognosis)
    index = bent_index(rng, index)
    treatment, propensity = select(rng, index, switches)
    treated = prognosis if switches.null else treated_response(rng, prognosis, index, propensity, switches, modifiers)
    spread = unit(random_function(rng, modifiers, ["linear"])) if switches.outcome == "heteroskedastic" else index
    return observe(rng, family, covariates, (treatment, propensity), (prognosis, treated), switches, spread)


def observe(
    rng: np.random.Generator,
    family: str,
    covariates: FloatArray,
    treatments: tuple[FloatArray, FloatArray],
    responses: tuple[FloatArray, FloatArray],
    switches: Switches,
    spread: FloatArray,
) -> SimulatedTable:
    """Draw the outcomes of a table.

    Parameters
    ----------
    rng, family, covariates, switches
        As of :func:`assemble`.
    treatments : pair of (N,) arrays
        Treatments and their probabilities.
    responses : pair of (N,) arrays
        Latent response under control and under treatment.
    spread : (N,) array
        Standardised log-scale of heteroskedastic noise.
    """
    treatment, propensity = treatments
    for kind in (*[switches.outcome] * 4, "gaussian"):  # a rare event may not occur in a small table: draw again
        law0, law1 = outcome_laws(rng, kind, responses, switches.noise_share, spread)
        law = merge(law0, law1, treatment)
        outcome = law.draw(rng)
        if np.ptp(outcome) > 0:
            break
    return SimulatedTable(covariates, treatment, outcome, law0.mean, law1.mean, propensity, law.sd, family)


def select(rng: np.random.Generator, index: FloatArray, switches: Switches) -> tuple[FloatArray, FloatArray]:
    """Draw treatments; the share gives way in small tables so that no arm runs empty."""
    least = min(0.4, 16 / index.size)
    propensity = propensities(index, float(np.clip(switches.share, least, 1 - least)), switches.overlap)
    return assign(rng, propensity), propensity


def treated_response(
    rng: np.random.Generator,
    prognosis: FloatArray,
    index: FloatArray,
    propensity: FloatArray,
    switches: Switches,
    modifiers: FloatArray,
) -> FloatArray:
    """Response under treatment."""
    scale = np.hypot(1.0, noise_sd(switches.noise_share)) if switches.outcome in ADDITIVE_KINDS else 1.0
    shift = switches.effect_size * scale
    curves: dict[str, Callable[[], FloatArray]] = {
        "constant": lambda: prognosis,
        "weak": lambda: prognosis + rng.uniform(0.1, 0.6) * random_function(rng, modifiers[:, :3], ["linear"]),
        "smooth": lambda: prognosis + rng.uniform(0.3, 1.0) * random_function(rng, modifiers),
        "separate": lambda: _separate(rng, prognosis, modifiers),
        "score": lambda: prognosis + rng.uniform(0.2, 1.0) * np.tanh(rng.choice([-1.0, 1.0]) * index),
        "flat": lambda: _flat(rng, prognosis, index, propensity),
    }
    return curves[switches.heterogeneity]() + shift


def _separate(rng: np.random.Generator, prognosis: FloatArray, modifiers: FloatArray) -> FloatArray:
    """Response of its own, more or less alike the response under control."""
    alike = rng.uniform(0, 1)
    own = np.sqrt(1 - alike**2) * random_function(rng, modifiers)
    return np.asarray(rng.uniform(0.5, 1.3) * (alike * prognosis + own))


def _flat(rng: np.random.Generator, prognosis: FloatArray, index: FloatArray, propensity: FloatArray) -> FloatArray:
    """Response that follows the prognosis where treatment is likely and levels off where hardly anyone is treated."""
    middle = float(np.average(index, weights=propensity))
    level = float(np.average(prognosis, weights=propensity))
    near = 1 / (1 + np.exp(-np.clip(rng.uniform(1, 4) * (index - middle + rng.uniform(0, 1.5)), -30, 30)))
    return np.asarray(near * prognosis + (1 - near) * level)


def views(rng: np.random.Generator, covariates: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Standardised columns of the propensity and of the outcome, a random choice of each."""
    for_treatment, for_outcome = select_columns(rng, covariates.shape[1])
    return standard_view(rng, covariates[:, for_treatment]), standard_view(rng, covariates[:, for_outcome])
