"""The CInA layer against torch's softmax and scaled dot-product attention on explicit keys."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dowhy_cina.mathematics.balancing import (
    Convention,
    apply,
    combine,
    key_normaliser,
    relative_duality_gap,
)
from dowhy_cina.mathematics.kernels import multihead_kernel, squared_distances
from dowhy_cina.model.attention import CinaLayer, cina_attention

B, N, D = 2, 30, 4


@pytest.fixture
def keys():
    return torch.from_numpy(np.random.default_rng(0).normal(size=(B, N, D)))


@pytest.fixture
def values():
    return torch.from_numpy(np.random.default_rng(1).normal(size=(B, N)))


def key_bias(keys):
    """``log g``: what makes the attention kernel a Gaussian one."""
    return -keys.square().sum(-1) / (2 * D**0.5)


def gaussian(keys):
    """The package's kernel with its unit head alone, at keys in the scale of ``q k / sqrt(D)``."""
    scaled = keys / D**0.25
    unit = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64).expand(B, 3)
    return multihead_kernel(squared_distances(scaled, scaled), unit)


def factor(gram):
    """Features whose products are the Gram."""
    eigenvalues, vectors = torch.linalg.eigh(gram)
    return vectors * eigenvalues.clamp_min(0).sqrt()[:, None, :]


def test_gaussian_head_is_the_attention_kernel(keys):
    logits = keys @ keys.transpose(1, 2) / D**0.5
    bias = key_bias(keys)
    expected = torch.exp(logits + bias[:, :, None] + bias[:, None, :])
    torch.testing.assert_close(gaussian(keys), expected, atol=1e-12, rtol=0)


def test_layer_is_softmax_over_queries(keys, values):
    logits = keys @ keys.transpose(1, 2) / D**0.5 + key_bias(keys)[:, :, None]
    expected = torch.einsum("bij,bj->bi", torch.softmax(logits, dim=1), values)
    features = factor(gaussian(keys))
    ours = cina_attention(features, values, key_normaliser(features))
    torch.testing.assert_close(ours, expected, atol=1e-10, rtol=0)


def test_row_softmax_is_scaled_dot_product_attention(keys, values):
    expected = torch.nn.functional.scaled_dot_product_attention(
        keys, keys, values[..., None], attn_mask=key_bias(keys)[:, None, :].expand(B, N, N)
    )[..., 0]
    gram = gaussian(keys)
    torch.testing.assert_close((gram @ values[..., None])[..., 0] / gram.sum(2), expected, atol=1e-10, rtol=0)
    # The same from features: the two conventions share kernel and normaliser and differ in the side of the division.
    features = factor(gram)
    rows = cina_attention(features, values, key_normaliser(features), Convention.ROWS)
    torch.testing.assert_close(rows, expected, atol=1e-10, rtol=0)


@pytest.fixture
def table(keys):
    features = factor(gaussian(keys))
    signs = torch.where(keys[..., 0] + keys[..., 1].sin() > 0, 1.0, -1.0).double()
    return features, signs, torch.tensor([0.1, 0.5]).double()


def test_values_carry_the_margin(table):
    """The layer's output plus an intercept is the margin of the dual variables that its values carry."""
    features, signs, regularisation = table
    result = CinaLayer(16)(features, signs, regularisation)
    margin = cina_attention(features, result.values, result.normaliser)
    expected = apply(features, combine(features, result.alpha * signs)) / regularisation[:, None]
    torch.testing.assert_close(margin, expected, atol=1e-10, rtol=0)
    assert (signs * result.values >= 0).all()
    assert ((result.alpha >= 0) & (result.alpha <= 1 + 1e-12)).all()


def test_layer_certifies_itself_and_more_layers_are_better(table):
    features, signs, regularisation = table
    gaps = []
    for layers in (1, 16, 2000):
        result = CinaLayer(layers)(features, signs, regularisation)
        expected = relative_duality_gap(features, result.alpha, signs, regularisation)
        torch.testing.assert_close(result.duality_gap, expected)
        for arm in (-1, 1):
            np.testing.assert_allclose((result.weights * (signs == arm)).sum(1), 1)
        gaps.append(result.duality_gap.max().item())
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-5
