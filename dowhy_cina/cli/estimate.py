"""``dowhy-cina estimate``."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dowhy_cina.cli.arguments import (
    add_battery,
    add_estimate,
    add_table,
    check_battery,
    estimator_options,
    read_problem,
    table_name,
)
from dowhy_cina.cli.gains import add_gains, check_gains, show_gains
from dowhy_cina.cli.outputs import check_outputs, picture_files, write_files
from dowhy_cina.cli.spelling import in_options
from dowhy_cina.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from dowhy_cina.results.effect import EffectResult


def add_parser(commands: Any) -> None:
    """Add the arguments of ``estimate``."""
    text = "Estimate the effect of a binary treatment from a table."
    estimate = commands.add_parser("estimate", help="estimate an effect from a CSV or Parquet file", description=text)
    add_table(estimate)
    add_estimate(estimate)
    add_gains(estimate)
    estimate.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    estimate.add_argument("--rows", action="store_true", help="with --json: weights and propensities of each row too")
    estimate.add_argument("--plots", type=Path, metavar="DIR", help="write love.png, weights.png and overlap.png")
    report = estimate.add_argument_group("report")
    report.add_argument(
        "--report", type=Path, metavar="FILE", help="write a page of HTML: answer, pictures, refuters, how to read them"
    )
    add_battery(report)
    estimate.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Estimate an effect, print it and write what was asked for."""
    from dowhy_cina.calls.direct import estimate_effect
    from dowhy_cina.tables.files import treatment_value

    check_outputs(
        [arguments.json, arguments.report, arguments.conditional],
        arguments.plots,
        pictures=arguments.plots is not None or arguments.report is not None,
        inputs=[arguments.table, arguments.graph, arguments.checkpoint],
    )
    if arguments.rows and arguments.json is None:
        raise InputError("expected --json with --rows: the summary has no rows.")
    check_battery(arguments)
    if arguments.report is not None:
        from dowhy_cina.cli.refute import check_refuters

        check_refuters(arguments)
    table, covariates = read_problem(arguments)
    check_gains(table, arguments)
    treatment = table[arguments.treatment]
    result = estimate_effect(
        table,
        arguments.treatment,
        arguments.outcome,
        covariates=covariates,
        treatment_value=treatment_value(arguments.treatment_value, treatment),
        control_value=treatment_value(arguments.control_value, treatment),
        target_units=arguments.target,
        **estimator_options(arguments),
    )
    print(in_options(result.summary(), table.columns))
    show_gains(result, table, covariates, arguments)
    _write(result, table, covariates, arguments)


def _write(result: EffectResult, table: pd.DataFrame, covariates: list[str], arguments: argparse.Namespace) -> None:
    if arguments.json is not None:
        import numpy as np

        # A line for each entry: a list of weights may be as long as the table.
        kept = {
            key: entry
            for key, entry in result.to_dict().items()
            if arguments.rows or not isinstance(getattr(result, key), np.ndarray)
        }
        entries = [f"  {json.dumps(key)}: {json.dumps(entry)}" for key, entry in kept.items()]
        write_files({arguments.json: "{\n" + ",\n".join(entries) + "\n}\n"})
    if arguments.plots is not None:
        write_files(picture_files(result, arguments.plots))
    if arguments.report is not None:
        _report(result, table, covariates, arguments)


def _report(result: EffectResult, table: pd.DataFrame, covariates: list[str], arguments: argparse.Namespace) -> None:
    """Write the page; after an interruption with the refuters that were finished, as ``refute`` does."""
    import dowhy_cina
    from dowhy_cina.cli.refute import battery, stop_if_interrupted
    from dowhy_cina.results.presentation import report_page
    from dowhy_cina.results.presentation.words import shown

    print("\nThe report: refuting the estimate", flush=True)
    report = battery(table, covariates, arguments)
    if report.interrupted:
        print(f"\ninterrupted; not finished: {', '.join(report.interrupted)}")
    listed = ", ".join(map(shown, covariates[:50])) + (f" and {len(covariates) - 50} more" if covariates[50:] else "")
    about = (
        f"From {table_name(Path(arguments.table.name))}, {len(table):,} rows; dowhy-cina {dowhy_cina.__version__}.",
        f"Adjusted for: {listed or 'nothing'}.",
    )
    title = f"Effect of {shown(arguments.treatment)} on {shown(arguments.outcome)}"
    page = report_page(result, report, title=title, about=about, spell=partial(in_options, own=table.columns))
    write_files({arguments.report: page})
    stop_if_interrupted(report)
