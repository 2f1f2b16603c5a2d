"""What each member of the outcome regressions brings: errors of average and of conditional effects with and without.

    python benchmarks/members.py [--tables N] [--data FOLDER] [--csv FILE]

A member that is left out has a share of nothing; all else is the bundled model as it is. Simulated tables have the
published benchmarks' row counts, 700 to 5,000, and foreign ones are drawn by no simulator of the package. Errors of the
average effect are in sd of the outcome, those of single rows (PEHE) too.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from dowhy.datasets import linear_dataset
from foreign import foreign_table
from real_surfaces import real_table
from tables import COLLECTIONS, realisations
from tqdm import tqdm

from dowhy_cina.calls.direct import analyse
from dowhy_cina.learning.simulators import draw_table
from dowhy_cina.learning.simulators.outcomes import random_outcome
from dowhy_cina.model import fitting, network

#: Members that a variant keeps, in their order: kernel, columns, and the logarithm by each of them; and whether arms
#: borrow from each other.
VARIANTS = {
    "kernel": (True, False, False, False, False),
    "kernel and columns": (True, True, False, False, False),
    "and the kernel's logarithm": (True, True, True, False, False),
    "and the columns' logarithm": (True, True, True, True, False),
    "and borrowing": (True, True, True, True, True),
}


class Problem(NamedTuple):
    """A table, its average effect, and the effects of its rows where they are known."""

    x: np.ndarray
    t: np.ndarray
    y: np.ndarray
    effect: float
    effects: np.ndarray | None


@contextmanager
def members(kept: tuple[bool, ...]) -> Iterator[None]:
    """Outcome regressions of some members only, and of arms that borrow or do not."""
    whole, borrow = fitting.member_shares, fitting.borrow

    def fewer(outcome: Any, mean: Any, clean: list[Any], weights: Any, used: Any, cluster: Any = None) -> list[Any]:
        chosen = [values for values, keep in zip(clean, kept, strict=False) if keep]
        shares = iter(whole(outcome, mean, chosen, weights, used, cluster))
        return [next(shares) if keep else torch.zeros_like(mean[:, 0]) for keep, _ in zip(kept, clean, strict=False)]

    def alone(own: Any, lent: Any, outcome: Any) -> Any:
        with patch.object(fitting, "borne_out", lambda wanted, *_: torch.zeros_like(wanted[:, 0])):
            return borrow(own, lent, outcome)

    chosen = borrow if kept[4] else alone
    with patch.object(fitting, "member_shares", fewer), patch.object(network, "borrow", chosen):
        yield


def simulated(count: int) -> Iterator[Problem]:
    """Tables of all families."""
    for index in range(count):
        rng = np.random.default_rng([16, index])
        rows, columns = (int(np.exp(rng.uniform(*np.log(ends)))) for ends in ((700, 5000), (5, 60)))
        table = draw_table(rng, rows, columns)
        if min(table.treatment.sum(), rows - table.treatment.sum()) >= 10:
            yield Problem(table.covariates, table.treatment, table.outcome, table.effect, table.mu1 - table.mu0)


def linear(count: int) -> Iterator[Problem]:
    """DoWhy's linear data sets: one or two causes, almost no noise, and arms that hardly overlap."""
    for index in range(count):
        np.random.seed(index)  # noqa: NPY002 - DoWhy draws from the global generator
        shape = {"num_common_causes": 1 + index % 2, "num_samples": 5000, "num_effect_modifiers": 0}
        data = linear_dataset(beta=10, treatment_is_binary=True, **shape)
        frame, causes = data["df"], data["common_causes_names"]
        x, t, y = frame[causes].to_numpy(float), frame["v0"].to_numpy(float), frame["y"].to_numpy(float)
        yield Problem(x, t, y, data["ate"], None)


def on_real_treatments(folder: Path, count: int) -> Iterator[Problem]:
    """Random outcomes on samples of the trained men and of the controls from the PSID survey, who hardly overlap."""
    x, t, _, _ = next(iter(realisations(folder, "nsw_psid_observational")))
    for index in range(count):
        rng = np.random.default_rng([16, index])
        chosen = np.unique(rng.integers(len(t), size=len(t)))
        table = random_outcome(rng, x[chosen], t[chosen], (x, t))
        yield Problem(table.covariates, table.treatment, table.outcome, table.effect, table.mu1 - table.mu0)


def problems(count: int, folder: Path | None) -> dict[str, list[Problem]]:
    """Tables by the name of their row."""
    found = {"simulated": list(simulated(count)), "DoWhy's linear": list(linear(count // 5))}
    for name, draw in (("foreign", foreign_table), ("real covariates", real_table)):
        tables = [draw(index, 16) for index in range(count)]
        found[name] = [Problem(table.x, table.t, table.y, table.effect, None) for table in tables]
    if folder is not None:
        found["NSW and PSID, random outcomes"] = list(on_real_treatments(folder, count))
    for name in COLLECTIONS if folder else ():
        assert folder is not None
        found[name] = [
            Problem(x, t, y, truth["ate"], truth["mu1"] - truth["mu0"] if "mu0" in truth else None)
            for x, t, y, truth in realisations(folder, name)
        ]
    return found


def measure(tables: list[Problem], label: str) -> list[dict[str, Any]]:
    """A row per variant."""
    rows = []
    for variant, kept in VARIANTS.items():
        errors, single, wide = [], [], []
        with members(kept):
            for x, t, y, effect, effects in tqdm(tables, f"{label}: {variant}"):
                analysis = analyse(x, t, y)
                result = analysis.effect()
                low, high = result.confidence_interval
                errors.append(abs(result.value - effect) / y.std())
                wide.append((high - low) / y.std())
                if effects is not None:
                    assert analysis.function is not None
                    apart = analysis.function.at(x)[0] - effects
                    single.append(float(np.sqrt(np.mean(apart**2))) / y.std())
        rows.append(
            {
                "tables": label,
                "members": variant,
                "count": len(tables),
                "error": np.mean(errors),
                "median error": np.median(errors),
                "PEHE": np.mean(single) if single else np.nan,
                "median PEHE": np.median(single) if single else np.nan,
                "median width": np.median(wide),
            }
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=150, help="simulated, foreign and real-covariate tables, each")
    parser.add_argument("--data", type=Path, help="folder with load.py and the collections")
    parser.add_argument("--csv", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    found = problems(arguments.tables, arguments.data)
    table = pd.DataFrame([row for label, tables in found.items() for row in measure(tables, label)])
    print(table.round(4).to_string(index=False))
    if arguments.csv:
        table.round(4).to_csv(arguments.csv, index=False)


if __name__ == "__main__":
    main()
