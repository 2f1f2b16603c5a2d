"""Covariates: what is taken, how it is encoded, how new rows follow, and what is refused in which words."""

from __future__ import annotations

import datetime
import time
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from dowhy_cina.errors import CinaError, InputError, InputTypeError
from dowhy_cina.mathematics.scaling import CLIP
from dowhy_cina.tables import Preprocessor, canonical_row_key
from dowhy_cina.tables.columns import MAX_LEVELS
from dowhy_cina.tables.reading import column_levels, read_table


def refused(error, *words):
    return pytest.raises(error, match="(?s)" + ".*".join(words))


class TestPreprocessor:
    def test_mixed_frame(self, mixed_frame):
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

    def test_readable_keeps_units_and_order(self, mixed_frame):
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

    def test_as_many_levels_as_are_allowed_are_taken_and_one_more_is_not(self):
        table = read_table(pd.DataFrame({"id": [f"u{place}" for place in range(MAX_LEVELS)] * 2 + [None]}))
        assert len(column_levels(table.text[0], "id")) == MAX_LEVELS + 1  # missing is not counted
        table = read_table(pd.DataFrame({"id": [f"u{place}" for place in range(MAX_LEVELS + 1)]}))
        with refused(InputError, f"at most {MAX_LEVELS} levels", f"got {MAX_LEVELS + 1} in {MAX_LEVELS + 1} rows"):
            column_levels(table.text[0], "id")

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
        outlier = np.r_[np.zeros(1000), np.ones(1000), 1e6]
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
    def test_other_rows_columns_and_extras(self, mixed_frame):
        frame = mixed_frame()
        prepared = Preprocessor().fit(frame)
        whole = prepared.transform(frame)
        part = frame.iloc[[7, 2]][frame.columns[::-1]].assign(extra="?")
        np.testing.assert_array_equal(prepared.transform(part), whole[[7, 2]])

    def test_missing_column_is_named(self, mixed_frame):
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
        prepared = Preprocessor().fit(np.array([1.0, 2.0, 9.0, np.nan]))
        filled = prepared.transform([np.nan, 2.0])
        place = prepared.names_out.index("x0")
        assert filled[0, place] == filled[1, place]

    def test_missing_number_is_refused_where_the_fitted_table_had_none(self):
        prepared = Preprocessor().fit(np.array([1.0, 2.0, 9.0]))
        with refused(InputError, "'x0'", "a number in every row", "1 missing"):
            prepared.transform([np.nan, 2.0])

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
