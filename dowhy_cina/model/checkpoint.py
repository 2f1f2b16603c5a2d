"""Checkpoints: safetensors with a JSON header and a content hash; loaded once per process, never through pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dowhy_cina.config import ModelConfig, from_mapping
from dowhy_cina.errors import CheckpointError, CinaError
from dowhy_cina.mathematics.devices import keep_freed_memory
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.variance import START_COLUMNS, START_GROWTH, START_WEIGHTS, ConditionalHead

#: Version of the header and of the tensors' names; a newer one is refused.
FORMAT_VERSION = 3
FORMAT_NAME = "dowhy-cina"
LICENCE = "MIT"
_SHIPPED = resources.files(__package__) / "checkpoints"


def bundled() -> list[str]:
    """Names of the checkpoints that ship with the package."""
    names = [item.name for item in _SHIPPED.iterdir()]
    return sorted(name.removesuffix(".safetensors") for name in names if name.endswith(".safetensors"))


def resolve(name_or_path: str | os.PathLike[str]) -> Path:
    """Path of a bundled name or of a file.

    Raises
    ------
    CheckpointError
        If it is neither.
    """
    path = Path(name_or_path)
    shipped = Path(str(_SHIPPED / f"{name_or_path}.safetensors"))
    if shipped.is_file():
        return shipped
    if path.is_file():
        return path
    raise CheckpointError(
        f"checkpoint must be one of {', '.join(bundled())}, or the path of a .safetensors file; "
        f"got {str(name_or_path)!r}, which is neither."
    )


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that a crash or a full disk leaves an earlier one as it was.

    Parameters
    ----------
    path : Path
        Its folder is made if it does not exist.
    write : callable
        Writes the content into the path that it is given.

    Raises
    ------
    CheckpointError
        If the file cannot be written.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        # Without this the name may reach the disk before the content does.
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    # torch and safetensors report a full disk in ways of their own.
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} cannot be written ({error}); an earlier file of that name is as it was. Free space or choose "
            "another place."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


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
    weights = model.state_dict().items()
    tensors = {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in weights}
    content = {"format": FORMAT_NAME, "format_version": FORMAT_VERSION, "licence": LICENCE, **header}
    content["sha256"] = _digest(tensors)
    write_atomically(path, lambda partial: save_file(tensors, partial, metadata={"header": json.dumps(content)}))


def read_header(name_or_path: str | os.PathLike[str]) -> dict[str, Any]:
    """Header of a checkpoint, without its tensors.

    Raises
    ------
    CheckpointError
        If the file is damaged, foreign, or of a newer format.
    """
    path = resolve(name_or_path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a readable safetensors file ({error}); it may be truncated, or a pickle, which is never "
            "loaded. Copy it again or train it anew with `dowhy-cina pretrain`."
        ) from error
    try:
        header: dict[str, Any] = json.loads(metadata["header"])
        version = int(header["format_version"])
        known = header["format"] == FORMAT_NAME
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: a safetensors file without a {FORMAT_NAME} header; expected a checkpoint of this package."
        ) from error
    if not known:
        raise CheckpointError(f"{path}: expected format {FORMAT_NAME!r}, got {header['format']!r}.")
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format version {version} is newer than {FORMAT_VERSION}, the newest this release reads; "
            "upgrade dowhy-cina."
        )
    return header


def read(name_or_path: str | os.PathLike[str]) -> tuple[CinaModel, dict[str, Any]]:
    """Model (evaluation mode, float64) and header of a checkpoint, its content verified.

    Raises
    ------
    CheckpointError
        If the file is damaged, foreign, of a newer format, or its content does not match its hash.
    """
    header = read_header(name_or_path)
    path = resolve(name_or_path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: tensors cannot be read ({error}); copy the file again.") from error
    if _digest(tensors) != header.get("sha256"):
        raise CheckpointError(f"{path}: content does not match its sha256; the file is damaged, copy it again.")
    try:
        settings, tensors = _upgraded(header, tensors)
        config = from_mapping(ModelConfig, settings, "model setting")
    except (KeyError, CinaError) as error:
        raise CheckpointError(f"{path}: model settings of its header do not fit this release ({error}).") from error
    # Without storage no initial weights are drawn: they would be thrown away, and would move the caller's random state.
    with torch.device("meta"):
        model = CinaModel(config)
    try:
        model.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: tensors do not fit the architecture of its header ({error}).") from error
    return model.double().eval(), header


def _upgraded(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> tuple[Any, dict[str, torch.Tensor]]:
    """Model settings and tensors of a checkpoint as this release has them.

    Version 1 counted iterations of target balancing, which is solved since; its variance head has no part for the
    adjustment and conditional effects have the posterior variance. Up to version 2 there is no part for what the
    regressions' members disagree on. New parts get the weights of an uncalibrated head.
    """
    settings, version = header["model"], int(header["format_version"])
    if version >= FORMAT_VERSION or not isinstance(settings, dict):
        return settings, tensors
    start = torch.tensor(START_WEIGHTS).log()
    weights, growth = (tensors.get(f"variance.{name}", torch.zeros(0)) for name in ("log_weights", "growth"))
    kept = len(START_WEIGHTS) - 2
    adjustment = weights[kept:] if version > 1 else start[-1:]
    added = {
        "variance.log_weights": torch.cat([weights[:kept], start[kept : kept + 1], adjustment]),
        "variance.growth": torch.cat([growth, torch.tensor(START_GROWTH[kept:])]),
    }
    if version == 1:
        added["variance.columns"] = torch.tensor(START_COLUMNS)
        added["conditional.coefficients"] = torch.zeros(len(ConditionalHead.TERMS))
    return {name: value for name, value in settings.items() if name != "target_layers"}, {**tensors, **added}


@lru_cache(maxsize=4)
def _load(path: str, modified: int, device: torch.device) -> CinaModel:
    return read(path)[0].to(device)


def load(name_or_path: str | os.PathLike[str], device: torch.device) -> CinaModel:
    """Model of :func:`read` on a device, once per process and file; it is shared and must not be changed."""
    path = resolve(name_or_path)
    return _load(str(path), path.stat().st_mtime_ns, device)


def load_model(name_or_path: str | os.PathLike[str], device: torch.device) -> CinaModel:
    """Model of :func:`load`, or for "exact" the fixed rule, whose outcome regressions stand beside exact weights."""
    keep_freed_memory()
    return _untrained(device) if name_or_path == "exact" else load(name_or_path, device)


@lru_cache(maxsize=2)
def _untrained(device: torch.device) -> CinaModel:
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        return CinaModel().double().eval().to(device)


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(str(tuple(tensors[name].shape)).encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
