"""Column statistics against numpy, and what the column-token transformer must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dowhy_cina.config import ModelConfig
from dowhy_cina.model.encoder import (
    COLUMN_BOUND,
    COLUMN_FEATURES,
    SWAPPED_COLUMN_FEATURES,
    SWAPPED_TABLE_FEATURES,
    TABLE_FEATURES,
    TABLE_OUTPUTS,
    ColumnEncoder,
    column_features,
    table_features,
    table_totals,
)

B, N, D = 2, 60, 5


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(B, N, D))
    x[:, :, 1] = np.exp(x[:, :, 1])
    x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    t = (rng.random((B, N)) < 0.4).astype(float)
    y = x[..., 0] + t * x[..., 1] + rng.normal(size=(B, N))
    shares = rng.dirichlet(np.ones(D), size=(B, 3)).transpose(0, 2, 1)
    return tuple(map(torch.from_numpy, (x, t, y, shares)))


@pytest.fixture
def encoder():
    """A network whose output layers are not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ColumnEncoder(ModelConfig(width=16, layers=2, heads=2)).double().eval()
        for output in (model.column_output, model.table_output):
            torch.nn.init.normal_(output.weight, std=0.3)
    return model


def tokens(seed=0, columns=D):
    rng = np.random.default_rng(seed)
    shape = (B, columns, COLUMN_FEATURES)
    return torch.from_numpy(rng.normal(size=shape)), torch.from_numpy(rng.normal(size=(B, TABLE_FEATURES)))


def test_associations_are_numpys_correlations(data):
    features = column_features(*data)
    x, t, y, _ = (part.numpy() for part in data)
    assert features.shape == (B, D, COLUMN_FEATURES)
    for table in range(B):
        for column in range(D):
            expected = []
            for rows, response in ((t >= 0, t), (t == 0, y), (t == 1, y)):
                inside, values = rows[table], x[table, :, column]
                for transformed in (values, values**2, np.abs(values)):
                    r = abs(np.corrcoef(transformed[inside], response[table, inside])[0, 1])
                    expected += [r, np.log1p(r * np.sqrt(inside.sum()))]
            np.testing.assert_allclose(features[table, column, 3:21], expected, atol=1e-10)


def test_shape_statistics_by_hand(data):
    features = column_features(*data)
    x = data[0].numpy()
    cross = np.abs(np.einsum("bnd,bne->bde", x, x)) / N * (1 - np.eye(D))
    np.testing.assert_allclose(features[..., 21], np.log1p(np.abs((x**3).mean(1))))
    np.testing.assert_allclose(features[..., 22], np.log1p((x**4).mean(1)))
    np.testing.assert_allclose(features[..., 23], np.abs(np.abs(x).mean(1) - 1), rtol=1e-12)
    np.testing.assert_allclose(features[..., 24], cross.mean(2), atol=1e-12)
    np.testing.assert_allclose(features[..., 25], cross.max(2), atol=1e-12)


def test_shares_are_relative_to_equal_ones(data):
    """One of D equal shares is near zero, and no share at all is log(1e-3)."""
    x, t, y, shares = data
    shares = shares.clone()
    shares[0, 0] = torch.tensor([1 / D, 0.0, 1.0], dtype=torch.float64)
    features = column_features(x, t, y, shares)[..., :3]
    np.testing.assert_allclose(features[0, 0], np.log([1.001, 1e-3, D + 1e-3]), rtol=1e-12)
    np.testing.assert_allclose(features[1], (D * shares[1] + 1e-3).log(), rtol=1e-12)


def test_features_ignore_signs_and_row_order(data):
    x, t, y, shares = data
    features = column_features(x, t, y, shares)
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0]).double()
    torch.testing.assert_close(column_features(x * signs, t, -y, shares), features, atol=1e-12, rtol=0)
    order = torch.from_numpy(np.random.default_rng(1).permutation(N))
    shuffled = column_features(x[:, order], t[:, order], y[:, order], shares)
    torch.testing.assert_close(shuffled, features, atol=1e-10, rtol=0)


def test_features_of_constants_are_finite(data):
    x, t, y, shares = data
    constant = x.clone()
    constant[:, :, 2] = 0
    for response in (y, torch.zeros_like(y)):
        assert torch.isfinite(column_features(constant, t, response, shares)).all()


def test_table_features(data):
    _, t, y, _ = data
    pilot = torch.rand(B, 3, generator=torch.Generator().manual_seed(0)).double()
    features = table_features(table_totals(t, y), D, pilot, 1 + pilot)
    assert features.shape == (B, TABLE_FEATURES)
    assert torch.isfinite(features).all()
    torch.testing.assert_close(table_features(table_totals(t, -y), D, pilot, 1 + pilot), features)
    torch.testing.assert_close(features[:, 0], torch.full((B,), np.log(N) - 6).double())


def test_table_totals_by_hand():
    t = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]]).double()
    y = torch.tensor([[2.0, -1.0, 0.0, 1.0], [3.0, 0.5, -2.0, 0.0]]).double()
    expected = torch.tensor([[4, 2, 18, 4], [4, 1, 97.0625, 5.5]]).double()
    assert torch.equal(table_totals(t, y), expected)
    sizes = torch.tensor([1.0, 2.0]).double(), torch.tensor([1.0, 1.0]).double()
    counted = torch.tensor([[2, 1, 9, 2], [3, 1, 72.796875, 4.125]]).double()
    assert torch.equal(table_totals(t, y, sizes), counted)


def test_table_features_by_hand():
    """Rows, treated, controls, columns and one, kurtosis and mean size of the outcome; what the pilot fits say."""
    totals = torch.tensor([[100.0, 30.0, 250.0, 80.0], [2000.0, 1900.0, 9000.0, 2500.0]]).double()
    explained = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], dtype=torch.float64)
    freedom = torch.tensor([[2.0, 3.0, 4.0], [5.0, 6.0, 7.0]]).double()
    expected = [
        [np.log(n) - 6, np.log(treated) - 5, np.log(control) - 5, np.log(8) - 2.5, np.log(shape) - 1, size]
        for n, treated, control, shape, size in ((100, 30, 70, 3.5, 0.2), (2000, 1900, 100, 5.5, 0.25))
    ]
    features = table_features(totals, 7, explained, freedom).numpy()
    np.testing.assert_allclose(features[:, :6], expected, rtol=1e-12)
    np.testing.assert_array_equal(features[:, 6:9], explained)
    np.testing.assert_allclose(features[:, 9:], freedom.log(), rtol=1e-12)


def test_table_features_are_those_of_its_totals(data):
    _, t, y, _ = data
    pilot = torch.full((B, 3), 0.5).double()
    n, treated = float(N), t.numpy().sum(1)
    features = table_features(table_totals(t, y), D, pilot, 1 + pilot).numpy()
    np.testing.assert_allclose(features[:, 1], np.log(treated) - 5, rtol=1e-12)
    np.testing.assert_allclose(features[:, 2], np.log(n - treated) - 5, rtol=1e-12)
    np.testing.assert_allclose(features[:, 4], np.log1p((y.numpy() ** 4).mean(1)) - 1, rtol=1e-12)
    np.testing.assert_allclose(features[:, 5], np.abs(np.abs(y.numpy()).mean(1) - 1), rtol=1e-12)


def test_untrained_network_corrects_nothing():
    scales, multipliers = ColumnEncoder(ModelConfig(width=16, layers=1, heads=2)).double()(*tokens())
    assert not scales.any()
    assert all(not value.any() for value in multipliers.values())
    assert list(multipliers) == list(TABLE_OUTPUTS)


def test_features_of_swapped_arms(data):
    x, t, y, shares = data
    found = column_features(x, 1 - t, y, shares[..., [0, 2, 1]])
    expected = column_features(x, t, y, shares)
    torch.testing.assert_close(found, expected[..., SWAPPED_COLUMN_FEATURES], atol=1e-12, rtol=0)
    assert not torch.allclose(found, expected)
    pilot = torch.rand(B, 3, generator=torch.Generator().manual_seed(0)).double()
    swapped = pilot[:, [0, 2, 1]]
    found = table_features(table_totals(1 - t, y), D, swapped, 1 + swapped)
    expected = table_features(table_totals(t, y), D, pilot, 1 + pilot)[:, SWAPPED_TABLE_FEATURES]
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_swapped_arms_swap_their_settings(encoder):
    columns, table = tokens()
    scales, multipliers = encoder(columns, table)
    swapped, others = encoder(columns[..., SWAPPED_COLUMN_FEATURES], table[:, SWAPPED_TABLE_FEATURES])
    assert (scales[..., 1] - scales[..., 2]).abs().min() > 1e-6
    torch.testing.assert_close(swapped, scales[..., [0, 2, 1]], atol=1e-12, rtol=0)
    for name, value in multipliers.items():
        other = {"control_penalty": "treated_penalty", "treated_penalty": "control_penalty"}.get(name, name)
        torch.testing.assert_close(others[other], value, atol=1e-12, rtol=0)


def test_both_ways_to_call_the_arms_train_the_network(encoder):
    columns, table = (part.requires_grad_() for part in tokens())
    encoder(columns, table)[0][..., 1].sum().backward()
    for part, places in ((columns, [1, 2, 9, 15]), (table, [1, 2, 7, 8])):
        assert part.grad.abs().amax(tuple(range(part.ndim - 1)))[places].min() > 0
    assert encoder.column_output.weight.grad[[1, 2]].abs().amax(1).min() > 0
    encoder.zero_grad()


def test_equivariant_to_columns(encoder):
    columns, table = tokens()
    order = torch.tensor([3, 0, 4, 2, 1])
    scales, multipliers = encoder(columns, table)
    shuffled, same = encoder(columns[:, order], table)
    assert (scales.std(1) > 1e-3).all()
    torch.testing.assert_close(shuffled, scales[:, order], atol=1e-12, rtol=0)
    for name, value in multipliers.items():
        torch.testing.assert_close(same[name], value, atol=1e-12, rtol=0)


def test_corrections_are_bounded(encoder):
    columns, table = tokens()
    with torch.no_grad():
        for output in (encoder.column_output, encoder.table_output):
            output.weight.mul_(1e6)
        scales, multipliers = encoder(columns, table)
    assert scales.abs().max() == COLUMN_BOUND
    for name, value in multipliers.items():
        assert value.abs().max() == TABLE_OUTPUTS[name]


@pytest.mark.parametrize("columns", [0, 1, 30])
def test_any_number_of_columns(encoder, columns):
    scales, multipliers = encoder(*tokens(columns=columns))
    assert scales.shape == (B, columns, 3)
    assert all(value.shape == (B,) and torch.isfinite(value).all() for value in multipliers.values())
