"""One likelihood of a document, taken apart into what a model is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from everwillow.likelihood.binned.spec import BinnedSpec, ParameterSpec
from everwillow.models._document import Node
from everwillow.models.hs3.auxiliary import Joint, Names, inline_value
from everwillow.models.hs3.document import Document
from everwillow.models.hs3.factors import Divided, divide, factors_of, without
from everwillow.models.hs3.histfactory.channels import Channel
from everwillow.models.hs3.histfactory.spec import Builder
from everwillow.models.hs3.histfactory.start import check_start
from everwillow.models.hs3.measurements import Measurements
from everwillow.models.hs3.parameters import Parameters
from everwillow.models.hs3.references import dependencies
from everwillow.models.hs3.selection import Selection, select
from everwillow.models.hs3.terms.base import AbstractTerm, build_terms
from everwillow.models.hs3.truncation import report_truncated


@dataclass(frozen=True)
class Likelihood:
    """What a model is made of.

    Attributes:
        spec: The histfactory channels with their parameters; all parameters if there
            are no other terms.
        terms: One for each other pair, and for auxiliary distributions that are no
            plain constraint.
        joint: Measurements of several parameters, by name of the distribution.
        parameters: All parameters of the likelihood.
        poi: The parameter of interest, or None.
        name: Of the analysis.
        report: What was assumed.
    """

    spec: BinnedSpec
    terms: tuple[AbstractTerm, ...]
    joint: dict[str, Joint]
    parameters: tuple[ParameterSpec, ...]
    poi: str | None
    name: str
    report: tuple[str, ...]


def read_likelihood(
    document: Document, analysis: str | int | None, *, shapesys: str | None
) -> Likelihood:
    """Read one analysis of a document."""
    selection = select(document, analysis)
    divided = divide(document, selection)
    channels = _renamed(divided.channels, document)
    candidates = _candidates(document, selection, divided)
    used = dependencies(divided.main, document, without=candidates)
    inline = {node.child("name").text(): node for node, _, _ in divided.inline}
    names = Names(document, selection, used, tuple((inline | candidates).values()))
    measurements = Measurements(names, Parameters(document.report))
    builder = Builder(document, selection, measurements, measurements.parameters)
    specs = builder.channels(channels, shapesys=shapesys)
    binned = set(builder.parameters.names())
    terms = _terms(document, measurements, divided, candidates)
    measurements.report(divided.factors)
    for term in terms:
        node = document.distributions.get(term.name, document.root)
        for name in term.parameters:
            builder.parameters.want(name, "free", node=node)
        for note in term.notes:
            document.report.say(note)
    parameters = builder.parameters.specs(selection)
    poi = _poi(document, selection, builder.parameters)
    joint = builder.parameters.joint
    alone = not terms and not joint
    kept = parameters if alone else [p for p in parameters if p.name in binned]
    spec = BinnedSpec(specs, tuple(kept), dict(builder.derived), poi, selection.name)
    check_start(spec, document.report)
    report_truncated(document, names, parameters)
    report = document.report.sentences()
    spec = replace(spec, report=report)
    return Likelihood(spec, terms, joint, parameters, poi, selection.name, report)


def _candidates(
    document: Document, selection: Selection, divided: Divided
) -> dict[str, Node]:
    """Return the distributions that may be auxiliary measurements, by name.

    They are listed as auxiliary, named by modifiers, or factors of products.
    """
    found = [part for node in selection.aux for part in factors_of(node, document)]
    for channel in divided.channels:
        for sample in channel.samples:
            for modifier in sample.modifiers:
                words = [word for word in modifier.constraints if word is not None]
                named = [document.distributions.get(word) for word in words]
                found += [node for node in named if node is not None]
    found += divided.factors.values()
    return {
        name: node
        for node in found
        if (name := node.child("name").text()) not in divided.main
    }


def _renamed(channels: Sequence[Channel], document: Document) -> list[Channel]:
    """Number the channels that are there with several data sets."""
    renamed: list[Channel] = []
    for channel in channels:
        taken = {other.name for other in renamed}
        if channel.name not in taken:
            renamed.append(channel)
            continue
        number = next(
            i for i in range(2, len(taken) + 3) if f"{channel.name}_{i}" not in taken
        )
        document.report.collect(
            "The distributions {names} have several data sets; the further ones are "
            "numbered.",
            channel.name,
        )
        renamed.append(replace(channel, name=f"{channel.name}_{number}"))
    return renamed


def _terms(
    document: Document,
    measurements: Measurements,
    divided: Divided,
    candidates: Mapping[str, Node],
) -> tuple[AbstractTerm, ...]:
    """Count as constraints what can be, and make terms of all the rest."""
    names, selection = measurements.names, measurements.names.selection
    left, inline = list(divided.others), set()
    for node, data, value in divided.inline:
        name = node.child("name").text()
        again = name in inline  # with another number: another measurement
        inline.add(name)
        if again or not measurements.count(node, observed=value):
            left.append((node, data))
    aux: list[str] = []
    for name, node in candidates.items():
        listed = selection.aux_data.by_distribution.get(name)
        value = None if listed is None else inline_value(listed, document)
        if name not in inline and not measurements.count(node, observed=value):
            aux.append(name)
    if not left and not aux:
        return ()
    observed = {
        name: value
        for name in [*selection.points, *selection.aux_data.values]
        if (value := names.observed(name)) is not None
    }
    return build_terms(
        [(node.child("name").text(), data.reference()) for node, data in left],
        distributions=without(_values(document.distributions), divided.factors),
        functions=_values(document.functions),
        data=_values(document.data),
        aux_distributions=aux,
        observed=observed,
        known=_known(selection, measurements.parameters),
    )


def _known(selection: Selection, parameters: Parameters) -> set[str] | None:
    known = selection.points.keys() | selection.bounds.keys()
    return known | set(parameters.names()) if known else None


def _values(nodes: dict[str, Node]) -> dict[str, dict[str, Any]]:
    return {name: node.value for name, node in nodes.items()}


def _poi(
    document: Document, selection: Selection, parameters: Parameters
) -> str | None:
    present = [name for name in selection.pois if name in parameters]
    for name in selection.pois:
        if name not in parameters:
            document.report.say(
                f"The parameter of interest {name!r} does not enter the likelihood."
            )
    if len(present) > 1:
        document.report.say(
            f"Of the parameters of interest, {present[0]!r} is the one of the model; "
            f"the others are {', '.join(map(repr, present[1:]))}."
        )
    return present[0] if present else None
