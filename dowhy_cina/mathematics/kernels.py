"""Multi-head Gaussian attention kernels and their landmark (Nystrom) features.

Letters: B tables, N rows, M landmarks, D key coordinates, H heads.

The kernel of two keys is a sum over heads, ``kappa(x, y) = sum_h amplitude_h exp(-|x - y|^2 / (2 scale_h^2))``. One
head is a softmax attention kernel whose key bias is ``-|x|^2 / (2 scale_h^2)``; a wide head acts like a linear and
quadratic part that, unlike a polynomial, stays bounded far from the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina._caching import cached_property
from dowhy_cina.mathematics.dense import (
    exponential_,
    is_quick,
    lower_factor,
    lower_inverse,
    product_of,
    times_lower,
    with_diagonal,
)

#: Width of each head relative to the keys: short, unit and wide.
HEAD_SCALES: tuple[float, ...] = (0.4, 1.0, 3.0)
#: Standard deviations beyond which values of covariates are no further away for kernels: regressions in the columns see
#: where on a long tail they are.
REACH = 6.0
#: Added to the diagonal of the landmark Gram, relative to its mean diagonal, before the Cholesky factorisation.
JITTER = 1e-6
#: Entries of kernels that are computed at once: three arrays of them fit a core's own cache, which the nine passes
#: over them wait for.
CACHE_ENTRIES = 2**16
#: Rows whose pairwise distances give the median bandwidth.
BANDWIDTH_ROWS = 1000
#: Median distance, as a share of the largest key, from which it is a bandwidth.
SMALLEST_BANDWIDTH = 1e-3

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


def within_reach(covariates: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
    """Standardised covariates as far as kernels see them."""
    return covariates.clamp(-REACH, REACH)


def scaled_keys(covariates: Float[Tensor, "B n D"], scales: Float[Tensor, "B D"]) -> Float[Tensor, "B n D"]:
    """Keys of rows: their covariates within reach, each times its scale."""
    return within_reach(covariates) * scales[:, None]


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
        return lower_factor(with_diagonal(gram, JITTER * self.diagonal))

    def set_factor(self, factor: Float[Tensor, "B M M"]) -> None:
        """Take what :attr:`factor` would be, where it is known."""
        vars(self)["factor"] = factor

    @cached_property
    def inverse(self) -> Float[Tensor, "B M M"]:
        """Inverse of the factor; computed on first use."""
        return lower_inverse(self.factor)

    def prepare(self) -> None:
        """Work out what is worked out once."""
        _ = self.inverse, self._exponents, self._amplitudes

    def compact(self) -> LandmarkKernel:
        """Leave out the factor, which is larger than the landmarks and can be computed again."""
        return LandmarkKernel(self.landmarks, self.amplitudes)

    @property
    def diagonal(self) -> Float[Tensor, " B"]:
        """``kappa(x, x)``, the same for every key."""
        return self.amplitudes.sum(-1)

    def similarities(self, keys: Float[Tensor, "B N D"]) -> Float[Tensor, "B N M"]:
        """``kappa(x, landmark)``."""
        if keys.device.type != "cpu" or torch.is_grad_enabled():
            return multihead_kernel(squared_distances(keys, self.landmarks), self.amplitudes)
        norms = (keys * keys).sum(2, keepdim=True)
        keys = torch.cat([keys, norms, torch.ones_like(norms)], 2)
        kernels = keys.new_empty(*keys.shape[:2], self.landmarks.shape[1])
        step = max(1, CACHE_ENTRIES // self.landmarks.shape[1])
        # The same memory for every part stays in the cache.
        rooms = keys.new_empty(2, min(step, keys.shape[1]), self.landmarks.shape[1])
        for own, exponents, (log_short, unit, wide), total in zip(
            keys, self._exponents, self._amplitudes, kernels, strict=True
        ):
            for part, block in zip(own.split(step), total.split(step), strict=True):
                widest, eighth = rooms[:, : len(part)].unbind(0)
                product_of(part, exponents, out=widest)
                exponential_(torch.add(log_short, widest, alpha=(HEAD_SCALES[2] / HEAD_SCALES[0]) ** 2, out=block))
                exponential_(widest)
                torch.mul(widest, widest, out=eighth).square_().square_()
                block.addcmul_(eighth, widest, value=unit).add_(widest, alpha=wide)
        return kernels

    @cached_property
    def _exponents(self) -> Float[Tensor, "B K M"]:
        """Takes a key, its square and a one to the exponents of the widest head."""
        norms = (self.landmarks * self.landmarks).sum(2, keepdim=True)
        columns = torch.cat([-2 * self.landmarks, torch.ones_like(norms), norms], 2)
        return (columns * (-0.5 / HEAD_SCALES[2] ** 2)).mT.contiguous()

    @cached_property
    def _amplitudes(self) -> list[tuple[Tensor, float, float]]:
        """Of each table: that of the short head as a logarithm, those of the others."""
        rest: list[list[float]] = self.amplitudes[:, 1:].tolist()
        return [(log, unit, wide) for log, (unit, wide) in zip(self.amplitudes[:, 0].log(), rest, strict=True)]

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
