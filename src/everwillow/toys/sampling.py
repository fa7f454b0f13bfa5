"""Samplers of pseudo-experiments.

A sampler is a function ``sampler(state, key)`` that returns an observation. The three
classes here are samplers; users may write their own.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow._numerics import is_traced
from everwillow._typing import Array, Key
from everwillow.engine import programs
from everwillow.engine.layout import as_array
from everwillow.fitting import FitResult
from everwillow.model import AbstractModel
from everwillow.parameters import AbstractConstraint, MultivariateNormal, Poisson
from everwillow.parameters.base import real
from everwillow.statelib import State
from everwillow.toys.asimov import check_made, native_params


Sampler = Callable[[State, Array], Any]


class Fluctuated(eqx.Module):
    """Draw frequentist pseudo-experiments: main and auxiliary data fluctuate.

    The auxiliary data are drawn around the parameter values, so that the constraint
    terms of each toy have other centres.

    Attributes:
        model: The Model, whose ``sample_observation`` is used.
    """

    model: AbstractModel

    def __call__(self, state: State, key: Array) -> Any:
        """Draw an observation of the model at the parameters of `state`."""
        return self.model.sample_observation(state, key)


class DrawnParameters(eqx.Module):
    """Draw Bayesian-style pseudo-experiments: the constrained parameters are random.

    Each constrained parameter is drawn from its density given the auxiliary data of
    the model and a flat prior (for `LogNormal` flat in the logarithm; for `Poisson`
    that is a Gamma density), then the main data at those values. The auxiliary data do
    not change. Parameters without a constraint keep the values of the State.

    Attributes:
        model: The Model, which has the constraints and draws the main data.
    """

    model: AbstractModel

    def __call__(self, state: State, key: Array) -> Any:
        """Draw an observation around parameters drawn from their constraints."""
        model, aux = self.model, self.model.observation["aux"]
        parameters_key, main_key = jr.split(key)
        values = dict(state)
        # Sorted like the names inside `jit`, so that a key gives the same toys there.
        names = sorted(model.constraints)
        keys = jr.split(parameters_key, max(1, len(names)))
        for name, each in zip(names, keys, strict=False):
            values |= _drawn(name, model.constraints[name], aux[name], values, each)
        drawn = state.with_values([values[k] for k in state])
        return {"main": model.sample(drawn.to_pytree(), main_key), "aux": aux}


def _drawn(
    name: Key, constraint: AbstractConstraint, aux: Any, values: dict[Key, Any], key
) -> dict[Key, Any]:
    """Draw the parameters of one constraint around its auxiliary data."""
    if isinstance(constraint, MultivariateNormal):
        vector = constraint.sample(real(aux), key)
        return dict(zip(constraint.keys, vector, strict=True))
    shape = np.shape(values[name])
    aux = jnp.broadcast_to(real(aux), shape)
    if isinstance(constraint, Poisson):
        tau = jnp.asarray(constraint.tau, aux.dtype)
        return {name: jr.gamma(key, aux + 1, shape, aux.dtype) / tau}
    # The density of aux given the parameter is symmetric in the two.
    return {name: constraint.sample(aux, key)}


class PoissonToys(eqx.Module):
    """Draw independent Poisson counts around an expectation.

    All leaves of the expectation are means of counts. For other data, such as the
    auxiliary data of Gaussian constraints, write a sampler.

    Attributes:
        predict_fn: From a State to the expected observation.
    """

    predict_fn: Callable[[State], Any]

    def __call__(self, state: State, key: Array) -> Any:
        """Draw counts around the expectation at `state`, as floating-point numbers."""
        leaves, structure = jax.tree.flatten(self.predict_fn(state))
        keys = jr.split(key, max(1, len(leaves)))
        drawn = [
            jr.poisson(k, rate).astype(real(rate).dtype)
            for k, rate in zip(keys, leaves, strict=False)
        ]
        return structure.unflatten(drawn)


def choose_sampler(
    nll_fn: Any, sample_fn: Sampler | None, predict_fn: Callable[..., Any] | None
) -> Sampler:
    """Return the given sampler, Poisson toys of `predict_fn`, or that of the Model.

    Raises:
        ArgumentValueError: If there is none of the three.
    """
    if sample_fn is not None:
        return sample_fn
    if predict_fn is not None:
        return PoissonToys(predict_fn)
    if isinstance(nll_fn, AbstractModel):
        return Fluctuated(nll_fn)
    raise ArgumentValueError(
        "toys: a likelihood alone does not tell how to draw data. Give "
        "sample_fn(state, key), or predict_fn(state) for Poisson counts around it, or "
        "use a Model."
    )


def checked_key(key_or_seed: Any) -> Any:
    """Return a PRNG key as it is, and a seed as an array.

    Compiled programs make the key of a seed themselves (`as_key`), which saves the
    compilation of further programs.

    Raises:
        ArgumentTypeError: If it is neither a PRNG key nor a seed.
    """
    if isinstance(key_or_seed, int | np.integer) and not isinstance(key_or_seed, bool):
        return np.asarray(key_or_seed)
    if isinstance(key_or_seed, jax.Array | np.ndarray):
        dtype = key_or_seed.dtype
        if jnp.issubdtype(dtype, jax.dtypes.prng_key) or dtype == np.uint32:
            return key_or_seed
    raise ArgumentTypeError(
        f"key: expected jax.random.key(seed) or an integer seed, got {key_or_seed!r}."
    )


def as_key(checked: Any) -> Array:
    """Return the PRNG key for a result of `checked_key`."""
    is_seed = jnp.issubdtype(checked.dtype, jnp.integer) and jnp.ndim(checked) == 0
    return jr.key(checked) if is_seed else jnp.asarray(checked)


def toy_keys(key_or_seed: Any, indices: Any) -> Array:
    """Return the key of each toy: ``fold_in(key, index)``.

    The key of a toy depends only on its index, so that toy 17 is the same if it is
    drawn alone, in a batch, or on another machine.

    Args:
        key_or_seed: A PRNG key, or an integer seed.
        indices: The indices of the toys, integers of shape ``(toys,)``.
    """
    key = as_key(checked_key(key_or_seed))
    return jax.vmap(lambda i: jr.fold_in(key, i))(jnp.asarray(indices))


def draw(
    sampler: Sampler,
    state: State,
    key: Array,
    indices: Any,
    like: Any,
    number: Any = None,
) -> Any:
    """Draw toys, stacked along a first axis; for `programs.call`.

    Args:
        sampler: The function that draws one toy.
        state: The parameters.
        key: A result of `checked_key`; folded with an index it is the key of a toy.
        indices: The indices of the toys.
        like: An observation to whose dtypes the toys are converted, so that both use
            one compiled program; None to convert nothing.
        number: The number of the hypothesis if there are two, each with a key that is
            split off `key`.
    """
    key = as_key(key)
    if number is not None:
        key = jr.split(key)[number]
    toys = jax.vmap(lambda k: sampler(state, k))(toy_keys(key, indices))
    return toys if like is None else _with_dtypes(toys, like)


def _with_dtypes(toys: Any, like: Any) -> Any:
    first = jax.tree.map(lambda leaf: leaf[0], toys)
    check_made(first, like, "sample_fn, or sample of the Model")
    leaves, structure = jax.tree.flatten(toys)
    others, expected = jax.tree.flatten(like)
    if structure != expected:
        return toys
    return structure.unflatten(
        [
            leaf.astype(other.dtype) if is_float(other) else leaf
            for leaf, other in zip(leaves, others, strict=True)
        ]
    )


def is_float(array: Any) -> bool:
    """Return whether an array holds floating-point numbers."""
    return bool(jnp.issubdtype(jnp.result_type(array), jnp.floating))


def sample_toys(
    nll_fn: Any,
    params: State | FitResult,
    *,
    ntoys: int,
    key: Any,
    first: int = 0,
    sample_fn: Sampler | None = None,
    predict_fn: Callable[[State], Any] | None = None,
) -> Any:
    """Draw pseudo-experiments, stacked along a first axis.

    Args:
        nll_fn: A Model, for `Fluctuated` toys; or any function if one of the last two
            arguments is given.
        params: The parameters at which toys are drawn.
        ntoys: The number of toys.
        key: PRNG key or integer seed; toy i has the key ``fold_in(key, i)``.
        first: Index of the first toy.
        sample_fn: ``sample_fn(state, key)`` returns an observation.
        predict_fn: From a State to expected counts, for Poisson toys.

    Returns:
        Observations whose leaves have the shape ``(ntoys, ...)``.

    Raises:
        ArgumentValueError: If `ntoys` is not positive, or if neither a Model nor a
            function to draw toys is given.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.toys import sample_toys
        >>> state = ew.State.from_pytree({"rate": 7.0})
        >>> toys = sample_toys(
        ...     None, state, ntoys=3, key=1, predict_fn=lambda s: s["rate"]
        ... )
        >>> toys.shape
        (3,)
    """
    check_count(ntoys, "ntoys")
    sampler = choose_sampler(nll_fn, sample_fn, predict_fn)
    indices = np.arange(first, first + ntoys)
    state = jax.tree.map(as_array, native_params(params))
    toys = programs.call(draw, sampler, state, checked_key(key), indices, None)
    return toys if is_traced(toys) else jax.tree.map(np.asarray, toys)


def check_count(count: Any, name: str) -> None:
    """Raise an error if a count is not a positive integer."""
    if not isinstance(count, int | np.integer) or isinstance(count, bool) or count < 1:
        raise ArgumentValueError(f"{name}: expected a positive integer, got {count!r}.")
