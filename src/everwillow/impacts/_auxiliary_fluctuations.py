"""Shifts of the estimates for fluctuations of the auxiliary measurements.

A constraint with the expected information I on its parameter shifts the parameter by
``C I δ`` when its own estimate fluctuates by δ, which has the variance 1/I: the impact
is ``C √I``. For a joint Gaussian with the covariance V it is ``C V⁻¹ A``, with ``A Aᵀ
= V``. No other derivative of the likelihood is needed.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow.engine.layout import Layout
from everwillow.engine.prefit import constrained_elements
from everwillow.impacts.best_fit import Fitted
from everwillow.impacts.definitions import inverse_root, root, scattered
from everwillow.model.constraint_terms import expected_aux, summed_nll
from everwillow.parameters import MultivariateNormal


class Auxiliary(NamedTuple):
    """The auxiliary measurements on which a fit depends.

    Attributes:
        layout: The structure of the parameters.
        single: Constraints of one parameter, by key.
        joint: Joint Gaussians, by name.
        elements: Positions of the parameters whose auxiliary measurement moves the fit,
            in State order, shape ``(aux,)``.
    """

    layout: Layout
    single: dict[Any, Any]
    joint: dict[Any, Any]
    elements: np.ndarray

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the parameters that are measured."""
        return tuple(self.layout.labels[i] for i in self.elements)


def auxiliary_of(fit: Fitted) -> Auxiliary:
    """Collect the constraints of the free parameters of a fit.

    Measurements of fixed parameters have no effect and are left out, unless they are
    correlated with others.
    """
    layout, free = fit.layout, np.zeros(fit.layout.size, bool)
    free[fit.free] = True
    single, joint = {}, {}
    measured = np.zeros(layout.size, bool)
    for name, constraint in fit.constraints.items():
        here = constrained_elements(name, constraint, layout)
        if not free[here].any():
            continue
        if isinstance(constraint, MultivariateNormal):
            joint[name] = constraint
            measured[here] = True
        else:
            single[name] = constraint
            measured[here] |= free[here]
    return Auxiliary(layout, single, joint, np.nonzero(measured)[0])


def shifts_of(
    rows: Any, auxiliary: Auxiliary, vector: Any, others: tuple[Any, ...], free: Any
) -> tuple[Float[Array, "rows aux"], Array]:
    """Return the shifts of estimates for a fluctuation up of each measurement.

    Args:
        rows: Rows of the covariance of the free parameters.
        auxiliary: The measurements.
        vector: The values of all parameters.
        others: Entries of the State that are not numeric.
        free: Positions of the free parameters.

    Returns:
        The shifts; the expected information of the constraints of single elements, zero
        for members of joint constraints, shape ``(params,)``.
    """
    layout = auxiliary.layout
    information = _information(auxiliary, jnp.asarray(vector), others)
    rows = scattered(rows, free, layout.size)
    # The root has no derivative at zero, the information without a constraint.
    positive = information > 0
    half = jnp.where(positive, jnp.sqrt(jnp.where(positive, information, 1)), 0)
    shifts = rows * half[None, :]
    for name, constraint in auxiliary.joint.items():
        here = constrained_elements(name, constraint, layout)
        block = inverse_root(jnp.asarray(constraint.covariance))
        shifts = shifts.at[:, here].set(rows[:, here] @ block)
    return shifts[:, auxiliary.elements], information


def _information(auxiliary: Auxiliary, vector: Array, others: Any) -> Array:
    """Return the expected second derivatives of constraints of one parameter."""
    if not auxiliary.single:
        return jnp.zeros_like(vector)
    aux = expected_aux(auxiliary.single, _values(auxiliary, vector, others))

    def nll(v):
        return summed_nll(auxiliary.single, _values(auxiliary, v, others), aux)

    # The Hessian is diagonal, so its product with ones is its diagonal.
    return jax.jvp(jax.grad(nll), (vector,), (jnp.ones_like(vector),))[1]


def fluctuations(
    auxiliary: Auxiliary, vector: Any, others: Any, information: Array
) -> dict[Any, Array]:
    """Return the sizes of one fluctuation of each auxiliary observation.

    Returns:
        For each constraint of one parameter the standard deviations of its
        observations, in the shape of the parameter; for each joint Gaussian a matrix
        with a fluctuation in each column.
    """
    vector = jnp.asarray(vector)

    def expected(v):
        return expected_aux(auxiliary.single, _values(auxiliary, v, others))

    _, slope = jax.jvp(expected, (vector,), (jnp.ones_like(vector),))
    positive = information > 0
    errors = jnp.where(positive, 1 / jnp.sqrt(jnp.where(positive, information, 1)), 0)
    sizes = _values(auxiliary, errors, others)
    out = {name: slope[name] * sizes[name] for name in auxiliary.single}
    joint = auxiliary.joint.items()
    return out | {name: root(jnp.asarray(c.covariance)) for name, c in joint}


def _values(auxiliary: Auxiliary, vector: Array, others: Any) -> dict[Any, Any]:
    return dict(auxiliary.layout.state(vector, others).items())
