"""Weights, parts of the error and measurements of combinations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow import goodness, impacts
from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConflictError,
    UnknownKeyError,
)
from tests.helpers import count_jax_work


# Three measurements of a mass with two common sources and one of its own.
VALUES = np.array([172.3, 173.5, 172.9])
STATISTICAL = np.array([0.4, 0.6, 0.5])
SOURCES = {
    "jes": np.array([0.9, 0.5, 0.0]),
    "tag": np.array([0.3, 0.2, 0.6]),
    "b.own": np.array([0.0, 0.7, 0.0]),
}
COVARIANCE = np.diag(STATISTICAL**2) + sum(np.outer(s, s) for s in SOURCES.values())


def measured(i, *, expected=True):
    shifts = {
        ("own" if name == "b.own" else name): sigma[i]
        for name, sigma in SOURCES.items()
        if sigma[i]
    }
    mean = lambda p: p["mass"] + sum(s * p[name] for name, s in shifts.items())
    return ew.Model(
        lambda p, seen: 0.5 * ((seen - mean(p)) / STATISTICAL[i]) ** 2,
        {"mass": 170.0} | dict.fromkeys(shifts, 0.0),
        VALUES[i],
        constraints=dict.fromkeys(shifts, ew.Normal(0.0, 1.0)),
        expected=mean if expected else None,
    )


MODELS = {name: measured(i) for i, name in enumerate("abc")}
JOINT = ew.combine(MODELS, shared=["mass", "jes", "tag"])


@pytest.fixture(scope="module")
def fitted():
    return ew.fit(JOINT)


def blue():
    ones = np.ones(3)
    weights = np.linalg.solve(COVARIANCE, ones)
    return weights / weights.sum()


@pytest.fixture(scope="module")
def weights(fitted):
    return impacts.weights(JOINT, fitted, poi="mass")


def test_weights_are_those_of_the_best_linear_unbiased_estimate(fitted, weights):
    np.testing.assert_allclose(weights.measurements, blue(), rtol=1e-10)
    np.testing.assert_allclose(weights.total, 1.0, rtol=1e-12)
    np.testing.assert_allclose(fitted.params["mass"], blue() @ VALUES, rtol=1e-12)
    assert list(weights.by_name) == ["a", "b", "c"]
    assert "100.0%" in repr(weights)


@pytest.mark.slow
def test_weights_are_derivatives_of_the_fit(weights):
    def best(main):
        return ew.fit(JOINT, observation={**JOINT.observation, "main": main}).params[
            "mass"
        ]

    slopes = jax.grad(best)(jax.tree.map(jnp.asarray, JOINT.observation["main"]))
    for name, slope in slopes.items():
        np.testing.assert_allclose(weights.data[name], slope, rtol=1e-9)


@pytest.mark.slow
def test_a_single_number_without_expectation_is_a_measurement(fitted, weights):
    blind = {name: measured(i, expected=False) for i, name in enumerate("abc")}
    joint = ew.combine(blind, shared=["mass", "jes", "tag"])
    found = impacts.weights(joint, ew.fit(joint), poi="mass")
    np.testing.assert_allclose(found.measurements, weights.measurements, rtol=1e-9)


def counts(rate, seen, **options):
    return ew.Model(
        lambda p, n: jnp.sum(rate(p) - n * jnp.log(rate(p))),
        {"mu": 1.0, "b": 0.0},
        seen,
        constraints={"b": ew.Normal(0.0, 1.0)},
        **options,
    )


@pytest.fixture(scope="module")
def counting():
    first = lambda p: jnp.array([10.0, 20.0]) * p["mu"] + 50 * (1 + 0.1 * p["b"])
    second = lambda p: jnp.array([8.0]) * p["mu"] + 30 * (1 + 0.05 * p["b"])
    joint = ew.combine(
        {
            "one": counts(first, np.array([60.0, 70.0]), expected=first),
            "two": counts(second, np.array([38.0]), expected=second),
        }
    )
    return joint, ew.fit(joint)


def test_weights_of_counts_add_up_to_one_on_asimov_data(counting):
    joint, result = counting
    found = impacts.weights(joint, result, poi="mu")
    np.testing.assert_allclose(found.total, 1.0, rtol=1e-9)
    assert found.data["one"].shape == (2,)
    assert np.all(np.asarray(found.measurements) > 0)


def test_the_weight_of_several_data_needs_their_expectation(counting):
    expected = lambda p: jnp.array([10.0, 20.0]) * p["mu"] + 50 * (1 + 0.1 * p["b"])
    model = counts(expected, np.array([60.0, 70.0]))
    with pytest.raises(ArgumentValueError, match="expected=function"):
        impacts.weights(model, ew.fit(model), poi="mu")
    with pytest.raises(ArgumentValueError, match="names no parameter of interest"):
        impacts.weights(*counting)
    with pytest.raises(ArgumentTypeError, match="function alone has no measurements"):
        impacts.weights(expected, counting[1], poi="mu")


def test_second_weights_trace_nothing(fitted, weights):
    groups = {"JES": "jes"}
    impacts.breakdown(JOINT, fitted, poi="mass", groups=groups)
    with count_jax_work() as work:
        impacts.weights(JOINT, fitted, poi="mass")
        impacts.breakdown(JOINT, fitted, poi="mass", groups=groups)
    assert work.traces == 0
    assert work.compilations == 0


def test_the_breakdown_is_that_of_blue(fitted):
    groups = {"JES": "jes", "tagging": "tag"}
    parts = impacts.breakdown(JOINT, fitted, poi="mass", groups=groups)
    want = {
        "statistical": np.sqrt(blue() ** 2 @ STATISTICAL**2),
        "JES": abs(blue() @ SOURCES["jes"]),
        "tagging": abs(blue() @ SOURCES["tag"]),
        "other": abs(blue() @ SOURCES["b.own"]),
    }
    assert list(parts.by_source) == list(want)
    for source, error in want.items():
        np.testing.assert_allclose(parts.by_source[source], error, rtol=1e-9)
    total = np.sqrt(blue() @ COVARIANCE @ blue())
    np.testing.assert_allclose(parts.total, total, rtol=1e-10)
    np.testing.assert_allclose(parts.value, blue() @ VALUES, rtol=1e-12)
    rest = np.sqrt(total**2 - want["statistical"] ** 2)
    np.testing.assert_allclose(parts.systematic, rest, rtol=1e-9)


def test_by_default_every_source_is_a_part(fitted):
    parts = impacts.breakdown(JOINT, fitted, poi="mass")
    assert parts.sources == ("statistical", "jes", "tag", "b.own")
    np.testing.assert_allclose(np.sum(parts.parts**2), parts.total**2, rtol=1e-10)


def test_tables_for_a_paper_are_rounded_to_two_digits_of_the_total(fitted):
    groups = {"b_tagging & JES": ["jes", "tag"], "rest": "b.*"}
    parts = impacts.breakdown(JOINT, fitted, poi="mass", groups=groups)
    both = np.hypot(blue() @ SOURCES["jes"], blue() @ SOURCES["tag"])
    assert parts.markdown(unit="GeV").splitlines() == [
        f"| mass [GeV] | {blue() @ VALUES:.2f} |",
        "| --- | ---: |",
        f"| statistical | {np.sqrt(blue() ** 2 @ STATISTICAL**2):.2f} |",
        f"| b_tagging & JES | {both:.2f} |",
        f"| rest | {abs(blue() @ SOURCES['b.own']):.2f} |",
        f"| total | {np.sqrt(blue() @ COVARIANCE @ blue()):.2f} |",
    ]
    lines = parts.latex(name=r"$m_t$", unit="GeV").splitlines()
    assert lines[0] == r"\begin{tabular}{lr}"
    assert r"$m_t$ [GeV] & $172.92$ \\" in lines
    assert rf"b\_tagging \& JES & ${both:.2f}$ \\" in lines
    assert lines[-1] == r"\end{tabular}"


def test_groups_are_disjoint_and_known(fitted):
    def broken(groups):
        return impacts.breakdown(JOINT, fitted, poi="mass", groups=groups)

    with pytest.raises(ConflictError, match="jes is in 'one' and in 'two'"):
        broken({"one": "jes", "two": ["jes", "tag"]})
    with pytest.raises(ArgumentValueError, match="name of another part"):
        broken({"total": "jes"})
    with pytest.raises(UnknownKeyError):
        broken({"one": "jess"})


def test_without_constraints_all_is_statistical():
    model = ew.Model(lambda p, y: 0.5 * ((y - p["x"]) / 2.0) ** 2, {"x": 0.0}, 3.0)
    parts = impacts.breakdown(model, ew.fit(model), poi="x")
    assert parts.sources == ("statistical",)
    np.testing.assert_allclose([parts.statistical, parts.total], 2.0)


@pytest.fixture(scope="module")
def compared(fitted):
    return impacts.measurements(JOINT, fitted, poi="mass", groups={"JES": "jes"})


@pytest.mark.slow
def test_measurements_are_the_fits_of_the_models_alone(compared):
    np.testing.assert_allclose(compared.values, VALUES, rtol=1e-9)
    np.testing.assert_allclose(compared.errors, np.sqrt(np.diag(COVARIANCE)), 1e-9)
    np.testing.assert_allclose(compared.statistical, STATISTICAL, rtol=1e-9)
    np.testing.assert_allclose(compared.weights, blue(), rtol=1e-9)
    width = np.sqrt(np.diag(COVARIANCE) - compared.average.total**2)
    pulls = (VALUES - compared.average.value) / width
    np.testing.assert_allclose(compared.pulls, pulls, rtol=1e-7)
    assert repr(compared).splitlines()[0].split()[:3] == [
        "measurement",
        "mass",
        "error",
    ]


@pytest.mark.slow
def test_a_measurement_without_the_parameter_has_no_value(fitted):
    control = ew.Model(
        lambda p, y: 0.5 * ((y - p["jes"]) / 0.5) ** 2,
        {"jes": 0.0},
        0.3,
        expected=lambda p: p["jes"],
    )
    joint = ew.combine(
        {"a": MODELS["a"], "control": control}, rename={"a": {"mass": "top"}}
    )
    found = impacts.measurements(joint, ew.fit(joint), poi="top")
    np.testing.assert_allclose(found.values, [VALUES[0], np.nan])
    assert np.isnan(found.pulls[1])
    np.testing.assert_allclose(found.weights[0], 1.0, rtol=1e-9)
    with pytest.raises(ArgumentTypeError, match="expected a combination"):
        impacts.measurements(MODELS["a"], fitted, poi="mass")


def test_keys_in_a_combination_of_combinations():
    inner = ew.combine({"a": MODELS["a"], "b": MODELS["b"]}, rename={"mass": "m"})
    outer = ew.combine(
        {"ab": inner, "c": MODELS["c"]}, rename={"m": "top", "mass": "top"}
    )
    assert outer.keys_of("top") == {"ab": "m", "c": "mass"}
    assert outer.keys_of("jes") == {"ab": "jes"}
    with pytest.raises(UnknownKeyError):
        outer.keys_of("nothing")


def gaussian(value, error):
    return ew.Model(
        lambda p, seen: 0.5 * jnp.sum(((seen - p["mass"]) / error) ** 2),
        {"mass": 170.0},
        value,
        expected=lambda p: p["mass"] * jnp.ones(np.shape(value)),
    )


def counted():
    rate = lambda p: jnp.array([3.0]) * (p["mass"] - 100)
    return ew.Model(
        lambda p, n: jnp.sum(rate(p) - n * jnp.log(rate(p))),
        {"mass": 170.0},
        np.array([220.0]),
        expected=rate,
    )


@pytest.fixture(scope="module")
def mixed():
    joint = ew.combine(
        {
            "one": gaussian(172.0, 2.0),
            "two": gaussian(np.array([173.0, 171.0]), 1.0),
            "counts": counted(),
        }
    )
    return joint, ew.fit(joint)


def variances(**others):
    return {"one": 4.0, "two": np.array([1.0, 1.0]), "counts": "poisson"} | others


@pytest.mark.parametrize(
    "given",
    [
        variances(),
        variances(two=[1.0, 1]),
        variances(two=[[1.0, 0.0], [0.0, 1.0]]),
        variances(one=4, two=(1.0, 1.0)),
        ew.State.from_pytree({"one": 4.0, "two": np.ones(2)}).to_pytree()
        | {"counts": "poisson"},
    ],
    ids=["arrays", "list", "matrix", "tuple", "pytree"],
)
def test_variances_may_look_like_the_data(mixed, given):
    joint, result = mixed
    found = impacts.global_impacts(joint, result, poi="mass", data_variance=given)
    np.testing.assert_allclose(found.total, found.errors, rtol=0.02)
    test = goodness.saturated_test(joint, result, data_variance=given)
    assert test.ndof == 3
    pulls = goodness.data_pulls(joint, result, data_variance=given)
    mass = result.params["mass"]
    np.testing.assert_allclose(pulls.pulls["one"], (172.0 - mass) / 2.0, rtol=1e-9)
    mean = 3 * (mass - 100)
    signed = np.sqrt(2 * (mean - 220 + 220 * np.log(220 / mean))) * np.sign(220 - mean)
    np.testing.assert_allclose(pulls.deviances["counts"], signed, rtol=1e-7)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"one": 4.0, "counts": "poisson"}, "no entry for 'two'; give None"),
        (variances(tow=1.0), "no 'tow' in the data. Did you mean 'two'"),
        ([4.0, 1.0, 1.0], "a list has none. Give a mapping"),
        (variances(one="gauss"), r"data_variance\['one'\]: expected variances"),
    ],
)
def test_variances_that_do_not_look_like_the_data(mixed, given, message):
    joint, result = mixed
    with pytest.raises(ArgumentValueError, match=message):
        impacts.global_impacts(joint, result, poi="mass", data_variance=given)
    with pytest.raises(ArgumentValueError, match=message):
        goodness.saturated_test(joint, result, data_variance=given)


def test_data_in_lists_take_arrays_of_variances():
    model = ew.Model(
        lambda p, y: 0.5 * ((y[0] - p["x"]) ** 2 + ((y[1] - p["x"]) / 2) ** 2),
        {"x": 0.0},
        [1.0, 2.0],
        expected=lambda p: [p["x"], p["x"]],
    )
    found = impacts.global_impacts(
        model, ew.fit(model), poi="x", data_variance=np.array([1.0, 4.0])
    )
    np.testing.assert_allclose(found.total, found.errors, rtol=1e-9)


def test_measurements_need_the_result_of_a_fit():
    with pytest.raises(ArgumentTypeError, match="FitResult of the best fit, got str"):
        ew.impacts.measurements(JOINT, "mass")
