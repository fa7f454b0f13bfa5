"""Tests of the sums over events, against the formulas written plainly."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from everwillow.likelihood.binned.spec import BinnedSpec
from everwillow.likelihood.interpolation import NormFactors
from everwillow.models.nsbi.likelihood.packing import pack
from everwillow.models.nsbi.likelihood.sums import (
    densities,
    log_sum,
    log_sums,
    normalisation,
    normalisations,
)
from everwillow.models.nsbi.spec import (
    Events,
    NsbiSpec,
    UnbinnedRegion,
    UnbinnedSample,
    Variation,
)


PLACES = {"a": 0, "b": 1, "c": 2}
# Region "two" has other samples and parameters than "one", and a reference sample.
EFFECTS = {
    "one": [("s", "a"), ("s", "b"), ("t", "b")],
    "two": [("u", "c")],
}
SAMPLES = {"one": ["s", "t"], "two": ["u", "s", "v"]}
PHI = np.array([0.7, 1.3, 0.4, 2.0, 0.9])
ALPHAS = [(0.3, -0.6, 0.9), (1.7, -2.2, 0.0), (-1.0, 1.0, 0.5)]


def some_events(rng, name, size):
    def factors():
        return np.exp(0.3 * rng.normal(size=size))

    return Events(
        rng.uniform(0.2, 2, size),
        {sample: rng.uniform(0, 3, size) for sample in SAMPLES[name]},
        {key: Variation(factors(), factors()) for key in EFFECTS[name]},
    )


def some_spec(interpolation="polynomial", sizes=(19, 7, 11)):
    rng = np.random.default_rng(4)
    own, data, simulated = (
        some_events(rng, name, size)
        for name, size in zip(("one", "two", "two"), sizes, strict=True)
    )
    samples = {
        name: tuple(UnbinnedSample(sample, 1.0) for sample in names)
        for name, names in SAMPLES.items()
    }
    regions = (
        UnbinnedRegion("one", samples["one"], own, reference_weights=own.weights),
        UnbinnedRegion("two", samples["two"], data, simulated, "reference"),
    )
    return NsbiSpec(BinnedSpec((), ()), regions, interpolation=interpolation)


def factor(interpolation, down, up, alpha):
    if interpolation == "polynomial":
        ends = NormFactors.of("code4", down, up)
        return ends(jnp.full(np.shape(up), alpha))[0]
    return jnp.where(alpha >= 0, 1 + alpha * (up - 1), 1 + alpha * (1 - down))


def plain_densities(spec, events, region, alpha):
    """Return R of each sample at events of a region."""
    values = []
    for sample in SAMPLES[region]:
        total = jnp.asarray(events.ratios[sample])
        for (owner, name), change in events.variations.items():
            if owner == sample:
                total *= factor(
                    spec.interpolation, change.down, change.up, alpha[PLACES[name]]
                )
        values.append(total)
    return jnp.stack(values)


def plain_log_sum(spec, phi, alpha, weights):
    one, two = spec.unbinned
    total, first, component = 0.0, 0, 0
    for region, sets in ((one, [one.events]), (two, [two.events, two.reference])):
        own = phi[component : component + len(region.samples)]
        component += len(region.samples)
        for events in sets:
            size = events.weights.size
            density = own @ plain_densities(spec, events, region.name, alpha)
            total += weights[first : first + size] @ jnp.log(density)
            first += size
    return total


def plain_normalisation(spec, alpha):
    one, two = spec.unbinned
    scaled = two.reference.weights / two.reference.weights.sum()
    return jnp.concatenate(
        [
            plain_densities(spec, one.events, "one", alpha) @ one.events.weights,
            plain_densities(spec, two.reference, "two", alpha) @ scaled,
        ]
    )


@pytest.fixture(scope="module")
def spec():
    return some_spec()


@pytest.fixture(scope="module")
def table(spec):
    return pack(spec, PLACES)


WEIGHTS = np.random.default_rng(5).uniform(0.5, 2, 37)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("interpolation", ["polynomial", "linear"])
def test_value_equals_the_plain_formula(alpha, interpolation):
    spec = some_spec(interpolation)
    table, alpha = pack(spec, PLACES), jnp.array(alpha)
    expected = plain_log_sum(spec, PHI, alpha, WEIGHTS)
    np.testing.assert_allclose(
        log_sum(table, jnp.asarray(PHI), alpha, WEIGHTS), expected, rtol=1e-12
    )
    np.testing.assert_allclose(
        normalisation(table, alpha), plain_normalisation(spec, alpha), rtol=1e-12
    )


@pytest.mark.slow
@pytest.mark.parametrize("alpha", ALPHAS[:2])
@pytest.mark.parametrize("interpolation", ["polynomial", "linear"])
def test_derivatives_equal_those_of_the_plain_formula(alpha, interpolation):
    spec = some_spec(interpolation)
    table, point = pack(spec, PLACES), np.array([*PHI, *alpha])

    def plain(x):
        return plain_log_sum(spec, x[:5], x[5:], WEIGHTS)

    sums = log_sums(table, jnp.asarray(PHI), jnp.array(alpha), WEIGHTS)
    np.testing.assert_allclose(sums.gradient, jax.grad(plain)(point), rtol=1e-10)
    np.testing.assert_allclose(
        sums.hessian, jax.hessian(plain)(point), rtol=1e-9, atol=1e-12
    )
    norms = normalisations(table, jnp.array(alpha))
    at = jnp.array(alpha)
    np.testing.assert_allclose(
        norms.gradient,
        jax.jacfwd(lambda a: plain_normalisation(spec, a))(at),
        rtol=1e-10,
        atol=1e-14,
    )
    np.testing.assert_allclose(
        norms.hessian,
        jax.hessian(lambda a: plain_normalisation(spec, a))(at),
        rtol=1e-9,
        atol=1e-13,
    )


@pytest.mark.slow
def test_outer_products_are_those_of_the_logarithms(spec, table):
    alpha = jnp.array(ALPHAS[0])

    def logs(x):
        # The derivative by a weight is the logarithm of the density of its event.
        return jax.grad(lambda w: plain_log_sum(spec, x[:5], x[5:], w))(WEIGHTS)

    jacobian = jax.jacfwd(logs)(jnp.array([*PHI, *alpha]))
    sums = log_sums(table, jnp.asarray(PHI), alpha, WEIGHTS)
    expected = jacobian.T @ (WEIGHTS[:, None] * jacobian)
    np.testing.assert_allclose(sums.outer, expected, rtol=1e-10)


@pytest.mark.slow
def test_rules_of_derivatives_equal_the_sums(table):
    point = jnp.array([*PHI, *ALPHAS[0]])

    def value(x, weights):
        return log_sum(table, x[:5], x[5:], weights)

    sums = log_sums(table, point[:5], point[5:], WEIGHTS)
    np.testing.assert_allclose(jax.grad(value)(point, WEIGHTS), sums.gradient)
    np.testing.assert_allclose(jax.hessian(value)(point, WEIGHTS), sums.hessian)
    forward = jax.jacfwd(jax.jacrev(value))(point, WEIGHTS)
    np.testing.assert_allclose(forward, sums.hessian)
    norms = normalisations(table, point[5:])
    found = jax.hessian(lambda a: normalisation(table, a))(point[5:])
    np.testing.assert_allclose(found, norms.hessian)


@pytest.mark.slow
def test_third_derivatives_and_those_by_weights(spec, table):
    point = jnp.array([*PHI, *ALPHAS[0]])

    def curvature(x, weights):
        return jnp.trace(log_sums(table, x[:5], x[5:], weights).hessian)

    def plain(x, weights):
        return jnp.trace(
            jax.hessian(lambda y: plain_log_sum(spec, y[:5], y[5:], weights))(x)
        )

    for argument in (0, 1):
        np.testing.assert_allclose(
            jax.grad(curvature, argument)(point, WEIGHTS),
            jax.grad(plain, argument)(point, WEIGHTS),
            rtol=1e-8,
        )

    def slope(weights):
        return jax.grad(lambda x: log_sum(table, x[:5], x[5:], weights))(point)

    def plain_slope(weights):
        return jax.grad(lambda x: plain_log_sum(spec, x[:5], x[5:], weights))(point)

    np.testing.assert_allclose(
        jax.jacrev(slope)(WEIGHTS), jax.jacfwd(plain_slope)(WEIGHTS), rtol=1e-9
    )


def test_a_batch_equals_a_loop(table):
    alphas = jnp.array(ALPHAS)
    phi = jnp.asarray(PHI)
    batch = jax.vmap(lambda a: log_sum(table, phi, a, WEIGHTS))(alphas)
    one_by_one = [log_sum(table, phi, a, WEIGHTS) for a in alphas]
    np.testing.assert_allclose(batch, one_by_one, rtol=1e-13)


def test_densities_are_in_the_order_of_the_weights(spec, table):
    alpha = jnp.array(ALPHAS[0])
    found = table.flattened(densities(table, jnp.asarray(PHI), alpha))
    one, two = spec.unbinned
    expected = [
        PHI[:2] @ plain_densities(spec, one.events, "one", alpha),
        PHI[2:] @ plain_densities(spec, two.events, "two", alpha),
        PHI[2:] @ plain_densities(spec, two.reference, "two", alpha),
    ]
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-12)


def test_events_without_weight_never_count(spec, table):
    weights = np.where(np.arange(37) < 26, WEIGHTS, 0)
    expected = plain_log_sum(spec, PHI, jnp.array(ALPHAS[0]), weights)
    found = log_sum(table, jnp.asarray(PHI), jnp.array(ALPHAS[0]), weights)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("weight", [1.0, -1.0])
def test_an_event_without_a_density_is_impossible(table, weight):
    phi = jnp.asarray(PHI).at[:2].set([-1.0, 0.0])
    weights = np.where(np.arange(37) == 3, weight, 0.0)
    value, gradient = jax.value_and_grad(
        lambda p: log_sum(table, p, jnp.array(ALPHAS[0]), weights)
    )(phi)
    assert value == -np.inf
    assert np.isfinite(gradient).all()


@pytest.mark.slow
def test_a_factor_of_zero_is_the_limit_of_small_ones():
    spec = some_spec()
    one = spec.unbinned[0]

    def with_factor(value):
        change = one.events.variations["s", "a"]
        variations = {
            **one.events.variations,
            ("s", "a"): Variation(change.down, np.full(19, value)),
        }
        events = dataclasses.replace(one.events, variations=variations)
        region = dataclasses.replace(one, events=events)
        changed = dataclasses.replace(spec, unbinned=(region, spec.unbinned[1]))
        table = pack(changed, PLACES)
        return np.array(
            [log_sum(table, jnp.asarray(PHI), jnp.array(a), WEIGHTS) for a in ALPHAS]
        )

    at_zero = with_factor(0.0)
    assert np.isfinite(at_zero).all()
    np.testing.assert_allclose(at_zero, with_factor(1e-11), rtol=1e-7)


@pytest.mark.slow
def test_chunks_do_not_change_the_sums(monkeypatch):
    spec = some_spec(sizes=(900, 300, 700))
    weights = np.random.default_rng(1).uniform(0.5, 2, 1900)
    at = (jnp.asarray(PHI), jnp.array(ALPHAS[1]))
    whole = pack(spec, PLACES)
    from everwillow.models.nsbi.likelihood import packing

    monkeypatch.setattr(packing, "_LARGEST_CHUNK", 256)
    parts = pack(spec, PLACES)
    assert parts.ratios.shape[0] > whole.ratios.shape[0]
    for one, other in zip(
        log_sums(whole, *at, weights), log_sums(parts, *at, weights), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-10)


def test_single_precision_storage_keeps_seven_digits(spec, table):
    small = pack(spec, PLACES, storage="float32")
    assert small.changes.dtype == np.float32
    at = (jnp.asarray(PHI), jnp.array(ALPHAS[1]), WEIGHTS)
    single, double = log_sum(small, *at), log_sum(table, *at)
    assert single.dtype == np.float64
    np.testing.assert_allclose(single, double, rtol=1e-6)
    assert single != double
