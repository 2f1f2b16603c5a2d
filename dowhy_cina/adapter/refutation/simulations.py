"""The data of one refit for each refuter, drawn as DoWhy's refuters draw it.

Each function takes the setting and a generator and makes a new table; nothing here estimates anything.

Letters: N rows, C covariates of numbers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LogisticRegression

from dowhy_cina.adapter.refutation.tables import Array, RefitSetting, RefitTable
from dowhy_cina.errors import InputError

#: Data of one refit, from its number among the refuter's refits and a generator of its own.
Draw = Callable[[int, np.random.Generator], RefitTable]

#: Share of the rows in a subset.
SUBSET_FRACTION = 0.8
#: Noise on floating-point covariates, in their standard deviations, and share of booleans and categories changed.
BOOTSTRAP_NOISE = 0.1


def random_common_cause(setting: RefitSetting, generator: np.random.Generator) -> RefitTable:
    """Add a covariate of standard normal noise."""
    return dataclasses.replace(setting.table, noise=generator.standard_normal(len(setting.table.rows)))


def placebo_treatment(setting: RefitSetting, generator: np.random.Generator) -> RefitTable:
    """Permute the treatment over the rows."""
    shuffled = setting.table.treatment.iloc[generator.permutation(len(setting.table.rows))]
    treatment = shuffled.set_axis(setting.table.treatment.index).rename("placebo")
    return dataclasses.replace(setting.table, treatment=treatment)


def data_subset(setting: RefitSetting, generator: np.random.Generator) -> RefitTable:
    """Take four fifths of the rows, without repetition."""
    rows = len(setting.table.rows)
    return setting.table.take(generator.choice(rows, size=round(SUBSET_FRACTION * rows), replace=False))


def bootstrap(setting: RefitSetting, generator: np.random.Generator) -> RefitTable:
    """Draw as many rows with repetition, and disturb the covariates.

    Floating-point covariates get normal noise, booleans are flipped and categories exchanged with a small probability;
    whole numbers and text stay. (DoWhy names categories too, and fails on them.)
    """
    rows = len(setting.table.rows)
    table = setting.table.take(generator.integers(rows, size=rows))
    numbers, codes, changed = table.numbers.copy(), table.codes.copy(), []
    for at, name in enumerate(setting.number_names):
        kind = setting.data[name].dtype
        if pd.api.types.is_float_dtype(kind):
            numbers[at] += generator.normal(scale=BOOTSTRAP_NOISE * _deviation(numbers[at]), size=rows)
        elif pd.api.types.is_bool_dtype(kind):
            flipped = generator.random(rows) < BOOTSTRAP_NOISE
            numbers[at, flipped] = 1 - numbers[at, flipped]
        else:
            continue
        changed.append(name)
    for at, (name, levels) in enumerate(zip(setting.label_names, setting.levels, strict=True)):
        if isinstance(setting.data[name].dtype, pd.CategoricalDtype) and len(levels) > 1:
            moved = generator.random(rows) < BOOTSTRAP_NOISE
            codes[at, moved] += generator.integers(1, len(levels), size=int(moved.sum()))
            codes[at, moved] %= len(levels)
            changed.append(name)
    return dataclasses.replace(table, numbers=numbers, codes=codes, changed=tuple(changed))


def dummy_outcome(setting: RefitSetting, generator: np.random.Generator) -> RefitTable:
    """Replace the outcome by standard normal noise."""
    noise = generator.standard_normal(len(setting.table.rows))
    outcome = pd.Series(noise, index=setting.table.outcome.index, name="dummy_outcome")
    return dataclasses.replace(setting.table, outcome=outcome)


@dataclasses.dataclass(frozen=True)
class Strengths:
    """How strongly a hidden common cause acts, on a grid from the weakest to the strongest observed one, both included.

    Attributes
    ----------
    treatment : ndarray, shape (K,)
        Share of the rows whose treatment it flips.
    outcome : ndarray, shape (K,)
        What one standard deviation of it takes from the outcome, in the outcome's unit; it adds where this is negative.
    """

    treatment: Array
    outcome: Array

    def at(self, number: int) -> tuple[float, float]:
        """Strengths of a point of the grid, counted row by row."""
        row, column = divmod(number, len(self.outcome))
        return float(self.treatment[row]), float(self.outcome[column])

    def __len__(self) -> int:
        return len(self.treatment) * len(self.outcome)


def unobserved_common_cause(
    setting: RefitSetting, strengths: tuple[float, float], generator: np.random.Generator
) -> RefitTable:
    """Let a hidden standard normal cause flip the treatment where it is large, and lower the outcome.

    Parameters
    ----------
    setting : RefitSetting
    strengths : tuple of float
        Share of treatments flipped and slope of the outcome, as a point of :class:`Strengths`.
    generator : numpy.random.Generator
    """
    share, slope = strengths
    hidden = generator.standard_normal(len(setting.table.rows))
    flipped = hidden >= stats.norm.isf(share)
    treated, control = setting.arms(setting.table)
    treatment = setting.table.treatment.astype(object)
    treatment[flipped & treated] = setting.control
    treatment[flipped & control] = setting.treated
    outcome = setting.table.outcome - slope * hidden
    return dataclasses.replace(setting.table, treatment=treatment.infer_objects(), outcome=outcome)


def observed_strengths(setting: RefitSetting, points: int) -> Strengths:
    """Measure how strongly the observed common causes act, as DoWhy does for its direct simulation.

    On the treatment: the share of predictions of a logistic regression that change when one cause is held at its mean.
    On the outcome: the size of the covariance with a standardised cause.

    DoWhy's range of the outcome goes from the lowest to the highest covariance with its sign, and either range ends
    before the strongest. The sign is that of the cause's coding: of ``-a`` in place of ``a`` another range would be
    tried. Ours takes sizes and both ends, and the one sign by which a hidden cause works against the estimate: units
    that it flips have a large value of it, and more of them come into the smaller arm than leave it.

    Parameters
    ----------
    setting : RefitSetting
    points : int
        Points K of each range.

    Raises
    ------
    InputError
        If there is no observed common cause to measure by.
    """
    treated, control = setting.arms(setting.table)
    keep = treated | control
    causes = _standardised_causes(setting.common_causes, keep)
    outcome = setting.table.outcome.to_numpy(dtype=np.float64)[keep]
    arm = treated[keep]
    model = LogisticRegression().fit(causes, arm)
    predicted = model.predict(causes)
    shares = []
    for column in range(causes.shape[1]):
        held = causes.copy()
        held[:, column] = 0
        shares.append(float(np.mean(model.predict(held) != predicted)))
    slopes = np.abs(causes.T @ (outcome - outcome.mean())) / len(outcome)
    against = math.copysign(1.0, setting.effect * (0.5 - arm.mean()))
    return Strengths(
        np.linspace(min(shares), max(shares), points), against * np.linspace(slopes.min(), slopes.max(), points)
    )


def _standardised_causes(common_causes: pd.DataFrame | None, keep: NDArray[np.bool_]) -> Array:
    if common_causes is None or not common_causes.shape[1]:
        raise InputError("there is no observed common cause to measure a hidden one by.")
    causes = common_causes.loc[keep].to_numpy(dtype=np.float64)
    missing = np.isnan(causes)
    if missing.any():
        causes = np.where(missing, np.nanmedian(causes, axis=0), causes)
    centred = causes - causes.mean(axis=0)
    spread = centred.std(axis=0)
    varying = spread > 0
    if not varying.any():
        raise InputError("no observed common cause varies, so there is none to measure a hidden one by.")
    standardised: Array = centred[:, varying] / spread[varying]
    return standardised


def _deviation(values: Array) -> float:
    """Sample standard deviation of the values that are there; zero if there are fewer than two."""
    present = values[~np.isnan(values)]
    return float(present.std(ddof=1)) if present.size > 1 else 0.0


def fixed(draw: Callable[[RefitSetting, np.random.Generator], RefitTable], setting: RefitSetting) -> Draw:
    """Bind a refuter whose refits all follow the same law."""
    return lambda _number, generator: draw(setting, generator)


def graded(setting: RefitSetting, strengths: Strengths) -> Draw:
    """Bind the refuter whose refits go through a grid of strengths."""
    return lambda number, generator: unobserved_common_cause(setting, strengths.at(number), generator)
