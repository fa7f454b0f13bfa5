"""Constraints of one parameter: densities of the auxiliary observation."""

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ShapeMismatchError,
)
from everwillow.parameters import (
    AbstractConstraint,
    LogNormal,
    MultivariateNormal,
    Normal,
    Poisson,
    same_constraint,
)
from tests.helpers import finite_difference_gradient, tree_allclose


# name -> (constraint, the same kind with other numbers, values of the parameter)
CONSTRAINTS = {
    "normal": (Normal(1.2, 0.3), Normal(-5.0, 2.0), [0.0, 1.2, 2.5]),
    "poisson": (Poisson(12.5), Poisson(400.0), [0.3, 1.0, 2.5]),
    "lognormal": (LogNormal(2.0, 1.3), LogNormal(1.0, 1.05), [0.7, 2.0, 3.1]),
}

constraints = pytest.mark.parametrize(
    ("constraint", "other", "values"), CONSTRAINTS.values(), ids=CONSTRAINTS.keys()
)


@pytest.mark.parametrize("value", [-1.0, 0.4, 3.0])
def test_normal_is_the_normal_density(value):
    aux = np.linspace(-5.0, 5.0, 11)
    expected = -scipy.stats.norm.logpdf(aux, loc=value, scale=0.7)
    ours = [Normal(0.0, 0.7).nll(value, a) for a in aux]
    np.testing.assert_allclose(ours, expected, rtol=1e-14)


@pytest.mark.parametrize("value", [0.2, 1.0, 3.0])
def test_poisson_is_the_poisson_probability(value):
    aux = np.arange(40.0)
    expected = -scipy.stats.poisson.logpmf(aux, 7.5 * value)
    ours = [Poisson(7.5).nll(value, a) for a in aux]
    # The three terms, up to 110 here, each lose the last digit.
    np.testing.assert_allclose(ours, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("value", [0.2, 1.0, 3.0])
def test_lognormal_is_the_lognormal_density_of_the_observation(value):
    aux = np.geomspace(0.05, 20.0, 11)
    expected = -scipy.stats.lognorm.logpdf(aux, s=np.log(1.2), scale=value)
    ours = [LogNormal(1.0, 1.2).nll(value, a) for a in aux]
    np.testing.assert_allclose(ours, expected, rtol=1e-13)


@pytest.mark.parametrize("value", [0.5, 1.7])
@pytest.mark.parametrize(
    ("constraint", "low"), [(Normal(1.0, 0.2), -np.inf), (LogNormal(1.0, 1.3), 0.0)]
)
def test_the_density_integrates_to_one_over_the_observation(constraint, low, value):
    density = jax.jit(lambda aux: jnp.exp(-constraint.nll(value, aux)))
    low = max(low, value - 5.0, 1e-12) if low == 0.0 else value - 5.0
    total, error = scipy.integrate.quad(
        density, low, value + 8.0, points=[value], limit=200
    )
    # The tails that are cut off are beyond eight standard deviations.
    assert abs(total - 1.0) < error + 1e-12


@pytest.mark.parametrize("value", [0.0, 0.5, 1.7])
def test_the_probabilities_of_all_counts_sum_to_one(value):
    counts = jnp.arange(200.0)
    nll = jax.vmap(lambda aux: Poisson(10.0).nll(value, aux))(counts)
    np.testing.assert_allclose(jnp.sum(jnp.exp(-nll)), 1.0, rtol=1e-13)


@pytest.mark.parametrize(
    ("constraint", "center", "width"),
    [
        (Normal(1.2, 0.3), 1.2, 0.3),
        (Poisson(25.0), 1.0, 0.2),
        (LogNormal(2.0, 1.1), 2.0, 2.0 * np.log(1.1)),
    ],
    ids=["normal", "poisson", "lognormal"],
)
def test_the_nominal_observation_prefers_the_center_with_the_width(
    constraint, center, width
):
    assert constraint.center == center
    np.testing.assert_allclose(constraint.width, width, rtol=1e-15)
    at = jnp.asarray(center)
    gradient = jax.grad(constraint.nll)(at, constraint.aux)
    curvature = jax.hessian(constraint.nll)(at, constraint.aux)
    assert abs(float(gradient)) < 1e-12
    np.testing.assert_allclose(1.0 / np.sqrt(curvature), width, rtol=1e-14)


@constraints
@pytest.mark.parametrize("argument", [0, 1], ids=["value", "aux"])
def test_derivatives_agree_with_finite_differences(constraint, other, values, argument):
    def nll(point):
        return constraint.nll(point[0], point[1])

    for value in values:
        point = jnp.array([value, 1.1 * constraint.aux + 0.1])
        for fn in (nll, lambda x: jax.grad(nll)(x)[argument]):
            expected = finite_difference_gradient(fn, point)
            # The stencil gives ten digits of a function of size one.
            np.testing.assert_allclose(
                jax.grad(fn)(point), expected, rtol=1e-9, atol=1e-9
            )


@constraints
def test_jit_and_vmap_are_the_eager_loop(constraint, other, values):
    values = jnp.array(values)
    nll = lambda value: constraint.nll(value, constraint.aux)
    expected = jnp.stack([nll(value) for value in values])
    assert tree_allclose(jax.vmap(nll)(values), expected, rtol=1e-14)
    assert tree_allclose(jax.jit(jax.vmap(nll))(values), expected, rtol=1e-14)
    draw = constraint.sample
    keys = jr.split(jr.key(1), len(values))
    expected = jnp.stack([draw(v, k) for v, k in zip(values, keys, strict=True)])
    assert tree_allclose(jax.jit(jax.vmap(draw))(values, keys), expected, rtol=1e-14)


@constraints
def test_a_kind_can_be_stacked_and_is_one_program(constraint, other, values):
    assert jtu.tree_structure(constraint) == jtu.tree_structure(other)
    traces = []

    @jax.jit
    def nll(one, value, aux):
        traces.append(1)
        return one.nll(value, aux)

    expected = [nll(one, values[1], one.aux) for one in (constraint, other)]
    assert len(traces) == 1
    stacked = jtu.tree_map(lambda *leaves: np.stack(leaves), constraint, other)
    value = jnp.full(2, values[1])
    aux = jnp.array([constraint.aux, other.aux])
    mapped = jax.vmap(lambda one, v, a: one.nll(v, a))(stacked, value, aux)
    # Poisson terms of the size of 400 ln(400) cancel.
    assert tree_allclose(mapped, jnp.stack(expected), rtol=1e-14, atol=1e-12)


@constraints
def test_arrays_are_sums_over_independent_elements(constraint, other, values):
    values = jnp.array(values)
    aux = jnp.full(3, 1.3) * constraint.aux
    expected = sum(constraint.nll(v, a) for v, a in zip(values, aux, strict=True))
    total = constraint.nll(values, aux)
    assert total.shape == ()
    np.testing.assert_allclose(total, expected, rtol=1e-14)
    # One observation for all elements, and one set of numbers for each element.
    same = constraint.nll(values, constraint.aux)
    many = jtu.tree_map(lambda leaf: np.full(3, leaf), constraint)
    np.testing.assert_allclose(many.nll(values, many.aux), same, rtol=1e-15)
    assert np.shape(many.width) == np.shape(many.center) == (3,)
    with pytest.raises(ShapeMismatchError, match=r"\(3,\).*\(2,\)"):
        many.nll(values[:2], 1.0)
    with pytest.raises(ShapeMismatchError, match="the auxiliary observation"):
        constraint.nll(1.0, aux)


@constraints
def test_samples_follow_the_density(constraint, other, values):
    count = 20_000
    value = values[2]
    draws = constraint.sample(jnp.full(count, value), jr.key(7))
    assert draws.dtype == jnp.float64
    assert draws.shape == (count,)
    mean, variance, kurtosis = {
        Normal: lambda: (value, 0.3**2, 0.0),
        Poisson: lambda: (12.5 * value, 12.5 * value, 1.0 / (12.5 * value)),
        LogNormal: lambda: scipy.stats.lognorm.stats(
            np.log(1.3), scale=value, moments="mvk"
        ),
    }[type(constraint)]()
    # Four standard errors of the estimate of the mean and of the variance; the seed is
    # fixed, so this either always passes or never.
    assert abs(np.mean(draws) - mean) < 4 * np.sqrt(variance / count)
    spread = variance * np.sqrt((kurtosis + 2) / count)
    assert abs(np.var(draws) - variance) < 4 * spread
    again = constraint.sample(jnp.full(count, value), jr.key(7))
    np.testing.assert_array_equal(draws, again)
    assert not np.array_equal(
        draws, constraint.sample(jnp.full(count, value), jr.key(8))
    )


@pytest.mark.slow
def test_the_expected_score_of_samples_is_zero():
    # Says that `sample` and `nll` are of one distribution, for each kind.
    for constraint, _, values in CONSTRAINTS.values():
        draws = constraint.sample(jnp.full(20_000, values[2]), jr.key(3))
        score = jax.vmap(jax.grad(constraint.nll), (None, 0))(values[2], draws)
        assert abs(np.mean(score)) < 4 * np.std(score) / np.sqrt(score.size)


def test_poisson_at_zero_count_and_zero_rate():
    constraint = Poisson(5.0)
    zero = jnp.asarray(0.0)
    assert constraint.nll(zero, 0.0) == 0.0
    assert jax.grad(constraint.nll)(zero, 0.0) == 5.0
    assert jax.hessian(constraint.nll)(zero, 0.0) == 0.0
    assert np.isfinite(jax.grad(constraint.nll, argnums=1)(zero, zero))
    # A count that the rate forbids, and a rate that is none.
    assert constraint.nll(zero, 1.0) == np.inf
    assert constraint.nll(-0.1, 0.0) == np.inf
    assert constraint.nll(-0.1, 2.0) == np.inf


def test_poisson_keeps_the_derivative_with_respect_to_an_empty_count():
    # d nll / d aux = digamma(1) - ln(rate) and d2 nll / d aux d value = -1 / value.
    constraint = Poisson(5.0)
    by_aux = jax.grad(constraint.nll, argnums=1)
    expected = -np.euler_gamma - np.log(5.0 * 0.4)
    np.testing.assert_allclose(by_aux(0.4, 0.0), expected, rtol=1e-14)
    np.testing.assert_allclose(jax.grad(by_aux)(0.4, 0.0), -1 / 0.4, rtol=1e-14)


def test_poisson_of_a_large_count_is_smooth_where_it_is_smallest():
    # Half a pull squared, to a part in 1e7, from numbers of the size of 2e9.
    constraint = Poisson(1e8)
    pulls = jnp.array([-1e-3, 1e-3, 0.1, 1.0])
    nll = jax.vmap(lambda value: constraint.nll(value, constraint.aux))
    change = nll(1.0 + 1e-4 * pulls) - nll(jnp.ones(4))
    # The third derivative adds pull / (3 sqrt(tau)), relative to the parabola.
    expected = 0.5 * pulls**2 * (1.0 - 2e-4 / 3 * pulls)
    np.testing.assert_allclose(change, expected, rtol=1e-7, atol=1e-14)


def test_poisson_takes_counts_that_are_not_whole():
    asimov = 2.7
    constraint = Poisson(2.7)
    expected = 2.7 - 2.7 * np.log(2.7) + scipy.special.gammaln(3.7)
    np.testing.assert_allclose(constraint.nll(1.0, asimov), expected, rtol=1e-14)


def test_lognormal_is_largest_where_the_parameter_is_the_observation():
    # No Jacobian of the parameter: with one the maximum would be elsewhere.
    constraint = LogNormal(1.0, 1.5)
    assert abs(jax.grad(constraint.nll)(1.7, 1.7)) < 1e-15
    low, high = constraint.nll(1.0 / 1.5, 1.0), constraint.nll(1.5, 1.0)
    np.testing.assert_allclose(low, high, rtol=1e-14)
    np.testing.assert_allclose(high - constraint.nll(1.0, 1.0), 0.5, rtol=1e-13)


def test_lognormal_forbids_what_is_not_positive():
    constraint = LogNormal(1.0, 1.5)
    assert constraint.nll(0.0, 1.0) == np.inf
    assert constraint.nll(-1.0, 1.0) == np.inf


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Normal(0.0, 0.0), "Normal: width must be greater than 0, got 0"),
        (lambda: Normal(0.0, -1.0), "Normal: width must be greater than 0"),
        (lambda: Normal(0.0, np.inf), "Normal: width must be finite"),
        (lambda: Normal(np.nan, 1.0), "Normal: mean must be finite, got nan"),
        (lambda: Normal(0.0, [1.0, 0.0]), "Normal: width must be greater"),
        (lambda: Poisson(0.0), "Poisson: tau must be greater than 0"),
        (lambda: LogNormal(0.0, 1.1), "LogNormal: center must be greater than 0"),
        (lambda: LogNormal(1.0, 1.0), "LogNormal: kappa must be greater than 1"),
        (lambda: LogNormal(1.0, 0.9), "LogNormal: kappa must be greater than 1"),
    ],
)
def test_numbers_that_make_no_density(build, message):
    with pytest.raises(ArgumentValueError, match=message):
        build()


def test_numbers_that_are_none():
    with pytest.raises(ArgumentTypeError, match="Normal: mean must be a real number"):
        Normal("1", 1.0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="abstract"):
        AbstractConstraint()  # pyright: ignore[reportAbstractUsage]


def test_constraints_can_be_built_from_traced_numbers():
    def nll(width):
        return Normal(0.0, width).nll(1.0, 0.0)

    # d/dw (1 / 2 w^2 + ln w) = 1 / w - 1 / w^3
    np.testing.assert_allclose(jax.jit(jax.grad(nll))(2.0), 0.5 - 0.125, rtol=1e-14)
    width = jax.jit(lambda tau: Poisson(tau).width)(4.0)
    assert width == 0.5
    width = jax.jit(lambda kappa: LogNormal(2.0, kappa).width)(np.e)
    np.testing.assert_allclose(width, 2.0, rtol=1e-15)


@constraints
def test_precision_of_the_value_is_kept(constraint, other, values):
    value = jnp.asarray(values[2], dtype=jnp.float32)
    nll = constraint.nll(value, constraint.aux)
    assert nll.dtype == jnp.float32
    assert constraint.sample(value, jr.key(0)).dtype == jnp.float32
    # Single precision of terms that are of order 100.
    expected = constraint.nll(values[2], constraint.aux)
    np.testing.assert_allclose(nll, expected, rtol=1e-5)


JOINT = MultivariateNormal(("a", "b"), [0.0, 1.0], [[1.0, 0.2], [0.2, 2.0]])


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (Normal(1.0, 0.1), Normal(1.0, 0.1), True),
        (Normal(1.0, 0.1), Normal(1.0, 0.1 + 1e-16), False),
        (Normal(1.0, 0.1), LogNormal(1.0, 1.1), False),
        (Normal(1.0, 0.1), Normal([1.0], [0.1]), False),
        (Normal([1.0, 2.0], 0.1), Normal([1.0, 2.0], 0.1), True),
        (Poisson(4), Poisson(4.0), True),
        (Poisson(4.0), Poisson(jnp.asarray(4.0)), True),
        (JOINT, MultivariateNormal(["a", "b"], JOINT.mean, JOINT.covariance), True),
        (JOINT, MultivariateNormal(["a", "c"], JOINT.mean, JOINT.covariance), False),
    ],
)
def test_same_constraint(a, b, same):
    assert same_constraint(a, b) is same
    assert same_constraint(b, a) is same
    assert same_constraint(a, a)


def test_same_constraint_of_traced_numbers_compares_the_objects():
    seen = []

    @jax.jit
    def compare(width, other):
        seen.append(same_constraint(Normal(0.0, width), Normal(0.0, width)))
        seen.append(same_constraint(Normal(0.0, width), Normal(0.0, other)))

    compare(1.0, 1.0)
    assert seen == [True, False]
