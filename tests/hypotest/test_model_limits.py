"""Upper limits of a Model: CLs there, how many fits they take, their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import ArgumentValueError
from everwillow.hypotest import AsymptoticCalculator, QMu, QTilde, ToyGenerator
from everwillow.models.histfactory import from_pyhf
from tests.cli.documents import QUICKSTART


SIGNAL, BACKGROUND, ERROR = np.array([12.0, 11.0]), np.array([50.0, 52.0]), [3.0, 7.0]
TRACES: list[int] = []


def expected(params):
    return params["mu"] * SIGNAL + params["gamma"] * BACKGROUND


def main_nll(params, counts):
    TRACES.append(0)
    rate = expected(params)
    return jnp.sum(rate - counts * jnp.log(rate))


def two_bins(counts=(51.0, 48.0), low=0.0, high=10.0):
    return ew.Model(
        main_nll,
        {"mu": 1.0, "gamma": np.ones(2)},
        np.asarray(counts),
        constraints={"gamma": ew.Poisson((BACKGROUND / np.asarray(ERROR)) ** 2)},
        bounds={"mu": ew.Interval(low, high), "gamma": ew.Interval(1e-10, 10.0)},
        expected=expected,
    )


def calculator(model, **options):
    return AsymptoticCalculator(
        model, None, None, "mu", options.pop("statistic", QTilde()), **options
    )


@pytest.mark.parametrize("counts", [(51.0, 48.0), (70.0, 75.0), (40.0, 35.0)])
@pytest.mark.parametrize("low", [0.0, -3.0])
@pytest.mark.parametrize("nuisances", ["a posteriori", "a priori"])
def test_cls_at_the_limits_is_the_level(counts, low, nuisances):
    model = two_bins(counts, low)
    result = ew.limits(model, "mu", nuisances=nuisances)
    assert int(result.fits) <= 20
    tests = calculator(model, nuisances=nuisances)
    observed = tests.test(float(result.observed))
    assert float(tests.cls(observed)) == pytest.approx(0.05, abs=1e-6)
    for name, limit in result.expected:
        bands = tests.expected(tests.test(float(limit))).cl_s
        assert float(bands[name]) == pytest.approx(0.05, abs=1e-6), name


@pytest.mark.slow
def test_a_negative_best_fit_counts_for_qmu_only():
    model = two_bins((40.0, 35.0), low=-3.0)
    tilde, plain = (
        ew.limits(model, "mu", test_statistic=statistic)
        for statistic in (QTilde(), QMu())
    )
    assert plain.observed < tilde.observed
    tests = calculator(model, statistic=QMu())
    found = tests.test(float(plain.observed))
    assert float(tests.cls(found)) == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize("level", [0.1, 0.32, 0.001])
def test_other_levels(level):
    model = two_bins()
    result = ew.limits(model, "mu", cl=1 - level)
    tests = calculator(model)
    found = tests.test(float(result.observed))
    assert float(tests.cls(found)) == pytest.approx(level, rel=2e-5)


def test_the_level_of_earlier_versions_is_one_minus_the_confidence_level():
    with pytest.warns(FutureWarning, match=r"Write cl=0\.9"):
        old = ew.limits(two_bins(), "mu", level=0.1)
    new = ew.limits(two_bins(), "mu", cl=0.9)
    assert old.observed == new.observed
    assert new.level == 0.1


def test_a_confidence_level_as_level_is_refused():
    with pytest.raises(ArgumentValueError, match=r"level: .* write cl=0\.9"):
        ew.limits(two_bins(), "mu", level=0.9)


def test_bands_are_in_order():
    result = ew.limits(two_bins(), "mu")
    values = [float(value) for _, value in result.expected]
    assert values == sorted(values)


def test_a_second_call_traces_nothing():
    ew.limits(two_bins(), "mu")
    before = len(TRACES)
    ew.limits(two_bins((55.0, 60.0)), "mu", cl=0.9)
    assert len(TRACES) == before


def test_a_free_fit_that_is_given_is_not_repeated():
    model = two_bins()
    best = ew.fit(model)
    result = ew.limits(model, "mu", best)
    assert result.minimum is best
    np.testing.assert_allclose(
        result.observed, ew.limits(model, "mu").observed, rtol=1e-9
    )


def test_a_priori_means_start_values_also_where_the_fit_is_given():
    model = two_bins((70.0, 40.0))
    given = ew.limits(model, "mu", ew.fit(model), nuisances="a priori")
    fresh = ew.limits(model, "mu", nuisances="a priori")
    after = ew.limits(model, "mu")
    np.testing.assert_allclose(given.expected.median, fresh.expected.median, rtol=1e-9)
    assert abs(fresh.expected.median / after.expected.median - 1) > 1e-3


def test_a_priori_needs_the_start_values_of_a_plain_function():
    def nll(params, n):
        rate = 50.0 + params["mu"]
        return rate - n * jnp.log(rate)

    best = ew.fit(nll, ew.State.from_pytree({"mu": 1.0}), 52.0)
    options = {"nuisances": "a priori", "predict_fn": lambda s: 50.0 + s["mu"]}
    with pytest.raises(ValueError, match="start values"):
        ew.limits(nll, "mu", best, 52.0, **options)


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(51.0, 48.0), (70.0, 75.0)])
def test_derivatives_in_the_data_agree_with_finite_differences(counts):
    def both(shift):
        model = two_bins()
        data = {**model.observation, "main": jnp.asarray(counts) + shift}
        result = ew.limits(model, "mu", observation=data, throw=False)
        return jnp.stack([result.observed, result.expected.plus_1sigma])

    step = 1e-3
    slope = jax.jacrev(both)(0.0)
    difference = (both(step) - both(-step)) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-5)


@pytest.mark.slow
def test_derivative_in_a_template():
    def median(scale):
        def rate(params):
            return params["mu"] * scale * SIGNAL + BACKGROUND

        def nll(params, counts):
            return jnp.sum(rate(params) - counts * jnp.log(rate(params)))

        start = ew.State.from_pytree({"mu": 1.0})
        result = ew.limits(
            nll, "mu", start, np.array([51.0, 48.0]), predict_fn=rate_of(scale)
        )
        return result.expected.median

    # Without nuisance parameters the limit is inversely proportional to the signal.
    slope = jax.grad(median)(1.0)
    np.testing.assert_allclose(slope, -median(1.0), rtol=1e-6)


def rate_of(scale):
    return lambda state: state["mu"] * scale * SIGNAL + BACKGROUND


@pytest.mark.slow
def test_jit_and_vmap_over_data():
    model = two_bins()

    @jax.jit
    def observed(counts):
        data = {**model.observation, "main": counts}
        return ew.limits(model, "mu", observation=data, throw=False).observed

    data = jnp.array([[51.0, 48.0], [60.0, 70.0], [40.0, 35.0]])
    batch = jax.vmap(observed)(data)
    single = [ew.limits(two_bins(counts), "mu").observed for counts in data]
    np.testing.assert_allclose(batch, single, rtol=1e-6)


@pytest.mark.slow
def test_auxiliary_data_that_do_not_move_ask_for_an_asimov_fit():
    def nll(params, counts):
        rate = expected(params)
        pulls = (params["gamma"] - 1.0) / 0.1
        return jnp.sum(rate - counts * jnp.log(rate)) + 0.5 * jnp.sum(pulls**2)

    start = ew.State.from_pytree({"mu": 1.0, "gamma": np.ones(2)})
    counts = np.array([60.0, 45.0])
    result = ew.limits(nll, "mu", start, counts, predict_fn=expected)
    tests = AsymptoticCalculator(
        nll, start, counts, "mu", QTilde(), predict_fn=expected
    )
    bands = tests.expected(tests.test(float(result.expected.median))).cl_s
    assert float(bands.median) == pytest.approx(0.05, abs=1e-6)


@pytest.mark.slow
def test_auxiliary_data_may_be_a_dictionary():
    """Models of workspaces keep theirs in a table, and so do Asimov data and toys."""
    model = from_pyhf(QUICKSTART)
    aux = dict(model.observation["aux"])
    data = {"main": model.observation["main"], "aux": aux}
    found, wanted = (ew.limits(model, observation=d).observed for d in (data, None))
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    toys = ToyGenerator(QTilde(), ntoys=5)
    found, wanted = (
        toys.generate(model, None, d, "mu", 1.0, key=1).q_null for d in (data, None)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_limits_beyond_the_bound():
    with pytest.raises(ValueError, match=r"upper bound 1\.2: expected \+1 sigma"):
        ew.limits(two_bins(high=1.2), "mu")
    result = ew.limits(two_bins(high=1.2), "mu", throw=False)
    reference = ew.limits(two_bins(), "mu")
    assert np.isnan(result.expected.plus_1sigma)
    np.testing.assert_allclose(result.observed, reference.observed, rtol=1e-6)
    np.testing.assert_allclose(
        result.expected.median, reference.expected.median, rtol=1e-6
    )


@pytest.mark.slow
def test_a_fit_that_fails_is_an_error_and_no_number():
    def nll(params, counts):
        rate = params["mu"] * 10.0 + 50.0
        value = jnp.sum(rate - counts * jnp.log(rate))
        return jnp.where(params["mu"] > 1.0, jnp.nan, value)

    start = ew.State.from_pytree({"mu": 0.5})
    options = {"predict_fn": lambda state: state["mu"] * 10.0 + 50.0}
    with pytest.raises(ew.FitError, match="'mu' held failed"):
        ew.limits(nll, "mu", start, 52.0, **options)
    result = ew.limits(nll, "mu", start, 52.0, throw=False, **options)
    assert np.isnan(result.observed)


@pytest.mark.parametrize(
    ("poi", "options", "error", "words"),
    [
        ("mux", {}, KeyError, "mu"),
        ("gamma", {}, ValueError, "2 elements"),
        ("mu", {"cl": 1.0}, ValueError, "95 % confidence"),
        ("mu", {"cl": 0.05}, ValueError, "95 % confidence"),
        ("mu", {"cl": np.nan}, ValueError, "95 % confidence"),
        ("mu", {"nuisances": "post"}, ValueError, "a posteriori"),
        ("mu", {"fixed": {"mu": 1.0}}, ValueError, "fixed"),
        ("mu", {"test_statistic": "q"}, ValueError, "QTilde"),
        ("mu", {"predict_fn": lambda s: {"main": 1.0}}, ValueError, "predict_fn"),
    ],
)
def test_bad_input(poi, options, error, words):
    with pytest.raises(error, match=words) as caught:
        ew.limits(two_bins(), poi, **options)
    assert isinstance(caught.value, ew.EverwillowError)


def test_a_plain_function_needs_to_know_what_is_expected():
    with pytest.raises(ValueError, match="predict_fn"):
        ew.limits(
            lambda p, n: p["mu"] - n * jnp.log(p["mu"]),
            "mu",
            ew.State.from_pytree({"mu": 1.0}),
            3.0,
        )


@pytest.mark.slow
def test_cls_and_discovery_of_a_counting_experiment():
    def nll(params, n):
        rate = 50.0 + 10.0 * params["mu"]
        return rate - n * jnp.log(rate)

    start = ew.State.from_pytree({"mu": 1.0})
    options = {"predict_fn": lambda state: 50.0 + 10.0 * state["mu"]}

    def q0(n):
        return 2 * (n * np.log(n / 50.0) - (n - 50.0))

    found = ew.discovery(nll, "mu", start, 70.0, **options)
    np.testing.assert_allclose(found.significance, np.sqrt(q0(70.0)), rtol=1e-9)
    np.testing.assert_allclose(found.expected, np.sqrt(q0(60.0)), rtol=1e-9)
    none = ew.discovery(nll, "mu", start, 45.0, **options)
    assert none.significance == 0.0
    limit = ew.limits(nll, "mu", start, 52.0, **options).observed
    tested = ew.cls(nll, "mu", float(limit), start, 52.0, **options)
    assert float(tested.observed) == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize(
    ("poi", "value", "options", "words"),
    [
        ("mux", 1.0, {}, "^poi: .*'mu'"),
        ("mu", np.nan, {}, r"^value\['mu'\]"),
        ("mu", "one", {}, "^value: expected a number, got str"),
        ("mu", 1.0, {"test_statistic": "qtilde"}, "QTilde.* of everwillow.hypotest"),
    ],
)
def test_cls_names_its_own_arguments(poi, value, options, words):
    with pytest.raises(ew.EverwillowError, match=words):
        ew.cls(two_bins(), poi, value, **options)


@pytest.mark.slow
def test_derivative_of_a_significance():
    def z(n):
        def nll(params, n):
            rate = 50.0 + 10.0 * params["mu"]
            return rate - n * jnp.log(rate)

        start = ew.State.from_pytree({"mu": 1.0})
        return ew.discovery(
            nll, "mu", start, n, predict_fn=lambda s: 50.0 + 10.0 * s["mu"]
        ).significance

    # d sqrt(q0) / dn = ln(n/50) / sqrt(q0)
    n = 70.0
    slope = np.log(n / 50.0) / np.sqrt(2 * (n * np.log(n / 50.0) - (n - 50.0)))
    np.testing.assert_allclose(jax.grad(z)(n), slope, rtol=1e-7)
