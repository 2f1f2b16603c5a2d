"""Arguments that several commands share: the table with its columns, and the model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from dowhy_cina.cli.graphs import identify
from dowhy_cina.cli.tables import check_columns, read_table
from dowhy_cina.config import EstimatorOptions

if TYPE_CHECKING:
    import pandas as pd

#: Default of each option of an estimate.
DEFAULTS = {field.name: field.default for field in fields(EstimatorOptions)}


def add_table(parser: argparse.ArgumentParser) -> None:
    """Add the table and which of its columns are treatment, outcome and covariates; read by :func:`read_problem`."""
    parser.add_argument("table", type=Path, help="CSV file, or Parquet if its name ends in .parquet or .pq")
    parser.add_argument("--treatment", required=True, metavar="COLUMN", help="column of the treatment")
    parser.add_argument("--outcome", required=True, metavar="COLUMN", help="column of the outcome")
    adjustment = parser.add_mutually_exclusive_group()
    adjustment.add_argument(
        "--covariates", metavar="A,B,...", help="columns to adjust for, '' for none (default: all the others)"
    )
    adjustment.add_argument(
        "--graph", type=Path, metavar="FILE", help="causal graph (.dot or .gml); DoWhy finds the columns to adjust for"
    )
    parser.add_argument("--treatment-value", metavar="VALUE", help="value that means treated")
    parser.add_argument("--control-value", metavar="VALUE", help="value that means control")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoint and the device."""
    parser.add_argument(
        "--checkpoint", default=DEFAULTS["checkpoint"], help="bundled name, path, or 'exact' (default: %(default)s)"
    )
    parser.add_argument("--device", default=DEFAULTS["device"], help="auto, cpu, cuda, cuda:1 (default: %(default)s)")


def confidence_level(text: str) -> float:
    """Read a confidence level.

    Raises
    ------
    argparse.ArgumentTypeError
        If it does not lie between 0 and 1.
    """
    level = float(text)
    if not 0 < level < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text}")
    return level


def read_problem(
    arguments: argparse.Namespace, other_roles: Sequence[str | None] = ()
) -> tuple[pd.DataFrame, list[str]]:
    """Read the table of :func:`add_table`, and find the names of the covariates: no column with another role is one.

    Raises
    ------
    InputError
        If the table or the graph cannot be read, or a column is missing.
    """
    table = read_table(arguments.table)
    treatment, outcome = arguments.treatment, arguments.outcome
    others = [name for name in other_roles if name is not None]
    if arguments.graph is not None:
        covariates = identify(table, treatment, outcome, arguments.graph)
    elif arguments.covariates is not None:
        covariates = [name.strip() for name in arguments.covariates.split(",") if name.strip()]
    else:
        covariates = [name for name in table.columns if name not in (treatment, outcome, *others)]
    check_columns(table, [treatment, outcome, *others, *covariates], arguments.table)
    return table, covariates
