"""Multi-head Gaussian attention kernels and their landmark (Nystrom) features.

Letters: B tables, N rows, M landmarks, D key coordinates, H heads.

The kernel of two keys is a sum over heads, ``kappa(x, y) = sum_h amplitude_h exp(-|x - y|^2 / (2 scale_h^2))``. One
head is a softmax attention kernel whose key bias is ``-|x|^2 / (2 scale_h^2)``; a wide head acts like a linear and
quadratic part that, unlike a polynomial, stays bounded far from the data.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina._caching import cached_property
from dowhy_cina.mathematics.dense import exponential_, gram_of, is_quick, lower_factor, lower_inverse, times_lower

#: Width of each head relative to the keys: short, unit and wide.
HEAD_SCALES: tuple[float, ...] = (0.4, 1.0, 3.0)
#: Added to the diagonal of the landmark Gram, relative to its mean diagonal, before the Cholesky factorisation.
JITTER = 1e-6
#: Rows whose pairwise distances give the median bandwidth.
BANDWIDTH_ROWS = 1000
#: Median distance, as a share of the largest key, from which it is a bandwidth.
SMALLEST_BANDWIDTH = 1e-3
#: Entries of one rows x landmarks block: it fits a processor cache, which is what elementwise kernels wait for.
BLOCK_ENTRIES = 2**18
#: Entries of foreign rows' features up to which they are kept; those of more rows are computed again by each pass.
KEPT_ENTRIES = 2**24

#: A term per head.
Heads = tuple[Float[Tensor, "B N M"], Float[Tensor, "B N M"], Float[Tensor, "B N M"]]


def squared_distances(a: Float[Tensor, "B N D"], b: Float[Tensor, "B M D"]) -> Float[Tensor, "B N M"]:
    """Squared Euclidean distances of all pairs of keys, never negative."""
    norms = (a * a).sum(-1)[..., :, None] + (b * b).sum(-1)[..., None, :]
    return torch.baddbmm(norms, a, b.transpose(-1, -2), alpha=-2).clamp_min_(0)


def median_bandwidth(keys: Float[Tensor, "N D"]) -> float:
    """Median distance of two of the first :data:`BANDWIDTH_ROWS` rows; one if it is next to nothing beside the keys."""
    # Differences, not products: these leave two equal rows a distance of their own rounding.
    median = float(torch.nn.functional.pdist(keys[:BANDWIDTH_ROWS]).median())
    # Squared distances by products are off by the rounding of squares, of which a kernel so narrow would be made.
    return median if median > SMALLEST_BANDWIDTH * float(keys.abs().amax()) else 1.0


def gaussian_gram(keys: Float[Tensor, "B N D"], bandwidth: float) -> Float[Tensor, "B N N"]:
    """``exp(-|x - y|^2 / (2 bandwidth^2))`` of all pairs of keys."""
    return torch.exp(squared_distances(keys, keys) * (-0.5 / bandwidth**2))


def heads(distances: Float[Tensor, "B N M"]) -> Heads:
    """``exp(-distance / (2 scale^2))`` for every one of :data:`HEAD_SCALES`."""
    short, wide = (exponential_(torch.mul(distances, -0.5 / scale**2)) for scale in (HEAD_SCALES[0], HEAD_SCALES[2]))
    # The unit head is the ninth power of the wide one, three times as wide: products cost less than an exponential.
    if torch.is_grad_enabled():
        return short, wide.square().square().square() * wide, wide
    return short, wide.square().square_().square_().mul_(wide), wide


def mixed(terms: Heads, amplitudes: Float[Tensor, "B H"]) -> Float[Tensor, "B N M"]:
    """Sum over heads of ``amplitude * term``."""
    factors = amplitudes[..., None, None].unbind(1)
    return _add_heads(terms[0] * factors[0], terms, factors)


def _add_heads(total: Float[Tensor, "B N M"], terms: Heads, factors: Sequence[Tensor]) -> Float[Tensor, "B N M"]:
    """Add the other heads to the first one, in place: at this size a sum waits for memory, not for arithmetic."""
    for term, factor in zip(terms[1:], factors[1:], strict=True):
        total = total.addcmul_(term, factor)
    return total


def multihead_kernel(distances: Float[Tensor, "B N M"], amplitudes: Float[Tensor, "B H"]) -> Float[Tensor, "B N M"]:
    """Sum over heads of ``amplitude * exp(-distance / (2 scale^2))``."""
    terms = heads(distances)
    if torch.is_grad_enabled():
        return mixed(terms, amplitudes)
    factors = amplitudes[..., None, None].unbind(1)
    return _add_heads(terms[0].mul_(factors[0]), terms, factors)


def slope_amplitudes(amplitudes: Float[Tensor, "B H"]) -> Float[Tensor, "B H"]:
    """Amplitudes of minus twice the kernel's derivative in the squared distance.

    That is the factor of ``y - x`` in the kernel's gradient in ``x``.
    """
    return amplitudes / amplitudes.new_tensor(HEAD_SCALES) ** 2


@dataclass(frozen=True)
class LandmarkKernel:
    """A kernel restricted to the span of its landmarks: ``kappa(x, y) ~ phi(x) . phi(y)``.

    Exact, up to :data:`JITTER`, when every row is a landmark.

    Attributes
    ----------
    landmarks : Tensor, shape (B, M, D)
    amplitudes : Tensor, shape (B, H)

    References
    ----------
    Williams and Seeger (2001), Using the Nystrom method to speed up kernel machines.
    """

    landmarks: Float[Tensor, "B M D"]
    amplitudes: Float[Tensor, "B H"]

    @cached_property
    def factor(self) -> Float[Tensor, "B M M"]:
        """Lower Cholesky factor of the landmarks' Gram, with the jitter on its diagonal; computed on first use."""
        gram = multihead_kernel(squared_distances(self.landmarks, self.landmarks), self.amplitudes)
        eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        return lower_factor(gram + JITTER * self.diagonal[:, None, None] * eye)

    def set_factor(self, factor: Float[Tensor, "B M M"]) -> None:
        """Take what :attr:`factor` would be, where it is known."""
        vars(self)["factor"] = factor

    @cached_property
    def inverse(self) -> Float[Tensor, "B M M"]:
        """Inverse of the factor; computed on first use."""
        return lower_inverse(self.factor)

    def compact(self) -> LandmarkKernel:
        """Leave out the factor, which is larger than the landmarks and can be computed again."""
        return LandmarkKernel(self.landmarks, self.amplitudes)

    @property
    def diagonal(self) -> Float[Tensor, " B"]:
        """``kappa(x, x)``, the same for every key."""
        return self.amplitudes.sum(-1)

    def similarities(self, keys: Float[Tensor, "B N D"]) -> Float[Tensor, "B N M"]:
        """``kappa(x, landmark)``."""
        return multihead_kernel(squared_distances(keys, self.landmarks), self.amplitudes)

    def features(self, keys: Float[Tensor, "B N D"]) -> Float[Tensor, "B N M"]:
        """Rows ``phi(x)`` whose inner products are the landmark kernel."""
        return self.whitened(self.similarities(keys))

    def whitened(self, similarities: Float[Tensor, "B N M"]) -> Float[Tensor, "B N M"]:
        """Features of rows with these similarities."""
        if is_quick(similarities):
            return times_lower(similarities, self.inverse)
        columns: Tensor = torch.linalg.solve_triangular(self.factor, similarities.transpose(-1, -2), upper=False)
        return columns.transpose(-1, -2)

    def mean_squared_gradients(
        self, keys: Float[Tensor, "B N D"], terms: Heads, coefficients: Float[Tensor, "B M R"]
    ) -> Float[Tensor, "B D R"]:
        """Mean over rows of the squared gradients of ``x -> phi(x) . coefficients``.

        A value per key coordinate, for R functions at once; ``terms`` are the heads of the keys and the landmarks.
        """
        dual = torch.linalg.solve_triangular(self.factor.transpose(-1, -2), coefficients, upper=True)
        slope = mixed(terms, slope_amplitudes(self.amplitudes))
        # sum_m slope_nm dual_mr (landmark_m - key_n), by one product instead of an N x M x D array for each function
        moved = (dual[..., None] * self.landmarks[:, :, None]).flatten(2)
        pulled, sums = (slope @ torch.cat([moved, dual], 2)).tensor_split([moved.shape[2]], 2)
        gradients = pulled.reshape(*sums.shape, -1) - sums[..., None] * keys[:, :, None]
        mean: Tensor = gradients.square_().mean(1).mT
        return mean


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
        return replace(rows, kept=rows.together()) if whiten else replace(rows, similar=rows._joined(rows._kernels()))

    def with_features(self) -> RowFeatures:
        """Compute the features from kernels that are kept, and drop those."""
        if self.similar is None:
            return self
        return replace(self, kept=self._joined(self.blocks()), similar=None, scale=None)

    def together(self) -> Float[Tensor, "B N M"]:
        """Features of all rows in one tensor."""
        return self._joined(self.blocks()) if self.kept is None or self.scale is not None else self.kept

    def _joined(self, blocks: Iterator[tuple[slice, Float[Tensor, "B n M"]]]) -> Float[Tensor, "B N M"]:
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

    def gram(self) -> Float[Tensor, "B M M"]:
        """``sum_i phi(x_i) phi(x_i)'``."""
        return sum_blocks(gram_of(block) for _, block in self.blocks())

    def _slices(self) -> Iterator[slice]:
        rows = self.keys.shape[1]
        step = block_rows(self.kernel.landmarks.shape[0] * self.size, self.block_entries)
        # A table without rows has one block, which is empty.
        for start in range(0, max(rows, 1), step):
            yield slice(start, min(start + step, rows))

    def _kernels(self) -> Iterator[tuple[slice, Float[Tensor, "B n M"]]]:
        """Kernels of consecutive row blocks with the landmarks."""
        for block in self._slices():
            kernels = self.kernel.similarities(self.keys[:, block]) if self.similar is None else self.similar[:, block]
            yield block, kernels

    def blocks(self) -> Iterator[tuple[slice, Float[Tensor, "B n M"]]]:
        """Features of consecutive row blocks."""
        if self.kept is None:
            blocks = ((rows, self.kernel.whitened(kernels)) for rows, kernels in self._kernels())
        else:
            blocks = ((rows, self.kept[:, rows]) for rows in self._slices())
        for rows, features in blocks:
            yield rows, features if self.scale is None else features * self.scale[:, rows, None]

    def solved_blocks(self, factor: Float[Tensor, "B M M"]) -> Iterator[tuple[slice, Float[Tensor, "B M n"]]]:
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
        both = torch.linalg.solve_triangular(factor, self.kernel.inverse, upper=False)
        for rows, kernels in self._kernels():
            solved = times_lower(kernels, both).mT
            yield rows, solved if self.scale is None else solved * self.scale[:, None, rows]

    def mean(self, weights: Float[Tensor, "B N"]) -> Float[Tensor, "B M"]:
        """``sum_i weights_i phi(x_i)``."""
        if self.kept is not None:
            return sum_blocks(weighted_sum(weights[:, rows], block) for rows, block in self.blocks())
        weights = weights if self.scale is None else weights * self.scale
        # A sum of kernels needs one triangular solve, where a sum of features needs one for every row.
        total = sum_blocks(weighted_sum(weights[:, rows], block) for rows, block in self._kernels())
        mean: Tensor = torch.linalg.solve_triangular(self.kernel.factor, total[..., None], upper=False)
        return mean[..., 0]

    def times(self, coefficients: Float[Tensor, "B M"]) -> Float[Tensor, "B N"]:
        """``phi(x_i) . coefficients`` for every row."""
        if self.kept is not None:
            return torch.cat([row_products(block, coefficients) for _, block in self.blocks()], 1)
        upper = self.kernel.factor.transpose(-1, -2)
        dual = torch.linalg.solve_triangular(upper, coefficients[..., None], upper=True)
        values = torch.cat([row_products(block, dual[..., 0]) for _, block in self._kernels()], 1)
        return values if self.scale is None else values * self.scale

    def times_each(self, coefficients: Float[Tensor, "1 G M"], codes: Int[Tensor, "1 N"]) -> Float[Tensor, "1 N"]:
        """``phi(x_i) . coefficients_g`` for every row, g being its code."""
        if self.kept is not None:
            pairs, own = self.blocks(), coefficients[0]
        else:
            upper = self.kernel.factor.transpose(-1, -2)
            pairs, own = self._kernels(), torch.linalg.solve_triangular(upper, coefficients.mT, upper=True)[0].T
        values = torch.cat([(block[0] * own[codes[0, rows]]).sum(1) for rows, block in pairs])[None]
        return values if self.kept is not None or self.scale is None else values * self.scale


def block_rows(entries_per_row: int, block_entries: int | None = None) -> int:
    """Rows of a block; rows without entries are taken for rows of one."""
    return max(1, (block_entries or BLOCK_ENTRIES) // max(1, entries_per_row))


def sum_blocks(parts: Iterable[Tensor]) -> Tensor:
    """Sum what a pass over the blocks of a table gives, in their order."""
    return functools.reduce(torch.add, parts)


def row_products(rows: Float[Tensor, "B N M"], vector: Float[Tensor, "B M"]) -> Float[Tensor, "B N"]:
    """``rows @ vector``, in the form that a batched product is quick in."""
    return torch.bmm(vector[:, None], rows.mT)[:, 0]


def weighted_sum(weights: Float[Tensor, "B N"], rows: Float[Tensor, "B N M"]) -> Float[Tensor, "B M"]:
    """``weights @ rows``."""
    return torch.bmm(weights[:, None], rows)[:, 0]


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
    """``values[b, index[b]]`` for every table; of several indices for each, the tables begin anew."""
    # One selection among the rows of all tables is far quicker than one for each table, or than a gather.
    if values.shape[0] > 1:
        index = index + torch.arange(index.shape[0], device=index.device)[:, None] % values.shape[0] * values.shape[1]
    chosen = values.flatten(0, 1).index_select(0, index.flatten())
    return chosen.reshape(*index.shape, *values.shape[2:])
