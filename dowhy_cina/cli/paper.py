"""``dowhy-cina paper``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dowhy_cina.cli.outputs import check_outputs


def add_parser(commands: Any) -> None:
    """Add the arguments of ``paper``."""
    text = (
        "Run the experiments behind the claims of the paper (Zhang et al., ICML 2024): a CSV and a figure for each, "
        "and claims.csv, which puts each claim beside what was found."
    )
    paper = commands.add_parser("paper", help="measure the paper's claims", description=text)
    paper.add_argument("--output", type=Path, required=True, metavar="DIR", help="where to write")
    paper.add_argument("--quick", action="store_true", help="a few tables of each kind, to see that it runs")
    paper.add_argument("--data", type=Path, metavar="FOLDER", help="published tables with their load.py")
    paper.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Run the experiments and print the claims."""
    from dowhy_cina.learning.evaluation import paper

    check_outputs([], arguments.output, pictures=True)
    scale = paper.QUICK if arguments.quick else paper.FULL
    found = paper.run(arguments.output, scale=scale, data=arguments.data)["claims"]
    print(found.round(3).to_string(index=False, max_colwidth=120))
    print(f"\nwrote {arguments.output}")
