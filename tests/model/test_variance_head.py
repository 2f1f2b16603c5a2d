"""The variance heads by hand."""

from __future__ import annotations

import numpy as np
import torch

from dowhy_cina.model.variance import (
    BIAS_PARTS,
    LARGEST_ARM,
    REFERENCE_ROWS,
    ConditionalHead,
    RowError,
    VarianceHead,
)

N, D = 80, 4


def test_variance_head_by_hand():
    head = VarianceHead().double()
    rng = np.random.default_rng(0)
    sampling, bias, rows = rng.random(3), rng.random((3, len(BIAS_PARTS))), np.array([20.0, 150.0, 2 * LARGEST_ARM])
    values = {
        "log_sampling": rng.normal(),
        "log_weights": rng.normal(size=bias.shape[1]),
        "growth": rng.normal(size=bias.shape[1]),
        "columns": rng.normal(size=bias.shape[1]),
    }
    for name, value in values.items():
        getattr(head, name).data.copy_(torch.as_tensor(value))
    columns = np.array([2.0, 30.0, 500.0])
    weights = np.exp(values["log_weights"]) * np.ones((3, 1))
    weights *= (np.minimum(rows, LARGEST_ARM)[:, None] / REFERENCE_ROWS) ** values["growth"]
    weights *= (np.array([[2.0], [30.0], [60.0]]) / 10) ** values["columns"]
    expected = np.exp(values["log_sampling"]) * sampling + (weights * bias).sum(1)
    ours = head(*map(torch.from_numpy, (sampling, bias, rows, columns)))
    np.testing.assert_allclose(ours, expected)
    assert not any(parameter.requires_grad for parameter in head.parameters())


def test_conditional_head_by_hand():
    head = ConditionalHead().double()
    rng = np.random.default_rng(0)
    arms, expected = [], 0
    c = rng.normal(size=5)
    for _ in range(2):
        posterior, seen, departure, moved = rng.random((4, 3, N))
        evidence = rng.random(3)
        arms.append(RowError(*map(torch.from_numpy, (posterior, seen, evidence, departure, moved))))
        powers = evidence[:, None] ** c[1] * seen ** c[2] * (1 + departure) ** c[3] * (1 + moved) ** c[4]
        expected = expected + posterior * np.exp(c[0]) * powers
    np.testing.assert_array_equal(head((arms[0], arms[1])), arms[0].posterior + arms[1].posterior)
    head.coefficients.data.copy_(torch.from_numpy(c))
    np.testing.assert_allclose(head((arms[0], arms[1])), expected)
    assert not any(parameter.requires_grad for parameter in head.parameters())
