r"""The response of a yield to one systematic parameter of a template fit.

With L the logarithm (or the difference) of a template to the nominal one, up and down,
and down with its sign turned,

.. math:: f(\theta) = \theta\,\mathrm{average} + s(\theta)\,\mathrm{half},
    \quad s(\theta) = \theta\, a(\theta),

where ``average`` and ``half`` are mean and half the difference of the two, so that
:math:`f(1) = L_u` and :math:`f(-1) = -L_d` exactly. The smooth sign is
:math:`a = \mathrm{clip}(u (u^2 (3 u^2 - 10) + 15) / 8, -1, 1)` with
:math:`u = 2 \theta`: it has two continuous derivatives.
"""

import abc
from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


# Up to this size the places above the diagonal are stored as a list, which takes 1 MB.
_LISTED = 512

LocalHessian: TypeAlias = Callable[[Array, Array | None], Any]
"""Maps the derivatives of the responses of some bins, shape ``(k, bins, slots)``, and
the numbers of these bins (None for all) to matrices over the k systematics, followed by
the further parameters of the caller.
"""


def smooth_sign(theta: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return a(θ): the sign of θ, rounded off between -1/2 and 1/2.

    Example:
        >>> print(smooth_sign(jnp.array([-2.0, 0.0, 0.25, 0.5])))
        [-1.          0.          0.79296875  1.        ]
    """
    u = jnp.clip(2 * theta, -1, 1)
    return u * (u**2 * (3 * u**2 - 10) + 15) / 8


def smooth_absolute(theta: Float[Array, "..."]) -> tuple[Array, Array, Array]:
    """Return s(θ) = θ a(θ), close to the absolute value, and two derivatives."""
    u = jnp.clip(2 * theta, -1, 1)
    sign = smooth_sign(theta)
    slope = 15 / 8 * (u**2 - 1) ** 2
    curve = 15 / 2 * u * (u**2 - 1)
    return theta * sign, sign + u * slope, 4 * slope + 2 * u * curve


class AbstractResponses(eqx.Module):
    """Responses of rows to systematics, linear in functions of the parameters.

    A row answers with ``average @ theta + half @ s(theta[curved])``, where s is
    `smooth_absolute`.

    Attributes:
        curved_bytes: The numbers of the asymmetric systematics.
    """

    curved_bytes: eqx.AbstractVar[bytes]

    @abc.abstractmethod
    def apply(self, linear: Array, curved: Array) -> Float[Array, "bins slots"]:
        """Return ``average @ linear + half @ curved``."""

    @abc.abstractmethod
    def apply_transposed(self, rows: Float[Array, "bins slots"]) -> tuple[Array, Array]:
        """Return the rows summed with ``average`` and with ``half`` as weights."""

    @abc.abstractmethod
    def squared(self, theta: Array, rows: Array) -> Float[Array, " k"]:
        """Return the squared derivatives of the responses, summed over rows.

        An approximation is enough, as it is only used as a preconditioner.
        """

    @abc.abstractmethod
    def over_blocks(self, theta: Array, local: LocalHessian, extra: int) -> Any:
        """Return matrices that are sums over bins.

        Args:
            theta: The systematics.
            local: Returns the matrices of some bins.
            extra: Number of further parameters.

        Returns:
            The sum of the matrices, over all systematics and the further parameters.
        """

    @property
    def curved(self) -> np.ndarray:
        """The numbers of the asymmetric systematics."""
        return np.frombuffer(self.curved_bytes, np.int32)

    def __call__(self, theta: Float[Array, " k"]) -> Float[Array, "bins slots"]:
        """Return the response of every row."""
        return self.apply(theta, smooth_absolute(theta[self.curved])[0])

    def tangent(self, theta: Array, move: Array) -> Float[Array, "bins slots"]:
        """Return the change of the responses along a move of the parameters."""
        slope = smooth_absolute(theta[self.curved])[1]
        return self.apply(move, slope * move[self.curved])

    def cotangent(self, theta: Array, rows: Array) -> Float[Array, " k"]:
        """Return the transpose of `tangent`."""
        straight, bent = self.apply_transposed(rows)
        slope = smooth_absolute(theta[self.curved])[1]
        return straight.at[self.curved].add(slope * bent)

    def second(self, theta: Array, rows: Array) -> Float[Array, " k"]:
        """Return the second derivatives of the responses, summed over rows.

        Mixed second derivatives of two systematics vanish.
        """
        if not self.curved.size:
            return jnp.zeros_like(theta)
        bent = smooth_absolute(theta[self.curved])[2] * self.apply_transposed(rows)[1]
        return jnp.zeros_like(theta).at[self.curved].add(bent)


def scatter_blocks(
    blocks: Any,
    local: Callable[[Any], Any],
    which: Int[Array, "blocks k"],
    shape: tuple[int, int],
    start: Any = None,
) -> Any:
    """Add matrices of blocks of bins to the rows and columns of their parameters.

    Args:
        blocks: A tree of arrays with the blocks along the first axis.
        local: Returns the matrices of a single block, over its systematics and the
            further parameters.
        which: The systematics of each, padded out of range.
        shape: Number of systematics and of further parameters.
        start: The matrices to add to; None for zero.

    Returns:
        The upper triangles, see `mirrored`.
    """
    size, extra = shape
    total = size + extra
    if start is None:
        first = jax.tree.map(lambda leaf: leaf[0], blocks)
        start = jax.tree.map(
            lambda shape_of: jnp.zeros((total, total), shape_of.dtype),
            jax.eval_shape(local, first),
        )

    def step(matrices, block):
        arrays, systematics = block
        places = jnp.where(systematics < size, systematics, total)
        places = jnp.concatenate(
            [places, size + jnp.arange(extra, dtype=systematics.dtype)]
        )

        def added(matrix, share):
            # Places ascend, so entries above the diagonal stay above it.
            if above is None:
                share = jnp.triu(share)
                return matrix.at[places[:, None], places].add(share, mode="drop")
            row, column = places[above[0]], places[above[1]]
            return matrix.at[row, column].add(share[above], mode="drop")

        return jax.tree.map(added, matrices, local(arrays)), None

    above = None
    if which.shape[1] <= _LISTED:
        above = tuple(
            side.astype(np.int32) for side in np.triu_indices(which.shape[1] + extra)
        )
    return jax.lax.scan(step, start, (blocks, which))[0]


def mirrored(matrices: Any) -> Any:
    """Return symmetric matrices, given their upper triangles."""
    return jax.tree.map(lambda upper: upper + jnp.triu(upper, 1).T, matrices)


__all__ = [
    "AbstractResponses",
    "LocalHessian",
    "mirrored",
    "scatter_blocks",
    "smooth_absolute",
    "smooth_sign",
]
