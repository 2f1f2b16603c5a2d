"""``dowhy-cina pretrain``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the arguments of ``pretrain``."""
    text = "Pretrain a model on simulated tables and on your own. Under torchrun the run is shared by its processes."
    pretrain = commands.add_parser("pretrain", help="pretrain a model from a recipe", description=text)
    pretrain.add_argument("recipe", help="TOML file, or the name of a bundled model, for example cina-small")
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
    pretrain.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Pretrain by a recipe."""
    from dowhy_cina.learning import training

    written = training.main(arguments.recipe, arguments.set, arguments.resume, arguments.output, arguments.strict)
    if training.world()[0] == 0:
        print(f"wrote {written}")
