"""Templates and whole models as arguments: gradients, batches, combinations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import (
    ArgumentValueError,
    ConflictError,
    ShapeMismatchError,
    UnknownKeyError,
)
from everwillow.models.binned import BinnedModel
from everwillow.models.binned_batch import BinnedBatch
from tests.helpers import count_jax_work, finite_difference_gradient
from tests.models.binned_specs import search, search_spec


SIGNAL = ("SR", "signal")
SIGNALS = np.array([[5.0, 9.0, 4.0], [1.0, 2.0, 3.0], [20.0, 10.0, 5.0]])
CONTROL = ("CR", "background")


def test_templates_are_the_nominal_yields():
    templates = search().templates
    assert set(templates) == {SIGNAL, ("SR", "background"), CONTROL}
    np.testing.assert_array_equal(templates[SIGNAL], SIGNALS[0])
    np.testing.assert_array_equal(templates[CONTROL], [200.0])


@pytest.mark.slow
def test_a_model_with_other_templates_is_one_made_of_them():
    found = search().with_templates({SIGNAL: SIGNALS[1]})
    wanted = search(signal=SIGNALS[1])
    point = ew.State.from_pytree(wanted.state.to_pytree())
    assert found.nll(point) == pytest.approx(float(wanted.nll(point)), rel=1e-14)
    np.testing.assert_array_equal(search().templates[SIGNAL], SIGNALS[0])


def test_templates_that_do_not_exist_or_fit_are_named():
    with pytest.raises(UnknownKeyError, match="signal"):
        search().with_templates({("SR", "signa"): SIGNALS[0]})
    with pytest.raises(ShapeMismatchError, match=r"'signal'.*'SR'.*3 bins"):
        search().with_templates({SIGNAL: np.ones(4)})


def strength(model, signal):
    return ew.fit(model.with_templates({SIGNAL: signal})).params["mu"]


@pytest.mark.slow
def test_best_fits_have_derivatives_by_templates():
    model = search()
    signal = jnp.asarray(SIGNALS[0])
    slope = jax.jit(jax.grad(lambda s: strength(model, s)))(signal)
    steps = finite_difference_gradient(
        jax.jit(lambda s: strength(model, s)), signal, step=1e-3
    )
    np.testing.assert_allclose(slope, steps, rtol=1e-5)


@pytest.mark.slow
def test_the_likelihood_has_derivatives_by_templates():
    """Each bin pulls with ``1 - n / rate`` times what scales its template."""
    model = search()
    point = {"mu": 1.4, "xs": 0.3, "jes": -0.2, "stat": np.ones(3), "lumi": 1.05}

    def nll(signal):
        return model.with_templates({SIGNAL: signal}).nll(point)

    slope = jax.jit(jax.grad(nll))(jnp.asarray(SIGNALS[0]))
    rate, counts = model.expected(point)[:3], model.observation["main"][:3]
    np.testing.assert_allclose(slope, (1 - counts / rate) * 1.4 * 1.05, rtol=1e-12)


@pytest.mark.slow
def test_signals_in_one_compiled_call():
    model = search()
    together = jax.jit(jax.vmap(lambda s: strength(model, s)))
    found = together(SIGNALS)
    with count_jax_work() as work:
        together(SIGNALS[::-1])
    assert work.compilations == 0
    for value, signal in zip(found, SIGNALS, strict=True):
        single = ew.fit(search(signal=signal))
        assert abs(value - single.params["mu"]) < 3e-4 * single.errors["mu"]


def best(model):
    found = ew.fit(model, throw=False)
    return found.nll, found.params["mu"]


def upper(model):
    return ew.limits(model, "mu", throw=False).observed


def batch(**numbers):
    return BinnedBatch.of([search(signal=s, **numbers) for s in SIGNALS])


def test_a_batch_is_a_sequence_of_models():
    models = batch()
    assert len(models) == len(list(models)) == 3
    for model, signal in zip(models, SIGNALS, strict=True):
        assert isinstance(model, BinnedModel)
        np.testing.assert_array_equal(model.templates[SIGNAL], signal)
        assert model.poi == "mu"
    assert models[-1].nll(models[-1].state) == models[2].nll(models[2].state)
    with pytest.raises(IndexError, match="no model 3"):
        models[3]
    # What all have in common is kept once.
    assert len(models.stacked) < len(models.shared)


@pytest.mark.slow
def test_a_function_of_a_batch_is_that_of_each():
    models = batch()
    values, strengths = models.map(best)
    for value, found, model in zip(values, strengths, models, strict=True):
        single = ew.fit(model)
        assert value == pytest.approx(float(single.nll), rel=1e-11)
        assert abs(found - single.params["mu"]) < 3e-4 * single.errors["mu"]


@pytest.mark.slow
def test_a_batch_compiles_once():
    """Another batch of the same structure has other numbers only."""
    batch().map(best)
    with count_jax_work() as work:
        other = batch(control=190.0).map(best)
    assert (work.traces, work.compilations) == (0, 0)
    assert not np.allclose(other[0], batch().map(best)[0])


@pytest.mark.slow
def test_limits_of_a_batch():
    made = BinnedBatch.of(
        [search(signal=s, poi_range=(0.0, 60.0)) for s in SIGNALS[:2]]
    )
    for limit, model in zip(made.map(upper), made, strict=True):
        single = ew.limits(model, "mu").observed
        assert limit == pytest.approx(float(single), rel=1e-4)


def test_a_batch_of_equal_models():
    models = BinnedBatch.of([search(), search()])
    assert models.stacked == ()
    assert repr(models) == f"BinnedBatch(2 times {search()!r})"
    values = models.map(lambda m: m.nll(m.state))
    np.testing.assert_allclose(values, float(search().nll(search().state)))


def test_models_of_several_structures_are_no_batch():
    with pytest.raises(ArgumentValueError, match="at least one"):
        BinnedBatch.of([])
    other = search(names=("mu", "xs", "jes", "stat", "luminosity"))
    with pytest.raises(ConflictError, match="model 1"):
        BinnedBatch.of([search(), other])


def pair():
    """Two measurements that share a luminosity and a strength."""
    return {
        "a": search(),
        "b": search(signal=SIGNALS[2], observed=(70.0, 55.0, 41.0), control=190.0),
    }


def test_a_shared_constraint_is_counted_once():
    models = pair()
    shared = ew.combine(models, shared=["mu", "lumi"])
    assert {"mu", "lumi", "a.xs", "b.xs", "a.stat", "b.stat"} <= set(shared.state)
    trees = tuple(m.state.to_pytree() for m in models.values())
    one = models["a"].constraints["lumi"].nll(1.0, 1.0)
    separate = sum(float(m.nll(t)) for m, t in zip(models.values(), trees, strict=True))
    together = float(shared.nll(trees))
    assert together == pytest.approx(separate - float(one), rel=1e-13)


@pytest.mark.slow
def test_disjoint_models_fit_as_separately():
    models = pair()
    joint = ew.fit(ew.combine(models, shared=[]))
    singles = {name: ew.fit(model) for name, model in models.items()}
    total = sum(float(found.nll) for found in singles.values())
    assert joint.nll == pytest.approx(total, rel=1e-12)
    for name, found in singles.items():
        difference = joint.params[f"{name}.mu"] - found.params["mu"]
        assert abs(difference) < 3e-4 * found.errors["mu"]


@pytest.mark.slow
def test_correlated_constraints():
    """Nearly full correlation is one luminosity, no correlation two."""
    models = pair()
    keys = ("a.lumi", "b.lumi")

    def combined(rho):
        made = ew.combine(models, shared=["mu"], correlate={keys: rho})
        return ew.fit(made)

    loose, tight = combined(0.0), combined(0.999999)
    apart = ew.fit(ew.combine(models, shared=["mu"]))
    assert loose.nll == pytest.approx(float(apart.nll), rel=1e-10)
    assert loose.errors["mu"] == pytest.approx(float(apart.errors["mu"]), rel=1e-4)
    first, second = (float(tight.params[key]) for key in keys)
    assert first == pytest.approx(second, abs=1e-3)


@pytest.mark.slow
def test_elements_that_models_fix_stay_fixed_in_a_combination():
    model = search(fixed=np.array([False, True, False]))
    joint = ew.combine({"a": model})
    found, alone = ew.fit(joint), ew.fit(model)
    assert found.params["stat"][1] == 1.0
    assert "stat[1]" not in found.labels
    assert found.nll == pytest.approx(float(alone.nll), rel=1e-12)


def test_a_specification_is_made_into_a_model_in_any_order_of_parameters():
    spec = search_spec()
    turned = BinnedModel.from_spec(
        type(spec)(spec.channels, spec.parameters[::-1], poi="mu")
    )
    model = search()
    assert list(turned.state) == list(model.state)
    assert turned.nll(turned.state) == model.nll(model.state)
