"""Passes over the rows of tables: strips of rows on several threads, and which rows a pass looks at.

Letters: N rows, n rows of a block, M features.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.devices import one_thread_each, stay_inside

Result = TypeVar("Result")

#: Rows of a block: consecutive ones, or those of them that are looked at.
Places = slice | Int[Tensor, " n"]
#: Share of a block's rows with a weight above which those without are not left out.
MOST_IDLE = 0.9
#: Rows of a strip at least, and strips of a table at most.
STRIP_ROWS, MOST_STRIPS = 2**12, 64


def each_strip(rows: int, work: Callable[[slice], Result]) -> list[Result]:
    """What is made of consecutive strips of rows, in their order, on as many threads as torch has.

    The strips depend on the number of rows alone: sums of what comes of them are the same on any number of threads.
    """
    step = max(STRIP_ROWS, -(-rows // MOST_STRIPS))
    strips = [slice(start, min(start + step, rows)) for start in range(0, max(rows, 1), max(step, 1))]
    if len(strips) < 2:
        return [work(strip) for strip in strips]
    # What is made in inference mode may only be written to in it.
    quiet = torch.inference_mode if torch.is_inference_mode_enabled() else torch.no_grad
    threads, work = min(torch.get_num_threads(), len(strips)), quiet()(work)
    # A single thread computes as each of several does.
    with one_thread_each():
        if threads < 2:
            return [work(strip) for strip in strips]
        with ThreadPoolExecutor(threads, "dowhy-cina-rows", stay_inside) as pool:
            return list(pool.map(work, strips))


def with_weight(weights: Float[Tensor, "B k N"], block: slice) -> Places:
    """Places of a block's rows that have a weight; the block itself where most do, or of several tables."""
    if len(weights) > 1:
        return block
    own = weights[0, :, block]
    inside = (own != 0).any(0).nonzero()[:, 0]
    return block if len(inside) > MOST_IDLE * own.shape[1] else inside + block.start


def sum_blocks(parts: Iterable[Tensor]) -> Tensor:
    """Sum what a pass over the blocks of a table gives, in their order."""
    return functools.reduce(torch.add, parts)


def row_products(rows: Float[Tensor, "B N M"], vector: Float[Tensor, "B M"]) -> Float[Tensor, "B N"]:
    """``rows @ vector``, in the form that a batched product is quick in."""
    return torch.bmm(vector[:, None], rows.mT)[:, 0]


def places_of(weights: Float[Tensor, "B N"]) -> Int[Tensor, "B n"]:
    """Places of each table's rows with a weight, in their order.

    A table with fewer than another one has some without weight behind them; if one table needs all rows, all are kept
    as they are.
    """
    inside = weights > 0
    count = int(inside.sum(1).max())
    if count == weights.shape[1]:
        return torch.arange(count, device=weights.device).expand_as(weights)
    return inside.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :count]


def gather_rows(values: Float[Tensor, "B N *rest"], index: Int[Tensor, "A M"]) -> Float[Tensor, "A M *rest"]:
    """``values[b, index[b]]`` for every table; of several indices for each, the tables begin anew.

    Of a long table, rows that follow each other are not copied.
    """
    if len(values) == len(index) == 1 and index.shape[1] > STRIP_ROWS and bool((index.diff() == 1).all()):
        return values[:, int(index[0, 0]) :][:, : index.shape[1]]
    # One selection among the rows of all tables is far quicker than one for each table, or than a gather.
    if values.shape[0] > 1:
        index = index + torch.arange(index.shape[0], device=index.device)[:, None] % values.shape[0] * values.shape[1]
    chosen = values.flatten(0, 1).index_select(0, index.flatten())
    return chosen.reshape(*index.shape, *values.shape[2:])


def weighted_sum(weights: Float[Tensor, "B N"], rows: Float[Tensor, "B N M"]) -> Float[Tensor, "B M"]:
    """``weights @ rows``."""
    return torch.bmm(weights[:, None], rows)[:, 0]
