"""Entry points of everwillow at which a function of a user is read.

Each entry of `ENTRIES` takes `wrap`, which gives a function of numbers and arguments
its numbers, and returns a function without arguments that computes something with it.
All are the same three-bin counting experiment: the numbers are its backgrounds.
"""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import everwillow as ew
from everwillow import goodness, impacts, mappings, profile, toys, uncertainty
from everwillow.combination import prepare
from everwillow.fitting.conditional import conditional_fit
from everwillow.hypotest.asimov import make_asimov
from everwillow.hypotest.calculators import AsymptoticCalculator
from everwillow.hypotest.test_statistics import QTilde
from everwillow.hypotest.toys import ToyGenerator
from everwillow.hypotest.upper_limit import upper_limit
from everwillow.objective import LeastSquares
from everwillow.parameters import Normal


SIGNAL = np.array([10.0, 5.0, 1.0])
COUNTS = np.array([60.0, 52.0, 49.0])
# In units of 50 events, as numbers held start as ones.
EVENTS = 50.0
PARAMS = {"mu": 1.0, "theta": 0.0}


def rates(numbers, p):
    return p["mu"] * SIGNAL + EVENTS * jnp.asarray(numbers) * jnp.exp(0.1 * p["theta"])


def nll(numbers, p, counts):
    expected = rates(numbers, p)
    return jnp.sum(expected - counts * jnp.log(expected))


def penalised(numbers, p, counts):
    return nll(numbers, p, counts) + 0.5 * p["theta"] ** 2


def sample(numbers, p, key):
    return jr.poisson(key, rates(numbers, p)).astype(float)


def sample_state(numbers, state, key):
    return sample(numbers, state.to_pytree(), key)


def state_rates(numbers, state):
    return rates(numbers, state.to_pytree())


def model(wrap):
    return ew.Model(
        wrap(nll),
        PARAMS,
        COUNTS,
        constraints={"theta": Normal(0.0, 1.0)},
        expected=wrap(rates),
        sample=wrap(sample),
    )


def start():
    return ew.State.from_pytree(PARAMS)


def _function(compute):
    """Return an entry for a function ``nll(params, observation)``."""

    def entry(wrap):
        fn = wrap(penalised)
        return lambda: compute(fn)

    return entry


def _model(compute):
    """Return an entry for a Model."""

    def entry(wrap):
        one = model(wrap)
        return lambda: compute(one)

    return entry


def _fitted(compute):
    """Return an entry for a Model and its fit."""
    return _model(lambda one: compute(one, ew.fit(one)))


def _known(compute):
    """Return an entry for a Model and a fit that has not changed."""

    def entry(wrap):
        one = model(wrap)
        known = ew.fit(model(lambda fn: lambda *args: fn(np.ones(3), *args)))
        return lambda: compute(one, known)

    return entry


def propagated(wrap):
    fn, one = wrap(rates), model(lambda fn: lambda *args: fn(np.ones(3), *args))
    result = ew.fit(one)
    return lambda: uncertainty.propagate(fn, result).errors


def mapped(which):
    def entry(wrap):
        fn = wrap(lambda numbers, p, expected: jnp.sum(numbers * expected))
        one = model(lambda fn: lambda *args: fn(np.ones(3), *args))
        result = ew.fit(one)
        return lambda: which(fn, one, result)

    return entry


def combined(wrap):
    one, other = model(wrap), model(wrap)
    both = ew.combine([one, other])
    return lambda: ew.fit(both).params["mu"]


def combined_each_time(wrap):
    one, other = model(wrap), model(wrap)
    return lambda: ew.fit(ew.combine([one, other])).params["mu"]


def prepared(wrap):
    one, other = wrap(penalised), wrap(nll)
    joint, state = prepare([one, other], [start(), start()])
    return lambda: ew.fit(joint, state, COUNTS).params["mu"]


def least_squares(wrap):
    residuals = wrap(lambda numbers, p, counts: (counts - rates(numbers, p)) / 7.0)
    objective = LeastSquares(residuals)
    return lambda: ew.fit(objective, start(), COUNTS).params["mu"]


def with_hook(wrap):
    plain = wrap(penalised)
    hook = wrap(
        lambda numbers, p, counts: ew.objective.evaluate(
            lambda q, c: penalised(numbers, q, c), p, counts
        )
    )

    class Objective:
        curvature = staticmethod(hook)

        def __call__(self, p, counts):
            return plain(p, counts)

    objective = Objective()
    return lambda: ew.fit(objective, start(), COUNTS).params["mu"]


@dataclasses.dataclass
class Data:
    """Data that are no pytree, with a method of a user."""

    counts: object

    def __hash__(self):
        return id(self)


def object_as_observation(wrap):
    data = Data(wrap(lambda numbers: COUNTS + 0.0 * jnp.asarray(numbers) + numbers))

    def fn(p, data):
        return penalised(np.ones(3), p, data.counts())

    return lambda: ew.fit(fn, start(), data).params["mu"]


def sandwiched(wrap):
    def terms(numbers, p, counts):
        expected = rates(numbers, p)
        return expected - counts * jnp.log(expected)

    fn = wrap(terms)
    one = model(lambda fn: lambda *args: fn(np.ones(3), *args))
    result = ew.fit(one)

    def total(p, counts):
        return penalised(np.ones(3), p, counts)

    return lambda: uncertainty.sandwich(total, result, COUNTS, nll_terms=fn)


def saturated_by_user(wrap):
    fn = wrap(
        lambda numbers, counts: (
            jnp.sum(counts - counts * jnp.log(counts)) - jnp.sum(numbers)
        )
    )
    one = wrap(nll)
    return lambda: (
        goodness.saturated_test(
            one,
            ew.fit(one, start(), COUNTS, fixed={"theta": 0.0}),
            COUNTS,
            saturated=fn,
            ndof=2,
        ).statistic
    )


def limit_of_user(wrap):
    fn = wrap(lambda numbers, poi: jnp.exp(-poi * jnp.sum(numbers) / 3))
    return lambda: upper_limit(fn, (0.0, 20.0))


def calculator(wrap):
    one = model(wrap)

    def compute():
        made = AsymptoticCalculator(one, None, None, "mu", QTilde())
        return made.cls(made.test(2.0))

    return compute


def generated(wrap, **options):
    one = model(wrap)
    generator = ToyGenerator(QTilde(), 20, **options)
    return lambda: generator.generate(one, None, None, "mu", 1.0, key=1).q_null


ENTRIES = {
    "fit": _function(lambda fn: ew.fit(fn, start(), COUNTS).params["mu"]),
    "fit_model": _model(lambda one: ew.fit(one).params["mu"]),
    "fit_at_bound": _function(
        lambda fn: ew.fit(
            fn, start(), COUNTS, bounds={"mu": ew.Interval(0.9, 9.0)}
        ).errors["mu"]
    ),
    "fit_nothing": _function(lambda fn: ew.fit(fn, start(), COUNTS, fixed=PARAMS).nll),
    "ifit": _function(lambda fn: ew.ifit(fn, start(), COUNTS).params["mu"]),
    "newton_cg": _function(
        lambda fn: ew.fit(fn, start(), COUNTS, solver=ew.NewtonCG()).params["mu"]
    ),
    "conditional": _model(lambda one: conditional_fit(one, held={"mu": 0.5}).nll),
    "errors": _model(lambda one: ew.fit(one).errors["mu"]),
    "hessian": _function(lambda fn: uncertainty.hessian_matrix(fn, start(), COUNTS)),
    "fisher": _known(
        lambda one, fit: uncertainty.covariance_matrix(one, fit, kind="fisher")
    ),
    "sandwich": sandwiched,
    "propagate": propagated,
    "prefit": mapped(lambda fn, one, _: mappings.prefit(fn, one).values),
    "postfit": mapped(lambda fn, one, fit: mappings.postfit(fn, one, fit).errors),
    "variations": mapped(lambda fn, one, fit: mappings.variations(fn, one, fit).up),
    "postfit_expected": _known(
        lambda one, fit: mappings.postfit(None, one, fit).values
    ),
    "minos": _model(lambda one: profile.minos(one, names=["mu"]).upper),
    "scan": _model(lambda one: profile.scan(one, name="mu", values=[0.0, 2.0]).nll),
    "scan_2d": _model(
        lambda one: (
            profile.scan_2d(
                one, names=("mu", "theta"), values=([0.0, 2.0], [0.0, 1.0])
            ).nll
        )
    ),
    "contour": _model(
        lambda one: profile.contour(one, names=("mu", "theta"), points=8).points
    ),
    "limits": _model(lambda one: ew.limits(one, "mu").observed),
    "limits_expected": _model(lambda one: ew.limits(one, "mu").expected.median),
    "cls": _model(lambda one: ew.cls(one, "mu", 2.0).observed),
    "discovery": _model(lambda one: ew.discovery(one, "mu").significance),
    "calculator": calculator,
    "upper_limit": limit_of_user,
    "make_asimov": _model(lambda one: make_asimov(one, poi_key="mu")["main"]),
    "asimov": _model(lambda one: toys.asimov_data(one, start())["main"]),
    "sample_toys": _model(
        lambda one: toys.sample_toys(one, start(), ntoys=20, key=1)["main"]
    ),
    "fit_toys": _model(
        lambda one: toys.fit_toys(one, start(), ntoys=20, key=1).params["mu"]
    ),
    "toy_generator": generated,
    "toy_generator_mapped": lambda wrap: generated(
        wrap, map_fn=lambda one: lambda many: jax.lax.map(one, many)
    ),
    "rank": _fitted(lambda one, fit: impacts.rank(one, fit, poi="mu").postfit),
    "rank_refit": _fitted(
        lambda one, fit: (
            impacts.rank(one, fit, poi="mu", refit="postfit").postfit_refits.up
        )
    ),
    "nonprofiled": _model(
        lambda one: (
            impacts.nonprofiled_impacts(
                one, ew.fit(one, fixed={"theta": 0.0}), poi="mu"
            ).up
        )
    ),
    "global_impacts": _fitted(
        lambda one, fit: impacts.global_impacts(one, fit, poi="mu").total
    ),
    "saturated": _fitted(lambda one, fit: goodness.saturated_test(one, fit).statistic),
    "saturated_by_user": saturated_by_user,
    "yield_chi2": _fitted(lambda one, fit: goodness.yield_chi2(one, fit).statistic),
    "data_pulls": _fitted(lambda one, fit: goodness.data_pulls(one, fit).pulls),
    "combine": combined,
    "combine_each_time": combined_each_time,
    "prepare": prepared,
    "least_squares": least_squares,
    "hook": with_hook,
    "object_as_observation": object_as_observation,
}
