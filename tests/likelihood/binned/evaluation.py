"""The counts, likelihood and derivatives of a `BinnedModel` in one compiled call."""

import equinox as eqx
import jax
import jax.numpy as jnp

from everwillow.likelihood.binned.counts import expected_counts
from everwillow.models.binned import BinnedModel


# Compiling is nearly all of the time of these tests, and the numbers are the same.
_QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


def _evaluated(flat, vector, observation):
    found = flat.evaluation(vector, observation)
    return {
        "nll": flat.nll(vector, observation),
        "expected": expected_counts(flat.main.packed, vector),
        "value": found.value,
        "gradient": found.gradient,
        "hessian": found.curvature.as_matrix(),
        "gauss_newton": found.gauss_newton.as_matrix(),
    }


_jitted = jax.jit(_evaluated, compiler_options=_QUICK)


def evaluated(model: BinnedModel, vector, observation=None):
    """Return -ln L twice, its gradient, Hessian and what stands in for it."""
    observation = model.observation if observation is None else observation
    return _jitted(model.flat, jnp.asarray(vector), observation)


def form(model: BinnedModel):
    """Return the class of the model's curvature."""
    place = jnp.ones(model.terms.size)
    flat = model.flat
    found = eqx.filter_eval_shape(flat.evaluation, place, model.observation)
    return type(found.curvature)
