"""Profiles under jit, vmap and grad, with other solvers and smooth bounds."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
from jax.flatten_util import ravel_pytree
from jax.scipy.special import ndtri

import everwillow as ew
from everwillow.curvature import Dense
from everwillow.objective import Evaluation
from everwillow.parameters import MinuitTransform
from everwillow.profile import CROSSING, contour, minos, scan
from tests.fitting.objectives import jit
from tests.helpers import finite_difference_jacobian
from tests.profile.models import START, counting, counting_ends, data, landscape


TWO = ew.State.from_pytree({"mu": 1.0, "bkg": 10.0})


def search(params, observed):
    """``-ln L`` of a count over a background that another count measures."""
    rate = 5.0 * params["mu"] + params["bkg"]
    counts, side = observed
    return (
        rate
        - counts * jnp.log(rate)
        + 2 * params["bkg"]
        - side * jnp.log(2 * params["bkg"])
    )


def numbers(observed):
    """Everything of profiles that has a derivative, in one program."""
    line = scan(search, TWO, observed, name="mu", values=[0.2, 3.0])
    ends = minos(search, TWO, observed, names=["mu"])
    return {
        "nll": line.nll,
        "slope": line.slope,
        "height": line.twice_delta_nll,
        "bkg": line.params["bkg"],
        "lower": ends.lower,
        "upper": ends.upper,
        "end": ends.upper_params["bkg"],
    }


RATE = ew.State.from_pytree({"rate": 2.0})
OBSERVED = np.array([17.0, 19.0])


@pytest.mark.slow
def test_jit_and_grad():
    def ravelled(observed):
        flat = ravel_pytree(numbers(observed))[0]
        return flat, flat

    derivative, found = jit(jax.jacrev(ravelled, has_aux=True))(OBSERVED)
    np.testing.assert_allclose(found, ravelled(OBSERVED)[0], rtol=1e-6, atol=1e-9)
    # Curves are followed to 4e-6 standard errors: what is no extreme (a slope, a
    # parameter) is only as good as that.
    difference = finite_difference_jacobian(numbers, OBSERVED, step=3e-3)
    np.testing.assert_allclose(derivative, difference, rtol=2e-4, atol=2e-5)


LEVEL = 0.5 * float(ndtri(0.5 + 0.5 * 0.6827)) ** 2


@pytest.mark.slow
def test_a_batch_of_data():
    counts = np.array([3.0, 9.0, 100.0])
    ends = jit(jax.vmap(lambda n: minos(counting, RATE, n)))(counts)
    for lower, upper, count in zip(ends.lower, ends.upper, counts, strict=True):
        exact = counting_ends(count, LEVEL)
        np.testing.assert_allclose([lower[0], upper[0]], exact, rtol=1e-8)


@pytest.mark.slow
def test_a_fit_that_is_given_moves_with_the_data():
    best = ew.fit(counting, RATE, 3.0)

    def upper(observed, start):
        return minos(counting, start, observed).upper[0]

    # The result is of other data, and does not know of these.
    value, slope = jit(jax.value_and_grad(upper))(9.0, best)
    np.testing.assert_allclose(value, counting_ends(9.0, LEVEL)[1], rtol=1e-8)
    near, far = (counting_ends(9.0 + d, LEVEL)[1] for d in (-1e-4, 1e-4))
    np.testing.assert_allclose(slope, (far - near) / 2e-4, rtol=1e-7)


@pytest.mark.slow
def test_a_failed_point_leaves_the_derivatives_of_the_others_alone():
    def total(observed):
        line = scan(counting, RATE, observed, name="rate", values=[-1.0, 2.0, 5.0])
        return jnp.sum(jnp.where(line.success, line.nll, 0)), line.success

    slope, success = jit(jax.grad(total, has_aux=True))(3.0)
    np.testing.assert_array_equal(success, [False, True, True])
    np.testing.assert_allclose(slope, -np.log(2.0) - np.log(5.0))


@pytest.mark.slow
def test_a_contour_in_jit_is_the_ellipse():
    def points(observation):
        options = {"names": ("a", "c"), "points": 20, "fixed": {"b": 0.0}}
        return contour(landscape, START, observation, **options).points

    observation = data(spread=np.array([10.0, 10.0]), slope=np.zeros(2))
    traced = jit(points)(observation)
    traced = np.asarray(traced)[np.isfinite(traced[:, 0])]
    assert len(traced) == 21
    # ½ 4 (a - 1)² - 0.6 a c + ½ c²
    hessian = np.array([[4.0, -0.6], [-0.6, 1.0]])
    away = traced - np.linalg.solve(hessian, [4.0, 0.0])
    radius = np.einsum("ij,jk,ik->i", away, hessian, away)
    np.testing.assert_allclose(radius, -2 * np.log1p(-0.6827), rtol=1e-7)


@pytest.mark.slow
def test_a_failed_fit_in_jit_gives_no_interval():
    def ends(start):
        return minos(counting, ew.State.from_pytree({"rate": start}), 3.0)

    traced = jit(ends)
    good, bad = traced(2.0), traced(-1.0)
    np.testing.assert_allclose(good.upper[0], counting_ends(3.0, LEVEL)[1])
    assert np.isnan(bad.upper)
    assert np.isnan(bad.lower)
    assert bad.upper_status == CROSSING.fit_failed


class Hooked(eqx.Module):
    """The landscape, which offers its own curvature."""

    def __call__(self, params, observation):
        return landscape(params, observation)

    def curvature(self, params, observation):
        x, unravel = ravel_pytree(params)

        def flat(x):
            return landscape(unravel(x), observation)

        return Evaluation(flat(x), jax.grad(flat)(x), Dense(jax.hessian(flat)(x)))


BENT = data(bend=np.array([0.6, -0.3]), quartic=0.5)


def line(objective, solver):
    def found(observation):
        result = scan(
            objective,
            ew.State.from_pytree({**START.to_pytree(), "c": 0.3}),
            observation,
            name="a",
            values=[-0.5, 0.5, 1.5, 2.5],
            fixed={"c": ...},
            bounds={"b": ew.Interval(-0.5, 2.0)},
            solver=solver,
        )
        return result.params, result.nll, result.success

    # The smooth maps that BFGS takes for boxes check their start values eagerly.
    return found(BENT) if isinstance(solver, optx.BFGS) else jit(found)(BENT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "solver"),
    [(Hooked(), None), (landscape, ew.NewtonCG()), (landscape, optx.BFGS(1e-9, 1e-9))],
    ids=["hook", "NewtonCG", "BFGS"],
)
def test_curvature_and_solver_do_not_matter(objective, solver):
    params, nll, success = line(objective, solver)
    assert success.all()
    # ½ 4 (a - 1)² + ½ 0.3² - 0.6 a 0.3 + ½ 0.5/2 0.3⁴, and b in its box.
    a = np.array([-0.5, 0.5, 1.5, 2.5])
    wanted = a[:, None] * BENT["slope"] + a[:, None] ** 2 * BENT["bend"]
    b = np.clip(wanted, -0.5, 2.0)
    exact = 2 * (a - 1) ** 2 + 0.5 * np.sum(((b - wanted) / BENT["spread"]) ** 2, 1)
    exact += 0.5 * 0.3**2 - 0.6 * 0.3 * a + 0.25 * 0.5 * 0.3**4
    assert np.any(b != wanted)
    # BFGS knows no boxes: a smooth map leads to 1e-7 of their width.
    np.testing.assert_allclose(nll, exact, atol=1e-6)
    np.testing.assert_allclose(params["b"], b, atol=1e-5)
    np.testing.assert_array_equal(params["a"], a)
    np.testing.assert_array_equal(params["c"], np.full(4, 0.3))


@pytest.mark.slow
def test_smooth_bounds_are_never_left():
    smooth = {"a": MinuitTransform(-3.0, 4.0), "c": MinuitTransform(-1.0, 1.0)}
    values = np.array([-3.0, -2.0, 0.0, 1.0, 3.0, 3.9])
    result = scan(landscape, START, data(), name="a", values=values, bounds=smooth)
    assert result.success.all()
    c = result.params["c"]
    exact = np.clip(0.6 * values, -1.0, 1.0)
    np.testing.assert_allclose(c, exact, atol=1e-6)
    assert np.all(np.abs(c) <= 1)
    height = 2 * (values - 1) ** 2 + 0.5 * exact**2 - 0.6 * values * exact
    np.testing.assert_allclose(result.nll, height, atol=1e-9)


@pytest.mark.slow
def test_intervals_end_at_smooth_bounds():
    smooth = {"rate": MinuitTransform(0.0, 4.0)}
    result = minos(counting, RATE, 2.0, bounds=smooth)
    assert (result.upper_status == CROSSING.found)[0]
    np.testing.assert_allclose(result.upper, counting_ends(2.0, LEVEL)[1:], rtol=1e-7)
    level = 0.5 * float(ndtri(0.995)) ** 2
    result = minos(counting, RATE, 2.0, bounds=smooth, cl=0.99)
    assert (result.upper_status == CROSSING.at_bound)[0]
    np.testing.assert_allclose(result.upper, [2.0])
    # -ln L grows without limit towards this end, so there is a crossing before it.
    np.testing.assert_allclose(result.lower, counting_ends(2.0, level)[:1], rtol=1e-7)


@pytest.mark.slow
def test_a_model_brings_all_that_is_needed():
    box = {"rate": ew.Interval(0.0, 4.0)}
    model = ew.Model(counting, {"rate": 2.0}, 3.0, bounds=box)
    result = minos(model)
    assert result.names == ("rate",)
    assert (result.upper_status == CROSSING.at_bound)[0]
    np.testing.assert_allclose(result.values[0] + result.upper[0], 4.0)
