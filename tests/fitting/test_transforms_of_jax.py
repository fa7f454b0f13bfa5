"""A fit is one more JAX function: jit, vmap and every kind of derivative."""

import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
import everwillow.statelib as sl
from everwillow._errors import RESULTS
from tests.fitting.objectives import (
    AT_LOWER,
    AT_UPPER,
    DECAY_DATA,
    GAUSSIAN_START,
    INPUTS,
    SAMPLE,
    SOLVERS,
    fit_decay,
    gaussian,
    jit,
    outputs,
    saddle,
    state,
)
from tests.helpers import tree_allclose


# A minimum is found to a relative 1e-8 or so, a derivative is a property of the exact
# one: what is compared here shares the program and differs by rounding only.
SAME = {"rtol": 1e-9, "atol": 1e-11}


@pytest.fixture(scope="module", params=SOLVERS, name="solver")
def _solver(request):
    return SOLVERS[request.param]


@pytest.fixture(scope="module", name="jitted")
def _jitted(solver):
    return jit(ft.partial(fit_decay, solver=solver))


# ------------------------------------------------------------------ jit


@pytest.mark.slow
@pytest.mark.parametrize("inputs", [INPUTS, AT_LOWER, AT_UPPER])
def test_jit_is_eager(inputs, solver, jitted):
    eager, compiled = fit_decay(inputs, solver), jitted(inputs)
    assert tree_allclose(outputs(compiled), outputs(eager), **SAME)
    assert bool(compiled.success)
    np.testing.assert_array_equal(compiled.at_bound, eager.at_bound)
    if eager.bound_errors is not None:
        np.testing.assert_allclose(compiled.bound_errors, eager.bound_errors, rtol=1e-8)
    assert compiled.labels == eager.labels == ("height", "rate")
    # What comes out of a compiled function can be read like any other result.
    assert repr(compiled).splitlines()[:5] == repr(eager).splitlines()[:5]


@pytest.mark.slow
def test_jit_without_arguments():
    """Nothing is traced but the call itself."""
    mean = jit(lambda: ew.fit(gaussian, GAUSSIAN_START, SAMPLE).params["mu"])()
    np.testing.assert_allclose(mean, SAMPLE.mean(), rtol=1e-10)


@pytest.mark.slow
def test_jit_of_a_model():
    model = ew.Model(
        gaussian, GAUSSIAN_START, SAMPLE, constraints={"mu": ew.Normal(2.0, 0.5)}
    )
    eager = ew.fit(model)
    compiled = jit(ew.fit)(model)
    assert tree_allclose(outputs(compiled), outputs(eager), **SAME)
    assert repr(compiled).splitlines()[:4] == repr(eager).splitlines()[:4]


def test_everything_fixed_inside_jit():
    def value(mu, data):
        fixed = {"mu": mu, "sigma": 2.0}
        return ew.fit(gaussian, GAUSSIAN_START, data, fixed=fixed).nll

    exact = 0.5 * np.sum(((SAMPLE - 1.5) / 2) ** 2) + 5 * np.log(2)
    np.testing.assert_allclose(jit(value)(1.5, SAMPLE), exact, rtol=1e-14)
    slope = jit(jax.grad(value))(1.5, SAMPLE)
    np.testing.assert_allclose(slope, -np.sum((SAMPLE - 1.5) / 4), rtol=1e-14)


# ------------------------------------------------------------------ vmap


def lanes(**moved):
    """The inputs with some of them batched, and the axes that say which."""
    axes = {key: 0 if key in moved else None for key in INPUTS}
    return INPUTS | {k: jnp.asarray(v) for k, v in moved.items()}, axes


def assert_vmap_is_loop(inputs, axes, solver):
    mapped = jit(
        jax.vmap(lambda i: outputs(fit_decay(i, solver)), in_axes=(axes,)),
    )(inputs)
    size = next(len(inputs[key]) for key, axis in axes.items() if axis == 0)
    for lane in range(size):
        one = {k: v[lane] if axes[k] == 0 else v for k, v in inputs.items()}
        expected = outputs(fit_decay(one, solver))
        found = jax.tree.map(lambda leaf: leaf[lane], mapped)  # noqa: B023
        assert tree_allclose(found, expected, rtol=1e-7, atol=1e-9), lane


@pytest.mark.slow
def test_vmap_over_data(solver, getkey):
    counts = jax.random.poisson(getkey(), INPUTS["counts"], (5, 6)).astype(float)
    assert_vmap_is_loop(*lanes(counts=counts + 0.5), solver)


@pytest.mark.slow
def test_vmap_over_fixed_values_and_bounds(solver):
    # The second lane is at its lower bound, the third at its upper one.
    inputs, axes = lanes(
        level=[2.0, 2.2, 1.8], lower=[0.1, 0.59, 0.2], upper=[3.0, 3.0, 0.61]
    )
    inputs["counts"] = jnp.stack(
        [
            DECAY_DATA["counts"] * jnp.linspace(first, last, 6)
            for first, last in ((1, 1), (1, 3), (2, 0.2))
        ]
    )
    axes["counts"] = 0
    assert_vmap_is_loop(inputs, axes, solver)


@pytest.mark.slow
def test_vmap_over_starts(solver):
    starts = {
        "height": jnp.array([18.0, 100.0, 1.0]),
        "rate": jnp.array([0.6, 2.5, 0.11]),
        "level": jnp.full(3, 2.0),
        "share": jnp.full(3, 1.0),
    }

    def fitted(start):
        return fit_decay(INPUTS | {"start": start}, solver)

    mapped = jit(jax.vmap(fitted))(starts)
    assert mapped.success.all()
    expected = fit_decay(INPUTS, solver)
    for name in ("height", "rate"):
        np.testing.assert_allclose(
            mapped.params[name], np.full(3, expected.params[name]), rtol=1e-6
        )
    np.testing.assert_allclose(mapped.nll, np.full(3, expected.nll), rtol=1e-12)
    np.testing.assert_array_equal(mapped.params["level"], np.full(3, INPUTS["level"]))


@pytest.mark.slow
def test_every_lane_has_its_own_status():
    """Lanes that fail, each in its own way, leave the others alone."""
    samples = np.stack([SAMPLE, SAMPLE, np.full(5, np.nan), 3 * SAMPLE, SAMPLE])
    starts = state(mu=np.array([0.0, 0.0, 0.0, 1.0, np.nan]), sigma=np.ones(5))
    widths = {"sigma": np.array([1.0, -1.0, 1.0, 2.0, 1.0])}
    starts = sl.update(starts, updates=widths)
    batched = jit(jax.vmap(lambda s, d: ew.fit(gaussian, s, d, throw=False)))
    result = batched(starts, samples)
    np.testing.assert_array_equal(result.success, [True, False, False, True, False])
    for lane in (0, 3):
        alone = ew.fit(gaussian, GAUSSIAN_START, samples[lane])
        for key in ("mu", "sigma"):
            np.testing.assert_allclose(
                result.params[key][lane], alone.params[key], rtol=1e-7
            )
        np.testing.assert_allclose(
            result.covariance[lane], alone.covariance, rtol=1e-6, atol=1e-9
        )
    successful = result.status == RESULTS.successful
    np.testing.assert_array_equal(successful, result.success)
    nonfinite = result.status == RESULTS.nonfinite_start
    np.testing.assert_array_equal(nonfinite, [False, True, True, False, True])
    # No lane without a minimum has something that looks like an error.
    assert np.all(np.isnan(result.covariance[~np.asarray(result.success)]))
    assert "2 of 5" in result.message()
    assert isinstance(repr(result), str)


@pytest.mark.slow
def test_a_lane_that_leaves_a_saddle_and_one_that_does_not_need_to():
    starts = state(a=np.array([0.0, 1.0, 0.0]), b=np.array([0.0, 1.0, -3.0]))
    fitted = ft.partial(ew.fit, saddle, observation=0.25, throw=False)
    result = jit(jax.vmap(fitted))(starts)
    assert result.success.all()
    np.testing.assert_allclose(np.abs(result.params["b"]), np.sqrt(2), rtol=1e-7)
    np.testing.assert_allclose(result.params["a"], 0, atol=1e-7)


def line_of_unknown_width(params, data):
    pull = (data - params["offset"] - params["slope"] * TIMES) / params["width"]
    return 0.5 * jnp.sum(pull**2) + data.size * jnp.log(params["width"])


TIMES = np.linspace(-1.0, 1.0, 12)


@pytest.mark.slow
def test_ten_thousand_lanes(getkey):
    """Three parameters in closed form: a regression and its residual width."""
    noise = np.asarray(jax.random.normal(getkey(), (10_000, 12)))
    samples = 1.5 - 0.7 * TIMES + 0.4 * noise
    start = state(offset=0.0, slope=0.0, width=1.0)
    fitted = jit(
        jax.vmap(lambda d: ew.fit(line_of_unknown_width, start, d, throw=False))
    )
    result = fitted(samples)
    assert result.success.shape == (10_000,)
    assert result.success.all()
    design = np.stack([np.ones(12), TIMES], axis=1)
    solution = np.linalg.lstsq(design, samples.T, rcond=None)[0]
    width = (samples.T - design @ solution).std(axis=0)
    for name, expected in zip(
        ("offset", "slope", "width"), (*solution, width), strict=True
    ):
        # The likelihood is known to an EDM of 1e-8: 1.4e-4 errors at the very most.
        np.testing.assert_allclose(
            np.abs(result.params[name]), np.abs(expected), rtol=1e-6, atol=1e-7
        )
    np.testing.assert_allclose(result.covariance[:, 0, 0], width**2 / 12, rtol=1e-5)


@pytest.mark.slow
def test_nested_vmap():
    scale = np.array([1.0, 2.0, 3.0])
    shift = np.array([0.0, 10.0])

    def mean(s, t):
        result = ew.fit(gaussian, GAUSSIAN_START, s * SAMPLE + t, throw=False)
        return result.params["mu"], result.success

    both = jit(jax.vmap(jax.vmap(mean, (0, None)), (None, 0)))
    means, success = both(scale, shift)
    assert success.all()
    expected = scale * SAMPLE.mean() + shift[:, None]
    np.testing.assert_allclose(means, expected, rtol=1e-7)


# ------------------------------------------------------------------ throw


@pytest.mark.slow
@pytest.mark.parametrize("output", ["params", "nll", "covariance"])
def test_throw_inside_jit_raises_when_it_runs(output):
    """Whatever of the result is used: an unused check must not be dropped."""

    def part(data, *, throw):
        result = ew.fit(gaussian, GAUSSIAN_START, data, throw=throw)
        return getattr(result, output)

    raising = eqx.filter_jit(ft.partial(part, throw=True))
    expected = getattr(ew.fit(gaussian, GAUSSIAN_START, SAMPLE), output)
    np.testing.assert_allclose(
        jax.tree.leaves(raising(SAMPLE))[0], jax.tree.leaves(expected)[0], rtol=1e-9
    )
    with pytest.raises(RuntimeError, match="not finite at the start"):
        jax.block_until_ready(raising(np.full(5, np.nan)))


@pytest.mark.slow
def test_throw_inside_plain_jit():
    raising = jax.jit(lambda data: ew.fit(gaussian, GAUSSIAN_START, data).nll)
    with pytest.raises(jax.errors.JaxRuntimeError, match="not finite at the start"):
        jax.block_until_ready(raising(np.full(5, np.nan)))


@pytest.mark.slow
def test_without_throw_nothing_raises_inside_jit():
    quiet = jit(lambda data: ew.fit(gaussian, GAUSSIAN_START, data, throw=False))
    result = quiet(np.full(5, np.nan))
    assert not result.success
    assert bool(result.status == RESULTS.nonfinite_start)
    assert np.all(np.isnan(result.covariance))


@pytest.mark.slow
def test_throw_in_a_batch_does_not_let_one_lane_stop_the_others():
    def fitted(data):
        return ew.fit(gaussian, GAUSSIAN_START, data).nll

    batched = eqx.filter_jit(jax.vmap(fitted))
    samples = np.stack([SAMPLE, 2 * SAMPLE])
    expected = 5 * (0.5 + np.log(samples.std(axis=1)))
    np.testing.assert_allclose(batched(samples), expected, rtol=1e-9)
    samples[1, 0] = np.nan
    values = batched(samples)
    np.testing.assert_allclose(values[0], expected[0], rtol=1e-9)
    assert np.isnan(values[1])
