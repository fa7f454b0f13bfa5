"""The Model of a template fit."""

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
from everwillow.likelihood.histograms import Layout, Yields
from everwillow.likelihood.templates.spec import TemplateSpec
from everwillow.model import AbstractModel
from everwillow.models._luggage import Luggage
from everwillow.models.templates.diagnostics import TemplateDiagnostics
from everwillow.models.templates.likelihood.bins import Bins, Links
from everwillow.models.templates.likelihood.blinding import (
    Blind,
    hidden_names,
    hide,
    unhidden,
)
from everwillow.models.templates.likelihood.compilation import Compiled, compile_spec
from everwillow.models.templates.likelihood.flat import FlatTemplates
from everwillow.models.templates.likelihood.regularisation import Curvature, regularised
from everwillow.models.templates.rates.base import AbstractParameterModel
from everwillow.models.templates.remarks import held, idle, unused
from everwillow.objective import Evaluation
from everwillow.parameters import Poisson
from everwillow.parameters.bound_table import BoundTable
from everwillow.parameters.constraint_table import AuxTable, ConstraintTable
from everwillow.statelib import State


Statistics: TypeAlias = Kind | Literal["default"] | None
Likelihood: TypeAlias = Literal["poisson", "chi2", "covariance"]


@final
class TemplateModel(AbstractModel):
    """A template fit: channels of processes that systematics deform.

    The main data are a dictionary: ``"counts"`` of the fitted bins in the order of
    `layout`, and ``"statistics"``, the auxiliary data of the simulated samples, if
    these fluctuate.

    Attributes:
        terms: The likelihood of the fitted bins.
        masked: The templates of the masked ones, if there are any.
        links: How fluctuations of fitted samples move masked ones, if they do.
        layout: Channels and processes.
        interest: The parameters of interest.
        luggage: The specification.
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
    luggage: Luggage = eqx.field(static=True)

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
            spec: What the builder or a file says.
            parameters: What scales the processes, or a function of the layout that
                returns it; by default a strength for each signal process.
            likelihood: How data enter: as Poisson counts, as Gaussian bins whose
                variances are those of the data (the data themselves if none were
                given), or with the covariance of the data.
            statistics: The constraint of what the simulated samples fluctuate by
                (`everwillow.likelihood.barlow_beeston`), None for none. By default
                ``"gamma"``, ``"normal"`` for each process on its own and
                ``"additive"`` with a covariance.
            per_process: Whether each process of a bin fluctuates on its own.
            profile: Whether these fluctuations are profiled inside the likelihood.
                Otherwise they are fitted as one more parameter, ``"bin_by_bin"``, an
                array with an element for each that fluctuates.
            data: The name of pseudodata, or counts, in place of the data.
            blind: Which parameters of interest to hide: True for all, patterns as in
                `fnmatch`, or a mapping from these to the group that shares a hidden
                number (`everwillow.models.templates.likelihood.blinding`). By default
                nothing is hidden.
            unblind: Which of them not to hide after all.
            regularisation: Histograms to smooth, that is one
                `everwillow.models.templates.likelihood.regularisation.Curvature` or
                several.

        Raises:
            ArgumentValueError: If data or variances that the likelihood needs are
                missing, or if a name means two parameters.

        Example:
            >>> from everwillow.models.templates import TemplateBuilder
            >>> builder = TemplateBuilder()
            >>> builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
            >>> builder.add_process(np.array([5.0, 5.0]), "w", "ch0", signal=True)
            >>> builder.add_data(np.array([6.0, 7.0]), "ch0")
            >>> TemplateModel.from_spec(builder.spec())
            TemplateModel(1 channels, 2 fitted bins, 1 processes, 1 parameters)
        """
        found = compile_spec(
            spec,
            parameters,
            likelihood,
            statistics,
            per_process=per_process,
            profile=profile,
            data=data,
        )
        found = regularised(found, spec.layout, regularisation)
        if blind is not False:
            source = "data" if data is None else "simulation"
            found = hide(found, blind, unblind, source)
        return cls._of(found, spec)

    @classmethod
    def _of(cls, found: Compiled, spec: TemplateSpec) -> "TemplateModel":
        return cls(**found._asdict(), layout=spec.layout, luggage=Luggage(spec))

    @property
    def spec(self) -> TemplateSpec:
        """What the model was made of."""
        return self.luggage.content

    @property
    def report(self) -> tuple[str, ...]:
        """What was assumed or looks odd, one sentence each."""
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
        found: dict[str, tuple[str, ...]] = {}
        for name, groups in members.items():
            for group in groups:
                found[group] = (*found.get(group, ()), name)
        return found

    @property
    def hidden(self) -> tuple[Key, ...]:
        """The parameters whose values are hidden."""
        numbers = self.terms.hidden
        return () if numbers is None else hidden_names(self.state, numbers)

    def unblinded(self, *patterns: str) -> "TemplateModel":
        """Return the model with parameters on their physical scales.

        Args:
            patterns: Which parameters, as in `fnmatch`; all by default.

        Raises:
            UnknownKeyError: If a pattern means no parameter that is hidden.
        """
        if self.terms.hidden is None:
            return self
        parts = Compiled(**{name: getattr(self, name) for name in Compiled._fields})
        found = unhidden(parts, self.terms.hidden, patterns or ("*",))
        return self._of(found, self.spec)

    def physical(self, params: State) -> State:
        """Return the physical values of parameters that a fit reported."""
        vector, unravel = ravel_pytree(list(params.values()))
        return params.with_values(unravel(self.terms.physical(vector)))

    @property
    def diagnostics(self) -> TemplateDiagnostics:
        """What the model tells about its data and its simulated samples."""
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
        """Return it with its exact derivatives."""
        return self.terms.evaluation(ravel_pytree(params)[0], main)

    @property
    def bin_labels(self) -> dict[str, list[str]]:
        """The name of each fitted bin: ``"ch0[3]"``, in C order."""
        fitted = [c for c in self.layout.channels if not c.masked]
        return {"counts": [f"{c.name}[{i}]" for c in fitted for i in range(c.size)]}

    def expected(self, params: Any) -> dict[str, Array]:
        """Return the expected counts, with templates as they are."""
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
        """Return what is expected in every bin, masked channels included.

        Args:
            params: Pytree of parameters under their original names, or a `State`.
            observation: Data that the auxiliary parameters of the simulated samples
                are fitted to; None leaves the templates as they are.
        """
        params = params.to_pytree() if isinstance(params, State) else params
        return self.predicted(params, observation)

    @property
    def fluctuations(self) -> int:
        """Number of auxiliary parameters of the simulated samples, in all bins."""
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
                there = vector
                if around is not None:
                    there = terms.physical(ravel_pytree(around)[0])
                found, profile = terms.at(there, observation["main"])
                rows = found if around is None else None
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
        """Return the variance of every measurement, structured as an observation.

        Counts have their own number as variance, expected ones where they are 0, or
        what the likelihood takes for their variance or covariance; auxiliary data have
        the squared widths of their constraints, those that are counts their number.
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
        """Return -ln L of a model that agrees with all measurements exactly."""
        counts, statistics = self.terms.data(main)
        value = self.terms.term.value(counts, counts)
        if statistics is not None:
            value = value + self.terms.statistics.constants(statistics)
        external = self.terms.external
        return value if external is None else value + external.least

    def __repr__(self) -> str:
        """Return one line: what there is, and how much of it."""
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
            luggage=Luggage(None),
        )


__all__ = ["Likelihood", "Statistics", "TemplateModel"]
