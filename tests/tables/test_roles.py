"""Treatment and outcome: what is taken, and what is refused in which words."""

from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from dowhy_cina.errors import InputError, InputTypeError
from dowhy_cina.tables import TreatmentCoding, check_outcome, encode_treatment

ZERO_ONE = [0, 1, 1, 0, 1]


def refused(error, *words):
    return pytest.raises(error, match="(?s)" + ".*".join(words))


class TestTreatment:
    @pytest.mark.parametrize(
        "treatment",
        [
            ZERO_ONE,
            np.array(ZERO_ONE, dtype=bool),
            np.array(ZERO_ONE, dtype=np.int8),
            np.array(ZERO_ONE, dtype=np.uint8),
            np.array(ZERO_ONE, dtype=float),
            np.array(ZERO_ONE, dtype=object),
            np.array(ZERO_ONE)[:, None],
            np.array([-1, 1, 1, -1, 1]),
            np.array([0.5, 2.5, 2.5, 0.5, 2.5]),
            [False, True, True, False, True],
            pd.Series(ZERO_ONE, index=list("abcde")),
            pd.Series(ZERO_ONE, dtype="Int64"),
            pd.Series(ZERO_ONE, dtype="boolean"),
            pd.Series(ZERO_ONE, dtype="Float32"),
            pd.Series(ZERO_ONE).astype("category"),
            pd.Series(np.array(ZERO_ONE, dtype=bool)).astype("category"),
            pd.Categorical(ZERO_ONE, categories=[0, 1, 2]),
            pd.DataFrame({"t": ZERO_ONE}),
        ],
    )
    def test_two_levels_need_no_names(self, treatment):
        arm, keep, _ = encode_treatment(treatment)
        assert arm.dtype == np.float64
        assert arm.tolist() == ZERO_ONE
        assert keep.dtype == bool
        assert keep.all()

    def test_coding_names_the_values(self):
        assert encode_treatment(np.array([3, 7, 7]))[2] == TreatmentCoding(7, 3)
        assert encode_treatment(["b", "a"], "a", "b")[2] == TreatmentCoding("a", "b")

    @pytest.mark.parametrize("dtype", [object, "string", "category"])
    def test_text_needs_names(self, dtype):
        treatment = pd.Series(["drug", "placebo", "drug"], dtype=dtype)
        with refused(InputError, "'drug' .2 rows.", "treatment_value", "control_value"):
            encode_treatment(treatment)
        assert encode_treatment(treatment, "placebo", "drug")[0].tolist() == [0, 1, 0]
        assert encode_treatment(treatment, treatment_value="drug")[0].tolist() == [1, 0, 1]
        assert encode_treatment(treatment, control_value="drug")[0].tolist() == [0, 1, 0]

    def test_rows_of_other_levels_are_set_aside(self):
        arm, keep, _ = encode_treatment([0, 1, 2, 1, 2], treatment_value=2, control_value=0)
        assert arm.tolist() == [0, 0, 1, 0, 1]
        assert keep.tolist() == [True, False, True, False, True]

    @pytest.mark.parametrize(
        ("treatment", "options", "words"),
        [
            ([0, 1, 2], {}, ["got 3", r"2 \(1 rows\)", "treatment_value"]),
            ([0, 1, 2], {"treatment_value": 1}, ["got 3", "control_value"]),
            (["a", "b", "c"], {}, ["got 3", "'a'"]),
            (np.linspace(0, 1, 50), {}, ["got 50", "continuous"]),
            (np.arange(50), {}, ["got 50", "continuous"]),
            ([1, 1, 1], {}, ["no control row", "3 rows", "0 "]),
            ([0, 0, 0], {}, ["no treated row", "0 rows", "3 "]),
            ([True, True], {}, ["no control row"]),
            ([5, 5], {}, ["two levels", "5"]),
            (
                [0, 1, 1],
                {"treatment_value": 2, "control_value": 0},
                ["no treated row", "0 rows", "value 2", r"1 \(2 rows\)"],
            ),
            (["a", "b"], {"treatment_value": 1, "control_value": 0}, ["no treated row"]),
            ([0, 1], {"treatment_value": "1", "control_value": "0"}, ["no treated row", "'1'"]),
            ([0, 1], {"treatment_value": 1, "control_value": 1}, ["two different values"]),
            ([0, 1], {"treatment_value": 5}, ["one was named"]),
            ([0, 1, np.nan], {}, ["1 missing of 3", "row 2"]),
            ([0, 1, np.nan], {"treatment_value": 1, "control_value": 0}, ["1 missing"]),
            ([0, 1, None], {}, ["1 missing"]),
            (pd.Series([0, 1, None], dtype="Int8"), {}, ["1 missing"]),
            (pd.Series(["a", None, "b"], dtype="category"), {}, ["1 missing"]),
            ([0, 1, np.inf], {}, ["1 infinite", "row 2"]),
            ([], {}, ["empty table"]),
            (np.zeros((4, 2)), {}, ["shape", r"\(4, 2\)"]),
            (np.zeros((4, 1, 1)), {}, ["shape"]),
            (1, {}, ["shape"]),
        ],
    )
    def test_refused_values(self, treatment, options, words):
        with refused(InputError, *words):
            encode_treatment(treatment, **options)

    @pytest.mark.parametrize(
        "treatment",
        [
            pd.to_datetime(["2020-01-01", "2020-01-02"]),
            np.array([1j, 0]),
            pd.Series([[0], [1]]),
        ],
    )
    def test_refused_types(self, treatment):
        with refused(InputTypeError, "treatment: expected"):
            encode_treatment(treatment)
        with refused(InputTypeError, "single value"):
            encode_treatment([0, 1], treatment_value=[1], control_value=0)


class TestOutcome:
    @pytest.mark.parametrize(
        "outcome",
        [
            [1, 0, 2],
            np.array([1, 0, 2], dtype=np.int8),
            np.array([1, 0, 2], dtype=object),
            [Decimal(1), 0, 2.0],
            pd.Series([1, 0, 2], dtype="Int64"),
            pd.Series([1, 0, 2], dtype="category"),
            np.array([[1.0], [0.0], [2.0]]),
        ],
    )
    def test_numbers_are_taken(self, outcome):
        values = check_outcome(outcome, 3)
        assert values.dtype == np.float64
        assert values.tolist() == [1, 0, 2]

    def test_booleans_are_numbers(self):
        assert check_outcome([True, False], 2).tolist() == [1, 0]
        assert check_outcome(pd.Series([True, False], dtype="boolean"), 2).tolist() == [1, 0]

    def test_result_is_no_view(self):
        outcome = np.ones(3)
        check_outcome(outcome, 3)[0] = 7
        assert outcome.tolist() == [1, 1, 1]

    @pytest.mark.parametrize(
        ("outcome", "words"),
        [
            ([1, 2], ["expected 3 values", "got 2"]),
            ([1, 2, np.nan], ["1 missing or infinite of 3", "row 2"]),
            ([1, np.inf, -np.inf], ["2 missing or infinite", "rows 1, 2"]),
            ([1, None, 2], ["1 missing"]),
            ([None, None, None], ["3 missing"]),
            (np.zeros((3, 2)), ["shape"]),
        ],
    )
    def test_refused_values(self, outcome, words):
        with refused(InputError, *words):
            check_outcome(outcome, 3)

    @pytest.mark.parametrize(
        "outcome",
        [
            ["a", "b", "c"],
            ["1", "2", "3"],
            [1, "2", 3],
            pd.Series(["a", "b", "c"], dtype="category"),
            [1j, 2, 3],
            [datetime.date(2020, 1, 1)] * 3,
            pd.to_timedelta([1, 2, 3], unit="D"),
        ],
    )
    def test_refused_types(self, outcome):
        with refused(InputTypeError, "outcome: expected"):
            check_outcome(outcome, 3)


def test_text_without_any_value_is_no_outcome():
    nothing = pd.Series([None, None], dtype="string")
    with pytest.raises(InputTypeError, match="got a column of type string without any value"):
        check_outcome(nothing, 2)


def test_a_continuous_treatment_is_named_as_such_though_values_are_given():
    with refused(InputError, "no treated row", "looks continuous", "cut it into two groups"):
        encode_treatment(np.linspace(-3.7, 2.1, 60), 1, 0)
    with pytest.raises(InputError) as error:
        encode_treatment(["a", "b", "a"], "c", "a")
    assert "continuous" not in str(error.value)
