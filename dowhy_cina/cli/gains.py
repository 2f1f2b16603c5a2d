"""What ``dowhy-cina estimate`` says of how the effect varies: by groups, row by row, and under a rule."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dowhy_cina.cli.arguments import check_columns
from dowhy_cina.cli.outputs import write_files
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
        If a column is missing, the rule or the groups are what they should decide or explain, the rule is not one of
        truth values, or effects of rows are wanted of weights alone.
    """
    wanted = [name for name in (arguments.effects_by, arguments.policy) if name is not None]
    check_columns(table, wanted, arguments.table)
    _check_roles(arguments)
    if arguments.conditional is not None and arguments.augmentation == "none":
        raise InputError(
            "--conditional needs the outcome regressions, which --augmentation none does without: leave one out."
        )
    if arguments.policy is not None:
        _check_rule(table[arguments.policy], arguments.policy)


def _check_roles(arguments: argparse.Namespace) -> None:
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


def _check_rule(rule: pd.Series[Any], name: str) -> None:
    """Raise unless each value says whether the row would be treated."""
    decides = [isinstance(value, int | float) and value in (0, 1) for value in rule.tolist()]
    missing = int(rule.isna().sum())
    if all(decides):
        return
    others = [str(value)[:40] for value in rule[[not one for one in decides]].dropna()]
    shown = f" (such as {others[0]!r})" if others else ""
    raise InputError(
        f"expected 1 or 0, or truth values, in every row of --policy {name!r}, got {missing:,} missing and "
        f"{len(others):,} other{shown} of {len(rule):,} values: write a column that has 1 where the rule treats and 0 "
        "where it does not."
    )


def show_gains(
    result: EffectResult, table: pd.DataFrame, covariates: Sequence[str], arguments: argparse.Namespace
) -> None:
    """Print and write what was asked for, as :func:`check_gains` has let it pass."""
    if arguments.effects_by is not None:
        column = arguments.effects_by
        groups = result.group_effects(column if column in covariates else table[column], simultaneous=True)
        print(f"\n{groups}")
    if arguments.policy is not None:
        values = result.policy_value(table[arguments.policy].to_numpy())
        print(f"\nmean outcome if {arguments.policy} decides\n{values.to_string(float_format='{:.4g}'.format)}")
    if arguments.conditional is not None:
        rows = result.conditional_effects(table[list(covariates)])
        write_files({arguments.conditional: rows.to_csv(index=False)})
