"""Files of tables: names of columns, delimiters, values of the treatment."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dowhy_cina.errors import InputError
from dowhy_cina.learning.training import Folder
from dowhy_cina.tables.files import check_apart, column_names, read_columns, treatment_value


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame({"x": rng.normal(size=60), "t": np.arange(60) % 2})


def settings(folder, text):
    (folder / "collection.toml").write_text(text)
    return folder


@pytest.mark.parametrize("written", [{}, {"index_label": " "}])
def test_an_index_without_a_name_is_no_covariate(frame, tmp_path, written):
    frame.to_csv(tmp_path / "a.csv", **written)
    with pytest.raises(InputError, match=r"a name for each column, got none for column 1 of 3.*index=False"):
        Folder(settings(tmp_path, 'treatment = "t"'))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x;t\n1,5;0\n", "expected ',' between the columns, got a single one with ';'"),
        ("x,t,x\n1,0,2\n", "'x' more than once"),
        ("x,t\n1,0,2\n", "as many values in each row"),
    ],
)
def test_files_that_would_be_misread(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_columns(tmp_path / "a.csv", column_names(tmp_path / "a.csv"))


@pytest.mark.parametrize("ending", [".tsv", ".tab"])
def test_tabs(frame, tmp_path, ending):
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / f"b{ending}", index=False, sep="\t")
    first, second = Folder(settings(tmp_path, 'treatment = "t"')).tables
    np.testing.assert_array_equal(first.covariates, second.covariates)
    np.testing.assert_array_equal(first.treatment, second.treatment)


@pytest.mark.parametrize("values", [[0.0, 1.0], [False, True], [0, 1]])
@pytest.mark.parametrize("named", ["treated = 1\ncontrol = 0", "treated = 1.0", 'control = "0"'])
def test_values_of_the_treatment_are_read_as_the_column_holds_them(frame, tmp_path, values, named):
    frame.assign(t=np.array(values)[frame["t"]]).to_csv(tmp_path / "a.csv", index=False)
    (table,) = Folder(settings(tmp_path, f'treatment = "t"\n{named}')).tables
    np.testing.assert_array_equal(table.treatment, frame["t"])


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("true", [True, False], True),
        ("FALSE", [True, False, None], False),
        ("true", ["true", "false"], "true"),
        ("TRUE", ["true", "false"], "TRUE"),
        ("1", [1.0, 0.0], 1.0),
        ("1.0", [1, 0], 1.0),
        ("1", ["1", "0"], "1"),
        ("b", ["a", "b"], "b"),
        (None, [1, 0], None),
    ],
)
def test_a_value_written_as_text(text, values, expected):
    found = treatment_value(text, pd.Series(values))
    assert found == expected
    assert isinstance(found, str) == isinstance(expected, str)


def test_outputs_stay_apart_from_tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "tables"
    check_apart(tmp_path / "tables.safetensors", folder)
    check_apart(folder / "inner" / "x.safetensors", folder)
    with pytest.raises(InputError, match=r"such as '.*x\.safetensors'"):
        check_apart(folder / "x.safetensors", folder.relative_to(tmp_path))
