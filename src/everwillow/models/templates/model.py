"""The Model of a template fit."""

import dataclasses
import functools as ft
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias, final

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from everwillow._typing import Key, Scalar
from everwillow.likelihood.barlow_beeston import Kind, fluctuation
from everwillow.likelihood.data_terms import CovarianceTerm, PoissonTerm
from everwillow.likelihood.histograms import Layout, Yields
from everwillow.likelihood.templates.spec import TemplateSpec
from everwillow.model import AbstractModel
from everwillow.models._model_parts import Uncompared
from everwillow.models.templates.likelihood.bins import Bins, Links, links_of
from everwillow.models.templates.likelihood.blinding import (
    Blind,
    hidden_names,
    hide,
    unhidden,
)
from everwillow.models.templates.likelihood.flat import FlatTemplates
from everwillow.models.templates.likelihood.packing import (
    check_names,
    counts_of,
    data_term,
    flat_templates,
    free_statistics,
    pack_bins,
    parameters_of,
    statistics_kind,
)
from everwillow.models.templates.likelihood.regularisation import Curvature, regularised
from everwillow.models.templates.rates.base import AbstractParameterModel
from everwillow.models.templates.rates.strengths import rate_model_of
from everwillow.models.templates.remarks import held, idle, unused
from everwillow.objective import Evaluation
from everwillow.parameters import Poisson
from everwillow.parameters.bound_table import BoundTable
from everwillow.parameters.constraint_table import AuxTable, ConstraintTable
from everwillow.statelib import State


Statistics: TypeAlias = Kind | Literal["default"] | None
Likelihood: TypeAlias = Literal["poisson", "chi2", "covariance"]

# The relative rounding error of a sum of yields that cancel.
ROUNDING = 1e-12


# More methods than usual: most of them are those of every Model.
@final
class TemplateModel(AbstractModel):
    """The Model of a template fit.

    The main data are a dictionary: ``"counts"`` of the fitted bins in the order of
    `layout`, and ``"statistics"``, the auxiliary data of the simulated samples, if
    these fluctuate.

    Attributes:
        terms: The likelihood of the fitted bins.
        masked: The templates of the masked bins, if there are any.
        links: The effects of fluctuations in fitted bins on masked ones, if any.
        layout: Channels and processes.
        interest: The parameters of interest.
        uncompared_spec: The specification; models of one structure may differ in it.
    """

    state: State
    bounds: BoundTable
    fixed: dict[Key, Any]
    constraints: ConstraintTable
    observation: dict[str, Any]
    terms: FlatTemplates
    masked: Bins | None
    links: Links | None
    layout: Layout = eqx.field(static=True)
    interest: tuple[str, ...] = eqx.field(static=True)
    uncompared_spec: Uncompared = eqx.field(static=True)

    @classmethod
    def from_spec(
        cls,
        spec: TemplateSpec,
        *,
        parameters: AbstractParameterModel
        | Callable[[Layout], AbstractParameterModel]
        | None = None,
        likelihood: Likelihood = "poisson",
        statistics: Statistics = "default",
        per_process: bool = False,
        profile: bool = True,
        data: str | Float[np.ndarray, " fitted"] | None = None,
        blind: Blind = False,
        unblind: bool | str | Iterable[str] = False,
        regularisation: Curvature | Iterable[Curvature] | None = None,
    ) -> "TemplateModel":
        """Compile a specification into arrays.

        Args:
            spec: The specification, of a builder or a file.
            parameters: The parameter model that scales the processes, or a function of
                the layout that returns it; by default a strength for each signal.
            likelihood: The likelihood of the data: Poisson counts, Gaussian bins with
                the variances of the data (by default the data), or a Gaussian with the
                covariance of the data.
            statistics: The constraint on the fluctuations of the simulated samples
                (`everwillow.likelihood.barlow_beeston`), None without fluctuations. By
                default ``"gamma"``, ``"normal"`` with `per_process` and ``"additive"``
                with a covariance.
            per_process: Whether each process of a bin fluctuates independently.
            profile: Whether these fluctuations are profiled inside the likelihood.
                Otherwise they are fitted as one more parameter, the array
                ``"bin_by_bin"``.
            data: The name of pseudodata, or counts, in place of the data.
            blind: The parameters of interest to hide: True for all, patterns as in
                `fnmatch`, or a mapping from patterns to the name of a group with a
                common hidden number
                (`everwillow.models.templates.likelihood.blinding`). None are hidden by
                default.
            unblind: Exceptions from `blind`.
            regularisation: The histograms to smooth, one
                `everwillow.models.templates.likelihood.regularisation.Curvature` or
                several.

        Raises:
            ArgumentValueError: If data or variances that the likelihood needs are
                missing, or if two parameters have the same name.

        Example:
            >>> from everwillow.models.templates import TemplateBuilder
            >>> builder = TemplateBuilder()
            >>> builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
            >>> builder.add_process(np.array([5.0, 5.0]), "w", "ch0", signal=True)
            >>> builder.add_data(np.array([6.0, 7.0]), "ch0")
            >>> TemplateModel.from_spec(builder.spec())
            TemplateModel(1 channels, 2 fitted bins, 1 processes, 1 parameters)
        """
        rate_model = rate_model_of(spec, parameters)
        check_names(spec, rate_model)
        kind = statistics_kind(statistics, likelihood, per_process=per_process)
        counts = counts_of(spec, data)
        term = data_term(spec, likelihood, counts, kind)
        fitted, masked = pack_bins(
            spec, rate_model, kind, per_process=per_process, likelihood=likelihood
        )
        main: dict[str, Any] = {"counts": counts}
        free = None
        if kind is not None and profile:
            main["statistics"] = np.asarray(fitted.statistics.nominal)
        elif kind is not None:
            free = free_statistics(fitted.statistics)
        state, bounds, constraints = parameters_of(spec, rate_model, free)
        rates = rate_model.parameters().items()
        model = cls(
            state=state,
            bounds=bounds,
            fixed={},
            constraints=constraints,
            observation={"main": main, "aux": constraints.aux()},
            terms=flat_templates(spec, rate_model, fitted, term, state, constraints),
            masked=masked,
            links=links_of(spec),
            layout=spec.layout,
            interest=(
                *(name for name, entry in rates if entry.interest),
                *(s.name for s in spec.systematics if s.interest),
            ),
            uncompared_spec=Uncompared(spec),
        )
        model = regularised(model, regularisation)
        if blind is not False:
            source = "data" if data is None else "simulation"
            model = hide(model, blind, unblind, source)
        return model

    @property
    def spec(self) -> TemplateSpec:
        """The specification of the model."""
        return self.uncompared_spec.content

    @property
    def report(self) -> tuple[str, ...]:
        """Remarks on assumptions and on unusual inputs, a sentence each."""
        spec, terms = self.spec, self.terms
        return (
            *spec.report,
            *unused(spec, terms.term),
            *held(spec, terms.rate_model),
            *idle(spec, terms.arrays),
        )

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The parameters of each group, for impacts of groups."""
        members = {s.name: s.groups for s in self.spec.systematics}
        rates = self.terms.rate_model.parameters()
        members |= {name: entry.groups for name, entry in rates.items()}
        grouped: dict[str, tuple[str, ...]] = {}
        for name, groups in members.items():
            for group in groups:
                grouped[group] = (*grouped.get(group, ()), name)
        return grouped

    @property
    def hidden(self) -> tuple[Key, ...]:
        """The parameters whose values are hidden."""
        numbers = self.terms.hidden
        return () if numbers is None else hidden_names(self.state, numbers)

    def unblinded(self, *patterns: str) -> "TemplateModel":
        """Return the model with parameters on their physical scales.

        Args:
            patterns: Patterns of the parameters, as in `fnmatch`; all by default.

        Raises:
            UnknownKeyError: If a pattern matches no hidden parameter.
        """
        if self.terms.hidden is None:
            return self
        return unhidden(self, self.terms.hidden, patterns or ("*",))

    def physical(self, params: State) -> State:
        """Return the physical values of parameters that a fit reported."""
        vector, unravel = ravel_pytree(list(params.values()))
        return params.with_values(unravel(self.terms.physical(vector)))

    @property
    def diagnostics(self) -> "TemplateDiagnostics":
        """Properties of the data and of the simulated samples."""
        return TemplateDiagnostics(self)

    @property
    def poi(self) -> Key | None:
        """The parameter of interest, if there is exactly one."""
        return self.interest[0] if len(self.interest) == 1 else None

    @property
    def flat_main(self) -> FlatTemplates:
        """The main likelihood as a function of vectors."""
        return self.terms

    def main_nll(self, params: Any, main: Any) -> Scalar:
        """Return -ln L of the counts, without constraints."""
        return self.terms.nll(ravel_pytree(params)[0], main)

    def main_curvature(self, params: Any, main: Any) -> Evaluation:
        """Return `main_nll` with its exact derivatives."""
        return self.terms.evaluation(ravel_pytree(params)[0], main)

    @property
    def bin_labels(self) -> dict[str, list[str]]:
        """The name of each fitted bin: ``"ch0[3]"``, in C order."""
        fitted = [c for c in self.layout.channels if not c.masked]
        return {"counts": [f"{c.name}[{i}]" for c in fitted for i in range(c.size)]}

    def expected(self, params: Any) -> dict[str, Array]:
        """Return the expected counts, at nominal β if these are profiled."""
        terms = self.terms
        vector = terms.physical(ravel_pytree(params)[0])
        yields, statistics = terms.yields(vector), terms.statistics
        if statistics.kind is None:
            return {"counts": jnp.sum(yields, 1)}
        beta = terms.beta(vector)
        counts = jnp.sum(statistics.moved(yields, beta), 1)
        if terms.free is not None:
            return {"counts": counts}
        return {"counts": counts, "statistics": beta}

    def sample(self, params: Any, key: Array) -> dict[str, Array]:
        """Draw data, and the auxiliary data of the simulated samples."""
        counts_key, statistics_key = jr.split(key)
        main = self.expected(params)
        counts = self.terms.term.sample(main["counts"], counts_key)
        if "statistics" not in main:
            return {"counts": counts}
        drawn = self.terms.statistics.sample(statistics_key)
        return {"counts": counts, "statistics": drawn}

    def yields(
        self, params: Any, observation: Mapping[str, Any] | None = None
    ) -> Yields:
        """Return the expected yields in every bin, masked channels included.

        Args:
            params: Pytree of parameters under their original names, or a `State`.
            observation: The data to which the auxiliary parameters of the simulated
                samples are fitted; None for their nominal values.
        """
        params = params.to_pytree() if isinstance(params, State) else params
        return self.predicted(params, observation)

    @property
    def fluctuations(self) -> int:
        """The number of auxiliary parameters of the simulated samples in all bins."""
        terms = self.terms
        if terms.statistics.kind is None:
            return 0
        masked = 0 if self.masked is None else self.masked.statistics.spread.size
        return masked + (0 if terms.free is not None else terms.statistics.spread.size)

    def predicted(
        self,
        params: Any,
        observation: Any = None,
        normals: Array | None = None,
        around: Any = None,
    ) -> Yields:
        """Return `yields`, with fluctuations of the simulated samples if given."""
        terms = self.terms
        vector = terms.physical(ravel_pytree(params)[0])
        known, size = terms.statistics, 0
        if normals is None or known.kind is None:
            normals = jnp.zeros(self.fluctuations)
        beta, rows = terms.beta(vector), None
        if known.kind is not None and terms.free is None:
            size = known.spread.size
            moves = normals[:size].reshape(known.spread.shape)
            if observation is None:
                beta = beta + known.width * moves
            else:
                point = vector
                if around is not None:
                    point = terms.physical(ravel_pytree(around)[0])
                rows_at_point, profile = terms.at(point, observation["main"])
                rows = rows_at_point if around is None else None
                beta = profile.beta + fluctuation(profile, moves)
        more = None
        if self.masked is not None and known.kind is not None:
            others = self.masked.statistics
            moves = normals[size:].reshape(others.spread.shape)
            more = others.nominal + others.width * moves
        rows = terms.yields(vector) if rows is None else rows
        values = terms.by_process(vector, rows, beta, self.masked, self.links, more)
        return Yields(values, self.layout)

    def measurement_variance(
        self, params: Any, observation: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the variance of every measurement, in the structure of an observation.

        The variance of a count is the count, or its expectation if it is 0, or the
        variance or covariance of the likelihood. The variance of auxiliary data is the
        squared width of their constraint, or their number if they are counts.
        """
        terms = self.terms
        yields = self.predicted(params, observation).values[:, : self.layout.fitted]
        counts = terms.data(observation["main"]).counts
        main = {"counts": terms.term.variance_at(jnp.sum(yields, 0), counts)}
        if terms.statistics.kind is not None and terms.free is None:
            seen = observation["main"]["statistics"]
            main["statistics"] = terms.statistics.variance_at(seen)
        table = self.constraints
        seen = table.aux(observation["aux"]).vector
        squares = [
            jnp.asarray(seen[part] if isinstance(group, Poisson) else group.width**2)
            for (_, part), group in zip(table.layout.parts(), table.groups, strict=True)
        ]
        flat = jnp.concatenate(squares) if squares else jnp.zeros(0)
        return {"main": main, "aux": AuxTable(table.layout, flat, {})}

    def saturated_nll(self, main: Any) -> Scalar:
        """Return -ln L of the saturated model, which agrees with all measurements."""
        counts, statistics = self.terms.data(main)
        value = self.terms.term.value(counts, counts)
        if statistics is not None:
            value = value + self.terms.statistics.constants(statistics)
        external = self.terms.external
        return value if external is None else value + external.least

    def __repr__(self) -> str:
        """Return the numbers of channels, bins, processes and parameters in a line."""
        layout = self.layout
        return (
            f"TemplateModel({len(layout.channels)} channels, {layout.fitted} fitted "
            f"bins, {len(layout.processes)} processes, {self.terms.size} parameters"
            f"{', some of them blinded' if self.terms.hidden is not None else ''})"
        )

    @ft.cached_property  # computed once: a fit asks for it each time
    def bare(self) -> "TemplateModel":  # pyright: ignore[reportIncompatibleMethodOverride]
        """The model without start values, bounds and data."""
        empty = BoundTable(self.bounds.layout, np.zeros(0), np.zeros(0))
        return TemplateModel(
            state=self.state.with_values([None] * len(self.state)),
            bounds=empty,
            fixed={},
            constraints=self.constraints,
            observation={},
            terms=self.terms,
            masked=None,
            links=None,
            layout=self.layout,
            interest=(),
            uncompared_spec=Uncompared(None),
        )


@final
@dataclasses.dataclass(frozen=True, slots=True)
class TemplateDiagnostics:
    """Properties of a `TemplateModel` that inference needs besides its likelihood.

    Attributes:
        model: The model.
    """

    model: TemplateModel

    @property
    def simulated(self) -> bool:
        """Whether the likelihood profiles the statistics of simulated samples."""
        terms = self.model.terms
        return terms.statistics.kind is not None and terms.free is None

    def simulation_variance(self) -> dict[str, Any]:
        """Return the variances of the simulated samples alone.

        Returns:
            The variances in the structure of the main data, None for the counts.
        """
        if not self.simulated:
            return {"counts": None}
        return {"counts": None, "statistics": self.model.terms.statistics.width**2}

    def with_simulation_held(
        self, params: Any, observation: Mapping[str, Any] | None = None
    ) -> TemplateModel:
        """Return the model with the templates held at their best values.

        The auxiliary parameters of the simulated samples have the values that maximise
        the likelihood at `params`, and do not depend on the parameters. The gradient at
        `params` is that of the model, and the Hessian the one without the statistics of
        the samples.

        Args:
            params: Pytree of parameters under their original names, or a `State`.
            observation: The data; those of the model if None. They become the
                observation of the returned model.
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
        """Return the measurements that the model predicts at the end of a fit.

        They are the Asimov data for all parameters, including the profiled ones: those
        of the simulated samples are the best ones for `observation`, and their
        auxiliary data equal them. The fit agrees with these data exactly, so that -ln L
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
            # The yield of an empty bin that the samples fix at 0 is exactly 0.
            counts = jnp.where(counts > ROUNDING * scale, counts, 0)
        return {**asimov, "main": {"counts": counts, "statistics": profile.beta}}

    def external(self, params: Any) -> Any:
        """Return -ln L of the external likelihoods; 0 without any.

        Args:
            params: Pytree of parameters under their original names.
        """
        terms = self.model.terms
        vector = terms.physical(ravel_pytree(params)[0])
        nothing = jnp.zeros((), vector.dtype)
        return nothing if terms.external is None else terms.external(vector)

    def residual_variance(self, params: Any) -> dict[str, Any]:
        """Return the variances of data around the yields at nominal β.

        The variances of the simulated samples are added to those of the data, so that
        the samples are not measurements of their own.

        Args:
            params: Pytree of parameters under their original names.

        Returns:
            Variances in the structure of the main data: those of the counts, or their
            covariance, and None for the samples.
        """
        model, terms = self.model, self.model.terms
        expected = model.expected(params)["counts"]
        known = terms.statistics
        width = known.spread
        if not self.simulated:
            width = jnp.zeros((len(expected), 1))
        elif known.kind != "additive":
            width = known.streams(terms.yields(ravel_pytree(params)[0])) * known.width
        added = jnp.sum(jnp.asarray(width) ** 2, 1)
        main: dict[str, Any] = {"statistics": None} if self.simulated else {}
        if isinstance(terms.term, CovarianceTerm):
            matrix = jnp.asarray(terms.term.covariance)
            return {"counts": matrix + jnp.diag(added), **main}
        # With the expected number as the count this is the expected variance.
        own = terms.term.variance_at(expected, expected)
        return {"counts": own + added, **main}

    def penalty(self, params: Any, main: Any) -> Any:
        """Return the penalty of a regularisation, which is added to -ln L, or 0.

        Args:
            params: Pytree of parameters under their original names.
            main: The main data.
        """
        terms = self.model.terms
        vector = terms.physical(ravel_pytree(params)[0])
        return jnp.sum(terms.penalty_roots(vector, main) ** 2)

    @property
    def measured(self) -> Any:
        """The number of measurements in the main data and in external likelihoods.

        Bins without any template are not counted. The number for external likelihoods
        is the rank of their Hessian.
        """
        terms = self.model.terms
        some = jnp.any(jnp.asarray(terms.arrays.nominal) != 0, axis=1)
        some = some | jnp.any(jnp.asarray(terms.statistics.spread) > 0, axis=1)
        count = jnp.sum(some)
        if terms.external is not None:
            count = count + jnp.linalg.matrix_rank(terms.external.hessian)
        return count


__all__ = ["Likelihood", "Statistics", "TemplateDiagnostics", "TemplateModel"]
