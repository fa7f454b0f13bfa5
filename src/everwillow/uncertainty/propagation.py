"""Propagation of errors through differentiable functions, to first order."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    NonFiniteError,
    ShapeMismatchError,
)
from everwillow._html import html_of
from everwillow._numerics import is_traced, namespace
from everwillow._tree import values_table
from everwillow._typing import ArrayLike, Key
from everwillow.engine import programs
from everwillow.engine.core import Task
from everwillow.engine.layout import float_dtype, on_host
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.statelib.state import Parameters
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

    def _repr_html_(self) -> str:
        """Return a table of the values for notebooks."""
        if is_traced(self) or np.ndim(self.covariance) != 2:
            return html_of([repr(self)])
        return html_of([values_table(self.values, self.errors)])


def propagate(
    fn: Callable[[Any], PyTree],
    params: Parameters | FitResult,
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


def propagate_data(
    estimate: Callable[[Any], PyTree],
    data: Float[ArrayLike, " *shape"],
    variance: Float[ArrayLike, " *shape"] | Float[ArrayLike, "data data"],
    *,
    throw: bool = True,
) -> PropagationResult:
    r"""Propagate the errors of data to what is estimated from them, to first order.

    With the derivatives :math:`J_{ki} = \partial \hat\theta_k / \partial d_i` of the
    estimates by the data and the covariance V of the data, the covariance of the
    estimates is :math:`J V J^\mathsf T`. `estimate` may consist of several steps, among
    them fits, whose derivatives are exact. Examples:

    - counts or weighted histograms: `variance` is the count, or the sum of the squared
      weights, of each bin;
    - events: `data` are their weights :math:`w_i`, 1 for unweighted events, and
      `variance` is :math:`w_i^2`. The covariance is then that of the infinitesimal
      jackknife, :math:`\sum_i w_i^2 J_{ki} J_{li}`. For one fit it is `sandwich`; for
      several fits of the same events, as with sWeights, it contains the errors and
      correlations of all of them, and does so if the number of events fluctuates.

    Fits in `estimate` must have their minimum at the data, and each function of the
    data must contain the events with the weights that are its argument.

    Args:
        estimate: From data to a pytree of arrays. It is traced once for each structure.
        data: The data at which to differentiate.
        variance: Of each datum, in the shape of `data`; or the covariance matrix of
            the ravelled data.
        throw: Whether to raise an error if a derivative is not finite. If False, and
            always inside JAX transformations, the errors are NaN then.

    Returns:
        `PropagationResult`; in NumPy outside of JAX transformations.

    Raises:
        ShapeMismatchError: If `variance` has another shape.
        NonFiniteError: If a value, a derivative or a variance is not finite, as after
            a fit that failed.

    Example:
        The weighted mean of two measurements, 1 ± 1 and 4 ± 2:

        >>> import numpy as np
        >>> mean = lambda x: (x[0] + x[1] / 4) / 1.25
        >>> out = propagate_data(mean, np.array([1.0, 4.0]), np.array([1.0, 4.0]))
        >>> print(f"{out.values:.3f} +- {out.errors:.3f}")
        1.600 +- 0.894

    References:
        B. Efron, The jackknife, the bootstrap and other resampling plans (1982),
        chapter 6. C. Langenbruch, Eur. Phys. J. C 82 (2022) 393, arXiv:1911.01303,
        section 3.2, for sWeights.
    """
    if not callable(estimate):
        raise ArgumentTypeError(
            f"estimate: expected a function of the data, got {type(estimate).__name__}."
        )
    values: Any = namespace(data).asarray(data, float_dtype())
    spread: Any = namespace(variance).asarray(variance, float_dtype())
    if spread.shape not in (values.shape, (values.size, values.size)):
        raise ShapeMismatchError(
            f"variance: its shape is {spread.shape}. Expected one for each datum, "
            f"{values.shape}, or the matrix of the {values.size} ravelled data."
        )
    out = on_host(programs.call(_push_data, _Estimate(estimate), values, spread))
    if throw and not is_traced(out) and not np.isfinite(out.covariance).all():
        raise NonFiniteError(
            "estimate: its derivatives by the data are not finite, or a variance is "
            "not, so there are no errors. Test that each fit in it succeeds. With "
            "throw=False the errors are NaN instead."
        )
    return out


class _Estimate(eqx.Module):
    """A function of data whose outputs are floating-point arrays."""

    fn: Callable[[Any], Any]

    def __call__(self, data: Any) -> Any:
        out = self.fn(data)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, float_dtype()), out)


def _push_data(estimate: _Estimate, data: Array, variance: Array) -> PropagationResult:
    """Return the estimates with their errors; for `programs.call`."""
    values, unravel = ravel_pytree(estimate(data))

    def flat(x: Array) -> Array:
        return ravel_pytree(estimate(x.reshape(data.shape)))[0]

    jacobian = _jacobian(flat, jnp.ravel(data))
    diagonal = variance.shape == data.shape
    half = jacobian * jnp.ravel(variance)[None, :] if diagonal else jacobian @ variance
    spread = half @ jacobian.T
    spread = 0.5 * (spread + spread.T)
    finite = jnp.all(jnp.isfinite(spread)) & jnp.all(jnp.isfinite(values))
    spread = jnp.where(finite, spread, jnp.nan)
    size = jnp.abs(jacobian)
    terms = jnp.sum((jnp.abs(half) if diagonal else size @ jnp.abs(variance)) * size, 1)
    errors = _root(jnp.diagonal(spread), terms, data.size)
    return PropagationResult(unravel(values), unravel(errors), spread)


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
    size = jnp.abs(jacobian)
    terms = jnp.sum((size @ jnp.abs(covariance)) * size, axis=1)
    held = jnp.diagonal(covariance) == 0
    known = jnp.any((size > 0) & ~held[None, :], axis=1)
    lost = jnp.any((size > 0) & held[None, :], axis=1) & ~known
    root = _root(jnp.diagonal(spread), terms, covariance.shape[0])
    return jnp.where(lost, jnp.nan, root)


def _root(variance: Array, terms: Array, number: int) -> Array:
    """Return roots of sums of terms of either sign, NaN where they are negative.

    Args:
        variance: The sums.
        terms: The sums of the absolute terms.
        number: How many of them are added.
    """
    rounding = 10 * number * jnp.finfo(variance.dtype).eps * terms
    positive = variance > rounding
    root = jnp.sqrt(jnp.where(positive, variance, 1))
    # Terms that cancel leave nothing but rounding, of either sign; less than that, or
    # NaN, is no variance.
    cancelled = jnp.where(jnp.abs(variance) <= rounding, 0, jnp.nan)
    return jnp.where(positive, root, cancelled)
