"""Causal graphs from files, and the columns that DoWhy adjusts for."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dowhy_cina.cli.tables import check_columns
from dowhy_cina.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


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
