"""Masked arrays of numpy: what is masked is missing, and never the number under the mask."""

import numpy as np
import pytest

import dowhy_cina
from dowhy_cina.errors import InputError, InputTypeError


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    covariates, treatment = rng.normal(size=(200, 2)), rng.integers(0, 2, 200)
    return covariates, treatment, covariates[:, 0] + treatment + rng.normal(size=200)


def masked(values, rows):
    """The values with some rows masked, and nonsense under the mask."""
    hidden = np.zeros(values.shape, dtype=bool)
    hidden[rows] = True
    return np.ma.array(np.where(hidden, 1, values), mask=hidden)


def test_masked_covariates_are_missing(table):
    covariates, treatment, outcome = table
    hidden = np.zeros((200, 2), dtype=bool)
    hidden[::5, 0] = True
    expected = dowhy_cina.estimate_effect(np.where(hidden, np.nan, covariates), treatment, outcome)
    given = np.ma.array(np.where(hidden, 5.0, covariates), mask=hidden)
    found = dowhy_cina.estimate_effect(given, treatment, outcome)
    assert found.to_dict() == expected.to_dict()
    assert found.value != dowhy_cina.estimate_effect(given.data, treatment, outcome).value
    effects = found.conditional_effects(given[:10])
    np.testing.assert_array_equal(effects, expected.conditional_effects(np.where(hidden, np.nan, covariates)[:10]))
    by = found.group_effects("x0").table
    assert "missing" in by.index
    assert given.mask.sum() == 40  # the caller's array is as it was
    assert given.data.max() == 5


def test_masked_covariates_beside_rows_set_aside(table):
    covariates, treatment, outcome = table
    levels = np.where(np.arange(200) < 20, 7, treatment)
    hidden = np.zeros((200, 2), dtype=bool)
    hidden[::5, 0] = True
    options = {"treatment_value": 1, "control_value": 0}
    found = dowhy_cina.estimate_effect(np.ma.array(covariates, mask=hidden), levels, outcome, **options)
    expected = dowhy_cina.estimate_effect(np.where(hidden, np.nan, covariates), levels, outcome, **options)
    assert found.to_dict() == expected.to_dict()


def test_masked_numbers_and_labels_of_other_kinds(table):
    _, treatment, outcome = table
    whole = np.arange(200) % 7
    hidden = whole == 3
    given, expected = np.ma.array(whole, mask=hidden), np.where(hidden, np.nan, whole)
    effects = [dowhy_cina.estimate_effect(part, treatment, outcome).value for part in (given, expected)]
    assert effects[0] == effects[1]
    names = np.array(["red", "blue", "grey"])[np.arange(200) % 3]
    given, expected = np.ma.array(names, mask=hidden), np.where(hidden, None, names.astype(object))
    effects = [dowhy_cina.estimate_effect(part[:, None], treatment, outcome).value for part in (given, expected)]
    assert effects[0] == effects[1]


def test_an_array_that_masks_nothing_is_a_plain_one(table):
    expected = dowhy_cina.estimate_effect(*table)
    found = dowhy_cina.estimate_effect(*(np.ma.array(part) for part in table))
    assert found.to_dict() == expected.to_dict()


@pytest.mark.parametrize(
    ("role", "message"),
    [
        ("treatment", r"treatment: expected a value in every row, got 2 missing of 200 .*Leave these rows out"),
        ("outcome", r"outcome: expected finite numbers, got 2 missing or infinite of 200 .*Leave these rows out"),
        ("sample_weight", r"sample_weight: expected finite weights .*got 2 others of 200.*leave these rows out"),
        ("cluster", r"cluster: expected a label for each row, got 2 missing of 200"),
    ],
)
def test_masked_roles_are_refused(table, role, message):
    values = dict(zip(("X", "treatment", "outcome"), table, strict=True))
    values |= {"sample_weight": np.ones(200), "cluster": np.arange(200) % 20}
    values[role] = masked(values[role], [3, 8])
    with pytest.raises(InputError, match=message):
        dowhy_cina.estimate_effect(**values)


def test_masked_outcomes_are_refused_beside_rows_set_aside(table):
    covariates, treatment, outcome = table
    levels = np.where(np.arange(200) < 20, 7, treatment)
    with pytest.raises(InputError, match="outcome: expected finite numbers, got 1 missing"):
        dowhy_cina.estimate_effect(covariates, levels, masked(outcome, [30]), treatment_value=1, control_value=0)


def test_a_masked_mask_names_no_target(table):
    units = np.ma.array(np.ones(200, dtype=bool), mask=np.arange(200) < 3)
    with pytest.raises(InputTypeError, match="boolean mask"):
        dowhy_cina.estimate_effect(*table, target_units=units)
