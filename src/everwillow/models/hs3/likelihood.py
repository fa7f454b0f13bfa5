"""Division of one likelihood of a document into the parts of a model.

A density of events or bins may be multiplied with densities that do not depend on these
data. This module separates them by names, before anything is built.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from everwillow.likelihood.binned.spec import BinnedSpec, ParameterSpec
from everwillow.models._document import Node, Report
from everwillow.models.hs3.data import read_axes
from everwillow.models.hs3.document import Document
from everwillow.models.hs3.histfactory.channels import Channel, read_channel, with_data
from everwillow.models.hs3.histfactory.spec import ChannelBuilder
from everwillow.models.hs3.histfactory.start import check_start
from everwillow.models.hs3.measurements import (
    GAUSSIAN,
    Joint,
    Measurements,
    Names,
    inline_value,
    report_truncated,
)
from everwillow.models.hs3.parameters import Parameters
from everwillow.models.hs3.references import dependencies
from everwillow.models.hs3.selection import Selection, select
from everwillow.models.hs3.terms import AbstractTerm, build_terms


# The keys with the names of the parts of composite distributions.
_INSIDE = ("dist", "distribution", "pdf", "summands")


@dataclass(frozen=True)
class Likelihood:
    """The parts of a model.

    Attributes:
        spec: The histfactory channels with their parameters; all parameters if there
            are no other terms.
        terms: One term for each other pair, and for auxiliary distributions that are
            not simple constraints.
        joint: Measurements of several parameters, by name of the distribution.
        parameters: All parameters of the likelihood.
        poi: The parameter of interest, or None.
        name: The name of the analysis.
        report: Sentences on assumptions.
    """

    spec: BinnedSpec
    terms: tuple[AbstractTerm, ...]
    joint: dict[str, Joint]
    parameters: tuple[ParameterSpec, ...]
    poi: str | None
    name: str
    report: tuple[str, ...]


@dataclass
class _Divided:
    """The pairs of distributions and data of a likelihood, divided by kind.

    Attributes:
        channels: Histfactory distributions with their data.
        others: All other pairs of a distribution and its datum.
        inline: Gaussians whose datum is a number in the likelihood, with the number:
            they are auxiliary measurements if there are other pairs.
        factors: Factors of products that do not depend on the data, by name.
        main: Names of the distributions and factors that depend on the data.
    """

    channels: list[Channel] = field(default_factory=list)
    others: list[tuple[Node, Node]] = field(default_factory=list)
    inline: list[tuple[Node, Node, float]] = field(default_factory=list)
    factors: dict[str, Node] = field(default_factory=dict)
    main: list[str] = field(default_factory=list)


def read_likelihood(
    document: Document, analysis: str | int | None, *, shapesys: str | None
) -> Likelihood:
    """Read one analysis of a document."""
    selection = select(document, analysis)
    divided = _divide(document, selection)
    channels = _renamed(divided.channels, document)
    candidates = _candidates(document, selection, divided)
    used = dependencies(divided.main, document, without=candidates)
    inline = {node.name: node for node, _, _ in divided.inline}
    names = Names(document, selection, used, tuple((inline | candidates).values()))
    measurements = Measurements(names, Parameters(document.report))
    builder = ChannelBuilder(document, selection, measurements, measurements.parameters)
    specs = builder.channels(channels, shapesys=shapesys)
    binned = set(builder.parameters.names())
    terms = _terms(document, measurements, divided, candidates)
    measurements.report(divided.factors)
    for term in terms:
        node = document.distributions.get(term.name, document.root)
        for name in term.parameters:
            builder.parameters.require(name, "free", node=node)
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
    document: Document, selection: Selection, divided: _Divided
) -> dict[str, Node]:
    """Return the distributions that may be auxiliary measurements, by name.

    They are listed as auxiliary, named by modifiers, or factors of products.
    """
    nodes = [part for node in selection.aux for part in _factors_of(node, document)]
    for channel in divided.channels:
        for sample in channel.samples:
            for modifier in sample.modifiers:
                given = [kind for kind in modifier.constraints if kind is not None]
                named = [document.distributions.get(kind) for kind in given]
                nodes += [node for node in named if node is not None]
    nodes += divided.factors.values()
    return {name: node for node in nodes if (name := node.name) not in divided.main}


def _renamed(channels: Sequence[Channel], document: Document) -> list[Channel]:
    """Number the channels that have several data sets."""
    renamed: list[Channel] = []
    for channel in channels:
        names = {other.name for other in renamed}
        if channel.name not in names:
            renamed.append(channel)
            continue
        number = next(
            i for i in range(2, len(names) + 3) if f"{channel.name}_{i}" not in names
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
    divided: _Divided,
    candidates: Mapping[str, Node],
) -> tuple[AbstractTerm, ...]:
    """Make constraints of auxiliary measurements, and terms of all other pairs."""
    names, selection = measurements.names, measurements.names.selection
    left, inline = list(divided.others), set()
    for node, data, value in divided.inline:
        name = node.name
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
        [(node.name, data.reference()) for node, data in left],
        distributions=_without(_values(document.distributions), divided.factors),
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


def _divide(document: Document, selection: Selection) -> _Divided:
    """Divide the pairs of a likelihood."""
    divided = _Divided()
    for node, data in selection.main:
        parts = _factors_of(node, document)
        bins = [part for part in parts if part.type == "histfactory_dist"]
        value = inline_value(data, document) if node.type in GAUSSIAN else None
        if bins:
            _divide_bins(node, data, (bins, parts), divided, document)
        elif value is not None:
            divided.inline.append((node, data, value))
        else:
            divided.others.append((node, data))
            _divide_events(data, parts, divided, document)
    if not divided.channels and not divided.others:
        divided.others = [(node, data) for node, data, _ in divided.inline]
        divided.main = [node.name for node, _ in divided.others]
        divided.inline = []
    for name in divided.main:
        divided.factors.pop(name, None)
    return divided


def _divide_bins(
    node: Node,
    data: Node,
    parts: tuple[list[Node], list[Node]],
    divided: _Divided,
    document: Document,
) -> None:
    """Divide a product with a histfactory distribution."""
    bins, factors = parts
    if len(bins) > 1:
        names = ", ".join(repr(part.name) for part in bins)
        node.refuse(
            f"it is a product of several histfactory distributions ({names}). List "
            "each in the likelihood, with its own data."
        )
    channel = with_data(read_channel(bins[0], document), data, document)
    divided.channels.append(channel)
    divided.main.append(bins[0].name)
    observed = {axis.name for axis in channel.axes}
    for factor in factors:
        if factor is bins[0]:
            continue
        if _depends(factor, observed, document):
            factor.refuse(
                f"it is multiplied with the bins of {channel.name!r} and depends on "
                "their axes. List it in the likelihood, with its own data."
            )
        divided.factors[factor.name] = factor


def _divide_events(
    data: Node, parts: list[Node], divided: _Divided, document: Document
) -> None:
    observed = _observables(data, parts, document)
    for part in parts:
        if observed is not None and not _depends(part, observed, document):
            divided.factors[part.name] = part
            continue
        divided.main.append(part.name)
        if observed is not None:
            # Constant factors cancel, as densities are normalised.
            divided.factors |= {
                inner.name: inner
                for inner in _inside(part, document)
                if not _depends(inner, observed, document)
            }


def _factors_of(node: Node, document: Document) -> list[Node]:
    """Return the factors of a product and of nested products, without repetition."""
    nodes: dict[str, Node | None] = {}
    waiting = [node]
    while waiting:
        one = waiting.pop(0)
        if one.name in nodes:
            continue
        factors = one.get("factors") if one.type == "product_dist" else None
        if factors is None or not isinstance(factors.value, list):
            nodes[one.name] = one
            continue
        nodes[one.name] = None
        for item in factors.items():
            inner = document.distributions.get(item.text())
            if inner is None:
                known = document.distributions
                item.unknown(item.value, known, "distribution")
            waiting.append(inner)
    return [one for one in nodes.values() if one is not None]


def _without(
    distributions: dict[str, dict[str, Any]], factors: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Return definitions whose products lack factors that are counted separately."""
    dropped = set(factors)
    changed: dict[str, dict[str, Any]] = {}
    waiting = True
    while waiting:
        waiting = False
        for name, entry in (distributions | changed).items():
            listed = (
                entry.get("factors") if entry.get("type") == "product_dist" else None
            )
            kept = [one for one in listed or () if one not in dropped]
            if listed and len(kept) < len(listed):
                changed[name] = {**entry, "factors": kept}
                waiting = True
                if not kept:  # a product of nothing else is one itself
                    dropped.add(name)
    return distributions | changed


def _inside(part: Node, document: Document) -> Iterator[Node]:
    """Yield the factors of the products that a composite distribution is made of."""
    waiting, seen = [part], {part.name}
    while waiting:
        node = waiting.pop()
        for key in _INSIDE:
            value = node.value.get(key)
            for name in value if isinstance(value, list) else [value]:
                inner = document.distributions.get(name) if type(name) is str else None
                if inner is None or name in seen:
                    continue
                seen.add(name)
                factors = _factors_of(inner, document)
                waiting.extend(factors)
                if inner.type == "product_dist":
                    yield from factors


def _observables(data: Node, parts: list[Node], document: Document) -> set[str] | None:
    """Return the names of the axes of data; None where nothing has axes."""
    nodes = [*parts]
    if isinstance(data.value, str):
        nodes.append(document.data[data.value])
    axes = [axis for node in nodes for axis in read_axes(node, report=Report())]
    return {axis.name for axis in axes} or None


def _depends(node: Node, observed: set[str], document: Document) -> bool:
    names = dependencies([node.name], document, variates=True)
    return not observed.isdisjoint(names)
