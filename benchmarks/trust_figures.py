"""Figures beside their goals: shares with their uncertainty, strata with their tests, the price of another version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

NAN = float("nan")
#: Coverage below which a stratum fails, if the binomial test rejects it at this level.
LEAST_COVERAGE, TEST_LEVEL = 0.9, 0.05
#: No stratum of fewer tables is judged.
FEWEST_TABLES = 20


@dataclass(frozen=True)
class Figure:
    """A measured number.

    Attributes
    ----------
    part, label : str
        Line of the table, and which number of it.
    value : float
    low, high : float
        95 % confidence limits; NaN where there are none.
    count : int
        Tables.
    goal : str
        As it is printed; empty for a number without a goal.
    met : bool or None
        None without a goal.
    """

    part: str
    label: str
    value: float
    low: float = NAN
    high: float = NAN
    count: int = 0
    goal: str = ""
    met: bool | None = None

    def __str__(self) -> str:
        size = 4 if abs(self.value) >= 1e-3 or self.value == 0 else 2
        text = f"{self.value:.{size}g}" + (f" ({self.low:.3g} to {self.high:.3g})" if self.low == self.low else "")
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        return f"{self.part:20s}{self.label:72s}{text:>28s}{self.count or '':>6}  {self.goal:30s}{verdict}"


def number(
    part: str, label: str, value: float, goal: tuple[float, float] | None = None, count: int = 0, **limits: float
) -> Figure:
    """Figure whose goal is an interval, either end of which may be infinite."""
    if goal is None:
        return Figure(part, label, float(value), count=count, **limits)
    low, high = goal
    text = f"{low:g} to {high:g}"
    if not np.isfinite(low):
        text = f"<= {high:g}"
    elif not np.isfinite(high):
        text = f">= {low:g}"
    return Figure(part, label, float(value), count=count, goal=text, met=bool(low <= value <= high), **limits)


def at_most(bound: float) -> tuple[float, float]:
    """Goal of a number that should be small."""
    return -np.inf, bound


def at_least(bound: float) -> tuple[float, float]:
    """Goal of a number that should be large."""
    return bound, np.inf


def share(part: str, label: str, hits: npt.ArrayLike, goal: tuple[float, float] | None = None) -> Figure:
    """Share with Wilson's 95 % limits."""
    found = np.asarray(hits, dtype=bool)
    if not found.size:
        return Figure(part, label, NAN)
    limits = stats.binomtest(int(found.sum()), found.size).proportion_ci(method="wilson")
    return number(part, label, found.mean(), goal, found.size, low=limits.low, high=limits.high)


def median(part: str, label: str, values: npt.ArrayLike, goal: tuple[float, float] | None = None) -> Figure:
    """Median with 95 % limits from the order statistics; none for fewer than six values."""
    found = np.sort(np.asarray(values, dtype=np.float64))
    if found.size < 6:
        return number(part, label, float(np.median(found)) if found.size else NAN, goal, found.size)
    below = int(stats.binom.ppf(0.025, found.size, 0.5))
    return number(part, label, np.median(found), goal, found.size, low=found[below - 1], high=found[-below])


def mean(part: str, label: str, values: npt.ArrayLike, goal: tuple[float, float] | None = None) -> Figure:
    """Mean with 95 % limits from its standard error."""
    found = np.asarray(values, dtype=np.float64)
    half = 1.96 * found.std(ddof=1) / np.sqrt(found.size) if found.size > 1 else NAN
    return number(part, label, found.mean(), goal, found.size, low=found.mean() - half, high=found.mean() + half)


def strata(part: str, frame: pd.DataFrame, columns: Sequence[str]) -> list[Figure]:
    """Coverage in each class of each column, and the worst of them with the goal that none is rejected."""
    found: list[Figure] = []
    for column in columns:
        for name in sorted(frame[column].unique(), key=_place):
            group = frame[frame[column] == name]
            figure = share(part, f"coverage, {column} {name}", group["covered"])
            if figure.count >= FEWEST_TABLES:
                covered = int(group["covered"].sum())
                p = stats.binomtest(covered, figure.count, LEAST_COVERAGE, alternative="less").pvalue
                met = bool(figure.value >= LEAST_COVERAGE or p >= TEST_LEVEL)
                goal = f">= {LEAST_COVERAGE:g} or p >= .05" + ("" if p >= TEST_LEVEL else f" ({p:.2g})")
                figure = Figure(part, figure.label, figure.value, figure.low, figure.high, figure.count, goal, met)
            found.append(figure)
    judged = [figure for figure in found if figure.met is not None]
    if judged:
        worst = min(judged, key=lambda figure: (figure.met, figure.value))
        label = f"worst stratum: {worst.label.removeprefix('coverage, ')}"
        found.append(Figure(part, label, worst.value, worst.low, worst.high, worst.count, worst.goal, worst.met))
    return found


def sampling_figures(part: str, frame: pd.DataFrame, columns: Sequence[str]) -> list[Figure]:
    """Coverage, its strata, false positives, widths and errors of tables with a known effect."""
    null = frame[frame["null"]]
    return [
        share(part, "coverage", frame["covered"], at_least(0.93)),
        *strata(part, frame, columns),
        share(part, "false positives where there is no effect", null["significant"], at_most(0.07)),
        median(part, "median width / sd(Y)", frame["width"]),
        mean(part, "mean error / sd(Y)", frame["error"]),
        median(part, "median width / attainable", frame["width"] / frame["attainable"]),
        median(part, "median error / attainable standard error", 2 * 1.96 * frame["error"] / frame["attainable"]),
    ]


def _place(name: object) -> tuple[float, str]:
    """Sort classes of numbers by the first of them, and others by name."""
    first = str(name).split("-")[0]
    return (float(first) if first.isdigit() else 0.0), str(name)


def by_columns(part: str, frame: pd.DataFrame) -> list[Figure]:
    """Width over attainable width by the number of columns, which should not fall with it; random functions only."""
    frame = frame[frame["driver"] != "published design"]
    ratios = frame["width"] / frame["attainable"]
    classes = sorted(frame["columns"].unique(), key=_place)
    found = [median(part, f"width / attainable, columns {name}", ratios[frame["columns"] == name]) for name in classes]
    if len(found) > 1:
        ratio = found[-1].value / found[0].value
        found.append(number(part, "width / attainable, most columns / fewest", ratio, at_least(1.0)))
    return found


def price(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """What another version changed on the same tables, by part and family.

    Parameters
    ----------
    before, after : DataFrame
        Tables as ``--tables`` writes them; those in both are compared.

    Returns
    -------
    DataFrame
        Median ratios of widths and errors, the ratio of mean errors, and both coverages, a row per part and family.
    """
    keys = ["part", "table"]
    both = after.merge(before[[*keys, "width", "error", "covered", "truth"]], on=keys, suffixes=("", "_before"))
    if not np.allclose(both["truth"], both["truth_before"], equal_nan=True):
        raise ValueError("expected the same tables in both files, got others; measure them with the same benchmark.")
    everything = both.assign(family="all")
    rows = []
    for (part, family), group in pd.concat([everything, both]).groupby(["part", "family"], sort=False):
        rows.append(
            {
                "part": part,
                "family": family,
                "tables": len(group),
                "width ratio": (group["width"] / group["width_before"]).median(),
                "error ratio": (group["error"] / group["error_before"].clip(lower=1e-12)).median(),
                "mean error ratio": group["error"].mean() / group["error_before"].mean(),
                "coverage": group["covered"].mean(),
                "coverage before": group["covered_before"].mean(),
            }
        )
    return pd.DataFrame(rows).drop_duplicates(["part", "family"])
