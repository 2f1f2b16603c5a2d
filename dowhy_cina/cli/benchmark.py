"""``dowhy-cina benchmark``."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from dowhy_cina.cli.parsing import names, whole, whole_numbers
from dowhy_cina.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

_EFFECT = 1.0
_ROWS, _TABLES = "1000,10000,100000", 20
_CONDITIONAL_ROWS, _CONDITIONAL_TABLES = "1000", 5


def add_parser(commands: Any) -> None:
    """Add the arguments of ``benchmark``."""
    benchmark = commands.add_parser(
        "benchmark",
        help="time estimates on simulated tables, or measure their conditional effects",
        description="Time estimates on simulated tables of this machine, beside DoWhy's linear regression; medians. "
        "With --conditional, measure effects of single rows beside a T-learner of boosted trees instead.",
    )
    benchmark.add_argument(
        "--conditional",
        action="store_true",
        help="root mean squared error of the effects of rows that were not fitted, in sd of the outcome (PEHE)",
    )
    benchmark.add_argument(
        "--families", metavar="A,B,...", help="simulators that --conditional draws from (default: all of them)"
    )
    benchmark.add_argument(
        "--rows",
        metavar="A,B,...",
        help=f"rows of the tables (default: {_ROWS}, or {_CONDITIONAL_ROWS} with --conditional)",
    )
    benchmark.add_argument("--columns", type=whole(1), default=10, help="covariates (default: %(default)s)")
    benchmark.add_argument(
        "--tables",
        type=whole(1),
        help=f"tables of 500 rows in one call (default: {_TABLES}), or of each family ({_CONDITIONAL_TABLES})",
    )
    benchmark.add_argument(
        "--repeats", type=whole(1), default=3, help="runs of which the median counts (default: %(default)s)"
    )
    benchmark.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print seconds and errors."""
    if arguments.families is not None and not arguments.conditional:
        raise InputError("expected --conditional with --families: the timed tables are all of one kind.")
    rows, tables = (_CONDITIONAL_ROWS, _CONDITIONAL_TABLES) if arguments.conditional else (_ROWS, _TABLES)
    rows = rows if arguments.rows is None else arguments.rows
    tables = arguments.tables or tables
    least = 20 if arguments.conditional else 10
    sizes = whole_numbers(rows, least)
    if not sizes:
        raise InputError(f"expected rows of at least {least}, such as 1000,10000; got {rows!r}.")
    if arguments.conditional:
        _print_conditional(arguments.families, sizes, arguments.columns, tables)
    else:
        _print_times(sizes, arguments.columns, tables, arguments.repeats)


def _print_conditional(families: str | None, sizes: list[int], columns: int, tables: int) -> None:
    """Print errors of conditional effects by family."""
    import numpy as np

    from dowhy_cina.learning.evaluation import evaluate_conditional
    from dowhy_cina.learning.evaluation.conditional import T_LEARNER
    from dowhy_cina.learning.simulators import REGISTRY

    chosen = list(REGISTRY) if families is None else names(families)
    by_size = {rows: evaluate_conditional(families=chosen, tables=tables, rows=rows, columns=columns) for rows in sizes}
    print(
        "PEHE: root mean squared error of the effect at rows that were not fitted, in sd of the outcome, with its\n"
        f"standard error over {tables} tables of each family; coverage of 95 % intervals of rows; {columns} columns\n"
    )
    print(f"{'family':18s}{'rows':>8s}{'cina':>18s}{'T-learner':>18s}{'ratio':>8s}{'coverage':>10s}{'cina [s]':>10s}")
    for rows, found in by_size.items():
        ratios = []
        own, other = (found.xs(method, level="method").T.to_dict() for method in ("checkpoint", T_LEARNER))
        for name in chosen:
            ours, theirs = own[name], other[name]
            ratios.append(ours["pehe"] / theirs["pehe"])
            errors = [f"{one['pehe']:.3f} +- {one['standard error']:.3f}" for one in (ours, theirs)]
            print(
                f"{name:18s}{rows:>8d}{errors[0]:>18s}{errors[1]:>18s}{ratios[-1]:>8.2f}"
                f"{ours['coverage']:>10.3f}{ours['seconds']:>10.3f}"
            )
        print(f"{'geometric mean':18s}{rows:>8d}{'':36s}{np.exp(np.mean(np.log(ratios))):>8.2f}\n")


def _print_times(sizes: list[int], columns: int, tables: int, repeats: int) -> None:
    """Print seconds of single estimates by size, and of many in one call."""
    import numpy as np

    from dowhy_cina import estimate_effect, estimate_effects

    start = time.perf_counter()
    estimate_effect(*_table(500, columns))
    print(f"first estimate, imports included: {time.perf_counter() - start:.2f} s\n")
    _regression(*_table(500, columns))  # imports are in no figure below
    estimate_effects([_table(500, columns)] * 2)
    print(f"{'rows':>9s}{'columns':>9s}{'cina [s]':>11s}{'error [sd]':>12s}{'regression [s]':>16s}")
    for rows in sizes:
        x, t, y = _table(rows, columns)
        ours, result = _median(partial(estimate_effect, x, t, y), repeats)
        theirs, _ = _median(partial(_regression, x, t, y), repeats)
        error = abs(result.value - _EFFECT) / float(np.std(y))
        print(f"{rows:>9d}{columns:>9d}{ours:>11.3f}{error:>12.4f}{theirs:>16.3f}")
    many = [_table(500, columns, seed) for seed in range(tables)]
    seconds, _ = _median(partial(estimate_effects, many), repeats)
    print(f"\n{tables} tables of 500 x {columns} in one call: {seconds:.2f} s")


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
    return statistics.median(seconds), result
