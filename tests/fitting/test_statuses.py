"""How a fit ends: nothing but a minimum is a success, and messages name the culprit."""

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import everwillow as ew
from everwillow._errors import RESULTS, FitError
from tests.fitting.objectives import (
    DECAY_DATA,
    DECAY_START,
    FOREIGN,
    GAUSSIAN_START,
    SAMPLE,
    decay,
    gaussian,
    saddle,
    state,
)


# Each of two parameters, all in one program; `which` chooses. None has a minimum with
# a positive definite Hessian.
ENDLESS = {
    "exp(-a)": lambda a, b: jnp.exp(-a) + b**2,
    "-a": lambda a, b: -a + b**2,
    "-a²": lambda a, b: -(a**2) + b**2,
    "saddle": lambda a, b: a * b,
    "soft plus": lambda a, b: jax.nn.softplus(-a) + b**2,
    "plateau": lambda a, b: 1 / (1 + a**2) + b**2,
    "sigmoid": lambda a, b: -jax.nn.sigmoid(a) + b**2,
    "arctan": lambda a, b: jnp.arctan(a) + b**2,
    "-log a": lambda a, b: -jnp.log(a) + b**2,
    "valley to infinity": lambda a, b: (a * b - 1) ** 2 + b**2,
}
DEGENERATE = {
    "a³": lambda a, b: a**3 + b**2,
    "monkey saddle": lambda a, b: a**3 - 3 * a * b**2,
    "two parabolas": lambda a, b: (a - b**2) * (a - 2 * b**2),
    "a⁴": lambda a, b: a**4 + b**2,
    "a⁶": lambda a, b: a**6 + b**2,
    "a² b²": lambda a, b: a**2 * b**2,
    "ridge": lambda a, b: (a + b - 1) ** 2,
    "b unseen": lambda a, b: (a - 1) ** 2 + 0 * b,
    "nothing seen": lambda a, b: 3.0 + 0 * a * b,
    "kink": lambda a, b: jnp.abs(a) + b**2,
}
ALL = {**ENDLESS, **DEGENERATE}
STARTS = [(1.0, 0.5), (0.0, 0.0), (-3.0, 2.0), (30.0, 0.1), (1e-3, -1e-3), (0.5, 7.0)]


def zoo(params, which):
    branches = list(ALL.values())
    return jax.lax.switch(which, branches, params["a"], params["b"])


def fit_zoo(name, start, **options):
    which = np.int32(list(ALL).index(name))
    return ew.fit(zoo, state(a=start[0], b=start[1]), which, throw=False, **options)


@pytest.mark.parametrize("name", ALL)
def test_what_is_no_minimum_is_never_a_success(name):
    for start in STARTS:
        result = fit_zoo(name, start)
        assert not result.success, (start, result)
        assert not bool(result.status == RESULTS.successful)
        assert "Minimum found" not in repr(result)
        with pytest.raises(FitError):
            result.check()


@pytest.mark.parametrize("name", ["a⁴", "ridge", "b unseen", "nothing seen", "a² b²"])
def test_a_flat_minimum_has_no_errors_and_says_so(name):
    for start in STARTS:
        result = fit_zoo(name, start)
        assert bool(result.status == RESULTS.flat_direction), (start, result)
        np.testing.assert_allclose(
            result.nll, 3.0 if name == "nothing seen" else 0.0, atol=1e-7
        )
        # Not a number that looks like an error bar.
        errors = np.sqrt(np.diag(result.covariance))
        assert np.all(np.isnan(errors) | (errors > 1e3)), result


@pytest.mark.parametrize("name", ENDLESS)
def test_foreign_solvers_are_not_believed_either(name):
    result = fit_zoo(name, (0.3, 0.5), solver=FOREIGN["BFGS"])
    assert not result.success, result


# ------------------------------------------------------------------ flat directions


def sum_only(params, data):
    return 0.5 * (params["a"] + params["b"] - data) ** 2 + 0.5 * params["c"] ** 2


def one_unseen(params, data):
    return 0.5 * (params["seen"] - data) ** 2


@pytest.mark.slow
def test_a_sum_names_both_terms():
    with pytest.raises(FitError, match="a, b") as caught:
        ew.fit(sum_only, state(a=0.0, b=1.0, c=2.0), 3.0)
    result = caught.value.result
    assert bool(result.status == RESULTS.flat_direction)
    message = str(caught.value)
    assert "does not depend on some combination" in message
    concerned = message.split("concerned:")[1].split(".", maxsplit=1)[0]
    assert concerned.split() == ["a,", "b"]
    # The likelihood is at its minimum all the same, and nothing is NaN there.
    np.testing.assert_allclose(result.nll, 0, atol=1e-12)
    np.testing.assert_allclose(result.params["a"] + result.params["b"], 3, rtol=1e-6)
    assert np.all(np.isnan(result.covariance))
    fixed = ew.fit(sum_only, state(a=0.0, b=1.0, c=2.0), 3.0, fixed={"b": ...})
    np.testing.assert_allclose(fixed.params["a"], 2, rtol=1e-12)


def test_a_parameter_that_is_not_seen_is_named():
    start = state(hidden=7.0, seen=0.0)
    with pytest.raises(FitError, match="hidden") as caught:
        ew.fit(one_unseen, start, 3.0)
    result = caught.value.result
    assert bool(result.status == RESULTS.flat_direction)
    assert "seen" not in str(caught.value).split("concerned:")[1].split(".")[0]
    # It stays where it was.
    assert result.params["hidden"] == 7.0
    np.testing.assert_allclose(result.params["seen"], 3.0, rtol=1e-8)


def test_elements_of_arrays_are_named():
    def nll(params, data):
        return jnp.sum((params["gamma"][::2] - data) ** 2)

    with pytest.raises(FitError, match=r"gamma\[1\], gamma\[3\]\."):
        ew.fit(nll, state(gamma=np.zeros(4)), 1.0)


def test_a_flat_direction_of_any_size():
    """Flatness is a matter of directions, not of units."""

    def nll(params, data):
        total = params["a"] * 1e6 + params["b"] * 1e-6
        return 0.5 * (total - data) ** 2

    with pytest.raises(FitError, match="a, b") as caught:
        ew.fit(nll, state(a=1e-6, b=1e6), 3.0)
    assert bool(caught.value.result.status == RESULTS.flat_direction)


# ------------------------------------------------------------------ other ends


@pytest.mark.parametrize("start", [(0.0, 0.0), (2.0, 0.0), (0.0, 1e-300)])
def test_a_saddle_is_left(start):
    result = ew.fit(saddle, state(a=start[0], b=start[1]), 0.25)
    np.testing.assert_allclose(np.abs(result.params["b"]), np.sqrt(2), rtol=1e-8)
    np.testing.assert_allclose(result.params["a"], 0, atol=1e-8)
    np.testing.assert_allclose(result.nll, -1, rtol=1e-12)
    np.testing.assert_allclose(result.hessian, np.diag([2.0, 4.0]), atol=1e-6)


@pytest.mark.slow
def test_a_saddle_within_its_box():
    """The way down is closed on one side; the other side leads to a bound."""
    bounds = {"b": ew.Interval(-1.0, 1.0)}
    result = ew.fit(saddle, state(a=0.0, b=0.0), 0.25, bounds=bounds)
    np.testing.assert_array_equal(np.abs(result.params["b"]), 1.0)
    np.testing.assert_array_equal(result.at_bound, [False, True])


@pytest.mark.slow
def test_too_few_steps():
    with pytest.raises(FitError, match="steps") as caught:
        ew.fit(gaussian, state(mu=50.0, sigma=30.0), SAMPLE, max_steps=3)
    result = caught.value.result
    assert bool(result.status == RESULTS.nonlinear_max_steps_reached)
    assert result.num_steps == 3
    # What was reached is better than the start, and a fit may go on from there.
    begin = gaussian({"mu": 50.0, "sigma": 30.0}, SAMPLE)
    assert result.nll < begin
    assert ew.fit(gaussian, result.params, SAMPLE).success


@jax.custom_jvp
def inconsistent(x):
    """``x²`` with the slope of ``(x - 3)²``: no step does what it promises."""
    return x**2


@inconsistent.defjvp
def _inconsistent_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return x**2, 2 * (x - 3) * dx


def misled(params, data):
    return inconsistent(params["a"]) * data


def test_a_wrong_gradient_is_no_success():
    result = ew.fit(misled, state(a=1.0), 1.0, throw=False)
    assert not result.success
    ends = (RESULTS.stalled, RESULTS.nonlinear_max_steps_reached)
    assert any(bool(result.status == end) for end in ends)
    # Where steps are too small for the value to tell, the slope may lead a little on.
    np.testing.assert_allclose(result.params["a"], 1.0, rtol=1e-3)
    assert "EDM" in result.message()


@pytest.mark.slow
def test_a_foreign_solver_that_stops_too_early():
    early = optx.BFGS(rtol=0.3, atol=0.3)
    fixed = {"share": 1.0}
    with pytest.raises(FitError, match="above its goal") as caught:
        ew.fit(decay, DECAY_START, DECAY_DATA, fixed=fixed, solver=early)
    result = caught.value.result
    assert bool(result.status == RESULTS.edm_above_goal)
    assert bool(result.solver_result.result == optx.RESULTS.successful)
    assert result.edm > 1e-4
    # The estimate says by how much -ln L would still fall.
    best = ew.fit(decay, DECAY_START, DECAY_DATA, fixed=fixed)
    np.testing.assert_allclose(result.nll - best.nll, result.edm, rtol=0.5)


def test_a_foreign_solver_on_a_saddle():
    # BFGS sees a vanishing gradient and is content.
    solver = FOREIGN["BFGS"]
    result = ew.fit(saddle, state(a=0.0, b=0.0), 0.25, solver=solver, throw=False)
    assert not result.success
    assert bool(result.status == RESULTS.not_a_minimum)


def test_a_foreign_solver_out_of_steps_keeps_its_own_status():
    result = ew.fit(
        gaussian,
        state(mu=50.0, sigma=30.0),
        SAMPLE,
        solver=FOREIGN["BFGS"],
        max_steps=3,
        throw=False,
    )
    assert bool(result.status == RESULTS.nonlinear_max_steps_reached)


# ------------------------------------------------------------------ walls on the way


def walled(params, data):
    """Not a number beyond one, infinite slopes at it; the minimum is before it."""
    return -jnp.sqrt(1 - params["a"] ** 2) + data * params["a"]


@pytest.mark.parametrize("start", [-0.999, 0.0, 0.99999])
def test_a_likelihood_that_is_not_finite_beyond_a_wall(start):
    result = ew.fit(walled, state(a=start), 3.0)
    # d/da: a / sqrt(1 - a²) = -3
    np.testing.assert_allclose(result.params["a"], -3 / np.sqrt(10), rtol=1e-8)


# ------------------------------------------------------------------ what one reads


@pytest.mark.slow
def test_the_table_of_a_result():
    model = ew.Model(
        table_nll,
        {"mu": 0.0, "theta": 0.5, "width": 2.0, "gamma": np.zeros(2)},
        {"x": 3.0, "gamma": np.array([1.5, -0.25])},
        constraints={"theta": ew.Normal(1.0, 0.5)},
        fixed={"width": 2.0},
        bounds={"gamma": ew.Interval(0.0, 9.0)},
    )
    result = ew.fit(model)
    constant = np.log(0.5 * np.sqrt(2 * np.pi)) + 0.5 * 0.25**2
    # gamma[1] is pushed against zero with the slope ¼ and the curvature 1.
    lines = [
        "parameter  value  error              pull",
        "gamma[0]   1.5    1.0",
        f"gamma[1]   0      {-0.25 + np.sqrt(0.25**2 + 1):.4g} (at bound)",
        "mu         3.0    2.0",
        "theta      1.00   0.50               0.000",
        "width      2      fixed",
        f"-ln L = {constant:.10g}",
    ]
    *table, last = repr(result).splitlines()
    assert table == lines
    assert last.startswith("Minimum found after ")
    assert last == result.message()


def table_nll(params, main):
    away = (main["x"] - params["mu"]) / params["width"]
    return 0.5 * away**2 + 0.5 * jnp.sum((params["gamma"] - main["gamma"]) ** 2)


def test_a_fit_shows_the_pulls_of_arrays():
    """Each element has its own, whether the constraint has one number or several."""

    def nll(params, y):
        return 0.5 * jnp.sum((y - params["g"]) ** 2) + 0.5 * params["mu"] ** 2

    model = ew.Model(
        nll,
        {"g": np.zeros(2), "mu": 1.0},
        np.array([2.0, 4.0]),
        constraints={"g": ew.Normal(np.array([0.0, 1.0]), 1.0)},
    )
    result = ew.fit(model)
    # Half way between the datum and the center: 1 and 2.5.
    rows = [line.split() for line in repr(result).splitlines()[:4]]
    assert rows[0] == ["parameter", "value", "error", "pull"]
    assert [row[0] for row in rows[1:3]] == ["g[0]", "g[1]"]
    assert [row[3] for row in rows[1:3]] == ["+1.000", "+1.500"]
    assert len(rows[3]) == 3


def test_pulls_of_a_joint_constraint():
    """One datum of twice the weight pulls the first; the second follows by ½."""
    covariance = np.array([[1.0, 0.5], [0.5, 1.0]])
    model = ew.Model(
        joint_nll,
        {"a": 0.0, "b": 0.0},
        3.0,
        constraints={"ab": ew.MultivariateNormal(("a", "b"), [0.0, 0.0], covariance)},
    )
    result = ew.fit(model)
    # Kalman: a = 3 · 1 / (1 + ½), b = ½ a.
    np.testing.assert_allclose(result.params["a"], 2.0, rtol=1e-10)
    np.testing.assert_allclose(result.params["b"], 1.0, rtol=1e-10)
    _, a, b = repr(result).splitlines()[:3]
    assert a.split() == ["a", "2.00", f"{np.sqrt(1 / 3):.2f}", "+2.000"]
    assert b.split() == ["b", "1.00", f"{np.sqrt(1 - 0.25 / 1.5):.2f}", "+1.000"]


def joint_nll(params, main):
    return (params["a"] - main) ** 2


def test_a_table_without_constraints_has_no_pulls():
    text = repr(ew.fit(gaussian, GAUSSIAN_START, SAMPLE))
    assert text.splitlines()[0].split() == ["parameter", "value", "error"]


def test_a_result_without_a_minimum_can_be_read():
    result = ew.fit(sum_only, state(a=0.0, b=1.0, c=2.0), 3.0, throw=False)
    text = repr(result)
    assert "Minimum found" not in text
    assert "does not depend" in text
    # Nothing that looks like an error.
    for line in text.splitlines()[1:4]:
        assert line.split(maxsplit=2)[2] in ("nan", "no minimum")


def test_results_are_pytrees():
    result = ew.fit(gaussian, GAUSSIAN_START, SAMPLE)
    doubled = jax.tree.map(
        lambda x: x * 2 if np.asarray(x).dtype.kind == "f" else x, result
    )
    assert isinstance(doubled, ew.FitResult)
    assert doubled.params["mu"] == 2 * result.params["mu"]
    assert doubled.labels == result.labels
    leaves, structure = jax.tree.flatten(result)
    assert all(np.asarray(leaf).dtype.kind in "fib" for leaf in leaves)
    again = jax.tree.unflatten(structure, leaves)
    assert repr(again) == repr(result)
    other = ew.fit(gaussian, GAUSSIAN_START, 2 * SAMPLE)
    assert jax.tree.structure(other) == structure
    both = jax.tree.map(lambda *x: np.stack(x), result, other)
    assert both.success.shape == (2,)
    assert both.covariance.shape == (2, 2, 2)
    assert "2 of 2" in both.message()
    assert isinstance(repr(both), str)


def test_numbers_at_the_level_of_rounding_are_shown_as_such():
    square = lambda params, data: (params["x"] - data) ** 2
    result = ew.fit(square, ew.State.from_pytree({"x": 1.0}), 1.1)
    assert "-ln L = 0\n" in repr(result)
    assert repr(result).endswith("EDM < 1e-12.")
