"""The factors of products: what is observed with the data, and what is not.

A density of events or bins may be multiplied with densities that depend on nothing
observed with them. These are told apart here by names, before anything is built.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from everwillow.models._document import Node, Report
from everwillow.models.hs3.auxiliary import GAUSSIAN, inline_value
from everwillow.models.hs3.data import read_axes
from everwillow.models.hs3.document import Document
from everwillow.models.hs3.histfactory.channels import Channel, read_channel, with_data
from everwillow.models.hs3.references import dependencies
from everwillow.models.hs3.selection import Selection


# Where composite distributions name the distributions that they are made of.
_INSIDE = ("dist", "distribution", "pdf", "summands")


@dataclass
class Divided:
    """The pairs of a likelihood, taken apart.

    Attributes:
        channels: Histfactory distributions with their data.
        others: All other pairs of a distribution and its datum.
        inline: Gaussians of a number that the likelihood gives, with the number: they
            are auxiliary measurements if there is anything else.
        factors: Factors of products that depend on nothing observed, by name.
        main: Names of the distributions and factors that depend on what is observed.
    """

    channels: list[Channel] = field(default_factory=list)
    others: list[tuple[Node, Node]] = field(default_factory=list)
    inline: list[tuple[Node, Node, float]] = field(default_factory=list)
    factors: dict[str, Node] = field(default_factory=dict)
    main: list[str] = field(default_factory=list)


def divide(document: Document, selection: Selection) -> Divided:
    """Take the pairs of a likelihood apart."""
    divided = Divided()
    for node, data in selection.main:
        parts = factors_of(node, document)
        bins = [part for part in parts if _kind(part) == "histfactory_dist"]
        value = inline_value(data, document) if _kind(node) in GAUSSIAN else None
        if bins:
            _divide_bins(node, data, (bins, parts), divided, document)
        elif value is not None:
            divided.inline.append((node, data, value))
        else:
            divided.others.append((node, data))
            _divide_events(data, parts, divided, document)
    if not divided.channels and not divided.others:
        divided.others = [(node, data) for node, data, _ in divided.inline]
        divided.main = [_name(node) for node, _ in divided.others]
        divided.inline = []
    for name in divided.main:
        divided.factors.pop(name, None)
    return divided


def _divide_bins(
    node: Node,
    data: Node,
    parts: tuple[list[Node], list[Node]],
    divided: Divided,
    document: Document,
) -> None:
    """Take a product with a histfactory distribution apart."""
    bins, factors = parts
    if len(bins) > 1:
        names = ", ".join(repr(_name(part)) for part in bins)
        node.refuse(
            f"it is a product of several histfactory distributions ({names}). List "
            "each in the likelihood, with its own data."
        )
    channel = with_data(read_channel(bins[0], document), data, document)
    divided.channels.append(channel)
    divided.main.append(_name(bins[0]))
    observed = {axis.name for axis in channel.axes}
    for factor in factors:
        if factor is bins[0]:
            continue
        if _depends(factor, observed, document):
            factor.refuse(
                f"it is multiplied with the bins of {channel.name!r} and depends on "
                "their axes. List it in the likelihood, with its own data."
            )
        divided.factors[_name(factor)] = factor


def _divide_events(
    data: Node, parts: list[Node], divided: Divided, document: Document
) -> None:
    observed = _observables(data, parts, document)
    for part in parts:
        if observed is not None and not _depends(part, observed, document):
            divided.factors[_name(part)] = part
            continue
        divided.main.append(_name(part))
        if observed is not None:
            # Densities are normalised, so a constant factor inside drops out of them.
            divided.factors |= {
                _name(inner): inner
                for inner in _inside(part, document)
                if not _depends(inner, observed, document)
            }


def factors_of(node: Node, document: Document) -> list[Node]:
    """Return the factors of a product, those of its factors in turn; each once."""
    found: dict[str, Node | None] = {}
    waiting = [node]
    while waiting:
        one = waiting.pop(0)
        if _name(one) in found:
            continue
        factors = one.get("factors") if _kind(one) == "product_dist" else None
        if factors is None or not isinstance(factors.value, list):
            found[_name(one)] = one
            continue
        found[_name(one)] = None
        for item in factors.items():
            inner = document.distributions.get(item.text())
            if inner is None:
                known = document.distributions
                item.unknown(item.value, known, "distribution")
            waiting.append(inner)
    return [one for one in found.values() if one is not None]


def without(
    distributions: dict[str, dict[str, Any]], factors: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Return definitions whose products lack some factors, which are counted apart."""
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
    waiting, seen = [part], {_name(part)}
    while waiting:
        node = waiting.pop()
        for key in _INSIDE:
            value = node.value.get(key)
            for name in value if isinstance(value, list) else [value]:
                inner = document.distributions.get(name) if type(name) is str else None
                if inner is None or name in seen:
                    continue
                seen.add(name)
                factors = factors_of(inner, document)
                waiting.extend(factors)
                if _kind(inner) == "product_dist":
                    yield from factors


def _observables(data: Node, parts: list[Node], document: Document) -> set[str] | None:
    """Return the names of the axes of data; None where nothing has axes."""
    nodes = [*parts]
    if isinstance(data.value, str):
        nodes.append(document.data[data.value])
    axes = [axis for node in nodes for axis in read_axes(node, report=Report())]
    return {axis.name for axis in axes} or None


def _depends(node: Node, observed: set[str], document: Document) -> bool:
    names = dependencies([_name(node)], document, variates=True)
    return not observed.isdisjoint(names)


def _name(node: Node) -> str:
    return node.child("name").text()


def _kind(node: Node) -> str:
    return node.child("type").text()
