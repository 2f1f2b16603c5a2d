"""Treatment, outcome and covariates: what is taken, what is refused in which words, what no permutation changes."""

from __future__ import annotations

import datetime
import time
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dowhy_cina.errors import CinaError, InputError, InputTypeError
from dowhy_cina.preprocessing import (
    Preprocessor,
    TreatmentCoding,
    canonical_row_key,
    check_outcome,
    encode_treatment,
)
from dowhy_cina.scaling import CLIP

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


def mixed_frame(rows=60, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 10, rows),
            "smoker": rng.random(rows) < 0.4,
            "visits": rng.poisson(2, rows).astype(np.int8),
            "site": pd.Categorical(
                rng.choice(["north", "south", "west"], rows), categories=["north", "south", "west", "x"]
            ),
            "sex": rng.choice(["f", "m"], rows),
            "income": rng.lognormal(10, 1, rows),
        }
    )
    frame.loc[[3, 8], "income"] = np.nan
    frame.loc[[5], "sex"] = None
    return frame


class TestPreprocessor:
    def test_mixed_frame(self):
        frame = mixed_frame()
        before = frame.copy(deep=True)
        prepared = Preprocessor()
        covariates = prepared.fit(frame).transform(frame)
        pd.testing.assert_frame_equal(frame, before)
        assert prepared.names_in == list(frame.columns)
        assert set(prepared.names_out) == {
            *("age", "smoker", "visits", "income", "income_missing"),
            *("site=north", "site=south", "site=west", "sex=f", "sex=m", "sex=missing"),
        }
        assert covariates.shape == (60, len(prepared.names_out))
        assert covariates.flags.c_contiguous
        np.testing.assert_allclose(covariates.mean(axis=0), 0, atol=0.05)
        np.testing.assert_array_equal(covariates, Preprocessor().fit_transform(frame))

    def test_readable_keeps_units_and_order(self):
        frame = mixed_frame()
        frame["one"] = 1.0
        frame["age_again"] = frame["age"] * 2 + 1
        prepared = Preprocessor().fit(frame)
        readable = prepared.readable(frame)
        assert list(readable.columns)[:3] == ["age", "smoker", "visits"]
        assert {"site=north", "age_again", "income_missing"} <= set(readable.columns)
        assert "one" not in readable
        np.testing.assert_array_equal(readable["age"], frame["age"])
        assert readable["income"][3] == pytest.approx(frame["income"].median())
        assert not readable.isna().to_numpy().any()
        assert prepared.dropped["one"] == "constant"
        assert len({"age", "age_again"} & set(prepared.names_out)) == 1
        assert "duplicate of 'age" in "".join(prepared.dropped.values())
        readable.loc[0, "age"] = -1.0
        assert frame["age"][0] != -1.0

    def test_two_levels_give_one_indicator(self):
        frame = pd.DataFrame({"sex": ["f", "m", "m"], "one": ["a", "a", "a"], "gap": ["x", None, "x"]})
        prepared = Preprocessor().fit(frame)
        assert set(prepared.names_out) | set(prepared.dropped) == {"sex=m", "one=a", "gap=missing"}
        assert prepared.dropped["one=a"] == "constant"

    def test_every_level_counts_and_a_missing_one_too(self):
        frame = pd.DataFrame({"site": ["a", "b", None, "missing", "a"]})
        names = set(Preprocessor().fit(frame).names_out)
        assert names == {"site=a", "site=b", "site=missing", "site=(missing)"}

    def test_object_column_of_numbers_is_numeric(self):
        frame = pd.DataFrame({"x": np.array([1, 2.5, None, True, Decimal(7)], dtype=object)})
        assert set(Preprocessor().fit(frame).names_out) == {"x", "x_missing"}

    def test_nullable_and_categorical_numbers(self):
        frame = pd.DataFrame(
            {
                "count": pd.Series([1, 2, None, 4], dtype="Int64"),
                "flag": pd.Series([True, False, True, None], dtype="boolean"),
                "code": pd.Series([10, 2, 10, 3]).astype("category"),
            }
        )
        names = Preprocessor().fit(frame).names_out
        assert {"count", "count_missing", "flag", "flag_missing", "code=10", "code=2", "code=3"} >= set(names)
        assert "code=10" in names

    def test_scaling(self):
        values = np.array([1.0, 2.0, 3.0, 4.0])
        np.testing.assert_allclose(
            Preprocessor().fit_transform(values)[:, 0], (values - 2.5) / np.sqrt(1.25), atol=1e-15
        )
        outlier = np.r_[np.zeros(100), np.ones(100), 1e6]
        assert Preprocessor().fit_transform(outlier).max() == CLIP

    @pytest.mark.parametrize("unit", [1.0, 1e9, 1e-12, 1e300, 1e-300])
    @pytest.mark.parametrize("level", [0.0, 1e3])
    def test_size_and_level_do_not_matter(self, unit, level):
        values = np.random.default_rng(1).normal(size=(50, 2))
        scaled = Preprocessor().fit_transform((values + level) * unit)
        np.testing.assert_allclose(scaled, Preprocessor().fit_transform(values), atol=1e-11)

    @pytest.mark.parametrize("value", [0.0, 0.1, 1e9 / 3, 1e-12])
    @pytest.mark.parametrize("rows", [1, 2, 7, 1000])
    def test_constant_columns_leave_nothing(self, value, rows):
        prepared = Preprocessor().fit(np.full(rows, value))
        assert prepared.names_out == []
        assert prepared.dropped == {"x0": "constant"}

    def test_rounding_is_no_spread(self):
        assert Preprocessor().fit(np.array([0.3, 0.1 + 0.2, 0.3])).names_out == []

    def test_duplicates_up_to_sign_and_unit(self):
        x = np.random.default_rng(2).normal(size=(40, 2))
        table = np.column_stack([x, -3 * x[:, 0], x[:, 1] * 1e9 + 4, x[:, 0] + x[:, 1], x[:, 0] + 1e-6 * x[:, 1]])
        prepared = Preprocessor().fit(table)
        assert len(prepared.names_out) == 4
        assert sum(reason.startswith("duplicate of") for reason in prepared.dropped.values()) == 2

    @pytest.mark.parametrize("shape", [(5, 0), (5, 1), (3, 40), (1, 3)])
    def test_shapes(self, shape):
        covariates = Preprocessor().fit_transform(np.random.default_rng(3).normal(size=shape))
        assert covariates.shape[0] == shape[0]
        assert np.isfinite(covariates).all()
        assert canonical_row_key(covariates).shape == (shape[0],)

    def test_no_columns(self):
        for empty in (np.empty((4, 0)), pd.DataFrame(index=range(4))):
            prepared = Preprocessor().fit(empty)
            assert prepared.transform(empty).shape == (4, 0)
            assert prepared.readable(empty).shape == (4, 0)

    def test_all_missing_column(self):
        frame = pd.DataFrame({"x": [1.0, 2.0, 4.0], "gone": [np.nan] * 3, "none": [None] * 3})
        assert Preprocessor().fit(frame).names_out == ["x"]

    def test_names_stay_distinct(self):
        frame = pd.DataFrame({"x": [1.0, np.nan, 3.0, 4.0], "x_missing": [1.0, 5.0, 2.0, 2.0]})
        assert sorted(Preprocessor().fit(frame).names_out) == ["x", "x_missing", "x_missing_2"]

    @pytest.mark.parametrize(
        ("covariates", "error", "words"),
        [
            (np.zeros((3, 2, 2)), InputError, ["shape", r"\(3, 2, 2\)"]),
            (np.zeros((0, 2)), InputError, ["empty"]),
            (pd.DataFrame({"a": []}), InputError, ["empty"]),
            (pd.DataFrame({"a": [1, 2], "b": [1, np.inf]}), InputError, ["'b'", "1 infinite", "row 1"]),
            (np.array([[1, -np.inf]]), InputError, ["'x1'"]),
            (pd.DataFrame([[1, 2]], columns=["a", "a"]), InputError, ["'a' more than once"]),
            (pd.DataFrame({"id": [f"u{i}" for i in range(1500)]}), InputError, ["'id'", "1500", "identifier"]),
            (pd.DataFrame({"d": pd.to_datetime(["2020-01-01"])}), InputTypeError, ["'d'", "dates", "days"]),
            (pd.DataFrame({"d": [datetime.date(2020, 1, 1)]}), InputTypeError, ["'d'", "dates"]),
            (pd.DataFrame({"c": [1j]}), InputTypeError, ["'c'", "complex"]),
            (pd.DataFrame({"c": [[1], [2]]}), InputTypeError, ["'c'", "list"]),
            (None, InputTypeError, ["NoneType"]),
            (3.0, InputTypeError, ["float"]),
        ],
    )
    def test_refused(self, covariates, error, words):
        with refused(error, *words):
            Preprocessor().fit(covariates)


class TestTransform:
    def test_other_rows_columns_and_extras(self):
        frame = mixed_frame()
        prepared = Preprocessor().fit(frame)
        whole = prepared.transform(frame)
        part = frame.iloc[[7, 2]][frame.columns[::-1]].assign(extra="?")
        np.testing.assert_array_equal(prepared.transform(part), whole[[7, 2]])

    def test_missing_column_is_named(self):
        frame = mixed_frame()
        with refused(InputError, "'age', 'sex'", "missing"):
            Preprocessor().fit(frame).transform(frame.drop(columns=["age", "sex"]))

    def test_unseen_level_is_named(self):
        prepared = Preprocessor().fit(pd.DataFrame({"site": ["a", "b", "c"]}))
        with refused(InputError, "'site'", "'a', 'b', 'c'", "'d'"):
            prepared.transform(pd.DataFrame({"site": ["a", "d"]}))
        with refused(InputError, "'site'", "missing"):
            prepared.transform(pd.DataFrame({"site": ["a", None]}))
        with refused(InputError, "'site'", "3"):
            prepared.transform(pd.DataFrame({"site": [3]}))

    def test_missing_number_takes_the_fitted_median(self):
        prepared = Preprocessor().fit(np.array([1.0, 2.0, 9.0]))
        np.testing.assert_array_equal(prepared.transform([np.nan]), prepared.transform([2.0]))

    def test_labels_where_numbers_were(self):
        with refused(InputTypeError, "'x'", "numbers"):
            Preprocessor().fit(pd.DataFrame({"x": [1, 2]})).transform(pd.DataFrame({"x": ["a", "b"]}))

    def test_array_and_frame_mix_by_position(self):
        values = np.random.default_rng(4).normal(size=(9, 2))
        prepared = Preprocessor().fit(values)
        np.testing.assert_array_equal(
            prepared.transform(pd.DataFrame(values, columns=["b", "a"])), prepared.transform(values)
        )
        named = Preprocessor().fit(pd.DataFrame(values, columns=["b", "a"]))
        np.testing.assert_array_equal(
            named.transform(values), named.transform(pd.DataFrame(values, columns=["b", "a"]))
        )
        with refused(InputError, "2 columns", "got 3"):
            prepared.transform(np.zeros((2, 3)))

    def test_unfitted(self):
        with refused(CinaError, "fit"):
            Preprocessor().transform(np.zeros((2, 2)))


@st.composite
def tables(draw):
    """Tables with columns that tie in every marginal statistic, repeats, constants, wide units and few rows."""
    rows, columns = draw(st.integers(2, 40)), draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    base = rng.choice([0.0, 1.0], rows)
    kinds = draw(
        st.lists(
            st.sampled_from(["normal", "binary", "tied", "constant", "huge", "tiny", "count"]),
            min_size=columns,
            max_size=columns,
        )
    )
    make = {
        "normal": lambda: rng.normal(size=rows),
        "binary": lambda: (rng.random(rows) < 0.5).astype(float),
        "tied": lambda: rng.permutation(base),
        "constant": lambda: np.full(rows, 0.1),
        "huge": lambda: 1e9 * (1 + 1e-3 * rng.normal(size=rows)),
        "tiny": lambda: 1e-12 * rng.normal(size=rows),
        "count": lambda: rng.poisson(1.0, rows).astype(float),
    }
    return np.column_stack([make[kind]() for kind in kinds]), rng


class TestInvariance:
    @settings(max_examples=150, deadline=None)
    @given(tables())
    def test_rows_and_columns_of_a_frame(self, drawn):
        table, rng = drawn
        frame = pd.DataFrame(table, columns=[f"c{index}" for index in rng.permutation(table.shape[1])])
        rows, columns = rng.permutation(table.shape[0]), rng.permutation(table.shape[1])
        prepared, permuted = Preprocessor(), Preprocessor()
        covariates = prepared.fit_transform(frame)
        other = permuted.fit_transform(frame.iloc[rows, columns])
        np.testing.assert_array_equal(other, covariates[rows])
        np.testing.assert_array_equal(canonical_row_key(other), canonical_row_key(covariates)[rows])
        assert permuted.names_out == prepared.names_out
        np.testing.assert_array_equal(prepared.transform(frame.iloc[rows, columns]), covariates[rows])

    @settings(max_examples=100, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(2, 6))
    def test_columns_of_an_array_that_tie_in_their_marginals(self, seed, columns):
        rng = np.random.default_rng(seed)
        base = np.r_[np.zeros(20), np.ones(20)]
        table = np.column_stack([rng.normal(size=40), *(rng.permutation(base) for _ in range(columns))])
        rows, order = rng.permutation(40), rng.permutation(columns + 1)
        covariates = Preprocessor().fit_transform(table)
        other = Preprocessor().fit_transform(table[rows][:, order])
        np.testing.assert_array_equal(np.sort(other, axis=1), np.sort(covariates[rows], axis=1))
        np.testing.assert_array_equal(other, covariates[rows])

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.booleans())
    def test_a_column_and_its_negative(self, seed, binary):
        rng = np.random.default_rng(seed)
        x = rng.permutation(np.r_[-np.ones(10), np.ones(10)]) if binary else rng.normal(size=20)
        table = np.column_stack([x, -x, rng.normal(size=20)])
        order = rng.permutation(3)
        np.testing.assert_array_equal(
            Preprocessor().fit_transform(table[:, order]), Preprocessor().fit_transform(table)
        )

    @settings(max_examples=50, deadline=None)
    @given(tables(), st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
    def test_affine_changes(self, drawn, scale, shift):
        table, _ = drawn
        table = table - np.median(table, axis=0)  # so that the shift costs no digits of a huge level
        table /= np.where(np.ptp(table, axis=0) > 0, np.ptp(table, axis=0), 1.0)
        before = Preprocessor().fit_transform(table)
        after = Preprocessor().fit_transform((table + shift) * scale)
        assert after.shape == before.shape
        np.testing.assert_allclose(after, before, atol=1e-8)

    @settings(max_examples=50, deadline=None)
    @given(tables())
    def test_the_caller_keeps_his_array(self, drawn):
        table, _ = drawn
        table[0, 0] = np.nan
        for layout in ("C", "F"):
            given_table = np.array(table, order=layout)
            prepared = Preprocessor().fit(given_table)
            prepared.transform(given_table)
            readable = prepared.readable(given_table)
            readable.iloc[:, :] = 0.0
            np.testing.assert_array_equal(given_table, table)

    def test_categories_and_gaps(self):
        frame = mixed_frame(200)
        rng = np.random.default_rng(5)
        rows, columns = rng.permutation(200), rng.permutation(frame.shape[1])
        prepared, permuted = Preprocessor(), Preprocessor()
        covariates = prepared.fit_transform(frame)
        np.testing.assert_array_equal(permuted.fit_transform(frame.iloc[rows, columns]), covariates[rows])
        assert prepared.names_out == permuted.names_out


class TestRowKey:
    def test_uniform_and_distinct(self):
        covariates = Preprocessor().fit_transform(np.random.default_rng(6).normal(size=(5000, 3)))
        key = canonical_row_key(covariates)
        assert key.min() >= 0
        assert key.max() < 1
        assert len(np.unique(key)) == 5000
        counts = np.histogram(key, bins=20, range=(0, 1))[0]
        assert (np.abs(counts - 250) < 80).all()
        # Whoever takes the smallest keys takes a fair sample: its mean is within four standard errors of zero.
        assert (np.abs(covariates[np.argsort(key)[:500]].mean(axis=0)) < 4 / np.sqrt(500)).all()

    def test_balanced_binary_rows_do_not_collide(self):
        corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * 10)).reshape(10, -1).T
        assert len(np.unique(canonical_row_key(corners))) == 1024

    def test_one_covariate_wide(self):
        assert canonical_row_key(np.empty((3, 0))).tolist() == [0, 0, 0]


def test_fast_enough_to_be_called_by_the_hundred():
    rng = np.random.default_rng(7)

    def seconds(table, repeats):
        elapsed = []
        for _ in range(repeats):
            start = time.perf_counter()
            Preprocessor().fit_transform(table)
            elapsed.append(time.perf_counter() - start)
        return min(elapsed)

    # Some ten times what it takes, so that a busy machine passes and a column-by-column rewrite does not.
    assert seconds(rng.normal(size=(1000, 10)), 20) < 0.005
    assert seconds(rng.normal(size=(100_000, 10)), 3) < 0.3
