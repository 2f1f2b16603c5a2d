"""The command line: ``dowhy-cina demo | estimate | pretrain | info``.

Exit codes: 0 done; 1 the input was refused, one line on standard error says why; 2 the command was not understood.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dowhy_cina
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import CinaError, InputError

if TYPE_CHECKING:
    import pandas as pd

    from dowhy_cina.results import EffectResult

# pandas, DoWhy and torch are imported by the commands that need them, so that --help answers at once.

_DEFAULTS = {field.name: field.default for field in fields(EstimatorOptions)}
_PACKAGES = ("dowhy", "torch", "numpy", "pandas", "scipy", "scikit-learn", "networkx", "matplotlib", "dask")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; those of the process if None.

    Returns
    -------
    int
        Exit code 0 or 1. A command that is not understood ends the process with code 2, as argparse does.
    """
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], None] = arguments.command
    try:
        command(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # head or less has read enough; Python must not fail again when it closes the stream
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (CinaError, ImportError, NotImplementedError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"dowhy-cina: error: {reason}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dowhy-cina", description="Zero-shot treatment effects by covariate balancing with a pretrained model."
    )
    parser.add_argument("--version", action="version", version=f"dowhy-cina {dowhy_cina.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_estimate(commands)
    _add_pretrain(commands)
    _add_info(commands)
    return parser


def _add_demo(commands: Any) -> None:
    text = (
        "Estimate the effect of a job training programme and compare it with the experiment (bundled data, one minute)."
    )
    demo = commands.add_parser("demo", help="estimate an effect on real data and draw its pictures", description=text)
    demo.add_argument(
        "--output", type=Path, default=Path("cina-demo"), metavar="DIR", help="pictures (default: %(default)s)"
    )
    demo.set_defaults(command=_demo)


def _add_estimate(commands: Any) -> None:
    text = "Estimate the effect of a binary treatment from a table."
    estimate = commands.add_parser("estimate", help="estimate an effect from a CSV or Parquet file", description=text)
    estimate.add_argument("table", type=Path, help="CSV file, or Parquet if its name ends in .parquet or .pq")
    estimate.add_argument("--treatment", required=True, metavar="COLUMN", help="column of the treatment")
    estimate.add_argument("--outcome", required=True, metavar="COLUMN", help="column of the outcome")
    adjustment = estimate.add_mutually_exclusive_group()
    adjustment.add_argument(
        "--covariates", metavar="A,B,...", help="columns to adjust for, '' for none (default: all the others)"
    )
    adjustment.add_argument(
        "--graph", type=Path, metavar="FILE", help="causal graph (.dot or .gml); DoWhy finds the columns to adjust for"
    )
    estimate.add_argument(
        "--target",
        choices=("ate", "att", "atc"),
        default="ate",
        help="all, the treated, the controls (default: %(default)s)",
    )
    estimate.add_argument("--treatment-value", metavar="VALUE", help="value that means treated")
    estimate.add_argument("--control-value", metavar="VALUE", help="value that means control")
    estimate.add_argument(
        "--augmentation",
        choices=("kernel", "none"),
        default=_DEFAULTS["augmentation"],
        help="outcome regression beside the weights, or the weights alone (default: %(default)s)",
    )
    estimate.add_argument(
        "--checkpoint", default=_DEFAULTS["checkpoint"], help="bundled name, path, or 'exact' (default: %(default)s)"
    )
    estimate.add_argument(
        "--device", default=_DEFAULTS["device"], help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)"
    )
    estimate.add_argument(
        "--confidence-level", type=_level, default=0.95, metavar="LEVEL", help="of the interval (default: %(default)s)"
    )
    estimate.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    estimate.add_argument("--plots", type=Path, metavar="DIR", help="write love.png, weights.png and overlap.png")
    estimate.set_defaults(command=_estimate)


def _add_pretrain(commands: Any) -> None:
    text = "Pretrain a model on simulated tables. Under torchrun the run is shared by its processes."
    pretrain = commands.add_parser("pretrain", help="pretrain a model from a recipe", description=text)
    pretrain.add_argument("recipe", type=Path, help="TOML file, for example recipes/cina-small.toml")
    pretrain.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="replace a setting of the recipe; may be repeated",
    )
    pretrain.add_argument("--resume", action="store_true", help="go on from the run's last state")
    pretrain.add_argument("--output", type=Path, metavar="PATH", help="where to write the checkpoint")
    pretrain.set_defaults(command=_pretrain)


def _add_info(commands: Any) -> None:
    info = commands.add_parser(
        "info",
        help="show a checkpoint's header, devices and versions",
        description="Show a checkpoint's header, devices, versions.",
    )
    info.add_argument(
        "checkpoint", nargs="?", default=_DEFAULTS["checkpoint"], help="bundled name or path (default: %(default)s)"
    )
    info.set_defaults(command=_info)


def _level(text: str) -> float:
    level = float(text)
    if not 0 < level < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text}")
    return level


def _demo(arguments: argparse.Namespace) -> None:
    from dowhy_cina.demo import run

    run(arguments.output)


def _estimate(arguments: argparse.Namespace) -> None:
    from dowhy_cina.inference import estimate_effect

    table = _read_table(arguments.table)
    treatment, outcome = arguments.treatment, arguments.outcome
    if arguments.graph is not None:
        covariates = _identify(table, treatment, outcome, arguments.graph)
    elif arguments.covariates is not None:
        covariates = [name.strip() for name in arguments.covariates.split(",") if name.strip()]
    else:
        covariates = [name for name in table.columns if name not in (treatment, outcome)]
    _check_columns(table, [treatment, outcome, *covariates], arguments.table)
    result = estimate_effect(
        table,
        treatment,
        outcome,
        covariates=covariates,
        treatment_value=_value_of(arguments.treatment_value, table[treatment]),
        control_value=_value_of(arguments.control_value, table[treatment]),
        target_units=arguments.target,
        augmentation=arguments.augmentation,
        checkpoint=arguments.checkpoint,
        device=arguments.device,
        confidence_level=arguments.confidence_level,
    )
    if arguments.graph is not None:
        print(f"DoWhy's backdoor set: {', '.join(covariates) or 'no covariates'}\n")
    print(result.summary())
    _write(result, arguments)


def _write(result: EffectResult, arguments: argparse.Namespace) -> None:
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        # A line for each entry: a list of weights may be as long as the table.
        entries = [f"  {json.dumps(key)}: {json.dumps(entry)}" for key, entry in result.to_dict().items()]
        arguments.json.write_text("{\n" + ",\n".join(entries) + "\n}\n", encoding="utf-8")
        print(f"\nwrote {arguments.json}")
    if arguments.plots is not None:
        from dowhy_cina.plots import save_plots

        print("\nwrote " + ", ".join(str(path) for path in save_plots(result, arguments.plots)))


def _pretrain(arguments: argparse.Namespace) -> None:
    from dowhy_cina import training

    print(f"wrote {training.main(arguments.recipe, arguments.set, arguments.resume, arguments.output)}")


def _info(arguments: argparse.Namespace) -> None:
    from dowhy_cina.checkpoint import read_header

    header = read_header(arguments.checkpoint)
    print(f"checkpoint {arguments.checkpoint}")
    print(json.dumps(header, indent=2, sort_keys=True))
    print("\ndevices")
    for name in _devices():
        print(f"  {name}")
    print("\nversions")
    print(f"  {'dowhy-cina':14s}{dowhy_cina.__version__}")
    print(f"  {'python':14s}{'.'.join(map(str, sys.version_info[:3]))}")
    for package in _PACKAGES:
        print(f"  {package:14s}{_version(package)}")


def _devices() -> list[str]:
    import torch

    from dowhy_cina.devices import available_devices

    details = {"cpu": f"{torch.get_num_threads()} threads"}
    return [f"{name} ({details.get(name) or torch.cuda.get_device_name(name)})" for name in available_devices()]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(path)
        return pd.read_csv(path)
    except (OSError, ImportError):
        raise
    except Exception as error:  # each of pandas' engines raises errors of its own for a damaged file
        raise InputError(f"expected a CSV or Parquet table in {path}, could not read it: {error}") from error


def _check_columns(table: pd.DataFrame, names: Sequence[str], path: Path) -> None:
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise InputError(
            f"expected the columns {', '.join(map(repr, missing))} in {path}, "
            f"which has {', '.join(map(repr, table.columns))}."
        )


def _value_of(text: str | None, column: pd.Series[Any]) -> Any:
    """Read a treatment value as what the column holds: a truth value, a number or text."""
    if text is None:
        return None
    found = [value for value in column.dropna().unique() if str(value) == text]
    if found:
        return found[0]
    try:
        return float(text)
    except ValueError:
        return text


def _identify(table: pd.DataFrame, treatment: str, outcome: str, path: Path) -> list[str]:
    """Columns that DoWhy finds to close every backdoor path of the graph, in the table's order."""
    from dowhy import CausalModel

    graph = _read_graph(path)
    missing = [name for name in (treatment, outcome) if name not in graph]
    if missing:
        raise InputError(f"expected the nodes {', '.join(map(repr, missing))} in {path}, which has {', '.join(graph)}.")
    _check_columns(table, [treatment, outcome], path)
    unobserved = [node for node, kept in graph.nodes(data="observed") if kept == "no"]
    with warnings.catch_warnings():  # DoWhy warns of each node without a column; the answer takes them into account
        warnings.simplefilter("ignore")
        model = CausalModel(table.drop(columns=unobserved, errors="ignore"), treatment, outcome, graph=graph)
        estimand = model.identify_effect(proceed_when_unidentifiable=False)
    if not estimand.backdoor_variables:
        raise InputError(
            f"expected a graph in which {treatment!r} causes {outcome!r} and columns of the table close every backdoor "
            f"path, DoWhy found none of the kind in {path}: measure what confounds them, or name --covariates yourself."
        )
    chosen = estimand.get_backdoor_variables()
    return [name for name in table.columns if name in chosen]


def _read_graph(path: Path) -> Any:
    import networkx as nx

    if path.suffix.lower() not in (".gml", ".dot"):
        raise InputError(f"expected a causal graph in a file that ends in .dot or .gml, got {path}.")
    printed = io.StringIO()  # pydot prints what is wrong instead of raising it
    try:
        with contextlib.redirect_stdout(printed):
            if path.suffix.lower() == ".gml":
                return nx.DiGraph(nx.read_gml(path))
            return _without_quotes(nx.DiGraph(nx.nx_pydot.read_dot(path)))
    except OSError:
        raise
    except Exception as error:  # the parsers raise errors of their own
        reason = printed.getvalue().strip() or error
        raise InputError(f"expected a causal graph in {path}, could not read it: {reason}") from error


def _without_quotes(graph: Any) -> Any:
    """Undo that pydot keeps the quotes of names and takes a line break for a node."""
    import networkx as nx

    graph.remove_nodes_from([node for node in graph if node in ("\\n", "\\r\\n")])
    for _, attributes in graph.nodes(data=True):
        attributes.update({key: str(value).strip('"') for key, value in attributes.items()})
    return nx.relabel_nodes(graph, {node: node.strip('"') for node in graph})


if __name__ == "__main__":
    sys.exit(main())
