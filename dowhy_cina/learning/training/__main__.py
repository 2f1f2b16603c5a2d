"""``torchrun --nproc-per-node=2 -m dowhy_cina.training RECIPE.toml``: the arguments of ``dowhy-cina pretrain``."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from dowhy_cina.errors import CinaError
from dowhy_cina.learning.training.recipes import main

logger = logging.getLogger("dowhy_cina.training")


def run() -> int:
    """Pretrain by the command line's arguments; 1 if the run was refused or stopped."""
    parser = argparse.ArgumentParser(prog="python -m dowhy_cina.training", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        main(arguments.recipe, arguments.set, arguments.resume, arguments.output, arguments.strict)
    except CinaError as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run())
