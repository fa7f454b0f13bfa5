"""Conversion of histfactory distributions to a `BinnedSpec`.

Spec: HS3 0.2, chapter HistFactory; arXiv: CERN-OPEN-2012-016 for the constraints.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from everwillow.likelihood.binned.spec import (
    BinScale,
    ChannelSpec,
    ConstraintSpec,
    Derived,
    Effect,
    NormVariation,
    Scale,
    ShapeVariation,
)
from everwillow.likelihood.interpolation import EXPONENTIAL
from everwillow.models._document import Node
from everwillow.models.hs3.document import Document
from everwillow.models.hs3.functions.graph import Graph
from everwillow.models.hs3.histfactory.channels import Channel, Sample
from everwillow.models.hs3.histfactory.derived import derive
from everwillow.models.hs3.histfactory.gammas import (
    ShapeSys,
    free_bins,
    gamma_names,
    relative_errors,
    report_dropped,
    stat_errors,
)
from everwillow.models.hs3.histfactory.modifiers import PER_BIN, Modifier, interpolation
from everwillow.models.hs3.histfactory.templates import (
    bin_errors,
    bin_values,
    check_positive,
    check_total,
    modifiers_of,
    paired,
    scaled,
    stat_settings,
    template_node,
)
from everwillow.models.hs3.measurements import Measurements
from everwillow.models.hs3.parameters import Parameters, Role
from everwillow.models.hs3.selection import Selection


_UNIT = ConstraintSpec("normal", 0.0, 1.0)
_SMALLEST = 1e-100  # relative error


@dataclass
class ChannelBuilder:
    """A builder of the channels of one likelihood.

    Attributes:
        document: The document.
        selection: The analysis.
        measurements: The auxiliary measurements, for constraints given by name.
        parameters: The collected parameters, those of `measurements`.
        derived: The collected functions that modifiers name.
        gammas: The bin parameters of each modifier, by its identity.
        graph: The functions that modifiers name, and those which these need.
    """

    document: Document
    selection: Selection
    measurements: Measurements
    parameters: Parameters
    derived: dict[str, Derived] = field(default_factory=dict)
    gammas: dict[int, str | tuple[str, ...]] = field(default_factory=dict)
    graph: Graph = field(default_factory=Graph)

    def channels(
        self, channels: Sequence[Channel], *, shapesys: str | None
    ) -> tuple[ChannelSpec, ...]:
        """Return the channels, and collect their parameters.

        Args:
            channels: The channels with their data.
            shapesys: The meaning of the `vals` of shapesys, None to infer it.
        """
        modifiers = [m for c in channels for s in c.samples for m in s.modifiers]
        functions = {name: node.value for name, node in self.document.functions.items()}
        named = [m.parameters[0] for m in modifiers if m.kind not in PER_BIN]
        roots = [str(name) for name in named if name in functions]
        self.graph = Graph(functions, roots=roots)
        specs = tuple(self._channel(channel) for channel in channels)
        for channel in channels:
            self._stat_constraints(channel)
        self._shape_constraints(channels, shapesys)
        return specs

    def _channel(self, channel: Channel) -> ChannelSpec:
        assert channel.observed is not None
        samples = []
        for sample in channel.samples:
            factor, effects = 1.0, []
            for modifier in sample.modifiers:
                effect = self._effect(modifier, sample, channel)
                if isinstance(effect, float):
                    factor *= effect
                else:
                    effects.append(effect)
            samples.append(scaled(sample, factor, effects))
        check_total(channel)
        return ChannelSpec(channel.name, channel.observed, tuple(samples))

    def _effect(
        self, modifier: Modifier, sample: Sample, channel: Channel
    ) -> Effect | float:
        if modifier.kind in PER_BIN:
            return self._bin_scale(modifier, channel)
        reference = modifier.parameters[0]
        if modifier.kind == "normfactor":
            return self._scale(modifier, reference)
        if not isinstance(reference, str):
            modifier.node.refuse(f"a {modifier.kind} needs a name, not {reference:g}.")
        self._need(reference, "alpha", modifier.node)
        default = channel.node.get("default_interpolation")
        code = interpolation(modifier, report=self.document.report, default=default)
        data = modifier.node.child("data")
        if modifier.kind == "normsys":
            lo, hi = data.child("lo"), data.child("hi")
            effect = NormVariation(reference, lo.number(), hi.number(), code)
            if code in EXPONENTIAL:
                check_positive(lo, hi, code)
        else:
            down, up = (
                template_node(data, key).numbers(
                    size=channel.bins, owner=f"{channel.name!r}"
                )
                for key in ("lo", "hi")
            )
            effect = ShapeVariation(reference, down, up, code)
            if code in EXPONENTIAL and min(*down, *up, *sample.nominal) <= 0.0:
                data.refuse(
                    f"{code} needs positive yields. Use 'lin' or 'poly6', which add "
                    "instead of multiply."
                )
            if code == "code6" and ((sample.nominal == 0.0) & (down != up)).any():
                data.refuse("code6 multiplies, which a nominal yield of 0 hinders.")
        if reference not in self.derived:
            self._constrain_alpha(modifier, reference)
        return effect

    def _scale(self, modifier: Modifier, reference: str | float) -> Effect | float:
        if not isinstance(reference, str):
            return reference
        self._need(reference, "factor", modifier.node)
        if reference in self.derived:
            return Scale(reference)
        kind = modifier.constraint(0)
        if kind is not None:
            self._constrain_factor(reference, kind, modifier, unit=True)
        return Scale(reference)

    def _need(self, name: str, role: Role, node: Node) -> None:
        if name in self.document.functions:
            derive(
                name,
                self.document,
                self.graph,
                self.parameters,
                self.derived,
                node=node,
            )
        else:
            self.parameters.require(name, role, node=node)

    def _bin_scale(self, modifier: Modifier, channel: Channel) -> BinScale:
        names = gamma_names(modifier, channel, self.selection, self.document)
        self.gammas[id(modifier)] = names
        free = modifier.kind == "shapefactor"
        if isinstance(names, str):
            self.parameters.require(
                names, "gamma", node=modifier.node, size=channel.bins
            )
            names_, each = (names,), names
        else:
            for name in names:
                self.parameters.require(name, "gamma", node=modifier.node)
            names_, each = names, names
        if free and "vals" not in (modifier.node.get("data") or Node({})):
            for index, name in enumerate(names_):
                kind = modifier.constraint(index)
                if kind is not None:
                    self._constrain_factor(name, kind, modifier, unit=True)
        return BinScale(each)

    def _constrain_alpha(self, modifier: Modifier, name: str) -> None:
        kind = modifier.constraint(0)
        node, report = modifier.node, self.document.report
        if kind is None:
            report.collect(
                f"No constraint is given for the {modifier.kind} of {{names}}: Gauss "
                "is assumed.",
                name,
            )
        if kind == "None":
            return
        if kind == "Const":
            self.parameters.fix(name)
        elif kind in (None, "Gauss"):
            self.parameters.constrain(name, _UNIT, origin=node.where)
        elif kind == "LogNormal" and modifier.kind == "normsys":
            report.collect(
                "The log-normal constraint of {names} is read as a log-normal "
                "distribution of the factor, so the parameter itself is Gaussian.",
                name,
            )
            self.parameters.constrain(name, _UNIT, origin=node.where)
        elif kind in ("LogNormal", "Poisson"):
            node.refuse(
                f"a {kind} constraint needs a positive parameter, but that of a "
                f"{modifier.kind} is nominally 0. Use Gauss, or name a distribution."
            )
        elif kind is not None:
            self._constrain_by_name(name, kind, node)

    def _constrain_factor(
        self,
        name: str,
        kind: str,
        modifier: Modifier,
        *,
        unit: bool = False,
        error: float = 1.0,
    ) -> None:
        """Constrain a parameter that is nominally 1, with a relative error."""
        where = modifier.node.where
        if kind == "None":
            return
        if kind == "Const":
            self.parameters.fix(name)
            return
        if kind not in _FACTOR_KINDS:
            self._constrain_by_name(name, kind, modifier.node)
            return
        if unit:
            self.document.report.collect(
                "The constraints of the factors {names} have unit width, as nothing "
                "gives another.",
                name,
            )
        if error <= 0.0:
            self.document.report.collect(
                "The factors {names} have no error: they are held at their start.", name
            )
            self.parameters.fix(name)
            error = 1.0
        _check_error(error, modifier.node)
        self.parameters.constrain(name, _factor_constraint(kind, error), origin=where)

    def _constrain_by_name(self, name: str, kind: str, node: Node) -> None:
        if not self.measurements.count(self.document.distributions[kind]):
            return
        counted = self.measurements.counted[kind]
        if name not in counted:
            names = ", ".join(map(repr, counted))
            node.refuse(f"the distribution {kind!r} constrains {names}, not {name!r}.")

    def _stat_constraints(self, channel: Channel) -> None:
        groups: dict[object, list[tuple[Sample, Modifier]]] = {}
        for sample, modifier in modifiers_of(channel, "staterror"):
            names = self.gammas[id(modifier)]
            groups.setdefault(names, []).append((sample, modifier))
        for names, members in groups.items():
            carriers = [(s, bin_errors(s, m, channel)) for s, m in members]
            errors = stat_errors(carriers)
            report_dropped(
                channel.name,
                np.sum([sample.nominal for sample, _ in carriers], axis=0),
                np.max([absolute for _, absolute in carriers], axis=0),
                self.document.report,
            )
            sample, modifier = members[0]
            default, threshold = stat_settings(sample, channel)
            for index, (name, error) in enumerate(paired(names, errors)):
                kinds = [kind for _, m in members if (kind := m.constraint(index))]
                kind = kinds[0] if kinds else default
                kind = kind or self._assumed("staterror", modifier)
                if len(set(kinds)) > 1:
                    self.document.report.collect(
                        "The samples give different constraints for {names}; that of "
                        "the first sample is used.",
                        name,
                    )
                if np.max(error) < threshold:
                    kind = "Const"
                self._constrain_bins(name, kind, modifier, error)

    def _shape_constraints(
        self, channels: Sequence[Channel], wanted: str | None
    ) -> None:
        entries = []
        for channel in channels:
            for kind in ("shapesys", "shapefactor"):
                for sample, modifier in modifiers_of(channel, kind):
                    data = modifier.node.get("data")
                    if kind == "shapefactor" and (data is None or "vals" not in data):
                        continue
                    entries.append(
                        ShapeSys(
                            f"{channel.name}/{sample.name}",
                            self.gammas[id(modifier)],
                            bin_values(modifier, channel),
                            sample.nominal,
                            modifier,
                        )
                    )
        errors = relative_errors(entries, self.selection, self.document, wanted=wanted)
        for entry, relative in zip(entries, errors, strict=True):
            report_dropped(
                entry.label, entry.nominal, entry.values, self.document.report
            )
            free = free_bins(entry, self.document)
            pairs = zip(
                paired(entry.names, relative), paired(entry.names, free), strict=True
            )
            for index, ((name, error), (_, is_free)) in enumerate(pairs):
                kind = entry.modifier.constraint(index)
                if np.all(is_free) and kind != "Const":
                    self.document.report.collect(
                        "The 'vals' of {names} are 0: no errors but free factors, as "
                        "ROOT writes a ShapeFactor.",
                        entry.modifier.name,
                    )
                    continue
                kind = kind or self._assumed("shapesys", entry.modifier)
                self._constrain_bins(name, kind, entry.modifier, error)

    def _assumed(self, kind: str, modifier: Modifier) -> str:
        """Return and report the assumed constraint of bins whose modifier has none."""
        self.document.report.collect(
            f"No constraint is given for the {kind} {{names}}: Poisson is assumed.",
            modifier.name,
        )
        return "Poisson"

    def _constrain_bins(
        self, name: str, kind: str, modifier: Modifier, error: np.ndarray
    ) -> None:
        if error.ndim == 0:
            self._constrain_factor(name, kind, modifier, error=float(error))
            return
        if kind not in _FACTOR_KINDS:
            if kind not in ("Const", "None"):
                modifier.node.refuse("an array of parameters needs a constraint type.")
            if kind == "Const":
                self.parameters.fix(name)
        elif (error > 0.0).all():
            _check_error(error, modifier.node)
            spec = _factor_constraint(kind, error)
            self.parameters.constrain(name, spec, origin=modifier.node.where)
        else:
            modifier.node.refuse(
                "a bin without error needs a parameter of its own: list 'parameters'."
            )


_FACTOR_KINDS = ("Gauss", "Poisson", "LogNormal")


def _check_error(error: float | np.ndarray, node: Node) -> None:
    """Check that the square of an error and its inverse are numbers."""
    size = np.asarray(error)
    if not ((size > _SMALLEST) & (size < 1.0 / _SMALLEST)).all():
        node.refuse(f"a relative error of {np.ravel(error)[0]:g} cannot be used.")


def _factor_constraint(kind: str, error: float | np.ndarray) -> ConstraintSpec:
    """Return the constraint of a factor around 1 with a relative error.

    The kappa of a log-normal is 1 + error, as in HistFactory.
    """
    one = 1.0 if np.ndim(error) == 0 else np.ones(np.shape(error))
    match kind:
        case "Gauss":
            return ConstraintSpec("normal", one, error)
        case "Poisson":
            return ConstraintSpec("poisson", 1.0 / error**2, 1.0 / error**2)
    return ConstraintSpec("lognormal", one, 1.0 + error)
