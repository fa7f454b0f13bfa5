"""Derivatives of fits: against finite differences, closed forms and each other."""

import functools as ft

import equinox as eqx
import jax
import numpy as np
import pytest

import everwillow as ew
from tests.fitting.objectives import (
    AT_LOWER,
    AT_UPPER,
    DECAY_DATA,
    DECAY_START,
    GAUSSIAN_START,
    INPUTS,
    SAMPLE,
    SOLVERS,
    decay,
    fit_decay,
    gaussian,
    jit,
    outputs,
)
from tests.helpers import finite_difference_jacobian


@pytest.fixture(scope="module", params=SOLVERS, name="solver")
def _solver(request):
    return SOLVERS[request.param]


# Counts and level change the likelihood on the scale of their errors; the ends of the
# box are close to the start, so steps are relative to 1 and not too small for a
# solver that ends within 1e-9 of the minimum.
STEP = 2e-3


@ft.cache
def finite_differences(name, which):
    inputs = {"inside": INPUTS, "lower": AT_LOWER, "upper": AT_UPPER}[which]

    def fn(point):
        return outputs(fit_decay(point, SOLVERS[name]))

    jacobian = finite_difference_jacobian(fn, inputs, step=STEP)
    return jacobian, outputs(fit_decay(inputs, SOLVERS[name]))


@pytest.fixture(scope="module", params=["jacfwd", "jacrev"], name="derivative")
def _derivative(request, solver):
    transform = getattr(jax, request.param)
    return jit(transform(lambda i: outputs(fit_decay(i, solver))))


def as_matrix(tree, inputs, values):
    """Order the blocks of a Jacobian as `finite_difference_jacobian` does."""
    rows = []
    structure = jax.tree.structure(values)
    for value, blocks in zip(
        jax.tree.leaves(values), structure.flatten_up_to(tree), strict=True
    ):
        size = np.size(value)
        columns = [np.reshape(b, (size, -1)) for b in jax.tree.leaves(blocks)]
        rows.append(np.concatenate(columns, axis=1))
    return np.concatenate(rows)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["inside", "lower", "upper"])
def test_derivatives_agree_with_finite_differences(which, solver, derivative):
    """Of parameters, value, covariance and Hessian in everything that is a number."""
    name = next(key for key, value in SOLVERS.items() if value is solver)
    inputs = {"inside": INPUTS, "lower": AT_LOWER, "upper": AT_UPPER}[which]
    expected, values = finite_differences(name, which)
    found = as_matrix(derivative(inputs), inputs, values)
    assert found.shape == expected.shape
    assert np.isfinite(found).all()
    # Relative to the largest entry of each row: a zero is one to rounding.
    size = np.maximum(np.abs(expected).max(axis=1, keepdims=True), 1e-3)
    np.testing.assert_allclose(found / size, expected / size, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["inside", "lower", "upper"])
def test_derivatives_in_bounds_and_starts(which, derivative):
    """Exact zeros and ones, which finite differences only show to their precision."""
    inputs = {"inside": INPUTS, "lower": AT_LOWER, "upper": AT_UPPER}[which]
    found = derivative(inputs)
    rate = found["params"]["rate"]
    assert rate["lower"] == float(which == "lower")
    assert rate["upper"] == float(which == "upper")
    assert found["params"]["level"]["level"] == 1
    if which != "inside":
        # Held at its bound it follows nothing else.
        assert not np.any(rate["counts"])
        assert rate["level"] == rate["aux"] == 0
    for name in ("height", "rate"):
        slopes = found["params"][name]["start"]
        assert slopes["height"] == slopes["rate"] == slopes["level"] == 0
        # "share" is fixed at its start value, so it is an input like any other.
        assert bool(slopes["share"] != 0) == (name == "height" or which == "inside")


def test_the_value_changes_by_its_partial_derivative_alone(derivative):
    """At a minimum the parameters do not matter: the envelope theorem."""
    result = fit_decay(INPUTS, next(iter(SOLVERS.values())))
    params = result.params.to_pytree()

    def value(counts):
        data = DECAY_DATA | {"counts": counts, "aux": INPUTS["aux"]}
        return decay(params, data)

    expected = jax.grad(value)(INPUTS["counts"])
    found = derivative(INPUTS)["nll"]["counts"]
    np.testing.assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.slow
def test_second_derivatives_of_the_value(solver):
    def value(counts):
        return fit_decay(INPUTS | {"counts": counts}, solver).nll

    @jit
    def partial_derivative(params, counts):
        data = DECAY_DATA | {"aux": INPUTS["aux"]}
        return jax.grad(lambda c: decay(params, data | {"counts": c}))(counts)

    def slope(counts):
        # The envelope theorem again, so that no derivative of a fit is on this side.
        best = fit_decay(INPUTS | {"counts": counts}, solver)
        return partial_derivative(best.params.to_pytree(), counts)

    curvature = jit(jax.hessian(value))(INPUTS["counts"])
    expected = finite_difference_jacobian(slope, INPUTS["counts"], step=STEP)
    np.testing.assert_allclose(curvature, expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(curvature, curvature.T, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_the_curvature_of_the_profile_is_one_over_the_variance(solver):
    def profile(level):
        return ew.fit(
            decay,
            DECAY_START,
            DECAY_DATA,
            fixed={"level": level, "share": ...},
            solver=solver,
            throw=False,
        ).nll

    best = ew.fit(decay, DECAY_START, DECAY_DATA, fixed={"share": ...})
    level = best.params["level"]
    np.testing.assert_allclose(profile(level), best.nll, rtol=1e-12)
    curve = jit(jax.grad(jax.grad(profile)))(level)
    where = best.labels.index("level")
    np.testing.assert_allclose(1 / curve, best.covariance[where, where], rtol=1e-6)


@pytest.mark.slow
def test_derivatives_through_a_smooth_map(solver):
    """The same as with a box, where nothing is active: the map is a detail."""

    def params(inputs):
        return fit_decay(inputs, solver, bound=ew.MinuitTransform).params.to_dict()

    found = jit(jax.jacrev(params))(INPUTS)
    name = next(key for key, value in SOLVERS.items() if value is solver)
    jacobian, values = finite_differences(name, "inside")
    matrix = as_matrix(found, INPUTS, values["params"])
    # "params" comes last in the order of keys.
    expected = jacobian[-matrix.shape[0] :]
    np.testing.assert_allclose(matrix, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_eager_gradients():
    """Closed forms: the mean and the standard deviation of a sample."""

    def params(data):
        return ew.fit(gaussian, GAUSSIAN_START, data).params.to_dict()

    found = jax.jacrev(params)(SAMPLE)
    np.testing.assert_allclose(found["mu"], np.full(5, 0.2), rtol=1e-7)
    expected = (SAMPLE - SAMPLE.mean()) / (5 * SAMPLE.std())
    np.testing.assert_allclose(found["sigma"], expected, rtol=1e-7, atol=1e-9)


@pytest.mark.slow
def test_vmap_of_a_gradient():
    samples = np.stack([SAMPLE, 2 * SAMPLE, SAMPLE**2])
    width = jax.grad(lambda d: ew.fit(gaussian, GAUSSIAN_START, d).params["sigma"])
    away = samples - samples.mean(axis=1, keepdims=True)
    expected = away / (5 * samples.std(axis=1, keepdims=True))
    found = jit(jax.vmap(width))(samples)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


# ------------------------------------------------------------------ closures


@pytest.mark.slow
def test_gradient_in_what_the_likelihood_closes_over():
    def value(w):
        result = ew.fit(lambda p, o: w * gaussian(p, o), GAUSSIAN_START, SAMPLE)
        return result.nll

    exact = 5 * (0.5 + np.log(SAMPLE.std()))
    found, slope = jax.value_and_grad(value)(2.0)
    np.testing.assert_allclose(found, 2 * exact, rtol=1e-10)
    np.testing.assert_allclose(slope, exact, rtol=1e-10)


@pytest.mark.slow
def test_jit_and_vmap_in_what_the_likelihood_closes_over():
    def mean(shift):
        def nll(params, data):
            return gaussian(params, data + shift)

        return ew.fit(nll, GAUSSIAN_START, SAMPLE, throw=False).params["mu"]

    np.testing.assert_allclose(jit(mean)(1.5), SAMPLE.mean() + 1.5, rtol=1e-9)
    shifts = np.array([-2.0, 0.0, 7.0])
    found = jit(jax.vmap(jax.value_and_grad(mean)))(shifts)
    np.testing.assert_allclose(found[0], SAMPLE.mean() + shifts, rtol=1e-7)
    np.testing.assert_allclose(found[1], np.ones(3), rtol=1e-7)


class Scaled(eqx.Module):
    """An objective with a number of its own."""

    factor: object

    def __call__(self, params, data):
        return gaussian(params, self.factor * data)


@pytest.mark.slow
def test_gradient_in_the_leaves_of_an_objective():
    def width(factor):
        return ew.fit(Scaled(factor), GAUSSIAN_START, SAMPLE).params["sigma"]

    value, slope = jit(jax.value_and_grad(width))(3.0)
    np.testing.assert_allclose(value, 3 * SAMPLE.std(), rtol=1e-8)
    np.testing.assert_allclose(slope, SAMPLE.std(), rtol=1e-8)


@pytest.mark.slow
def test_gradient_in_a_constraint_of_a_model():
    def mean(width):
        model = ew.Model(
            gaussian,
            {"mu": 0.0, "sigma": 1.0},
            SAMPLE,
            constraints={"mu": ew.Normal(1.0, width)},
            fixed={"sigma": 2.0},
        )
        return ew.fit(model).params["mu"]

    # The weighted mean of the sample and of the auxiliary datum, 1.
    def exact(width):
        weights = np.array([5 / 4, 1 / width**2])
        return weights @ np.array([SAMPLE.mean(), 1.0]) / weights.sum()

    value, slope = jit(jax.value_and_grad(mean))(0.8)
    np.testing.assert_allclose(value, exact(0.8), rtol=1e-10)
    expected = finite_difference_jacobian(exact, np.asarray(0.8))[0, 0]
    np.testing.assert_allclose(slope, expected, rtol=1e-9)
