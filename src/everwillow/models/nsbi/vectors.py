"""The likelihood as a function of a plain vector, for other minimisers."""

from collections.abc import Iterator
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow.models.nsbi.model import NsbiModel


@final
class VectorLikelihood(eqx.Module):
    r"""-ln L of a model and its derivatives as functions of one array.

    The entries are the parameters that are not fixed: the parameter of interest first,
    then norm factors, couplings and systematics, each in the order of first appearance
    in the workspace, then the factors of bins, ``"staterror_CR[0]"``. All functions are
    compiled at the first call.

    Attributes:
        names: The names of the parameters in this order.
        starts: Their start values, shape ``(n,)``.
        bounds: Lower and upper bound of each, shape ``(n, 2)``, infinite where there is
            none.

    Example:
        Minimise with SciPy::

            vector = everwillow.models.nsbi.VectorLikelihood.of(model)
            result = scipy.optimize.minimize(
                vector.value_and_gradient, vector.starts, jac=True, bounds=vector.bounds
            )
    """

    names: tuple[str, ...] = eqx.field(static=True)
    starts: np.ndarray
    bounds: np.ndarray
    _arguments: "_Arguments"

    @classmethod
    def of(cls, model: NsbiModel) -> "VectorLikelihood":
        """Return the likelihood of a model, with its own data.

        Args:
            model: The model.
        """
        entries = list(_entries(model))
        whole = [np.ravel(np.asarray(v, float)) for v in model.state.values()]
        places = np.array([entry.place for entry in entries], int)
        # Arrays of JAX once, not at each call.
        arguments = jax.tree.map(
            lambda leaf: jnp.asarray(leaf) if eqx.is_array(leaf) else leaf,
            _Arguments(model.flat, model.observation, np.concatenate(whole), places),
        )
        return cls(
            names=tuple(entry.name for entry in entries),
            starts=np.array([entry.start for entry in entries]),
            bounds=np.array([entry.bounds for entry in entries], float).reshape(-1, 2),
            _arguments=arguments,
        )

    def value(self, x: Float[Array, " n"]) -> Float[Array, ""]:
        """Return -ln L."""
        return _value(self._arguments, jnp.asarray(x, float))

    def gradient(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """Return the first derivatives of -ln L."""
        return self.value_and_gradient(x)[1]

    def value_and_gradient(
        self, x: Float[Array, " n"]
    ) -> tuple[Float[Array, ""], Float[Array, " n"]]:
        """Return -ln L with its first derivatives."""
        return _value_and_gradient(self._arguments, jnp.asarray(x, float))

    def hessian(self, x: Float[Array, " n"]) -> Float[Array, "n n"]:
        """Return the second derivatives of -ln L."""
        return _hessian(self._arguments, jnp.asarray(x, float))


class _Entry(NamedTuple):
    """One entry of the vector, and its place in that of all parameters."""

    name: str
    place: int
    start: float
    bounds: tuple[float, float]


class _Arguments(eqx.Module):
    """The likelihood of all parameters, and the places of the entries among them."""

    flat: Any
    observation: Any
    whole: Float[Array | np.ndarray, " all"]
    places: Array | np.ndarray

    def at(self, x: Array) -> Array:
        """Return all parameters."""
        return jnp.asarray(self.whole).at[self.places].set(x)


def _entries(model: NsbiModel) -> Iterator[_Entry]:
    spec = model.spec
    first = () if spec is None else spec.order
    keys = dict.fromkeys((*(n for n in first if n in model.state), *model.state))
    places = model.bounds.layout.elements()
    for key in keys:
        start = np.asarray(model.state[key], float)
        bound = model.bounds.get(key)
        ends = (-np.inf, np.inf) if bound is None else (bound.lower, bound.upper)
        lower, upper = (
            np.broadcast_to(np.asarray(e, float), start.shape) for e in ends
        )
        fixed = np.broadcast_to(model.fixed.get(key, np.nan), start.shape)
        for index in np.ndindex(start.shape):
            if np.isnan(fixed[index]):
                suffix = "".join(f"[{i}]" for i in index)
                yield _Entry(
                    f"{key}{suffix}",
                    int(np.asarray(places[key])[index]),
                    float(start[index]),
                    (float(lower[index]), float(upper[index])),
                )


@jax.jit
def _value(arguments: _Arguments, x: Array) -> Array:
    return arguments.flat.nll(arguments.at(x), arguments.observation)


@jax.jit
def _value_and_gradient(arguments: _Arguments, x: Array) -> tuple[Array, Array]:
    return jax.value_and_grad(_value, 1)(arguments, x)


@jax.jit
def _hessian(arguments: _Arguments, x: Array) -> Array:
    evaluation = arguments.flat.evaluation(arguments.at(x), arguments.observation)
    places = arguments.places
    return evaluation.curvature.as_matrix()[places[:, None], places[None, :]]
