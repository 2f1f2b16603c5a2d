"""Arguments of simulators, training and evaluation: paths and names of every form, and what is refused in words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dowhy_cina import evaluation, simulators, training
from dowhy_cina.config import TrainingConfig
from dowhy_cina.errors import InputError, InputTypeError
from dowhy_cina.learning.training.collections import as_collection

SMALL = {"tables": 1, "rows": 60, "columns": 2, "progress": False}
SCM = training.Simulators("scm")


class Standing:
    """An object that stands for a path."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(80, 2)), columns=["a", "b"]).assign(t=rng.integers(0, 2, 80))
    frame.to_csv(path / "one.csv", index=False)
    (path / "collection.toml").write_text('treatment = "t"\n')
    return path


@pytest.mark.parametrize("form", [str, Standing])
def test_a_path_may_be_text(folder, form):
    assert training.Folder(form(folder)) == training.Folder(folder)
    assert training.Folder(form(folder)).names == (str(folder),)
    assert len(list(evaluation.folder_problems(form(folder)))) == 1
    with pytest.raises(InputError, match="expected at least 8 usable tables"):
        training.pretrain_folder(form(folder), output=form(folder / "model.safetensors"))


@pytest.mark.parametrize("path", [None, 3, b"tables", ["tables"]])
@pytest.mark.parametrize("read", [training.Folder, training.pretrain_folder, evaluation.folder_problems])
def test_what_is_no_path_is_refused(read, path):
    with pytest.raises(InputTypeError, match="the folder of tables must be a path, as text or as pathlib"):
        read(path)


@pytest.mark.parametrize("read", [training.Folder, training.pretrain_folder, evaluation.folder_problems])
def test_a_folder_that_is_not_there_is_named(tmp_path, read):
    with pytest.raises(InputError, match="nowhere"):
        read(str(tmp_path / "nowhere"))


def test_one_name_is_a_list_of_one():
    assert training.Simulators("scm") == training.Simulators(["scm"]) == training.Simulators(("scm",))
    assert as_collection("scm", TrainingConfig()) == SCM
    one, other = (simulators.draw_table(3, 50, 2, families=families) for families in ("scm", ["scm"]))
    np.testing.assert_array_equal(one.outcome, other.outcome)
    found = evaluation.evaluate("cina-small", "scm", classical=False, **SMALL)
    pd.testing.assert_frame_equal(
        found.drop(columns="seconds"),
        evaluation.evaluate("cina-small", ["scm"], classical=False, **SMALL).drop(columns="seconds"),
    )
    assert set(evaluation.evaluate_conditional(families="scm", **SMALL).index.get_level_values(0)) == {"scm"}


@pytest.mark.parametrize(("names", "error"), [(None, InputTypeError), (3, InputTypeError), ([None], InputError)])
@pytest.mark.parametrize(
    "ask",
    [
        training.Simulators,
        lambda names: simulators.draw_table(0, 50, 3, families=[names]),
        lambda names: evaluation.evaluate_conditional(families=names, **SMALL),
        lambda names: evaluation.simulated_problems(names, 1, 0, 50, 3),
    ],
)
def test_what_are_no_names_of_simulators_is_refused(ask, names, error):
    with pytest.raises((error, InputError), match=r"expected simulators \(mixed, .*\).*, got"):
        ask(names)


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"got 'mixd' \(did you mean 'mixed'\?\)"):
        training.Simulators(["mixd"])
    # At once, not when the first problem is asked for.
    with pytest.raises(InputError, match="or a folder of tables, got an object of type list"):
        evaluation.simulated_problems([], 1, 0, 50, 3)


def test_a_seed_stands_for_a_generator():
    tables = [simulators.draw_table(rng, 60, 3) for rng in (5, np.int64(5), np.random.default_rng(5))]
    for table in tables[1:]:
        np.testing.assert_array_equal(table.covariates, tables[0].covariates)
    assert not np.array_equal(simulators.draw_table(6, 60, 3).outcome, tables[0].outcome)
    assert len(simulators.draw_table(None, 60, 3).outcome) == 60


@pytest.mark.parametrize(("rng", "error"), [("5", InputTypeError), (1.5, InputTypeError), (-1, InputError)])
def test_what_is_neither_seed_nor_generator_is_refused(rng, error):
    with pytest.raises(error, match=r"rng must be a numpy\.random\.Generator or a seed, .* got"):
        simulators.draw_table(rng, 60, 3)


@pytest.mark.parametrize(
    ("changed", "error", "text"),
    [
        ({"rows": 0}, InputError, "rows must be a whole number of at least 20, got 0"),
        ({"rows": "5"}, InputTypeError, "rows must be a whole number of at least 20, got '5'"),
        ({"rows": True}, InputTypeError, "rows must be a whole number of at least 20, got True"),
        ({"columns": 0}, InputError, "columns must be a whole number of at least 1, got 0"),
        ({"columns": None}, InputTypeError, "columns must be a whole number of at least 1, got None"),
        ({"columns": np.ones(2)}, InputTypeError, "columns must be .*, got an object of type ndarray"),
        ({"seed": None}, InputTypeError, "seed must be a whole number of at least 0, got None"),
        ({"seed": -1}, InputError, "seed must be a whole number of at least 0, got -1"),
        ({"tables": 0}, InputError, "the number of tables must be a whole number of at least 1, got 0"),
        ({"tables": 2.0}, InputTypeError, "the number of tables must be .* got 2.0"),
    ],
)
def test_numbers_that_are_none(changed, error, text):
    numbers = SMALL | {"seed": 0} | changed
    asked = [
        lambda: evaluation.evaluate("cina-small", ["mixed"], **numbers),
        lambda: evaluation.evaluate_conditional(**numbers),
        lambda: evaluation.simulated_problems(
            "mixed", *(numbers[name] for name in ("tables", "seed", "rows", "columns"))
        ),
    ]
    if changed.keys() & {"rows", "columns"}:
        asked.append(lambda: simulators.draw_table(0, numbers["rows"], numbers["columns"]))
    for ask in asked:
        with pytest.raises(error, match=text):
            ask()


@pytest.mark.parametrize(
    ("collections", "error", "text"),
    [
        (None, InputTypeError, "expected names of simulators, and folders of tables, in a list, got None"),
        ([], InputError, "got none; name at least one"),
        ([None], InputTypeError, "a collection must be a path, .* got None"),
        (["mixd"], InputError, r"or a folder of tables, got 'mixd' \(did you mean 'mixed'\?\)"),
    ],
)
def test_collections_to_measure_on(collections, error, text):
    with pytest.raises(error, match=text):
        evaluation.evaluate("cina-small", collections, **SMALL)
    with pytest.raises(InputTypeError, match="checkpoint must be the name"):
        evaluation.evaluate(None, ["linear"], **SMALL)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"config": None}, "config must be a TrainingConfig, got None"),
        ({"config": {}}, "config must be a TrainingConfig, got an object of type dict"),
        ({"model_config": {}}, "model_config must be a ModelConfig, got an object of type dict"),
        ({"collections": 3}, "expected a Collection of tables, or names of simulators in a list, got 3"),
        ({"collections": [None]}, "expected a Collection .* got None"),
        ({"collections": training.Folder}, "expected a Collection .* got an object of type type"),
        ({"validation": "mixed"}, "expected a Collection .* got 'mixed'"),
        ({"output": None}, "output must be a path"),
        ({"start": 3}, "start must be a path"),
    ],
)
def test_what_a_run_cannot_be_made_of(monkeypatch, tmp_path, changed, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputTypeError, match=text):
        training.pretrain(**({"config": TrainingConfig(steps=1)} | changed))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"config": None}, "config must be a TrainingConfig"),
        ({"treatment": 3}, "treatment must be the name of a column as text, got 3"),
        ({"outcome": ["y"]}, "outcome must be the name of a column as text, got an object of type list"),
        ({"output": 3}, "output must be a path"),
    ],
)
def test_what_a_run_on_own_tables_cannot_be_made_of(folder, changed, text):
    with pytest.raises(InputTypeError, match=text):
        training.pretrain_folder(str(folder), **changed)


@pytest.mark.parametrize(
    ("parts", "weights", "error", "text"),
    [
        (None, (1.0,), InputTypeError, "parts of a mixture must be a tuple, got None"),
        ((SCM,), 1.0, InputTypeError, "weights of a mixture must be a tuple, got 1.0"),
        (("scm",), (1.0,), InputTypeError, "expected a Collection .* got 'scm'"),
        ((SCM,), ("1",), InputError, "expected a positive weight for each collection"),
    ],
)
def test_mixtures_of_what_is_none(parts, weights, error, text):
    assert training.Mixture([SCM], [1]) == training.Mixture((SCM,), (1,))
    with pytest.raises(error, match=text):
        training.Mixture(parts, weights)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"recipe": None}, "the recipe must be a path"),
        ({"recipe": "cina-small", "overrides": 3}, "overrides must be texts such as"),
        ({"recipe": "cina-small", "output": 3}, "output must be a path"),
    ],
)
def test_recipes_that_are_none(given, text):
    with pytest.raises(InputTypeError, match=text):
        training.main(**given)
