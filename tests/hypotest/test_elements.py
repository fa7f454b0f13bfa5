"""An element of an array as the parameter of interest."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import everwillow as ew


BACKGROUND = np.array([50.0, 20.0])


def expected(params):
    return 10.0 * params["st"] + BACKGROUND


def separate(params):
    return 10.0 * jnp.stack([params["a"], params["b"]]) + BACKGROUND


def model_of(state, rates):
    return ew.Model(
        lambda p, n: jnp.sum(rates(p) - n * jnp.log(rates(p))),
        state,
        np.array([52.0, 31.0]),
        expected=rates,
        sample=lambda p, key: jr.poisson(key, rates(p)).astype(float),
    )


ARRAY = model_of({"st": np.ones(2)}, expected)
NAMED = model_of({"a": 1.0, "b": 1.0}, separate)


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [
        lambda model, poi: ew.limits(model, poi).observed,
        lambda model, poi: ew.discovery(model, poi).significance,
        lambda model, poi: ew.cls(model, poi, 2.0).observed,
        lambda model, poi: ew.profile.minos(model, names=poi).upper[0],
        lambda model, poi: (
            ew.profile.scan(
                model, ew.fit(model), name=poi, values=np.array([0.5, 2.0])
            ).twice_delta_nll
        ),
        lambda model, poi: ew.impacts.rank(model, ew.fit(model), poi=poi).poi_errors,
    ],
    ids=["limits", "discovery", "cls", "minos", "scan", "rank"],
)
def test_an_element_is_like_a_parameter(number):
    np.testing.assert_allclose(number(ARRAY, "st[1]"), number(NAMED, "b"), rtol=1e-6)


def test_an_array_is_no_parameter_of_interest():
    with pytest.raises(ew.EverwillowError, match=r"2 elements.*'st\[0\]'"):
        ew.limits(ARRAY, "st")
