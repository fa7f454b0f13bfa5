"""Models of the tests of impacts: a linear Gaussian one, and counts in bins."""

import jax.numpy as jnp
import numpy as np

import everwillow as ew
from everwillow.parameters import LogNormal, MultivariateNormal, Normal, Poisson


# Five measurements of mu and nu; a and b are constrained together, c alone, d not.
DESIGN = np.array(
    [
        # a, b, c, d, mu, nu
        [0.5, 0.1, 0.3, 0.0, 1.0, 0.2],
        [0.2, 0.7, 0.1, 1.0, 1.0, 0.5],
        [0.4, -0.3, 0.6, 2.0, 1.0, 1.0],
        [-0.1, 0.4, 0.2, 1.5, 1.0, -0.7],
        [0.3, 0.2, -0.5, 0.5, 1.0, -0.1],
    ]
)
KEYS = ("a", "b", "c", "d", "mu", "nu")
SIGMA = np.array([0.5, 0.4, 0.6, 0.3, 0.5])
DATA = np.array([1.2, 2.9, 4.4, 2.3, 1.1])
JOINT = np.array([[0.25, 0.12], [0.12, 0.49]])
PRIOR = np.zeros((6, 6))
PRIOR[:2, :2] = np.linalg.inv(JOINT)
PRIOR[2, 2] = 1 / 0.8**2
HESSIAN = DESIGN.T @ (DESIGN / SIGMA[:, None] ** 2) + PRIOR
COVARIANCE = np.linalg.inv(HESSIAN)


def linear_expected(params):
    return DESIGN @ jnp.stack([params[key] for key in KEYS])


def linear_nll(params, data):
    return 0.5 * jnp.sum(((data - linear_expected(params)) / SIGMA) ** 2)


LINEAR = ew.Model(
    linear_nll,
    dict.fromkeys(KEYS, 0.0),
    DATA,
    constraints={
        "ab": MultivariateNormal(("a", "b"), [0.1, -0.2], JOINT),
        "c": Normal(0.3, 0.8),
    },
    expected=linear_expected,
)

SIGNAL = np.array([5.0, 14.0, 4.0])
BACKGROUND = np.array([50.0, 60.0, 70.0])
COUNTS = np.array([61, 70, 78])


def counting_expected(params):
    signal = params["mu"] * params["lumi"] * SIGNAL
    shape = jnp.exp(0.1 * params["tilt"] * jnp.array([-1.0, 0.5, 1.0]))
    return signal + params["gamma"] * BACKGROUND * shape * params["norm"]


def counting_nll(params, counts):
    expected = counting_expected(params)
    # Whole numbers are data too.
    return jnp.sum(expected - jnp.asarray(counts, float) * jnp.log(expected))


def counting(width=0.1):
    return ew.Model(
        counting_nll,
        {
            "gamma": np.ones(3),
            "lumi": 1.0,
            "mu": 1.0,
            "norm": 1.0,
            "tilt": 0.0,
        },
        COUNTS,
        constraints={
            "gamma": Poisson(np.array([400.0, 900.0, 200.0])),
            "lumi": LogNormal(1.0, 1.03),
            "norm": Normal(1.0, width),
            "tilt": Normal(0.0, 1.0),
        },
        bounds={"mu": ew.Interval(-5.0, 20.0), "gamma": ew.Interval(0.0)},
        expected=counting_expected,
    )


COUNTING = counting()


def at_its_end_nll(params, data):
    return 0.5 * (params["mu"] + params["theta"] - data) ** 2


# With mu >= 0 the minimum is at mu = 0, theta = -1/2 with the error 1/sqrt(2).
AT_ITS_END = ew.Model(
    at_its_end_nll,
    {"mu": 1.0, "theta": 0.0},
    -1.0,
    constraints={"theta": Normal(0.0, 1.0)},
    bounds={"mu": ew.Interval(0.0, 5.0)},
    expected=lambda params: params["mu"] + params["theta"],
)
