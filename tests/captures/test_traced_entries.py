"""Every entry point has the derivative by a value that its Model closes over.

The rate of a counting experiment is s mu + b, so all depends on s mu: the best mu, its
error and its limits go like 1 / s. Other right values stand beside their entry.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow import profile, toys, uncertainty
from everwillow.fitting.conditional import conditional_fit
from tests.captures.test_traced import KINDS, B, N, S, _model


BEST, ERROR = (N - B) / S, np.sqrt(N) / S
START = ew.State.from_pytree({"mu": 1.0})


def _cls(value, s):
    return ew.cls(_model("closure", s), "mu", value).observed


def _slope_of_cls(_):
    # It depends on s mu, too: d/ds = (mu / s) d/dmu.
    step = 1e-4
    return 3.0 / S * float(_cls(3.0 + step, S) - _cls(3.0 - step, S)) / (2 * step)


def _propagated(kind, s):
    fn = KINDS[kind](s)
    return uncertainty.propagate(lambda p: fn(p, N), START, np.eye(1)).values


# The function of s, and its derivative at S given its value.
ENTRIES = {
    "fit": (lambda k, s: ew.fit(_model(k, s)).params["mu"], lambda v: -v / S),
    "errors": (lambda k, s: ew.fit(_model(k, s)).errors["mu"], lambda v: -v / S),
    # The curvature at the best mu is s² / n.
    "hessian": (
        lambda k, s: ew.fit(_model(k, s)).hessian[0, 0],
        lambda v: 2 * v / S,
    ),
    "conditional": (
        lambda k, s: conditional_fit(_model(k, s), held={"mu": 3.0}).nll,
        lambda _: 3 * (1 - N / (3 * S + B)),
    ),
    "propagate": (_propagated, lambda _: 1 - N / (S + B)),
    "asimov": (
        lambda k, s: toys.asimov_data(_model(k, s), START)["main"],
        lambda _: 1.0,
    ),
    "minos": (
        lambda k, s: profile.minos(_model(k, s), names=["mu"]).upper[0],
        lambda v: -v / S,
    ),
    "scan": (
        lambda k, s: profile.scan(_model(k, s), name="mu", values=[3.0]).nll[0],
        lambda _: 3 * (1 - N / (3 * S + B)),
    ),
    # Z = sqrt(2 ((s + b) ln(1 + s / b) - s)) is expected.
    "discovery": (
        lambda k, s: ew.discovery(_model(k, s), "mu").expected,
        lambda v: np.log(1 + S / B) / v,
    ),
    "cls": (
        lambda k, s: ew.cls(_model(k, s), "mu", 3.0).observed,
        _slope_of_cls,
    ),
    "limits": (
        lambda k, s: ew.limits(_model(k, s), "mu").observed,
        lambda v: -v / S,
    ),
    "combine": (
        lambda k, s: ew.fit(ew.combine([_model(k, s), _model(k, s)])).params["mu"],
        lambda v: -v / S,
    ),
    "dict": (
        lambda k, s: ew.fit(
            ew.Model(
                lambda p, d: KINDS[k](d["s"])(p, d["n"]),
                {"mu": 1.0},
                {"s": s, "n": N},
            )
        ).errors["mu"],
        lambda v: -v / S,
    ),
}


def check(entry, kind, transform):
    """Compare a derivative with the right one."""
    function, slope = ENTRIES[entry]

    def one(s):
        return jnp.squeeze(function(kind, s))

    value, found = transform(jax.value_and_grad(one))
    right = slope(float(value))
    assert right != 0
    np.testing.assert_allclose(found, right, rtol=2e-5)


TRANSFORMS = {
    "grad": lambda f: f(S),
    "jit of grad": lambda f: jax.jit(f)(S),
    "jit of vmap of grad": lambda f: jax.tree.map(
        lambda leaf: leaf[1], jax.jit(jax.vmap(f))(jnp.array([2 * S, S]))
    ),
}


def _cases():
    """Pair each entry with each kind; the gate runs one of each, by turns."""
    for i, entry in enumerate(ENTRIES):
        for j, kind in enumerate(KINDS):
            marks = [] if j == i % len(KINDS) else [pytest.mark.exhaustive]
            yield pytest.param(entry, kind, id=f"{entry}-{kind}", marks=marks)


@pytest.mark.slow
@pytest.mark.parametrize(("entry", "kind"), list(_cases()))
def test_every_entry_point_has_its_derivative(entry, kind):
    check(entry, kind, TRANSFORMS["jit of grad"])


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("transform", ["grad", "jit of vmap of grad"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_point_has_it_under_all_transformations(entry, transform):
    check(entry, "partial", TRANSFORMS[transform])
