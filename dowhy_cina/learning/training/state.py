"""The state of a run beside its checkpoint: with it, a run that was killed goes on bit for bit."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dowhy_cina.config import ModelConfig, TrainingConfig, from_mapping
from dowhy_cina.errors import CheckpointError, InputError
from dowhy_cina.model import checkpoint
from dowhy_cina.model.encoder import COLUMN_FEATURES, TABLE_FEATURES, ColumnEncoder
from dowhy_cina.model.files import packed, unpacked
from dowhy_cina.model.network import CinaModel

#: Name and version of the state's format.
FORMAT_NAME, FORMAT_VERSION = "dowhy-cina run", 1
#: Endings of files that are something else than checkpoints.
TAKEN = (".csv", ".json", ".parquet", ".partial", ".pq", ".py", ".state", ".tensorboard", ".toml")
#: Settings that a resumed run may have otherwise: how long it goes on, and what does not change a step.
FREE = ("steps", "seconds", "patience", "workers", "device", "tensorboard")
#: Numbers of a run that its state keeps.
COUNTERS = ("step", "tables", "best", "stale", "validated", "loss", "waited")
#: First columns of a validation curve.
CURVE = ("steps", "tables", "seconds", "loss")


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
        Seconds of the run that were spent waiting for tables.
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
    InputError
        If it has another network than is asked for.
    """
    header: dict[str, Any] = {}
    if start is None:
        # The caller's random state stays as it was.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(config.seed)
            model = CinaModel(model_config or ModelConfig())
    else:
        model, header = checkpoint.read(start)
        _check_network(model.config, model_config, start)
    model = model.double().to(device).train()
    if not (config.outcomes or config.random_outcomes):
        blind_to_outcomes(model.encoder)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.average_decay))  # type: ignore[no-untyped-call]
    earlier = {key: header.get(key, 0) for key in ("steps", "tables", "seconds")}
    return Run(model, average, optimiser, header, earlier)


def _check_network(had: ModelConfig, given: ModelConfig | None, start: Path) -> None:
    """Raise if settings of the network are given that are not those of the checkpoint to start from."""
    for name, value in asdict(given or had).items():
        if getattr(had, name) != value:
            raise InputError(
                f"a run that starts from {start} has its network, with {name} = {getattr(had, name)!r}, and cannot "
                f"have model.{name} = {value!r}: leave the settings of the model out, or start untrained."
            )


def beside(output: Path, ending: str) -> Path:
    """A file of a run, beside its checkpoint: ``m.safetensors`` has ``m.state``, and ``m.v1`` has ``m.v1.state``."""
    return output.with_name(output.name.removesuffix(checkpoint.ENDING) + ending)


def state_path(output: Path) -> Path:
    """Where the state of a run stands."""
    return beside(output, ".state")


def curve_path(output: Path) -> Path:
    """Where the validation curve of a run stands."""
    return beside(output, ".csv")


def check_output(output: Path) -> None:
    """Raise unless a run can write its checkpoint, state and curve there, and they are no other run's.

    Raises
    ------
    InputError
        If the path is a folder or no plain file, has the ending of another kind of file, or shares its state with a
        file that is there.
    """
    name = output.name.lower()
    if not name or output.is_dir() or name in (checkpoint.ENDING, "..") or name.endswith(TAKEN):
        raise InputError(
            f"the output must be the path of a checkpoint, such as cina.safetensors, no folder and none of "
            f"{', '.join(TAKEN)}; got {str(output)!r}."
        )
    for path in (output, state_path(output), curve_path(output)):
        if path.exists() and not path.is_file():
            raise InputError(f"the run writes {path}, which is no plain file: choose another output.")
    bare = beside(output, "")
    twin = bare if bare != output else beside(output, checkpoint.ENDING)
    if twin.is_file():
        raise InputError(f"{output} would share its state and curve with {twin}: choose another name.")


def read_curve(path: Path) -> list[dict[str, Any]]:
    """Rows of the validation curve of an earlier run; none where there is no file, or an empty one.

    Raises
    ------
    InputError
        If the file is something else, such as a table of the user's, which a run would replace.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or []
            if names and tuple(names[: len(CURVE)]) != CURVE:
                raise ValueError(f"it has the columns {', '.join(names[:4])}, expected {', '.join(CURVE)}")
            rows: list[dict[str, Any]] = list(reader)
        _ = [int(row["steps"]) for row in rows]
    except (OSError, TypeError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path} is not the curve of an earlier run ({error}), and the run would write its own there: choose "
            "another output, or move the file away."
        ) from error
    return rows


def content(run: Run, config: TrainingConfig, collections: tuple[str, ...]) -> bytes:
    """Content of the file from which the run can go on."""
    header = {
        "recipe": asdict(config),
        "model_config": asdict(run.model.config),
        "collections": list(collections),
        "header": run.header,
        "earlier": run.earlier,
        "counters": {name: getattr(run, name) for name in COUNTERS},
        "seconds": run.elapsed,
    }
    parts = {"model": run.model.state_dict(), "average": run.average.state_dict()}
    parts |= {f"optimiser.{place}": own for place, own in run.optimiser.state_dict()["state"].items()}
    tensors = {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
    return packed(FORMAT_NAME, FORMAT_VERSION, header, tensors)


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
        saved, tensors = unpacked(path, FORMAT_NAME, FORMAT_VERSION)
        _check_fits(saved, config, model_config, collections, path)
        run = new_run(config, from_mapping(ModelConfig, saved["model_config"], "model setting"), None, device)
        _restore(run, saved, tensors, path)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise CheckpointError(f"{path}: the state of the run cannot be read ({error}); start it anew.") from error
    return run


def _restore(run: Run, saved: dict[str, Any], tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Bring a new run to where a saved one stood."""
    parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "average": {}}
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for full, tensor in tensors.items():
        part, name = full.split(".", 1)
        if part == "optimiser":
            place, name = name.split(".", 1)
            moments.setdefault(int(place), {})[name] = tensor
        else:
            parts[part][name] = tensor
    run.model.load_state_dict(parts["model"])
    run.average.load_state_dict(parts["average"])
    for number, parameter in enumerate(run.optimiser.param_groups[0]["params"]):
        for name, tensor in moments.get(number, {}).items():
            if name != "step" and tensor.shape != parameter.shape:
                raise ValueError(f"{name} of parameter {number} has another shape than it")
    groups = run.optimiser.state_dict()["param_groups"]
    run.optimiser.load_state_dict({"state": moments, "param_groups": groups})
    for entries in (saved["header"], saved["earlier"], {"seconds": saved["seconds"]}):
        checkpoint.check_header(entries, path)
    run.header, run.seconds = saved["header"], float(saved["seconds"])
    run.earlier = {name: saved["earlier"][name] for name in ("steps", "tables", "seconds")}
    for name in COUNTERS:
        value, kind = saved["counters"][name], type(getattr(run, name))
        if type(value) is not kind or (kind is int and not 0 <= value < 2**62):
            raise ValueError(f"{name} is out of range")
        setattr(run, name, value)


def _check_fits(
    saved: dict[str, Any],
    config: TrainingConfig,
    model_config: ModelConfig | None,
    collections: tuple[str, ...],
    path: Path,
) -> None:
    """Raise unless the state belongs to the recipe."""
    pairs = [("training", saved["recipe"], asdict(config))]
    if model_config is not None:
        pairs.append(("model", saved["model_config"], asdict(model_config)))
    for table, had, given in pairs:
        asked = json.loads(json.dumps(given))  # as the file has it: a list for a tuple
        for name in asked:
            if name not in FREE and had.get(name) != asked[name]:
                raise InputError(
                    f"the recipe does not fit the run to resume: {path} has {table}.{name} = {had.get(name)!r}, the "
                    f"recipe {asked[name]!r}. Set it back, or start anew without --resume."
                )
    if saved["collections"] != list(collections):
        raise InputError(
            f"the recipe does not fit the run to resume: {path} was trained on {', '.join(saved['collections'])}, "
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
    """CSV with a row for each validation, at ``path``; it is read now and written with the run's other files.

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
    InputError
        If there is a file that is no such curve.
    """

    def __init__(self, path: Path, kept: float, tensorboard: bool = False) -> None:
        self.path = path
        self.rows = [row for row in read_curve(path) if int(row["steps"]) < kept]
        self._board = _summary_writer(path.with_suffix(".tensorboard")) if tensorboard else None

    def add(self, run: dict[str, Any], figures: dict[str, dict[str, float]]) -> None:
        """Add the row of a validation."""
        row = {**run, **{f"{part}_{name}": value for part, values in figures.items() for name, value in values.items()}}
        self.rows.append(row)
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, run["steps"])
            self._board.flush()

    def content(self) -> bytes:
        """Content of the file."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(self.rows[-1]), restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue().encode()


def _summary_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("tensorboard = true needs TensorBoard: pip install tensorboard.") from error
    return SummaryWriter(folder)
