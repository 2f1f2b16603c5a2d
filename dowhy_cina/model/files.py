"""Files that a crash cannot halve and damage cannot slip into: safetensors with a JSON header, one hash over both.

They are data: nothing in them is ever run, and none is read through pickle.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from dowhy_cina.errors import CheckpointError

#: Largest file that is read, in bytes, longest header, in characters, and deepest header.
LARGEST_FILE, LARGEST_HEADER, DEEPEST_HEADER = 2**30, 2**20, 20
#: Longest description of the tensors, the header in it, in bytes.
LARGEST_DESCRIPTION = 2**24
#: What tensors may hold.
_DTYPES = {"F32", "F64", "I64"}
#: Seconds after which nobody is still writing a file.
_ABANDONED = 3600


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write files, each of them whole, the new one or the earlier one, whatever happens.

    None takes its place before all are written, so that a full disk leaves every earlier file. Then they take their
    places one after the other: a crash in between leaves new ones up to some place in the order and earlier ones after.

    Parameters
    ----------
    contents : mapping of Path to bytes
        Files take their places in this order; folders are made if they do not exist.

    Raises
    ------
    CheckpointError
        If one cannot be written.
    """
    partials = {path: path.with_name(f"{path.name}.{os.getpid()}.partial") for path in contents}
    path = next(iter(contents))
    try:
        for path, content in contents.items():
            if path.is_dir():
                raise IsADirectoryError("it is a folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            partials[path].unlink(missing_ok=True)
            with partials[path].open("xb") as file:  # follows no link
                file.write(content)
                file.flush()
                # Without this the name may reach the disk before the content does.
                os.fsync(file.fileno())
        for path, partial in partials.items():
            os.replace(partial, path)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be written ({error}); an earlier file of that name is as it was. Free space or choose "
            "another place."
        ) from error
    finally:
        for partial in partials.values():
            with contextlib.suppress(OSError, ValueError):
                partial.unlink(missing_ok=True)


def clear_partials(paths: Iterable[Path]) -> None:
    """Remove what processes that died left of these files while they wrote them."""
    for path in paths:
        for name in glob.glob(f"{glob.escape(str(path))}.*.partial"):
            process = name[len(str(path)) + 1 : -len(".partial")]
            with contextlib.suppress(OSError, OverflowError):
                if process.isdecimal() and _is_abandoned(Path(name), int(process)):
                    Path(name).unlink()


def _is_abandoned(partial: Path, process: int) -> bool:
    if process == os.getpid() or time.time() - partial.stat().st_mtime > _ABANDONED:
        return True
    if os.name != "posix":  # elsewhere signal 0 is a signal
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def packed(kind: str, version: int, header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Content of a file of a kind and format version, with the hash of its header and tensors.

    The hash stands first in the header and covers the rest of it as it is written, to the letter.
    """
    own = {"format": kind, "format_version": version}
    content = own | {name: value for name, value in header.items() if name not in (*own, "sha256")}
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    digest = content_hash(stored, json.dumps(content))
    return save(stored, metadata={"header": json.dumps({"sha256": digest, **content})})


def content_hash(tensors: Mapping[str, torch.Tensor], header: str = "") -> str:
    """Hash of a header and of the names, shapes and values of tensors."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(str(tuple(tensors[name].shape)).encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def unpacked(path: Path, kind: str, newest: int, plain: int = 0) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and tensors of a file, verified.

    Parameters
    ----------
    path : Path
    kind : str
    newest : int
        Newest format version that is known.
    plain : int
        Newest format version whose hash covers the tensors alone.

    Raises
    ------
    CheckpointError
        If the file is damaged, foreign, too large or of a newer format, its content does not match its hash, or a
        number in its tensors is not finite.
    """
    text, types, tensors = _opened(path)
    header = _parsed(path, text, kind, newest)
    if not types <= _DTYPES:
        raise CheckpointError(f"{path}: expected tensors of {', '.join(sorted(_DTYPES))}, got {', '.join(types)}.")
    claimed = str(header.get("sha256"))
    covered = "" if header["format_version"] <= plain else text.replace(f'"sha256": "{claimed}", ', "", 1)
    if content_hash(tensors, covered) != claimed:
        raise CheckpointError(f"{path}: content does not match its sha256; the file is damaged, copy it again.")
    broken = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise CheckpointError(f"{path}: expected finite numbers, got others in {broken[0]}; train it anew.")
    return header, tensors


def _opened(path: Path) -> tuple[str, set[str], dict[str, torch.Tensor]]:
    """Text of the header, types of the tensors, and these, if all their types are known.

    They are read into memory: a file that is mapped can end the process when another cuts it short.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        start = 8 + int.from_bytes(content[:8], "little")
        if len(content) > LARGEST_FILE or start > LARGEST_DESCRIPTION:
            raise ValueError(f"{len(content)} bytes, {start} of them for the description of its tensors")
        described = json.loads(content[8:start])
        text = str(described.pop("__metadata__", {}).get("header", ""))
        types = {str(entry["dtype"]) for entry in described.values()}
        return text, types, load(content) if types <= _DTYPES else {}
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: not a readable safetensors file ({str(error)[:200]}); it may be truncated, or a pickle, which is "
            "never loaded. Copy it again or train it anew with `dowhy-cina pretrain`."
        ) from error


def _parsed(path: Path, text: str, kind: str, newest: int) -> dict[str, Any]:
    foreign = f"{path}: a safetensors file without a {kind} header; expected a file of this package."
    try:
        header = json.loads(text[: LARGEST_HEADER + 1])
        known, version = header["format"], header["format_version"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(foreign) from error
    if not isinstance(header, dict) or type(version) is not int or version < 1 or not _is_shallow(header):
        raise CheckpointError(foreign)
    if known != kind:
        raise CheckpointError(f"{path}: expected format {kind!r}, got {str(known)[:40]!r}.")
    if version > newest:
        raise CheckpointError(
            f"{path}: format version {version} is newer than {newest}, the newest this release reads; upgrade "
            "dowhy-cina."
        )
    return header


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST_HEADER):
        inner = [item for item in level if isinstance(item, dict | list)]
        level = [part for item in inner for part in (item.values() if isinstance(item, dict) else item)]
    return not level
