"""The packed likelihood and its derivatives, against plain loops and JAX's own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from everwillow.curvature import Arrow, Dense
from everwillow.likelihood.binned.spec import (
    BinnedSpec,
    BinScale,
    ChannelSpec,
    NormVariation,
    ParameterSpec,
    SampleSpec,
    Scale,
)
from everwillow.models.binned import BinnedModel
from tests.helpers import finite_difference_jacobian
from tests.likelihood.binned import oracle
from tests.likelihood.binned.evaluation import evaluated, form
from tests.likelihood.binned.specs import (
    UNIT,
    barlow_beeston,
    everything,
    gammas,
    point,
)


def agree(found, wanted, *, rtol=1e-10):
    """Compare derivatives, whose entries have very different sizes."""
    size = np.max(np.abs(wanted), initial=1e-50)
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol * size)


def check(spec, vectors):
    """Compare value, gradient, Hessian and expectation with those of plain loops."""
    model = BinnedModel.from_spec(spec)
    for vector in vectors:
        found = evaluated(model, vector)
        exact = oracle.second_order(oracle.nll, spec, vector)
        rates = oracle.expected(spec, oracle.in_order(spec, vector.tolist()))
        np.testing.assert_allclose(found["expected"], rates, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found["nll"], exact.value, rtol=1e-12)
        np.testing.assert_allclose(found["value"], exact.value, rtol=1e-12)
        agree(found["gradient"], exact.gradient)
        agree(found["hessian"], exact.hessian)
    return model


def one_bin(effects, parameters, *, nominal=20.0, observed=21.0, other=30.0):
    """Return one bin with two samples, of which the first has the effects."""
    samples = (
        SampleSpec("first", np.array([nominal]), tuple(effects)),
        SampleSpec("other", np.array([other])),
    )
    channel = ChannelSpec("A", np.array([observed]), samples)
    return BinnedSpec((channel,), tuple(parameters))


@pytest.mark.slow
def test_everything_at_once():
    spec = everything()
    check(spec, [point(spec, seed) for seed in range(4)])


@pytest.mark.parametrize("zero", ["mu", "k", "lumi"])
def test_a_factor_of_exactly_zero(zero):
    """Logarithmic derivatives are infinite there, derivatives are not."""
    spec = everything()
    check(spec, [point(spec, seed, zero=zero) for seed in range(2)])


def test_two_factors_of_exactly_zero():
    """The mixed derivative is all that is left of the product."""
    spec = one_bin(
        [Scale("a"), Scale("b")], [ParameterSpec("a", 0.0), ParameterSpec("b", 0.0)]
    )
    check(spec, [np.zeros(2), np.array([0.0, 0.7])])


def test_a_square_at_zero():
    spec = one_bin([Scale("a"), Scale("a")], [ParameterSpec("a", 0.0)])
    check(spec, [np.zeros(1), np.ones(1)])


@pytest.mark.parametrize("bins", [3, 70])
def test_a_factor_of_a_bin_of_exactly_zero(bins):
    """Where the other samples exceed the data, it is where a shapefactor ends."""
    rng = np.random.default_rng(3)
    samples = (
        SampleSpec("free", rng.uniform(5, 9, bins), (BinScale("free"), Scale("mu"))),
        SampleSpec("other", rng.uniform(40, 60, bins), (Scale("mu"),)),
    )
    channel = ChannelSpec("A", rng.uniform(30, 40, bins), samples)
    parameters = (ParameterSpec("mu", 1.0), gammas("free", bins, "free"))
    spec = BinnedSpec((channel,), parameters)
    vector = np.array([*rng.uniform(0.5, 1.5, bins), 1.2])
    vector[1] = 0.0
    check(spec, [vector])


def test_a_negative_factor_of_code_4_is_a_factor():
    """The polynomial for 105.6 and 0.01 is negative near -0.4: no logarithm of it."""
    steep = NormVariation("a", 0.01, 105.6)
    once = one_bin([steep], [ParameterSpec("a", 0.0)], nominal=2.0)
    twice = one_bin(
        [steep, NormVariation("b", 0.01, 105.6), Scale("c")],
        [ParameterSpec(name, 0.0) for name in "abc"],
    )
    factor = oracle.factor("code4", -0.4, 0.01, 105.6)
    assert factor < -3
    model = check(once, [np.array([-0.4])])
    found = evaluated(model, [-0.4])
    assert found["expected"][0] == pytest.approx(30 + 2 * factor, rel=1e-12)
    check(twice, [np.array([-0.4, -0.6, 1.0]), np.array([-0.4, 0.3, -0.1])])


def test_negative_yields_are_impossible_and_no_nan():
    spec = one_bin([Scale("a")], [ParameterSpec("a", 1.0)], other=1.0)
    found = evaluated(BinnedModel.from_spec(spec), [-1.0])
    assert found["expected"][0] == -19.0
    assert found["nll"] == found["value"] == np.inf
    assert not np.isnan(found["gradient"]).any()


@pytest.mark.slow
@pytest.mark.parametrize("make", [everything, barlow_beeston])
def test_derivatives_are_those_of_jax(make):
    """Of the plain likelihood, differentiated automatically."""
    spec = make()
    model = BinnedModel.from_spec(spec)
    flat = model.flat

    @jax.jit
    def automatic(vector):
        def nll(v):
            return flat.nll(v, model.observation)

        return jax.grad(nll)(vector), jax.hessian(nll)(vector)

    for zero in (None, "mu"):
        vector = point(spec, 11, zero=zero)
        gradient, hessian = automatic(jnp.asarray(vector))
        found = evaluated(model, vector)
        agree(found["gradient"], gradient)
        agree(found["hessian"], hessian)


def test_derivatives_are_finite_differences():
    spec = everything()
    model = BinnedModel.from_spec(spec)
    vector = jnp.asarray(point(spec, 5))
    for of, wanted in (("value", "gradient"), ("gradient", "hessian")):
        steps = finite_difference_jacobian(
            lambda v, k=of: evaluated(model, v)[k], vector
        )
        agree(evaluated(model, vector)[wanted], np.squeeze(steps), rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bins", "kind"), [(10, Dense), (40, Arrow)], ids=["dense", "arrow"]
)
def test_both_forms_of_curvature(bins, kind):
    spec = barlow_beeston(bins)
    model = check(spec, [point(spec, 2)])
    assert form(model) is kind


@pytest.mark.slow
def test_gammas_that_not_all_samples_carry():
    """As `shapesys`: the same form, another coupling."""
    spec = barlow_beeston(35, samples=3)
    channels = tuple(
        dataclasses.replace(
            channel,
            samples=tuple(
                dataclasses.replace(
                    sample,
                    effects=tuple(
                        e for e in sample.effects if s != 1 or type(e) is not BinScale
                    ),
                )
                for s, sample in enumerate(channel.samples)
            ),
        )
        for channel in spec.channels
    )
    model = check(dataclasses.replace(spec, channels=channels), [point(spec, 4)])
    assert form(model) is Arrow


@pytest.mark.slow
def test_an_arrow_solves_like_the_matrix_it_is():
    spec = barlow_beeston(40)
    model = BinnedModel.from_spec(spec)
    vector = jnp.asarray(oracle.start_vector(spec))
    evaluate = jax.jit(lambda flat, v, o: flat.evaluation(v, o).gauss_newton)
    curvature = evaluate(model.flat, vector, model.observation)
    assert isinstance(curvature, Arrow)
    # What nothing acts on has no curvature.
    curvature = curvature.plus_diagonal(jnp.full(vector.size, 1e-3))
    matrix = np.asarray(curvature.as_matrix())
    rhs = np.cos(np.arange(vector.size))
    agree(curvature.factor().solve(jnp.asarray(rhs)), np.linalg.solve(matrix, rhs))
    agree(curvature.matvec(jnp.asarray(rhs)), matrix @ rhs)


@pytest.mark.parametrize("make", [everything, barlow_beeston])
def test_on_expected_data_both_curvatures_are_one(make):
    """Where data and expectation agree, curved yields do not count."""
    spec = make()
    model = BinnedModel.from_spec(spec)
    vector = jnp.asarray(point(spec, 8))
    rates = evaluated(model, vector)["expected"]
    found = evaluated(model, vector, {**model.observation, "main": rates})
    other = evaluated(model, vector)
    constraint = jax.jit(
        lambda v: model.constraints.second_order(
            v[model.terms.constrained], model.observation["aux"].vector
        )
    )(vector)[2]
    difference = np.array(found["hessian"] - found["gauss_newton"])
    # A constraint may be curved downwards, and is left out there.
    difference[np.diag_indices_from(difference)] -= np.bincount(
        model.terms.constrained, np.minimum(constraint, 0), vector.size
    )
    agree(difference + found["hessian"], found["hessian"])
    assert np.linalg.eigvalsh(found["gauss_newton"]).min() > -1e-6
    assert not np.allclose(other["hessian"], other["gauss_newton"], rtol=1e-3)


@pytest.mark.slow
def test_order_does_not_matter():
    spec = everything()
    reversed_ = dataclasses.replace(
        spec,
        channels=tuple(
            dataclasses.replace(
                channel,
                samples=tuple(
                    dataclasses.replace(sample, effects=sample.effects[::-1])
                    for sample in channel.samples[::-1]
                ),
            )
            for channel in spec.channels[::-1]
        ),
        parameters=spec.parameters[::-1],
    )
    vector = point(spec, 6)
    one, other = (
        evaluated(BinnedModel.from_spec(s), vector) for s in (spec, reversed_)
    )
    for name in ("value", "gradient", "hessian"):
        agree(other[name], one[name], rtol=1e-12)


def test_derivatives_of_unused_parameters_are_zero():
    spec = everything()
    found = evaluated(BinnedModel.from_spec(spec), point(spec, 9))
    assert found["gradient"][-1] == 0
    assert not found["hessian"][-1].any()


@pytest.mark.slow
def test_single_values_of_a_batch_are_those_of_a_loop():
    spec = everything()
    flat = BinnedModel.from_spec(spec).flat
    observation = BinnedModel.from_spec(spec).observation
    vectors = jnp.stack([jnp.asarray(point(spec, seed)) for seed in range(3)])
    together = jax.jit(jax.vmap(lambda v: flat.evaluation(v, observation).gradient))
    single = jax.jit(lambda v: flat.evaluation(v, observation).gradient)
    for row, vector in zip(together(vectors), vectors, strict=True):
        agree(row, single(vector), rtol=1e-12)


@pytest.mark.slow
def test_constraints_add_to_the_diagonal_only():
    free = everything()
    bare = dataclasses.replace(
        free,
        parameters=tuple(
            dataclasses.replace(entry, constraint=None) for entry in free.parameters
        ),
    )
    vector = point(free, 3)
    with_, without = (
        evaluated(BinnedModel.from_spec(spec), vector) for spec in (free, bare)
    )
    rest = np.array(with_["hessian"] - without["hessian"])
    names = [entry.name for entry in sorted(free.parameters, key=lambda e: e.name)]
    assert rest[names.index("a0"), names.index("a0")] == pytest.approx(
        1 / UNIT.width**2
    )
    np.fill_diagonal(rest, 0)
    np.testing.assert_allclose(rest, 0, atol=1e-9)
