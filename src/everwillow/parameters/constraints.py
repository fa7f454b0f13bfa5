r"""Constraints of parameters by auxiliary measurements.

A constraint is the density of an *auxiliary observation* `aux`, given the value of a
parameter. `nll(value, aux)` is :math:`-\ln p(\mathrm{aux} \mid \mathrm{value})`, its
normalisation included: it integrates to one over `aux`, not over the parameter. The
auxiliary observation is an argument because it is data: it fluctuates in toys and is
replaced in Asimov data sets.

Numbers are array leaves. For a parameter that is an array they are one number for all
elements or one for each; `nll` is the sum over the elements, which are independent.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportIncompatibleVariableOverride=false
# (the signatures of jax and equinox are not fully known to it)

import abc
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.scipy as jsp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Float

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    KeyCollisionError,
    NotPositiveDefiniteError,
    ShapeMismatchError,
)
from everwillow._numerics import namespace
from everwillow._typing import Array, ArrayLike, Key, Scalar
from everwillow.parameters.base import finite_leaf, is_concrete, like, real


_HALF_LOG_TWO_PI = 0.5 * float(np.log(2.0 * np.pi))


class AbstractConstraint(eqx.Module):
    """The density of an auxiliary observation, given the value of a parameter.

    To write a new one, store numbers as array fields, implement `_nll` and `_sample`
    with `jax.numpy`, and provide the three attributes as fields or properties.

    Attributes:
        aux: The nominal auxiliary observation.
        center: The most likely value of the parameter for the nominal `aux`.
        width: The error of the parameter from `aux` alone, for pulls.
    """

    aux: eqx.AbstractVar[ArrayLike]
    center: eqx.AbstractVar[ArrayLike]
    width: eqx.AbstractVar[ArrayLike]

    def nll(self, value: ArrayLike, aux: ArrayLike | None = None) -> Scalar:
        """Return minus the logarithm of the density of `aux`, summed over elements.

        Args:
            value: Value of the parameter.
            aux: The auxiliary observation; one number, or one for each element. The
                nominal one if None.

        Returns:
            A scalar, ``inf`` where `aux` has no probability.

        Raises:
            ShapeMismatchError: If a shape does not fit that of `value`.
        """
        array = real(value)
        aux = self.aux if aux is None else aux
        return jnp.sum(self._nll(array, like(aux, array, "the auxiliary observation")))

    def sample(self, value: ArrayLike, key: Array) -> Float[Array, "..."]:
        """Draw an auxiliary observation for a value of the parameter.

        Args:
            value: Value of the parameter.
            key: PRNG key.

        Returns:
            A floating-point array with the shape of `value`.
        """
        return self._sample(real(value), key)

    @abc.abstractmethod
    def _nll(self, value: Array, aux: Array) -> Array:
        """Return the terms of the sum, each normalised."""

    @abc.abstractmethod
    def _sample(self, value: Array, key: Array) -> Array:
        """Draw with the shape and dtype of `value`."""


class _AbstractNormal(AbstractConstraint):
    """A Gaussian auxiliary measurement, of one parameter or of several."""

    mean: eqx.AbstractVar[ArrayLike]

    @property
    def aux(self) -> ArrayLike:
        """The nominal auxiliary observation, which is `mean`."""
        return self.mean

    @property
    def center(self) -> ArrayLike:
        """The most likely value of the parameter, which is `mean`."""
        return self.mean


class Normal(_AbstractNormal):
    r"""A Gaussian auxiliary measurement, :math:`a \sim N(\theta, \sigma)`.

    .. math:: \mathrm{nll} = \frac12 \left(\frac{a - \theta}{\sigma}\right)^2
        + \ln(\sigma \sqrt{2 \pi})

    Args:
        mean: The nominal auxiliary observation.
        width: Its standard deviation :math:`\sigma`, positive.

    Raises:
        ArgumentValueError: If `mean` is not finite or `width` not positive and finite.

    Example:
        >>> lumi = Normal(mean=1.0, width=0.02)
        >>> print(f"{lumi.nll(1.02, lumi.aux) - lumi.nll(1.0, lumi.aux):.3f}")
        0.500
    """

    mean: ArrayLike
    width: ArrayLike

    def __init__(self, mean: ArrayLike, width: ArrayLike) -> None:
        self.mean = finite_leaf(mean, "Normal: mean")
        self.width = finite_leaf(width, "Normal: width", above=0.0)

    def _nll(self, value: Array, aux: Array) -> Array:
        width = like(self.width, value, "Normal: width")
        pull = (aux - value) / width
        return 0.5 * pull**2 + jnp.log(width) + _HALF_LOG_TWO_PI

    def _sample(self, value: Array, key: Array) -> Array:
        width = like(self.width, value, "Normal: width")
        return value + width * jr.normal(key, value.shape, value.dtype)


class Poisson(AbstractConstraint):
    r"""An auxiliary count, :math:`a \sim \mathrm{Poisson}(\tau \gamma)`.

    .. math:: \mathrm{nll} = \tau \gamma - a \ln(\tau \gamma) + \ln \Gamma(a + 1)

    Counts need not be whole numbers (Asimov data are not). The parameter has its
    boundary at zero, where a count of zero still has a finite value and gradient;
    below it the density is zero.

    Args:
        tau: The expected count :math:`\tau` at :math:`\gamma = 1`, positive: for an
            estimate with relative error :math:`\delta`, :math:`1 / \delta^2`. It is
            also the nominal auxiliary observation.

    Raises:
        ArgumentValueError: If `tau` is not positive and finite.

    Example:
        >>> print(Poisson(tau=400.0).width)
        0.05
    """

    tau: ArrayLike

    def __init__(self, tau: ArrayLike) -> None:
        self.tau = finite_leaf(tau, "Poisson: tau", above=0.0)

    @property
    def aux(self) -> ArrayLike:
        """The nominal auxiliary observation, which is `tau`."""
        return self.tau

    @property
    def center(self) -> ArrayLike:
        """The most likely value of the parameter, which is 1."""
        return np.ones(np.shape(self.tau))[()]

    @property
    def width(self) -> ArrayLike:
        r"""The error of the parameter around 1, :math:`1 / \sqrt{\tau}`."""
        return 1.0 / namespace(self.tau).sqrt(self.tau)

    def _nll(self, value: Array, aux: Array) -> Array:
        rate = like(self.tau, value, "Poisson: tau") * value
        # The difference to the minimum, at a rate equal to the count, plus the minimum:
        # the rounding of large counts would otherwise hide the minimum. The terms with
        # `origin` cancel.
        origin = jax.lax.stop_gradient(jnp.where(aux > 0.0, aux, 1.0))
        least = aux - aux * jnp.log(origin) + jsp.special.gammaln(aux + 1.0)
        terms = (rate - aux - aux * _log_ratio(rate, origin, aux)) + least
        return jnp.where(rate < 0.0, jnp.inf, terms)

    def _sample(self, value: Array, key: Array) -> Array:
        rate = like(self.tau, value, "Poisson: tau") * value
        return jr.poisson(key, rate, value.shape).astype(value.dtype)


class LogNormal(AbstractConstraint):
    r"""An auxiliary measurement with a relative error.

    With :math:`\ln a \sim N(\ln \theta, \ln \kappa)`,

    .. math:: \mathrm{nll} = \frac12
        \left(\frac{\ln a - \ln \theta}{\ln \kappa}\right)^2
        + \ln(a \ln\kappa \sqrt{2 \pi})

    The density is that of the observation :math:`a`, whose median is :math:`\theta`.
    Its Jacobian gives the factor :math:`1/a`; there is no such factor of the parameter.
    The likelihood is therefore largest at :math:`\theta = a`.

    Args:
        center: The nominal auxiliary observation, positive.
        kappa: The factor :math:`\kappa > 1` of one standard deviation: 1.1 where the
            error is "10 %", up by 1.1 and down by 1/1.1.

    Raises:
        ArgumentValueError: If `center` is not positive or `kappa` not greater than 1,
            or one of them is not finite.

    Example:
        >>> scale = LogNormal(center=1.0, kappa=1.1)
        >>> print(f"{scale.nll(1.1, scale.aux) - scale.nll(1.0, scale.aux):.3f}")
        0.500
    """

    center: ArrayLike
    kappa: ArrayLike

    def __init__(self, center: ArrayLike, kappa: ArrayLike) -> None:
        self.center = finite_leaf(center, "LogNormal: center", above=0.0)
        self.kappa = finite_leaf(kappa, "LogNormal: kappa", above=1.0)

    @property
    def aux(self) -> ArrayLike:
        """The nominal auxiliary observation, which is `center`."""
        return self.center

    @property
    def width(self) -> ArrayLike:
        r"""The symmetric error of the parameter, ``center`` times :math:`\ln\kappa`."""
        xp = namespace(self.center, self.kappa)
        return xp.asarray(self.center)[()] * xp.log(self.kappa)

    def _nll(self, value: Array, aux: Array) -> Array:
        log_kappa = jnp.log(like(self.kappa, value, "LogNormal: kappa"))
        log_aux = jnp.log(aux)
        positive = value > 0.0
        pull = (log_aux - jnp.log(jnp.where(positive, value, 1.0))) / log_kappa
        terms = 0.5 * pull**2 + log_aux + jnp.log(log_kappa) + _HALF_LOG_TWO_PI
        return jnp.where(positive, terms, jnp.inf)

    def _sample(self, value: Array, key: Array) -> Array:
        log_kappa = jnp.log(like(self.kappa, value, "LogNormal: kappa"))
        return value * jnp.exp(log_kappa * jr.normal(key, value.shape, value.dtype))


class MultivariateNormal(_AbstractNormal):
    r"""A Gaussian auxiliary measurement of several correlated parameters.

    .. math:: \mathrm{nll} = \frac12 (a - \theta)^T V^{-1} (a - \theta)
        + \frac12 \ln\det V + \frac{n}{2} \ln(2 \pi)

    `value` and `aux` are vectors in the order of `keys`. The factor of :math:`V^{-1}`
    is computed at construction: build a new constraint instead of replacing a field.

    Args:
        keys: Keys of the parameters, all scalars.
        mean: The nominal auxiliary observations, shape ``(n,)``.
        covariance: Their covariance matrix :math:`V`, shape ``(n, n)``.

    Raises:
        ArgumentTypeError: If `keys` is a single string.
        ArgumentValueError: If a number is not finite or `covariance` not symmetric.
        KeyCollisionError: If a key appears twice.
        ShapeMismatchError: If shapes do not agree with the number of keys.
        NotPositiveDefiniteError: If `covariance` is not positive definite; the message
            names the direction.

    Example:
        >>> joint = MultivariateNormal(("a", "b"), [0.0, 0.0], [[1.0, 0.3], [0.3, 1.0]])
        >>> print(joint.width)
        [1. 1.]
    """

    keys: tuple[Key, ...] = eqx.field(static=True)
    mean: ArrayLike
    covariance: ArrayLike
    whitener: ArrayLike
    log_det: ArrayLike

    def __init__(
        self, keys: Sequence[Key], mean: ArrayLike, covariance: ArrayLike
    ) -> None:
        self.keys = _checked_keys(keys)
        self.mean = finite_leaf(mean, "MultivariateNormal: mean")
        matrix = finite_leaf(covariance, "MultivariateNormal: covariance")
        count = len(self.keys)
        for name, leaf, shape in (
            ("mean", self.mean, (count,)),
            ("covariance", matrix, (count, count)),
        ):
            if np.shape(leaf) != shape:
                raise ShapeMismatchError(
                    f"MultivariateNormal: {name} has shape {np.shape(leaf)}, and "
                    f"{count} keys need {shape}."
                )
        if is_concrete(matrix):
            matrix = _checked_covariance(matrix, self.keys)
        self.covariance = matrix
        self.whitener, self.log_det = _whitener_and_log_det(matrix)

    @property
    def width(self) -> ArrayLike:
        """The errors of the parameters, the roots of the diagonal of `covariance`."""
        xp = namespace(self.covariance)
        return xp.sqrt(xp.diagonal(self.covariance))

    def _nll(self, value: Array, aux: Array) -> Array:
        self._check_shape(value)
        whitener = jnp.asarray(self.whitener, value.dtype)
        log_det = jnp.asarray(self.log_det, value.dtype)
        pulls = whitener @ (aux - value)
        constant = len(self.keys) * _HALF_LOG_TWO_PI
        return 0.5 * jnp.sum(pulls**2) + 0.5 * log_det + constant

    def _sample(self, value: Array, key: Array) -> Array:
        self._check_shape(value)
        whitener = jnp.asarray(self.whitener, value.dtype)
        noise = jr.normal(key, value.shape, value.dtype)
        return value + jsp.linalg.solve_triangular(whitener, noise, lower=True)

    def _check_shape(self, value: Array) -> None:
        if value.shape != (len(self.keys),):
            raise ShapeMismatchError(
                f"MultivariateNormal: value has shape {value.shape}; it needs one "
                f"number for each of the {len(self.keys)} keys, in their order."
            )


def same_constraint(a: AbstractConstraint, b: AbstractConstraint) -> bool:
    """Return whether two constraints are identical.

    They are if they have one type and all their numbers are equal, without tolerance.
    Traced numbers are equal only if they are one object.
    """
    if a is b:
        return True
    if type(a) is not type(b) or jtu.tree_structure(a) != jtu.tree_structure(b):
        return False
    return all(
        x is y or (is_concrete(x, y) and np.array_equal(x, y))
        for x, y in zip(jtu.tree_leaves(a), jtu.tree_leaves(b), strict=True)
    )


def _log_ratio(rate: Array, origin: Array, aux: Array) -> Array:
    """Return ``log(rate / origin)`` to its last digit, also where it is near zero."""
    excess = (rate - origin) / origin
    near = jnp.abs(excess) < 0.5
    # 0 ln 0 is 0. Only this point is masked, as derivatives with respect to the count
    # are needed for a count of zero and a positive rate.
    empty = (aux == 0.0) & (rate <= 0.0)
    far = jnp.log(jnp.where(near | empty, 1.0, rate / origin))
    return jnp.where(near, jnp.log1p(jnp.where(near, excess, 0.0)), far)


def _checked_keys(keys: Any) -> tuple[Key, ...]:
    """Return the keys as a tuple, after checking them."""
    if isinstance(keys, str):
        raise ArgumentTypeError(
            f"MultivariateNormal: keys must be a sequence of keys, got {keys!r}; for "
            "one parameter use Normal."
        )
    keys = tuple(keys)
    twice = sorted({str(key) for key in keys if keys.count(key) > 1})
    if twice or not keys:
        problem = f"{', '.join(map(repr, twice))} twice" if twice else "none"
        message = f"MultivariateNormal: each key must appear once, got {problem}."
        error = KeyCollisionError if twice else ArgumentValueError
        raise error(message)
    return keys


def _checked_covariance(covariance: Any, keys: tuple[Key, ...]) -> Any:
    """Return the matrix, exactly symmetric, after checking that it is definite."""
    variances = np.diagonal(covariance)
    if not np.all(variances > 0):
        bad = [repr(key) for key, v in zip(keys, variances, strict=True) if not v > 0]
        raise NotPositiveDefiniteError(
            "MultivariateNormal: the covariance is not positive definite: the variance "
            f"of {', '.join(bad)} is not positive."
        )
    # By the correlation matrix, as parameters may have very different sizes.
    widths = np.sqrt(variances)
    correlation = covariance / widths[:, None] / widths
    asymmetry = np.abs(correlation - correlation.T)
    if np.max(asymmetry) > np.sqrt(np.finfo(float).eps):
        row, column = np.unravel_index(np.argmax(asymmetry), asymmetry.shape)
        raise ArgumentValueError(
            "MultivariateNormal: the covariance must be symmetric, and its elements "
            f"({keys[row]!r}, {keys[column]!r}) are {covariance[row, column]} and "
            f"{covariance[column, row]}."
        )
    correlation = 0.5 * (correlation + correlation.T)
    eigenvalues, eigenvectors = np.linalg.eigh(correlation)
    rounding = len(keys) * np.finfo(float).eps * eigenvalues[-1]
    if eigenvalues[0] <= rounding:
        direction = _named_direction(eigenvectors[:, 0], keys)
        raise NotPositiveDefiniteError(
            "MultivariateNormal: the covariance is not positive definite: its "
            f"correlation matrix has the eigenvalue {eigenvalues[0]:.3g} in the "
            f"direction {direction}. Correlations of 100 % mean one parameter: share "
            "it instead."
        )
    matrix = 0.5 * (covariance + covariance.T)
    matrix.setflags(write=False)
    return matrix


def _named_direction(vector: Any, keys: tuple[Key, ...]) -> str:
    """Return the large components of a direction as text, in descending order."""
    order = np.argsort(-np.abs(vector), kind="stable")[:8]
    vector = vector * np.sign(vector[order[0]])
    large = [i for i in order if abs(vector[i]) > 0.1 * vector[order[0]]]
    return " ".join(f"{vector[i]:+.2f} {keys[i]!r}" for i in large)


def _whitener_and_log_det(covariance: Any) -> tuple[Any, Any]:
    """Return ``W`` with ``W.T @ W`` the inverse of a covariance, and its log-det."""
    xp = namespace(covariance)
    widths = xp.sqrt(xp.diagonal(covariance))
    # By the correlations, so that unequal sizes of parameters cause no rounding errors.
    lower = xp.linalg.cholesky(covariance / widths[:, None] / widths[None, :])
    whitener = xp.tril(xp.linalg.solve(lower, xp.diag(1.0 / widths)))
    log_det = 2.0 * xp.sum(xp.log(xp.diagonal(lower)) + xp.log(widths))
    return whitener, log_det
