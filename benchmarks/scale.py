"""Time and peak memory against rows, columns and number of tables, beside other estimators.

    python benchmarks/scale.py [--rows 1e3,1e4,1e5,1e6] [--columns 5,20,100] [--tables 10,100,1000] [--threads 1,2]
                               [--econml PYTHON] [--csv FILE] [--plot FILE] [--draw]

Each figure comes from a process of its own, so that nobody profits from what another one has left in memory; within
it a small table warms up, and the median of ``--repeats`` counts. DoWhy's models and estimands are made beforehand:
its estimates alone are timed. All methods of a size run one after the other with as many threads, and ratios are taken
within that turn: against DoWhy's linear regression of the same table, and against a product of matrices in the same
process. PYTHON is an interpreter with EconML, for an environment that cannot hold it. ``--draw`` measures nothing: it
draws what FILE of ``--csv`` holds. Nothing is written while others keep the machine busy.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from measuring import REPEATS, Idleness, slopes, yardstick

EFFECT = 1.0
OURS, LINEAR = "dowhy-cina", "DoWhy linear regression"
#: Environment variables that give libraries their number of threads.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: Rows beyond which a method is not asked: it would take minutes.
LIMITS = {
    "AIPW LightGBM": 100_000,
    "EconML LinearDML": 100_000,
    "EconML CausalForestDML": 10_000,
    "DoWhy IPW": 1_000_000,
}
Table = tuple[np.ndarray, np.ndarray, np.ndarray]
#: An estimate that is ready to be timed.
Ready = Callable[[], float]


def linear_table(rows: int, columns: int, seed: int = 0) -> Table:
    """Linear design: confounding by five columns, an effect of one, noise of one standard deviation."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns))
    score = x[:, :5].sum(1) / np.sqrt(5)
    t = (rng.random(rows) < 1 / (1 + np.exp(-score))).astype(int)
    return x, t, score + EFFECT * t + rng.normal(size=rows)


def ours(x: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    """Estimate with interval, balance and certificate."""
    import dowhy_cina

    return dowhy_cina.estimate_effect(x, t, y).value


def at_once(estimate: Callable[[np.ndarray, np.ndarray, np.ndarray], float]) -> Callable[..., Ready]:
    """Method that needs no preparation."""
    return lambda *table: functools.partial(estimate, *table)


def through_dowhy(method: str) -> Callable[..., Ready]:
    """One of DoWhy's methods, with model and estimand made beforehand."""

    def prepare(x: np.ndarray, t: np.ndarray, y: np.ndarray) -> Ready:
        import pandas as pd
        from dowhy import CausalModel

        names = [f"x{k}" for k in range(x.shape[1])]
        table = pd.DataFrame(x, columns=names).assign(t=t.astype(bool), y=y)
        model = CausalModel(table, treatment="t", outcome="y", common_causes=names)
        estimand = model.identify_effect(proceed_when_unidentifiable=True)
        return lambda: float(model.estimate_effect(estimand, method_name=method).value)

    return prepare


def aipw_lightgbm(x: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    """Doubly robust estimate with boosted trees, cross-fitted in two folds."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    fold, scores = np.random.default_rng(0).permutation(len(y)) % 2, np.empty(len(y))
    for out in (0, 1):
        fit, held = fold != out, fold == out
        chance = LGBMClassifier(verbose=-1).fit(x[fit], t[fit]).predict_proba(x[held])[:, 1].clip(0.01, 0.99)
        means = [LGBMRegressor(verbose=-1).fit(x[fit & (t == k)], y[fit & (t == k)]).predict(x[held]) for k in (0, 1)]
        own = np.where(t[held] == 1, means[1], means[0])
        weight = np.where(t[held] == 1, 1 / chance, -1 / (1 - chance))
        scores[held] = means[1] - means[0] + weight * (y[held] - own)
    return float(scores.mean())


def econml(name: str) -> Callable[[np.ndarray, np.ndarray, np.ndarray], float]:
    """Estimate by EconML with LightGBM nuisances, its other options at their defaults, interval included."""

    def estimate(x: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
        from econml import dml
        from lightgbm import LGBMClassifier, LGBMRegressor

        model = getattr(dml, name)(
            model_y=LGBMRegressor(verbose=-1), model_t=LGBMClassifier(verbose=-1), discrete_treatment=True
        )
        model.fit(y, t, X=x)
        model.ate_interval(x)
        return float(model.ate(x))

    return estimate


METHODS: dict[str, Callable[..., Ready]] = {
    OURS: at_once(ours),
    LINEAR: through_dowhy("backdoor.linear_regression"),
    "DoWhy IPW": through_dowhy("backdoor.propensity_score_weighting"),
    "AIPW LightGBM": at_once(aipw_lightgbm),
    "EconML LinearDML": at_once(econml("LinearDML")),
    "EconML CausalForestDML": at_once(econml("CausalForestDML")),
}


def estimates(method: str, data: Sequence[Table]) -> Callable[[], list[float]]:
    """Estimates of some tables, ready to be timed; ours of several in one call."""
    if method == OURS and len(data) > 1:
        import dowhy_cina

        return lambda: [result.value for result in dowhy_cina.estimate_effects(data)]
    ready = [METHODS[method](*table) for table in data]
    return lambda: [estimate() for estimate in ready]


def measure(method: str, rows: int, columns: int, tables: int, repeats: int) -> dict[str, float]:
    """Median seconds, processor seconds, peak memory beyond the imports', error and yardstick, in this process."""
    warnings.filterwarnings("ignore")
    estimate = estimates(method, [linear_table(rows, columns, seed) for seed in range(tables)])
    METHODS[method](*linear_table(500, columns))()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, processor = [], []
    for _ in range(repeats):
        start, cpu = time.perf_counter(), time.process_time()
        values = estimate()
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - cpu)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "seconds": float(np.median(seconds)),
        "core_seconds": float(np.median(processor)),
        "peak_gb": peak * 1024 / 1e9,
        "error": float(np.mean(np.abs(np.array(values) - EFFECT))),
        "times_yardstick": float(np.median(seconds)) / yardstick(),
    }


def in_a_process(
    python: str, method: str, *arguments: object, limit: float, script: str = __file__, threads: int | None = None
) -> dict[str, float] | None:
    """Measure in another process; None if the method is not installed there, or takes longer than the limit."""
    limits = {} if threads is None else dict.fromkeys(THREADS, str(threads))
    command = [python, script, "--measure", method, *map(str, arguments)]
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, check=True, env={**os.environ, **limits}
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        reason = (error.stderr or "too slow") if isinstance(error.stderr, str | None) else "too slow"
        print(f"    {method}: left out ({reason.strip().splitlines()[-1]})", file=sys.stderr)
        return None
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def sizes(arguments: argparse.Namespace) -> list[tuple[str, int, int, int]]:
    """What grows, and rows, columns and tables."""
    grid = [("rows", rows, 10, 1) for rows in arguments.rows]
    grid += [("columns", 10_000, columns, 1) for columns in arguments.columns]
    return grid + [("tables", 500, 10, tables) for tables in arguments.tables]


def parser() -> argparse.ArgumentParser:
    """Options of the command."""

    def whole(text: str) -> list[int]:
        return [int(float(part)) for part in text.split(",") if part]

    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=whole, default=[10**3, 10**4, 10**5, 10**6])
    options.add_argument("--columns", type=whole, default=[5, 20, 100])
    options.add_argument("--tables", type=whole, default=[10, 100, 1000])
    options.add_argument("--threads", type=whole, default=sorted({1, os.cpu_count() or 1}))
    options.add_argument("--repeats", type=int, default=REPEATS)
    options.add_argument("--limit", type=float, default=600, help="seconds after which a method is left out")
    options.add_argument("--econml", default=sys.executable, metavar="PYTHON", help="interpreter that has EconML")
    options.add_argument("--csv", type=Path)
    options.add_argument("--plot", type=Path)
    options.add_argument("--draw", action="store_true", help="draw the table of --csv again, without measuring")
    options.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Run the grid and print, write and draw it."""
    import pandas as pd

    arguments = parser().parse_args(argv)
    if arguments.measure:
        print(json.dumps(measure(arguments.measure[0], *map(int, arguments.measure[1:]))))
        return
    if arguments.draw:
        draw(pd.read_csv(arguments.csv), arguments.plot)
        return
    idleness, records = Idleness(arguments.csv, arguments.plot), []
    for grows, rows, columns, tables in sizes(arguments):
        for threads, method in itertools.product(arguments.threads, METHODS):
            if rows > LIMITS.get(method, rows) or (tables > 1 and method not in (OURS, LINEAR)):
                continue
            python = arguments.econml if method.startswith("EconML") else sys.executable
            numbers = (rows, columns, tables, arguments.repeats)
            found = in_a_process(python, method, *numbers, limit=arguments.limit, threads=threads)
            if found:
                size = {"grows": grows, "rows": rows, "columns": columns, "tables": tables, "threads": threads}
                records.append({**size, "method": method, **found})
                print(f"{rows:>8} x {columns:<4} {tables:>5} {threads} {method:24s} {json.dumps(found)}", flush=True)
        idleness.look()
    table = with_ratios(pd.DataFrame(records))
    print(table.to_string(index=False))
    idleness.refuse()
    if arguments.csv:
        table.to_csv(arguments.csv, index=False, float_format="%.4g")
    if arguments.plot:
        draw(table, arguments.plot)


def with_ratios(table: object) -> object:
    """Add times relative to DoWhy's linear regression of the same size, slopes in the rows, and memory per row."""
    size = ["grows", "rows", "columns", "tables", "threads"]
    linear = table[table["method"] == LINEAR].set_index(size)["seconds"]
    keys = list(zip(*(table[name] for name in size), strict=True))
    table = table.assign(
        times_linear=table["seconds"].to_numpy() / linear.reindex(keys).to_numpy(),
        bytes_per_row=1e9 * table["peak_gb"] / (table["rows"] * table["tables"]),
        slope=np.nan,
    )
    for _, rows in table[table["grows"] == "rows"].groupby(["method", "threads"]):
        table.loc[rows.index, "slope"] = slopes(rows["rows"], rows["seconds"])
    return table


def draw(table: object, path: Path) -> None:
    """Draw time and memory against rows, on log-log axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    for axis, name, label in zip(axes, ("seconds", "peak_gb"), ("time [s]", "peak memory [GB]"), strict=True):
        most = table[(table["grows"] == "rows") & (table["threads"] == table["threads"].max())]
        for method, rows in most.groupby("method", sort=False):
            axis.loglog(rows["rows"], rows[name].clip(lower=1e-3), "o-", label=method)
        axis.set_xlabel("rows (10 columns)")
        axis.set_ylabel(label)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
