"""The likelihoods that are timed: template fits of any size, and small ones."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import everwillow as ew
import everwillow.statelib as sl
from everwillow.curvature import Dense
from everwillow.objective import Evaluation


jax.config.update("jax_enable_x64", True)

BINS_PER_PARAMETER = 10 / 3


class Templates(eqx.Module):
    r"""-ln L of Poisson bins :math:`\mu s + b \exp(R \alpha)`, with Gaussian pulls.

    The parameters are ``{"mu": scalar, "alpha": (nuisances,)}``; the observation is
    the counts. Nothing is said about its derivatives: JAX finds them.

    Attributes:
        signal: s, shape ``(bins,)``.
        background: b, shape ``(bins,)``.
        responses: R, relative effect of one standard deviation of each nuisance
            parameter on the background, shape ``(bins, nuisances)``.
    """

    signal: jax.Array
    background: jax.Array
    responses: jax.Array

    def __call__(self, params, counts):
        nuisances = params["alpha"]
        varied = self.background * jnp.exp(self.responses @ nuisances)
        expected = params["mu"] * self.signal + varied
        poisson = jnp.sum(expected - counts * jnp.log(expected))
        return poisson + 0.5 * jnp.sum(nuisances**2)


class StructuredTemplates(eqx.Module):
    """The same, with its Hessian written by hand.

    With w the varied background and J the derivatives of the expectation, the Hessian
    is ``Jᵀ diag(n/ν²) J`` plus the second derivatives of ν times ``1 - n/ν``; both
    have the form ``Rᵀ diag(.) R``, so one matrix product gives their sum.
    """

    signal: jax.Array
    background: jax.Array
    # Transposed, as products of rows with rows run several times faster in XLA.
    rows: jax.Array

    def __init__(self, templates: Templates):
        self.signal = templates.signal
        self.background = templates.background
        self.rows = jnp.array(templates.responses.T)

    def expected(self, params):
        """Return ν and w."""
        varied = self.background * jnp.exp(params["alpha"] @ self.rows)
        return params["mu"] * self.signal + varied, varied

    def __call__(self, params, counts):
        expected, _ = self.expected(params)
        poisson = jnp.sum(expected - counts * jnp.log(expected))
        return poisson + 0.5 * jnp.sum(params["alpha"] ** 2)

    def curvature(self, params, counts):
        """Return value, gradient and exact Hessian; "alpha" comes before "mu"."""
        expected, varied = self.expected(params)
        residual = 1 - counts / expected
        weight = counts / expected**2
        slope = self.rows @ (varied * residual) + params["alpha"]
        both = varied * residual + varied**2 * weight
        block = (self.rows * both) @ self.rows.T + jnp.eye(self.rows.shape[0])
        edge = self.rows @ (self.signal * weight * varied)
        corner = self.signal**2 @ weight
        return Evaluation(
            self(params, counts),
            jnp.append(slope, self.signal @ residual),
            Dense(jnp.block([[block, edge[:, None]], [edge[None, :], corner]])),
        )


def templates(parameters: int) -> tuple[Templates, ew.State, np.ndarray]:
    """Make a template fit: a bump on a falling background, with smooth systematics.

    Args:
        parameters: One signal strength, the rest nuisance parameters.

    Returns:
        The objective, start values (``mu = 1``, no pulls), and pseudo-data that were
        drawn with pulls.
    """
    rng = np.random.default_rng(7)
    nuisances = parameters - 1
    bins = round(BINS_PER_PARAMETER * parameters)
    x = np.linspace(0, 1, bins)
    background = 60 + 400 * np.exp(-3 * x)
    signal = 40 * np.exp(-0.5 * ((x - 0.5) / 0.05) ** 2)
    centre = rng.uniform(-0.2, 1.2, nuisances)
    width = rng.uniform(0.05, 0.4, nuisances)
    size = rng.uniform(0.005, 0.05, nuisances) * rng.choice([-1, 1], nuisances)
    # Many systematics at once would multiply to absurd backgrounds.
    size *= min(1.0, (30 / nuisances) ** 0.5)
    responses = size * np.exp(-0.5 * ((x[:, None] - centre) / width) ** 2)
    pulls = rng.normal(size=nuisances)
    expected = 1.3 * signal + background * np.exp(responses @ pulls)
    counts = rng.poisson(expected).astype(float)
    objective = Templates(*map(jnp.asarray, (signal, background, responses)))
    state = ew.State.from_pytree({"mu": 1.0, "alpha": np.zeros(nuisances)})
    return objective, state, jnp.asarray(counts)


def scalars(count: int):
    """Make a cheap fit of many scalar parameters: Poisson counts of one bin each.

    Returns:
        The objective, start values, and counts of shape ``(count,)``.
    """

    def nll(params, counts):
        rate = jnp.stack([params[f"rate_{i}"] for i in range(count)])
        return jnp.sum(rate - counts * jnp.log(rate))

    counts = np.random.default_rng(1).poisson(100.0, count).astype(float)
    state = ew.State.from_pytree({f"rate_{i}": 100.0 for i in range(count)})
    return nll, state, jnp.asarray(counts)


def nll_a(params, observation):
    mass = (observation["m_a"] - params["mass"] * params["scale_a"]) / 1.5
    return 0.5 * mass**2 + 0.5 * ((params["scale_a"] - 1) / 0.02) ** 2


def nll_b(params, observation):
    mass = (observation["m_b"] - params["m"] * params["scale_b"]) / 2.0
    return 0.5 * mass**2 + 0.5 * ((params["scale_b"] - 1) / 0.03) ** 2


def two_measurements():
    """Combine two mass measurements with a scale each: the smallest combination.

    Returns:
        The combined objective, its State, and the observation.
    """
    state_a = ew.State.from_pytree({"mass": 125.0, "scale_a": 1.0})
    state_b = ew.State.from_pytree({"m": 125.0, "scale_b": 1.0})
    state_b = sl.apply_transformations(state_b, {"m": sl.Transform(new_key="mass")})
    nll, state = ew.prepare([nll_a, nll_b], [state_a, state_b])
    return nll, state, {"m_a": 125.5, "m_b": 124.8}
