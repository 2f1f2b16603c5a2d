"""The files that a command writes: refused before the work where it would be lost, or destroy something."""

from __future__ import annotations

import itertools
import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dowhy_cina.errors import InputError

if TYPE_CHECKING:
    from dowhy_cina.results.effect import EffectResult

#: Stands for standard input where a table is read; no output is called so.
STANDARD = Path("-")
#: Folders of the streams of a process.
_STREAMS = ("/dev", "/dev/fd", "/proc/self/fd")


def check_outputs(
    files: Sequence[Path | None], folder: Path | None, pictures: bool, inputs: Sequence[str | Path | None] = ()
) -> None:
    """Refuse before the work what could not be written after it, or would replace what was read or written.

    Parameters
    ----------
    files
        Files to write; None where one was not asked for.
    folder
        Of pictures to write.
    pictures
        Whether pictures are drawn, here or on a page.
    inputs
        Files that are read; names of something else, such as a bundled checkpoint, count for nothing.

    Raises
    ------
    ImportError
        If there are pictures to be drawn and matplotlib is not installed.
    InputError
        If a file is a folder, the folder a file, or a folder of theirs a file or one that cannot be made or written; or
        an output is an input or another one.
    """
    if pictures:
        from dowhy_cina.results.plots.style import require_matplotlib

        require_matplotlib()
    outputs = [path for path in (*files, folder) if path is not None]
    if STANDARD in outputs:
        raise InputError("expected the name of a file or folder to write, got '-', which is standard input: name one.")
    for path in (path for path in files if path is not None):
        if path.is_dir() or not path.name:
            raise InputError(f"expected the name of a file to write, got the folder {str(path)!r}: add a name.")
    if folder is not None and folder.exists() and not folder.is_dir():
        raise InputError(f"expected a folder for the pictures, got the file {str(folder)!r}: name another one.")
    for path in outputs:
        for parent in path.parents:
            if parent.exists() and not parent.is_dir():
                raise InputError(f"expected a folder for {str(path)!r}, but {str(parent)!r} is a file.")
    _check_apart(outputs, [Path("/dev/stdin" if Path(name) == STANDARD else name) for name in inputs if name])
    for path in outputs:
        if not _is_special(path):
            _check_writable(path, path if path == folder else Path(os.path.realpath(path)).parent)
        elif not os.access(path, os.W_OK):
            raise InputError(f"expected an output that may be written, got {str(path)!r}: name another one.")


def _check_writable(path: Path, folder: Path) -> None:
    """Raise unless a file can be written into the folder, or into the nearest above it that is there.

    Modes do not say: a folder may be part of a file system that takes no files.
    """
    nearest = next(one for one in (folder, *folder.parents, Path(os.curdir)) if one.is_dir())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise InputError(
            f"expected a place for {str(path)!r}, but nothing can be written into {str(nearest)!r} ({error.strerror}): "
            "name another one, or make that folder writable."
        ) from error


def _check_apart(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    for path, read in itertools.product(outputs, inputs):
        if read.is_file() and _same(path, read):
            raise InputError(
                f"expected a file to write that is not read, got {str(path)!r}, which is {str(read)!r}: name another."
            )
    for path, other in itertools.combinations(outputs, 2):
        if _same(path, other):
            raise InputError(
                f"expected a place of its own for each output, got {str(path)!r} and {str(other)!r}, which are the "
                "same: name another."
            )


def _same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file or folder, which need not exist; devices keep nothing that could be lost."""
    if not (one.exists() and other.exists()):
        return os.path.realpath(one) == os.path.realpath(other)
    return os.path.samefile(one, other) and (one.is_file() or one.is_dir())


def write_files(contents: Mapping[Path, str | bytes]) -> None:
    """Write files as :func:`replace_files` does, and say so."""
    replace_files(contents)
    print(f"\nwrote {', '.join(map(str, contents))}")


def replace_files(contents: Mapping[Path, str | bytes]) -> None:
    """Write files, in folders that are made if they do not exist.

    Each is whole, the new one or the earlier one: where one cannot be written all earlier ones stay. Devices and pipes,
    of which there is nothing to keep, are written in place; links are followed, and a file's mode stays as it was.

    Raises
    ------
    CheckpointError
        If one cannot be written.
    InputError
        If it is a device or a pipe.
    """
    from dowhy_cina.model.files import write_together

    whole = {}
    for path, content in contents.items():
        written = content.encode() if isinstance(content, str) else content
        if _is_special(path):
            _write_in_place(path, written)
        else:
            whole[Path(os.path.realpath(path)) if path.is_symlink() else path] = written
    modes = {path: path.stat().st_mode for path in whole if path.exists()}
    if whole:
        write_together(whole)
    for path, mode in modes.items():
        path.chmod(stat.S_IMODE(mode))


def _is_special(path: Path) -> bool:
    """Whether a path is that of a device or a pipe, or of a stream of this process, which may be a file."""
    is_plain = path.is_file() and str(path.parent) not in _STREAMS
    return path.exists() and not (is_plain or path.is_dir())


def _write_in_place(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except BrokenPipeError:  # who reads it has read enough
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): name another output.") from error


def picture_files(result: EffectResult, folder: Path, prefix: str = "", title: str = "") -> dict[Path, bytes]:
    """Draw the pictures of an estimate; gives the files to write into the folder.

    Raises
    ------
    InputError
        If there is no room to draw them in.
    """
    from dowhy_cina.results.plots import save_plots

    try:
        with tempfile.TemporaryDirectory() as drawn:
            return {folder / path.name: path.read_bytes() for path in save_plots(result, drawn, prefix, title)}
    except OSError as error:
        raise InputError(
            f"pictures for {folder} cannot be written ({error.strerror}); earlier ones are as they were. Free space in "
            f"{tempfile.gettempdir()}, where they are drawn, or set TMPDIR."
        ) from error
