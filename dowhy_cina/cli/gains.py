"""What ``dowhy-cina estimate`` says of how the effect varies: by groups, row by row, and under a rule."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dowhy_cina.cli.arguments import check_columns
from dowhy_cina.cli.outputs import write_text
from dowhy_cina.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from dowhy_cina.results.effect import EffectResult


def add_gains(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`show_gains` answers."""
    parser.add_argument(
        "--effects-by", metavar="COLUMN", help="effects in the groups of a column, with intervals that hold all at once"
    )
    parser.add_argument("--conditional", type=Path, metavar="FILE", help="write the modelled effect of each row as CSV")
    parser.add_argument(
        "--policy",
        metavar="COLUMN",
        help="mean outcome if those with 1 (or True) in a column were treated; the column stays a covariate unless "
        "--covariates or --graph leaves it out",
    )


def check_gains(table: pd.DataFrame, arguments: argparse.Namespace) -> None:
    """Refuse before the work what could not be answered after it.

    Raises
    ------
    InputError
        If a column is missing, the rule or the groups are what they should decide or explain, or effects of rows are
        wanted of weights alone.
    """
    wanted = [name for name in (arguments.effects_by, arguments.policy) if name is not None]
    check_columns(table, wanted, arguments.table)
    roles = {"the treatment": arguments.treatment, "the outcome": arguments.outcome}
    for role, column in roles.items():
        if column == arguments.effects_by:
            raise InputError(
                f"expected in --effects-by a column that the treatment does not change, got {column!r}, which is "
                f"{role}: name a covariate."
            )
    roles |= {"the sampling weight": arguments.sample_weight, "the cluster": arguments.cluster}
    for role, column in roles.items():
        if column is not None and column == arguments.policy:
            raise InputError(
                f"expected in --policy a column of whom a rule would treat, got {column!r}, which is {role}: name a "
                "covariate, or a column of recommendations."
            )
    if arguments.conditional is not None and arguments.augmentation == "none":
        raise InputError(
            "--conditional needs the outcome regressions, which --augmentation none does without: leave one out."
        )


def show_gains(
    result: EffectResult, table: pd.DataFrame, covariates: Sequence[str], arguments: argparse.Namespace
) -> None:
    """Print and write what was asked for.

    Raises
    ------
    InputError
        If the rule is not one of truth values.
    """
    if arguments.effects_by is not None:
        print(f"\n{result.group_effects(table[arguments.effects_by], simultaneous=True)}")
    if arguments.policy is not None:
        values = result.policy_value(table[arguments.policy].to_numpy())
        print(f"\nmean outcome if {arguments.policy} decides\n{values.to_string(float_format='{:.4g}'.format)}")
    if arguments.conditional is not None:
        rows = result.conditional_effects(table[list(covariates)])
        write_text(arguments.conditional, rows.to_csv(index=False))
