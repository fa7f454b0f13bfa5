"""External likelihoods: quadratic terms on the physical parameters."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow._typing import Scalar
from everwillow.curvature import AbstractCurvature, Dense, Operator
from everwillow.objective import Evaluation


class External(eqx.Module):
    r"""External likelihoods, :math:`g^T x + \frac12 x^T H x`.

    Attributes:
        place_bytes: The positions of their parameters in the vector.
        gradient: The sum of all g.
        hessian: The sum of all H.
    """

    place_bytes: bytes = eqx.field(static=True)
    gradient: Float[Array | np.ndarray, " n"]
    hessian: Float[Array | np.ndarray, "n n"]

    def __call__(self, vector: Array) -> Scalar:
        """Return the sum of the terms."""
        x = vector[self.place]
        return jnp.vdot(x, self.gradient + 0.5 * (self.hessian @ x))

    def added(self, evaluation: Evaluation, vector: Array) -> Evaluation:
        """Add the terms to an evaluation."""
        where = self.place
        slope = self.gradient + self.hessian @ vector[where]
        own = Dense(jnp.asarray(self.hessian))
        stand_in = evaluation.gauss_newton
        return Evaluation(
            evaluation.value + self(vector),
            evaluation.gradient.at[where].add(slope),
            self._on_top(evaluation.curvature, own),
            None if stand_in is None else self._on_top(stand_in, own),
        )

    def _on_top(self, curvature: AbstractCurvature, own: Dense) -> AbstractCurvature:
        where = self.place
        if isinstance(curvature, Dense):
            add = curvature.matrix.at[where[:, None], where].add
            return Dense(add(own.matrix))
        diagonal = curvature.diagonal().at[where].add(jnp.abs(own.diagonal()))
        entries = getattr(curvature, "entries", None)
        return Operator(
            lambda v: curvature.matvec(v).at[where].add(own.matvec(v[where])),
            diagonal,
            None
            if entries is None
            else lambda: entries().at[where[:, None], where].add(own.matrix),
        )

    @property
    def least(self) -> Scalar:
        """The smallest value, for a model that agrees with all terms."""
        gradient, hessian = jnp.asarray(self.gradient), jnp.asarray(self.hessian)
        back = jnp.linalg.pinv(hessian, hermitian=True) @ gradient
        bounded = jnp.allclose(hessian @ back, gradient)
        return jnp.where(bounded, -0.5 * jnp.vdot(gradient, back), -jnp.inf)

    @property
    def place(self) -> np.ndarray:
        """The positions of the parameters in the vector."""
        return np.frombuffer(self.place_bytes, np.int32)
