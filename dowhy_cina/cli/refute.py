"""``dowhy-cina refute``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dowhy_cina.cli.arguments import (
    INTERRUPTED,
    add_battery,
    add_estimate,
    add_table,
    estimator_options,
    quiet_dowhy,
    read_problem,
)
from dowhy_cina.cli.outputs import check_outputs, write_files
from dowhy_cina.cli.parsing import names
from dowhy_cina.cli.spelling import in_options
from dowhy_cina.errors import InputError, check_known

if TYPE_CHECKING:
    import pandas as pd

    from dowhy_cina.adapter.refutation import RefutationReport


def add_parser(commands: Any) -> None:
    """Add the arguments of ``refute``."""
    text = (
        "Estimate the effect of a binary treatment from a table and try to refute it with DoWhy's refuters. "
        f"Interrupted (Ctrl-C), it prints what was finished and exits with code {INTERRUPTED}."
    )
    refute = commands.add_parser(
        "refute", help="try to refute an estimate from a CSV or Parquet file", description=text
    )
    add_table(refute)
    add_estimate(refute)
    add_battery(refute)
    refute.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    refute.add_argument("--plots", type=Path, metavar="DIR", help="write refutations.png")
    refute.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Estimate an effect, try to refute it, print the report and write what was asked for."""
    inputs = [arguments.table, arguments.graph, arguments.checkpoint]
    check_outputs([arguments.json], arguments.plots, arguments.plots is not None, inputs)
    check_refuters(arguments)
    table, covariates = read_problem(arguments)
    report = battery(table, covariates, arguments)
    print(in_options(str(report), table.columns))
    _write(report, arguments)
    stop_if_interrupted(report)


def stop_if_interrupted(report: RefutationReport) -> None:
    """End the command, when all is written, with the exit code of one that was interrupted.

    Raises
    ------
    SystemExit
        If the battery was interrupted.
    """
    if report.interrupted:
        raise SystemExit(INTERRUPTED)


def check_refuters(arguments: argparse.Namespace) -> None:
    """Refuse, before a table is read, refuters that do not exist and a number of threads that is none.

    Raises
    ------
    UnknownOptionError
        Naming the nearest refuter.
    InputError
        If there is none, or the number of threads is 0 or below -1.
    """
    from dowhy_cina.adapter.refutation.refuters import NAMES

    chosen = names(arguments.refuters)
    if chosen != ["all"]:
        check_known(chosen, NAMES, "refuter")
    if not chosen:
        raise InputError("expected --refuters all, or at least one name, got none.")
    if arguments.jobs < -1 or arguments.jobs == 0:
        raise InputError(f"expected --jobs as a number of threads, or -1 for one per core; got {arguments.jobs}.")


def battery(table: pd.DataFrame, covariates: list[str], arguments: argparse.Namespace) -> RefutationReport:
    """Estimate through DoWhy and run its refuters.

    Raises
    ------
    CinaError
        If the table allows no estimate, or no refutation.
    """
    with quiet_dowhy():  # the report says where overlap is poor
        return _refute(table, covariates, arguments)


def _refute(table: pd.DataFrame, covariates: list[str], arguments: argparse.Namespace) -> RefutationReport:
    from dowhy import CausalModel

    from dowhy_cina.adapter.refutation import refute
    from dowhy_cina.tables import encode_treatment
    from dowhy_cina.tables.files import treatment_value

    treatment, outcome = arguments.treatment, arguments.outcome
    named = (arguments.treatment_value, arguments.control_value)
    coding = encode_treatment(table[treatment], *(treatment_value(text, table[treatment]) for text in named))[2]
    options = estimator_options(arguments)
    roles = [options[name] for name in ("sample_weight", "cluster") if options[name] is not None]
    model = CausalModel(table[[*covariates, treatment, outcome, *roles]], treatment, outcome, common_causes=covariates)
    estimand = model.identify_effect()
    estimate = model.estimate_effect(
        estimand,
        method_name="backdoor.dowhy_cina.CinaEstimator",
        target_units=arguments.target,
        treatment_value=coding.treated,
        control_value=coding.control,
        method_params={"init_params": options},
    )
    return refute(
        model,
        estimand,
        estimate,
        refuters="all" if arguments.refuters == "all" else names(arguments.refuters),
        simulations=arguments.simulations,
        random_state=arguments.seed,
        n_jobs=arguments.jobs,
    )


def _write(report: RefutationReport, arguments: argparse.Namespace) -> None:
    if arguments.json is not None:
        write_files({arguments.json: json.dumps(report.to_dict(), indent=2) + "\n"})
    if arguments.plots is not None:
        from dowhy_cina.results.plots.files import png, refutation_height

        write_files({arguments.plots / "refutations.png": png(report.plot, refutation_height(report))})
