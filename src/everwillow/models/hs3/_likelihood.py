"""One likelihood of a document, taken apart into what a model is made of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from everwillow.likelihood.binned_spec import BinnedSpec, ParameterSpec
from everwillow.models.hs3._auxiliary import Constants, inline_value, plain_constraint
from everwillow.models.hs3._channels import Channel, read_channel, with_data
from everwillow.models.hs3._histfactory import Builder
from everwillow.models.hs3._parameters import Parameters
from everwillow.models.hs3._pointer import Node
from everwillow.models.hs3._references import dependencies
from everwillow.models.hs3._selection import Selection, select
from everwillow.models.hs3._start import check_start
from everwillow.models.hs3.document import Document
from everwillow.models.hs3.terms import AbstractTerm, build_terms


_GAUSSIAN = ("gaussian_dist", "normal_dist")


@dataclass(frozen=True)
class Likelihood:
    """What a model is made of.

    Attributes:
        spec: The histfactory channels with their parameters; all parameters if there
            are no other terms.
        terms: One for each other pair, and for auxiliary distributions that are no
            plain constraint.
        parameters: All parameters of the likelihood.
        poi: The parameter of interest, or None.
        name: Of the analysis.
        report: What was assumed.
    """

    spec: BinnedSpec
    terms: tuple[AbstractTerm, ...]
    parameters: tuple[ParameterSpec, ...]
    poi: str | None
    name: str
    report: tuple[str, ...]


def read_likelihood(
    document: Document, analysis: str | int | None, *, shapesys: str | None
) -> Likelihood:
    """Read one analysis of a document."""
    selection = select(document, analysis)
    channels, others, inline = _divided(document, selection)
    names = [pair[0].child("name").text() for pair in others]
    used = dependencies([c.name for c in channels] + names, document)
    constants = Constants(document, selection, used)
    builder = Builder(document, selection, constants, Parameters(document.report))
    specs = builder.channels(channels, shapesys=shapesys)
    binned = set(builder.parameters.names())
    terms = _terms(document, selection, builder, (others, inline), constants)
    for term in terms:
        node = document.distributions.get(term.name, document.root)
        for name in term.parameters:
            builder.parameters.want(name, "free", node=node)
        for note in term.notes:
            document.report.say(note)
    parameters = builder.parameters.specs(selection)
    poi = _poi(document, selection, builder.parameters)
    kept = parameters if not terms else [p for p in parameters if p.name in binned]
    spec = BinnedSpec(specs, tuple(kept), dict(builder.derived), poi, selection.name)
    check_start(spec, document.report)
    report = document.report.sentences()
    return Likelihood(
        replace(spec, report=report), terms, parameters, poi, selection.name, report
    )


_Pairs = list[tuple[Node, Node]]


def _divided(
    document: Document, selection: Selection
) -> tuple[list[Channel], _Pairs, list[tuple[Node, Node, float]]]:
    """Divide the pairs: channels, others, and Gaussians of a number given inline.

    The last are auxiliary measurements if there is anything else in the likelihood.
    """
    channels: list[Channel] = []
    others: _Pairs = []
    inline: list[tuple[Node, Node, float]] = []
    for node, data in selection.main:
        kind = node.child("type").text()
        if kind == "histfactory_dist":
            channel = with_data(read_channel(node, document), data, document)
            channels.append(_renamed(channel, channels, document))
            continue
        value = inline_value(data, document) if kind in _GAUSSIAN else None
        if value is None:
            others.append((node, data))
        else:
            inline.append((node, data, value))
    if not channels:
        others += [(node, data) for node, data, _ in inline]
        inline = []
    return channels, others, inline


def _renamed(
    channel: Channel, before: Sequence[Channel], document: Document
) -> Channel:
    taken = {other.name for other in before}
    if channel.name not in taken:
        return channel
    number = next(
        i for i in range(2, len(taken) + 3) if f"{channel.name}_{i}" not in taken
    )
    document.report.collect(
        "The distributions {names} have several data sets; the further ones are "
        "numbered.",
        channel.name,
    )
    return replace(channel, name=f"{channel.name}_{number}")


def _terms(
    document: Document,
    selection: Selection,
    builder: Builder,
    pairs: tuple[_Pairs, list[tuple[Node, Node, float]]],
    constants: Constants,
) -> tuple[AbstractTerm, ...]:
    """Make constraints of what is one, and terms of all the rest."""
    others, inline = pairs
    left: _Pairs = list(others)
    for node, data, value in inline:
        if not _constrain(node, builder, constants, value):
            left.append((node, data))
    inside = dependencies([n.child("name").text() for n, _ in others], document)
    aux: list[str] = []
    nodes = {node.child("name").text(): node for node in selection.aux}
    for name, node in (nodes | builder.leftover).items():
        listed = selection.aux_data.by_distribution.get(name)
        value = None if listed is None else inline_value(listed, document)
        # A factor of a product is counted there; the terms know how to count it once.
        if name in inside or not _constrain(node, builder, constants, value):
            aux.append(name)
    if not left and not aux:
        return ()
    return build_terms(
        [(node.child("name").text(), data.reference()) for node, data in left],
        distributions=_values(document.distributions),
        functions=_values(document.functions),
        data=_values(document.data),
        aux_distributions=aux,
        observed=_observed(selection, constants),
        known=_known(selection, builder),
    )


def _constrain(
    node: Node, builder: Builder, constants: Constants, value: float | None
) -> bool:
    found = plain_constraint(node, constants, observed=value)
    if found is None:
        return False
    name, spec = found
    if name in builder.document.functions:
        return False
    builder.parameters.want(name, "free", node=node)
    return builder.parameters.constrain(name, spec, origin=node.where, explicit=True)


def _observed(selection: Selection, constants: Constants) -> dict[str, float]:
    names = [*selection.points, *selection.aux_data.values]
    found = {name: constants.value(name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _known(selection: Selection, builder: Builder) -> set[str] | None:
    known = selection.points.keys() | selection.bounds.keys()
    return known | set(builder.parameters.names()) if known else None


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
