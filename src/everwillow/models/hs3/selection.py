"""Selection of an analysis of a document, with its data and parameters.

Spec: HS3 0.2, sections 2.4 to 2.7 (likelihoods, domains, points, analyses).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from everwillow._errors import ArgumentTypeError, ArgumentValueError, unknown_key
from everwillow.models._document import Node
from everwillow.models.hs3.data import PointData, UnbinnedData, read_data
from everwillow.models.hs3.document import Document


@dataclass(frozen=True)
class Point:
    """The value of a parameter, whether it is constant, and its range from ROOT."""

    value: float
    const: bool
    ends: tuple[float, float] = (-np.inf, np.inf)


@dataclass(frozen=True)
class AuxData:
    """Observed values of auxiliary distributions that a likelihood lists.

    Attributes:
        by_distribution: A number, or the name of a data set, by distribution.
        values: Values by the name of the variate.
        names: The names of variates whose values are in the parameter points.
    """

    by_distribution: Mapping[str, Node]
    values: Mapping[str, float]
    names: frozenset[str]


@dataclass(frozen=True)
class Selection:
    """One analysis.

    Attributes:
        name: The name of the analysis, or of the likelihood without analyses.
        pois: Names of the parameters of interest.
        main: The distributions with their data: a name or a number.
        aux: The auxiliary distributions, whose data are in the document's numbers.
        aux_data: The auxiliary data that the likelihood lists.
        points: Values by parameter.
        bounds: Ranges by parameter; NaN does not occur.
    """

    name: str
    pois: tuple[str, ...]
    main: tuple[tuple[Node, Node], ...]
    aux: tuple[Node, ...]
    aux_data: "AuxData"
    points: Mapping[str, Point]
    bounds: Mapping[str, tuple[float, float]]


def select(document: Document, analysis: str | int | None) -> Selection:
    """Resolve an analysis.

    Args:
        document: The document.
        analysis: Its name or its position; the first one if None.

    Raises:
        EverwillowError: If there is no such analysis, or if it refers to a missing
            entry.
    """
    if analysis is not None and not isinstance(analysis, (str, int)):
        raise ArgumentTypeError(
            f"analysis: expected a name or a position, got {type(analysis).__name__}."
        )
    if document.analyses:
        name, node = _one(document, document.analyses, analysis, "analysis")
        named = node.child("likelihood")
        likelihood = document.likelihoods.get(named.text())
        if likelihood is None:
            named.unknown(named.value, document.likelihoods, "likelihood")
        pois = _pois(node)
        domains, init = _domain_names(node), node.get("init")
        if "prior" in node:
            document.report.say(
                f"The prior of the analysis {name!r} is not used: it belongs to "
                "Bayesian inference."
            )
    else:
        if not document.likelihoods:
            document.root.refuse(
                "there is neither an analysis nor a likelihood, so nothing says which "
                "data belong to which distribution."
            )
        name, likelihood = _one(document, document.likelihoods, analysis, "likelihood")
        document.report.say(
            f"There are no analyses: the likelihood {name!r} is read, without a "
            "parameter of interest."
        )
        pois, domains, init = (), list(Node([]).items()), None
    aux = _auxiliary(document, likelihood)
    points = _points(document, init)
    return Selection(
        name,
        pois,
        _main(document, likelihood),
        tuple(aux.values()),
        _aux_data(document, likelihood, list(aux), domains),
        points,
        _with_points(document, _bounds(document, domains), points),
    )


def _one(
    document: Document, nodes: Mapping[str, Node], key: str | int | None, kind: str
) -> tuple[str, Node]:
    names = list(nodes)
    if isinstance(key, str):
        if key not in nodes:
            raise unknown_key(key, names, where="analysis", kind=kind)
        return key, nodes[key]
    if key is None:
        if len(names) > 1:
            plural = "analyses" if kind == "analysis" else "likelihoods"
            shown = ", ".join(map(repr, names[:4])) + (", ..." if names[4:] else "")
            document.report.say(
                f"Of the {len(names)} {plural} ({shown}) the first is read."
            )
        key = 0
    if not -len(names) <= key < len(names):
        raise ArgumentValueError(
            f"analysis: there are {len(names)}, so {key} is not one of them."
        )
    return names[key], nodes[names[key]]


def _pois(node: Node) -> tuple[str, ...]:
    for key in ("parameters_of_interest", "parameter_of_interest", "poi", "pois"):
        pois = node.get(key)
        if pois is None:
            continue
        if isinstance(pois.value, str):
            return (pois.text(),)
        return tuple(item.text() for item in pois.items())
    return ()


def _domain_names(node: Node) -> list[Node]:
    for key in ("domains", "domain"):
        entry = node.get(key)
        if entry is not None:
            listed = isinstance(entry.value, list)
            nodes = list(entry.items()) if listed else [entry]
            for node in nodes:
                node.text()
            return nodes
    return []


def _main(document: Document, likelihood: Node) -> tuple[tuple[Node, Node], ...]:
    distributions, data = likelihood.child("distributions"), likelihood.child("data")
    names, sets = list(distributions.items()), list(data.items())
    if len(names) != len(sets):
        likelihood.refuse(
            f"{len(names)} distributions, but {len(sets)} data: each needs one."
        )
    pairs = []
    for name, dataset in zip(names, sets, strict=True):
        pairs.append((_distribution(document, name), dataset))
        if isinstance(dataset.reference(), str) and dataset.value not in document.data:
            dataset.unknown(dataset.value, document.data, "data set")
    if not pairs:
        distributions.refuse("the likelihood has no distributions.")
    return tuple(pairs)


def _distribution(document: Document, name: Node) -> Node:
    node = document.distributions.get(name.text())
    if node is None:
        name.unknown(name.value, document.distributions, "distribution")
    return node


def _auxiliary(document: Document, likelihood: Node) -> dict[str, Node]:
    listed = likelihood.get("aux_distributions")
    aux: dict[str, Node] = {}
    for name in [] if listed is None else listed.items():
        if name.text() in aux:
            document.report.collect(
                "The auxiliary distributions {names} are listed twice; each is "
                "counted once.",
                name.value,
            )
        aux[name.value] = _distribution(document, name)
    return aux


def _aux_data(
    document: Document, likelihood: Node, aux: list[str], domains: Sequence[Node]
) -> AuxData:
    """Read `aux_data` of ROOT: a data set of all global observables, or one for each.

    Some exports name a data set that they do not contain; the parameter points have
    the values then.
    """
    listed = likelihood.get("aux_data")
    items = [] if listed is None else list(listed.items())
    by_distribution: dict[str, Node] = {}
    values: dict[str, float] = {}
    names = _marked_global(document, domains)
    for index, item in enumerate(items):
        reference = item.reference()
        if isinstance(reference, str) and reference not in document.data:
            names.add(reference)
            if not any(
                reference in _names(p) for p in document.parameter_points.values()
            ):
                document.report.collect(
                    "The auxiliary data {names} are not in the document; values are "
                    "taken from the parameter points.",
                    reference,
                )
            continue
        dataset = None
        if isinstance(reference, str):
            data = document.data[reference]
            dataset = read_data(data, report=document.report)
        if isinstance(dataset, UnbinnedData) and len(dataset.entries) == 1:
            axes = (axis.name for axis in dataset.axes)
            values |= zip(axes, dataset.entries[0].tolist(), strict=True)
        elif isinstance(dataset, PointData) and len(dataset.axes) == 1:
            values[dataset.axes[0].name] = dataset.value
        elif len(items) == len(aux):
            by_distribution[aux[index]] = item
        else:
            item.refuse("expected the global observables as one entry of data.")
    return AuxData(by_distribution, values, frozenset(names))


def _marked_global(document: Document, domains: Sequence[Node]) -> set[str]:
    """Return the names that ROOT marks as global observables, or as constant."""
    names: set[str] = set()
    for node in domains:
        if node.value in document.domains and "global_observables" in node.value:
            names |= _domain(document, document.domains[node.value]).keys()
    misc = document.root.value.get("misc")
    for key in ("ROOT_internal", "attributes"):
        misc = misc.get(key) if isinstance(misc, dict) else None
    for name, entry in misc.items() if isinstance(misc, dict) else ():
        tags = entry.get("tags") if isinstance(entry, dict) else None
        if isinstance(tags, list) and {"Constant", "globs", "glob"} & set(
            map(str, tags)
        ):
            names.add(name)
    return names


def _names(point: Node) -> set[str]:
    listed = point.value.get("parameters")
    entries = listed if isinstance(listed, list) else []
    return {str(entry.get("name")) for entry in entries if isinstance(entry, dict)}


def _points(document: Document, init: Node | None) -> dict[str, Point]:
    names = list(document.parameter_points)
    if init is not None:
        if init.text() not in names:
            init.unknown(init.value, names, "parameter point")
        first = init.value
    elif "default_values" in names or not names:
        first = "default_values"
    else:
        first = names[0]
        if len(names) > 1:
            document.report.say(
                f"The analysis names no initial point: {first!r} is used."
            )
    # ROOT keeps the constant parameters in the point `default_values` only.
    order = sorted(names, key=lambda name: (name != first, name != "default_values"))
    points: dict[str, Point] = {}
    for name in order:
        point = _point(document.parameter_points[name])
        for parameter in sorted(point.keys() - points.keys()):
            if name not in (first, "default_values"):
                document.report.collect(
                    "The values of {names} are taken from another point than the "
                    "initial one.",
                    parameter,
                )
        points = point | points
    return points


def _point(node: Node) -> dict[str, Point]:
    point: dict[str, Point] = {}
    for entry in node.listed("parameters"):
        name, value = entry.name, entry.child("value").number()
        const = entry.get("const")
        if const is not None and not isinstance(const.value, bool):
            const.fail("true or false")
        this = Point(value, const is not None and const.value, _ends(entry))
        if point.setdefault(name, this) != this:
            entry.refuse(f"the parameter {name!r} has two different entries here.")
    return point


def _bounds(
    document: Document, domain_nodes: Iterable[Node]
) -> dict[str, tuple[float, float]]:
    bounds: dict[str, tuple[float, float]] = {}
    names = []
    for node in domain_nodes:
        if node.text() not in document.domains:
            node.unknown(node.value, document.domains, "domain")
        names.append(node.value)
    if not names:
        names = [name for name in document.domains if name == "default_domain"] or list(
            document.domains
        )[:1]
        if names:
            document.report.say(f"The analysis names no domain: {names[0]!r} is used.")
    elif "default_domain" in document.domains:
        names.append("default_domain")
    for name in names:
        for parameter, span in _domain(document, document.domains[name]).items():
            if bounds.setdefault(parameter, span) != span and name != "default_domain":
                document.report.collect(
                    "The domains of the analysis differ in the ranges of {names}; the "
                    "first is used.",
                    parameter,
                )
    return bounds


def _with_points(
    document: Document,
    bounds: dict[str, tuple[float, float]],
    points: Mapping[str, Point],
) -> dict[str, tuple[float, float]]:
    """Add the ranges of parameter points for parameters without a domain."""
    for name, point in points.items():
        lower, upper = point.ends
        if name in bounds or point.const or not lower < upper:
            continue
        if np.isfinite(lower) or np.isfinite(upper):
            bounds[name] = point.ends
            document.report.collect(
                "The ranges of {names} are those of the parameter points, as no "
                "domain has them.",
                name,
            )
    return bounds


def _ends(node: Node) -> tuple[float, float]:
    low, high = node.get("min"), node.get("max")
    return (
        -np.inf if low is None else low.number(infinite=True),
        np.inf if high is None else high.number(infinite=True),
    )


def _domain(document: Document, node: Node) -> dict[str, tuple[float, float]]:
    kind = node.get("type")
    if kind is not None and kind.text() != "product_domain":
        kind.refuse(f"the domain type {kind.value!r} is not read.")
    spans: dict[str, tuple[float, float]] = {}
    for axis in node.listed("axes"):
        name = axis.name
        if "categories" in axis:
            continue
        lower, upper = _ends(axis)
        if lower > upper:
            document.report.collect(
                "'min' is above 'max' in the ranges of {names}; they are exchanged.",
                name,
            )
            lower, upper = upper, lower
        if lower == np.inf or upper == -np.inf:
            axis.refuse(f"the range from {lower} to {upper} is empty.")
        if spans.setdefault(name, (lower, upper)) != (lower, upper):
            axis.refuse(f"the parameter {name!r} has two different ranges here.")
    return spans
