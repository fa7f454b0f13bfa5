"""Auxiliary parameters of simulated samples: profiled ones are the best ones.

The joint likelihood of data and β is written out here, as one function of β; it is
convex, so a point where its slope vanishes is its minimum.
"""

import functools as ft

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from everwillow.likelihood.barlow_beeston import (
    BinStatistics,
    fluctuation,
    profiled,
    unprofiled,
)
from everwillow.likelihood.data_terms import CovarianceTerm, GaussianTerm, PoissonTerm


# Compiling is nearly all of the time of these tests.
_QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}

# Rows are bins: three processes, one that nobody simulated, an empty slot, nothing that
# fluctuates, no data, a sample of few events, a negative weight, nothing at all.
NOMINAL = np.array(
    [
        [30.0, 12.0, 5.0],
        [20.0, 8.0, 10.0],
        [15.0, 0.0, 4.0],
        [9.0, 7.0, 6.0],
        [3.0, 1.0, 0.5],
        [6.0, 4.0, 2.0],
        [25.0, -3.0, 2.0],
        [0.0, 0.0, 0.0],
    ]
)
VARIANCE = np.array(
    [
        [6.0, 3.0, 0.5],
        [4.0, 0.0, 2.0],
        [2.5, 0.0, 0.8],
        [0.0, 0.0, 0.0],
        [0.3, 0.1, 0.05],
        [18.0, 9.0, 2.0],
        [5.0, 1.0, 0.2],
        [0.0, 0.0, 0.0],
    ]
)
YIELDS = NOMINAL * (1 + 0.2 * np.sin(np.arange(24.0).reshape(8, 3)))
DATA = np.array([58.0, 33.0, 25.0, 20.0, 0.0, 19.0, 18.0, 0.0])
ROOT = np.eye(8) + 0.2 * np.sin(np.arange(64.0).reshape(8, 8))
TERMS = {
    "poisson": PoissonTerm(),
    "chi2": GaussianTerm(np.array([50.0, 30.0, 28.0, 18.0, 4.0, 25.0, 20.0, 1.0])),
    "covariance": CovarianceTerm(12 * ROOT @ ROOT.T),
}
CASES = [
    (kind, per_process, term)
    for kind in ("gamma", "normal", "additive")
    for per_process in (False, True)
    for term in TERMS
    if (kind, term) != ("gamma", "covariance")
]


def statistics_of(kind, per_process, nominal=NOMINAL, variance=VARIANCE):
    follows = variance > 0
    moving = np.where(follows, nominal, 0)
    if not per_process:
        moving, variance = moving.sum(1, keepdims=True), variance.sum(1, keepdims=True)
    if kind == "additive":
        return BinStatistics(kind, per_process, follows, np.sqrt(variance))
    relative = variance / np.where(variance > 0, moving, 1) ** 2
    return BinStatistics(kind, per_process, follows, relative)


def auxiliary(statistics):
    """Return auxiliary data that are not the nominal ones."""
    wave = 0.3 * np.cos(np.arange(float(statistics.spread.size)))
    off = wave.reshape(statistics.spread.shape)
    # Those that do not fluctuate are not measured either.
    known = np.where(np.asarray(statistics.spread) > 0, off, 0)
    return np.asarray(statistics.nominal) + known


def moved(statistics, yields, beta):
    """Return the yields of the bins, from the definition of β."""
    follows = jnp.asarray(statistics.follows)
    if statistics.kind == "additive":
        return jnp.sum(yields, 1) + jnp.sum(statistics.spread * beta, 1)
    factor = jnp.where(follows, jnp.broadcast_to(beta, yields.shape), 1.0)
    return jnp.sum(yields * factor, 1)


def joint(statistics, term, yields, data, nominal, beta):
    """Return -ln L of the data and of β."""
    spread = jnp.asarray(statistics.spread)
    loose = spread > 0
    events = 1 / jnp.where(loose, spread, 1)
    away = beta - nominal
    if statistics.kind == "gamma":
        cost = events * (away - nominal * jnp.log(beta / nominal))
    elif statistics.kind == "normal":
        cost = 0.5 * events * away**2
    else:
        cost = 0.5 * away**2
    whole = moved(statistics, yields, beta)
    return term.value(whole, data) + jnp.sum(jnp.where(loose, cost, 0))


def written_out(statistics, profile):
    """Return the Hessian by the yields that a profile stands for."""
    bins, slots = profile.gradient.shape
    response = np.asarray(profile.response)
    response = response if response.ndim == 2 else np.diag(response)
    yield_slope = np.asarray(profile.yield_slope)
    hessian = np.einsum("ab,ai,bj->aibj", response, yield_slope, yield_slope)
    follows = np.asarray(statistics.follows).astype(float)
    for b in range(bins):
        reduction = np.asarray(profile.reduction)[b]
        if statistics.per_process:
            hessian[b, :, b, :] -= np.diag(reduction * follows[b])
        else:
            hessian[b, :, b, :] -= reduction * np.outer(follows[b], follows[b])
    return hessian.reshape(bins * slots, bins * slots)


def _everything(statistics, term, yields, data, nominal):
    profile = profiled(statistics, term, yields, data, nominal)

    def value(yields):
        return profiled(statistics, term, yields, data, nominal).value

    def of_beta(flat):
        beta = flat.reshape(profile.beta.shape)
        return joint(statistics, term, yields, data, nominal, beta)

    flat = profile.beta.ravel()
    count = flat.size
    return {
        "profile": profile,
        "gradient": jax.grad(value)(yields),
        "hessian": jax.hessian(lambda y: value(y.reshape(yields.shape)))(
            yields.ravel()
        ),
        "joint": of_beta(flat),
        "slope": jax.grad(of_beta)(flat),
        "bend": jax.hessian(of_beta)(flat),
        "spread": jax.vmap(
            lambda n: fluctuation(profile, n.reshape(profile.beta.shape)).ravel()
        )(jnp.eye(count)).T,
    }


def quickly(function):
    return jax.jit(function, compiler_options=_QUICK)


_jitted = quickly(_everything)


@ft.cache
def found(kind, per_process, term):
    statistics = statistics_of(kind, per_process)
    nominal = jnp.asarray(auxiliary(statistics))
    # NumPy arrays of a Module cannot be hashed, so they are arguments.
    arrays = jax.tree.map(jnp.asarray, (statistics, TERMS[term]))
    out = _jitted(*arrays, jnp.asarray(YIELDS), jnp.asarray(DATA), nominal)
    return statistics, jax.tree.map(np.asarray, out)


@pytest.mark.parametrize(("kind", "per_process", "term"), CASES)
def test_the_best_beta_is_the_minimum(kind, per_process, term):
    statistics, out = found(kind, per_process, term)
    loose = np.ravel(np.asarray(statistics.spread) > 0)
    assert loose.any()
    assert not loose.all()
    assert out["profile"].value == pytest.approx(out["joint"], rel=1e-13)
    scale = np.sqrt(np.diag(out["bend"]))
    np.testing.assert_allclose(out["slope"][loose] / scale[loose], 0, atol=1e-9)
    assert np.linalg.eigvalsh(out["bend"][np.ix_(loose, loose)]).min() > 0


@pytest.mark.parametrize(("kind", "per_process", "term"), CASES)
def test_what_does_not_fluctuate_stays(kind, per_process, term):
    statistics, out = found(kind, per_process, term)
    still = np.asarray(statistics.spread) == 0
    nominal = auxiliary(statistics)
    np.testing.assert_array_equal(out["profile"].beta[still], nominal[still])
    spread = out["spread"][np.ravel(still)]
    np.testing.assert_array_equal(spread, np.zeros_like(spread))


@pytest.mark.parametrize(("kind", "per_process", "term"), CASES)
def test_derivatives_by_the_yields(kind, per_process, term):
    statistics, out = found(kind, per_process, term)
    profile = out["profile"]
    np.testing.assert_allclose(profile.gradient, out["gradient"], rtol=1e-9, atol=1e-10)
    formula = written_out(statistics, profile)
    np.testing.assert_allclose(formula, out["hessian"], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("kind", "per_process", "term"), CASES)
def test_fluctuations_have_the_covariance_of_beta(kind, per_process, term):
    statistics, out = found(kind, per_process, term)
    loose = np.ravel(np.asarray(statistics.spread) > 0)
    wanted = np.linalg.inv(out["bend"][np.ix_(loose, loose)])
    covariance = (out["spread"] @ out["spread"].T)[np.ix_(loose, loose)]
    np.testing.assert_allclose(covariance, wanted, rtol=1e-8, atol=1e-12)


def stepped(statistics, term, yields, data, nominal, steps=40):
    """Minimise the joint function by damped Newton steps: another algorithm."""
    loose = np.ravel(np.asarray(statistics.spread) > 0)
    shape = nominal.shape

    def height(flat):
        beta = flat.reshape(shape)
        return joint(statistics, term, yields, data, nominal, beta)

    value, slope = quickly(height), quickly(jax.grad(height))
    bend = quickly(jax.hessian(height))
    flat = np.ravel(nominal).astype(float)
    for _ in range(steps):
        step = np.zeros_like(flat)
        inner = np.asarray(bend(flat))[np.ix_(loose, loose)]
        step[loose] = -np.linalg.solve(inner, np.asarray(slope(flat))[loose])
        size = 1.0
        while not value(flat + size * step) <= value(flat) and size > 1e-12:
            size /= 2
        flat = flat + size * step
    return float(value(flat)), flat.reshape(shape)


@pytest.mark.parametrize("case", [("gamma", True, "poisson"), ("normal", True, "chi2")])
def test_a_minimiser_finds_the_same(case):
    statistics, out = found(*case)
    args = TERMS[case[2]], YIELDS, DATA, auxiliary(statistics)
    value, beta = stepped(statistics, *args)
    assert out["profile"].value == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(out["profile"].beta, beta, rtol=1e-7)


@pytest.mark.parametrize("per_process", [False, True])
def test_closed_forms_of_counts(per_process):
    """One process: ``β = (n + k) / (y + k)``, or the root of a quadratic."""
    nominal, variance = np.array([[20.0]]), np.array([[5.0]])
    y, n, k = 23.0, 31.0, 80.0
    args = PoissonTerm(), jnp.array([[y]]), jnp.array([n]), None
    gamma = profiled(statistics_of("gamma", per_process, nominal, variance), *args)
    assert gamma.beta.item() == pytest.approx((n + k) / (y + k), rel=1e-12)
    normal = profiled(statistics_of("normal", per_process, nominal, variance), *args)
    root = (k - y + np.sqrt((y - k) ** 2 + 4 * k * n)) / (2 * k)
    assert normal.beta.item() == pytest.approx(root, rel=1e-12)
    additive = statistics_of("additive", per_process, nominal, variance)
    root = (5 + y - np.sqrt((5 + y) ** 2 - 20 * (y - n))) / (-2 * np.sqrt(5.0))
    found = profiled(additive, *args).beta.item()
    assert found == pytest.approx(root, rel=1e-12)


@pytest.mark.parametrize("kind", ["normal", "additive"])
@pytest.mark.parametrize("per_process", [False, True])
def test_a_bin_without_data_is_pushed_to_zero_and_no_further(kind, per_process):
    """Its yield would be negative where Gaussian samples are poorer than the yield."""
    nominal, variance = np.array([[2.0, 1.0]]), np.array([[9.0, 4.0]])
    statistics = statistics_of(kind, per_process, nominal, variance)
    args = PoissonTerm(), jnp.asarray(nominal), jnp.zeros(1), None
    profile = quickly(lambda y: profiled(statistics, args[0], y, *args[2:]))(args[1])
    total = moved(statistics, jnp.asarray(nominal), profile.beta)
    assert total.item() == pytest.approx(0, abs=1e-12)
    # The point of the line (or half plane) of no yield that is nearest to nominal β.
    width = np.asarray(statistics.spread)
    if kind == "normal":
        width = np.sqrt(width) * np.asarray(statistics.streams(jnp.asarray(nominal)))
    wanted = 0.5 * 3.0**2 / np.sum(width**2)
    assert profile.value.item() == pytest.approx(wanted, rel=1e-12)
    slope = quickly(
        jax.grad(lambda y: profiled(statistics, args[0], y, *args[2:]).value)
    )
    np.testing.assert_allclose(profile.gradient, slope(args[1]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("per_process", [False, True])
@pytest.mark.parametrize("kind", ["gamma", "normal", "additive"])
def test_nothing_there_is_nothing_lost(kind, per_process):
    """An empty bin is certain if it has no data, whatever the derivative asked for."""
    statistics = statistics_of(kind, per_process, np.zeros((1, 2)), np.zeros((1, 2)))
    args = statistics, PoissonTerm(), jnp.zeros((1, 2)), jnp.zeros(1), None

    @quickly
    def everything(yields):
        beta = lambda y: profiled(*args[:2], y, *args[3:]).beta
        both = jax.jacfwd(beta)(yields), jax.jacrev(beta)(yields)
        return profiled(*args[:2], yields, *args[3:]), both

    profile, along = everything(args[2])
    assert profile.value.item() == pytest.approx(0, abs=1e-14)
    np.testing.assert_array_equal(profile.gradient, np.ones((1, 2)))
    np.testing.assert_array_equal(along, np.zeros_like(along))


@pytest.mark.parametrize("per_process", [False, True])
@pytest.mark.parametrize("kind", ["gamma", "normal", "additive"])
def test_the_best_beta_has_two_derivatives(kind, per_process):
    """Regularisation needs them, of what Newton's method has found as well."""
    statistics = statistics_of(kind, per_process, NOMINAL[:2], VARIANCE[:2])
    nominal = jnp.asarray(auxiliary(statistics))
    direction = jnp.asarray(YIELDS[:2] - NOMINAL[:2])

    def beta(t):
        yields = jnp.asarray(NOMINAL[:2]) + t * direction
        data = jnp.asarray(DATA[:2])
        return profiled(statistics, PoissonTerm(), yields, data, nominal).beta

    second = quickly(jax.jacfwd(jax.jacfwd(beta)))(1.0)
    first = quickly(jax.jacfwd(beta))
    h = 1e-4
    steps = (first(1.0 + h) - first(1.0 - h)) / (2 * h)
    np.testing.assert_allclose(second, steps, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("per_process", [False, True])
@pytest.mark.parametrize("kind", ["gamma", "normal", "additive"])
def test_held_samples_are_at_their_auxiliary_data(kind, per_process):
    free = statistics_of(kind, per_process)
    nominal = auxiliary(free)
    held = BinStatistics(kind, per_process, free.follows, free.spread, held=True)
    args = jnp.asarray(YIELDS), jnp.asarray(DATA)
    profile = profiled(held, PoissonTerm(), *args, jnp.asarray(nominal))
    np.testing.assert_allclose(profile.beta, nominal, rtol=1e-13, atol=1e-13)
    whole = moved(free, YIELDS, nominal)
    alone = PoissonTerm().value(whole, args[1])
    assert profile.value == pytest.approx(alone.item(), rel=1e-13)
    np.testing.assert_array_equal(profile.width, np.zeros_like(nominal))


@pytest.mark.parametrize("per_process", [False, True])
@pytest.mark.parametrize("kind", ["gamma", "normal", "additive"])
def test_given_beta_are_not_profiled(kind, per_process):
    statistics = statistics_of(kind, per_process)
    beta = jnp.asarray(auxiliary(statistics))
    args = jnp.asarray(YIELDS), jnp.asarray(DATA)
    profile = unprofiled(statistics, PoissonTerm(), *args, beta)
    whole = moved(statistics, args[0], beta)

    def value(yields):
        return PoissonTerm().value(moved(statistics, yields, beta), args[1])

    assert profile.value == pytest.approx(value(args[0]).item(), rel=1e-14)
    np.testing.assert_allclose(
        profile.slope, 1 - args[1] / jnp.where(whole > 0, whole, 1)
    )
    np.testing.assert_allclose(profile.gradient, jax.grad(value)(args[0]), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gamma", "normal", "additive"])
def test_drawn_auxiliary_data_have_their_mean_and_width(kind):
    statistics = statistics_of(kind, True)
    drawn = quickly(jax.vmap(statistics.sample))(jr.split(jr.key(3), 20000))
    still = np.asarray(statistics.spread) == 0
    width = np.asarray(statistics.width)
    assert np.all(width[still] == 0)
    assert np.all(np.std(drawn, axis=0)[still & (kind != "additive")] == 0)
    away = (np.mean(drawn, axis=0) - np.asarray(statistics.nominal))[~still]
    np.testing.assert_allclose(away / width[~still], 0, atol=5 / np.sqrt(20000))
    spread = np.std(drawn, axis=0)[~still] / width[~still]
    np.testing.assert_allclose(spread, 1, atol=5 / np.sqrt(2 * 20000) * 2)


def test_batches_are_loops():
    statistics = statistics_of("gamma", True)
    nominal = jnp.asarray(auxiliary(statistics))

    def value(scale):
        yields = scale * jnp.asarray(YIELDS)
        return profiled(statistics, PoissonTerm(), yields, DATA, nominal).value

    scales = jnp.array([0.7, 1.0, 1.3])
    together, alone = quickly(jax.vmap(value))(scales), quickly(value)
    np.testing.assert_allclose(together, [alone(s) for s in scales], rtol=1e-13)
