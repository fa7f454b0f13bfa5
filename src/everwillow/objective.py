"""Objectives: any callable, and those with a second-order evaluation of their own."""

from collections.abc import Callable
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from everwillow._derivatives import EXACT, hessian_product, second_order
from everwillow._lazy_names import own_names
from everwillow._numerics import all_finite, value_gradient_hessian
from everwillow.curvature import AbstractCurvature, Arrow, Dense, Operator


class Evaluation(eqx.Module):
    """An objective at one point, to second order.

    Attributes:
        value: The negative log-likelihood.
        gradient: Its first derivatives in the ravelled parameters, shape ``(n,)``.
        curvature: Its exact second derivatives.
        gauss_newton: A positive semi-definite stand-in for the curvature, used where
            the exact one is indefinite; None if the objective has none.
        residuals: Residuals r of an objective ``½ Σ r²``, shape ``(m,)``; None
            otherwise.
        jacobian: Their first derivatives, shape ``(m, n)``; None without residuals.
        derivatives: The source of the curvature: ``"exact"``, or ``"finite
            differences"`` of gradients where JAX refuses to differentiate twice.
    """

    value: Float[Array, ""]
    gradient: Float[Array, " n"]
    curvature: AbstractCurvature
    gauss_newton: AbstractCurvature | None = None
    residuals: Float[Array, " m"] | None = None
    jacobian: Float[Array, "m n"] | None = None
    derivatives: str = eqx.field(static=True, default=EXACT)

    @property
    def finite(self) -> Bool[Array, ""]:
        """Whether all entries are finite, with one pass over each matrix."""
        nothing = self.gradient * 0
        matrices = (self.curvature, self.gauss_newton)
        products = [matrix.matvec(nothing) for matrix in matrices if matrix is not None]
        return all_finite(self.value, self.gradient, products)


class Objective(Protocol):
    """A function that `fit` minimises: ``objective(params, observation)`` is -ln L.

    Any callable that returns a scalar is one. An objective with structured second
    derivatives may also offer ``curvature(params, observation)`` returning an
    `Evaluation` whose vectors follow the order of
    ``jax.flatten_util.ravel_pytree(params)``, and ``flat``, an object with methods
    ``nll(vector, observation)`` and ``evaluation(vector, observation)`` in such
    vectors; an attribute that is None means "not offered".
    """

    def __call__(self, params: Any, observation: Any) -> Float[Array, ""]:
        """Return -ln L."""
        ...


def curvature_hook(objective: Any) -> Callable[[Any, Any], Evaluation] | None:
    """Return the objective's own second-order evaluation, or None."""
    return getattr(objective, "curvature", None)


def flat_hook(objective: Any) -> Any | None:
    """Return the objective's own form as a function of vectors, or None."""
    return getattr(objective, "flat", None)


def _as_evaluation(result: Any) -> Evaluation:
    """Accept ``(value, gradient, curvature)`` from a hook in place of a record."""
    return result if isinstance(result, Evaluation) else Evaluation(*result)


def evaluate(
    objective: Any,
    params: Any,
    observation: Any,
    ends: tuple[Any, Any] = (-jnp.inf, jnp.inf),
) -> Evaluation:
    """Evaluate an objective to second order, by its hook or by differentiating it.

    Args:
        objective: The objective.
        params: Its first argument.
        observation: Its second argument.
        ends: The ends of the ranges of the ravelled parameters, which finite
            differences respect.

    Raises:
        DerivativeError: If JAX has not even a gradient.
    """
    hook = curvature_hook(objective)
    if hook is not None:
        return _as_evaluation(hook(params, observation))
    x, unravel = ravel_pytree(params)
    value, gradient, hessian, kind = second_order(
        lambda v: objective(unravel(v), observation), x, *ends
    )
    return Evaluation(value, gradient, Dense(hessian), derivatives=kind)


def evaluate_matrix_free(objective: Any, params: Any, observation: Any) -> Evaluation:
    """Evaluate an objective with its gradient, and its Hessian as an `Operator`."""
    hook = curvature_hook(objective)
    if hook is not None:
        return _as_evaluation(hook(params, observation))
    x, unravel = ravel_pytree(params)
    value, gradient, multiply, kind = hessian_product(
        lambda v: objective(unravel(v), observation), x
    )
    product = Operator(multiply, jnp.ones_like(x))
    return Evaluation(value, gradient, product, derivatives=kind)


class LeastSquares(eqx.Module):
    """The objective ``½ Σ r²`` of residuals r, with its Gauss-Newton curvature.

    With residuals ``(y - model) / sigma`` this is -ln L of Gaussian measurements up to
    a constant, and the inverse Hessian is the covariance of the parameters. With
    ``sigma = 1`` multiply the covariance by the residual variance. Tables of regression
    (NIST, SciPy) quote the errors of the Gauss-Newton matrix, which leaves the
    curvature of the model out: ``uncertainties(..., kind="fisher")`` gives those.

    Attributes:
        residual_fn: ``residual_fn(params, observation)`` returns an array (or a pytree
            of arrays) of residuals.

    Example:
        >>> import everwillow as ew
        >>> line = ew.LeastSquares(lambda p, y: p["a"] + p["b"] * jnp.arange(3.0) - y)
        >>> state = ew.State.from_pytree({"a": 0.0, "b": 0.0})
        >>> result = ew.fit(line, state, jnp.array([1.0, 3.0, 5.0]))
        >>> print(f"{result.params['a']:.3f} {result.params['b']:.3f}")
        1.000 2.000
    """

    residual_fn: Callable[[Any, Any], Any]

    def __call__(self, params: Any, observation: Any) -> Float[Array, ""]:
        """Return ``½ Σ r²``."""
        residuals, _ = ravel_pytree(self.residual_fn(params, observation))
        return 0.5 * jnp.sum(residuals**2)

    def curvature(self, params: Any, observation: Any) -> Evaluation:
        """Evaluate with the exact Hessian and its Gauss-Newton part ``JᵀJ``."""
        x, unravel = ravel_pytree(params)

        def residuals(vector):
            return ravel_pytree(self.residual_fn(unravel(vector), observation))[0]

        r, jvp_fn = jax.linearize(residuals, x)
        jacobian = jax.vmap(jvp_fn)(jnp.eye(x.shape[0], dtype=x.dtype)).T
        # With r constant this is the part of the Hessian without Gauss-Newton.
        _, _, bend = value_gradient_hessian(lambda v: jnp.vdot(r, residuals(v)), x)
        gauss_newton = jacobian.T @ jacobian
        return Evaluation(
            0.5 * jnp.sum(r**2),
            jacobian.T @ r,
            Dense(gauss_newton + bend),
            Dense(gauss_newton),
            r,
            jacobian,
        )


# The curvatures that a hook returns are exported here as well.
__dir__ = own_names(globals())

__all__ = [
    "Arrow",
    "Dense",
    "Evaluation",
    "LeastSquares",
    "Objective",
    "Operator",
    "curvature_hook",
    "evaluate",
    "evaluate_matrix_free",
    "flat_hook",
]
