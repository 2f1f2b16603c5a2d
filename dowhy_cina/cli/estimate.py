"""``dowhy-cina estimate``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dowhy_cina.cli.arguments import DEFAULTS, add_model, add_table, confidence_level, read_problem, value_of
from dowhy_cina.cli.gains import add_gains, show_gains

if TYPE_CHECKING:
    from dowhy_cina.results.effect import EffectResult


def add_parser(commands: Any) -> None:
    """Add the arguments of ``estimate``."""
    text = "Estimate the effect of a binary treatment from a table."
    estimate = commands.add_parser("estimate", help="estimate an effect from a CSV or Parquet file", description=text)
    add_table(estimate)
    estimate.add_argument(
        "--target",
        choices=("ate", "att", "atc", "overlap"),
        default="ate",
        help="all, the treated, the controls, or where both are likely (default: %(default)s)",
    )
    estimate.add_argument("--sample-weight", metavar="COLUMN", help="column of sampling weights")
    estimate.add_argument("--cluster", metavar="COLUMN", help="column of clusters of dependent rows")
    estimate.add_argument(
        "--augmentation",
        choices=("kernel", "none"),
        default=DEFAULTS["augmentation"],
        help="outcome regression beside the weights, or the weights alone (default: %(default)s)",
    )
    estimate.add_argument("--refine", type=float, metavar="GAP", help="relative duality gap to refine the weights to")
    estimate.add_argument("--memory-limit", metavar="SIZE", help="for example 4GB")
    add_model(estimate)
    estimate.add_argument(
        "--confidence-level",
        type=confidence_level,
        default=0.95,
        metavar="LEVEL",
        help="of the interval (default: %(default)s)",
    )
    add_gains(estimate)
    estimate.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    estimate.add_argument("--plots", type=Path, metavar="DIR", help="write love.png, weights.png and overlap.png")
    estimate.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Estimate an effect, print it and write what was asked for."""
    from dowhy_cina.calls.direct import estimate_effect

    table, covariates = read_problem(arguments, (arguments.sample_weight, arguments.cluster, arguments.policy))
    treatment, outcome = arguments.treatment, arguments.outcome
    result = estimate_effect(
        table,
        treatment,
        outcome,
        covariates=covariates,
        treatment_value=value_of(arguments.treatment_value, table[treatment]),
        control_value=value_of(arguments.control_value, table[treatment]),
        target_units=arguments.target,
        augmentation=arguments.augmentation,
        checkpoint=arguments.checkpoint,
        device=arguments.device,
        confidence_level=arguments.confidence_level,
        sample_weight=arguments.sample_weight,
        cluster=arguments.cluster,
        refine=arguments.refine,
        memory_limit=arguments.memory_limit,
    )
    if arguments.graph is not None:
        print(f"DoWhy's backdoor set: {', '.join(covariates) or 'no covariates'}\n")
    print(result.summary())
    show_gains(result, table, covariates, arguments)
    _write(result, arguments)


def _write(result: EffectResult, arguments: argparse.Namespace) -> None:
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        # A line for each entry: a list of weights may be as long as the table.
        entries = [f"  {json.dumps(key)}: {json.dumps(entry)}" for key, entry in result.to_dict().items()]
        arguments.json.write_text("{\n" + ",\n".join(entries) + "\n}\n", encoding="utf-8")
        print(f"\nwrote {arguments.json}")
    if arguments.plots is not None:
        from dowhy_cina.results.plots import save_plots

        print("\nwrote " + ", ".join(str(path) for path in save_plots(result, arguments.plots)))
