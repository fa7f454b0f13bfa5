"""What a template fit tells about its data and its simulated samples."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final

import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from everwillow.likelihood.data_terms import CovarianceTerm, PoissonTerm
from everwillow.statelib import State


if TYPE_CHECKING:
    from everwillow.models.templates.model import TemplateModel


# What is left of a sum of yields that cancel.
ROUNDING = 1e-12


@final
@dataclasses.dataclass(frozen=True, slots=True)
class TemplateDiagnostics:
    """What inference may ask of a `TemplateModel` besides its likelihood.

    Attributes:
        model: The model.
    """

    model: "TemplateModel"

    @property
    def simulated(self) -> bool:
        """Whether the likelihood profiles the statistics of simulated samples."""
        terms = self.model.terms
        return terms.statistics.kind is not None and terms.free is None

    def simulation_variance(self) -> dict[str, Any]:
        """Return the variances of the simulated samples alone.

        Returns:
            Structured as the main data, None for the counts.
        """
        if not self.simulated:
            return {"counts": None}
        return {"counts": None, "statistics": self.model.terms.statistics.width**2}

    def with_simulation_held(
        self, params: Any, observation: Mapping[str, Any] | None = None
    ) -> "TemplateModel":
        """Return the model with the templates held where they are best.

        The auxiliary parameters of the simulated samples take the values that maximise
        the likelihood at `params`, and no longer follow the parameters. Its gradient
        there is that of the model itself, its Hessian the one without the statistics
        of the samples.

        Args:
            params: Pytree of parameters under their original names, or a `State`.
            observation: The data; the model's own if None. They come with the model
                that is returned.
        """
        model = self.model
        observed = model.observation if observation is None else observation
        known = model.terms.statistics
        if not self.simulated:
            return dataclasses.replace(model, observation=dict(observed))
        tree = params.to_pytree() if isinstance(params, State) else params
        vector = ravel_pytree(tree)[0]
        beta = model.terms.at(vector, observed["main"])[1].beta
        held = dataclasses.replace(known, held=True)
        terms = dataclasses.replace(model.terms, statistics=held)
        main = {**observed["main"], "statistics": beta}
        return dataclasses.replace(
            model, terms=terms, observation={**observed, "main": main}
        )

    def followed(self, params: Any, observation: Mapping[str, Any]) -> dict[str, Any]:
        """Return the measurements that the model predicts where a fit has ended.

        They are the Asimov data of all parameters, the profiled ones included: those of
        the simulated samples stay where the data of `observation` have them, and their
        auxiliary data are there too. Data and fit agree in everything, so that -ln L
        has its minimum at the same parameters.

        Args:
            params: Pytree of parameters under their original names.
            observation: The data that were fitted.
        """
        model, terms = self.model, self.model.terms
        asimov = model.asimov(params)
        if not self.simulated:
            return asimov
        vector = terms.physical(ravel_pytree(params)[0])
        yields, profile = terms.at(vector, observation["main"])
        moved = terms.statistics.moved(yields, profile.beta)
        counts, scale = jnp.sum(moved, 1), jnp.sum(jnp.abs(yields), 1)
        if isinstance(terms.term, PoissonTerm):
            # Where the samples hold the yield of an empty bin at 0 it is 0.
            counts = jnp.where(counts > ROUNDING * scale, counts, 0)
        return {**asimov, "main": {"counts": counts, "statistics": profile.beta}}

    def external(self, params: Any) -> Any:
        """Return -ln L of what likelihoods from elsewhere say; 0 without any.

        Args:
            params: Pytree of parameters under their original names.
        """
        terms = self.model.terms
        vector = terms.physical(ravel_pytree(params)[0])
        nothing = jnp.zeros((), vector.dtype)
        return nothing if terms.external is None else terms.external(vector)

    def residual_variance(self, params: Any) -> dict[str, Any]:
        """Return the variances of data around templates as they are.

        The simulated samples add theirs to those of the data, so that they are no data
        of their own any more.

        Args:
            params: Pytree of parameters under their original names.

        Returns:
            Structured as the main data: variances of the counts, or their covariance,
            and None for what belongs to the samples.
        """
        model, terms = self.model, self.model.terms
        expected = model.expected(params)["counts"]
        known = terms.statistics
        lever = known.spread
        if not self.simulated:
            lever = jnp.zeros((len(expected), 1))
        elif known.kind != "additive":
            lever = known.streams(terms.yields(ravel_pytree(params)[0])) * known.width
        added = jnp.sum(jnp.asarray(lever) ** 2, 1)
        main: dict[str, Any] = {"statistics": None} if self.simulated else {}
        if isinstance(terms.term, CovarianceTerm):
            matrix = jnp.asarray(terms.term.covariance)
            return {"counts": matrix + jnp.diag(added), **main}
        # With the expected number as the count this is the expected variance.
        own = terms.term.variance_at(expected, expected)
        return {"counts": own + added, **main}

    def penalty(self, params: Any, main: Any) -> Any:
        """Return what a regularisation adds to -ln L; 0 without any.

        Args:
            params: Pytree of parameters under their original names.
            main: The main data.
        """
        terms = self.model.terms
        vector = terms.physical(ravel_pytree(params)[0])
        return jnp.sum(terms.penalty_roots(vector, main) ** 2)

    @property
    def measured(self) -> Any:
        """How many main data there are that the model can be wrong about.

        Bins without any template are none, and a likelihood from elsewhere counts as
        many measurements as its Hessian has rank.
        """
        terms = self.model.terms
        some = jnp.any(jnp.asarray(terms.arrays.nominal) != 0, axis=1)
        some = some | jnp.any(jnp.asarray(terms.statistics.spread) > 0, axis=1)
        count = jnp.sum(some)
        if terms.external is not None:
            count = count + jnp.linalg.matrix_rank(terms.external.hessian)
        return count


__all__ = ["TemplateDiagnostics"]
