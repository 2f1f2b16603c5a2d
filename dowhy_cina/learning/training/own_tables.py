"""Folders of one's own tables that share columns: which of them can be used, and the roles of their columns."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dowhy_cina.config import FolderConfig
from dowhy_cina.errors import CinaError, InputError, did_you_mean
from dowhy_cina.learning.training.folders import SETTINGS, FolderTable, read_folder_table, read_settings
from dowhy_cina.tables import Preprocessor
from dowhy_cina.tables.files import ENDINGS, column_names, read_columns, table_files

logger = logging.getLogger(__name__)

#: Fewest tables: four to train on, two that stop the run, two that it is judged by.
FEWEST = 8
#: Beginnings of names that tell a treatment among several columns of two values.
TREATMENTS = ("treat", "expos", "interven")


@dataclass(frozen=True)
class OwnTables:
    """Tables with the same columns.

    Attributes
    ----------
    treatment : str
    covariates : tuple of str
    tables : tuple of FolderTable
        Encoded alike.
    """

    treatment: str
    covariates: tuple[str, ...]
    tables: tuple[FolderTable, ...]


def read_tables(folder: Path, treatment: str, outcome: str, strict: bool = False) -> OwnTables:
    """Usable tables of a folder and the roles of their columns; as :func:`~dowhy_cina.training.pretrain_folder`."""
    files = table_files(folder)
    if not files:
        raise InputError(f"expected CSV or Parquet tables in {folder}, no file ends in {', '.join(ENDINGS)}.")
    skipped: dict[Path, CinaError] = {}
    columns: dict[Path, list[str]] = {}
    for file in files:
        try:
            columns[file] = column_names(file)
        except InputError as error:
            skipped[file] = error
    roles, outcome = _roles(folder, columns, treatment, outcome)
    usable = []
    for file in columns:
        try:
            read_folder_table(file, roles, outcome)
        except CinaError as error:
            skipped[file] = error
        else:
            usable.append(file)
    _report_skipped(folder, skipped, len(files), strict)
    # One encoding for all: what is learned of a column in some tables is used in others.
    everyone = pd.concat([read_columns(file, roles.covariates) for file in usable], ignore_index=True)
    encoder = Preprocessor().fit(everyone[list(roles.covariates)])
    tables = tuple(read_folder_table(file, roles, outcome, encoder) for file in usable)
    return OwnTables(roles.treatment, roles.covariates, tables)


def _roles(folder: Path, columns: dict[Path, list[str]], treatment: str, outcome: str) -> tuple[FolderConfig, str]:
    """Roles of the columns that all tables share, and the name of the one that is not to be read."""
    given = read_settings(folder) if (folder / SETTINGS).is_file() else None
    if given is not None:
        treatment, outcome = treatment or given.treatment, outcome or given.outcome
    named = sorted({name for names in columns.values() for name in names})
    if outcome and outcome == treatment:
        raise InputError(f"expected two columns as treatment and outcome, got {outcome!r} for both.")
    known = given.covariates if given is not None else ()
    for what, name in (("outcome", outcome), ("treatment", treatment), *(("covariate", name) for name in known)):
        if name and name not in named:
            raise InputError(
                f"expected a column {name!r} in the tables of {folder}, as the {what}, found none"
                f"{did_you_mean(name, named)}: they have {listed(named)}."
            )
    shared = _shared(folder, columns, outcome)
    treatment = treatment or _guess(folder, list(columns), shared)
    covariates = tuple(name for name in known or shared if name in shared and name != treatment)
    if not covariates or treatment not in shared:
        raise InputError(
            f"expected a treatment and a covariate that all tables of {folder} share, they share {listed(shared)}: "
            "remove the tables that are of another kind."
        )
    roles = FolderConfig(treatment=treatment, covariates=covariates)
    if given is not None:
        roles = dataclasses.replace(roles, treated=given.treated, control=given.control)
    return roles, outcome


def _report_skipped(folder: Path, skipped: dict[Path, CinaError], files: int, strict: bool) -> None:
    reasons = "; ".join(f"{file.name} ({error})" for file, error in skipped.items())
    if skipped and strict:
        raise InputError(f"{folder}: {len(skipped)} of {files} tables cannot be used: {reasons} Leave out --strict.")
    if files - len(skipped) < FEWEST:
        raise InputError(
            f"expected at least {FEWEST} usable tables in {folder}, found {files - len(skipped)}"
            f"{f'; these are not: {reasons}' if reasons else ''}. A quarter of them stops the run, a quarter judges it."
        )
    if skipped:
        logger.warning("%s: skipped %d of %d tables: %s", folder, len(skipped), files, reasons)


def _shared(folder: Path, columns: dict[Path, list[str]], outcome: str) -> list[str]:
    """Columns that all tables have, in the order of the first, without the outcome."""
    if not columns:
        raise InputError(f"expected CSV or Parquet tables in {folder}, none of its files can be read as one.")
    every = list(columns.values())
    shared = [name for name in every[0] if name != outcome and all(name in names for names in every)]
    if shared:
        return shared
    raise InputError(
        f"expected tables of {folder} that share columns, no column is in all {len(every)} of them: remove those of "
        "another kind, or name their columns alike."
    )


def _guess(folder: Path, files: list[Path], shared: list[str]) -> str:
    """The column of two values, the same in all tables; of several the one that is named like a treatment."""
    values: dict[str, set[object]] = {name: set() for name in shared}
    for file in files:
        frame = read_columns(file, shared)
        for name in list(values):
            values[name] |= set(frame[name].dropna().unique()[:3])
            if len(values[name]) > 2:
                del values[name]
    candidates = [name for name, found in values.items() if len(found) == 2]
    named = [name for name in candidates if name.lower().startswith(TREATMENTS)] or candidates
    if len(named) == 1:
        logger.info("%s: the treatment is taken to be %r, a column of two values", folder, named[0])
        return named[0]
    found = f"{listed(candidates)} have" if candidates else "no column has"
    raise InputError(
        f"expected one column of two values in {folder} that could be the treatment, {found} two: name it with "
        "--treatment."
    )


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names for a message, the first few of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(map(repr, names[:most])) or "none") + more
