"""One structure is one program: other numbers neither trace nor compile anything."""

import gc
import time
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
import everwillow.statelib as sl
from everwillow.engine import programs
from tests.fitting.objectives import (
    GAUSSIAN_START,
    SAMPLE,
    gaussian,
    quadratic,
    quadratic_data,
    state,
)
from tests.helpers import TraceCounter, assert_no_retrace, count_jax_work


@pytest.mark.slow
def test_other_starts_and_data():
    counter = TraceCounter(gaussian)
    ew.fit(counter, GAUSSIAN_START, SAMPLE)
    assert counter.calls > 0
    starts = [state(mu=3.0, sigma=2.0), state(mu=1, sigma=np.float64(0.5))]
    starts += [state(mu=jnp.asarray(1.0), sigma=np.asarray(3.0)), GAUSSIAN_START]
    samples = [2 * SAMPLE, jnp.asarray(3 * SAMPLE), np.sqrt(SAMPLE)]
    with assert_no_retrace(counter), count_jax_work() as work:
        results = [ew.fit(counter, a, b) for a in starts for b in samples]
    assert (work.traces, work.compilations) == (0, 0)
    means = [np.mean(b) for _ in starts for b in samples]
    found = [result.params["mu"] for result in results]
    np.testing.assert_allclose(found, means, rtol=1e-7)
    # Another shape is another program: the counter can count.
    before = counter.calls
    ew.fit(counter, GAUSSIAN_START, SAMPLE[:4])
    assert counter.calls > before


def test_what_is_asked_of_a_result():
    """Errors, tables and messages are made on the host."""
    ew.fit(gaussian, GAUSSIAN_START, SAMPLE)
    with count_jax_work() as work:
        result = ew.fit(gaussian, GAUSSIAN_START, 2 * SAMPLE)
        assert result.covariance.shape == (2, 2)
        assert result.bound_errors.shape == (2,)
        assert result.labels == ("mu", "sigma")
        assert "sigma" in repr(result)
        assert "Minimum" in result.message()
        result.check()
    assert (work.traces, work.compilations) == (0, 0)


def test_other_fixed_values():
    counter = TraceCounter(gaussian)
    ew.fit(counter, GAUSSIAN_START, SAMPLE, fixed={"sigma": 2.0})
    values = (3.0, 4, np.float64(5.0), jnp.asarray(6.0), ...)
    with assert_no_retrace(counter), count_jax_work() as work:
        for fixed in values:
            result = ew.fit(counter, GAUSSIAN_START, SAMPLE, fixed={"sigma": fixed})
            expected = 1.0 if fixed is ... else float(fixed)
            assert result.params["sigma"] == expected
    assert work.compilations == 0


def test_everything_fixed():
    counter = TraceCounter(gaussian)
    ew.fit(counter, GAUSSIAN_START, SAMPLE, fixed={"mu": 1.0, "sigma": 2.0})
    with assert_no_retrace(counter), count_jax_work() as work:
        ew.fit(counter, GAUSSIAN_START, 2 * SAMPLE, fixed={"mu": ..., "sigma": 3.0})
    assert work.compilations == 0


@pytest.mark.slow
def test_other_bounds():
    counter = TraceCounter(quadratic)
    data = quadratic_data(2)
    start = state(x=data["centre"])

    def fitted(*ends):
        bounds = {"x": ew.Interval(*ends)}
        return ew.fit(counter, start, data, bounds=bounds)

    fitted(-9.0, 9.0)
    with assert_no_retrace(counter), count_jax_work() as work:
        fitted(-8.0, np.inf)
        fitted(data["centre"] - 1, data["centre"] + 1)
        result = fitted(data["centre"], 9.0)
        np.testing.assert_allclose(result.params["x"], data["centre"], rtol=1e-9)
    assert work.compilations == 0


@pytest.mark.slow
def test_other_numbers_of_a_transform():
    counter = TraceCounter(gaussian)
    bounds = {"sigma": ew.MinuitTransform(0.5, 9.0)}
    ew.fit(counter, GAUSSIAN_START, SAMPLE, bounds=bounds)
    with assert_no_retrace(counter):
        bounds = {"sigma": ew.MinuitTransform(0.1, 5.0)}
        ew.fit(counter, GAUSSIAN_START, SAMPLE, bounds=bounds)


def scalar_data(params, data):
    pull = (params["mu"] - data["n"]) / data["error"]
    return 0.5 * pull**2


def test_python_numbers_in_the_observation():
    counter = TraceCounter(scalar_data)
    ew.fit(counter, state(mu=0.0), {"n": 3.0, "error": 1.5})
    with assert_no_retrace(counter):
        for n in (4.0, 5.5, -1e6):
            result = ew.fit(counter, state(mu=0.0), {"n": n, "error": 2.5})
            np.testing.assert_allclose(result.params["mu"], n, rtol=1e-12)


def test_solvers_made_anew():
    counter = TraceCounter(gaussian)
    ew.fit(counter, GAUSSIAN_START, SAMPLE)
    with assert_no_retrace(counter):
        ew.fit(counter, GAUSSIAN_START, SAMPLE, solver=ew.TrustRegionNewton())
        ew.fit(counter, GAUSSIAN_START, SAMPLE, solver=ew.TrustRegionNewton())


# ------------------------------------------------------------------ built anew


def first(params, data):
    return 0.5 * ((params["m"] - data[0]) / data[2]) ** 2


def second(params, data):
    return 0.5 * ((params["mass"] + params["shift"] - data[1]) / data[2]) ** 2 + (
        0.5 * params["shift"] ** 2
    )


def test_prepare_again():
    counters = [TraceCounter(first), TraceCounter(second)]

    def fitted(mass, data):
        states = [
            sl.rename(state(m=mass), {"m": "mass"}),
            state(mass=mass, shift=0.0),
        ]
        return ew.fit(*ew.prepare(counters, states), np.array(data))

    fitted(1.0, [3.0, 4.0, 0.5])
    with assert_no_retrace(*counters), count_jax_work() as work:
        result = fitted(2.0, [5.0, 5.0, 0.1])
    assert work.compilations == 0
    np.testing.assert_allclose(result.params["mass"], 5.0, rtol=1e-12)


def model(counter, *, data, mean, width, start, edge):
    return ew.Model(
        counter,
        {"mu": start, "sigma": 1.0},
        data,
        constraints={"mu": ew.Normal(mean, width)},
        bounds={"sigma": ew.Interval(0.0, edge)},
    )


@pytest.mark.slow
def test_a_model_rebuilt_with_other_numbers():
    counter = TraceCounter(gaussian)
    ew.fit(model(counter, data=SAMPLE, mean=1.0, width=2, start=0.0, edge=9.0))
    with assert_no_retrace(counter), count_jax_work() as work:
        # So narrow a constraint decides by itself.
        result = ew.fit(
            model(counter, data=2 * SAMPLE, mean=3, width=1e-6, start=2, edge=np.inf)
        )
    assert work.compilations == 0
    np.testing.assert_allclose(result.params["mu"], 3.0, rtol=1e-9)


@pytest.mark.slow
def test_a_combination_rebuilt_with_other_numbers():
    counter = TraceCounter(gaussian)

    def fitted(mean, rho):
        parts = {
            name: model(counter, data=SAMPLE, mean=mean, width=1.0, start=0.0, edge=9.0)
            for name in ("a", "b")
        }
        joint = ew.combine(parts, shared=[], correlate={("a.mu", "b.mu"): rho})
        return ew.fit(joint)

    one = fitted(1.0, 0.3)
    with assert_no_retrace(counter), count_jax_work() as work:
        other = fitted(2.0, -0.5)
    assert work.compilations == 0
    assert other.params["a.mu"] != one.params["a.mu"]


class Scaled(eqx.Module):
    factor: object
    fn: object

    def __call__(self, params, data):
        return self.factor * self.fn(params, data)


def residuals(params, data):
    return (data - params["mu"]) / (1 + params["sigma"] ** 2)


@pytest.mark.slow
def test_objectives_that_are_modules():
    counter = TraceCounter(gaussian)
    one = ew.fit(Scaled(np.asarray(1.0), counter), GAUSSIAN_START, SAMPLE)
    with assert_no_retrace(counter):
        two = ew.fit(Scaled(np.asarray(2.0), counter), GAUSSIAN_START, SAMPLE)
    np.testing.assert_allclose(two.covariance, one.covariance / 2, rtol=1e-6, atol=1e-9)

    counter = TraceCounter(residuals)
    fixed = {"sigma": 0.0}
    ew.fit(ew.LeastSquares(counter), GAUSSIAN_START, SAMPLE, fixed=fixed)
    with assert_no_retrace(counter):
        result = ew.fit(
            ew.LeastSquares(counter), GAUSSIAN_START, 2 * SAMPLE, fixed=fixed
        )
    np.testing.assert_allclose(result.params["mu"], 2 * SAMPLE.mean(), rtol=1e-12)


@pytest.mark.slow
def test_the_program_of_a_users_own_jit():
    counter = TraceCounter(gaussian)
    fitted = jax.jit(lambda d: ew.fit(counter, GAUSSIAN_START, d, throw=False).nll)
    fitted(SAMPLE)
    with assert_no_retrace(counter):
        fitted(2 * SAMPLE)


# ------------------------------------------------------------------ what cannot be kept


def fit_a_new_function(centre):
    return ew.fit(lambda p, data: (p["mu"] - centre) ** 2, state(mu=0.0))


@pytest.mark.slow
def test_functions_made_anew_are_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for centre in (1.0, 2.0, 3.0):
            assert fit_a_new_function(centre).params["mu"] == pytest.approx(centre)
    with pytest.warns(UserWarning, match=r"test_compile_once\.py.*observation"):
        result = fit_a_new_function(4.0)
    assert result.params["mu"] == pytest.approx(4.0)
    # Said once.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_a_new_function(5.0)


def test_one_function_used_often_is_not_warned_of():
    def nll(params, data):
        return (params["mu"] - data) ** 2

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in range(6):
            result = ew.fit(nll, state(mu=0.0), float(data))
            assert result.params["mu"] == data


# ------------------------------------------------------------------ time


def many_scalars(params, data):
    values = jnp.stack(list(params.values()))
    return 0.5 * jnp.sum((values - data) ** 2)


def small_objects():
    """Make arrays, lists and dictionaries, as what is around a program does."""
    arrays = [np.asarray(float(i)).reshape(()) for i in range(400)]
    return dict(zip(range(400), [array.shape for array in arrays], strict=True))


# The least that `small_objects` took on an idle machine with two cores.
UNIT = 2.5e-4


@pytest.mark.slow
def test_the_overhead_of_an_eager_call(monkeypatch):
    """Below a millisecond for 200 scalar parameters, over the compiled program.

    Time is that of this thread; what it takes to start the program and to wait for it
    is JAX's own. Where others use the same caches and cores all that Python does takes
    longer, so a slower machine has more time in proportion.
    """
    data = np.arange(200.0)
    start = state(**{f"p{i:03d}": float(i) for i in range(200)})
    assert ew.fit(many_scalars, start, data).params["p199"] == 199
    in_programs = []
    called = programs._called

    def timed(*args, **settings):
        begin = time.thread_time()
        found = jax.block_until_ready(called(*args, **settings))
        in_programs.append(time.thread_time() - begin)
        return found

    monkeypatch.setattr(programs, "_called", timed)
    overheads, units = [], []
    gc.collect()
    gc.disable()
    try:
        for _ in range(240):
            in_programs.clear()
            begin = time.thread_time()
            ew.fit(many_scalars, start, data)
            overheads.append(time.thread_time() - begin - sum(in_programs))
            assert len(in_programs) == 1
            begin = time.thread_time()
            small_objects()
            units.append(time.thread_time() - begin)
    finally:
        gc.enable()
    assert min(overheads) < 1e-3 * max(1, min(units) / UNIT)
