"""Degenerate parameters, which the data cannot tell apart, from the Hessian."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int

from everwillow._errors import ArgumentValueError, NonFiniteError
from everwillow._html import Part, Shown, Table
from everwillow._numerics import is_traced
from everwillow._rounding import plain
from everwillow._typing import Key, Nll
from everwillow.engine.covariance import covariance_of
from everwillow.engine.layout import Layout
from everwillow.engine.prefit import centers_and_widths, constrained_elements
from everwillow.fitting import FitResult
from everwillow.model import AbstractModel
from everwillow.parameters import AbstractConstraint, MultivariateNormal
from everwillow.statelib.state import Parameters
from everwillow.uncertainty.fisher_information import (
    LikelihoodAtPoint,
    expected,
    likelihood_at,
    second_derivatives,
)


# Data with less information on a parameter than this, in units of the information of
# its constraint, count as data without information.
LEAST_INFORMATION = 1e-8

# Number of members of a direction that are shown.
SHOWN = 6
# Number of rows of a table that are shown.
ROWS = 20


class Degeneracies(Shown, eqx.Module):
    """Directions and pairs of parameters that a likelihood hardly distinguishes.

    Attributes:
        flat: The second derivatives of -ln L along the nearly flat directions, in
            units of one over the squared widths, ascending, shape ``(flat,)``. With
            constraints on all parameters they are at least 1. A negative one means that
            -ln L falls on both sides, so that the point is not a minimum.
        directions: The nearly flat directions, unit vectors in units of the widths,
            shape ``(flat, params)``.
        pairs: Positions of two strongly correlated parameters each, shape
            ``(pairs, 2)``.
        correlations: The correlations of these pairs after the fit, strongest first,
            shape ``(pairs,)``; NaN if the fit has no covariance.
        alike: Positions of two parameters each with similar effects on the data, shape
            ``(alike, 2)``.
        likeness: The cosine of the angle between these two effects, strongest first,
            shape ``(alike,)``; -1 for opposite effects.
        widths: The units of the parameters: widths of the constraints, and for a
            parameter without one its error with all others held, shape ``(params,)``.
        labels: The names of the free parameters.
    """

    flat: Float[np.ndarray, " flat"]
    directions: Float[np.ndarray, "flat params"]
    pairs: Int[np.ndarray, "pairs 2"]
    correlations: Float[np.ndarray, " pairs"]
    alike: Int[np.ndarray, "alike 2"]
    likeness: Float[np.ndarray, " alike"]
    widths: Float[np.ndarray, " params"]
    labels: tuple[str, ...] = eqx.field(static=True)

    @property
    def members(self) -> tuple[dict[str, float], ...]:
        """The weights of the parameters in each flat direction, the largest first.

        Weights below a tenth of the largest are left out. The largest is positive.
        """
        members = []
        for direction in np.asarray(self.directions):
            # Rounded, so that equal weights keep the order of the parameters.
            order = np.argsort(-np.abs(direction).round(9), kind="stable")
            sign = np.sign(direction[order[0]])
            large = [i for i in order if abs(direction[i]) > 0.1 * abs(direction).max()]
            members.append({self.labels[i]: float(sign * direction[i]) for i in large})
        return tuple(members)

    def _parts(self) -> Sequence[Part]:
        if is_traced(self) or np.ndim(self.flat) != 1:
            return [f"Degeneracies({len(self.labels)} parameters)"]
        parts: list[Part] = []
        if len(self.flat):
            rows = [
                (plain(float(bend), 3), _direction(members))
                for bend, members in zip(self.flat, self.members, strict=True)
            ]
            parts += _table(("curvature", "nearly flat direction"), rows)
        for head, pairs, values in (
            ("correlation", self.pairs, self.correlations),
            ("likeness", self.alike, self.likeness),
        ):
            rows = [
                (f"{float(value):+.4f}", *(self.labels[i] for i in pair))
                for pair, value in zip(pairs, values, strict=True)
            ]
            if rows:
                parts += ["", *_table((head, "of", "and"), rows)]
        return parts[parts[:1] == [""] :] or ["No degenerate parameters."]


def degeneracies(
    nll_fn: Nll | AbstractModel,
    params: Parameters | FitResult,
    observation: Any = None,
    *,
    fixed: Mapping[Key, Any] | None = None,
    constraints: Mapping[Key, AbstractConstraint] | None = None,
    curvature: float = 1e-3,
    correlation: float = 0.95,
    likeness: float = 0.99,
) -> Degeneracies:
    r"""Find parameters that the likelihood hardly distinguishes.

    The function searches the Hessian H of -ln L for three patterns. The units D are the
    widths of the parameters before the fit. Away from a minimum, where flat directions
    are curved by the slope, H is the expected Hessian of a Model.

    - *nearly flat directions*: eigenvectors of :math:`D H D` with small eigenvalues,
      along which the fit has no errors or useless ones. Fix or constrain one of the
      members;
    - *pairs with strong correlations* after the fit;
    - *similar pairs*: with the Hessian K of the constraints, the elements of
      :math:`H - K`, normalised to a unit diagonal, are the cosines between the effects
      of two parameters on the data. For a Model this is always the expected H. Two
      nuisance parameters with similar effects are probably the same uncertainty, booked
      twice; as both have constraints, the first two patterns do not show that.

    Args:
        nll_fn: As in `hessian_matrix`.
        params: The point: a State, such as that of a Model before any fit, or a
            FitResult, whose Hessian is used.
        observation: As in `hessian_matrix`.
        fixed: As in `hessian_matrix`.
        constraints: The constraints by key; those of the Model, or of the fit, by
            default.
        curvature: Eigenvalues below this are nearly flat: the error is larger than
            ``1 / sqrt(curvature)`` widths.
        correlation: Correlations of at least this size are reported.
        likeness: Cosines of at least this size are reported.

    Returns:
        `Degeneracies`; printing it shows tables.

    Raises:
        ArgumentValueError: Inside a JAX transformation, as the result has no fixed
            shape.
        NonFiniteError: If the Hessian is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import everwillow as ew
        >>> from everwillow.parameters import Normal
        >>> x = np.linspace(0.0, 1.0, 5)
        >>> def nll(p, y):
        ...     line = p["a"] + p["b"] + p["slope"] * x + p["jes"] * x
        ...     return 50 * jnp.sum((y - line) ** 2)
        >>> model = ew.Model(
        ...     nll,
        ...     {"a": 0.0, "b": 0.0, "slope": 0.0, "jes": 0.0},
        ...     x,
        ...     constraints={"jes": Normal(0.0, 1.0), "slope": Normal(0.0, 1.0)},
        ... )
        >>> degeneracies(model, model.state)
        curvature  nearly flat direction
        0          +0.71 a -0.71 b
        <BLANKLINE>
        likeness  of   and
        +1.0000   a    b
        +1.0000   jes  slope
    """
    likelihood = likelihood_at(nll_fn, params, observation, fixed)
    point = likelihood.point
    if constraints is None:
        owner = params if isinstance(params, FitResult) else nll_fn
        constraints = getattr(owner, "constraints", {})
    assert constraints is not None
    hessian = point.hessian
    if hessian is None:
        hessian = _hessian(likelihood)
    if is_traced(hessian, dict(constraints)):
        raise ArgumentValueError("degeneracies: call it outside of jit, vmap and grad.")
    hessian = np.asarray(hessian, float)
    if not np.isfinite(hessian).all():
        raise NonFiniteError("The Hessian of -ln L is not finite, so it tells nothing.")
    constrained = _constraint_information(constraints, point.layout)
    widths = _widths(hessian, constrained.widths[point.free])
    # Parameters held at a bound are left out.
    moving = ~np.asarray(point.held)
    both = moving[:, None] & moving[None, :]
    scale = widths[:, None] * widths
    eye = np.eye(len(widths))
    scaled = np.where(both, 0.5 * (hessian + hessian.T) * scale, eye)
    values, vectors = np.linalg.eigh(scaled)
    rounding = 10 * len(widths) * np.finfo(float).eps * np.abs(values).max(initial=0)
    low = values < curvature
    prior = constrained.information[np.ix_(point.free, point.free)]
    information = _expected_or(hessian, likelihood)
    of_data = np.where(both, information * scale - prior * scale, 0)
    after = covariance_of(hessian, np.asarray(point.held))
    pairs, correlations = _strong(after, 0.0, correlation)
    alike, cosines = _strong(of_data, LEAST_INFORMATION, likeness)
    return Degeneracies(
        flat=np.where(np.abs(values) < rounding, 0, values)[low],
        directions=vectors.T[low],
        pairs=pairs,
        correlations=correlations,
        alike=alike,
        likeness=cosines,
        widths=widths,
        labels=point.labels,
    )


def _expected_or(hessian: np.ndarray, likelihood: LikelihoodAtPoint) -> np.ndarray:
    """Return the expected Hessian of a Model, or else the given one.

    The expected Hessian is a sum of products of effects on the data, so that its
    normalised elements are cosines. In the observed one every residual adds its second
    derivatives, which are not such products.
    """
    is_model = isinstance(likelihood.objective, AbstractModel)
    if not is_model or likelihood.point.result is None:
        return hessian
    try:
        matrix = np.asarray(expected(likelihood), float)
    except ArgumentValueError:
        return hessian
    return 0.5 * (matrix + matrix.T) if np.isfinite(matrix).all() else hessian


def _hessian(likelihood: LikelihoodAtPoint) -> Any:
    """Return the Hessian: after a fit the observed one, else that of Asimov data."""
    is_model = isinstance(likelihood.objective, AbstractModel)
    if is_model and likelihood.point.result is None:
        try:
            return expected(likelihood)
        except ArgumentValueError:
            # The model does not define its expectation.
            pass
    return second_derivatives(likelihood.objective, likelihood)


class _ConstraintInformation(NamedTuple):
    """The information of the constraints on all elements of the parameters.

    Attributes:
        widths: The widths of the constraints, NaN without one.
        information: The inverse of their covariance, zero without a constraint.
    """

    widths: np.ndarray
    information: np.ndarray


def _constraint_information(
    constraints: Mapping[Key, AbstractConstraint], layout: Layout
) -> _ConstraintInformation:
    _, widths = centers_and_widths(constraints, layout)
    joint = [
        (
            constrained_elements(name, constraint, layout),
            np.linalg.inv(np.asarray(constraint.covariance)),
        )
        for name, constraint in constraints.items()
        if isinstance(constraint, MultivariateNormal)
    ]
    known = np.isfinite(widths)
    information = np.diag(np.where(known, 1 / np.where(known, widths, 1) ** 2, 0))
    for here, matrix in joint:
        information[np.ix_(here, here)] = matrix
    return _ConstraintInformation(widths, information)


def _widths(hessian: np.ndarray, prefit: np.ndarray) -> np.ndarray:
    """Return pre-fit widths; where they are NaN, errors with all others held."""
    own = np.abs(np.diagonal(hessian))
    errors = np.where(own > 0, 1 / np.sqrt(np.where(own > 0, own, 1)), 1.0)
    return np.where(np.isfinite(prefit), prefit, errors)


def _strong(matrix: np.ndarray, least: float, level: float) -> Any:
    """Return pairs whose normalised elements are large, the largest first.

    Args:
        matrix: A symmetric matrix.
        least: Rows whose diagonal is not above this are left out.
        level: The least size of the returned elements.
    """
    diagonal = np.diagonal(matrix)
    good = diagonal > least
    scale = np.where(good, 1 / np.sqrt(np.where(good, diagonal, 1)), 0)
    first, second = np.triu_indices(len(diagonal), 1)
    # Clipped, as rounding may lead beyond 1.
    values = np.clip((scale[:, None] * matrix * scale)[first, second], -1, 1)
    large = np.abs(values) >= level
    order = np.argsort(-np.abs(values[large]), kind="stable")
    return np.stack([first, second], 1)[large][order], values[large][order]


def _direction(members: Mapping[str, float]) -> str:
    names = list(members)
    text = " ".join(f"{members[name]:+.2f} {name}" for name in names[:SHOWN])
    more = len(names) - SHOWN
    return text + (f" and {more} more" if more > 0 else "")


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[Part]:
    more = len(rows) - ROWS
    table = Table([heads, *rows[:ROWS]])
    return [table, f"... and {more} more"] if more > 0 else [table]
