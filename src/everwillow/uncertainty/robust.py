"""Covariances for weighted events and for misspecified likelihoods."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import ArgumentTypeError, NonFiniteError, ShapeMismatchError
from everwillow._numerics import namespace
from everwillow._typing import Key, Nll
from everwillow.engine.core import Task
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.model import AbstractModel
from everwillow.statelib.state import Parameters
from everwillow.uncertainty.evaluation_point import evaluate_at, output
from everwillow.uncertainty.fisher_information import (
    LikelihoodAtPoint,
    likelihood_at,
    observed,
    second_derivatives,
)
from everwillow.uncertainty.inversion import checked_inverse


# Most bytes that derivatives of all events in some directions may take at a time.
SCORE_BYTES = 16 * 2**20


def sandwich(
    nll_fn: Nll | AbstractModel,
    params: Parameters | FitResult,
    observation: Any = None,
    *,
    nll_terms: Callable[[Any, Any], Float[Array, " events"]],
    constraint_nll: Nll | None = None,
    fixed: Mapping[Key, Any] | None = None,
    throw: bool = True,
) -> Float[Array, "free free"]:
    r"""Return the covariance of parameters from a weighted or misspecified likelihood.

    The inverse of the Hessian H is the covariance only if -ln L is that of the true
    distribution and counts each event once. Two common exceptions, in which the
    estimate is still consistent, are events with weights,
    :math:`\sum_e -w_e \ln f(x_e)`, and a likelihood of the wrong shape. The covariance
    then is

    .. math:: C = H^{-1} \Bigl(\sum_e g_e g_e^\mathsf T + K\Bigr) H^{-1}, \qquad
              g_e = \nabla t_e,

    with the contributions :math:`t_e = -w_e \ln f(x_e)` of single events, so that
    weights enter squared, and the information K of the constraints. It holds for large
    samples and for weights without uncertainty. For a true likelihood of unweighted
    events it is :math:`H^{-1}` up to fluctuations.

    The matrix of events by parameters is never in memory: the sum takes one pass over
    the events for each parameter, with the memory of one gradient of the likelihood.

    Args:
        nll_fn: The -ln L that was minimised, weights included, or a Model.
        params: As in `covariance_matrix`.
        observation: Second argument of `nll_fn` and `nll_terms`.
        nll_terms: ``nll_terms(params, observation)`` returns the contributions of
            single events to `nll_fn`, shape ``(events,)``, weights included. Leave out
            terms that do not depend on single events: the total ν of an extended
            likelihood, whose terms are ``-w ln(ν f(x))``, and constraints.
        constraint_nll: ``constraint_nll(params, observation)``, the part of `nll_fn`
            that comes from auxiliary measurements. It counts as correct, so that K is
            its Hessian. By default the constraints of a Model.
        fixed: As in `covariance_matrix`.
        throw: As in `covariance_matrix`.

    Returns:
        The covariance, shape ``(free, free)``; zero for parameters held at a bound.
        ``propagate(lambda p: p, params, covariance).errors`` has the errors by name.

    Raises:
        ShapeMismatchError: If `nll_terms` returns a single number.
        NotPositiveDefiniteError: As `covariance_matrix`.
        NonFiniteError: If a derivative of a contribution is not finite.

    Example:
        Events of width 2, described as if they had width 1: the mean is right, and its
        error is :math:`2 / \sqrt{10^4}`.

        >>> import everwillow as ew
        >>> from everwillow.uncertainty import covariance_matrix
        >>> x = 2 * np.random.default_rng(1).normal(size=10_000)
        >>> terms = lambda p, x: 0.5 * (x - p["mu"]) ** 2
        >>> nll = lambda p, x: jnp.sum(terms(p, x))
        >>> best = ew.fit(nll, ew.State.from_pytree({"mu": 0.0}), x)
        >>> print(f"{covariance_matrix(nll, best, x)[0, 0] ** 0.5:.4f}")
        0.0100
        >>> print(f"{sandwich(nll, best, x, nll_terms=terms)[0, 0] ** 0.5:.3f}")
        0.020

    References:
        H. White, Econometrica 50 (1982) 1, for misspecified likelihoods.
        C. Langenbruch, Eur. Phys. J. C 82 (2022) 393, arXiv:1911.01303, for weights.
    """
    for name, given in (("nll_terms", nll_terms), ("constraint_nll", constraint_nll)):
        if not callable(given) and not (name == "constraint_nll" and given is None):
            raise ArgumentTypeError(
                f"{name}: expected a function (params, observation), got "
                f"{type(given).__name__}."
            )
    likelihood = likelihood_at(nll_fn, params, observation, fixed)
    point = likelihood.point
    inverse = checked_inverse(observed(likelihood), point, throw=throw)
    if point.free.size == 0:
        return inverse
    inner = evaluate_at(_score_products, nll_terms, point, likelihood.observation)[0]
    if constraint_nll is None and isinstance(nll_fn, AbstractModel):
        constraint_nll = _Constraints(nll_fn) if nll_fn.constraints else None
    if constraint_nll is not None:
        inner = inner + second_derivatives(constraint_nll, likelihood)
    return _product(inverse, inner, likelihood, throw=throw)


def _product(
    inverse: Any, inner: Any, likelihood: LikelihoodAtPoint, *, throw: bool
) -> Any:
    """Return ``inverse @ inner @ inverse``, zero for held parameters."""
    xp = namespace(inverse, inner)
    held = likelihood.point.held
    free = ~held[:, None] & ~held[None, :]
    # Derivatives in a parameter at its bound may be infinite.
    inner = xp.where(free, inner, 0)
    if throw and xp is np and not np.isfinite(inner).all():
        rows = ~np.isfinite(inner).all(axis=1)
        names = [n for n, bad in zip(likelihood.point.labels, rows, strict=True) if bad]
        raise NonFiniteError(
            "nll_terms: the derivatives of the contributions are not finite in "
            f"{', '.join(names)}. With throw=False the covariance is NaN instead."
        )
    # The covariance is all NaN if one derivative is not finite.
    inner = xp.where(xp.isfinite(inner).all(), inner, xp.nan)
    covariance = inverse @ inner @ inverse
    return 0.5 * (covariance + covariance.T)


class _Constraints(NamedTuple):
    """The constraints of a model, with the signature of a likelihood."""

    model: AbstractModel

    def __call__(self, params: Any, observation: Any) -> Any:
        return self.model.constraint_nll(params, observation["aux"])


def _score_products(task: Task, numbers: Numbers) -> Array:
    """Return the sum over events of the outer products of their gradients.

    With J the derivatives of the events' terms this is ``JᵀJ``, column by column: J
    times a unit vector by forward differentiation, Jᵀ times that backward.
    """
    x = task.start(numbers)

    def terms(x: Array) -> Array:
        out = jnp.asarray(output(task, numbers, x))
        if out.ndim == 0:
            raise ShapeMismatchError(
                "nll_terms: it returned one number, and has to return one for each "
                "event, shape (events,). Leave out the sum over the events."
            )
        return jnp.ravel(out)

    values, jvp_fn = jax.linearize(terms, x)
    vjp_fn = jax.linear_transpose(jvp_fn, x)

    def column(unit: Array) -> Array:
        return vjp_fn(jvp_fn(unit))[0]

    basis = jnp.eye(x.shape[0], dtype=x.dtype)
    block = max(1, SCORE_BYTES // max(1, values.size * values.dtype.itemsize))
    if block >= x.shape[0]:
        products = jax.vmap(column)(basis)
    else:
        products = jax.lax.map(column, basis, batch_size=block)
    return 0.5 * (products + products.T)
