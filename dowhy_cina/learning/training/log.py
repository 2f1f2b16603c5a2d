"""What a run leaves behind beside its weights: a CSV row for each validation, and TensorBoard's files if asked for."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from dowhy_cina.model import checkpoint


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
