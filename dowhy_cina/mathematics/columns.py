"""Columns as the features of a linear regression, with the verbs of a kernel's.

Letters: B tables, N rows, n rows of a block, L columns, G groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.passes import gather_rows, row_products, sum_blocks
from dowhy_cina.mathematics.rows import RowFeatures, block_rows

Result = TypeVar("Result")


@dataclass(frozen=True)
class ColumnFeatures:
    """Values of columns, which are read as features as they are.

    Attributes
    ----------
    values : Tensor, shape (B, N, L)
    block_entries : int, optional
        Entries of a block; that of a kernel's features by default.
    """

    values: Float[Tensor, "B N L"]
    block_entries: int | None = None

    @property
    def size(self) -> int:
        """Number L of columns."""
        return self.values.shape[2]

    def take(self, index: Int[Tensor, "B n"]) -> ColumnFeatures:
        """Features of some of the rows of each table."""
        return ColumnFeatures(gather_rows(self.values, index), self.block_entries)

    def in_strips(self, work: Callable[[slice, ColumnFeatures], Result]) -> list[Result]:
        """What is made of all rows as one strip: they are few entries."""
        return [work(slice(0, self.values.shape[1]), self)]

    def blocks(self, weights: Float[Tensor, "B N"] | None = None) -> Iterator[tuple[slice, Float[Tensor, "B n L"]]]:
        """Features of consecutive row blocks, those of rows without a weight too."""
        rows = self.values.shape[1]
        step = block_rows(self.values.shape[0] * self.size, self.block_entries)
        # A table without rows has one block, which is empty.
        for start in range(0, max(rows, 1), step):
            part = slice(start, min(start + step, rows))
            yield part, self.values[:, part]

    def solved_blocks(self, factor: Float[Tensor, "B L L"]) -> Iterator[tuple[slice, Float[Tensor, "B L n"]]]:
        """``factor^-1 x`` of consecutive row blocks, for a lower triangular factor."""
        for part, block in self.blocks():
            yield part, torch.linalg.solve_triangular(factor, block.mT, upper=False)

    def mean(self, weights: Float[Tensor, "B N"]) -> Float[Tensor, "B L"]:
        """``sum_i weights_i x_i``."""
        return self.means(weights[:, None])[:, 0]

    def means(self, weights: Float[Tensor, "B k N"]) -> Float[Tensor, "B k L"]:
        """:meth:`mean` for several weights of each row."""
        return sum_blocks(torch.bmm(weights[:, :, part], block) for part, block in self.blocks())

    def times(self, coefficients: Float[Tensor, "B L"]) -> Float[Tensor, "B N"]:
        """``x_i . coefficients`` for every row."""
        return torch.cat([row_products(block, coefficients) for _, block in self.blocks()], 1)

    def times_each(self, coefficients: Float[Tensor, "1 G L"], codes: Int[Tensor, "1 N"]) -> Float[Tensor, "1 N"]:
        """``x_i . coefficients_g`` for every row, g being its code."""
        parts = [(block[0] * coefficients[0, codes[0, part]]).sum(1) for part, block in self.blocks()]
        return torch.cat(parts)[None]


#: What a ridge regression reads of rows.
RegressionFeatures = RowFeatures | ColumnFeatures
