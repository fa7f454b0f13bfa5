"""Parameters that the data cannot tell apart, found from the Hessian and named."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int

from everwillow._errors import ArgumentValueError, NonFiniteError
from everwillow._tree import format_table
from everwillow._typing import Key, Nll
from everwillow.engine.covariance import covariance_of
from everwillow.engine.layout import Layout, is_traced
from everwillow.engine.prefit import centers_and_widths, constrained_elements
from everwillow.fitting import FitResult
from everwillow.model import AbstractModel
from everwillow.parameters import AbstractConstraint, MultivariateNormal
from everwillow.statelib import State
from everwillow.uncertainty.fisher_information import (
    LikelihoodAtPoint,
    expected,
    likelihood_at,
    second_derivatives,
)


# Data that say less than this of a parameter, next to its constraint, say nothing.
KNOWN = 1e-8

# So many members of a direction, and rows of a table, are shown.
SHOWN = 6
ROWS = 20


class Degeneracies(eqx.Module):
    """Directions and pairs of parameters that a likelihood hardly tells apart.

    Attributes:
        flat: The second derivatives of -ln L along the nearly flat directions, in
            units of one over the squared widths, ascending, shape ``(flat,)``. With
            constraints of their own, parameters have at least 1. Below zero -ln L falls
            on both sides: that point is no minimum.
        directions: The directions themselves, unit vectors in units of the widths,
            shape ``(flat, params)``.
        pairs: Numbers of two parameters each, shape ``(pairs, 2)``.
        correlations: Their correlations after the fit, strongest first, ``(pairs,)``;
            NaN if the fit has no covariance.
        alike: Numbers of two parameters each whose effects on the data are alike,
            shape ``(alike, 2)``.
        likeness: How much so, strongest first, ``(alike,)``: the cosine of the angle
            between the two effects, -1 for opposite ones.
        widths: What one unit is: widths of the constraints, and for a parameter without
            one its error with all others held, shape ``(params,)``.
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
        """For each flat direction the weights of its parameters, the largest first.

        Those with less than a tenth of the largest are left out, and signs are such
        that the largest is positive.
        """
        found = []
        for direction in np.asarray(self.directions):
            # Rounding must not decide which of equal weights comes first.
            order = np.argsort(-np.abs(direction).round(9), kind="stable")
            sign = np.sign(direction[order[0]])
            large = [i for i in order if abs(direction[i]) > 0.1 * abs(direction).max()]
            found.append({self.labels[i]: float(sign * direction[i]) for i in large})
        return tuple(found)

    def __repr__(self) -> str:
        """Return tables of the directions and of the pairs."""
        if is_traced(self) or np.ndim(self.flat) != 1:
            return f"Degeneracies({len(self.labels)} parameters)"
        parts = []
        if len(self.flat):
            rows = [
                (f"{float(bend):.3g}", _direction(members))
                for bend, members in zip(self.flat, self.members, strict=True)
            ]
            parts.append(_table(("curvature", "nearly flat direction"), rows))
        for head, pairs, values in (
            ("correlation", self.pairs, self.correlations),
            ("likeness", self.alike, self.likeness),
        ):
            rows = [
                (f"{float(value):+.4f}", *(self.labels[i] for i in pair))
                for pair, value in zip(pairs, values, strict=True)
            ]
            if rows:
                parts.append(_table((head, "of", "and"), rows))
        return "\n\n".join(parts) or "No degenerate parameters."


def degeneracies(
    nll_fn: Nll | AbstractModel,
    params: State | FitResult,
    observation: Any = None,
    *,
    fixed: Mapping[Key, Any] | None = None,
    constraints: Mapping[Key, AbstractConstraint] | None = None,
    curvature: float = 1e-3,
    correlation: float = 0.95,
    likeness: float = 0.99,
) -> Degeneracies:
    r"""Find parameters that the likelihood hardly tells apart.

    Three things are looked for in the Hessian H of -ln L, in units D of the widths that
    parameters have before the fit. Away from a minimum a Model is asked for the one it
    expects, as there the slope would bend flat directions.

    - *nearly flat directions*, eigenvectors of :math:`D H D` with small eigenvalues:
      the fit has no errors, or useless ones. Fix or constrain one of the members;
    - *pairs with strong correlations* after the fit;
    - *pairs that are alike*: with the Hessian K of the constraints taken off, the
      elements of :math:`H - K`, normalised to a unit diagonal, are the cosines between
      the effects of two parameters on the data. For these a Model is always asked for
      the H that it expects. Two nuisance parameters that are alike
      are probably the same uncertainty, booked twice; their constraints hide that from
      the other two.

    Args:
        nll_fn: As in `hessian_matrix`.
        params: Where: a State, such as that of a Model before any fit, or a FitResult,
            which brings its Hessian.
        observation: As in `hessian_matrix`.
        fixed: As in `hessian_matrix`.
        constraints: By key; those of the Model, or of the fit, by default.
        curvature: Eigenvalues below this are nearly flat: an error larger than
            ``1 / sqrt(curvature)`` widths.
        correlation: Correlations of at least this size are reported.
        likeness: Cosines of at least this size are reported.

    Returns:
        `Degeneracies`; printing it shows tables.

    Raises:
        ArgumentValueError: If inside a JAX transformation: it has no fixed shape.
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
        hessian = _evaluated(likelihood)
    if is_traced(hessian, dict(constraints)):
        raise ArgumentValueError("degeneracies: call it outside of jit, vmap and grad.")
    hessian = np.asarray(hessian, float)
    if not np.isfinite(hessian).all():
        raise NonFiniteError("The Hessian of -ln L is not finite, so it tells nothing.")
    known = _prior(constraints, point.layout)
    widths = _widths(hessian, known.widths[point.free])
    # What is held at a bound takes no part.
    live = ~np.asarray(point.held)
    both = live[:, None] & live[None, :]
    scale = widths[:, None] * widths
    eye = np.eye(len(widths))
    scaled = np.where(both, 0.5 * (hessian + hessian.T) * scale, eye)
    values, vectors = np.linalg.eigh(scaled)
    rounding = 10 * len(widths) * np.finfo(float).eps * np.abs(values).max(initial=0)
    low = values < curvature
    prior = known.information[np.ix_(point.free, point.free)]
    effects = _effects(likelihood, hessian)
    own = np.where(both, effects * scale - prior * scale, 0)
    after = covariance_of(hessian, np.asarray(point.held))
    pairs, correlations = _strong(after, 0.0, correlation)
    alike, cosines = _strong(own, KNOWN, likeness)
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


def _effects(likelihood: LikelihoodAtPoint, hessian: np.ndarray) -> np.ndarray:
    """Return the Hessian from which effects on the data are compared.

    The expected one of a Model is a sum of products of effects. In the observed one
    every residual adds its second derivatives, and what is no product has no cosines.
    """
    is_model = isinstance(likelihood.objective, AbstractModel)
    if not is_model or likelihood.point.result is None:
        return hessian
    try:
        found = np.asarray(expected(likelihood), float)
    except ArgumentValueError:
        return hessian
    return 0.5 * (found + found.T) if np.isfinite(found).all() else hessian


def _evaluated(likelihood: LikelihoodAtPoint) -> Any:
    """Return the Hessian: after a fit the observed one, else that of Asimov data."""
    is_model = isinstance(likelihood.objective, AbstractModel)
    if is_model and likelihood.point.result is None:
        try:
            return expected(likelihood)
        except ArgumentValueError:
            # A model need not say what it expects.
            pass
    return second_derivatives(likelihood.objective, likelihood)


class _Prior(NamedTuple):
    """What constraints say of all elements of the parameters.

    Attributes:
        widths: NaN where there is none.
        information: The inverse of their covariance, zero where there is none.
    """

    widths: np.ndarray
    information: np.ndarray


def _prior(constraints: Mapping[Key, AbstractConstraint], layout: Layout) -> _Prior:
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
    return _Prior(widths, information)


def _widths(hessian: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return pre-fit widths, and own errors where there is none."""
    own = np.abs(np.diagonal(hessian))
    free = np.where(own > 0, 1 / np.sqrt(np.where(own > 0, own, 1)), 1.0)
    return np.where(np.isfinite(known), known, free)


def _strong(matrix: np.ndarray, least: float, level: float) -> Any:
    """Return pairs whose normalised elements are large, the largest first.

    Args:
        matrix: Symmetric.
        least: Rows whose diagonal is not above this are left out.
        level: What counts as large.
    """
    diagonal = np.diagonal(matrix)
    good = diagonal > least
    scale = np.where(good, 1 / np.sqrt(np.where(good, diagonal, 1)), 0)
    first, second = np.triu_indices(len(diagonal), 1)
    # Rounding must not lead beyond 1.
    values = np.clip((scale[:, None] * matrix * scale)[first, second], -1, 1)
    large = np.abs(values) >= level
    order = np.argsort(-np.abs(values[large]), kind="stable")
    return np.stack([first, second], 1)[large][order], values[large][order]


def _direction(members: Mapping[str, float]) -> str:
    names = list(members)
    text = " ".join(f"{members[name]:+.2f} {name}" for name in names[:SHOWN])
    more = len(names) - SHOWN
    return text + (f" and {more} more" if more > 0 else "")


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    more = len(rows) - ROWS
    text = format_table([heads, *rows[:ROWS]])
    return text + (f"\n... and {more} more" if more > 0 else "")
