"""The problem tables agree with their published numbers."""

import functools as ft
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cases import more_garbow_hillstrom as mgh, nist_strd


# The values at the minima that the paper prints, six digits.
MGH_PUBLISHED = {
    "freudenstein_roth": (0.0, 48.9842),
    "bard": (8.21487e-3,),
    "gaussian": (1.12793e-8,),
    "meyer": (87.9458,),
    "box_3d": (0.0, 0.0),
    "kowalik_osborne": (3.07505e-4,),
    "brown_dennis": (85822.2,),
    "osborne_1": (5.46489e-5,),
    "osborne_2": (4.01377e-2,),
    "biggs_exp6": (0.0, 0.0),
    "jennrich_sampson": (124.362,),
    "watson_6": (2.28767e-3,),
    "watson_9": (1.39976e-6,),
    "penalty_1_4": (2.24997e-5,),
    "penalty_1_10": (7.08765e-5,),
    "penalty_2_4": (9.37629e-6,),
    "trigonometric": (0.0, 2.79506e-5),
    "brown_almost_linear": (0.0, 0.0),
    "chebyquad_8": (3.51687e-3,),
    "linear_rank_1": (10 * 9 / (2 * 21),),
}

# Norms of the residuals at 1, 10 and 100 times the standard start, from the test
# programs of MINPACK (Argonne 1980) as reproduced in MinpackTest.java of Apache
# Commons Math 2.2. The other problems are not part of those programs.
MINPACK_NORMS = {
    "rosenbrock": (24.2**0.5, 1795769.0**0.5, 11 * 169000121.0**0.5),
    "helical_valley": (50.0, 102.95630140987, 991.261822123701),
    "powell_singular": (14.6628782986152, 1270.9838708654, 126887.903284750),
    "freudenstein_roth": (20.0124960961895, 12432.833948863, 11426454.595762),
    "bard": (6.45613629515967, 36.1418531596785, 384.114678637399),
    "kowalik_osborne": (0.0728915102882945, 2.97937007555202, 29.9590617016037),
    "meyer": (41153.4665543031, 4168216.89130846),
    "box_3d": (32.1115837449572,),
    "jennrich_sampson": (64.5856498144943,),
    "brown_dennis": (2815.43839161816, 555073.354173069, 61211252.2338581),
    "chebyquad_8": (0.196513862833975,),
    "brown_almost_linear": (16.5302162063499, 9765624.00089211, 0.9765625e17),
    "osborne_1": (0.937564021037838,),
    "osborne_2": (1.44686540984712,),
    "watson_6": (5.47722557505166,),
    "watson_9": (5.47722557505166,),
    "linear_rank_1": (291.521868819476,),
}

# F at the start of the problems that MINPACK lacks: by hand from the formulas.
START_VALUES = {
    "powell_badly_scaled": 1 + (np.exp(-1.0) - 0.0001) ** 2,
    "brown_badly_scaled": (1 - 1e6) ** 2 + (1 - 2e-6) ** 2 + 1,
    "beale": 1.5**2 + 2.25**2 + 2.625**2,
    "wood": 100 * 10**2 + 4**2 + 90 * 10**2 + 4**2 + 10 * 4**2,
    "penalty_1_4": 1e-5 * (0 + 1 + 4 + 9) + (30 - 0.25) ** 2,
    "penalty_1_10": 1e-5 * 285 + (385 - 0.25) ** 2,
    "variably_dimensioned": 3.85 + 38.5**2 + 38.5**4,
    "broyden_tridiagonal": 2.0**2 + 8 * 1.0**2 + 3.0**2,
}

# Somewhere far out on the way to each plateau.
FAR_POINTS = {
    "powell_badly_scaled": [1e-10, 1e6],
    "beale": [-1e8, 1 + 13.875 / 14 * 1e-8],
    "bard": [0.840666673, -158946167.0, -164464906.9],
    "gulf": [500.0, 250.0, 15.0],
    "box_3d": [0.61360035, 592607.777, 1.3199552],
    "kowalik_osborne": [728675.474, -14.07588031, -32977797.784, -20571594.1978],
    "osborne_2": [0.91703842, 6.5, 6.5, 7, 0.13275478, 30, 50, 70, 20, 45, 55],
    "biggs_exp6": [1.22755595, 1e4, 0.83, 1.0, 1.22755595, 0.835406],
    "jennrich_sampson": [-993.0, 0.33148526],
}

ALL_MGH = pytest.mark.parametrize(
    "problem", mgh.PROBLEMS.values(), ids=lambda problem: problem.name
)


# Each executable runs once: compiling it is all the time there is to save.
jit_once = ft.partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)


class Evaluated(NamedTuple):
    """Residuals, their Jacobian and the Hessian of F/2, at one or more points."""

    residuals: np.ndarray
    jacobian: np.ndarray
    hessian: np.ndarray

    @property
    def value(self):
        # Exponentials overflow at the farthest starts, as they should.
        with np.errstate(over="ignore"):
            return np.sum(self.residuals**2, axis=-1)

    @property
    def slopes(self):
        """The gradient of F/2 with each parameter in units of its column of J."""
        scale = np.linalg.norm(self.jacobian, axis=-2)
        return np.einsum("...r,...rp->...p", self.residuals, self.jacobian) / scale

    @property
    def curvatures(self):
        """Eigenvalues of the Hessian scaled to a unit diagonal, ascending."""
        scale = np.sqrt(np.abs(np.einsum("...pp->...p", self.hessian)))
        scale = np.where(scale > 0, scale, 1.0)
        return np.linalg.eigvalsh(self.hessian / scale[..., None] / scale[..., None, :])


@ft.cache
def evaluate(problem):
    """Return all points of interest of a problem, by kind, from one compilation."""

    def derivatives(x):
        jacobian = jax.jacfwd(problem.residuals)
        hessian = jax.jacfwd(lambda y: problem.residuals(y) @ jacobian(y))
        return Evaluated(problem.residuals(x), jacobian(x), hessian(x))

    kinds = {
        "starts": [problem.start(scale) for scale in (1, 10, 100)],
        "minima": [minimum.point for minimum in problem.minima],
        "saddles": [saddle.point for saddle in problem.saddles],
        "far": [FAR_POINTS[problem.name]] if problem.name in FAR_POINTS else [],
    }
    points = np.concatenate(
        [np.reshape(p, (-1, problem.x0.size)) for p in kinds.values()]
    )
    everything = jax.device_get(jit_once(jax.vmap(derivatives))(points))
    cuts = np.cumsum([len(points) for points in kinds.values()])[:-1]
    parts = zip(*(np.split(leaf, cuts) for leaf in everything), strict=True)
    return {kind: Evaluated(*part) for kind, part in zip(kinds, parts, strict=True)}


def test_the_eighteen_classic_problems_are_there():
    assert len(mgh.CLASSIC) == 18
    assert len(mgh.PROBLEMS) == len(mgh.CLASSIC) + len(mgh.EXTRA)
    singular = [problem.name for problem in mgh.PROBLEMS.values() if problem.singular]
    assert singular == ["powell_singular", "linear_rank_1"]


@ALL_MGH
def test_minima_have_the_published_values(problem):
    values = [minimum.value for minimum in problem.minima]
    published = MGH_PUBLISHED.get(problem.name, (0.0,))
    # The paper cuts off as often as it rounds: up to one unit in the sixth digit.
    np.testing.assert_allclose(values[: len(published)], published, rtol=1e-5)
    assert values == sorted(values)


@ALL_MGH
def test_minima_are_minima(problem):
    values = [minimum.value for minimum in problem.minima]
    at = evaluate(problem)["minima"]
    np.testing.assert_allclose(at.value, values, rtol=1e-7, atol=1e-24)
    # Rounding in the points moves the slope by some 1e-16 of a column's length.
    slopes = (
        np.max(np.abs(at.slopes), axis=-1) if problem.name != "powell_singular" else 0
    )
    assert np.all(slopes <= 1e-10 * np.sqrt(at.value) + 1e-11)
    if problem.singular:
        assert np.all(np.abs(at.curvatures[:, 0]) < 1e-12)
    else:
        assert np.all(at.curvatures[:, 0] > 1e-9)


@ALL_MGH
def test_values_at_the_start(problem):
    values = evaluate(problem)["starts"].value
    norms = MINPACK_NORMS.get(problem.name, ())
    np.testing.assert_allclose(values[: len(norms)] ** 0.5, norms, rtol=1e-12)
    if problem.name in START_VALUES:
        np.testing.assert_allclose(values[0], START_VALUES[problem.name], rtol=1e-12)
    assert problem.x0.dtype == np.float64
    np.testing.assert_array_equal(problem.start(10.0), 10 * problem.x0)


@ALL_MGH
def test_derivatives_exist_at_the_start(problem):
    starts = evaluate(problem)["starts"]
    assert np.all(np.isfinite(starts.jacobian[0]))
    assert np.all(np.isfinite(starts.hessian[0]))


def test_saddles_are_stationary_but_no_minima():
    biggs = evaluate(mgh.PROBLEMS["biggs_exp6"])["saddles"]
    np.testing.assert_allclose(biggs.value, 5.65565e-3, rtol=1e-5)
    assert np.max(np.abs(biggs.slopes)) < 1e-13
    assert biggs.curvatures[0, 0] < -1e-3

    problem = mgh.PROBLEMS["brown_almost_linear"]
    brown = evaluate(problem)["saddles"]
    assert np.all(np.abs(brown.residuals @ brown.jacobian[0]) < 1e-13)
    assert problem.sum_of_squares(jnp.array([0.3] * 9 + [8.0])) < brown.value[0] == 1


@ALL_MGH
def test_plateaus_are_approached_far_out(problem):
    np.testing.assert_allclose(
        evaluate(problem)["far"].value, problem.plateaus, rtol=1e-5
    )


def test_objectives_are_the_sum_of_squares_and_its_half():
    problem = mgh.PROBLEMS["rosenbrock"]
    x0 = jnp.asarray(problem.x0)
    np.testing.assert_allclose(problem.sum_of_squares(x0), 24.2, rtol=1e-14)
    np.testing.assert_allclose(problem.nll(x0), 12.1, rtol=1e-14)


def test_nearest_minimum_is_told_apart_by_value():
    problem = mgh.PROBLEMS["freudenstein_roth"]
    assert problem.nearest_minimum(48.9) is problem.minima[1]
    assert problem.nearest_minimum(1e-9) is problem.minima[0]


def test_helical_valley_is_smooth_where_it_starts():
    residuals = mgh.PROBLEMS["helical_valley"].residuals
    beside = [residuals(jnp.array([-1.0, y, 0.0])) for y in (-1e-9, 1e-9)]
    np.testing.assert_allclose(beside[0], beside[1], atol=1e-6)
    # On the axis x1 = 0 the angle is a quarter turn.
    above = residuals(jnp.array([0.0, 2.0, 2.5]))
    np.testing.assert_allclose(above, [0.0, 10.0, 2.5], atol=1e-14)


NIST = pytest.mark.parametrize(
    "problem", nist_strd.PROBLEMS.values(), ids=lambda p: p.name
)


@ft.cache
def certified_fit(problem):
    """Return residuals, errors per unit of residual, and the Gauss-Newton step."""

    def derivatives(params):
        return problem.residuals(params), jax.jacfwd(problem.residuals)(params)

    points = np.stack([problem.certified, *problem.starts])
    everything = jax.device_get(jit_once(jax.vmap(derivatives))(points))
    assert all(np.all(np.isfinite(leaf)) for leaf in everything)
    residuals, jacobian = (leaf[0] for leaf in everything)
    scale = np.linalg.norm(jacobian, axis=0)
    # Triangular factors, as J.T @ J would have the square of a condition of 6e4.
    q, r = np.linalg.qr(jacobian / scale)
    root = np.linalg.inv(r)
    spread = np.linalg.norm(root, axis=1) / scale
    return residuals, spread, -root @ (q.T @ residuals) / scale


def test_nist_has_27_datasets_of_three_levels():
    levels = [problem.difficulty for problem in nist_strd.PROBLEMS.values()]
    counts = {level: levels.count(level) for level in ("lower", "average", "higher")}
    assert counts == {"lower": 8, "average": 11, "higher": 8}
    assert sum(len(problem.starts) for problem in nist_strd.PROBLEMS.values()) == 54


@NIST
def test_nist_shapes_are_consistent(problem):
    assert problem.x.shape[-1:] == problem.y.shape
    for params in (*problem.starts, problem.certified_sd):
        assert params.shape == problem.certified.shape
    assert problem.dof == problem.y.size - problem.certified.size


@NIST
def test_nist_residuals_at_the_certified_values(problem):
    residuals, _, step = certified_fit(problem)
    if problem.name == "Lanczos1":
        # Residuals of 1e-13 cannot be had from eleven digits: polish first. Then
        # rounding of the model, 1e-16, leaves three digits of the certified sum.
        polished = jnp.asarray(problem.certified + step)
        np.testing.assert_allclose(
            problem.sum_of_squares(polished), problem.rss, rtol=1e-2
        )
    else:
        np.testing.assert_allclose(np.sum(residuals**2), problem.rss, rtol=1e-10)
    np.testing.assert_allclose(
        problem.residual_sd, (problem.rss / problem.dof) ** 0.5, rtol=1e-10
    )


@NIST
def test_nist_certified_values_are_stationary_with_the_certified_errors(problem):
    _, spread, step = certified_fit(problem)
    # Eleven digits are certified: half a unit in the last one, and some room.
    np.testing.assert_array_less(np.abs(step / problem.certified), 3e-10)
    np.testing.assert_allclose(
        spread * problem.residual_sd, problem.certified_sd, rtol=1e-9
    )


def test_nist_objective_and_digits():
    problem = nist_strd.PROBLEMS["Misra1a"]
    best = jnp.asarray(problem.certified)
    np.testing.assert_allclose(problem.nll(best), problem.dof / 2, rtol=1e-9)
    assert problem.digits(problem.certified) == 11
    np.testing.assert_allclose(
        problem.digits(problem.certified * 1.000001), 6, rtol=1e-6
    )


def test_nelson_describes_the_logarithm_of_the_response():
    problem = nist_strd.PROBLEMS["Nelson"]
    np.testing.assert_allclose(problem.y[:2], np.log([15.0, 17.0]), rtol=1e-15)
    np.testing.assert_array_equal(problem.x[:, 0], [1.0, 180.0])
