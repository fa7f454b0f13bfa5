"""Models of density ratios: derivatives, Asimov data, toys, and known answers."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import everwillow as ew
from everwillow._errors import ShapeMismatchError
from everwillow.likelihood.binned.spec import (
    BinnedSpec,
    BinScale,
    ChannelSpec,
    ConstraintSpec,
    Derived,
    NormVariation,
    ParameterSpec,
    SampleSpec,
    Scale,
    ShapeVariation,
)
from everwillow.models.nsbi import NsbiModel, density_ratio
from everwillow.models.nsbi._samples import Polynomial
from everwillow.models.nsbi.spec import NsbiSpec, UnbinnedRegion, UnbinnedSample
from tests.helpers import count_jax_work
from tests.models.nsbi import analytic


def nominal_events(points=801, **at):
    x, width = analytic.grid(points)
    return analytic.events(x, analytic.mixture(x, **at) * width)


def reference_events(points=801):
    x, width = analytic.grid(points)
    return analytic.events(x, analytic.reference_density(x) * width)


@pytest.fixture(scope="module")
def model():
    """The analytic model: observed events, and a reference sample of its own."""
    spec = analytic.spec(nominal_events(401), reference_events())
    return NsbiModel.from_spec(spec)


def several_regions(bins=3, normalize=True):
    """Two unbinned regions, a binned one, a coupling, gammas, one-sided effects."""
    rng = np.random.default_rng(2)
    kappa = {"square": (1.0, 0.0, 0.0), "mixed": (-2.0, 3.0, 0.5)}
    parameters = (
        ParameterSpec("kappa", 0.8, -3.0, 3.0),
        ParameterSpec("mu", 1.1, 0.0, 10.0),
        ParameterSpec("scale", 0.2, constraint=ConstraintSpec("normal", 0.0, 1.0)),
        ParameterSpec("tilt", -0.3, constraint=ConstraintSpec("normal", 0.0, 1.0)),
        ParameterSpec(
            "gamma",
            np.ones(bins),
            1e-10,
            10.0,
            constraint=ConstraintSpec("poisson", 400.0, 400.0),
        ),
    )
    nominal = rng.uniform(20, 40, bins)
    channel = ChannelSpec(
        "CR",
        rng.poisson(nominal).astype(float),
        (
            SampleSpec(
                "background",
                nominal,
                (
                    Scale("mixed"),
                    ShapeVariation("tilt", 0.9 * nominal, 1.2 * nominal, "code4"),
                    NormVariation("scale", 0.95, 1.04),
                    BinScale("gamma"),
                ),
            ),
        ),
    )
    first = analytic.spec(nominal_events(61)).unbinned[0]
    changed = nominal_events(47, scale=0.5)
    tilted = dict(changed.variations)
    del tilted["background", "scale"]
    tilted["background", "tilt"] = changed.variations["background", "scale"]
    second = UnbinnedRegion(
        "SR2",
        (
            UnbinnedSample("signal", 40.0, (Scale("mu"), Scale("square"))),
            UnbinnedSample(
                "background", 90.0, (Scale("mixed"), NormVariation("tilt", 0.9, 1.1))
            ),
        ),
        dataclasses.replace(changed, variations=tilted),
    )
    binned = BinnedSpec(
        (channel,),
        parameters,
        {name: Derived(("kappa",), Polynomial(c)) for name, c in kappa.items()},
        poi="mu",
    )
    return NsbiModel.from_spec(NsbiSpec(binned, (first, second)), normalize=normalize)


@pytest.mark.slow
@pytest.mark.parametrize("bins", [3, 70])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_evaluation_has_the_derivatives_of_nll(bins, normalize):
    # With 70 bins the curvature is an arrow.
    model = several_regions(bins, normalize)
    start, unravel = ravel_pytree(model.state.to_pytree())
    at = start + 0.1 * jr.normal(jr.key(1), start.shape)

    def nll(x):
        return model.nll(unravel(x))

    evaluation = jax.jit(lambda x: model.curvature(unravel(x)))(at)
    value, gradient = jax.jit(jax.value_and_grad(nll))(at)
    np.testing.assert_allclose(evaluation.value, value, rtol=1e-13)
    np.testing.assert_allclose(evaluation.gradient, gradient, rtol=1e-9)
    hessian = jax.jit(jax.hessian(nll))(at)
    np.testing.assert_allclose(
        evaluation.curvature.as_matrix(), hessian, rtol=1e-8, atol=1e-8
    )
    stand_in = evaluation.gauss_newton.as_matrix()
    assert np.linalg.eigvalsh(stand_in).min() > -1e-9


@pytest.mark.slow
@pytest.mark.parametrize("at", [{}, {"mu": 2.0, "scale": 0.7}])
def test_asimov_data_have_their_minimum_at_the_truth(model, at):
    params = {"mu": 1.0, "scale": 0.0, **at}
    params = {name: jnp.asarray(value) for name, value in params.items()}
    gradient = jax.grad(lambda p: model.nll(p, model.asimov(params)))(params)
    np.testing.assert_allclose(list(gradient.values()), 0, atol=1e-8)
    weights = model.asimov(params)["main"]["weights"]
    total = (
        analytic.mixture(*analytic.grid(801)[:1], **at).sum() * analytic.grid(801)[1]
    )
    np.testing.assert_allclose(weights.sum(), total, rtol=1e-4)


def test_asimov_data_lie_in_the_reference_sample(model):
    weights = model.expected(model.state.to_pytree())["weights"]
    assert model.regions == (("SR", 401, 801),)
    assert not weights[:401].any()
    x, width = analytic.grid(801)
    np.testing.assert_allclose(weights[401:], analytic.mixture(x) * width, rtol=1e-6)
    assert not model.observation["main"]["weights"][401:].any()


@pytest.mark.slow
def test_normalised_changes_remove_the_bias_of_a_pulled_systematic():
    """Data at +2 standard deviations: mu is 1 only with normalised densities."""
    x, width = analytic.grid(2001)
    data = analytic.events(x, analytic.mixture(x, scale=2.0) * width)
    found = {}
    for normalize in (True, False):
        spec = analytic.spec(data, reference_events(2001))
        model = NsbiModel.from_spec(spec, normalize=normalize)
        observation = {**model.observation, "aux": {"scale": 2.0}}
        result = ew.fit(model, observation=observation, throw=False)
        found[normalize] = (result, model)
    result, _ = found[True]
    assert result.success
    # Beyond ±1 the changed densities are exact, up to their normalisation.
    np.testing.assert_allclose(float(result.params["mu"]), 1.0, atol=2e-3)
    np.testing.assert_allclose(float(result.params["scale"]), 2.0, atol=2e-3)
    plain, model = found[False]
    biased = float(plain.params["mu"])
    assert abs(biased - 1) > 2 * float(result.errors["mu"])


@pytest.mark.slow
def test_events_of_the_nominal_mixture_serve_as_reference():
    """The bias vanishes with Asimov events in place of a reference sample, too."""
    x, width = analytic.grid(2001)
    data = analytic.events(x, analytic.mixture(x, scale=2.0) * width)
    spec = analytic.spec(data, nominal_events(2001), "nominal")
    model = NsbiModel.from_spec(spec)
    observation = {**model.observation, "aux": {"scale": 2.0}}
    result = ew.fit(model, observation=observation)
    np.testing.assert_allclose(float(result.params["mu"]), 1.0, atol=2e-3)


def binned_limit(edges, at=None):
    """The analytic model as a histogram with many bins, at given truth."""
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)

    def counts(name, scale):
        growth = analytic.GROWTH[name] ** scale
        density = analytic.density(name, middle, scale)
        return analytic.YIELDS[name] * growth * density * width

    samples = tuple(
        SampleSpec(
            name,
            counts(name, 0),
            (
                *((Scale("mu"),) if name == "signal" else ()),
                ShapeVariation("scale", counts(name, -1), counts(name, 1), "code4"),
            ),
        )
        for name in analytic.SAMPLES
    )
    observed = analytic.mixture(middle, **(at or {})) * width
    spec = analytic.spec(nominal_events(11)).binned
    return ew.models.binned.BinnedModel.from_spec(
        dataclasses.replace(spec, channels=(ChannelSpec("SR", observed, samples),))
    )


@pytest.mark.slow
def test_many_bins_agree_with_events():
    """In the limit of many bins the likelihoods are the same."""
    x, width = analytic.grid(1500)
    edges = np.append(x - width / 2, x[-1] + width / 2)
    events = analytic.events(x, analytic.mixture(x, mu=1.2) * width)
    unbinned = NsbiModel.from_spec(analytic.spec(events))
    binned = binned_limit(edges, {"mu": 1.2})
    one, other = (ew.fit(m, fixed={"scale": 0.0}) for m in (unbinned, binned))
    np.testing.assert_allclose(one.params["mu"], other.params["mu"], rtol=1e-4)
    np.testing.assert_allclose(one.errors["mu"], other.errors["mu"], rtol=1e-4)
    values = np.linspace(0.5, 2.0, 7)
    scans = [
        ew.profile.scan(m, r, name="mu", values=values, fixed={"scale": 0.0})
        for m, r in ((unbinned, one), (binned, other))
    ]
    np.testing.assert_allclose(
        scans[0].twice_delta_nll, scans[1].twice_delta_nll, rtol=2e-3, atol=1e-4
    )
    # Contents of bins are not normalised when the systematic changes them, densities
    # are, which is a small difference at the minimum.
    one, other = ew.fit(unbinned), ew.fit(binned)
    np.testing.assert_allclose(one.params["mu"], other.params["mu"], atol=2e-3)
    np.testing.assert_allclose(one.errors["mu"], other.errors["mu"], rtol=0.05)


@pytest.mark.slow
def test_a_combination_is_the_product(model):
    background = ew.Model(
        lambda params, observation: 0.5 * (params["scale"] - observation) ** 2 / 0.04,
        ew.State.from_pytree({"scale": 0.0}),
        observation=0.3,
    )
    both = ew.combine({"nsbi": model, "other": background}, shared=["scale"])
    params = {"mu": jnp.asarray(1.4), "scale": jnp.asarray(0.3)}
    alone = model.nll(params) + background.nll({"scale": params["scale"]})
    joint = both.nll(
        both.state.with_values(
            [params["mu" if "mu" in str(key) else "scale"] for key in both.state]
        )
    )
    np.testing.assert_allclose(joint, alone, rtol=1e-13)


@pytest.mark.slow
def test_a_second_fit_traces_nothing(model):
    one, other = (
        model.asimov({"mu": jnp.asarray(mu), "scale": jnp.asarray(0.2)})
        for mu in (1.0, 1.5)
    )
    ew.fit(model, observation=one)
    with count_jax_work() as work:
        result = ew.fit(model, observation=other)
    np.testing.assert_allclose(float(result.params["mu"]), 1.5, rtol=1e-6)
    assert work.traces == 0


@pytest.mark.slow
def test_toys_follow_the_expectation(model):
    params = model.state.to_pytree()
    expected = model.expected(params)["weights"]
    toys = jax.vmap(lambda key: model.sample(params, key)["weights"])(
        jr.split(jr.key(0), 400)
    )
    totals = np.asarray(toys.sum(1))
    assert np.all(toys == np.round(toys))
    error = np.sqrt(float(expected.sum()) / 400)
    assert abs(totals.mean() - float(expected.sum())) < 4 * error
    variance = totals.var() / float(expected.sum())
    assert abs(variance - 1) < 4 * np.sqrt(2 / 400)
    result = ew.toys.fit_toys(model, key=jr.key(3), ntoys=64)
    pulls = (np.asarray(result.params["mu"]) - 1) / np.asarray(result.errors["mu"])
    assert abs(pulls.mean()) < 4 / 8
    assert 0.7 < pulls.std() < 1.35


def test_data_of_another_length_are_refused(model):
    main = {**model.observation["main"], "weights": np.ones(5)}
    with pytest.raises(ShapeMismatchError, match=r"'weights': \(1202,\)"):
        model.nll(model.state, {**model.observation, "main": main})


@pytest.mark.slow
def test_single_precision_storage_changes_little(model):
    small = NsbiModel.from_spec(model.spec, storage="float32")
    params = model.state.to_pytree()
    np.testing.assert_allclose(small.nll(params), model.nll(params), rtol=1e-6)
    assert small.terms.events.ratios.dtype == np.float32


def test_other_events_are_observed_with_the_old_ones_as_reference():
    asimov, data = nominal_events(61), nominal_events(31, mu=2.0)
    model = NsbiModel.from_spec(analytic.spec(asimov))
    changed = model.with_events({"SR": data})
    expected = NsbiModel.from_spec(analytic.spec(data, asimov, "nominal"))
    params = {"mu": 1.3, "scale": 0.4}
    np.testing.assert_allclose(changed.nll(params), expected.nll(params), rtol=1e-13)
    assert changed.regions == (("SR", 31, 61),)


def test_expected_yields_are_by_region_and_sample(model):
    yields = model.expected_yields({"mu": 2.0, "scale": 1.0})
    np.testing.assert_allclose(yields["SR", "signal"], 2 * 400 * 1.05)
    np.testing.assert_allclose(yields["SR", "background"], 1600 * 1.03)


@pytest.mark.slow
def test_toys_of_negative_weights_have_the_right_mean():
    simulated = reference_events(401)
    signs = np.where(np.arange(401) % 5 == 0, -1.0, 1.0)
    simulated = dataclasses.replace(simulated, weights=simulated.weights * signs)
    model = NsbiModel.from_spec(analytic.spec(nominal_events(61), simulated))
    params = model.state.to_pytree()
    expected = float(model.expected(params)["weights"].sum())
    toys = jax.vmap(lambda key: model.sample(params, key)["weights"].sum())(
        jr.split(jr.key(0), 300)
    )
    error = float(toys.std()) / np.sqrt(300)
    assert abs(float(toys.mean()) - expected) < 4 * error


def test_changes_that_the_model_does_not_have_are_ignored(model):
    (region,) = model.spec.unbinned
    change = region.events.variations["signal", "scale"]
    more = {**region.events.variations, ("signal", "other"): change}
    given = dataclasses.replace(region.events, variations=more)
    params = {"mu": 1.2, "scale": 0.5}
    np.testing.assert_allclose(
        density_ratio(model, params, given),
        density_ratio(model, params)[: given.weights.size],
        rtol=1e-12,
    )


def test_the_order_of_the_data_has_no_meaning(model):
    main = model.observation["main"]
    swapped = {"weights": main["weights"], "counts": main["counts"]}
    given = {**model.observation, "main": swapped}
    params = model.state.to_pytree()
    assert model.nll(params, given) == model.nll(params)
