"""The likelihood as a function of a plain vector, for other minimisers."""

from typing import final

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
    in the workspace. All functions are compiled at the first call.

    Attributes:
        model: The model.
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

    model: NsbiModel
    names: tuple[str, ...] = eqx.field(static=True)
    starts: np.ndarray
    bounds: np.ndarray
    _places: np.ndarray
    _all: np.ndarray

    @classmethod
    def of(cls, model: NsbiModel) -> "VectorLikelihood":
        """Return the likelihood of a model, with its own data.

        Args:
            model: The model.
        """
        keys = [str(key) for key in model.state]
        values = {str(key): float(value) for key, value in _scalars(model).items()}
        spec = model.spec
        order = keys if spec is None or not spec.order else spec.order
        known = model.fixed
        names = tuple(name for name in order if name in values and name not in known)
        places = model.bounds.layout.elements()
        ends = [
            (model.bounds[name].lower, model.bounds[name].upper)
            if name in model.bounds
            else (-np.inf, np.inf)
            for name in names
        ]
        return cls(
            model=model,
            names=names,
            starts=np.array([values[name] for name in names]),
            bounds=np.array(ends, float).reshape(-1, 2),
            _places=np.array([int(places[name]) for name in names], int),
            _all=np.concatenate(
                [np.ravel(np.asarray(value, float)) for value in model.state.values()]
            ),
        )

    def value(self, x: Float[Array, " n"]) -> Float[Array, ""]:
        """Return -ln L."""
        return _value(self, jnp.asarray(x, float))

    def gradient(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """Return the first derivatives of -ln L."""
        return _value_and_gradient(self, jnp.asarray(x, float))[1]

    def value_and_gradient(
        self, x: Float[Array, " n"]
    ) -> tuple[Float[Array, ""], Float[Array, " n"]]:
        """Return -ln L with its first derivatives."""
        return _value_and_gradient(self, jnp.asarray(x, float))

    def hessian(self, x: Float[Array, " n"]) -> Float[Array, "n n"]:
        """Return the second derivatives of -ln L."""
        return _hessian(self, jnp.asarray(x, float))


def _scalars(model: NsbiModel) -> dict[object, float]:
    return {key: float(v) for key, v in model.state.items() if np.shape(v) == ()}


def _whole(vector: VectorLikelihood, x: Array) -> Array:
    return jnp.asarray(vector._all).at[vector._places].set(x)


@eqx.filter_jit
def _value(vector: VectorLikelihood, x: Array) -> Array:
    flat = vector.model.flat
    assert flat is not None
    return flat.nll(_whole(vector, x), vector.model.observation)


@eqx.filter_jit
def _value_and_gradient(vector: VectorLikelihood, x: Array) -> tuple[Array, Array]:
    return jax.value_and_grad(lambda at: _value(vector, at))(x)


@eqx.filter_jit
def _hessian(vector: VectorLikelihood, x: Array) -> Array:
    flat = vector.model.flat
    assert flat is not None
    evaluation = flat.evaluation(_whole(vector, x), vector.model.observation)
    places = vector._places
    return evaluation.curvature.as_matrix()[places[:, None], places[None, :]]
