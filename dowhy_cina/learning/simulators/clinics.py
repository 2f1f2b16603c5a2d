"""A registry: clinics that record the same columns and select patients alike, each with its own patients.

Letters: N rows, D covariates.
"""

from __future__ import annotations

import numpy as np

from dowhy_cina.learning.simulators.assembly import Switches, observe, select
from dowhy_cina.learning.simulators.latents import correlated_gaussians
from dowhy_cina.learning.simulators.mechanisms import unit
from dowhy_cina.learning.simulators.table import FloatArray, SimulatedTable

#: What every clinic records: the first five decide who is treated and, with others, the outcome.
COLUMNS = (
    *("age", "creatinine", "crp", "frailty", "admissions", "albumin", "systolic", "diastolic", "heart_rate"),
    *("glucose", "sodium", "haemoglobin", "cholesterol", "bmi", "distance", "deprivation"),
    *("sex", "smoker", "diabetes", "hypertension", "copd", "weekend", "interpreter", "insured"),
)


def draw_clinics(rng: np.random.Generator, clinics: int, rows: tuple[int, int] = (150, 400)) -> list[SimulatedTable]:
    """Draw the tables of a registry, of which the columns are ``COLUMNS``.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    clinics : int
        How many tables.
    rows : pair of int
        Fewest and most rows of a table.

    Returns
    -------
    list of SimulatedTable
        Who is treated follows the same steps and thresholds everywhere, but for the strength, the treated share and a
        little of each clinic's own; so does the outcome, which gets worse with what gets people treated.
    """
    return [_clinic(rng, int(rng.integers(rows[0], rows[1] + 1))) for _ in range(clinics)]


def _clinic(rng: np.random.Generator, rows: int) -> SimulatedTable:
    covariates = _patients(rng, rows)
    age, creatinine, crp, frailty, admissions, albumin = unit(
        np.column_stack([covariates[:, 0], np.log(covariates[:, 1:3]), covariates[:, 3:6]])
    ).T
    severe = 1.3 * (crp > 0.4) + 1.1 * (creatinine > 0.5) + 0.8 * (frailty > 0.3) * (age > 0) + 0.5 * (admissions > 0)
    own = unit(covariates) @ rng.normal(size=covariates.shape[1])
    index = unit(severe + 0.3 * np.tanh(age) + 0.2 * unit(own))
    switches = Switches(
        share=float(rng.uniform(0.25, 0.5)),
        overlap=float(rng.uniform(0.9, 1.6)),
        targeting=0.0,
        effect_size=0.0,
        heterogeneity="smooth",
        null=False,
        noise_share=float(rng.uniform(0.3, 0.5)),
        outcome="gaussian",
    )
    prognosis = unit(-0.8 * unit(severe) - 0.5 * age + 0.6 * albumin + 0.3 * age * albumin)
    treated = prognosis + rng.uniform(0.0, 0.5) + 0.3 * np.tanh(unit(severe))
    return observe(rng, "clinics", covariates, select(rng, index, switches), (prognosis, treated), switches, index)


def _patients(rng: np.random.Generator, rows: int) -> FloatArray:
    """Covariates (N, D) in their units, whose scale differs a little from clinic to clinic."""
    z = correlated_gaussians(rng, rows, len(COLUMNS))
    shift = rng.normal(0, 0.2, len(COLUMNS))
    z = z + shift
    numbers = {
        "age": 65 + 12 * z[:, 0],
        "creatinine": 90 * np.exp(0.4 * z[:, 1]),
        "crp": 20 * np.exp(1.1 * z[:, 2]),
        "frailty": np.clip(np.floor(4 + 1.5 * z[:, 3]), 1, 9),
        "admissions": np.floor(np.exp(0.3 + 0.7 * z[:, 4])),
    }
    middle = 100 + 15 * z[:, len(numbers) : 16]
    flags = (z[:, 16:] > rng.uniform(-0.5, 1.2, len(COLUMNS) - 16)).astype(np.float64)
    return np.column_stack([*numbers.values(), middle, flags])
