"""``dowhy-cina benchmark``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from dowhy_cina.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

_EFFECT = 1.0


def add_parser(commands: Any) -> None:
    """Add the arguments of ``benchmark``."""
    benchmark = commands.add_parser(
        "benchmark",
        help="time estimates on simulated tables, beside DoWhy's linear regression",
        description="Time estimates on simulated tables of this machine, beside DoWhy's linear regression; medians.",
    )
    benchmark.add_argument(
        "--rows", default="1000,10000,100000", metavar="A,B,...", help="rows of the tables (default: %(default)s)"
    )
    benchmark.add_argument("--columns", type=int, default=10, help="covariates (default: %(default)s)")
    benchmark.add_argument(
        "--tables", type=int, default=20, help="tables of 500 rows in one call (default: %(default)s)"
    )
    benchmark.add_argument(
        "--repeats", type=int, default=3, help="runs of which the median counts (default: %(default)s)"
    )
    benchmark.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print seconds and errors."""
    import numpy as np

    from dowhy_cina import estimate_effect, estimate_effects

    try:
        sizes = [int(float(part)) for part in arguments.rows.split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 10 or min(arguments.columns, arguments.tables, arguments.repeats) < 1:
        raise InputError(
            f"expected rows of at least 10, such as 1000,10000, and positive columns, tables and repeats; got rows "
            f"{arguments.rows!r}, columns {arguments.columns}, tables {arguments.tables}, repeats {arguments.repeats}."
        )
    start = time.perf_counter()
    estimate_effect(*_table(500, arguments.columns))
    print(f"first estimate, imports included: {time.perf_counter() - start:.2f} s\n")
    print(f"{'rows':>9s}{'columns':>9s}{'cina [s]':>11s}{'error [sd]':>12s}{'regression [s]':>16s}")
    for rows in sizes:
        x, t, y = _table(rows, arguments.columns)
        ours, result = _median(partial(estimate_effect, x, t, y), arguments.repeats)
        theirs, _ = _median(partial(_regression, x, t, y), arguments.repeats)
        error = abs(result.value - _EFFECT) / float(np.std(y))
        print(f"{rows:>9d}{arguments.columns:>9d}{ours:>11.3f}{error:>12.4f}{theirs:>16.3f}")
    tables = [_table(500, arguments.columns, seed) for seed in range(arguments.tables)]
    seconds, _ = _median(partial(estimate_effects, tables), arguments.repeats)
    print(f"\n{arguments.tables} tables of 500 x {arguments.columns} in one call: {seconds:.2f} s")


def _table(rows: int, columns: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Simulate a table with linear confounding and an effect of one."""
    import numpy as np

    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns))
    score = x[:, :5].mean(axis=1) * np.sqrt(min(columns, 5))
    t = (rng.random(rows) < 1 / (1 + np.exp(-score))).astype(np.float64)
    t[:2] = 0, 1
    return x, t, score + _EFFECT * t + rng.normal(size=rows)


def _regression(x: Array, t: Array, y: Array) -> Any:
    import pandas as pd
    from dowhy import CausalModel

    names = [f"x{column}" for column in range(x.shape[1])]
    model = CausalModel(
        pd.DataFrame(x, columns=names).assign(t=t > 0, y=y), treatment="t", outcome="y", common_causes=names
    )
    estimand = model.identify_effect(proceed_when_unidentifiable=True)
    return model.estimate_effect(estimand, method_name="backdoor.linear_regression")


def _median(action: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Median seconds of an action, and what it returned last."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = action()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[len(seconds) // 2], result
