"""The files that a command writes: refused before the work where it would be lost, or destroy something."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from dowhy_cina.errors import InputError

#: Stands for standard input where a table is read; no output is called so.
STANDARD = Path("-")


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
        If a file is a folder, the folder a file, or a folder of theirs a file; or an output is an input or another one.
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


def write_text(path: Path, content: str) -> None:
    """Write a file, in a folder that is made if it does not exist, and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    print(f"\nwrote {path}")
