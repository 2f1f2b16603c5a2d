"""Features of a table's rows, in memory or computed again block by block.

Letters: B tables, N rows, n rows of a block, M landmarks, D key coordinates, G groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.dense import gram_of, is_quick, lower_inverse, times_lower
from dowhy_cina.mathematics.kernels import LandmarkKernel
from dowhy_cina.mathematics.passes import (
    STRIP_ROWS,
    Places,
    each_strip,
    gather_rows,
    sum_blocks,
    with_weight,
)

Result = TypeVar("Result")

#: Entries of one rows x landmarks block: it fits a processor cache, which is what elementwise kernels wait for.
BLOCK_ENTRIES = 2**18
#: Entries of foreign rows' features up to which they are kept; those of more rows are computed again by each pass.
KEPT_ENTRIES = 2**24
#: Kernels whose features of all rows may be kept: of the balancing layer, which most passes read, and of the outcome
#: regressions of the control and of the treated arm.
KERNELS: tuple[str, ...] = ("balance", "control", "treated")


@dataclass(frozen=True)
class Storage:
    """What a forward pass keeps of the features of a table's rows; the rest is computed again by each pass over them.

    Attributes
    ----------
    kept : tuple of str
        Those of :data:`KERNELS` whose features are kept.
    block_entries : int, optional
        Entries of a block of rows; :data:`BLOCK_ENTRIES` by default.
    """

    kept: tuple[str, ...] = KERNELS
    block_entries: int | None = None


@dataclass(frozen=True)
class RowFeatures:
    """Features ``phi`` of a table's rows: kept when they are few, computed again block by block when they are not.

    Attributes
    ----------
    kernel : LandmarkKernel
    keys : Tensor, shape (B, N, D)
    kept : Tensor of shape (B, N, M), or None
    block_entries : int, optional
        Entries of a block; :data:`BLOCK_ENTRIES` by default.
    scale : Tensor of shape (B, N), optional
        Factor of each row's features.
    similar : Tensor of shape (B, N, M), optional
        Kernels of the rows with the landmarks, kept instead of the features: a sum over rows or a product with each
        row needs one triangular solve then, and the features of some rows can be had without those of the others.
    """

    kernel: LandmarkKernel
    keys: Float[Tensor, "B N D"]
    kept: Float[Tensor, "B N M"] | None
    block_entries: int | None = None
    scale: Float[Tensor, "B N"] | None = None
    similar: Float[Tensor, "B N M"] | None = None

    @property
    def size(self) -> int:
        """Number M of features."""
        return self.kernel.landmarks.shape[1]

    @classmethod
    def build(
        cls,
        kernel: LandmarkKernel,
        keys: Float[Tensor, "B N D"],
        keep: bool | None = None,
        block_entries: int | None = None,
        whiten: bool = True,
    ) -> RowFeatures:
        """Compute the features if they are to be kept, or without ``whiten`` the kernels with the landmarks.

        By default that depends on their number.
        """
        rows = cls(kernel, keys, None, block_entries)
        if keep is None:
            keep = keys.shape[0] * keys.shape[1] * rows.size <= KEPT_ENTRIES
        if not keep:
            return rows
        return replace(rows, kept=rows.together()) if whiten else replace(rows, similar=rows._joined(rows.kernels()))

    def with_features(self) -> RowFeatures:
        """Compute the features from kernels that are kept, and drop those."""
        if self.similar is None:
            return self
        return replace(self, kept=self._joined(self.blocks()), similar=None, scale=None)

    def together(self) -> Float[Tensor, "B N M"]:
        """Features of all rows in one tensor."""
        if self.kept is not None and self.scale is None:
            return self.kept
        if torch.is_grad_enabled() or len(self.keys) > 1 or self.keys.shape[1] <= STRIP_ROWS:
            return self._joined(self.blocks())
        whole = self.keys.new_empty(*self.keys.shape[:2], self.size)

        def fill(strip: slice, rows: RowFeatures) -> None:
            for part, block in rows.blocks():
                whole[:, strip][:, part] = block

        self.in_strips(fill)
        return whole

    def _joined(self, blocks: Iterator[tuple[Places, Float[Tensor, "B n M"]]]) -> Float[Tensor, "B N M"]:
        if torch.is_grad_enabled():
            return torch.cat([block for _, block in blocks], 1)
        whole = None
        for rows, block in blocks:
            if block.shape[1] == self.keys.shape[1]:
                return block
            whole = self.keys.new_empty(*self.keys.shape[:2], self.size) if whole is None else whole
            whole[:, rows] = block
        assert whole is not None
        return whole

    def take(self, index: Int[Tensor, "B n"]) -> RowFeatures:
        """Features of some of the rows of each table."""
        parts = (self.kept, self.scale, self.similar)
        kept, scale, similar = (None if part is None else gather_rows(part, index) for part in parts)
        return RowFeatures(self.kernel, gather_rows(self.keys, index), kept, self.block_entries, scale, similar)

    def scaled(self, factor: Float[Tensor, "B N"]) -> RowFeatures:
        """Multiply each row's features by a factor, when they are computed."""
        return replace(self, scale=factor if self.scale is None else self.scale * factor)

    @property
    def is_streamed(self) -> bool:
        """Whether each pass computes kernels again."""
        return self.kept is None and self.similar is None

    def in_strips(self, work: Callable[[slice, RowFeatures], Result]) -> list[Result]:
        """What is made of strips of the rows, see :func:`~dowhy_cina.mathematics.passes.each_strip`."""
        rows = self.keys.shape[1]
        if rows <= STRIP_ROWS or self.keys.device.type != "cpu" or torch.is_grad_enabled():
            return [work(slice(0, rows), self)]
        if self.is_streamed:
            self.kernel.prepare()  # before several threads do
        return each_strip(rows, lambda strip: work(strip, self._strip(strip)))

    def _strip(self, rows: slice) -> RowFeatures:
        kept, scale, similar = (None if p is None else p[:, rows] for p in (self.kept, self.scale, self.similar))
        return RowFeatures(self.kernel, self.keys[:, rows], kept, self.block_entries, scale, similar)

    def gram(self) -> Float[Tensor, "B M M"]:
        """``sum_i phi(x_i) phi(x_i)'``."""
        return sum_blocks(self.in_strips(lambda _, strip: sum_blocks(gram_of(block) for _, block in strip.blocks())))

    def slices(self) -> Iterator[slice]:
        """Consecutive row blocks."""
        rows = self.keys.shape[1]
        step = block_rows(self.kernel.landmarks.shape[0] * self.size, self.block_entries)
        # A table without rows has one block, which is empty.
        for start in range(0, max(rows, 1), step):
            yield slice(start, min(start + step, rows))

    def kernels(self, weights: Float[Tensor, "B k N"] | None = None) -> Iterator[tuple[Places, Float[Tensor, "B n M"]]]:
        """Kernels of consecutive row blocks with the landmarks; where streamed, of rows that have a weight."""
        for block in self.slices():
            if self.similar is not None:
                yield block, self.similar[:, block]
                continue
            places = block if weights is None else with_weight(weights, block)
            yield places, self.kernel.similarities(self.keys[:, places])

    def blocks(self, weights: Float[Tensor, "B N"] | None = None) -> Iterator[tuple[Places, Float[Tensor, "B n M"]]]:
        """Features of consecutive row blocks; where streamed, of rows that have a weight."""
        if self.kept is None:
            blocks = (
                (rows, self.kernel.whitened(kernels))
                for rows, kernels in self.kernels(None if weights is None else weights[:, None])
            )
        else:
            blocks = ((rows, self.kept[:, rows]) for rows in self.slices())
        for rows, features in blocks:
            yield rows, features if self.scale is None else features * self.scale[:, rows, None]

    def solved_blocks(self, factor: Float[Tensor, "B M M"]) -> Iterator[tuple[Places, Float[Tensor, "B M n"]]]:
        """``factor^-1 phi(x)`` of consecutive row blocks, for a lower triangular factor."""
        if self.kept is not None:
            inverse = lower_inverse(factor) if is_quick(self.kept) else None
            for rows, features in self.blocks():
                if inverse is None:
                    yield rows, torch.linalg.solve_triangular(factor, features.mT, upper=False)
                else:
                    yield rows, times_lower(features, inverse).mT
            return
        # One product with each row instead of two triangular solves.
        solving = self.solving(factor)
        for rows, kernels in self.kernels():
            solved = times_lower(kernels, solving).mT
            yield rows, solved if self.scale is None else solved * self.scale[:, None, rows]

    def solving(self, factor: Float[Tensor, "B M M"]) -> Float[Tensor, "B M M"]:
        """What takes a row's kernels with the landmarks to ``factor^-1 phi``; lower triangular."""
        solving: Tensor = torch.linalg.solve_triangular(factor, self.kernel.inverse, upper=False)
        return solving

    def mean(self, weights: Float[Tensor, "B N"]) -> Float[Tensor, "B M"]:
        """``sum_i weights_i phi(x_i)``."""
        return self.means(weights[:, None])[:, 0]

    def means(self, weights: Float[Tensor, "B k N"]) -> Float[Tensor, "B k M"]:
        """:meth:`mean` for several weights of each row, by one pass."""
        if self.kept is not None:
            return sum_blocks(
                self.in_strips(
                    lambda strip, own: sum_blocks(
                        weights[:, :, strip][:, :, rows] @ block for rows, block in own.blocks()
                    )
                )
            )
        weights = weights if self.scale is None else weights * self.scale[:, None]

        def total(strip: slice, rows: RowFeatures) -> Float[Tensor, "B k M"]:
            own = weights[:, :, strip]
            return sum_blocks(own[:, :, part] @ block for part, block in rows.kernels(own))

        # A sum of kernels needs one triangular solve, where a sum of features needs one for every row.
        return self.kernel.whitened(sum_blocks(self.in_strips(total)))

    def times(
        self, coefficients: Float[Tensor, "B M"], weights: Float[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B N"]:
        """``phi(x_i) . coefficients`` for every row; where streamed it may be zero for rows without a weight."""
        return self.times_several(coefficients[:, None], weights)[:, 0]

    def times_several(
        self, coefficients: Float[Tensor, "B k M"], weights: Float[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B k N"]:
        """:meth:`times` for several vectors of coefficients, by one pass."""
        if self.kept is not None:
            strips = self.in_strips(lambda _, own: torch.cat([coefficients @ block.mT for _, block in own.blocks()], 2))
            return torch.cat(strips, 2)
        dual, given = self.dual(coefficients), None if weights is None else weights[:, None]

        def work(strip: slice, rows: RowFeatures) -> Float[Tensor, "B k n"]:
            values = dual.new_zeros(*dual.shape[:2], rows.keys.shape[1])
            for part, block in rows.kernels(None if given is None else given[..., strip]):
                values[:, :, part] = dual @ block.mT
            return values

        values = torch.cat(self.in_strips(work), 2)
        return values if self.scale is None else values * self.scale[:, None]

    def dual(self, coefficients: Float[Tensor, "B k M"]) -> Float[Tensor, "B k M"]:
        """Coefficients of the kernels with the landmarks instead of the features."""
        dual: Tensor = torch.linalg.solve_triangular(self.kernel.factor.mT, coefficients.mT, upper=True)
        return dual.mT

    def times_each(self, coefficients: Float[Tensor, "1 G M"], codes: Int[Tensor, "1 N"]) -> Float[Tensor, "1 N"]:
        """``phi(x_i) . coefficients_g`` for every row, g being its code."""
        if self.kept is not None:
            pairs, own = self.blocks(), coefficients[0]
        else:
            upper = self.kernel.factor.transpose(-1, -2)
            pairs, own = self.kernels(), torch.linalg.solve_triangular(upper, coefficients.mT, upper=True)[0].T
        values = torch.cat([(block[0] * own[codes[0, rows]]).sum(1) for rows, block in pairs])[None]
        return values if self.kept is not None or self.scale is None else values * self.scale


def block_rows(entries_per_row: int, block_entries: int | None = None) -> int:
    """Rows of a block; rows without entries are taken for rows of one."""
    return max(1, (block_entries or BLOCK_ENTRIES) // max(1, entries_per_row))
