"""Strips of rows on threads, and which rows a pass looks at."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from dowhy_cina.mathematics import passes
from dowhy_cina.mathematics.kernels import LandmarkKernel
from dowhy_cina.mathematics.passes import each_strip, with_weight
from dowhy_cina.mathematics.rows import RowFeatures


@pytest.mark.parametrize("rows", [0, 1, 4096, 4097, 300_000])
def test_strips_cover_the_rows_in_their_order(rows):
    strips = each_strip(rows, lambda strip: strip)
    assert [place for strip in strips for place in range(strip.start, strip.stop)] == list(range(rows))
    assert len(strips) <= passes.MOST_STRIPS


def test_threads_change_no_digit():
    """Each is in a thread of its own, without gradients, and computes with one thread."""
    rng = np.random.default_rng(0)
    keys = torch.from_numpy(rng.normal(size=(1, 3 * passes.STRIP_ROWS + 5, 4)))
    rows = RowFeatures(LandmarkKernel(keys[:, :16], torch.tensor([[0.3, 1.0, 0.5]], dtype=torch.float64)), keys, None)
    weights, found, before = torch.from_numpy(rng.random((1, 2, keys.shape[1]))), [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with torch.no_grad():
                found.append((rows.gram(), rows.means(weights), rows.times(weights[:, 0, :16])))
                seen = each_strip(keys.shape[1], lambda _: (threading.get_ident(), torch.is_grad_enabled()))
            assert len({thread for thread, _ in seen}) <= threads
            assert not any(grad for _, grad in seen)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


@torch.no_grad()
def test_the_kernel_of_one_table_is_that_of_several():
    keys = torch.from_numpy(np.random.default_rng(2).normal(size=(1, 200, 5)))
    kernel = LandmarkKernel(keys[:, :30], torch.tensor([[0.3, 1.0, 0.5]], dtype=torch.float64))
    twice = LandmarkKernel(kernel.landmarks.repeat(2, 1, 1), kernel.amplitudes.repeat(2, 1))
    for of in (LandmarkKernel.similarities, LandmarkKernel.features):
        torch.testing.assert_close(of(kernel, keys), of(twice, keys.repeat(2, 1, 1))[:1], rtol=0, atol=1e-11)


def test_rows_without_a_weight_are_left_out_where_they_are_many():
    weights = torch.zeros(1, 2, 20)
    weights[0, 0, 12], weights[0, 1, 14] = 1.0, -2.0
    assert with_weight(weights, slice(10, 20)).tolist() == [12, 14]
    assert with_weight(torch.ones(1, 1, 20), slice(10, 20)) == slice(10, 20)
    assert with_weight(weights.repeat(2, 1, 1), slice(10, 20)) == slice(10, 20)
