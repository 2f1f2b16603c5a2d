"""Textbook designs that no simulator of the package draws, and the tables of other benchmarks, one after the other.

What drives treatment and outcome jumps, bends, differs between cells or depends on one index; noise has all kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from foreign import foreign_table
from members import Problem
from real_surfaces import real_table
from scipy.special import expit
from tables import realisations

from dowhy_cina.learning.simulators import draw_table

Array = np.ndarray[Any, Any]
#: Rows of a design's population, of which a table is a random part.
POPULATION = 40_000
SEED = 7


class Design(NamedTuple):
    """Propensities and mean outcomes of both arms in a population, and how outcomes are drawn about a mean."""

    x: Array
    propensity: Array
    control: Array
    treated: Array
    draw: Callable[[Array], Array] | None = None


def correlated(rng: np.random.Generator, columns: int) -> Array:
    """Correlated normal covariates."""
    mixing = np.eye(columns) + 0.5 * rng.normal(size=(columns, columns)) / np.sqrt(columns)
    x = rng.normal(size=(POPULATION, columns)) @ mixing
    return np.asarray(x / x.std(0))


def index_of(rng: np.random.Generator, x: Array, most: int = 4) -> Array:
    """Linear index of a few covariates."""
    chosen = rng.choice(x.shape[1], min(most, x.shape[1]), replace=False)
    slopes = rng.normal(size=len(chosen))
    return np.asarray(x[:, chosen] @ (slopes / np.linalg.norm(slopes)))


def thresholds(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Steps of three covariates, one of them where two are positive; an effect above a median alone."""
    jumps = 1.5 * (x[:, 0] > 0.7) - 1.0 * (x[:, 1] < -0.5) + 1.0 * ((x[:, 2] > 0) & (x[:, 3] > 0))
    return Design(x, expit(1.2 * (jumps - jumps.mean())), 1.2 * jumps, 1.2 * jumps + 2 * effect * (x[:, 0] > 0))


def same_side(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Two covariates on the same side of zero."""
    drive = np.sign(x[:, 0] * x[:, 1])
    mean = drive + 0.3 * x[:, 2]
    return Design(x, expit(drive), mean, mean + effect)


def square(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Square of an index, which is smooth."""
    index = index_of(rng, x)
    mean = 0.8 * index**2 + 0.4 * index
    return Design(x, expit(0.7 * (index**2 - 1) + 0.4 * index), mean, mean + effect)


def instruments(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Covariates that drive the treatment alone."""
    index = index_of(rng, x[:, 3:], 20)
    mean = index + 0.3 * index**2
    return Design(x, expit(1.8 * x[:, :3].sum(1) / np.sqrt(3) + 0.8 * index), mean, mean + effect)


def unequal(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Noise that grows with the confounders."""
    index = index_of(rng, x)
    mean = index + 0.5 * np.abs(x[:, 0])
    noise = np.exp(0.7 * index)
    draw = lambda means: means + noise * rng.normal(size=POPULATION)  # noqa: E731
    return Design(x, expit(index), mean, mean + effect * (1 + x[:, 1]), draw)


def heavy(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Noise by Student's law with two degrees of freedom."""
    index = index_of(rng, x)
    draw = lambda means: means + rng.standard_t(2, size=POPULATION)  # noqa: E731
    return Design(x, expit(index), index, index + effect, draw)


def skewed(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Log-normal covariates."""
    index = x[:, :3].sum(1) / np.sqrt(3)
    return Design(np.exp(x), expit(index), index, index + effect)


def events(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Events with odds that are linear in the logarithm, rare in half of the tables."""
    index, level = index_of(rng, x), float(rng.choice([-0.3, -3.5]))
    draw = lambda means: (rng.random(POPULATION) < means).astype(np.float64)  # noqa: E731
    return Design(x, expit(index), expit(level + 1.3 * index), expit(level + 1.3 * index + 2 * effect), draw)


def counts(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Poisson counts."""
    index = index_of(rng, x)
    draw = lambda means: rng.poisson(means).astype(np.float64)  # noqa: E731
    return Design(x, expit(index), np.exp(0.3 + 0.7 * index), np.exp(0.3 + 0.7 * index + effect), draw)


def rare(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """A few treated in a hundred."""
    index = index_of(rng, x)
    mean = index + 0.5 * np.sin(2 * x[:, 0])
    return Design(x, expit(index - 3.6), mean, mean + effect + 0.3 * x[:, 1])


def clinics(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Thirty clinics, each with a level of its own: cells of few rows."""
    clinic, level = rng.integers(0, 30, POPULATION), rng.normal(size=30)[:, None]
    mean = level[clinic][:, 0] + 0.3 * x[:, 0]
    return Design(np.column_stack([x[:, :5], np.eye(30)[clinic]]), expit(level[clinic][:, 0]), mean, mean + effect)


def schools(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """A hundred schools, each with a level of its own, which treatment and outcome share in part."""
    school, (level, own) = rng.integers(0, 100, POPULATION), rng.normal(size=(2, 100))
    mean = level[school] + 0.5 * own[school] + 0.5 * x[:, 0]
    return Design(
        np.column_stack([x[:, :5], np.eye(100)[school]]), expit(level[school] + 0.5 * x[:, 0]), mean, mean + effect
    )


def practices(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Forty practices, each with a rule of its own: a level, and a slope along a covariate."""
    practice, (level, slope) = rng.integers(0, 40, POPULATION), rng.normal(size=(2, 40))
    drive = level[practice] + slope[practice] * x[:, 1]
    mean = drive + 0.3 * x[:, 0]
    return Design(np.column_stack([x[:, :5], np.eye(40)[practice]]), expit(drive), mean, mean + effect)


def slopes(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Six regions, each with a slope of its own."""
    region, slope = rng.integers(0, 6, POPULATION), rng.normal(size=6)
    drive = 1.2 * slope[region] * x[:, 0]
    return Design(np.column_stack([x[:, :5], np.eye(6)[region]]), expit(drive), drive, drive + effect)


def codes(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Eight categories that are coded as numbers."""
    code, level = rng.integers(0, 8, POPULATION), 1.2 * rng.normal(size=8)
    mean = level[code] + 0.3 * x[:, 0]
    return Design(np.column_stack([x[:, :5], code]), expit(level[code]), mean, mean + effect)


def largest(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """The largest of four covariates."""
    mean = x[:, :4].max(1)
    mean = (mean - mean.mean()) / mean.std()
    return Design(x, expit(mean), mean, mean + effect)


def map_of_two(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """A map: a function of two coordinates with about a wave and a half along each, beside covariates of noise."""
    place = rng.uniform(-1, 1, (POPULATION, 2))
    mean = _map(rng, place)
    return Design(np.column_stack([x[:, :4], place]), expit(1.2 * mean), mean, mean + effect)


def seasons(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Three years of days, of which treatment and outcome follow the season."""
    day = rng.uniform(0, 3 * 365, POPULATION)
    season = 1.2 * np.cos(2 * np.pi * day / 365)
    mean = season + 0.5 * x[:, 0]
    return Design(np.column_stack([x, day]), expit(season), mean, mean + effect)


def sine(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """A sine of a normal covariate with four turns."""
    wave = np.sin(7 * x[:, 0])
    mean = wave + 0.4 * x[:, 1]
    return Design(x, expit(1.2 * wave + 0.3 * x[:, 1]), mean, mean + effect)


def globe(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """A map of a globe in three coordinates, beside covariates of noise."""
    place = rng.normal(size=(POPULATION, 3))
    place /= np.linalg.norm(place, axis=1, keepdims=True)
    mean = _map(rng, place)
    return Design(np.column_stack([x[:, :4], place]), expit(1.2 * mean), mean, mean + effect)


def map_beside(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """A map of two coordinates, and covariates that drive treatment, outcome and effect."""
    place = rng.uniform(-1, 1, (POPULATION, 2))
    height = _map(rng, place)
    mean = 0.7 * height + 0.5 * x[:, 1] ** 2 + 0.5 * x[:, 0]
    found = effect * (1 + x[:, 2])
    return Design(np.column_stack([x, place]), expit(0.8 * height + 0.5 * x[:, 0]), mean, mean + found)


def _map(rng: np.random.Generator, place: Array) -> Array:
    """Sum of random waves of a place, of about unit variance."""
    waves = np.cos(4 * place @ rng.normal(size=(place.shape[1], 20)) + rng.uniform(0, 2 * np.pi, 20))
    return np.asarray(waves @ rng.normal(size=20) / np.sqrt(10))


def three_signs(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """The sign of a product of three covariates."""
    drive = np.sign(x[:, 0] * x[:, 1] * x[:, 2])
    return Design(x, expit(drive), drive, drive + effect)


def turned_seasons(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Two years of days with a season that drives both, and peaks elsewhere in each of four regions."""
    day, region = rng.uniform(0, 2 * 365, POPULATION), rng.integers(0, 4, POPULATION)
    season = 1.2 * np.cos(2 * np.pi * day / 365 + region * np.pi / 2)
    return Design(np.column_stack([x[:, :5], day, np.eye(4)[region]]), expit(season), season, season + effect)


def outliers(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """How many of ten measurements are far from their mean."""
    measured = rng.normal(size=(POPULATION, 10))
    mean = (np.abs(measured) > 1.3).sum(1) - 2.0
    return Design(np.column_stack([measured, x[:, :2]]), expit(mean), mean, mean + effect)


def most_extreme(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """The measurement of six that is farthest from its mean."""
    measured = rng.normal(size=(POPULATION, 6))
    mean = 2 * np.abs(measured).max(1)
    return Design(np.column_stack([measured, x[:, :3]]), expit(mean - mean.mean()), mean, mean + effect)


def which_is_largest(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Which of five covariates is the largest, each with a level of its own."""
    level, places = 1.2 * rng.normal(size=5), rng.normal(size=(POPULATION, 5))
    mean = (level - level.mean())[places.argmax(1)]
    return Design(np.column_stack([places, x[:, :3]]), expit(mean), mean, mean + effect)


def between_places(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """The logarithm of the distance between two places of two coordinates each; the second one is one of eight."""
    home, sites = rng.uniform(size=(POPULATION, 2)), rng.uniform(size=(8, 2))[rng.integers(0, 8, POPULATION)]
    mean = 1.5 * np.log(np.linalg.norm(home - sites, axis=1))
    return Design(np.column_stack([home, sites, x[:, :4]]), expit(mean - mean.mean()), mean, mean + effect)


def weekends(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Two days in seven, of two years of days that are numbered."""
    day = rng.integers(0, 2 * 365, POPULATION)
    mean = 2.0 * (day % 7 > 4)
    return Design(np.column_stack([x[:, :5], day]), expit(mean - 1), mean, mean + effect)


def change(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """How far two readings of one quantity are apart, which is a tenth to four tenths of their spread."""
    between = rng.normal(size=POPULATION)
    mean = 1.8 * np.abs(between)
    x[:, 1] = x[:, 0] + rng.uniform(0.1, 0.4) * between
    return Design(x, expit(mean - mean.mean()), mean + 0.5 * x[:, 0], mean + 0.5 * x[:, 0] + effect)


def rise(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Whether the second of two readings is higher than the first."""
    between = rng.normal(size=POPULATION)
    mean = 1.2 * np.sign(between)
    x[:, 1] = x[:, 0] + rng.uniform(0.1, 0.4) * between
    return Design(x, expit(mean), mean + 0.5 * x[:, 0], mean + 0.5 * x[:, 0] + effect)


def body_mass(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Body mass index, too low or too high, of which height and weight are given."""
    height, index = rng.normal(1.7, 0.1, POPULATION), np.exp(rng.normal(3.25, 0.2, POPULATION))
    mean = 1.5 * ((index >= 30) + 1.0 * (index < 22))
    covariates = np.column_stack([height, index * height**2, x[:, :4]])
    return Design(covariates, expit(1.2 * (mean - mean.mean())), mean + 0.3 * x[:, 0], mean + 0.3 * x[:, 0] + effect)


def illnesses(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """At least five of nine illnesses, of which each is a column."""
    ill = rng.random((POPULATION, 9)) < rng.uniform(0.3, 0.6, 9)
    mean = 1.5 * (ill.sum(1) >= 5) + 0.3 * x[:, 0]
    return Design(np.column_stack([ill, x[:, :4]]), expit(mean - mean.mean()), mean, mean + effect)


def questionnaire(rng: np.random.Generator, x: Array, effect: float) -> Design:
    """Ten points or more in nine items of zero to three points, which go together."""
    mood = rng.normal(size=(POPULATION, 1))
    items = (0.7 * mood + rng.normal(size=(POPULATION, 9)) > np.array([-0.2, 0.7, 1.4])[:, None, None]).sum(0)
    mean = 1.5 * (items.sum(1) >= 10) + 0.3 * x[:, 0]
    return Design(np.column_stack([items, x[:, :4]]), expit(mean - mean.mean()), mean, mean + effect)


DESIGNS = (
    thresholds,
    same_side,
    square,
    instruments,
    unequal,
    heavy,
    skewed,
    events,
    counts,
    rare,
    clinics,
    slopes,
    codes,
    largest,
    map_of_two,
    three_signs,
    seasons,
    sine,
    globe,
    map_beside,
    turned_seasons,
    outliers,
    most_extreme,
    which_is_largest,
    between_places,
    weekends,
    change,
    rise,
    body_mass,
    schools,
    practices,
    illnesses,
    questionnaire,
)


def designed(design: Callable[..., Design], count: int) -> Iterator[Problem]:
    """Tables of 300 to 3,000 rows and 5 to 19 columns of a design."""
    for index in range(count):
        rng = np.random.default_rng([SEED, DESIGNS.index(design), index])
        rows, columns = int(np.exp(rng.uniform(*np.log((300, 3000))))), int(rng.integers(5, 20))
        effect = float(rng.choice([0.0, 0.3, -0.3, 0.6]))
        found = design(rng, correlated(rng, columns), effect)
        t = (rng.random(POPULATION) < found.propensity).astype(np.int64)
        means = np.where(t > 0, found.treated, found.control)
        y = means + rng.normal(size=POPULATION) if found.draw is None else found.draw(means)
        yield Problem(found.x[:rows], t[:rows], y[:rows], float(np.mean(found.treated - found.control)), None)


def others(kind: str, count: int) -> Iterator[Problem]:
    """Foreign tables, real covariates, or the package's own families."""
    for index in range(count):
        if kind == "simulated":
            rng = np.random.default_rng([SEED, index])
            rows, columns = (int(np.exp(rng.uniform(*np.log(ends)))) for ends in ((150, 3000), (2, 60)))
            table = draw_table(rng, rows, columns)
            yield Problem(table.covariates, table.treatment, table.outcome, table.effect, None)
        else:
            found = (foreign_table if kind == "foreign" else real_table)(index, SEED)
            yield Problem(found.x, found.t, found.y, found.effect, None)


def published(folder: Path, collection: str) -> Iterator[Problem]:
    """Tables of a published collection."""
    for x, t, y, truth in realisations(folder, collection):
        yield Problem(x, t, y, truth["ate"], None)
