"""``dowhy-cina evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dowhy_cina.cli.arguments import add_device
from dowhy_cina.cli.outputs import check_outputs, write_files
from dowhy_cina.cli.parsing import whole


def add_parser(commands: Any) -> None:
    """Add the arguments of ``evaluate``."""
    text = (
        "Measure a checkpoint beside exact and classical methods: mean absolute error of the average effect in "
        "standard deviations of the outcome, coverage and width of the 95 % intervals, relative duality gap, seconds."
    )
    parser = commands.add_parser(
        "evaluate", help="errors, coverage and gaps of a checkpoint on collections of tables", description=text
    )
    parser.add_argument("checkpoint", help="bundled name or path")
    parser.add_argument(
        "collections", nargs="+", metavar="COLLECTION", help="name of a simulator, or folder with a collection.toml"
    )
    parser.add_argument("--tables", type=whole(1), default=20, help="tables of each simulator (default: %(default)s)")
    parser.add_argument("--rows", type=whole(50), default=1000, help="most rows of a table (default: %(default)s)")
    parser.add_argument(
        "--columns", type=whole(2), default=20, help="most columns of a simulated table (default: %(default)s)"
    )
    parser.add_argument("--seed", type=whole(0), default=0, help="of the simulated tables (default: %(default)s)")
    add_device(parser)
    parser.add_argument("--no-classical", action="store_true", help="leave out the exact and the classical methods")
    parser.add_argument("--strict", action="store_true", help="refuse a folder with a table that cannot be used")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table as CSV too")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Measure and print the table."""
    from dowhy_cina.calls.direct import estimate_effect
    from dowhy_cina.learning.evaluation import evaluate
    from dowhy_cina.tables.files import check_apart

    check_outputs([arguments.csv], None, pictures=False, inputs=[arguments.checkpoint])
    for folder in map(Path, arguments.collections):
        if arguments.csv is not None and folder.is_dir():
            check_apart(arguments.csv, folder)
    # What cannot estimate at all is refused before tables are drawn for it.
    four = [[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1], [0.0, 1.0, 2.0, 3.0]
    estimate_effect(*four, checkpoint=arguments.checkpoint, device=arguments.device)
    table = evaluate(
        arguments.checkpoint,
        arguments.collections,
        tables=arguments.tables,
        rows=arguments.rows,
        columns=arguments.columns,
        seed=arguments.seed,
        device=arguments.device,
        classical=not arguments.no_classical,
        strict=arguments.strict,
    )
    print(table.round(4).to_string(na_rep="-"))
    if arguments.csv is not None:
        write_files({arguments.csv: table.to_csv()})
