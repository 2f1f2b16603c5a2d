"""``dowhy-cina demo``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the arguments of ``demo``."""
    text = (
        "Estimate the effect of a job training programme and compare it with the experiment (bundled data, one minute)."
    )
    demo = commands.add_parser("demo", help="estimate an effect on real data and draw its pictures", description=text)
    demo.add_argument(
        "--output", type=Path, default=Path("cina-demo"), metavar="DIR", help="pictures (default: %(default)s)"
    )
    demo.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Run the demonstration."""
    from dowhy_cina.cli import demonstration

    demonstration.run(arguments.output)
