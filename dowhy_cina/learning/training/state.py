"""The state of a run beside its checkpoint: with it, a run that was killed goes on bit for bit."""

from __future__ import annotations

import csv
import math
import pickle
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dowhy_cina.config import ModelConfig, TrainingConfig
from dowhy_cina.errors import CheckpointError, InputError
from dowhy_cina.model import checkpoint
from dowhy_cina.model.encoder import COLUMN_FEATURES, TABLE_FEATURES, ColumnEncoder
from dowhy_cina.model.network import CinaModel

#: Settings that a resumed run may have otherwise: how long it goes on, and what does not change a step.
FREE = ("steps", "seconds", "patience", "workers", "device", "tensorboard")


@dataclass
class Run:
    """A run between two steps.

    Attributes
    ----------
    model : CinaModel
        Trained weights, in training mode.
    average : AveragedModel
        Their moving average, which is validated and kept.
    optimiser : torch.optim.AdamW
    header : dict
        What the checkpoint says of itself.
    earlier : dict
        Steps, tables and seconds of the runs that this one starts from.
    step, tables : int
        Steps done and tables seen.
    seconds : float
        Seconds of the run before the process began.
    best : float
        Lowest validation score.
    stale : int
        Validations since then.
    validated : int
        Step of the last validation.
    loss : float
        Sum of the losses of the steps since then.
    waited : float
        Seconds of this process that were spent waiting for tables.
    """

    model: CinaModel
    average: AveragedModel
    optimiser: torch.optim.AdamW
    header: dict[str, Any]
    earlier: dict[str, Any]
    step: int = 0
    tables: int = 0
    seconds: float = 0.0
    best: float = math.inf
    stale: int = 0
    validated: int = 0
    loss: float = 0.0
    waited: float = 0.0
    began: float = field(default_factory=time.monotonic)

    @property
    def averaged(self) -> CinaModel:
        """The moving average of the weights."""
        return cast(CinaModel, self.average.module)

    @property
    def elapsed(self) -> float:
        """Seconds of the run, those before an interruption included."""
        return self.seconds + time.monotonic() - self.began

    @property
    def totals(self) -> dict[str, Any]:
        """Steps, tables and seconds, those of earlier runs included."""
        done = {"steps": self.step, "tables": self.tables, "seconds": self.elapsed}
        return {name: self.earlier[name] + value for name, value in done.items()}


def new_run(config: TrainingConfig, model_config: ModelConfig | None, start: Path | None, device: torch.device) -> Run:
    """Begin from weights that follow from the seed, or from a checkpoint, with a fresh optimiser.

    Raises
    ------
    CheckpointError
        If ``start`` cannot be read.
    """
    header: dict[str, Any] = {}
    if start is None:
        # The caller's random state stays as it was.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(config.seed)
            model = CinaModel(model_config or ModelConfig())
    else:
        model, header = checkpoint.read(start)
    model = model.double().to(device).train()
    if not config.outcomes:
        blind_to_outcomes(model.encoder)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.average_decay))  # type: ignore[no-untyped-call]
    earlier = {key: header.get(key, 0) for key in ("steps", "tables", "seconds")}
    return Run(model, average, optimiser, header, earlier)


#: Numbers of a run that its state holds.
COUNTERS = ("step", "tables", "best", "stale", "validated", "loss", "waited")


def state_path(output: Path) -> Path:
    """Where the state of a run stands: beside its checkpoint."""
    return output.with_suffix(".state")


def save(run: Run, config: TrainingConfig, collections: tuple[str, ...], output: Path) -> None:
    """Write the state atomically.

    Raises
    ------
    CheckpointError
        If it cannot be written; an earlier state is left as it was.
    """
    content = {
        "recipe": asdict(config),
        "model_config": asdict(run.model.config),
        "collections": list(collections),
        "model": run.model.state_dict(),
        "average": run.average.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "header": run.header,
        "earlier": run.earlier,
        "counters": {name: getattr(run, name) for name in COUNTERS},
        "seconds": run.elapsed,
    }
    checkpoint.write_atomically(state_path(output), lambda path: torch.save(content, path))


def resume(
    config: TrainingConfig,
    model_config: ModelConfig | None,
    collections: tuple[str, ...],
    output: Path,
    device: torch.device,
) -> Run:
    """Go on from the state beside ``output``.

    Raises
    ------
    CheckpointError
        If there is none, or it cannot be read.
    InputError
        If it belongs to another recipe.
    """
    path = state_path(output)
    if not path.is_file():
        raise CheckpointError(f"expected the state of an earlier run in {path} to resume, found none; start it anew.")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        _check_fits(content, config, model_config, collections, path)
        run = new_run(config, ModelConfig(**content["model_config"]), None, device)
        run.model.load_state_dict(content["model"])
        run.average.load_state_dict(content["average"])
        run.optimiser.load_state_dict(content["optimiser"])
        run.header, run.earlier, run.seconds = content["header"], content["earlier"], content["seconds"]
        for name, value in content["counters"].items():
            setattr(run, name, value)
    except (KeyError, TypeError, ValueError, RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        if isinstance(error, InputError):
            raise
        raise CheckpointError(f"{path}: the state of the run cannot be read ({error}); start it anew.") from error
    return run


def _check_fits(
    content: dict[str, Any],
    config: TrainingConfig,
    model_config: ModelConfig | None,
    collections: tuple[str, ...],
    path: Path,
) -> None:
    """Raise unless the state belongs to the recipe."""
    pairs = [("training", content["recipe"], asdict(config))]
    if model_config is not None:
        pairs.append(("model", content["model_config"], asdict(model_config)))
    for table, saved, asked in pairs:
        for name in asked:
            if name not in FREE and saved.get(name) != asked[name]:
                raise InputError(
                    f"the recipe does not fit the run to resume: {path} has {table}.{name} = {saved.get(name)!r}, the "
                    f"recipe {asked[name]!r}. Set it back, or start anew without --resume."
                )
    if content["collections"] != list(collections):
        raise InputError(
            f"the recipe does not fit the run to resume: {path} was trained on {', '.join(content['collections'])}, "
            f"the recipe names {', '.join(collections)}. Set it back, or start anew without --resume."
        )


#: Inputs of the encoder that outcomes enter: a column's gradient shares and associations in either arm, ...
COLUMN_OUTCOME_INPUTS = (1, 2, *range(9, 21))
#: ... and the outcome's shape, what its pilot fits explain, and their degrees of freedom.
TABLE_OUTCOME_INPUTS = (4, 5, 7, 8, 10, 11)


def blind_to_outcomes(encoder: ColumnEncoder) -> None:
    """Take away every input that an outcome enters, now and in all training to come.

    Settings then follow from covariates and treatment alone, also where the model is used with an outcome; the outcome
    models and prognostic scores stay closed forms with the settings of the fixed rule.
    """
    _take_away(encoder.column_input, COLUMN_OUTCOME_INPUTS, COLUMN_FEATURES)
    _take_away(encoder.table_input, TABLE_OUTCOME_INPUTS, TABLE_FEATURES)


def _take_away(layer: nn.Linear, inputs: tuple[int, ...], size: int) -> None:
    kept = torch.ones(size, dtype=layer.weight.dtype, device=layer.weight.device)
    kept[list(inputs)] = 0.0
    with torch.no_grad():
        layer.weight.mul_(kept)
    layer.weight.register_hook(lambda gradient: gradient * kept)  # type: ignore[no-untyped-call]


class RunLog:
    """CSV with a row for each validation, at ``path``.

    Parameters
    ----------
    path : Path
    kept : float
        Rows of earlier runs are kept that stand before this step.
    tensorboard : bool
        Write TensorBoard's event files into the folder beside it too.

    Raises
    ------
    ImportError
        If TensorBoard is asked for and not installed.
    """

    def __init__(self, path: Path, kept: float, tensorboard: bool = False) -> None:
        self.path = path
        rows = [row for row in self._read() if int(row["steps"]) < kept]
        self._write(rows)
        self._board = _summary_writer(path.with_suffix(".tensorboard")) if tensorboard else None

    def add(self, run: dict[str, Any], figures: dict[str, dict[str, float]]) -> None:
        """Add the row of a validation."""
        row = {**run, **{f"{part}_{name}": value for part, values in figures.items() for name, value in values.items()}}
        self._write([*self._read(), row])
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, run["steps"])
            self._board.flush()

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            return list(csv.DictReader(file))

    def _write(self, rows: list[dict[str, Any]]) -> None:
        def write(path: Path) -> None:
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[-1]) if rows else [], restval="", extrasaction="ignore")
                if rows:
                    writer.writeheader()
                writer.writerows(rows)

        checkpoint.write_atomically(self.path, write)


def _summary_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("tensorboard = true needs TensorBoard: pip install tensorboard.") from error
    return SummaryWriter(folder)
