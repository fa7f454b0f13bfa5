"""The options that functions which fit have in common."""

import inspect
from typing import Any, get_type_hints

import pytest

import everwillow as ew
from everwillow import hypotest, impacts, profile, toys
from everwillow.fitting.conditional import conditional_fit
from everwillow.fitting.options import FitOptions, RefitOptions


FITTING = [
    conditional_fit,
    ew.limits,
    ew.cls,
    ew.discovery,
    hypotest.constrained_fit,
    hypotest.make_asimov,
    hypotest.ToyGenerator.generate,
    profile.scan,
    profile.scan_2d,
    profile.minos,
    profile.contour,
    toys.fit_toys,
]
REFITTING = [impacts.rank, impacts.global_impacts, impacts.nonprofiled_impacts]


def name_of(function):
    return function.__qualname__


@pytest.mark.parametrize("function", [*FITTING, *REFITTING], ids=name_of)
def test_signature_lists_the_options_of_fit_with_its_defaults(function):
    options = FitOptions if function in FITTING else RefitOptions
    expected = inspect.signature(ew.fit).parameters
    shown = inspect.signature(function).parameters
    for name in get_type_hints(options):
        assert shown[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert shown[name].default == expected[name].default
        assert shown[name].annotation == expected[name].annotation


@pytest.mark.parametrize("function", [*FITTING, *REFITTING], ids=name_of)
def test_unknown_keyword_is_refused_with_the_nearest_name(function):
    with pytest.raises(TypeError, match=r"no argument 'max_step'.* 'max_steps'"):
        function(max_step=3)


def test_names_of_the_function_itself_are_suggested_too():
    misspelled: dict[str, Any] = {"vectorized": True}
    with pytest.raises(ew.EverwillowError, match=r"'vectorized'.* 'vectorised'"):
        profile.scan(None, **misspelled)


def test_all_options_of_fit_are_in_the_bundle():
    given_to_fit = inspect.signature(ew.fit).parameters
    own = {"nll_fn", "params", "observation", "throw"}
    assert set(get_type_hints(FitOptions)) == set(given_to_fit) - own
    assert set(get_type_hints(RefitOptions)) == set(given_to_fit) - own - {"fixed"}


def test_no_observation_stands_for_the_data_of_the_model():
    model = ew.Model(lambda p, y: 0.5 * (y - p["mu"]) ** 2, {"mu": 0.0}, 3.0)
    result = ew.fit(model, observation=None)
    assert result.params["mu"] == ew.fit(model).params["mu"]
