"""Propagation of errors through differentiable functions, to first order."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from everwillow._errors import ArgumentTypeError, ArgumentValueError, ShapeMismatchError
from everwillow._numerics import namespace
from everwillow._typing import Key
from everwillow.engine.core import Task
from everwillow.engine.layout import float_dtype
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.statelib import State
from everwillow.uncertainty.evaluation_point import Point, evaluate_at, locate, output
from everwillow.uncertainty.inversion import checked_inverse


# Number of directions whose derivatives are in memory at a time.
DIRECTIONS = 64


class PropagationResult(eqx.Module):
    """Values of a function of the parameters, with their errors.

    Attributes:
        values: The values that the function returned.
        errors: The standard error of each value, in the same structure.
        covariance: The covariance of all values, ravelled.
    """

    values: PyTree
    errors: PyTree
    covariance: Float[Array, "outputs outputs"]


def propagate(
    fn: Callable[[Any], PyTree],
    params: State | FitResult,
    covariance: Float[Array, "free free"] | None = None,
    *,
    fixed: Mapping[Key, Any] | None = None,
    throw: bool = True,
) -> PropagationResult:
    r"""Propagate the errors of parameters to a function of them, to first order.

    With the derivatives :math:`J_{ki} = \partial f_k / \partial \theta_i` the
    covariance of the outputs is :math:`J C J^\mathsf T`. It is exact for a linear
    function; otherwise it lacks terms of the relative order of the second derivative
    times the covariance, and the value is that at the best fit, not a mean. `fn` is
    compiled once; pass numbers that change through the parameters or the leaves of a
    callable pytree.

    A zero variance in `covariance` marks a parameter held at a bound, as in the
    matrices of this package: the errors are those with it held, and the error of a
    value that depends on such parameters only is NaN. To treat a parameter as known,
    fix it.

    Args:
        fn: From the original pytree of parameters to a pytree of arrays, as in
            ``nll_fn(params, observation)``.
        params: A State or a FitResult, at whose values the function is evaluated.
        covariance: The covariance of the free parameters in State order, array leaves
            ravelled. None with a FitResult means the covariance of the fit.
        fixed: Parameters that `covariance` leaves out, as in `fit`. None with a
            FitResult means "as in that fit".
        throw: Whether to raise an error if a FitResult has no covariance. If False, and
            always inside JAX transformations, the errors are NaN then.

    Returns:
        `PropagationResult`; in NumPy outside of JAX transformations.

    Raises:
        ShapeMismatchError: If the shape of `covariance` is not ``(free, free)``.
        ArgumentValueError: If `covariance` is needed and None.
        NotPositiveDefiniteError: If the FitResult has no covariance.

    Example:
        >>> import everwillow as ew
        >>> import jax.numpy as jnp
        >>> import numpy as np
        >>> state = ew.State.from_pytree({"a": 3.0, "b": 4.0})
        >>> distance = lambda p: {"r": jnp.hypot(p["a"], p["b"])}
        >>> out = propagate(distance, state, np.eye(2))
        >>> print(out.values["r"], out.errors["r"])
        5.0 1.0
    """
    if not callable(fn):
        raise ArgumentTypeError(
            f"fn: expected a function of the parameters, got {type(fn).__name__}."
        )
    point = locate(params, fixed)
    if covariance is None:
        covariance = _known_covariance(point, throw=throw)
    covariance = _checked(covariance, point)
    values, errors, spread = evaluate_at(_push, _Output(fn), point, None, covariance)[0]
    return PropagationResult(values, errors, spread)


class _Output(eqx.Module):
    """A function of parameters alone, with the signature of a likelihood."""

    fn: Callable[[Any], Any]

    def __call__(self, params: Any, observation: Any) -> Any:
        del observation
        out = self.fn(params)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, float_dtype()), out)


def _known_covariance(point: Point, *, throw: bool) -> Any:
    if point.hessian is not None:
        return checked_inverse(point.hessian, point, throw=throw)
    reason = (
        "a State has none"
        if point.result is None
        else "this FitResult has none (its solver makes no Hessian)"
        if point.same
        else "that of the fit is for other fixed parameters"
    )
    raise ArgumentValueError(
        f"covariance: needed, as {reason}. Give "
        "covariance_matrix(nll_fn, params, observation, fixed=fixed)."
    )


def _checked(covariance: Any, point: Point) -> Any:
    """Return the covariance as an array of the right shape."""
    xp = namespace(covariance)
    covariance = xp.asarray(covariance, float_dtype())
    size = point.free.size
    if covariance.shape != (size, size):
        shown = ", ".join(point.labels[:10]) + (", ..." if size > 10 else "")
        raise ShapeMismatchError(
            f"covariance: its shape is {covariance.shape}, and there are {size} free "
            f"parameters ({shown}). Name those it leaves out in `fixed`."
        )
    return covariance


def _push(task: Task, numbers: Numbers, covariance: Array) -> tuple[Any, Any, Any]:
    """Return values, errors and covariance of the outputs."""
    values = output(task, numbers, task.start(numbers))
    _, unravel = ravel_pytree(values)
    jacobian = _jacobian(
        lambda x: ravel_pytree(output(task, numbers, x))[0], task.start(numbers)
    )
    spread = jacobian @ covariance @ jacobian.T
    spread = 0.5 * (spread + spread.T)
    return values, unravel(_errors(jacobian, covariance, spread)), spread


def _jacobian(fn: Callable[[Array], Array], x: Array) -> Array:
    """Return the derivatives, shape ``(outputs, inputs)``, from the shorter side."""
    outputs = jax.eval_shape(fn, x).shape[0]
    if outputs < x.shape[0]:
        _, vjp_fn = jax.vjp(fn, x)
        basis = jnp.eye(outputs, dtype=x.dtype)
        return _over(lambda unit: vjp_fn(unit)[0], basis, x.shape[0])
    _, jvp_fn = jax.linearize(fn, x)
    return _over(jvp_fn, jnp.eye(x.shape[0], dtype=x.dtype), outputs).T


def _over(fn: Callable[[Array], Array], basis: Array, width: int) -> Array:
    """Apply a linear function to unit vectors, not too many at a time."""
    if basis.shape[0] == 0:
        return jnp.zeros((0, width), basis.dtype)
    if basis.shape[0] <= DIRECTIONS:
        return jax.vmap(fn)(basis)
    return jax.lax.map(fn, basis, batch_size=DIRECTIONS)


def _errors(jacobian: Array, covariance: Array, spread: Array) -> Array:
    """Return the errors of the outputs, NaN where there is none."""
    variance = jnp.diagonal(spread)
    size = jnp.abs(jacobian)
    terms = jnp.sum((size @ jnp.abs(covariance)) * size, axis=1)
    rounding = 10 * covariance.shape[0] * jnp.finfo(variance.dtype).eps * terms
    held = jnp.diagonal(covariance) == 0
    known = jnp.any((size > 0) & ~held[None, :], axis=1)
    lost = jnp.any((size > 0) & held[None, :], axis=1) & ~known
    positive = variance > rounding
    root = jnp.sqrt(jnp.where(positive, variance, 1))
    # Terms that cancel leave nothing but rounding, of either sign; less than that, or
    # NaN, is no variance.
    cancelled = jnp.where(jnp.abs(variance) <= rounding, 0, jnp.nan)
    return jnp.where(lost, jnp.nan, jnp.where(positive, root, cancelled))
