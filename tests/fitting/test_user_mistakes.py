"""Mistakes in functions of users are shown at their line, with how to mend them."""

import math
import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import everwillow as ew
from everwillow._errors import (
    ArgumentTypeError,
    ShapeMismatchError,
    TracingError,
    UnknownKeyError,
)
from everwillow.profile import scan
from everwillow.toys import fit_toys, sample_toys


START = ew.State.from_pytree({"a": np.array([1.0, 2.0]), "mu": 1.0})


def numpy_log(params, data):
    return params["mu"] - data * np.log(params["mu"])  # here


def math_log(params, data):
    return params["mu"] - data * math.log(params["mu"])  # here


def to_float(params, data):
    return (float(params["mu"]) - data) ** 2  # here


def item(params, data):
    return (params["mu"].item() - data) ** 2  # here


def branch(params, data):
    if params["mu"] > 0:  # here
        return params["mu"]
    return -params["mu"]


def index(params, data):
    return jnp.sum(params["a"][params["a"] > 0])  # here


def numpy_array(params, data):
    array = np.zeros(2)
    array[0] = params["mu"]  # here
    return array.sum()


def count(params, data):
    return sum(params["mu"] for _ in range(params["mu"]))  # here


def scipy_function(params, data):
    return -scipy.stats.norm.logpdf(params["mu"])  # here


@pytest.mark.parametrize(
    ("nll", "mend"),
    [
        (numpy_log, "jnp.log in place of np.log"),
        (math_log, "jnp.log in place of math.log"),
        (to_float, "Leave out float()"),
        (item, ".item()"),
        (branch, "jnp.where(condition, a, b)"),
        (index, "jnp.where(condition, a, 0)"),
        (numpy_array, "a.at[0].set(value)"),
        (count, "jnp.where(jnp.arange(n) < value, a, 0)"),
        (scipy_function, "jax.scipy.stats.norm.logpdf in place of scipy"),
    ],
)
def test_mistake_has_its_line_and_how_to_mend_it(nll, mend):
    with pytest.raises(TracingError) as caught:
        ew.fit(nll, START, 1.0)
    error = caught.value
    assert isinstance(error, TypeError)
    assert isinstance(error, ew.EverwillowError)
    (last,) = traceback.extract_tb(error.__traceback__)[-1:]
    assert (last.filename, last.name) == (__file__, nll.__name__)
    assert (
        last._original_lines.rstrip().endswith("# here")
        if hasattr(last, "_original_lines")
        else "here" in (last.line or "")
    )
    text = str(error)
    assert f"{nll.__name__} (test_user_mistakes.py, line {last.lineno}" in text
    assert mend in text


def test_traceback_has_no_interior_of_jax():
    with pytest.raises(TracingError) as caught:
        ew.fit(numpy_log, START, 1.0)
    shown = "".join(traceback.format_exception(caught.value))
    assert "jax/_src" not in shown
    assert "equinox" not in shown
    assert "direct cause" not in shown
    assert "another exception" not in shown


@pytest.mark.parametrize(
    "call",
    [
        lambda nll: ew.fit(ew.Model(nll, START, observation=1.0)),
        lambda nll: ew.ifit(nll, START, 1.0),
        lambda nll: scan(nll, START, 1.0, name="mu", values=[1.0]),
        lambda nll: ew.profile.minos(nll, START, 1.0),
        lambda nll: ew.uncertainties(nll, START, 1.0),
        lambda nll: ew.hessian_matrix(nll, START, 1.0),
        lambda nll: jax.jit(lambda data: ew.fit(nll, START, data).nll)(1.0),
        lambda nll: ew.limits(ew.Model(nll, START, observation=1.0), "mu"),
        lambda nll: ew.fit(
            ew.combine({"one": ew.Model(nll, START, observation=1.0)}),
        ),
        lambda nll: ew.fit(*ew.prepare({"one": nll}, {"one": START}), {"one": 1.0}),
        lambda nll: fit_toys(
            nll, START, ntoys=4, key=1, predict_fn=lambda state: state["mu"]
        ),
    ],
)
def test_every_function_that_traces_tells_it(call):
    with pytest.raises(TracingError, match=r"math_log \(test_user_mistakes.py"):
        call(math_log)


def test_functions_that_draw_and_expect_tell_it_too():
    def sample(params, key):
        return np.log(params["mu"])

    def fine(params, data):
        return (params["mu"] - data) ** 2 + jnp.sum(params["a"] ** 2)

    with pytest.raises(TracingError, match="sample"):
        sample_toys(
            ew.Model(fine, START, observation=1.0, sample=sample),
            START,
            ntoys=2,
            key=1,
        )


def test_missing_parameter_has_the_nearest_name():
    def nll(params, data):
        return (params["nu"] - data) ** 2

    with pytest.raises(UnknownKeyError, match=r"no parameter 'nu'.*'mu'"):
        ew.fit(nll, START, 1.0)


def test_other_errors_are_those_of_the_function():
    def nll(params, data):
        return (params.mu - data) ** 2

    with pytest.raises(AttributeError, match="no attribute 'mu'") as caught:
        ew.fit(nll, START, 1.0)
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert frames[-1].name == "nll"
    assert not [frame for frame in frames if "/jax/" in frame.filename]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda params: None, "returned None"),
        (lambda params: params["a"], r"shape \(2,\).*jnp.sum"),
        (lambda params: 3, "dtype int"),
    ],
)
def test_wrong_results_say_what_is_expected(returned, message):
    with pytest.raises(ShapeMismatchError, match=message) as caught:
        ew.fit(lambda params, data: returned(params), START, 1.0)
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert not [frame for frame in frames if "/jax/" in frame.filename]


@pytest.mark.parametrize("returned", ["a", {"a": 1.0}])
@pytest.mark.parametrize("make", [lambda nll: (nll, START), lambda nll: (model(nll),)])
def test_wrong_kinds_of_results_are_named(make, returned):
    with pytest.raises(ShapeMismatchError, match=f"a {type(returned).__name__}"):
        ew.fit(*make(lambda params, data: returned))


def test_result_has_the_function_and_its_line():
    place = r"one_result \(test_user_mistakes.py, line"
    with pytest.raises(ShapeMismatchError, match=place):
        ew.fit(one_result, START, 1.0)


def one_result(params, data):
    return "a"


def one_argument(params):
    return (params["mu"] - 1) ** 2


def model(nll):
    return ew.Model(nll, START)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ew.fit(one_argument, START),
        lambda: ew.fit(ew.Model(one_argument, START, None)),
        lambda: ew.fit(model(one_argument)),
        lambda: ew.fit(ew.LeastSquares(one_argument), START),
        lambda: ew.profile.minos(one_argument, START),
        lambda: ew.uncertainties(one_argument, START),
    ],
)
def test_function_of_one_argument_is_told_the_form(call):
    with pytest.raises(ArgumentTypeError) as caught:
        call()
    text = str(caught.value)
    assert "one_argument (test_user_mistakes.py, line" in text
    assert "(params, observation)" in text
    shown = "".join(traceback.format_exception(caught.value))
    assert "jax/_src" not in shown


def test_function_without_its_data_is_told_so():
    def nll(params, data):
        return (params["mu"] - data) ** 2

    with pytest.raises(ArgumentTypeError, match="no data were given"):
        ew.fit(nll, START)
    with pytest.raises(ArgumentTypeError, match="no data were given"):
        ew.fit(model(nll))


def test_attribute_that_is_a_parameter_is_a_key():
    def nll(params, data):
        return (params.mu - data) ** 2

    with pytest.raises(AttributeError, match=r"write \['mu'\] in place of .mu"):
        ew.fit(nll, START, 1.0)


def test_only_functions_of_math_are_called_so():
    with pytest.raises(TracingError) as caught:
        ew.fit(to_float, START, 1.0)
    assert "math.log" not in str(caught.value)
