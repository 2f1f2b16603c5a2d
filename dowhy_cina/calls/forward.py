"""Forward passes of prepared tables, alone or several together.

Letters: B tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from dowhy_cina.mathematics.devices import threads_for
from dowhy_cina.mathematics.kernels import Storage
from dowhy_cina.mathematics.memory import with_smaller_blocks
from dowhy_cina.model.checkpoint import load_model
from dowhy_cina.model.state import ZeroShot, one_table
from dowhy_cina.tables.preparation import PreparedTable, table_batch


@torch.no_grad()
def forward_alone(prepared: PreparedTable) -> tuple[ZeroShot, Storage]:
    """One forward pass of one table, and what it kept.

    Raises
    ------
    torch.OutOfMemoryError
        If a GPU lacks memory with the smallest blocks too.
    """

    def run(storage: Storage) -> ZeroShot:
        state: ZeroShot = model(replace(prepared.batch, storage=storage))
        return state

    model = load_model(prepared.options.checkpoint, prepared.device)
    with threads_for(prepared.threaded_rows):
        return with_smaller_blocks(run, prepared.memory.storage)


@torch.no_grad()
def forward_together(tables: Sequence[PreparedTable]) -> list[ZeroShot]:
    """One forward pass of several tables.

    Parameters
    ----------
    tables : sequence of PreparedTable
        With the same :attr:`PreparedTable.company`, which is not None.

    Returns
    -------
    list of ZeroShot
        What :func:`forward_alone` gives for each, up to rounding.
    """
    first = tables[0]
    batch = table_batch([table.rows for table in tables], first.options.landmarks, first.device)
    with threads_for(first.threaded_rows):
        state = load_model(first.options.checkpoint, first.device)(batch)
    return [one_table(state, place) for place in range(len(tables))]
