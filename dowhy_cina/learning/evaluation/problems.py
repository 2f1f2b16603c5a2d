"""Tables to measure on: simulators, and folders of a user's own.

Letters: N rows, D covariates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dowhy_cina.errors import InputError
from dowhy_cina.learning.simulators import REGISTRY, draw_table
from dowhy_cina.learning.training import Folder

Array = npt.NDArray[np.float64]


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

    Raises
    ------
    InputError
        If the simulator is not known.
    """
    if family not in REGISTRY:
        raise InputError(f"expected a simulator ({', '.join(REGISTRY)}) or a folder of tables, got {family!r}.")
    for index in range(count):
        # Another stream than that of any recipe: these begin with the seed itself.
        rng = np.random.default_rng([seed, 77, index])
        rows_drawn, columns_drawn = _log_uniform(rng, 50, rows), _log_uniform(rng, 2, columns)
        table = draw_table(rng, rows_drawn, columns_drawn, families=[family])
        yield Problem(table.covariates, table.treatment, table.outcome, table.effect)


def folder_problems(path: Path, strict: bool = False) -> Iterator[Problem]:
    """Tables of a folder with a ``collection.toml``.

    Raises
    ------
    InputError, UnknownOptionError
        As :class:`~dowhy_cina.training.Folder`.
    """
    for table in Folder(path, strict).tables:
        yield Problem(table.covariates, table.treatment, table.outcome, table.effect)


def _log_uniform(rng: np.random.Generator, least: int, most: int) -> int:
    """Whole number between a tenth of the largest and the largest, and not below the least unless that is larger."""
    return int(np.exp(rng.uniform(np.log(min(most, max(least, most / 10))), np.log(most))))
