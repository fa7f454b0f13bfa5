"""What holds for every distribution: normalisation, derivatives, batches.

Each case compiles one program, which computes everything that is compared.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest


pytest.importorskip("lark")

from everwillow.likelihood.quadrature import gauss_legendre
from everwillow.models.hs3.distributions import TYPES
from tests.models.hs3.distribution_cases import CASES, arrays


EVENTS = 5
BINS = 6


def _edges(case, name):
    low, high = case.domain[name]
    return np.linspace(low, high, BINS + 1)


def _region(case):
    """Bins of the first observable, over the whole range of the others."""
    first, *others = case.domain
    edges = _edges(case, first)
    whole = {o: tuple(np.full(BINS, end) for end in case.domain[o]) for o in others}
    return {first: (edges[:-1], edges[1:]), **whole}


@pytest.fixture(scope="module", params=CASES, ids=lambda name: name.replace(" ", "-"))
def computed(request):
    """A case, with all that is compared at its values and at the extreme ones."""
    case = CASES[request.param]
    distribution = case.build()
    region = _region(case)

    def log_prob(values, points):
        return distribution.log_prob(case.scope(values, points))

    @jax.jit
    def compute(values, points):
        logs = log_prob(values, points)
        total = lambda v: jnp.sum(log_prob(v, points))
        bins = distribution.log_probability(case.scope(values, {}), region)
        one = {name: column[0] for name, column in points.items()}
        return {
            "log_prob": jnp.broadcast_to(logs, (EVENTS,)),
            "single": log_prob(values, one),
            "gradient": jax.grad(total)(values),
            "hessian": jax.hessian(total)(values),
            "bins": jnp.broadcast_to(bins, (BINS,)),
        }

    points = case.grid(EVENTS)
    if request.param.startswith("argus"):
        points["x"] = points["x"] * 0.9
    return case, distribution, compute, points


def test_all_values_and_derivatives_are_finite(computed):
    case, _, compute, points = computed
    for values in (case.values, *case.extreme):
        got = compute(arrays(values), points)
        logs = np.asarray(got.pop("log_prob"))
        # Beyond the end of a spectrum, and at negative exact times, there is nothing.
        assert np.isfinite(logs).any() or case.extreme
        assert not np.isnan(logs).any()
        assert not np.isnan(np.asarray(got.pop("bins"))).any()
        assert not np.isnan(np.asarray(got.pop("single"))).any()
        if np.isfinite(logs).all():
            for leaf in jax.tree.leaves(got):
                assert np.isfinite(leaf).all(), (values, got)


def test_it_is_normalised_over_its_range(computed):
    case, distribution, _, _ = computed
    sizes = {1: (2000, 8), 2: (25, 8)}
    nodes, weights = gauss_legendre(*sizes[len(case.domain)])
    axes = [low + (high - low) * nodes for low, high in case.domain.values()]
    volume = np.prod([high - low for low, high in case.domain.values()])
    grids = np.meshgrid(*axes, indexing="ij")
    shares = np.prod(np.meshgrid(*(weights for _ in axes), indexing="ij"), axis=0)
    points = {n: g.ravel() for n, g in zip(case.domain, grids, strict=True)}
    log = jax.jit(lambda p: distribution.log_prob(case.scope(case.values, p)))(points)
    integral = volume * np.sum(shares.ravel() * np.exp(log))
    assert integral == pytest.approx(1.0, abs=case.accuracy)


def test_the_probabilities_of_bins_are_integrals_and_sum_to_one(computed):
    case, distribution, compute, points = computed
    bins = np.exp(compute(arrays(case.values), points)["bins"])
    assert bins.sum() == pytest.approx(1.0, abs=min(case.accuracy, 1e-9))
    if len(case.domain) > 1:
        return
    nodes, weights = gauss_legendre(400, 8)
    edges = _edges(case, "x")
    x = edges[:-1, None] + np.diff(edges)[:, None] * nodes
    log = jax.jit(lambda x: distribution.log_prob(case.scope(case.values, {"x": x})))(
        x.ravel()
    )
    log = np.broadcast_to(log, (x.size,)).reshape(x.shape)
    integrals = np.diff(edges) * np.sum(weights * np.exp(log), axis=1)
    np.testing.assert_allclose(bins, integrals, atol=case.accuracy)


def test_the_gradient_is_that_of_finite_differences(computed):
    case, _, compute, points = computed
    values = arrays(case.values)
    got = compute(values, points)
    step = 1e-5
    for name in case.values:
        up = compute({**values, name: values[name] + step}, points)
        down = compute({**values, name: values[name] - step}, points)
        slope = (up["log_prob"].sum() - down["log_prob"].sum()) / (2.0 * step)
        gradient = float(got["gradient"][name])
        assert gradient == pytest.approx(float(slope), rel=2e-6, abs=2e-6)
        for other in case.values:
            bend = (up["gradient"][other] - down["gradient"][other]) / (2.0 * step)
            second = float(got["hessian"][name][other])
            assert second == pytest.approx(float(bend), rel=2e-5, abs=2e-5)


def test_single_points_are_those_of_the_vector(computed):
    case, _, compute, points = computed
    got = compute(arrays(case.values), points)
    np.testing.assert_allclose(got["single"], got["log_prob"][0], rtol=1e-12)


def test_every_type_has_a_case():
    tested = {case.spec["type"] for case in CASES.values()}
    # Counts, and what is a constraint: tested on their own.
    apart = {
        "poisson_dist",
        "barlow_beeston_lite_poisson_constraint_dist",
        "gennormal_dist",
        "extend_pdf",
    }
    assert tested | apart == set(TYPES)


@pytest.mark.parametrize("name", ["gaussian_dist", "mixture_dist", "generic_dist"])
def test_the_number_of_operations_does_not_grow_with_events_or_bins(name):
    case = CASES[name]
    distribution = case.build()

    def operations(events, bins):
        edges = np.linspace(*case.domain["x"], bins + 1)
        region = {"x": (edges[:-1], edges[1:])}

        def both(values, x):
            scope = case.scope(values, {"x": x})
            return distribution.log_prob(scope), distribution.log_probability(
                case.scope(values, {}), region
            )

        program = jax.make_jaxpr(both)(arrays(case.values), jnp.ones(events))
        return len(str(program).splitlines())

    assert operations(10, 8) == operations(1000, 64)


def test_a_batch_of_parameters_is_a_loop():
    case, batch = CASES["mixture_dist"], 3
    distribution = case.build()
    points = case.grid(EVENTS)

    def log_prob(values):
        return distribution.log_prob(case.scope(values, points))

    values = {n: v * jnp.linspace(0.9, 1.1, batch) for n, v in case.values.items()}
    together = jax.jit(jax.vmap(log_prob))(values)
    one = jax.jit(log_prob)
    for i in range(batch):
        alone = one({n: v[i] for n, v in values.items()})
        np.testing.assert_allclose(together[i], alone, rtol=1e-12)
