"""``dowhy-cina pretrain``."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from dowhy_cina.errors import InputError


def add_parser(commands: Any) -> None:
    """Add the arguments of ``pretrain``."""
    text = (
        "Pretrain a model on simulated tables and on your own: by a recipe, or for minutes on a folder of tables "
        "without outcomes, from cina-small on. Under torchrun the run is shared by its processes."
    )
    pretrain = commands.add_parser("pretrain", help="pretrain a model by a recipe or on a folder", description=text)
    pretrain.add_argument(
        "recipe", help="TOML file, the name of a bundled model such as cina-small, or a folder of tables"
    )
    pretrain.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="replace a setting of the recipe; may be repeated",
    )
    pretrain.add_argument("--resume", action="store_true", help="go on from the run's last state")
    pretrain.add_argument("--strict", action="store_true", help="refuse a folder with a table that cannot be used")
    pretrain.add_argument("--output", type=Path, metavar="PATH", help="where to write the checkpoint")
    folder = pretrain.add_argument_group("of a folder of CSV or Parquet tables that share columns")
    folder.add_argument(
        "--treatment", metavar="COLUMN", help="column of the treatment (default: the one column of two values)"
    )
    folder.add_argument("--outcome", metavar="COLUMN", help="column that is not to be read")
    folder.add_argument(
        "--minutes",
        type=float,
        metavar="N",
        help="of training (default: 5); reading and judging come on top",
    )
    pretrain.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Pretrain by a recipe, or on a folder."""
    from dowhy_cina.learning import training

    if Path(arguments.recipe).is_dir():
        _run_folder(arguments)
        return
    given = [name for name in ("treatment", "outcome", "minutes") if getattr(arguments, name) is not None]
    if given:
        raise InputError(
            f"expected a folder of tables with --{given[0]}, got {arguments.recipe!r}: in a recipe write it into the "
            "collection.toml of its folder, or into [training]."
        )
    written = training.main(arguments.recipe, arguments.set, arguments.resume, arguments.output, arguments.strict)
    if training.world()[0] == 0:
        print(f"wrote {written}")


def _run_folder(arguments: argparse.Namespace) -> None:
    from dowhy_cina.config import TrainingConfig, from_mapping
    from dowhy_cina.learning import training
    from dowhy_cina.learning.training.recipes import parse_overrides

    overrides = parse_overrides(arguments.set)
    changed = overrides.pop("training", {})
    if overrides:
        table, settings = next(iter(overrides.items()))
        raise InputError(
            f"expected settings of training with a folder, got --set {table}.{next(iter(settings))}: the network is "
            "that of the checkpoint that training starts from. A recipe may have another."
        )
    if arguments.minutes is not None:
        if not arguments.minutes > 0:
            raise InputError(f"expected a positive number of minutes, got {arguments.minutes:g}.")
        changed["seconds"] = 60 * arguments.minutes
    config = from_mapping(TrainingConfig, {**dataclasses.asdict(training.OWN), **changed}, "training setting")
    report = training.pretrain_folder(
        Path(arguments.recipe),
        treatment=arguments.treatment or "",
        outcome=arguments.outcome or "",
        config=config,
        output=arguments.output,
        resume=arguments.resume,
        strict=arguments.strict,
    )
    if training.world()[0] == 0:
        print(f"{report}\nwrote {report.output}")
