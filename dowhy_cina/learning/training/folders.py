"""Folders of a user's own tables as a collection: CSV and Parquet files beside a ``collection.toml``.

Letters: N rows, D covariates.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dowhy_cina._caching import cached_property
from dowhy_cina.config import FolderConfig, TrainingConfig, from_mapping, read_toml
from dowhy_cina.errors import CinaError, InputError, as_path, did_you_mean
from dowhy_cina.learning.simulators.outcomes import random_outcome
from dowhy_cina.learning.simulators.table import FloatArray
from dowhy_cina.learning.training.collections import Collection, Mixture
from dowhy_cina.learning.training.objectives import TrainingBatch
from dowhy_cina.learning.training.tables import BATCH_ROWS, labelled_batch, stack_tables, subsample
from dowhy_cina.mathematics.scaling import standardise
from dowhy_cina.tables import Preprocessor, check_outcome, encode_treatment
from dowhy_cina.tables.files import ENDINGS, check_apart, column_names, read_columns, table_files, treatment_value
from dowhy_cina.tables.preparation import stratified_rows

logger = logging.getLogger(__name__)

SETTINGS = "collection.toml"
#: Rows that a table needs in each arm.
SMALLEST_ARM = 10
#: Share of a table's rows that a subsample with random outcomes takes at most: the others tell the propensity.
LARGEST_SHARE = 0.6


@dataclass(frozen=True)
class FolderTable:
    """A table as the network takes it.

    Attributes
    ----------
    name : str
        Name of the file.
    covariates : (N, D) array
        Encoded and standardised.
    treatment : (N,) array
        0 or 1.
    outcome : (N,) array or None
        In its own unit; None where the collection names none.
    effect : float or None
        Known average effect on all rows, in the outcome's unit.
    """

    name: str
    covariates: FloatArray
    treatment: FloatArray
    outcome: FloatArray | None
    effect: float | None

    @property
    def known(self) -> tuple[FloatArray, float] | None:
        """Outcome and effect, where both are known."""
        return None if self.outcome is None or self.effect is None else (self.outcome, self.effect)


@dataclass(frozen=True)
class Folder:
    """Tables of a folder; an outcome is read only where an effect is known.

    Parameters
    ----------
    path : str or Path
        Holds the tables and ``collection.toml``, see :class:`~dowhy_cina.config.FolderConfig`.
    strict : bool
        Raise at the first table that cannot be used, instead of leaving it out.

    Raises
    ------
    InputError
        If the settings cannot be read or no table can be used; with ``strict`` if any cannot.
    InputTypeError
        If the path is none.
    UnknownOptionError
        If a setting is not known.
    """

    path: Path
    strict: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", as_path(self.path, "the folder of tables"))
        _ = self.settings, self.tables  # read now: a mistake must not wait for a worker process

    @property
    def names(self) -> tuple[str, ...]:
        """The folder's path."""
        return (str(self.path),)

    @cached_property
    def settings(self) -> FolderConfig:
        """Settings of ``collection.toml``."""
        return read_settings(self.path)

    @cached_property
    def tables(self) -> tuple[FolderTable, ...]:
        """Usable tables in order of their names."""
        files = table_files(self.path)
        tables, skipped = [], []
        for file in files:
            try:
                tables.append(read_folder_table(file, self.settings))
            except CinaError as error:
                if self.strict:
                    raise InputError(f"{file}: {error} Mend or remove it, or leave out --strict.") from error
                skipped.append(f"{file.name} ({error})")
        if skipped:
            logger.warning("%s: skipped %d of %d tables: %s", self.path, len(skipped), len(files), "; ".join(skipped))
        if not tables:
            reasons = "; ".join(skipped) or f"no file ends in {', '.join(ENDINGS)}"
            raise InputError(f"expected at least one usable table in {self.path}, found none: {reasons}.")
        return tuple(tables)

    def batch(self, rng: np.random.Generator, config: TrainingConfig) -> TrainingBatch:
        """Draw subsamples of one table, see :func:`subsample_batch`."""
        return subsample_batch(rng, config, self.tables)


@dataclass(frozen=True)
class Tables:
    """Tables that have been read, all with the same columns, as a collection.

    Attributes
    ----------
    names : tuple of str
        What a checkpoint's header says of them.
    tables : tuple of FolderTable
        Those that batches are drawn from.
    others : tuple of FolderTable
        Those that tell the propensity of each other.
    whole : bool
        Take as many rows of a table as the recipe allows, instead of subsamples.
    """

    names: tuple[str, ...]
    tables: tuple[FolderTable, ...]
    others: tuple[FolderTable, ...]
    whole: bool = False

    def batch(self, rng: np.random.Generator, config: TrainingConfig) -> TrainingBatch:
        """Draw from one table with random outcomes; no column is left out, as they are the same everywhere."""
        table = self.tables[int(rng.integers(len(self.tables)))]
        others = [other for other in self.others if other is not table]
        left_out = np.vstack([o.covariates for o in others]), np.concatenate([o.treatment for o in others])
        rows = min(len(table.treatment), config.max_rows)
        if not self.whole:
            rows = _draw_rows(rng, len(table.treatment), config)
        return _random_batch(rng, config, table, rows, left_out)


def check_outside(output: Path, collection: Collection) -> None:
    """Refuse to write into a folder that the collection, or a part of it, has its tables from.

    Raises
    ------
    InputError
        If the output's folder is one of them.
    """
    if isinstance(collection, Folder):
        check_apart(output, collection.path)
    elif isinstance(collection, Mixture):
        for part in collection.parts:
            check_outside(output, part)


def subsample_batch(rng: np.random.Generator, config: TrainingConfig, tables: Sequence[FolderTable]) -> TrainingBatch:
    """Draw subsamples of one table, of one shape; columns are left out too where no effect depends on them.

    Where no effect is known the outcomes are random functions, unless the recipe leaves these out.
    """
    table = tables[int(rng.integers(len(tables)))]
    known = table.known if config.outcomes else None
    rows = _draw_rows(rng, len(table.treatment), config)
    if known is None and config.random_outcomes:
        return _random_batch(rng, config, table, min(rows, int(LARGEST_SHARE * len(table.treatment))))
    columns = table.covariates.shape[1]
    width = _draw_width(rng, columns, config) if known is None else columns
    x, t, y, labels, marks = [], [], [], [], []
    for _ in range(max(1, min(config.tables_per_batch, BATCH_ROWS // rows))):
        chosen = subsample(rng, table.treatment, rows)
        kept = rng.permutation(columns)[:width]
        x.append(standardise(table.covariates[np.ix_(chosen, kept)].T)[0].T)
        t.append(table.treatment[chosen])
        marks.append(stratified_rows(t[-1], config.landmarks, rng))
        if known is not None:
            outcome, label = _labelled(known[0][chosen], t[-1], known[1])
            y.append(outcome)
            labels.append(label)
    return stack_tables(x, t, y, [np.full(rows, 1 / rows)] * len(x), labels, marks)


def _random_batch(
    rng: np.random.Generator,
    config: TrainingConfig,
    table: FolderTable,
    rows: int,
    left_out: tuple[FloatArray, FloatArray] | None = None,
) -> TrainingBatch:
    """Subsamples of a table with random outcomes; the propensity is that of its other rows and of those left out.

    Columns are left out too where the table's own rows are all that is known.
    """
    columns = table.covariates.shape[1]
    width = _draw_width(rng, columns, config) if left_out is None else columns
    x, tables, marks = [], [], []
    for _ in range(max(1, min(config.tables_per_batch, BATCH_ROWS // rows))):
        chosen = subsample(rng, table.treatment, rows)
        kept = rng.permutation(columns)[:width]
        rest = np.setdiff1d(np.arange(len(table.treatment)), chosen)
        others = table.covariates[rest], table.treatment[rest]
        if left_out is not None:
            others = np.vstack([others[0], left_out[0]]), np.concatenate([others[1], left_out[1]])
        x.append(standardise(table.covariates[np.ix_(chosen, kept)].T)[0].T)
        marks.append(stratified_rows(table.treatment[chosen], config.landmarks, rng))
        known = table.covariates[np.ix_(chosen, kept)]
        tables.append(random_outcome(rng, known, table.treatment[chosen], (others[0][:, kept], others[1])))
    return labelled_batch(x, ["ate"] * len(x), tables, marks)


def _draw_width(rng: np.random.Generator, columns: int, config: TrainingConfig) -> int:
    """All columns, as far as the recipe allows, or fewer."""
    most = min(columns, config.max_columns)
    return int(rng.integers(1, most + 1)) if columns > most or rng.random() < 0.5 else columns


def read_settings(folder: Path) -> FolderConfig:
    """Read a folder's ``collection.toml``.

    Raises
    ------
    InputError
        If it cannot be read, a setting has a wrong type, or an effect is that of no table of the folder.
    UnknownOptionError
        If a setting is not known.
    """
    path = folder / SETTINGS
    values = read_toml(path, 'a file that names at least the treatment, such as treatment = "treated"')
    effects = values.pop("effects", {})
    if not isinstance(effects, Mapping) or not all(
        isinstance(effect, int | float) and not isinstance(effect, bool) and abs(effect) < 1e300
        for effect in effects.values()
    ):
        raise InputError(f"expected effects in {path} as a table of file name = number, all finite, got {effects!r}.")
    # A treatment value may be written as the column holds it, such as 1 or true.
    values |= {arm: str(values[arm]) for arm in ("treated", "control") if arm in values}
    settings = from_mapping(FolderConfig, values, f"setting of {path}")
    pairs = tuple((name, float(effect)) for name, effect in effects.items())
    files = [file.name for file in table_files(folder)]
    unknown = next((name for name in effects if name not in files), None)
    if unknown is not None:
        raise InputError(
            f"expected effects in {path} by the names of its tables' files, {', '.join(files[:3])} or another, got "
            f"{unknown!r}{did_you_mean(unknown, files)}: correct or remove it."
        )
    return FolderConfig(**{**vars(settings), "effects": pairs})


def read_folder_table(
    path: Path, settings: FolderConfig, unread: str = "", encoder: Preprocessor | None = None
) -> FolderTable:
    """Read and encode one table, by itself or as others are, but for a column of which nothing is read.

    Raises
    ------
    InputError, InputTypeError
        If pandas cannot read the file, a column is missing, or the treatment, a covariate or an outcome that is needed
        cannot be used.
    """
    frame = read_columns(path, [name for name in column_names(path) if name != unread])
    effect = dict(settings.effects).get(path.name)
    left_out = {settings.treatment, settings.outcome}
    covariates = list(settings.covariates) or [name for name in frame.columns if name not in left_out]
    wanted = [settings.treatment, *covariates, *([settings.outcome] if settings.outcome else [])]
    missing = [name for name in wanted if name not in frame.columns]
    if missing or not covariates:
        found = ", ".join(map(repr, frame.columns))
        raise InputError(f"expected the columns {', '.join(map(repr, missing)) or 'of a covariate'}, got {found}.")
    column = frame[settings.treatment]
    arms = (treatment_value(text or None, column) for text in (settings.treated, settings.control))
    coded, kept, _ = encode_treatment(column, *arms)
    treatment = coded[kept]
    frame = frame[kept]
    smallest = int(min(treatment.sum(), len(treatment) - treatment.sum()))
    if smallest < SMALLEST_ARM:
        raise InputError(f"expected at least {SMALLEST_ARM} rows in each arm, got {smallest}.")
    encoded = encoder.transform(frame[covariates]) if encoder else Preprocessor().fit_transform(frame[covariates])
    if not encoded.shape[1]:
        raise InputError("expected a covariate that varies, got none.")
    outcome = None
    if settings.outcome:
        outcome = check_outcome(frame[settings.outcome], len(treatment))
    return FolderTable(path.name, encoded, treatment, outcome, effect)


def _draw_rows(rng: np.random.Generator, rows: int, config: TrainingConfig) -> int:
    """All rows, as far as the recipe allows, or log-uniformly fewer."""
    most = min(rows, config.max_rows)
    if rng.random() < 0.5 or most <= config.min_rows:
        return most
    return int(np.exp(rng.uniform(np.log(config.min_rows), np.log(most))))


def _labelled(
    outcome: FloatArray, treatment: FloatArray, effect: float
) -> tuple[FloatArray, tuple[float, float, float]]:
    """Standardised outcome of the rows, and the known effect as label, effect and the error of a plain comparison."""
    treated = treatment > 0
    scale = float(outcome.std()) or 1.0
    error = np.sqrt(sum(outcome[arm].var() / arm.sum() for arm in (treated, ~treated)))
    return (outcome - outcome.mean()) / scale, (effect / scale, effect / scale, float(min(error / scale, 0.5)))
