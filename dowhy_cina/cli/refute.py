"""``dowhy-cina refute``."""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dowhy_cina.cli.arguments import add_model, add_table, read_problem, value_of

if TYPE_CHECKING:
    import pandas as pd

    from dowhy_cina.adapter.refutation import RefutationReport

#: Exit code of a battery that was interrupted, after what it found was printed.
INTERRUPTED = 130


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
    refute.add_argument(
        "--target",
        choices=("ate", "att", "atc"),
        default="ate",
        help="all, the treated, the controls (default: %(default)s)",
    )
    add_model(refute)
    refute.add_argument("--refuters", metavar="A,B,...", default="all", help="DoWhy's names (default: %(default)s)")
    refute.add_argument(
        "--simulations", type=int, default=100, metavar="N", help="refits of each refuter (default: %(default)s)"
    )
    refute.add_argument("--seed", type=int, default=0, metavar="N", help="of the simulations (default: %(default)s)")
    refute.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="threads, -1 for one per core (default: %(default)s)"
    )
    refute.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    refute.add_argument("--plots", type=Path, metavar="DIR", help="write refutations.png")
    refute.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Estimate an effect, try to refute it, print the report and write what was asked for."""
    table, covariates = read_problem(arguments)
    with warnings.catch_warnings():  # the report says where overlap is poor
        warnings.simplefilter("ignore")
        report = _refute(table, covariates, arguments)
    if arguments.graph is not None:
        print(f"DoWhy's backdoor set: {', '.join(covariates) or 'no covariates'}\n")
    print(report)
    _write(report, arguments)
    if report.interrupted:
        raise SystemExit(INTERRUPTED)


def _refute(table: pd.DataFrame, covariates: list[str], arguments: argparse.Namespace) -> RefutationReport:
    from dowhy import CausalModel

    from dowhy_cina.adapter.refutation import refute
    from dowhy_cina.tables import encode_treatment

    treatment, outcome = arguments.treatment, arguments.outcome
    values = (value_of(text, table[treatment]) for text in (arguments.treatment_value, arguments.control_value))
    coding = encode_treatment(table[treatment], *values)[2]
    model = CausalModel(table[[*covariates, treatment, outcome]], treatment, outcome, common_causes=covariates)
    estimand = model.identify_effect()
    estimate = model.estimate_effect(
        estimand,
        method_name="backdoor.dowhy_cina.CinaEstimator",
        target_units=arguments.target,
        treatment_value=coding.treated,
        control_value=coding.control,
        method_params={"init_params": {"checkpoint": arguments.checkpoint, "device": arguments.device}},
    )
    refuters = arguments.refuters
    return refute(
        model,
        estimand,
        estimate,
        refuters="all" if refuters == "all" else [name.strip() for name in refuters.split(",") if name.strip()],
        simulations=arguments.simulations,
        random_state=arguments.seed,
        n_jobs=arguments.jobs,
    )


def _write(report: RefutationReport, arguments: argparse.Namespace) -> None:
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
        print(f"\nwrote {arguments.json}")
    if arguments.plots is not None:
        print(f"\nwrote {_save_picture(report, arguments.plots)}")


def _save_picture(report: RefutationReport, directory: Path) -> Path:
    from dowhy_cina.results.plots.style import require_matplotlib

    require_matplotlib()
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "refutations.png"
    figure = Figure(figsize=(7, 1.5 + 0.55 * max(len(report.refutations), 3)), layout="constrained")
    report.plot(figure.subplots())
    figure.savefig(path, dpi=150)
    return path
