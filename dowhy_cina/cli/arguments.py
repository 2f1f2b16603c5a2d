"""Arguments that several commands share: the table, how to estimate from it, and the refuters."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dowhy_cina.cli.outputs import STANDARD
from dowhy_cina.cli.parsing import names, share, whole
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd


#: Default of each option of an estimate.
DEFAULTS = {field.name: field.default for field in fields(EstimatorOptions)}
#: Exit code of a command that was interrupted; of a battery after what it found was printed.
INTERRUPTED = 130
#: Defaults of the refuters' options.
BATTERY = {"refuters": "all", "simulations": 100, "seed": 0, "jobs": -1}
#: Columns of the table that a message names.
_LISTED = 30
#: Bytes of a table that tell its encoding.
_HEAD = 1000
#: Endings of packed files, by what unpacks them, and how packed files begin.
_PACKED = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}
_PACKED_HEADS = (b"\x1f\x8b", b"\xfd7zXZ\0", b"PK\x03\x04", *(b"BZh%d1AY&SY" % level for level in range(1, 10)))


def add_table(parser: argparse.ArgumentParser) -> None:
    """Add the table and which of its columns are treatment, outcome and covariates; read by :func:`read_problem`."""
    parser.add_argument(
        "table",
        type=Path,
        help="CSV file, - for standard input; with tabs if its name ends in .tsv or .tab, Parquet in .parquet or .pq, "
        "packed in .gz, .bz2 or .xz",
    )
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


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the device."""
    parser.add_argument("--device", default=DEFAULTS["device"], help="auto, cpu, cuda, cuda:1 (default: %(default)s)")


def add_estimate(parser: argparse.ArgumentParser) -> None:
    """Add what is estimated and how; read by :func:`estimator_options`."""
    parser.add_argument(
        "--drop-missing-treatment", action="store_true", help="leave out the rows without a treatment, and say how many"
    )
    parser.add_argument(
        "--target",
        choices=("ate", "att", "atc", "overlap"),
        default="ate",
        help="all, the treated, the controls, or where both are likely (default: %(default)s)",
    )
    parser.add_argument("--sample-weight", metavar="COLUMN", help="column of sampling weights")
    parser.add_argument("--cluster", metavar="COLUMN", help="column of clusters of dependent rows")
    parser.add_argument(
        "--augmentation",
        choices=("kernel", "none"),
        default=DEFAULTS["augmentation"],
        help="outcome regression beside the weights, or the weights alone (default: %(default)s)",
    )
    parser.add_argument("--refine", type=share, metavar="GAP", help="relative duality gap to refine the weights to")
    parser.add_argument(
        "--landmarks",
        type=whole(2),
        default=DEFAULTS["landmarks"],
        metavar="N",
        help="rows that longer tables are computed through (default: 128, and more of those of some thousand rows)",
    )
    parser.add_argument("--memory-limit", metavar="SIZE", help="for example 4GB")
    parser.add_argument(
        "--checkpoint", default=DEFAULTS["checkpoint"], help="bundled name, path, or 'exact' (default: %(default)s)"
    )
    add_device(parser)
    parser.add_argument(
        "--confidence-level",
        type=share,
        default=0.95,
        metavar="LEVEL",
        help="of the interval (default: %(default)s)",
    )


def estimator_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keywords of an estimate that :func:`add_estimate` has read, but the target."""
    given = (*DEFAULTS, "confidence_level", "sample_weight", "cluster")
    return {name: getattr(arguments, name) for name in given}


def add_battery(parser: argparse._ActionsContainer) -> None:
    """Add which refuters run, and how."""
    parser.add_argument("--refuters", metavar="A,B,...", help="DoWhy's names (default: %(default)s)")
    parser.add_argument(
        "--simulations", type=whole(2), metavar="N", help="refits of each refuter (default: %(default)s)"
    )
    parser.add_argument("--seed", type=whole(0), metavar="N", help="of the simulations (default: %(default)s)")
    parser.add_argument("--jobs", type=int, metavar="N", help="threads, -1 for one per core (default: %(default)s)")
    parser.set_defaults(**BATTERY)


def check_battery(arguments: argparse.Namespace) -> None:
    """Refuse options of the refuters where none will run.

    Raises
    ------
    InputError
        If there are any without a report.
    """
    given = [name for name, default in BATTERY.items() if getattr(arguments, name) != default]
    if given and arguments.report is None:
        raise InputError(f"expected --report with --{given[0]}: without a page no refuter runs.")


def read_problem(arguments: argparse.Namespace) -> tuple[pd.DataFrame, list[str]]:
    """Read the table of :func:`add_table`, and find the names of the covariates: no column with another role is one.

    The column of a rule (``--policy``) has no role: it is a covariate or not, as any other.

    Raises
    ------
    InputError
        If the table or the graph cannot be read, a column is missing or has two roles, or treatments are missing.
    """
    table = read_table(arguments.table)
    treatment, outcome = arguments.treatment, arguments.outcome
    others = (arguments.sample_weight, arguments.cluster)
    roles = [treatment, outcome, *(name for name in others if name is not None)]
    check_columns(table, roles, arguments.table)
    if arguments.graph is not None:
        covariates = identify(table, treatment, outcome, arguments.graph)
    elif arguments.covariates is not None:
        covariates = names(arguments.covariates)
        check_columns(table, covariates, arguments.table)
    else:
        covariates = [name for name in table.columns if name not in roles]
    double = [name for name in (*roles, *covariates) if (*roles, *covariates).count(name) > 1]
    if double:
        raise InputError(f"expected each column in one role, got {double[0]!r} in two: leave it out of one of them.")
    return _without_missing(table, treatment, arguments.drop_missing_treatment), covariates


def _without_missing(table: pd.DataFrame, treatment: str, drop: bool) -> pd.DataFrame:
    missing = table[treatment].isna()
    if not missing.any():
        return table
    count = f"{int(missing.sum()):,} of {len(table):,} rows"
    if not drop:
        raise InputError(
            f"expected a treatment in every row, got none in {count} (column {treatment!r}): fill them in, or leave "
            "these rows out with --drop-missing-treatment."
        )
    print(f"left out: {count} without a treatment\n")
    return table.loc[~missing].reset_index(drop=True)


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV file, with tabs or a Parquet file by its ending, or standard input.

    Raises
    ------
    InputError
        If it cannot be read, is no text in UTF-8, or holds no table, a column without a name, or a column's name twice.
    ImportError
        If pandas lacks what reads Parquet files.
    """
    from dowhy_cina.tables.files import DELIMITERS, PARQUET, header_names, read_text

    name = table_name(path)
    try:
        if path.suffix.lower() in PARQUET:
            return _read_parquet(path)
        plain = path.with_suffix("") if path.suffix.lower() in _PACKED else path
        delimiter = DELIMITERS.get(plain.suffix.lower(), ",")
        source = _source(path)
        for step in (_check_text, partial(header_names, delimiter=delimiter)):
            step(source)
            if not isinstance(source, Path):
                source.seek(0)
        return read_text(source, delimiter)
    except MemoryError:
        raise
    except (OSError, UnicodeError) as error:
        raise InputError(_unreadable("a table", path, error)) from error
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except ImportError as error:  # pandas names every engine that it knows
        raise ImportError(
            f"expected pyarrow to read {name}, but it is not installed: pip install 'dowhy-cina[parquet]'."
        ) from error
    except Exception as error:  # each of pandas' engines raises errors of its own for a damaged file
        raise InputError(f"expected a CSV or Parquet table in {name}, could not read it: {error}") from error


def _unreadable(what: str, path: Path, error: OSError | UnicodeError) -> str:
    """Say why a file cannot be read, and what to do."""
    name = table_name(path)
    if isinstance(error, UnicodeError):
        return f"expected {what} as text in UTF-8 in {name}, got another encoding ({error}): save the file as UTF-8."
    if path.is_dir():
        return f"expected a file with {what}, got the folder {name}: name a file in it."
    if isinstance(error, FileNotFoundError):
        return f"expected {what} in {name}, but there is no such file: check its name and its folder."
    return (
        f"expected {what} in {name}, could not read it ({error.strerror or error}): see whether you may read the "
        "file, and whether it is what its ending says."
    )


def table_name(path: Path) -> str:
    """Name of the table for people."""
    return "standard input" if path == STANDARD else str(path)


def _source(path: Path) -> Path | io.BytesIO:
    """What can be read twice: a file, or the content of a pipe, which is gone once it was read."""
    if path == STANDARD:
        if sys.stdin is None:
            raise InputError("expected a table, got nothing: it is closed.")
        return io.BytesIO(sys.stdin.buffer.read())
    if path.suffix.lower() in _PACKED:
        with import_module(_PACKED[path.suffix.lower()]).open(path) as file:
            return io.BytesIO(file.read())
    return path if path.is_file() else io.BytesIO(path.read_bytes())


def _check_text(source: Path | io.BytesIO) -> None:
    """Raise if there are zeros among the first bytes: UTF-16 has them, and pandas takes them for ends of names."""
    with source.open("rb") if isinstance(source, Path) else contextlib.nullcontext(source) as file:
        head = file.read(_HEAD)
    if head.startswith(_PACKED_HEADS):
        raise InputError("expected text in UTF-8, got a packed file: unpack it.")
    if b"\0" in head:
        raise InputError("expected text in UTF-8, got bytes that are zero, as UTF-16 has them: save the file as UTF-8.")


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    from dowhy_cina.tables.files import check_names

    table = pd.read_parquet(path)
    columns = [str(name) for name in table.columns]
    check_names(columns)
    table.columns = columns
    return table


def check_columns(table: pd.DataFrame, wanted: Sequence[str], path: Path) -> None:
    """Raise unless the table has the columns.

    Raises
    ------
    InputError
        If one is missing; the message names the nearest.
    """
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        shown = ", ".join(map(repr, table.columns[:_LISTED]))
        more = f" and {len(table.columns) - _LISTED} more" if len(table.columns) > _LISTED else ""
        told = ", ".join(f"{name!r}{did_you_mean(name, table.columns)}" for name in missing)
        raise InputError(f"expected the columns {told} in {table_name(path)}, which has {shown}{more}.")


@contextlib.contextmanager
def quiet_dowhy() -> Iterator[None]:
    """Keep what DoWhy and its dependencies warn of and log out of a command's output."""
    logger = logging.getLogger("dowhy")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


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
    with quiet_dowhy():  # it warns of each node without a column; the answer takes them into account
        model = CausalModel(table.drop(columns=unobserved, errors="ignore"), treatment, outcome, graph=graph)
        estimand = model.identify_effect(proceed_when_unidentifiable=False)
    if not estimand.backdoor_variables:
        raise InputError(
            f"expected a graph in which {treatment!r} causes {outcome!r} and columns of the table close every backdoor "
            f"path, DoWhy found none of the kind in {path}: measure what confounds them, or name --covariates yourself."
        )
    chosen = estimand.get_backdoor_variables()
    covariates = [name for name in table.columns if name in chosen]
    print(f"DoWhy's backdoor set: {', '.join(covariates) or 'no covariates'}\n")
    return covariates


def read_graph(path: Path) -> Any:
    """Read a ``.dot`` or ``.gml`` file as a networkx graph.

    Raises
    ------
    InputError
        If it has another ending, cannot be read or holds no graph.
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
    except (OSError, UnicodeError) as error:
        raise InputError(_unreadable("a causal graph", path, error)) from error
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
