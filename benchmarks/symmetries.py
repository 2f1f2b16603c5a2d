"""What changes of a table leave an answer as it is: the largest difference that each makes, over simulated tables.

    python benchmarks/symmetries.py [--draws 4] [--checkpoint cina-small] [--rows 60 1000] [--only NAME] [--worst]

Differences of values and of standard errors are in standard errors, those of weights in multiples of the largest
weight. Exit code 1 if a value or a standard error moves by more than the tolerance.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

import dowhy_cina

#: Largest difference of a value or of a standard error, in standard errors.
TOLERANCE = 1e-6
#: Rows of the simulated tables.
SIZES = (60, 130, 400, 1000, 3000)
KINDS = ("numbers", "binary", "mixed", "balanced", "rare")
SWAPPED = {"att": "atc", "atc": "att"}
COLUMNS = ["value", "standard error", "weights", "p-value"]


@dataclass(frozen=True)
class Case:
    """A table and what is asked of it; ``sign`` and ``scale`` say what the answer has to be divided by."""

    x: pd.DataFrame
    t: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None
    target: Any
    augmentation: str = "kernel"
    landmarks: int = 128
    factor: float = 1.0
    order: np.ndarray | None = None
    cluster: np.ndarray | None = None

    def estimate(self, checkpoint: str) -> Any:
        """Estimate the effect."""
        return dowhy_cina.estimate_effect(
            self.x,
            self.t,
            self.y,
            sample_weight=self.weights,
            cluster=self.cluster,
            target_units=self.target,
            augmentation=self.augmentation,
            checkpoint=checkpoint,
            landmarks=self.landmarks,
        )


def draw(kind: str, rows: int, rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Covariates of a kind, a confounded treatment of them and an outcome with an effect that varies."""
    x = pd.DataFrame(rng.normal(size=(rows, 4)), columns=list("abcd"))
    x["d"] = np.exp(x["d"])
    if kind == "binary":
        x = (x > [0, 0.5, -1, 2]).astype(float)
        x["e"] = rng.integers(0, 5, rows)
    elif kind == "balanced":
        half = np.arange(rows) % 2
        x = x[["a"]].assign(e=rng.permutation(half), f=rng.permutation(half) * 2.0 - 1, g=rng.permutation(half))
    elif kind == "mixed":
        x["e"] = rng.choice(["north", "south", "west"], rows)
        x["f"] = rng.choice(["yes", "no"], rows)
        x["g"] = np.where(rng.random(rows) < 0.2, np.nan, rng.gamma(1.0, 3.0, rows))
    numbers = x.select_dtypes("number").fillna(0)
    z = ((numbers - numbers.mean()) / numbers.std()).to_numpy()
    level = -2.0 if kind == "rare" else 0.0
    t = (rng.random(rows) < 1 / (1 + np.exp(-level - z[:, 0] + 0.5 * z[:, 1]))).astype(int)
    t[:2], t[2:4] = 1, 0
    y = z[:, 0] + z[:, 1] ** 2 + np.sin(2 * z[:, -1]) + t * (1 + 0.5 * z[:, 0]) + rng.normal(size=rows)
    return x, t, y


def swap_arms(case: Case, rng: np.random.Generator) -> Case:
    """Call the treated controls, and the other way round."""
    target = SWAPPED.get(case.target, case.target) if isinstance(case.target, str) else case.target
    return replace(case, t=1 - case.t, target=target, factor=-1.0)


def _numeric(case: Case) -> list[str]:
    return list(case.x.select_dtypes("number").columns)


def negate(case: Case, rng: np.random.Generator) -> Case:
    """Turn the sign of about half of the numbers."""
    x = case.x.copy()
    chosen = [name for name in _numeric(case) if rng.random() < 0.5] or _numeric(case)[:1]
    x[chosen] = -x[chosen]
    return replace(case, x=x)


def negate_one(case: Case, rng: np.random.Generator) -> Case:
    """Turn the sign of one column."""
    name = str(rng.choice(_numeric(case)))
    return replace(case, x=case.x.assign(**{name: -case.x[name]}))


def copy(case: Case, rng: np.random.Generator) -> Case:
    """Add linear copies of three columns, one of them negative, among the others."""
    x = case.x.copy()
    for name, (a, b) in zip(_numeric(case), ((-2.5, 3.0), (1e3, 1e4), (0.1, 0.0)), strict=False):
        x.insert(int(rng.integers(x.shape[1])), f"{name}_copy", a * x[name] + b)
    return replace(case, x=x)


def scale(case: Case, rng: np.random.Generator) -> Case:
    """Give every column of numbers another unit and level."""
    x = case.x.copy()
    for name in _numeric(case):
        x[name] = x[name] * 10 ** rng.uniform(-3, 3) + rng.normal()
    return replace(case, x=x)


def scale_outcome(case: Case, rng: np.random.Generator) -> Case:
    """Give the outcome another unit and level."""
    return replace(case, y=7.3 * case.y - 20, factor=7.3)


def scale_weights(case: Case, rng: np.random.Generator) -> Case:
    """Give the sampling weights another sum."""
    return replace(case, weights=None if case.weights is None else 13.7 * case.weights)


def permute_rows(case: Case, rng: np.random.Generator) -> Case:
    """Put the rows in another order."""
    order = rng.permutation(len(case.t))
    weights = None if case.weights is None else case.weights[order]
    target = case.target[order] if isinstance(case.target, np.ndarray) else case.target
    x = case.x.iloc[order].reset_index(drop=True)
    changed = replace(case, x=x, t=case.t[order], y=case.y[order], weights=weights, target=target, order=order)
    return changed if case.cluster is None else replace(changed, cluster=case.cluster[order])


def permute_columns(case: Case, rng: np.random.Generator) -> Case:
    """Put the columns in another order."""
    return replace(case, x=case.x[rng.permutation(case.x.columns)])


def _members(case: Case) -> np.ndarray | None:
    named = {"ate": np.ones(len(case.t), dtype=bool), "att": case.t == 1, "atc": case.t == 0}
    return named.get(case.target) if isinstance(case.target, str) else case.target


def as_mask(case: Case, rng: np.random.Generator) -> Case:
    """Name the target by a mask."""
    members = _members(case)
    return case if members is None else replace(case, target=members)


def as_frame(case: Case, rng: np.random.Generator) -> Case:
    """Name the target by a frame of its rows, in another order."""
    members = _members(case)
    if members is None or case.weights is not None:  # rows of a frame count the same, whatever their weights are
        return case
    rows = case.x[members]
    return replace(case, target=rows.sample(frac=1.0, random_state=int(rng.integers(2**31))))


SYMMETRIES: dict[str, Callable[[Case, np.random.Generator], Case]] = {
    "arms swapped": swap_arms,
    "one covariate negated": negate_one,
    "covariates negated": negate,
    "linear copies added": copy,
    "covariates scaled": scale,
    "outcome scaled": scale_outcome,
    "sampling weights scaled": scale_weights,
    "rows permuted": permute_rows,
    "columns permuted": permute_columns,
    "target by mask": as_mask,
    "target by frame": as_frame,
}


def cases(sizes: Sequence[int], draws: int) -> Iterator[tuple[str, Case]]:
    """Tables of all kinds and sizes, each with every target and way to estimate."""
    for kind in KINDS:
        for rows in sizes:
            for number in range(draws):
                rng = np.random.default_rng([KINDS.index(kind), rows, number])
                x, t, y = draw(kind, rows, rng)
                case = Case(x, t, y, None, "ate")
                mask = rng.random(rows) < 0.3
                mask[0] = True
                label = f"{kind} {rows} #{number}"
                for target in ("ate", "att", "atc", "overlap", mask):
                    name = target if isinstance(target, str) else "mask"
                    yield f"{label} {name}", replace(case, target=target)
                for target in ("ate", "att"):
                    yield f"{label} {target} weights alone", replace(case, target=target, augmentation="none")
                sampled = replace(case, weights=rng.choice([0.5, 1.0, 3.0], rows))
                yield f"{label} ate sampled", sampled
                yield f"{label} atc sampled, 51 landmarks", replace(sampled, target="atc", landmarks=51)
                yield f"{label} att clusters", replace(in_clusters(case, rng), target="att")


def in_clusters(case: Case, rng: np.random.Generator) -> Case:
    """About half as many clusters, most rows of which have the same covariates."""
    cluster = rng.integers(0, len(case.t) // 2, len(case.t))
    _, first, places = np.unique(cluster, return_index=True, return_inverse=True)
    rows = np.where(rng.random(len(cluster)) < 0.8, first[places], np.arange(len(cluster)))
    return replace(case, x=case.x.iloc[rows].reset_index(drop=True), cluster=cluster)


def difference(case: Case, other: Case, checkpoint: str, found: Any) -> list[float]:
    """Differences of the four numbers between a table and the changed one."""
    changed = other.estimate(checkpoint)
    weights = found.weights if other.order is None else found.weights[other.order]
    error = found.standard_error
    return [
        abs(changed.value / other.factor - found.value) / error,
        abs(changed.standard_error / abs(other.factor) - error) / error,
        float(np.abs(changed.weights - weights).max() / weights.max()),
        abs(changed.p_value - found.p_value),
    ]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=4, help="tables of each kind and size (default: 4, 100 in all)")
    parser.add_argument("--checkpoint", default="cina-small")
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--only", help="part of a symmetry's name")
    parser.add_argument("--worst", action="store_true", help="show the five worst tables of each symmetry")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    chosen = {name: change for name, change in SYMMETRIES.items() if (arguments.only or "") in name}
    rows = []
    for label, case in cases(arguments.rows, arguments.draws):
        found = case.estimate(arguments.checkpoint)
        for place, (name, change) in enumerate(chosen.items()):
            other = change(case, np.random.default_rng([7, place]))
            if other is not case:
                rows.append((name, label, *difference(case, other, arguments.checkpoint, found)))
    table = pd.DataFrame(rows, columns=["symmetry", "table", *COLUMNS])
    worst = table.groupby("symmetry", sort=False)[COLUMNS].max()
    print(worst.to_string(float_format="{:.1e}".format))
    if arguments.worst:
        for name, part in table.groupby("symmetry", sort=False):
            part = part[part["value"].combine(part["standard error"], max) > TOLERANCE]
            print(f"\n{name}: {len(part)} beyond {TOLERANCE:g}")
            if len(part):
                print(
                    part.nlargest(5, "value")[["table", *COLUMNS]].to_string(index=False, float_format="{:.1e}".format)
                )
    return int(bool((worst[["value", "standard error"]] > TOLERANCE).to_numpy().any()))


if __name__ == "__main__":
    sys.exit(main())
