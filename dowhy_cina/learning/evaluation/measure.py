"""Errors, coverage and gaps of a checkpoint beside exact and classical methods.

Letters: N rows.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from tqdm import tqdm

from dowhy_cina.calls.direct import estimate_effect
from dowhy_cina.errors import InputError, InputTypeError, as_path, came
from dowhy_cina.learning.evaluation.classical import METHODS
from dowhy_cina.learning.evaluation.draws import Draws, check_draws
from dowhy_cina.learning.simulators import REGISTRY, draw_table, simulator_names
from dowhy_cina.learning.training import Folder
from dowhy_cina.mathematics.scaling import Array


@dataclass(frozen=True)
class Problem:
    """A table whose effect is to be estimated.

    Attributes
    ----------
    covariates : (N, D) array
    treatment : (N,) array
        0 or 1.
    outcome : (N,) array or None
        None where only the balance can be judged.
    effect : float or None
        Known average effect on the rows, in the outcome's unit.
    """

    covariates: Array
    treatment: Array
    outcome: Array | None
    effect: float | None


def simulated_problems(family: str, count: int, seed: int, rows: int, columns: int) -> Iterator[Problem]:
    """Tables of a simulator, from a tenth of the rows and columns to all, log-uniformly.

    Parameters
    ----------
    family : str
        Name of a simulator.
    count, seed : int
        Number of tables, at least one, and seed of their stream, at least 0.
    rows, columns : int
        Their largest shape, at least 20 rows and 1 column.

    Yields
    ------
    Problem

    Raises
    ------
    InputError, InputTypeError
        If the simulator is not known, or a number is no whole one or too small.
    """
    (name,) = simulator_names([family], " or a folder of tables")
    return _drawn(name, check_draws(count, seed, rows, columns))


def _drawn(family: str, draws: Draws) -> Iterator[Problem]:
    count, seed, rows, columns = draws
    for index in range(count):
        # Another stream than that of any recipe: these begin with the seed itself.
        rng = np.random.default_rng([seed, 77, index])
        rows_drawn, columns_drawn = _log_uniform(rng, 50, rows), _log_uniform(rng, 2, columns)
        table = draw_table(rng, rows_drawn, columns_drawn, families=[family])
        yield Problem(table.covariates, table.treatment, table.outcome, table.effect)


def folder_problems(path: str | Path, strict: bool = False) -> Iterator[Problem]:
    """Tables of a folder with a ``collection.toml``.

    Raises
    ------
    InputError, InputTypeError, UnknownOptionError
        As :class:`~dowhy_cina.training.Folder`.
    """
    tables = Folder(as_path(path, "the folder of tables"), strict).tables
    return (Problem(table.covariates, table.treatment, table.outcome, table.effect) for table in tables)


def _log_uniform(rng: np.random.Generator, least: int, most: int) -> int:
    """Whole number between a tenth of the largest and the largest, and not below the least unless that is larger."""
    return int(np.exp(rng.uniform(np.log(min(most, max(least, most / 10))), np.log(most))))


#: A method that estimates: effect, interval or None, relative duality gap or NaN.
Method = Callable[[Problem], tuple[float, tuple[float, float] | None, float]]


def evaluate(
    checkpoint: str | Path,
    collections: str | Path | Sequence[str | Path],
    *,
    tables: int = 20,
    rows: int = 1000,
    columns: int = 20,
    seed: int = 0,
    device: str = "auto",
    classical: bool = True,
    strict: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """Measure a checkpoint on collections.

    Parameters
    ----------
    checkpoint : str or Path
        Bundled name or path.
    collections : str, Path, or sequence of them
        Names of simulators, and folders of tables with a ``collection.toml``.
    tables : int
        Tables of each simulator, at least one.
    rows, columns : int
        Their largest shape, at least 20 rows and 1 column; shapes are drawn from a tenth of it up.
    seed : int
        At least 0.
    device : str
    classical : bool
        Measure the exact solver and the classical methods too.
    strict : bool
        Refuse a folder with a table that cannot be used.
    progress : bool
        Show a progress bar.

    Returns
    -------
    DataFrame
        A row for each collection and method. ``tables``; ``error``, mean absolute error of the average effect in sd of
        the outcome; ``coverage`` of the 95 % intervals and their median ``width`` in sd of the outcome, missing for
        methods without; ``gap`` and ``gap_95``, median and 95th percentile of the relative duality gap of the weights;
        ``seconds``, median. Where no effect is known, errors are missing; tables without an outcome get gaps alone.

    Raises
    ------
    InputError, InputTypeError
        If a collection is neither, there is none, one has no usable table, or a number is no whole one or too small.
    CheckpointError
        If the checkpoint cannot be read.
    """
    methods = _methods(checkpoint, device, classical)
    named, draws = _collections(collections), check_draws(tables, seed, rows, columns)
    found = []
    for collection in named:
        problems = list(_problems(collection, draws, strict))
        measured: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
        for problem in tqdm(problems, desc=str(collection), disable=not progress):
            for name, method in methods.items():
                if problem.outcome is not None or name in _OWN:
                    measured[name].append(_measure(problem, method))
        for name, figures in measured.items():
            if figures:
                found.append({"collection": str(collection), "method": name, **_summary(figures)})
    return pd.DataFrame(found).set_index(["collection", "method"])


#: Methods of this package, which balance without an outcome too.
_OWN = ("checkpoint", "checkpoint, weights alone", "exact", "exact, weights alone")


def _methods(checkpoint: str | Path, device: str, classical: bool) -> dict[str, Method]:
    """Methods by name, the checkpoint's first."""

    def own(**options: Any) -> Method:
        def method(problem: Problem) -> tuple[float, tuple[float, float] | None, float]:
            outcome = problem.outcome
            if outcome is None:  # any outcome that says nothing: only the gap is looked at
                outcome = np.resize([0.0, 1.0], len(problem.treatment))
            result = estimate_effect(problem.covariates, problem.treatment, outcome, device=device, **options)
            return result.value, result.confidence_interval, result.duality_gap

        return method

    methods = {
        "checkpoint": own(checkpoint=checkpoint),
        "checkpoint, weights alone": own(checkpoint=checkpoint, augmentation="none"),
    }
    if classical:
        methods["exact"] = own(checkpoint="exact")
        methods["exact, weights alone"] = own(checkpoint="exact", augmentation="none")
        methods |= {name: _plain(function) for name, function in METHODS.items()}
    return methods


def _plain(function: Callable[..., tuple[float, float]]) -> Method:
    half = float(stats.norm.ppf(0.975))

    def method(problem: Problem) -> tuple[float, tuple[float, float] | None, float]:
        value, error = function(problem.covariates, problem.treatment, problem.outcome)
        interval = None if math.isnan(error) else (value - half * error, value + half * error)
        return value, interval, math.nan

    return method


def _collections(given: Any) -> list[str | Path]:
    """Names and folders as a list, also one by itself.

    Raises
    ------
    InputError, InputTypeError
        If there is none, or something else.
    """
    expected = "expected names of simulators, and folders of tables, in a list"
    if isinstance(given, str | os.PathLike):
        given = [given]
    try:
        collections = list(given)
    except TypeError as error:
        raise InputTypeError(f"{expected}, got {came(given)}.") from error
    if not collections:
        raise InputError(f"{expected}, got none; name at least one.")
    for collection in collections:
        as_path(collection, "a collection")
    return collections


def _problems(collection: str | Path, draws: Draws, strict: bool) -> Iterator[Problem]:
    if str(collection) not in REGISTRY and Path(collection).is_dir():
        return folder_problems(collection, strict)
    return simulated_problems(str(collection), *draws)


def _measure(problem: Problem, method: Method) -> dict[str, float]:
    """Figures of one method on one table."""
    began = time.perf_counter()
    value, interval, gap = method(problem)
    figures = {"gap": gap, "seconds": time.perf_counter() - began}
    if problem.outcome is None:
        return figures
    scale = float(problem.outcome.std())
    if interval is not None:
        figures["width"] = (interval[1] - interval[0]) / scale
    if problem.effect is not None:
        figures["error"] = abs(value - problem.effect) / scale
        if interval is not None:
            figures["coverage"] = float(interval[0] <= problem.effect <= interval[1])
    return figures


def _summary(figures: Iterable[dict[str, float]]) -> dict[str, float]:
    """Means of errors and coverage, medians of the rest; NaN where no table has the figure."""
    table = pd.DataFrame(list(figures), columns=["error", "coverage", "width", "gap", "seconds"])
    summary: dict[str, float] = {"tables": len(table)}
    summary |= {name: float(table[name].mean()) for name in ("error", "coverage")}
    summary |= {name: float(table[name].dropna().median()) for name in ("width", "gap", "seconds")}
    return summary | {"gap_95": float(table["gap"].quantile(0.95))}
