"""Functions of parameters and yields, before and after a fit."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import everwillow as ew
import tests.impacts.models as cases
from everwillow.mappings import nominal_covariance, postfit, prefit, variations
from everwillow.mappings._channel_parts import quotient
from everwillow.mappings.error_propagation import errors_and_factor, root_of
from everwillow.parameters import Normal
from everwillow.uncertainty import propagate


@pytest.fixture(scope="module")
def linear():
    return ew.fit(cases.LINEAR)


PRIOR = np.zeros((6, 6))
PRIOR[:2, :2] = cases.JOINT
PRIOR[2, 2] = 0.8**2


def ratios(params, expected):
    """More values than parameters."""
    total = expected.sum()
    return {
        "pairs": expected[:, None] * jnp.array([[1.0, 2.0, -1.0]]),
        "shape": expected / total,
        "mu": params["mu"],
    }


def ratios_of_parameters(params):
    return ratios(params, cases.linear_expected(params))


def test_covariance_before_the_fit():
    np.testing.assert_allclose(nominal_covariance(cases.LINEAR), PRIOR)
    with_errors = nominal_covariance(cases.LINEAR, {"mu": 2.0})
    assert with_errors[4, 4] == 4.0
    counts = nominal_covariance(cases.COUNTING)
    relative = [1 / 400, 1 / 900, 1 / 200]
    diagonal = [*relative, np.log(1.03) ** 2, 0, 0.1**2, 1]
    np.testing.assert_allclose(counts, np.diag(diagonal), rtol=1e-12)


def test_yields_before_the_fit():
    out = prefit(None, cases.LINEAR)
    spread = cases.DESIGN @ PRIOR @ cases.DESIGN.T
    np.testing.assert_allclose(out.values, np.zeros(5), atol=1e-15)
    np.testing.assert_allclose(out.errors, np.sqrt(np.diag(spread)), rtol=1e-9)
    assert out.factor is None
    assert out.labels == cases.KEYS


@pytest.mark.slow
def test_yields_after_the_fit(linear):
    out = postfit(None, cases.LINEAR, linear, factor=True)
    x = np.array([linear.params[key] for key in cases.KEYS])
    spread = cases.DESIGN @ cases.COVARIANCE @ cases.DESIGN.T
    np.testing.assert_allclose(out.values, cases.DESIGN @ x, rtol=1e-9)
    np.testing.assert_allclose(out.errors, np.sqrt(np.diag(spread)), rtol=1e-9)
    np.testing.assert_allclose(out.covariance, spread, rtol=1e-8, atol=1e-12)
    streamed = postfit(None, cases.LINEAR, linear)
    np.testing.assert_allclose(streamed.errors, out.errors, rtol=1e-10)
    with pytest.raises(ValueError, match="factor=True"):
        _ = streamed.covariance


@pytest.mark.parametrize("factor", [True, False])
def test_it_is_propagation(linear, factor):
    out = postfit(ratios, cases.LINEAR, linear, factor=factor)
    other = propagate(ratios_of_parameters, linear)
    for name in ("pairs", "shape", "mu"):
        np.testing.assert_allclose(out.values[name], other.values[name], rtol=1e-12)
        np.testing.assert_allclose(out.errors[name], other.errors[name], rtol=1e-8)
    if factor:
        np.testing.assert_allclose(out.covariance, other.covariance, atol=1e-10)


@pytest.mark.parametrize(("inputs", "outputs"), [(150, 170), (150, 90), (64, 3)])
def test_blocks_of_directions(inputs, outputs):
    """More parameters and values than are taken at a time."""
    keys = jr.split(jr.key(2), 3)
    J = jr.normal(keys[0], (outputs, inputs))
    half = jr.normal(keys[1], (inputs, inputs))
    held = jnp.arange(inputs) % 7 == 0
    keep = (~held)[:, None] & (~held)[None, :]
    C = jnp.where(keep, half @ half.T, 0)

    @jax.jit
    def both(x):
        root = root_of(C, held)
        fn = lambda v: J @ v
        factor = errors_and_factor(fn, x, root, keep=True)
        return errors_and_factor(fn, x, root, keep=False)[0], *factor

    streamed, errors, factor = both(jnp.zeros(inputs))
    exact = np.asarray(J @ C @ J.T)
    np.testing.assert_allclose(streamed, np.sqrt(np.diag(exact)), rtol=1e-8)
    np.testing.assert_allclose(errors, streamed, rtol=1e-10)
    np.testing.assert_allclose(factor @ factor.T, exact, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("outputs", [1, 3])
def test_without_parameters_only_fluctuations_are_left(outputs, keep):
    root = root_of(jnp.zeros((0, 0)), jnp.zeros(0, bool))
    fn = lambda v: jnp.arange(1.0, outputs + 1) * jnp.sum(v)
    for inputs in (0, 2):
        errors, _ = errors_and_factor(fn, jnp.zeros(inputs), root, keep=keep)
        exact = np.arange(1, outputs + 1) * np.sqrt(inputs)
        np.testing.assert_allclose(errors, exact, rtol=1e-12)


def test_singular_and_impossible_covariances():
    one = jnp.ones((2, 2))
    root = root_of(one, jnp.zeros(2, bool)).matrix
    np.testing.assert_allclose(root @ root.T, one, atol=1e-12)
    bad = jnp.array([[1.0, 2.0], [2.0, 1.0]])
    assert np.isnan(root_of(bad, jnp.zeros(2, bool)).matrix).any()


@pytest.mark.slow
def test_what_depends_on_held_parameters_only_has_no_error():
    model = ew.Model(
        cases.linear_nll,
        {**dict.fromkeys(cases.KEYS, 0.0), "c": 1.0},
        cases.DATA,
        constraints=cases.LINEAR.constraints,
        bounds={"c": ew.Interval(0.5, 2.0)},
        expected=cases.linear_expected,
    )
    result = ew.fit(model)
    assert result.at_bound[2]

    def values(params, expected):
        return jnp.stack([params["c"], params["c"] + params["mu"], 0 * params["c"]])

    out = postfit(values, model, result)
    assert np.isnan(out.errors[0])
    np.testing.assert_allclose(out.errors[1], np.sqrt(result.covariance[4, 4]))
    assert out.errors[2] == 0
    moved = variations(values, model, result, names="c")
    assert np.isnan(moved.up[0, :2]).all()


def over_zero(params, expected):
    return quotient(expected[:2], jnp.array([0.0, 2.0]))


def test_what_is_not_a_number_has_no_error(linear):
    for factor in (False, True):
        out = postfit(over_zero, cases.LINEAR, linear, factor=factor)
        assert np.isnan(out.values).tolist() == [True, False]
        assert np.isnan(out.errors).tolist() == [True, False]
    assert np.isnan(out.covariance).tolist() == [[True, True], [True, False]]


def test_a_negative_variance_is_no_move(linear):
    wrong = np.diag([1.0, -1.0, 1.0, 1.0, 1.0, 1.0])
    out = variations(None, cases.LINEAR, linear, names=["a", "b"], covariance=wrong)
    assert np.isfinite(out.up[0]).all()
    assert np.isnan(out.up[1]).all()


def test_linear_variations(linear):
    out = variations(None, cases.LINEAR, linear, names=["mu", "c"])
    assert out.names == ("c", "mu")
    C = cases.COVARIANCE
    for row, k in zip(out.up - out.values, (2, 4), strict=True):
        by_hand = cases.DESIGN[:, k] * np.sqrt(C[k, k])
        np.testing.assert_allclose(row, by_hand, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(out.up + out.down, 2 * out.values[None] + 0 * out.up)
    along = variations(None, cases.LINEAR, linear, names="c", correlated=True)
    by_hand = cases.DESIGN @ C[:, 2] / np.sqrt(C[2, 2])
    np.testing.assert_allclose(along.up[0] - along.values, by_hand, rtol=1e-8)


@pytest.mark.parametrize("correlated", [False, True])
def test_exact_variations_of_a_linear_function_are_linear(linear, correlated):
    options = {"correlated": correlated, "names": "[abc]"}
    one = variations(None, cases.LINEAR, linear, **options)
    other = variations(None, cases.LINEAR, linear, exact=True, **options)
    assert one.names == other.names == ("a", "b", "c")
    np.testing.assert_allclose(one.up, other.up, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(one.down, other.down, rtol=1e-10, atol=1e-12)


def test_exact_variations_before_the_fit():
    out = variations(None, cases.COUNTING, exact=True, names=["tilt", "gamma[1]", "mu"])
    assert out.names == ("gamma[1]", "mu", "tilt")
    base = cases.SIGNAL + cases.BACKGROUND
    shape = np.exp(0.1 * np.array([-1.0, 0.5, 1.0]))
    np.testing.assert_allclose(out.up[2], cases.SIGNAL + cases.BACKGROUND * shape)
    np.testing.assert_allclose(out.down[2], cases.SIGNAL + cases.BACKGROUND / shape)
    np.testing.assert_allclose(out.up[0] - base, [0, 2.0, 0], atol=1e-12)
    # mu has no constraint, so it counts as known.
    np.testing.assert_allclose(out.up[1], base)
    linear = variations(None, cases.COUNTING, names="mu", unconstrained={"mu": 0.5})
    np.testing.assert_allclose(linear.up[0], base + 0.5 * cases.SIGNAL)


def test_parameters_of_the_user():
    state = ew.State.from_pytree({**dict.fromkeys(cases.KEYS, 0.0), "mu": 2.0})
    out = prefit(lambda p, n: p["mu"], cases.LINEAR, params=state)
    assert (out.values, out.errors) == (2.0, 0.0)


def test_the_same_under_jit_and_with_a_derivative(linear):
    def error(scale):
        C = jnp.asarray(cases.COVARIANCE) * scale
        out = postfit(ratios, cases.LINEAR, linear, covariance=C)
        return out.errors["shape"][1]

    np.testing.assert_allclose(jax.jit(error)(1.3), error(1.3), rtol=1e-10)
    slope = jax.grad(error)(1.3)
    np.testing.assert_allclose(slope, error(1.3) / 2.6, rtol=1e-9)


def test_the_second_call_traces_nothing(linear):
    traces = []

    def fn(params, expected):
        traces.append(0)
        return expected**2

    for _ in range(2):
        before = len(traces)
        postfit(fn, cases.LINEAR, linear)
        prefit(fn, cases.LINEAR)
        variations(fn, cases.LINEAR, linear, exact=True)
    assert len(traces) == before


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda r: postfit(None, cases.linear_nll, r), TypeError, "propagate"),
        (lambda r: postfit(None, cases.LINEAR, r.params), TypeError, "prefit"),
        (lambda r: postfit(3, cases.LINEAR, r), TypeError, "fn"),
        (
            lambda r: postfit(None, cases.LINEAR, r, covariance=np.eye(2)),
            ValueError,
            "6 parameters",
        ),
        (lambda r: variations(None, cases.LINEAR, names="mux"), KeyError, "'mu'"),
        (
            lambda r: prefit(None, cases.LINEAR, unconstrained={"c": 1.0}),
            ValueError,
            "has a constraint",
        ),
        (
            lambda r: prefit(None, cases.LINEAR, unconstrained={"q": 1.0}),
            KeyError,
            "'q'",
        ),
    ],
)
def test_bad_arguments_are_refused(linear, call, error, words):
    with pytest.raises(error, match=words) as caught:
        call(linear)
    assert isinstance(caught.value, ew.EverwillowError)


def test_a_fit_without_a_covariance():
    def nll(params, data):
        return 0.5 * (params["a"] + params["b"] - data) ** 2

    model = ew.Model(nll, {"a": 0.0, "b": 0.0}, 1.0, expected=lambda p: p["a"])
    result = ew.fit(model, throw=False)
    with pytest.raises(ew.EverwillowError, match="a, b"):
        postfit(None, model, result)
    assert np.isnan(postfit(None, model, result, throw=False).errors)


def test_widths_may_be_traced():
    def error(width):
        model = ew.Model(
            cases.linear_nll,
            dict.fromkeys(cases.KEYS, 0.0),
            cases.DATA,
            constraints={"c": Normal(0.0, width)},
            expected=cases.linear_expected,
        )
        return prefit(None, model).errors[2]

    np.testing.assert_allclose(jax.grad(error)(0.8), 0.6, rtol=1e-12)
