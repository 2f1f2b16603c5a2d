"""Arguments that several commands share: the table, the columns that a graph says to adjust for, and the model."""

from __future__ import annotations

import argparse
import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import InputError

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
    ImportError
        If pictures are asked for, or the table is a Parquet file, and what draws or reads them is not installed.
    """
    if arguments.plots is not None:  # rather now than after the work
        from dowhy_cina.results.plots.style import require_matplotlib

        require_matplotlib()
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


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV file, or a Parquet file by its ending.

    Raises
    ------
    InputError
        If it holds no table.
    ImportError
        If pandas lacks what reads Parquet files.
    """
    import pandas as pd

    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(path)
        return pd.read_csv(path)
    except OSError:
        raise
    except ImportError as error:  # pandas names every engine that it knows
        raise ImportError(
            f"expected pyarrow to read {path}, but it is not installed: pip install 'dowhy-cina[parquet]'."
        ) from error
    except Exception as error:  # each of pandas' engines raises errors of its own for a damaged file
        raise InputError(f"expected a CSV or Parquet table in {path}, could not read it: {error}") from error


def check_columns(table: pd.DataFrame, names: Sequence[str], path: Path) -> None:
    """Raise unless the table has the columns.

    Raises
    ------
    InputError
        If one is missing.
    """
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise InputError(
            f"expected the columns {', '.join(map(repr, missing))} in {path}, "
            f"which has {', '.join(map(repr, table.columns))}."
        )


def value_of(text: str | None, column: pd.Series[Any]) -> Any:
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


def identify(table: pd.DataFrame, treatment: str, outcome: str, path: Path) -> list[str]:
    """Columns that DoWhy finds to close every backdoor path of the graph, in the table's order.

    Raises
    ------
    InputError
        If the graph cannot be read or used, or no columns of the table close every backdoor path.
    """
    from dowhy import CausalModel

    graph = read_graph(path)
    missing = [name for name in (treatment, outcome) if name not in graph]
    if missing:
        raise InputError(f"expected the nodes {', '.join(map(repr, missing))} in {path}, which has {', '.join(graph)}.")
    check_columns(table, [treatment, outcome], path)
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


def read_graph(path: Path) -> Any:
    """Read a ``.dot`` or ``.gml`` file as a networkx graph.

    Raises
    ------
    InputError
        If it has another ending or holds no graph.
    """
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
