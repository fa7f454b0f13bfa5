r"""Weights that project out one component of a mixture of events (sWeights).

Densities of a *discriminating* variable m, in which the components differ, give each
event one weight for each component. In a *control* variable t that is independent of m
within each component, events with the weights of a component are distributed as that
component.
"""

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import (
    ArgumentValueError,
    NotPositiveDefiniteError,
    ShapeMismatchError,
)
from everwillow._numerics import is_traced, namespace
from everwillow._typing import ArrayLike


# Smallest eigenvalue of the correlations between components that can be told apart.
SINGULAR = 1e-12


def sweights(
    densities: Float[ArrayLike, "components events"],
    yields: Float[ArrayLike, " components"],
    event_weights: Float[ArrayLike, " events"] | None = None,
) -> Float[Array, "components events"]:
    r"""Return the sWeights of events, from their densities and the fitted yields.

    With the intensity :math:`f_i = \sum_k N_k p_k(m_i)` at event i and its multiplicity
    :math:`u_i`, which is 1 for data,

    .. math:: s_k(m_i) = \sum_l V_{kl} \frac{p_l(m_i)}{f_i}, \qquad
              (V^{-1})_{kl} = \sum_i u_i \frac{p_k(m_i)\, p_l(m_i)}{f_i^2} .

    V is the covariance of the yields in an extended maximum likelihood fit with all
    shapes fixed. For all `yields`, :math:`\sum_i u_i s_k = N_k` and
    :math:`\sum_i u_i s_k s_l = V_{kl}`; for the yields at the maximum of that
    likelihood also :math:`\sum_k s_k = 1` for each event.

    If shapes are fitted, too, evaluate the densities at their fitted values. V is not
    the part of the full covariance that belongs to the yields: with that matrix, which
    is larger, the identities do not hold. The errors of the shapes belong to the
    covariance of what is computed with the weights: see
    `everwillow.uncertainty.propagate_data`.

    The result is an array of NumPy outside of JAX transformations.

    Args:
        densities: :math:`p_k(m_i)`, normalised over the range of m. Their unit has no
            effect.
        yields: The fitted :math:`N_k`; one of them may be zero or negative.
        event_weights: The multiplicities :math:`u_i`; events of multiplicity 0 have
            the sWeight 0, whatever their densities. The result does not contain
            :math:`u_i`: in a weighted fit event i counts :math:`u_i s_k(m_i)` times.

    Returns:
        One row for each component. Inside of JAX transformations all are NaN in the
        cases in which an error is raised outside.

    Raises:
        ArgumentValueError: If the intensity at an event is not positive.
        NotPositiveDefiniteError: If the events do not distinguish the components.
        ShapeMismatchError: If the shapes do not fit.

    Example:
        Two components in two bins, with 8 and 4 events:

        >>> m = np.repeat([0, 1], [8, 4])
        >>> densities = np.array([[0.75, 0.25], [0.25, 0.75]])[:, m]
        >>> signal, background = sweights(densities, [10.0, 2.0])
        >>> print(signal[[0, -1]], f"{signal.sum():.6f}")
        [ 1.5 -0.5] 10.000000

    References:
        M. Pivk and F. Le Diberder, Nucl. Instrum. Meth. A 555 (2005) 356,
        physics/0402083, eqs. (10) and (11).
    """
    xp = namespace(densities, yields, event_weights)
    p: Any = xp.asarray(densities, float)
    numbers: Any = xp.asarray(yields, float)
    if p.ndim != 2 or numbers.shape != p.shape[:1]:
        raise ShapeMismatchError(
            "densities, yields: expected the shapes (components, events) and "
            f"(components,), got {p.shape} and {numbers.shape}. Stack the densities "
            "of the components: jnp.stack([signal(m), background(m)])."
        )
    events = p.shape[1:]
    counts: Any = xp.ones(events) if event_weights is None else event_weights
    counts = xp.asarray(counts, float)
    if counts.shape != events:
        raise ShapeMismatchError(
            f"event_weights: expected one for each of the {events[0]} events, got the "
            f"shape {counts.shape}."
        )
    shares = _over(p, numbers @ p, counts != 0, "yields @ densities")
    return _solved((shares * counts[None, :]) @ shares.T, shares)


def orthogonal_weights(
    densities: Float[ArrayLike, "components events"],
    matrix: Float[ArrayLike, "components components"],
    denominator: Float[ArrayLike, " events"],
) -> Float[Array, "components events"]:
    r"""Return custom orthogonal weight functions at events, of which sWeights are one.

    .. math:: w_k(m_i) = \sum_l (W^{-1})_{kl} \frac{p_l(m_i)}{I(m_i)}, \qquad
              W_{kl} = \int \frac{p_k(m)\, p_l(m)}{I(m)}\, \mathrm{d}m ,

    so that :math:`\int w_k p_l\, \mathrm{d}m` is 1 for k = l, and 0 otherwise. Any
    positive I is allowed. With the intensity of the fit,
    :math:`I = \sum_k N_k p_k`, and the inverse covariance of the yields of a fit with
    fixed shapes as W, they are sWeights; for other efficiencies or unknown backgrounds
    other choices are better (section III of the reference).

    The result is an array of NumPy outside of JAX transformations.

    Args:
        densities: :math:`p_k(m_i)`.
        matrix: W, symmetric and positive definite: the integral by quadrature, a sum
            over events, or the inverse of the covariance of the yields.
        denominator: :math:`I(m_i)`, in units that belong to those of W.

    Returns:
        As `sweights`.

    Raises:
        ArgumentValueError: If `denominator` is not positive at an event.
        NotPositiveDefiniteError: If `matrix` is singular.
        ShapeMismatchError: If the shapes do not fit.

    Example:
        >>> densities = np.array([[0.75, 0.25], [0.25, 0.75]])
        >>> matrix = densities @ densities.T  # I = 1, on bins of width 1
        >>> weights = orthogonal_weights(densities, matrix, np.ones(2))
        >>> print((weights @ densities.T).round(6))
        [[1. 0.]
         [0. 1.]]

    References:
        H. Dembinski, M. Kenzie, C. Langenbruch and M. Schmelling, Nucl. Instrum. Meth.
        A 1040 (2022) 167270, arXiv:2112.04574, section III.
    """
    xp = namespace(densities, matrix, denominator)
    p: Any = xp.asarray(densities, float)
    w: Any = xp.asarray(matrix, float)
    below: Any = xp.asarray(denominator, float)
    size = p.shape[0] if p.ndim == 2 else 0
    if w.shape != (size, size) or below.shape != p.shape[1:]:
        raise ShapeMismatchError(
            "densities, matrix, denominator: expected the shapes (components, events), "
            "(components, components) and (events,), got "
            f"{p.shape}, {w.shape} and {below.shape}."
        )
    return _solved(w, _over(p, below, xp.ones(below.shape, bool), "denominator"))


def _over(densities: Any, denominator: Any, enters: Any, name: str) -> Any:
    """Return densities over the denominator, 0 for events that do not enter."""
    xp = namespace(densities, denominator, enters)
    good = (denominator > 0) & xp.all(xp.isfinite(densities), axis=0)
    good = good & xp.isfinite(denominator)
    bad = enters & ~good
    if not is_traced(bad) and bad.any():
        (places,) = np.nonzero(bad)
        at = f"event {places[0]}, where it is {denominator[places[0]]:.6g}"
        raise ArgumentValueError(
            f"densities: {name} has to be positive and finite, and is not at "
            f"{len(places)} of {bad.size} events, the first of which is {at}. Leave "
            "out events outside of the range of the fit."
        )
    usable = (enters & good)[None, :]
    safe = xp.where(usable, denominator[None, :], 1.0)
    return xp.where(bad[None, :], xp.nan, xp.where(usable, densities, 0.0) / safe)


def _solved(matrix: Any, shares: Any) -> Any:
    """Return ``inverse(matrix) @ shares``, independent of the scales of components."""
    xp = namespace(matrix, shares)
    diagonal = xp.diagonal(matrix)
    positive = diagonal > 0
    scale = xp.where(positive, 1 / xp.sqrt(xp.where(positive, diagonal, 1.0)), 0.0)
    scaled = matrix * scale[:, None] * scale[None, :]
    regular = _is_regular(scaled)
    if not is_traced(regular) and not regular:
        raise NotPositiveDefiniteError(
            "densities: the events do not distinguish the components, as two of their "
            "densities are proportional, or one of them vanishes at all events. The "
            f"matrix of their products is {np.array_str(np.asarray(matrix))}."
        )
    safe = xp.where(regular, scaled, xp.eye(len(scale)))
    found = scale[:, None] * xp.linalg.solve(safe, scale[:, None] * shares)
    return xp.where(regular, found, xp.nan)


def _is_regular(scaled: Any) -> Any:
    """Return whether a matrix with unit diagonal is positive definite, and finite."""
    xp = namespace(scaled)
    finite = xp.all(xp.isfinite(scaled))
    safe = xp.where(finite, scaled, 0.0)
    return finite & (xp.linalg.eigvalsh(0.5 * (safe + safe.T))[0] > SINGULAR)


__all__ = ["orthogonal_weights", "sweights"]
