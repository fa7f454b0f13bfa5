r"""The likelihood of masses in regions as a function of a vector.

In each region the data are a multinomial: with the sums :math:`P_i` of the templates
that migrate into bin i, -ln L is :math:`-\sum_i n_i \ln P_i + N \ln \sum_i P_i`. The
sums run over all bins of the region, those without data too.

A row is a bin of data. Rows, regions and masses may be padded: padded rows have no
width and no data, padded regions no rows, padded masses no weight.
"""

from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from everwillow._errors import ShapeMismatchError
from everwillow._tree import leaf_shape
from everwillow._typing import Scalar
from everwillow.curvature import Dense
from everwillow.models.scale_smearing.likelihood.migration import (
    Migrated,
    migrate,
    probabilities,
)
from everwillow.models.scale_smearing.likelihood.response import (
    component_bends,
    component_slopes,
    mass_components,
)
from everwillow.objective import Evaluation


@final
class FlatSas(eqx.Module):
    """The likelihood of masses, packed.

    Attributes:
        masses: The centres of the bins of templates.
        templates: Weights, shape ``(regions, masses)``.
        low: The lower edge of each row.
        high: The upper edge of each row.
        region: The region of each row.
        places: The places of the parameters of the leptons of a region in the vector,
            shape ``(regions, leptons, kinds)``.
        exponent: The power of a response in the mass.
        floor: The smallest width.
        size: The length of the vector.
    """

    masses: Float[Array | np.ndarray, " masses"]
    templates: Float[Array | np.ndarray, "regions masses"]
    low: Float[Array | np.ndarray, " rows"]
    high: Float[Array | np.ndarray, " rows"]
    region: Int[Array | np.ndarray, " rows"]
    places: Int[Array | np.ndarray, "regions leptons kinds"]
    exponent: Array | np.ndarray
    floor: Array | np.ndarray
    size: int = eqx.field(static=True)
    matrix_free: ClassVar[bool] = False
    # Sums of the same exponentials give all derivatives.
    cheap_hessian: ClassVar[bool] = True

    @property
    def constrained(self) -> np.ndarray:
        """The places of constrained parameters: there are none."""
        return np.zeros(0, int)

    def nll(self, vector: Array, main: Any) -> Scalar:
        """Return -ln L of the counts of all rows."""
        counts = self._counts(main)
        sums = self.sums(vector)
        total = self._by_region(sums)
        observed = self._by_region(counts)
        return -jnp.sum(_times_log(counts, sums)) + jnp.sum(_times_log(observed, total))

    def evaluation(self, vector: Array, main: Any) -> Evaluation:
        """Return -ln L with its exact derivatives."""
        counts = self._counts(main)
        mixture = self.components(vector)
        value, gradient, hessian = self._mixed(mixture)
        total = self._by_region(value)
        observed = self._by_region(counts)
        nll = -jnp.sum(_times_log(counts, value)) + jnp.sum(_times_log(observed, total))
        safe, sure = positive_or_one(value), positive_or_one(total)
        # Derivatives by the components of each region.
        by_row = counts / safe
        by_region = observed / sure
        slope, bend = self._by_region(gradient), self._by_region(hessian)
        first = by_region[:, None] * slope - self._by_region(by_row[:, None] * gradient)
        outer = gradient[:, :, None] * gradient[:, None]
        slopes = slope[:, :, None] * slope[:, None]
        second = (
            by_region[:, None, None] * bend
            - self._by_region(by_row[:, None, None] * hessian)
            + self._by_region((by_row / safe)[:, None, None] * outer)
            - (by_region / sure)[:, None, None] * slopes
        )
        # The Fisher information, which is positive semidefinite.
        information = by_region[:, None, None] * (
            self._by_region(outer / safe[:, None, None]) - slopes / sure[:, None, None]
        )
        return self._assembled(vector, nll, first, second, information)

    def sums(self, vector: Array) -> Float[Array, " rows"]:
        """Return the sums of the weights that migrate into each row."""
        mixture = self.components(vector)
        weights = jnp.asarray(self.templates)[self.region]

        def part(one: Array) -> Array:
            r, s = (jnp.exp(one[:, k])[self.region] for k in (0, 1))
            moved = probabilities(self.low, self.high, r, s, self.masses)
            return one[:, 2][self.region] * jnp.sum(moved * weights, -1)

        return jnp.sum(jax.vmap(part, 1)(mixture), 0)

    def fractions(self, vector: Array) -> Float[Array, " rows"]:
        """Return the probability of each row in its region."""
        sums = self.sums(vector)
        return sums / positive_or_one(self._by_region(sums))[self.region]

    def saturated(self, main: Any) -> Scalar:
        """Return the smallest -ln L that any probabilities of the rows can have."""
        counts = self._counts(main)
        total = self._by_region(counts)
        return jnp.sum(_times_log(total, total)) - jnp.sum(_times_log(counts, counts))

    def components(self, vector: Array) -> Float[Array, "regions components three"]:
        """Return ln r, ln s and the weight of each component of each region."""
        local = vector[self.places]
        return jax.vmap(lambda one: mass_components(one, self.exponent, self.floor))(
            local
        )

    def _mixed(self, mixture: Array) -> tuple[Array, Array, Array]:
        """Return the sums of each row, with derivatives by the components.

        The variables are the logarithms of r and s of each component and, if there are
        several, the weights.
        """
        weights = jnp.asarray(self.templates)[self.region]
        if mixture.shape[1] == 1:
            return self._migrated(mixture[:, 0], weights)
        parts = jax.vmap(lambda one: self._migrated(one, weights), 1)(mixture)
        share = mixture[self.region][:, :, 2].T
        value = jnp.sum(share * parts.value, 0)
        slopes = jnp.concatenate(
            [share[:, :, None] * parts.gradient, parts.value[:, :, None]], 2
        )
        # Second derivatives are those of one component: its logarithms and its weight.
        mixed = parts.gradient[:, :, :, None]
        corner = jnp.zeros_like(mixed[:, :, :1])
        blocks = jnp.concatenate(
            [
                jnp.concatenate([share[:, :, None, None] * parts.hessian, mixed], 3),
                jnp.concatenate([jnp.swapaxes(mixed, 2, 3), corner], 3),
            ],
            2,
        )
        count, rows, size = slopes.shape
        hessian = jnp.einsum("crij,cd->rcidj", blocks, jnp.eye(count))
        gradient = jnp.moveaxis(slopes, 0, 1).reshape(rows, -1)
        return value, gradient, hessian.reshape(rows, count * size, count * size)

    def _migrated(self, part: Array, weights: Array) -> Migrated:
        r, s = (jnp.exp(part[:, k])[self.region] for k in (0, 1))
        return migrate(self.low, self.high, r, s, self.masses, weights)

    def _by_region(self, rows: Array) -> Array:
        zeros = jnp.zeros((self.places.shape[0], *rows.shape[1:]), rows.dtype)
        return zeros.at[self.region].add(rows)

    def local_derivatives(self, vector: Array, slope: Array) -> tuple[Array, Array]:
        """Return derivatives of the components by the parameters of the leptons.

        Args:
            vector: The parameters.
            slope: Weights of second derivatives, shape ``(regions, variables)``.

        Returns:
            The first derivatives, shape ``(regions, variables, locals)``, and the sum
            of the second derivatives with these weights.
        """
        local = vector[self.places]
        slopes = jax.vmap(lambda one: component_slopes(one, self.exponent, self.floor))(
            local
        )
        count = slopes.shape[1]
        # A single component has no weight.
        used = 2 if count == 1 else 3
        weights = jnp.pad(
            slope.reshape(-1, count, used), ((0, 0), (0, 0), (0, 3 - used))
        )
        bends = jax.vmap(
            lambda one, weight: component_bends(one, self.exponent, self.floor, weight)
        )(local, weights)
        return slopes[:, :, :used].reshape(*slope.shape, -1), bends

    def _assembled(
        self, vector: Array, nll: Array, first: Array, second: Array, positive: Array
    ) -> Evaluation:
        """Apply the chain rule to the parameters, and add up the regions."""
        inner, bend = self.local_derivatives(vector, first)
        gradient = jnp.einsum("ru,rul->rl", first, inner)
        hessian = self.congruent(inner, second) + bend
        places = self.places.reshape(self.places.shape[0], -1)
        return Evaluation(
            nll,
            jnp.zeros_like(vector).at[places].add(gradient),
            Dense(self.scattered(hessian)),
            Dense(self.scattered(self.congruent(inner, positive))),
        )

    def congruent(self, inner: Array, matrix: Array) -> Array:
        """Return the matrix of each region in the parameters of its leptons."""
        return jnp.einsum("rul,ruw,rwm->rlm", inner, matrix, inner)

    def scattered(self, matrices: Array) -> Float[Array, "n n"]:
        """Add the matrices of all regions up."""
        places = self.places.reshape(self.places.shape[0], -1)
        zeros = jnp.zeros((self.size, self.size), matrices.dtype)
        return zeros.at[places[:, :, None], places[:, None]].add(matrices)

    def _counts(self, main: Any) -> Array:
        shape = leaf_shape(main)
        if shape != self.low.shape:
            raise ShapeMismatchError(
                'observation["main"]: expected the counts of all bins of all regions, '
                f"shape {self.low.shape}, got {shape}."
            )
        return jnp.asarray(main, jnp.result_type(float))


def _times_log(factor: Array, value: Array) -> Array:
    """Return factor * ln(value), 0 where the factor is 0."""
    used = factor != 0
    return jnp.where(used, factor * jnp.log(jnp.where(used, value, 1)), 0)


def positive_or_one(value: Array) -> Array:
    """Return a sum of weights, 1 where it is 0 as in padding: for divisions."""
    return jnp.where(value > 0, value, 1)
