"""Checkpoints: safetensors with a JSON header and a content hash; loaded once per process, never through pickle."""

from __future__ import annotations

import contextlib
import os
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from dowhy_cina.config import ModelConfig, from_mapping
from dowhy_cina.errors import CheckpointError, CinaError
from dowhy_cina.mathematics.devices import keep_freed_memory
from dowhy_cina.model.files import packed, unpacked, write_together
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.variance import START_COLUMNS, START_GROWTH, START_WEIGHTS, ConditionalHead

#: Version of the header and of the tensors' names; a newer one is refused.
FORMAT_VERSION = 5
#: Newest version whose hash covers the tensors alone.
UNHASHED_HEADERS = 3
FORMAT_NAME = "dowhy-cina"
LICENCE = "MIT"
ENDING = ".safetensors"
#: Largest coefficient of a variance, of which the exponential is taken.
LARGEST_EXPONENT = 100.0
#: What entries of a header must be, where there are any: numbers count something, or are any (complex).
_ENTRIES: dict[str, type] = {
    "licence": str,
    "families": list,
    **dict.fromkeys(("model", "recipe", "validation", "figures", "calibration"), dict),
    **dict.fromkeys(("steps", "tables"), int),
    **dict.fromkeys(("seconds", "waiting_share"), float),
}
_SHIPPED = resources.files(__package__) / "checkpoints"


def bundled() -> list[str]:
    """Names of the checkpoints that ship with the package."""
    names = [item.name for item in _SHIPPED.iterdir()]
    return sorted(name.removesuffix(ENDING) for name in names if name.endswith(ENDING))


def resolve(name_or_path: str | os.PathLike[str]) -> Path:
    """Path of a bundled name or of a file.

    Raises
    ------
    CheckpointError
        If it is neither.
    """
    if str(name_or_path) in bundled():  # a recipe names it as a path
        return Path(str(_SHIPPED / f"{name_or_path}{ENDING}"))
    with contextlib.suppress(OSError, ValueError, TypeError):  # too long a name, a folder that may not be read
        if Path(name_or_path).is_file():
            return Path(name_or_path)
    raise CheckpointError(
        f"checkpoint must be one of {', '.join(bundled())}, or the path of a .safetensors file; "
        f"got {str(name_or_path)!r}, which is neither."
    )


def write(path: Path, model: CinaModel, header: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Parameters
    ----------
    path : Path
        Its folder is made if it does not exist.
    model : CinaModel
        Stored in single precision.
    header : dict
        JSON values; ``header["model"]`` holds the fields of :class:`ModelConfig`, without which it cannot be read.

    Raises
    ------
    CheckpointError
        If it cannot be written; an earlier checkpoint is left as it was.
    """
    write_together({path: content(model, header)})


def content(model: CinaModel, header: dict[str, Any]) -> bytes:
    """Content of the file that :func:`write` makes."""
    tensors = {name: tensor.to(torch.float32) for name, tensor in model.state_dict().items()}
    return packed(FORMAT_NAME, FORMAT_VERSION, {"licence": LICENCE, **header}, tensors)


def read_header(name_or_path: str | os.PathLike[str]) -> dict[str, Any]:
    """Header of a checkpoint, verified like the whole.

    Raises
    ------
    CheckpointError
        As :func:`read`.
    """
    return read(name_or_path)[1]


def read(name_or_path: str | os.PathLike[str]) -> tuple[CinaModel, dict[str, Any]]:
    """Model (evaluation mode, float64) and header of a checkpoint, its content verified.

    Raises
    ------
    CheckpointError
        If the file is damaged, foreign, of a newer format, its content does not match its hash, or a setting or a
        number is out of range.
    """
    path = resolve(name_or_path)
    header, tensors = unpacked(path, FORMAT_NAME, FORMAT_VERSION, plain=UNHASHED_HEADERS)
    check_header(header := {"licence": "unknown", **header}, path)
    if {tensor.dtype for tensor in tensors.values()} != {torch.float32}:
        raise CheckpointError(f"{path}: expected tensors in single precision, as every release writes them.")
    try:
        settings, tensors = _upgraded(header, tensors)
        config = from_mapping(ModelConfig, settings, "model setting")
    except (KeyError, IndexError, CinaError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {str(error)[:300]}"
        raise CheckpointError(f"{path}: model settings of its header do not fit this release ({reason}).") from error
    # Without storage no initial weights are drawn: they would be thrown away, and would move the caller's random state.
    with torch.device("meta"):
        model = CinaModel(config)
    try:
        model.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: tensors do not fit the architecture of its header ({error}).") from error
    heads = (*model.variance.parameters(), *model.conditional.parameters())
    if any(float(part.detach().abs().max()) > LARGEST_EXPONENT for part in heads):
        raise CheckpointError(f"{path}: coefficients of its variances are out of range; calibrate it anew.")
    return model.double().eval(), header


def check_header(header: dict[str, Any], path: Path) -> None:
    """Raise unless what is read of a header has its type; what counts something is finite and not negative.

    Raises
    ------
    CheckpointError
        If an entry has not.
    """
    recipe, validation = header.get("recipe"), header.get("validation")
    entries = [(name, header[name], kind) for name, kind in _ENTRIES.items() if name in header]
    if isinstance(recipe, dict):
        entries.append(("recipe.validation_families", recipe.get("validation_families", []), list))
    if isinstance(validation, dict):
        entries += [(f"validation.{name}", part, dict) for name, part in validation.items()]
        parts = [(name, part) for name, part in validation.items() if isinstance(part, dict)]
        entries += [(f"validation.{name}.{key}", value, complex) for name, part in parts for key, value in part.items()]
    for name, value, kind in entries:
        fits = isinstance(value, int | float if kind in (float, complex) else kind) and not isinstance(value, bool)
        if kind in (int, float):
            fits = fits and 0 <= value < 2**62
        if not fits or (kind is list and not all(isinstance(item, str) for item in value)):
            raise CheckpointError(f"{path}: {name} of its header is out of range, got {str(value)[:40]}.")


def _upgraded(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> tuple[Any, dict[str, torch.Tensor]]:
    """Model settings and tensors of a checkpoint as this release has them.

    Version 1 counted iterations of target balancing, which is solved since; its variance head has no part for the
    adjustment and conditional effects have the posterior variance. Up to version 2 there is no part for what the
    regressions' members disagree on. New parts get the weights of an uncalibrated head. Up to version 4 columns changed
    the weight of the adjustment alone, of which the growth was always the same.
    """
    settings, version = header["model"], int(header["format_version"])
    if version >= FORMAT_VERSION or not isinstance(settings, dict):
        return settings, tensors
    kept = len(START_WEIGHTS) - 2
    # Whatever torch's default device is: these are on the CPU.
    start, growth_start, columns_start, nothing = (
        torch.tensor(values, device="cpu") for values in (START_WEIGHTS, START_GROWTH, START_COLUMNS, ())
    )
    weights, growth, columns = (
        tensors.get(f"variance.{name}", nothing) for name in ("log_weights", "growth", "columns")
    )
    added = {}
    if version < 3:
        adjustment = weights[kept:] if version > 1 else start[-1:].log()
        weights = torch.cat([weights[:kept], start[kept : kept + 1].log(), adjustment])
        growth = torch.cat([growth, growth_start[kept:-1]])
    if version == 1:
        columns = columns_start[-1:]
        added["conditional.coefficients"] = torch.zeros(len(ConditionalHead.TERMS), device="cpu")
    added["variance.log_weights"] = weights
    added["variance.growth"] = torch.cat([growth, growth_start[-1:]])
    added["variance.columns"] = torch.cat([columns_start[:-1], columns.flatten()])
    if version < 3:
        settings = {name: value for name, value in settings.items() if name != "target_layers"}
    return settings, {**tensors, **added}


@lru_cache(maxsize=4)
def _load(path: Path, _content: tuple[int, ...], device: torch.device) -> CinaModel:
    return read(path)[0].to(device)


def load(name_or_path: str | os.PathLike[str], device: torch.device) -> CinaModel:
    """Model of :func:`read` on a device, once per process and file; it is shared and must not be changed."""
    path = resolve(name_or_path).resolve()  # what a relative path means may change
    file = path.stat()
    return _load(path, (file.st_mtime_ns, file.st_size, file.st_ino), device)


def load_model(name_or_path: str | os.PathLike[str], device: torch.device) -> CinaModel:
    """Model of :func:`load`, or for "exact" the fixed rule, whose outcome regressions stand beside exact weights."""
    keep_freed_memory()
    return _untrained(device) if name_or_path == "exact" else load(name_or_path, device)


@lru_cache(maxsize=2)
def _untrained(device: torch.device) -> CinaModel:
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        return CinaModel().double().eval().to(device)
