"""Answers of every route on simulated tables, kept in a file or compared with one: a change of the code moves none.

    python benchmarks/answers.py --write before.npz    # before the change
    python benchmarks/answers.py --against before.npz  # after it

Values, standard errors, intervals, weights, effects by group and conditional effects; of the direct call for every
target, weights alone, sampling weights and clusters, refined and exact weights, many tables at once, DoWhy, its refits,
and Dask. Only public names are called, so that the file outlives the modules. Letters: N rows, D columns.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

#: Largest difference that passes, relative to the largest entry of an answer; through Dask sums come in another order.
TOLERANCE, TOLERANCE_DASK = 1e-9, 1e-6
#: Every so many tables go through the routes that take long.
DOWHY_EVERY, EXACT_EVERY, DASK_EVERY, REFITS_EVERY = 4, 8, 20, 20

Answer = tuple[str, np.ndarray]


def draw(index: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.random.Generator]:
    """Draw a table: covariates (N, D) of which one is text and one has gaps in every third, treatment and outcome."""
    from dowhy_cina.simulators import draw_table

    rng = np.random.default_rng([2026, index])
    rows, columns = (int(np.exp(rng.uniform(*np.log(bounds)))) for bounds in ((60, 1500), (2, 25)))
    table = draw_table(rng, rows, columns)
    frame = pd.DataFrame(table.covariates, columns=[f"x{k}" for k in range(table.covariates.shape[1])])
    if index % 3 == 0:
        frame["region"] = rng.choice(["north", "south", "west"], rows)
        frame.loc[rng.random(rows) < 0.1, "x0"] = np.nan
    return frame, table.treatment.astype(int), table.outcome, rng


def figures(name: str, result: object) -> Iterator[Answer]:
    """What a result says, without what is told in words."""
    inference = [result.value, result.standard_error, *result.confidence_interval, result.p_value]
    yield f"{name}/effect", np.array(inference, dtype=float)
    certificate = (result.duality_gap, result.worst_case_bias, result.worst_case_bias_before)
    yield f"{name}/certificate", np.array(certificate)
    yield f"{name}/weights", np.asarray(result.weights)
    yield f"{name}/balance", result.balance.to_numpy()
    yield f"{name}/size", np.array(result.effective_sample_size)


def direct(index: int) -> Iterator[Answer]:
    """Answers of the direct call."""
    import dowhy_cina

    frame, treatment, outcome, rng = draw(index)
    given = (frame, treatment, outcome)
    weight, cluster = rng.uniform(0.5, 2, len(frame)), rng.integers(0, max(len(frame) // 4, 4), len(frame))
    mask = rng.random(len(frame)) < 0.5
    calls: dict[str, dict[str, object]] = {target: {"target_units": target} for target in ("ate", "att", "atc")}
    calls |= {
        "overlap": {"target_units": "overlap"},
        "mask": {"target_units": mask},
        "rows": {"target_units": frame[mask]},
        "alone": {"augmentation": "none"},
        "alone att": {"augmentation": "none", "target_units": "att"},
        "weighted": {"sample_weight": weight},
        "clustered": {"cluster": cluster},
        "both": {"sample_weight": weight, "cluster": cluster, "target_units": "att"},
    }
    if index % DOWHY_EVERY == 0:
        calls |= {"refined": {"refine": 1e-3}, "refined alone": {"refine": 1e-3, "augmentation": "none"}}
        calls |= {"little memory": {"memory_limit": "110MB"}}
    if index % EXACT_EVERY == 0 and len(frame) <= 600:
        calls |= {"exact": {"checkpoint": "exact"}, "exact att": {"checkpoint": "exact", "target_units": "att"}}
        calls |= {"exact alone": {"checkpoint": "exact", "augmentation": "none"}}
    for name, options in calls.items():
        result = dowhy_cina.estimate_effect(*given, **options)
        yield from figures(name, result)
        if name in ("ate", "both"):
            columns = ["effect", "standard_error", "lower", "upper"]
            groups = result.group_effects(rng.integers(0, 3, len(frame)))
            yield f"{name}/groups", groups.table[columns].to_numpy(dtype=float)
            yield f"{name}/conditional", result.conditional_effects(frame[:50])[columns].to_numpy()


def through_dowhy(index: int) -> Iterator[Answer]:
    """Answers through DoWhy, and means and spreads of refits."""
    from dowhy import CausalModel

    import dowhy_cina

    frame, treatment, outcome, _ = draw(index)
    frame = frame.fillna(0.0)
    covariates = list(frame.columns)
    model = CausalModel(frame.assign(t=treatment, y=outcome), treatment="t", outcome="y", common_causes=covariates)
    estimand = model.identify_effect()
    for target in ("ate", "att"):
        estimate = model.estimate_effect(
            estimand, method_name="backdoor.cina", target_units=target, confidence_intervals=True
        )
        yield f"dowhy {target}/effect", np.array([estimate.value, *estimate.get_confidence_intervals()])
    if index % REFITS_EVERY == 0:
        report = dowhy_cina.refute(
            model, estimand, estimate, simulations=4, random_state=index, progress=False, n_jobs=1
        ).to_frame()
        yield "refits", report[["estimated_effect", "new_effect", "p_value"]].to_numpy(dtype=float)


def partitioned(index: int) -> Iterator[Answer]:
    """Answers through Dask."""
    import dask
    import dask.dataframe as dd

    import dowhy_cina

    frame, treatment, outcome, _ = draw(index)
    table = dd.from_pandas(frame.assign(t=treatment, y=outcome), npartitions=3)
    with dask.config.set(scheduler="synchronous"):
        for target in ("ate", "att"):
            result = dowhy_cina.estimate_effect(table, "t", "y", target_units=target)
            yield f"dask {target}/effect", np.array([result.value, result.standard_error, result.p_value])
            yield f"dask {target}/weights", result.weights.compute().to_numpy()
            yield f"dask {target}/balance", result.balance.to_numpy()


def many(tables: int) -> Iterator[Answer]:
    """Answers of one call for tables that share forward passes."""
    import dowhy_cina

    draws = [draw(index)[:3] for index in range(tables)]
    alike = [(frame[:60], treatment[:60], outcome[:60]) for frame, treatment, outcome in draws if len(frame) >= 60]
    for name, options in (("ate", {}), ("att alone", {"target_units": "att", "augmentation": "none"})):
        for place, result in enumerate(dowhy_cina.estimate_effects(alike, on_error="return", **options)):
            if not isinstance(result, Exception) and result.standard_error is not None:
                yield from ((f"many {place}/{what}", values) for what, values in figures(name, result))


def collect(tables: int) -> dict[str, np.ndarray]:
    """All answers by name."""
    found: dict[str, np.ndarray] = {}
    for index in range(tables):
        routes = [direct]
        routes += [through_dowhy] if index % DOWHY_EVERY == 0 else []
        routes += [partitioned] if index % DASK_EVERY == 0 else []
        for route in routes:
            found |= {f"{index}/{name}": values for name, values in route(index)}
        print(f"\r{index + 1} of {tables} tables", end="", flush=True)
    found |= dict(many(tables))
    print(f"\r{len(found)} answers on {tables} tables")
    return found


def difference(left: np.ndarray, right: np.ndarray) -> float:
    """Largest difference of two answers, relative to the largest entry; infinite where shapes or gaps differ."""
    if left.shape != right.shape or not np.array_equal(np.isnan(left), np.isnan(right)):
        return np.inf
    size = np.nanmax(np.abs(left), initial=0.0)
    return float(np.nanmax(np.abs(left - right), initial=0.0) / size) if size > 0 else 0.0


def main() -> int:
    """Write the answers, or compare them; the exit code says whether a difference is too large."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=200)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--write", type=Path)
    chosen.add_argument("--against", type=Path)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    if arguments.write:
        np.savez_compressed(arguments.write, **collect(arguments.tables))
        return 0
    with np.load(arguments.against) as kept:
        before = {name: kept[name] for name in kept.files}
    found = collect(1 + max(int(name.split("/")[0]) for name in before if name[0].isdigit()))
    lacking = sorted(set(before) ^ set(found))
    wrong = [f"{name}: only in one of both" for name in lacking]
    for dask in (False, True):
        names = [name for name in before if name in found and ("/dask" in name) == dask]
        differences = {name: difference(before[name], found[name]) for name in names}
        limit = TOLERANCE_DASK if dask else TOLERANCE
        worst = sorted(differences, key=lambda name: -differences[name])[:5]
        print(f"{'Dask' if dask else 'others'}: {len(names)} answers, largest relative difference")
        print("\n".join(f"  {differences[name]:.1e}  {name}" for name in worst))
        wrong += [f"{name}: {differences[name]:.1e}" for name in names if differences[name] > limit]
    print("\n".join([f"{len(wrong)} answers differ", *wrong[:20]]) if wrong else "the answers are the same")
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
