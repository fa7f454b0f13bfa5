"""The likelihood of a template fit as a function of vectors."""

import functools as ft
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import ArgumentTypeError, ShapeMismatchError
from everwillow._typing import Scalar
from everwillow.curvature import Dense, Operator
from everwillow.likelihood.barlow_beeston import (
    BinStatistics,
    Profile,
    profiled,
    unprofiled,
)
from everwillow.likelihood.data_terms import AbstractDataTerm
from everwillow.likelihood.templates.arrays import TemplateArrays
from everwillow.likelihood.templates.hessian_matrix import derivatives, hessian
from everwillow.likelihood.templates.lists import ListedResponses
from everwillow.likelihood.templates.products import (
    chain_rule,
    free_products,
    linearised,
    profiled_products,
    steering,
)
from everwillow.models.templates.likelihood.bins import Bins, Links
from everwillow.models.templates.likelihood.blinding import Hidden
from everwillow.models.templates.likelihood.external import External
from everwillow.models.templates.likelihood.regularisation import Penalty, penalised
from everwillow.models.templates.rates.base import AbstractParameterModel, rates_of
from everwillow.objective import Evaluation


class FreeStatistics(eqx.Module):
    """Positions of the auxiliary parameters β of the samples if they are fitted.

    Attributes:
        place_bytes: Their positions in the vector.
        which_bytes: Their positions among all β, flattened; the others do not
            fluctuate.
    """

    place_bytes: bytes = eqx.field(static=True)
    which_bytes: bytes = eqx.field(static=True)

    @property
    def place(self) -> np.ndarray:
        """Their positions in the vector."""
        return np.frombuffer(self.place_bytes, np.int32)

    @property
    def which(self) -> np.ndarray:
        """Their positions among all β."""
        return np.frombuffer(self.which_bytes, np.int32)

    def beta(self, vector: Array, nominal: Array) -> Array:
        """Return all β."""
        flat = nominal.ravel().at[self.which].set(vector[self.place])
        return flat.reshape(nominal.shape)


class Data(NamedTuple):
    """The main data of a template fit.

    Attributes:
        counts: The counts of the fitted bins.
        statistics: Auxiliary data of the simulated samples.
    """

    counts: Float[Array, " bins"]
    statistics: Float[Array, "bins streams"] | None


# More methods than usual: half of them belong to every flat likelihood, the others are
# used for its value, its derivatives and the predictions of the model.
@final
class FlatTemplates(eqx.Module):
    """The main likelihood of a `TemplateModel` as a function of vectors.

    Attributes:
        arrays: The templates of the fitted bins.
        statistics: The variances of their simulated samples.
        term: The likelihood of the data.
        rate_model: The rates that multiply the templates.
        external: External likelihoods of physical values.
        size: The length of the vector.
        rate_bytes: The positions of the parameters of `rate_model` in the vector.
        systematic_bytes: The positions of the systematics.
        constrained_bytes: The positions of the elements of the constraint table.
        hidden: The transformation of physical to reported values; None without
            blinding.
        free: The positions of the auxiliary parameters of the samples in the vector;
            None if they are profiled.
        penalty: The penalty of a regularisation; None without one.
    """

    arrays: TemplateArrays
    statistics: BinStatistics
    term: AbstractDataTerm
    rate_model: AbstractParameterModel
    external: External | None
    size: int = eqx.field(static=True)
    rate_bytes: bytes = eqx.field(static=True)
    systematic_bytes: bytes = eqx.field(static=True)
    constrained_bytes: bytes = eqx.field(static=True)
    hidden: Hidden | None = None
    free: FreeStatistics | None = None
    penalty: Penalty | None = None

    @property
    def constrained(self) -> np.ndarray:
        """The position of each element of the constraint table in the vector."""
        return np.frombuffer(self.constrained_bytes, np.int32)

    @property
    def rate_place(self) -> np.ndarray:
        """The positions of the parameters of the rates."""
        return np.frombuffer(self.rate_bytes, np.int32)

    @property
    def systematic_place(self) -> np.ndarray:
        """The positions of the systematics."""
        return np.frombuffer(self.systematic_bytes, np.int32)

    def rates(self, values: Float[Array, " m"]) -> Float[Array, "processes bins"]:
        """Return the rates that multiply the templates, of all bins."""
        return jnp.asarray(rates_of(self.rate_model, values), values.dtype)

    def physical(self, vector: Float[Array, " n"]) -> Float[Array, " n"]:
        """Return the physical values of the parameters from those reported."""
        return vector if self.hidden is None else self.hidden.physical(vector)

    def yields(self, vector: Array) -> Float[Array, "bins slots"]:
        """Return the yields of the slots at nominal β.

        Args:
            vector: Physical values.
        """
        rates = self._slot_rates(vector[self.rate_place])
        return self.arrays.yields(rates, vector[self.systematic_place])

    def by_process(
        self,
        vector: Array,
        rows: Float[Array, "bins slots"],
        beta: Array,
        masked: Bins | None,
        links: Links | None,
        masked_beta: Array | None = None,
    ) -> Float[Array, "processes bins"]:
        """Return the yields of all processes in all bins.

        Args:
            vector: Physical values.
            rows: The yields of the slots, from `yields`.
            beta: The auxiliary parameters of the samples in the fitted bins.
            masked: The masked bins, if there are any.
            links: The effects of fluctuations in fitted bins on masked ones.
            masked_beta: The auxiliary parameters in masked bins; nominal if None.
        """
        rates = self.rates(vector[self.rate_place])
        theta = vector[self.systematic_place]
        fitted, count = Bins(self.arrays, self.statistics), rates.shape[0]
        moved = fitted.by_process(rows, beta, count)
        if masked is None:
            return moved
        more = masked.statistics.nominal if masked_beta is None else masked_beta
        others = masked.by_process(masked.rows(rates, theta), more, count)
        if links is not None:
            bare = fitted.by_process(rows, fitted.statistics.nominal, count)
            others = links.moved(others, moved, bare)
        return jnp.concatenate([moved, others], 1)

    def at(self, vector: Array, main: Any) -> tuple[Array, Profile]:
        """Return the yields of the slots, and the profile of the fitted bins.

        Args:
            vector: Physical values.
            main: The data.
        """
        data, yields = self.data(main), self.yields(vector)
        args = (self.statistics, self.term, yields, data.counts)
        if self.free is not None:
            return yields, unprofiled(*args, self.beta(vector))
        if data.statistics is None:
            return yields, profiled(*args, None)
        profile = profiled(*args, data.statistics)
        constants = self.statistics.constants(data.statistics)
        return yields, profile._replace(value=profile.value + constants)

    def beta(self, vector: Array) -> Float[Array, "bins streams"]:
        """Return the auxiliary parameters of the samples, nominal if profiled."""
        nominal = self.statistics.nominal
        return nominal if self.free is None else self.free.beta(vector, nominal)

    def nll(self, vector: Array, main: Any) -> Scalar:
        """Return -ln L of the data."""
        vector = self.physical(vector)
        value = self.at(vector, main)[1].value
        if self.external is not None:
            value = value + self.external(vector)
        if self.penalty is None:
            return value
        return value + jnp.sum(self.penalty_roots(vector, main) ** 2)

    def penalty_roots(self, vector: Array, main: Any) -> Float[Array, " m"]:
        """Return numbers whose squares add up to the penalty of the regularisation.

        Args:
            vector: Physical values.
            main: The data.
        """
        penalty = self.penalty
        if penalty is None:
            return jnp.zeros(0, vector.dtype)
        rows, profile = self.at(vector, main)
        beta, masked, links = profile.beta, penalty.masked, penalty.links
        yields = self.by_process(vector, rows, beta, masked, links)
        return penalty.roots(vector, yields)

    @property
    def matrix_free(self) -> bool:
        """Whether only products of second derivatives with vectors are available."""
        listed = isinstance(self.arrays.responses, ListedResponses)
        return self.free is not None or listed

    def evaluation(self, vector: Array, main: Any) -> Evaluation:
        """Return -ln L with its exact derivatives."""
        vector = self.physical(vector)
        out = (self._products if self.matrix_free else self._matrices)(vector, main)
        if self.external is not None:
            out = self.external.added(out, vector)
        if self.penalty is not None:
            roots = ft.partial(self.penalty_roots, main=main)
            out = penalised(out, roots, vector)
        return out if self.hidden is None else self.hidden.reported(out)

    def _matrices(self, vector: Array, main: Any) -> Evaluation:
        place, theta = self.rate_place, vector[self.systematic_place]
        values = vector[place]
        yields, profile = self.at(vector, main)
        rates = self._rate_slopes(values)
        parts = derivatives(self.arrays, self.statistics, profile, yields, rates, theta)
        order = self._order
        return Evaluation(
            profile.value,
            parts.gradient[order],
            Dense(self._ordered(parts.hessian, parts.rate_weights, values)),
            Dense(parts.gauss_newton[order][:, order]),
        )

    def _ordered(
        self, matrix: Float[Array, "n n"], weights: Array, values: Float[Array, " m"]
    ) -> Float[Array, "n n"]:
        """Add the second derivatives of the rates, and sort the parameters."""

        def weighted(values):
            return jnp.vdot(weights, self._slot_rates(values))

        own = slice(self.systematic_place.size, None)
        matrix = matrix.at[own, own].add(jax.hessian(weighted)(values))
        order = self._order
        return matrix[order][:, order]

    def _products(self, vector: Array, main: Any) -> Evaluation:
        place, theta = self.rate_place, vector[self.systematic_place]
        values = vector[place]
        yields, profile = self.at(vector, main)
        rates = linearised(self._slot_rates, values)
        by_rate = self._rate_slopes(values)
        diagonal = steering(self.arrays, profile, yields, by_rate, theta)
        rule = chain_rule(self.arrays, profile.gradient, yields, rates, theta)
        if self.free is None:
            parts = profiled_products(rule, self.statistics, profile)
        else:
            parts = free_products(rule, self.statistics, profile)
            own = profile.beta_slope**2 * jnp.atleast_1d(profile.response)[:, None]
            diagonal = jnp.concatenate([diagonal, own.ravel()])
        source, order = self._source, self._order

        def product(move):
            return parts.product(jnp.append(move, 0)[source])[order]

        def entries():
            given = (self.arrays, self.statistics, profile, yields, by_rate, theta)
            weights = profile.gradient * self.arrays.deformed(theta)
            return self._ordered(hessian(*given), weights, values)

        # The covariance of the data couples bins, so that there are no parts of bins.
        separate = self.free is None and profile.response.ndim == 1
        return Evaluation(
            profile.value,
            parts.gradient[order],
            Operator(product, diagonal[order], entries if separate else None),
        )

    def _slot_rates(self, values: Float[Array, " m"]) -> Float[Array, "bins slots"]:
        return self.arrays.gathered(self.rates(values))

    def _rate_slopes(self, values: Float[Array, " m"]) -> Float[Array, "m bins slots"]:
        jvp_fn = lambda unit: jax.jvp(self._slot_rates, (values,), (unit,))[1]
        return jax.vmap(jvp_fn)(jnp.eye(values.shape[0], dtype=values.dtype))

    @property
    def _source(self) -> np.ndarray:
        """The positions of systematics, parameters of rates and all β in the vector.

        The position of a β that does not fluctuate is out of range.
        """
        places = [self.systematic_place, self.rate_place]
        if self.free is not None:
            every = np.full(self.statistics.spread.size, self.size, np.int32)
            every[self.free.which] = self.free.place
            places.append(every)
        return np.concatenate(places)

    @property
    def _order(self) -> np.ndarray:
        """The index in `_source` of each element of the vector."""
        source = self._source
        order = np.zeros(self.size + 1, np.int32)
        order[source] = np.arange(source.size)
        return order[: self.size]

    def data(self, main: Any) -> Data:
        """Return the parts of the main data, with checked shapes."""
        shapes = {"counts": self.arrays.nominal.shape[:1]}
        if self.statistics.kind is not None and self.free is None:
            shapes["statistics"] = np.shape(self.statistics.spread)
        if not isinstance(main, dict) or set(main) != set(shapes):
            got = sorted(main) if isinstance(main, dict) else type(main).__name__
            raise ArgumentTypeError(
                f'observation["main"]: expected a dictionary with {sorted(shapes)}, '
                f"got {got}. To change the counts only, pass "
                '{**model.observation["main"], "counts": counts} as "main".'
            )
        for key, shape in shapes.items():
            if np.shape(main[key]) != shape:
                raise ShapeMismatchError(
                    f'observation["main"][{key!r}]: expected shape {shape}, got '
                    f"{np.shape(main[key])}. model.layout tells the order of the bins."
                )
        numbers = {key: jnp.asarray(main[key], float) for key in shapes}
        return Data(numbers["counts"], numbers.get("statistics"))
