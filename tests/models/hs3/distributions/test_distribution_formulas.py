"""Formulas of single distributions, against scipy and by hand."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

from everwillow._errors import EverwillowError, SpecificationError
from everwillow.models.hs3.distributions import Builder
from everwillow.models.hs3.distributions.special import (
    log_exponential_interval,
    log_normal_interval,
)
from everwillow.models.hs3.functions.graph import Graph, Scope
from tests.models.hs3.distribution_cases import CASES, MODELS, PARTS


REAL = (-math.inf, math.inf)
X = np.array([0.3, 1.1, 2.7])


def log_prob(spec, values=None, domain=REAL, x=X, others=None):
    distribution = Builder({"it": spec, **(others or {})}).build("it")
    scope = Scope({**(values or {}), "x": x}, {"x": domain})
    return np.asarray(distribution.log_prob(scope))


@pytest.mark.parametrize(
    ("spec", "expected", "domain"),
    [
        (
            {"type": "gaussian_dist", "x": "x", "mean": 1.0, "sigma": 0.7},
            scipy.stats.norm(1.0, 0.7),
            REAL,
        ),
        (
            {
                "type": "generalized_normal_dist",
                "x": "x",
                "mean": 1,
                "alpha": 2,
                "beta": 8,
            },
            scipy.stats.gennorm(8.0, 1.0, 2.0),
            REAL,
        ),
        (
            {"type": "lognormal_dist", "x": "x", "mu": 0.4, "sigma": 0.3},
            scipy.stats.lognorm(0.3, scale=math.exp(0.4)),
            (0.0, math.inf),
        ),
        (
            {"type": "exponential_dist", "x": "x", "c": 0.8},
            scipy.stats.expon(scale=1.25),
            (0.0, math.inf),
        ),
        (
            {"type": "poisson_dist", "x": "x", "mean": 2.5},
            scipy.stats.poisson(2.5),
            (0.0, math.inf),
        ),
        (
            {
                "type": "crystalball_dist",
                "m": "x",
                "m0": 1.0,
                "alpha": 0.8,
                "n": 3.0,
                "sigma": 0.6,
            },
            scipy.stats.crystalball(0.8, 3.0, 1.0, 0.6),
            REAL,
        ),
        (
            {
                "type": "decay_dist",
                "t": "x",
                "tau": 1.5,
                "decayType": 0,
                "resolutionModel": "g",
            },
            scipy.stats.exponnorm(3.0, 0.2, 0.5),
            REAL,
        ),
    ],
    ids=lambda value: value.get("type") if isinstance(value, dict) else "",
)
def test_over_the_natural_range_it_is_the_one_of_scipy(spec, expected, domain):
    resolution = {"type": "gauss_model_function", "x": "x", "mean": 0.2, "sigma": 0.5}
    x = np.round(X) if spec["type"] == "poisson_dist" else X
    got = log_prob(spec, domain=domain, x=x, others={"g": resolution})
    counts = spec["type"] == "poisson_dist"
    wanted = expected.logpmf(x) if counts else expected.logpdf(x)
    np.testing.assert_allclose(got, wanted, rtol=1e-10)


def test_argus_is_the_one_of_scipy():
    spec = {"type": "argus_dist", "mass": "x", "resonance": 3.0, "slope": -2.0}
    got = log_prob({**spec, "power": 0.5}, domain=(0.0, 3.0))
    chi = math.sqrt(4.0)
    np.testing.assert_allclose(
        got, scipy.stats.argus(chi, 0.0, 3.0).logpdf(X), rtol=1e-9
    )
    assert log_prob({**spec, "power": 0.5}, domain=(0.0, 5.0), x=4.0) == -np.inf


def test_chebychev_is_normalised_with_the_implicit_first_coefficient():
    spec = {"type": "chebychev_dist", "x": "x", "coefficients": [0.3, -0.2]}
    t = (2.0 * X - 4.0) / 4.0
    value = 1.0 + 0.3 * t - 0.2 * (2.0 * t**2 - 1.0)
    integral = 2.0 * (2.0 - 0.2 * (-2.0 / 3.0))
    np.testing.assert_allclose(
        log_prob(spec, domain=(0.0, 4.0)), np.log(value / integral), rtol=1e-12
    )


def test_polynomials_have_the_integral_of_their_powers():
    spec = {"type": "polynomial_dist", "x": "x", "coefficients": [1.0, "0.5", 3]}
    value = 1.0 + 0.5 * X + 3.0 * X**2
    integral = 4.0 + 0.25 * 16.0 + 64.0
    np.testing.assert_allclose(
        log_prob(spec, domain=(0.0, 4.0)), np.log(value / integral), rtol=1e-12
    )


@pytest.mark.slow
def test_a_two_sided_crystal_ball_is_the_formula_of_the_standard():
    left, right = (0.9, 2.5, 0.5), (1.4, 1.7, 0.8)
    spec = {"type": "crystalball_dist", "m": "x", "m0": 1.0}
    for side, numbers in (("L", left), ("R", right)):
        spec |= {
            f"{k}_{side}": v
            for k, v in zip(("alpha", "n", "sigma"), numbers, strict=True)
        }

    def density(m):
        alpha, n, sigma = left if m < 1.0 else right
        t = abs(m - 1.0) / sigma
        a = (n / alpha) ** n * math.exp(-0.5 * alpha**2)
        b = n / alpha - alpha
        return a * (b + t) ** -n if t > alpha else math.exp(-0.5 * t**2)

    total = scipy.integrate.quad(density, -5, 5, points=[0.55, 1, 2.12], limit=200)[0]
    x = np.array([-3.0, 0.2, 0.9, 1.5, 4.0])
    expected = np.log([density(m) / total for m in x])
    np.testing.assert_allclose(log_prob(spec, domain=(-5, 5), x=x), expected, rtol=1e-9)


@pytest.mark.parametrize("momentum", range(6))
def test_a_breit_wigner_has_the_form_factor_of_its_momentum(momentum):
    m0, gamma, m1, m2, radius = 1.2, 0.1, 0.5, 0.14, 3.0
    channel = {"Gamma": gamma, "m1": m1, "m2": m2, "l": momentum, "R": radius}
    spec = {"type": "relativistic_breit_wigner_dist", "x": "x", "mass": m0}

    def shape(m):
        q = np.sqrt((m**2 - (m1 + m2) ** 2) * (m**2 - (m1 - m2) ** 2)) / (2.0 * m)
        z = q * radius
        # Spherical Hankel functions, of which the form factors are made:
        # n_l^2 = 1 / |z h_l(z)|^2, up to a constant.
        h = scipy.special.spherical_jn(momentum, z) + 1j * scipy.special.spherical_yn(
            momentum, z
        )
        width = gamma / np.abs(z * h) ** 2 * 2.0 * q / m
        return m * width / np.abs(m0**2 - m**2 - 1j * m0 * width) ** 2

    x = np.array([0.8, 1.15, 1.6])
    got = log_prob({**spec, "channels": [channel]}, domain=(0.7, 2.0), x=x)
    expected = np.log(shape(x))
    np.testing.assert_allclose(
        got - got[0], expected - expected[0], rtol=1e-9, atol=1e-9
    )


def test_a_breit_wigner_without_masses_and_momentum_has_a_constant_width():
    spec = {"type": "relativistic_breit_wigner_dist", "x": "x", "mass": 2.0}
    got = log_prob({**spec, "channels": [{"Gamma": 0.3}]}, domain=(0.1, 4.0))
    expected = np.log(X / ((4.0 - X**2) ** 2 + 0.36))
    np.testing.assert_allclose(got - got[0], expected - expected[0], rtol=1e-12)


def test_a_poisson_over_a_range_is_a_sum_over_its_whole_numbers():
    spec = {"type": "poisson_dist", "x": "x", "mean": 2.5}
    x = np.array([2.0, 3.0, 4.0])
    total = scipy.stats.poisson(2.5).pmf(np.arange(2, 7)).sum()
    expected = scipy.stats.poisson(2.5).logpmf(x) - math.log(total)
    np.testing.assert_allclose(log_prob(spec, domain=(1.5, 6.5), x=x), expected)


def test_a_poisson_of_a_vanishing_mean_is_certain_of_nothing():
    spec = {"type": "poisson_dist", "x": "x", "mean": "m"}
    got = log_prob(spec, {"m": 0.0}, (0.0, math.inf), np.array([0.0, 1.0]))
    assert got.tolist() == [0.0, -np.inf]


def test_a_multivariate_normal_is_the_one_of_scipy():
    covariance = [[1.0, 0.3, 0.0], [0.3, 2.0, -0.4], [0.0, -0.4, 0.5]]
    spec = {
        "type": "multivariate_normal_dist",
        "x": ["x", "y", "z"],
        "mean": [0.0, "m", 1.0],
        "covariances": [["v", 0.3, 0.0], *covariance[1:]],
    }
    points = {"x": 0.2, "y": -0.3, "z": 0.7}
    scope = Scope({**points, "m": 0.5, "v": 1.0}, dict.fromkeys(points, REAL))
    expected = scipy.stats.multivariate_normal([0.0, 0.5, 1.0], covariance)
    got = Builder({"it": spec}).build("it").log_prob(scope)
    assert float(got) == pytest.approx(expected.logpdf(list(points.values())))


def test_a_barlow_beeston_constraint_has_counts_in_units_of_its_expectations():
    spec = {
        "type": "barlow_beeston_lite_poisson_constraint_dist",
        "x": ["g1", 1.1],
        "expected": [100.0, "t"],
    }
    scope = Scope({"g1": 0.9, "t": 25.0})
    got = Builder({"it": spec}).build("it").log_density(scope)

    def log_poisson(count, mean):
        return count * math.log(mean) - mean - math.lgamma(count + 1.0)

    assert float(got) == pytest.approx(log_poisson(90, 100) + log_poisson(27.5, 25))


@pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (5.0, 9.0), (-40.0, -38.0)])
def test_normal_probabilities_hold_in_both_tails(low, high):
    below, above = sorted((-abs(low), -abs(high))) if low * high > 0 else (low, high)
    logs = scipy.special.log_ndtr([above, below])
    expected = logs[0] + math.log1p(-math.exp(logs[1] - logs[0]))
    for a, b in ((low, high), (-high, -low)):
        got = log_normal_interval(jnp.asarray(a), jnp.asarray(b))
        assert float(got) == pytest.approx(expected, rel=1e-12)


def test_exponential_integrals_hold_at_any_rate():
    for rate in (-3.0, -1e-7, 0.0, 1e-9, 0.05, 0.2, 40.0, 4e3):
        got = log_exponential_interval(jnp.asarray(rate), 1.0, 3.0)
        width = 2.0 if rate == 0.0 else -math.expm1(-2.0 * rate) / rate
        assert float(got) == pytest.approx(math.log(width) - rate, rel=1e-13, abs=1e-13)
    slope = jax.grad(lambda r: log_exponential_interval(r, 1.0, 3.0))(0.0)
    assert slope == -2.0
    assert log_exponential_interval(jnp.asarray(-1.0), 0.0, jnp.inf) == jnp.inf


def test_mixtures_do_not_underflow():
    others = {
        "a": {"type": "gaussian_dist", "x": "x", "mean": 0.0, "sigma": 0.01},
        "b": {"type": "gaussian_dist", "x": "x", "mean": 1.0, "sigma": 0.01},
    }
    spec = {"type": "mixture_dist", "summands": ["a", "b"], "coefficients": ["f"]}
    got = log_prob(spec, {"f": 0.25}, (-1e3, 1e3), np.array([0.5]), others)
    expected = -0.5 * 50.0**2 - math.log(0.01 * math.sqrt(2.0 * math.pi))
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_a_parameter_that_depends_on_the_observable_is_integrated():
    spec = {"type": "gaussian_dist", "x": "x", "mean": 1.0, "sigma": "s"}
    graph = Graph({"s": {"type": "sum", "summands": ["x", 1.0]}})
    distribution = Builder({"it": spec}).build("it")
    x = np.linspace(0.0, 4.0, 20_001)
    scope = Scope({"x": x}, {"x": (0.0, 4.0)}, graph=graph)
    total = np.trapezoid(np.exp(distribution.log_prob(scope)), x)
    assert total == pytest.approx(1.0, abs=1e-8)
    kernel = -0.5 * ((x - 1.0) / (x + 1.0)) ** 2
    np.testing.assert_allclose(distribution.log_density(scope), kernel)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"type": "gausian_dist"}, "Did you mean 'gaussian_dist'"),
        ({"type": "landau_dist"}, "not supported here; it has no closed form"),
        ({"type": "histfactory_dist"}, "paired with binned data itself"),
        ({"type": "gaussian_dist", "x": "x", "mean": 1}, "'sigma' is missing"),
        ({"type": "decay_dist", "decayType": 3}, "0, 1 or 2"),
        ({"type": "mixture_dist", "summands": ["it"], "coefficients": [1]}, "circle"),
        (
            {"type": "mixture_dist", "summands": ["g", "g"], "coefficients": [1, 2, 3]},
            "2 summands need as many coefficients or one less, not 3",
        ),
        (
            {
                "type": "mixture_dist",
                "summands": ["g", "g"],
                "coefficients": [1],
                "extended": True,
            },
            "a coefficient for each summand",
        ),
        (
            {"type": "product_dist", "factors": ["g"], "normalization": [{}]},
            "conditional densities",
        ),
        (
            {
                "type": "crystalball_dist",
                "m": "x",
                "m0": 1,
                "alpha": 1,
                "alpha_L": 1,
                "n": 1,
                "sigma": 1,
            },
            "'alpha' excludes 'alpha_L'",
        ),
        (
            {
                "type": "multivariate_normal_dist",
                "x": ["x", "y"],
                "mean": [0, 0],
                "covariances": [[1, 2], [2, 1]],
            },
            "not positive definite",
        ),
        (
            {
                "type": "multivariate_normal_dist",
                "x": ["x", "y"],
                "mean": [0, 0],
                "covariances": [[1, 0.2], [0.3, 1]],
            },
            "not symmetric",
        ),
        (
            {"type": "relativistic_breit_wigner_dist", "mass": "m", "channels": [{}]},
            "the variable",
        ),
        ({"type": "mixture_dist", "summands": ["h"], "coefficients": [1]}, "'h'"),
    ],
)
def test_a_definition_that_cannot_be_used_is_refused_by_name(spec, words):
    gaussian = {"type": "gaussian_dist", "x": "x", "mean": 0, "sigma": 1}
    with pytest.raises(EverwillowError, match=words) as caught:
        Builder({"it": spec, "g": gaussian}).build("it")
    assert "distributions" in str(caught.value)


@pytest.mark.parametrize("kind", ["polynomial_dist", "chebychev_dist", "uniform_dist"])
def test_what_needs_a_finite_range_says_so(kind):
    coefficients = {} if kind == "uniform_dist" else {"coefficients": [1.0]}
    with pytest.raises(
        SpecificationError, match="give the axis of 'x' a min and a max"
    ):
        log_prob({"type": kind, "x": "x", **coefficients})


def _refusal(spec, models):
    """Return the message of the error, or nothing if there is none."""
    try:
        Builder({**PARTS, "it": spec}, models).build("it")
    except EverwillowError as error:
        return str(error)
    return ""


JUNK = [None, "", "nobody", "1e3", [], {}, [[]], [None], -1, 0, 1e400, 10**400, True]


@pytest.mark.parametrize("name", CASES, ids=lambda name: name.replace(" ", "-"))
def test_a_definition_with_junk_is_read_or_refused(name):
    pytest.importorskip("lark")
    case = CASES[name]
    models = {**MODELS, **case.functions}
    for key, value in case.spec.items():
        inside = value if isinstance(value, list) else []
        broken = [*JUNK, *([junk, *inside[1:]] for junk in JUNK)]
        for spec in ({**case.spec, key: junk} for junk in broken):
            message = _refusal(spec, models)
            assert not message or re.search("distributions|functions", message)
        missing = {k: v for k, v in case.spec.items() if k != key}
        message = _refusal(missing, models)
        assert not message or key.split("_")[0] in message


def test_numbers_that_make_no_density_are_refused():
    for kind, keys in {
        "gaussian_dist": {"x": "x", "mean": 0, "sigma": 0},
        "lognormal_dist": {"x": "x", "mu": 0, "sigma": -1},
    }.items():
        with pytest.raises(SpecificationError, match="'sigma' must be positive"):
            Builder({"it": {"type": kind, **keys}}).build("it")
