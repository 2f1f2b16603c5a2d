"""Multi-head Gaussian attention kernels and their landmark (Nystrom) features.

Letters: B tables, N rows, M landmarks, D key coordinates, H heads.

The kernel of two keys is a sum over heads, ``kappa(x, y) = sum_h amplitude_h exp(-|x - y|^2 / (2 scale_h^2))``. One
head is a softmax attention kernel whose key bias is ``-|x|^2 / (2 scale_h^2)``; a wide head acts like a linear and
quadratic part that, unlike a polynomial, stays bounded far from the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

#: Width of each head relative to the keys: short, unit and wide.
HEAD_SCALES: tuple[float, ...] = (0.4, 1.0, 3.0)
#: Added to the diagonal of the landmark Gram, relative to its mean diagonal, before the Cholesky factorisation.
JITTER = 1e-6
#: Rows whose pairwise distances give the median bandwidth.
BANDWIDTH_ROWS = 1000
#: Entries of one rows x landmarks block: it fits a processor cache, which is what elementwise kernels wait for.
BLOCK_ENTRIES = 2**19


def squared_distances(a: Float[Tensor, "B N D"], b: Float[Tensor, "B M D"]) -> Float[Tensor, "B N M"]:
    """Squared Euclidean distances of all pairs of keys, never negative."""
    norms = (a * a).sum(-1)[..., :, None] + (b * b).sum(-1)[..., None, :]
    return (norms - 2 * a @ b.transpose(-1, -2)).clamp_min(0)


def median_bandwidth(keys: Float[Tensor, "N D"]) -> float:
    """Median distance of two of the first :data:`BANDWIDTH_ROWS` rows; one if it is zero."""
    some = keys[None, :BANDWIDTH_ROWS]
    distances = squared_distances(some, some)[0]
    above = distances[torch.triu_indices(len(distances), len(distances), 1).unbind(0)]
    return float(above.median().sqrt()) or 1.0


def gaussian_gram(keys: Float[Tensor, "B N D"], bandwidth: float) -> Float[Tensor, "B N N"]:
    """``exp(-|x - y|^2 / (2 bandwidth^2))`` of all pairs of keys."""
    return torch.exp(squared_distances(keys, keys) * (-0.5 / bandwidth**2))


def multihead_kernel(distances: Float[Tensor, "B N M"], amplitudes: Float[Tensor, "B H"]) -> Float[Tensor, "B N M"]:
    """Sum over heads of ``amplitude * exp(-distance / (2 scale^2))``."""
    terms = [
        amplitudes[:, h, None, None] * torch.exp(distances * (-0.5 / scale**2)) for h, scale in enumerate(HEAD_SCALES)
    ]
    return sum(terms[1:], start=terms[0])


def multihead_slope(distances: Float[Tensor, "B N M"], amplitudes: Float[Tensor, "B H"]) -> Float[Tensor, "B N M"]:
    """Minus twice the derivative of :func:`multihead_kernel` in the squared distance.

    It is the factor of ``y - x`` in the kernel's gradient in ``x``.
    """
    return multihead_kernel(distances, amplitudes / amplitudes.new_tensor(HEAD_SCALES) ** 2)


@dataclass(frozen=True)
class LandmarkKernel:
    """A kernel restricted to the span of its landmarks: ``kappa(x, y) ~ phi(x) . phi(y)``.

    Exact, up to :data:`JITTER`, when every row is a landmark.

    Attributes
    ----------
    landmarks : Tensor, shape (B, M, D)
    amplitudes : Tensor, shape (B, H)
    factor : Tensor, shape (B, M, M)
        Lower Cholesky factor of the landmarks' Gram.

    References
    ----------
    Williams and Seeger (2001), Using the Nystrom method to speed up kernel machines.
    """

    landmarks: Float[Tensor, "B M D"]
    amplitudes: Float[Tensor, "B H"]
    factor: Float[Tensor, "B M M"]

    @classmethod
    def build(cls, landmarks: Float[Tensor, "B M D"], amplitudes: Float[Tensor, "B H"]) -> LandmarkKernel:
        """Factorise the landmarks' Gram, with the jitter on its diagonal."""
        gram = multihead_kernel(squared_distances(landmarks, landmarks), amplitudes)
        eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        return cls(
            landmarks, amplitudes, torch.linalg.cholesky(gram + JITTER * amplitudes.sum(-1)[:, None, None] * eye)
        )

    @property
    def diagonal(self) -> Float[Tensor, " B"]:
        """``kappa(x, x)``, the same for every key."""
        return self.amplitudes.sum(-1)

    def features(self, keys: Float[Tensor, "B N D"]) -> Float[Tensor, "B N M"]:
        """Rows ``phi(x)`` whose inner products are the landmark kernel."""
        kernel = multihead_kernel(squared_distances(keys, self.landmarks), self.amplitudes)
        columns: Tensor = torch.linalg.solve_triangular(self.factor, kernel.transpose(-1, -2), upper=False)
        return columns.transpose(-1, -2)

    def blocks(self, keys: Float[Tensor, "B N D"]) -> Iterator[tuple[slice, Float[Tensor, "B n M"]]]:
        """Features of consecutive row blocks, so that a long table never needs all of them at once."""
        step = max(1, BLOCK_ENTRIES // (self.landmarks.shape[0] * self.landmarks.shape[1]))
        for start in range(0, keys.shape[1], step):
            rows = slice(start, min(start + step, keys.shape[1]))
            yield rows, self.features(keys[:, rows])

    def mean_features(self, keys: Float[Tensor, "B N D"], weights: Float[Tensor, "B N"]) -> Float[Tensor, "B M"]:
        """``sum_i weights_i phi(x_i)``."""
        parts = [torch.einsum("bn,bnm->bm", weights[:, rows], block) for rows, block in self.blocks(keys)]
        return torch.stack(parts).sum(0)

    def mean_squared_gradient(
        self, keys: Float[Tensor, "B N D"], coefficients: Float[Tensor, "B M"]
    ) -> Float[Tensor, "B D"]:
        """Mean over rows of the squared gradient of ``x -> phi(x) . coefficients``, a value per key coordinate."""
        dual = torch.linalg.solve_triangular(self.factor.transpose(-1, -2), coefficients[..., None], upper=True)
        slope = multihead_slope(squared_distances(keys, self.landmarks), self.amplitudes) * dual.transpose(-1, -2)
        gradient: Tensor = slope @ self.landmarks - slope.sum(-1, keepdim=True) * keys
        return gradient.square().mean(1)


def gather_rows(values: Float[Tensor, "B N *rest"], index: Int[Tensor, "B M"]) -> Float[Tensor, "B M *rest"]:
    """``values[b, index[b]]`` for every table."""
    return torch.stack([table[rows] for table, rows in zip(values, index, strict=True)])
