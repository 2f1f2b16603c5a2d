"""What the estimator refuses inside DoWhy, and how it says so."""

from __future__ import annotations

import sys

import pandas as pd
import pytest

from dowhy_cina import CinaEstimator
from dowhy_cina.errors import InputError, InputTypeError, UnknownOptionError

METHOD = "backdoor.cina"


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ("overlapp", "must be 'ate', 'att', 'atc'"),
        (3, "must be 'ate', 'att', 'atc'"),
        (lambda data: data["x"], "one boolean for each of the 160 rows"),
        (lambda data: [True], "one boolean for each of the 160 rows"),
        (lambda data: data["x"] > 99, "select no row"),
        (pd.DataFrame({"x": [0.0]}), "lacks the column"),
        (pd.DataFrame({"x": [], "z": []}), "select no row"),
    ],
)
def test_bad_targets_are_refused(plain, units, message):
    _, model, estimand = plain
    with pytest.raises(InputError, match=message):
        model.estimate_effect(estimand, method_name=METHOD, target_units=units)


@pytest.mark.parametrize("method", ["iv.cina", "frontdoor.cina"])
def test_other_identifiers_are_refused(problem, frame, method):
    model, estimand = problem
    with pytest.raises(InputError, match=f"'general_adjustment', got '{method.split('.')[0]}'"):
        model.estimate_effect(estimand, method_name=method)
    estimand.set_identifier_method("backdoor")
    estimator = CinaEstimator(estimand)
    estimand.set_identifier_method(method.split(".")[0])
    with pytest.raises(InputError, match="general_adjustment"):
        estimator.fit(frame)
    estimand.set_identifier_method("backdoor")


def test_general_adjustment_is_taken(plain):
    _, model, estimand = plain
    expected = model.estimate_effect(estimand, method_name=METHOD).value
    assert model.estimate_effect(estimand, method_name="general_adjustment.cina").value == expected


def test_what_is_no_estimand_is_refused(frame):
    for given in (None, "estimand"):
        with pytest.raises(InputTypeError, match="expected an estimand of DoWhy's, got"):
            CinaEstimator(given).fit(frame)


def test_an_estimand_without_adjustment_set_is_refused(frame, make_model):
    _, estimand = make_model(frame[["t", "d", "y"]], "digraph {t -> d; d -> y; U -> t; U -> y}")
    with pytest.raises(InputError, match="with an adjustment set, got none for 'backdoor'"):
        CinaEstimator(estimand).fit(frame)


@pytest.mark.parametrize("wrap", [dict, lambda **options: {"init_params": options}])
def test_unknown_options_are_named_with_the_nearest(problem, wrap):
    model, estimand = problem
    for method in (METHOD, "backdoor.dowhy_cina.CinaEstimator"):
        with pytest.raises(UnknownOptionError, match="'augmentations' \\(did you mean 'augmentation'"):
            model.estimate_effect(estimand, method_name=method, method_params=wrap(augmentations="none"))


def test_options_given_twice_must_agree(problem):
    _, estimand = problem
    options = {"device": "cpu"}
    assert CinaEstimator(estimand, device="cpu", init_params=options).options.device == "cpu"
    with pytest.raises(InputError, match="device given twice"):
        CinaEstimator(estimand, device="auto", init_params=options)


@pytest.mark.parametrize("options", [5, ["device"], pd.Series(["cpu"])])
def test_options_are_a_mapping(problem, options):
    with pytest.raises(InputTypeError, match="init_params must be a mapping of options, got"):
        CinaEstimator(problem[1], init_params=options)


@pytest.mark.parametrize("names", ["m", 5])
def test_effect_modifiers_are_a_list_of_names(problem, frame, names):
    """A name by itself was taken for its letters, which are no columns, and so for none."""
    with pytest.raises(InputTypeError, match="effect_modifier_names must be a list of column names, got"):
        CinaEstimator(problem[1]).fit(frame, effect_modifier_names=names)


def test_fit_parameters_are_refused(problem):
    model, estimand = problem
    with pytest.raises(UnknownOptionError, match="epochs"):
        model.estimate_effect(estimand, method_name=METHOD, method_params={"fit_params": {"epochs": 3}})


def test_values_of_options_are_checked(plain):
    _, model, estimand = plain
    with pytest.raises(InputError, match="memory_limit"):
        model.estimate_effect(estimand, method_name=METHOD, method_params={"memory_limit": "much"})


def test_weights_that_are_no_column_are_refused(plain):
    table, model, estimand = plain
    with pytest.raises(InputError, match=r"lacks the column\(s\) w"):
        model.estimate_effect(estimand, method_name=METHOD, method_params={"sample_weight": "w"})
    with pytest.raises(InputTypeError, match="cluster must be the name of a column of the table, got Series"):
        CinaEstimator(estimand, cluster=table.x)


@pytest.mark.parametrize(
    ("params", "modifiers", "message"),
    [
        ({"cluster": "z"}, None, "'z' as cluster and as a covariate"),
        ({"init_params": {"sample_weight": "x"}}, None, "'x' as sample_weight and as a covariate"),
        ({"cluster": "site"}, ["site"], "'site' as cluster and as a covariate"),
        ({"cluster": "t"}, None, "'t' as cluster and as the treatment"),
        ({"sample_weight": "y"}, None, "'y' as sample_weight and as the outcome"),
        ({}, ["y"], "'y' as the outcome and as a covariate"),
        ({"sample_weight": "site", "cluster": "site"}, None, "'site' as cluster and as sample_weight"),
    ],
)
def test_a_column_has_one_role(plain, make_plain_model, params, modifiers, message):
    """As in the direct call: a cluster's own level is unknown where the cluster is left out to be predicted."""
    table, _, _ = plain
    model, estimand = make_plain_model(table.assign(site=1 + table.index % 20))
    with pytest.raises(InputError, match=f"{message}: take it out of init_params, or out of the graph"):
        model.estimate_effect(estimand, method_name=METHOD, method_params=params, effect_modifiers=modifiers)


def test_other_rows_have_no_overlap_population(plain):
    table, _, estimand = plain
    with pytest.raises(InputError, match="weights the fitted rows by their propensities"):
        CinaEstimator(estimand).fit(table).estimate_effect(table.head(50), target_units="overlap")


def test_several_treatments_are_refused(frame, make_model):
    model, estimand = make_model(frame, treatment=["t", "d"])
    with pytest.raises(InputError, match="one treatment variable, got 2"):
        model.estimate_effect(estimand, method_name=METHOD)


def test_several_treatment_values_are_refused(plain):
    _, model, estimand = plain
    with pytest.raises(InputError, match="treatment_value must be a single value"):
        model.estimate_effect(estimand, method_name=METHOD, treatment_value=[1, 2])


def test_bad_tables_are_refused(plain):
    table, _, estimand = plain
    estimator = CinaEstimator(estimand)
    with pytest.raises(InputTypeError, match=r"pandas DataFrame, got numpy\.ndarray"):
        estimator.fit(table.to_numpy())
    with pytest.raises(InputError, match=r"lacks the column\(s\) x"):
        estimator.fit(table.drop(columns="x"))
    with pytest.raises(InputError, match=r"column\(s\) x more than once"):
        estimator.fit(pd.concat([table, table[["x"]]], axis=1))
    with pytest.raises(InputError, match="call fit"):
        estimator.estimate_effect(table)
    with pytest.raises(InputError, match="call estimate_effect first"):
        estimator.fit(table).estimate_std_error(table)
    with pytest.raises(InputTypeError, match=r"pandas DataFrame, got numpy\.ndarray"):
        estimator.estimate_effect(table.to_numpy())


@pytest.mark.parametrize("value", [0, 1])
def test_an_empty_arm_is_refused(plain, value, make_plain_model):
    table, _, _ = plain
    model, estimand = make_plain_model(table[table.t == value])
    for units in ("ate", "att", "atc"):
        with pytest.raises(InputError, match="control" if value else "treated"):
            model.estimate_effect(estimand, method_name=METHOD, target_units=units)


@pytest.mark.parametrize("kind", [float, "Int64"])
def test_missing_treatments_are_refused(plain, kind, make_plain_model):
    table, _, _ = plain
    model, estimand = make_plain_model(table.assign(t=table.t.astype(kind).mask(table.index == 3)))
    with pytest.raises((InputError, InputTypeError), match="treatment"):
        model.estimate_effect(estimand, method_name=METHOD)


def test_missing_torch_is_said_with_the_command_that_installs_it(problem, monkeypatch):
    model, estimand = problem
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="python -m pip install torch"):
        model.estimate_effect(estimand, method_name=METHOD)
