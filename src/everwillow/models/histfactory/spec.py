"""Conversion of a workspace to a `BinnedSpec`, with the conventions of pyhf 0.7.6."""

import difflib
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict, get_args

import numpy as np

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    UnknownKeyError,
    unknown_key,
)
from everwillow._keywords import takes_keywords
from everwillow.likelihood.binned.spec import (
    BinnedSpec,
    Derived,
    Interpolation,
    ParameterSpec,
)
from everwillow.models._document import Node, shortened
from everwillow.models.histfactory._effects import Codes, channel_specs
from everwillow.models.histfactory._inventory import Inventory, take_inventory
from everwillow.models.histfactory._parameters import (
    draft,
    finish,
    unconstrained,
    unused,
)
from everwillow.models.histfactory._remarks import (
    check_yields,
    dropped_errors,
    systematics_without_effect,
)
from everwillow.models.histfactory.reading import (
    Document,
    Measurement,
    ParameterConfig,
    read_document,
    read_parameter,
)
from everwillow.models.json_source import Source


def workspace_spec(
    workspace: Source,
    *,
    measurement: str | int | None = None,
    poi: str | None = None,
    interpolation: str | Mapping[str, str] = "default",
    expressions: Mapping[str, Derived] | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
) -> BinnedSpec:
    r"""Read a pyhf workspace into the description that models are compiled from.

    Parameters have the names, the order, the start values, bounds, fixed flags and
    auxiliary data of pyhf 0.7.6; those of `shapefactor`, `shapesys` and `staterror` are
    arrays with one element for each bin. Channels are in the order of pyhf's data,
    which is that of their names; samples are in the order of the document. All
    constants of the likelihood are those of pyhf, including a standard normal for a
    `staterror` bin without an error, which is fixed at 1.

    - `shapesys` has Poisson auxiliary data with
      :math:`\tau = (\nu / \sigma)^2`, where :math:`\nu` is the yield of the sample and
      :math:`\sigma` its error.
    - `staterror` has normal auxiliary data of width
      :math:`\sqrt{\sum_s \sigma_s^2} / \sum_s \nu_s` over the samples that have it.

    Args:
        workspace: A file, JSON text or a dict.
        measurement: Name or index of the measurement; the first if None.
        poi: Parameter of interest instead of that of the measurement, or an element
            of an array such as ``"gamma[3]"``; an empty string for none.
        interpolation: ``"default"`` is code 4 for `normsys` and code 4p for `histosys`,
            as HistFactory means it; ``"pyhf-python"`` is codes 1 and 0, the defaults
            of older versions of pyhf. Otherwise a mapping of the two types to codes.
        expressions: Functions that replace normfactors, by name. Their inputs become
            free parameters with start value 1 and bounds 0 and 10 if no modifier has
            their name.
        parameters: Settings that replace those of the measurement, by the name of the
            parameter (`inits`, `bounds`, `auxdata`, `sigmas`, `factors`: lists,
            `fixed`: a bool).

    Raises:
        SpecificationError: If the workspace is not valid, with the JSON pointer.
        MissingFileError: If there is no such file.
        UnknownKeyError: If it has no such measurement, parameter or normfactor.
        ArgumentValueError: If an interpolation is unknown, or expressions have a
            circular dependence.

    Example:
        >>> workspace = {
        ...     "channels": [
        ...         {
        ...             "name": "SR",
        ...             "samples": [
        ...                 {
        ...                     "name": "signal",
        ...                     "data": [5.0, 9.0],
        ...                     "modifiers": [
        ...                         {"name": "mu", "type": "normfactor", "data": None}
        ...                     ],
        ...                 },
        ...             ],
        ...         }
        ...     ],
        ...     "observations": [{"name": "SR", "data": [6, 8]}],
        ...     "measurements": [
        ...         {"name": "search", "config": {"poi": "mu", "parameters": []}}
        ...     ],
        ...     "version": "1.0.0",
        ... }
        >>> spec = workspace_spec(workspace)
        >>> spec.parameters[0].name, spec.parameters[0].start, spec.parameters[0].upper
        ('mu', 1.0, 10.0)

    References:
        K. Cranmer et al., HistFactory, CERN-OPEN-2012-016.
    """
    codes = interpolation_codes(interpolation)
    document = read_document(workspace)
    inventory = take_inventory(document)
    chosen, notes = _choose(document, measurement)
    notes += document.notes
    config = {**chosen.parameters, **_overrides(parameters)}
    derived = _expressions(expressions, inventory)
    made = _parameter_specs(document, inventory, config, derived, notes)
    named = {parameter.name: parameter for parameter in made}
    for name in parameters or {}:
        if name not in named:
            raise unknown_key(name, named, where="parameters")
    channels = channel_specs(document, inventory, codes)
    notes += check_yields(document, inventory, _scalar_starts(made))
    notes += dropped_errors(document, inventory)
    notes += systematics_without_effect(document)
    return BinnedSpec(
        channels,
        tuple(made),
        derived.functions,
        _poi(chosen, poi, named, derived),
        chosen.name,
        tuple(notes),
    )


class WorkspaceOptions(TypedDict, total=False):
    """Options of `workspace_spec` that functions which read workspaces pass on.

    Attributes:
        measurement: Name or index of the measurement.
        poi: Parameter of interest.
        interpolation: Codes of interpolation.
        expressions: Functions in place of normfactors.
        parameters: Settings that replace those of the measurement.
    """

    measurement: str | int | None
    poi: str | None
    interpolation: str | Mapping[str, str]
    expressions: Mapping[str, Derived] | None
    parameters: Mapping[str, Mapping[str, Any]] | None


# For functions that end in ``**options: Unpack[WorkspaceOptions]``.
takes_workspace_options = takes_keywords(
    (name, known.annotation, known.default)
    for name, known in inspect.signature(workspace_spec).parameters.items()
    if name in WorkspaceOptions.__annotations__
)


def validate(
    workspace: Source, *, interpolation: str | Mapping[str, str] = "default"
) -> tuple[str, ...]:
    """Check a workspace, with all of its measurements.

    Args:
        workspace: A file, JSON text or a dict.
        interpolation: The interpolation codes, as for `workspace_spec`.

    Returns:
        Remarks on unusual parts that can be fitted, one sentence each.

    Raises:
        SpecificationError: At the first invalid entry, with its JSON pointer.
        MissingFileError: If there is no such file.

    Example:
        >>> validate('{"channels": [], "observations": []}')
        Traceback (most recent call last):
        ...
        everwillow._errors.SpecificationError: the document: expected the key
        'measurements', found an object with the keys 'channels', 'observations'. Add
        it.
    """
    codes = interpolation_codes(interpolation)
    document = read_document(workspace)
    inventory = take_inventory(document)
    notes = list(document.notes)
    channel_specs(document, inventory, codes)
    notes += dropped_errors(document, inventory)
    notes += systematics_without_effect(document)
    derived = _expressions(None, inventory)
    for measurement in document.measurements:
        remarks: list[str] = []
        config = measurement.parameters
        made = _parameter_specs(document, inventory, config, derived, remarks)
        remarks += check_yields(document, inventory, _scalar_starts(made))
        _poi(measurement, None, {p.name: p for p in made}, derived)
        shown = shortened(measurement.name)
        notes += [f"In measurement {shown}: {note}" for note in remarks]
    return tuple(notes)


_INTERPOLATIONS: Mapping[str, Codes] = {
    "default": ("code4", "code4p"),
    "pyhf-python": ("code1", "code0"),
}


def interpolation_codes(interpolation: Any) -> Codes:
    """Return the codes of normsys and histosys.

    Raises:
        ArgumentTypeError: If the option is neither a name nor a mapping.
        ArgumentValueError: If a name, type or code is unknown.
    """
    if isinstance(interpolation, str):
        if interpolation not in _INTERPOLATIONS:
            known = (*_INTERPOLATIONS, "a mapping of normsys and histosys to codes")
            raise ArgumentValueError(
                f"interpolation: expected one of {', '.join(known)}, got "
                f"{shortened(interpolation)}."
            )
        return _INTERPOLATIONS[interpolation]
    if not isinstance(interpolation, Mapping):
        raise ArgumentTypeError(
            "interpolation: expected a name or a mapping, got "
            f"{type(interpolation).__name__}."
        )
    chosen = dict(zip(("normsys", "histosys"), _INTERPOLATIONS["default"], strict=True))
    # Only ROOT has code 6.
    valid = tuple(code for code in get_args(Interpolation) if code != "code6")
    for kind, code in interpolation.items():
        if kind not in chosen:
            raise ArgumentValueError(
                f"interpolation: only normsys and histosys interpolate, not {kind!r}."
            )
        if code not in valid:
            close = difflib.get_close_matches(str(code), valid, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ArgumentValueError(
                f"interpolation[{kind!r}]: expected one of {', '.join(valid)}, got "
                f"{code!r}.{hint}"
            )
        chosen[kind] = code
    return chosen["normsys"], chosen["histosys"]


def _choose(document: Document, measurement: Any) -> tuple[Measurement, list[str]]:
    known = document.measurements
    names = [m.name for m in known]
    if measurement is None:
        note = f"Of {len(known)} measurements the first is used: {shortened(names[0])}."
        return known[0], [note] if len(known) > 1 else []
    if isinstance(measurement, str):
        if measurement not in names:
            raise unknown_key(
                measurement, names, where="measurement", kind="measurement"
            )
        return known[names.index(measurement)], []
    if isinstance(measurement, bool) or not isinstance(measurement, int):
        raise ArgumentTypeError(
            "measurement: expected a name or an index, got "
            f"{type(measurement).__name__}."
        )
    if not 0 <= measurement < len(known):
        raise ArgumentValueError(
            f"measurement: there is no measurement {measurement}; indices go from 0 to "
            f"{len(known) - 1} ({', '.join(map(shortened, names))})."
        )
    return known[measurement], []


def _overrides(parameters: Any) -> dict[str, ParameterConfig]:
    root = Node({"parameters": dict(parameters or {})}).at("parameters")
    made = {}
    for name, values in root.value.items():
        if not isinstance(values, Mapping):
            raise root.at(name).fault("an object such as {'fixed': true}")
        made[name] = read_parameter(Node({**values, "name": name}, root, name))
    return made


class Expressions(NamedTuple):
    """Functions in place of normfactors.

    Attributes:
        functions: The functions by name, each after those that it needs.
        inputs: The new parameters of each function, which no modifier has, by the name
            of the function.
    """

    functions: dict[str, Derived]
    inputs: dict[str, tuple[str, ...]]


def _expressions(expressions: Any, inventory: Inventory) -> Expressions:
    """Sort the functions and find their new parameters.

    Raises:
        ArgumentTypeError: If one is not a `Derived`.
        ArgumentValueError: If one depends on itself or on an array.
        UnknownKeyError: If the replaced name is not a normfactor.
    """
    derived: Mapping[str, Derived] = expressions or {}
    normfactors = inventory.uses["normfactor"]
    arrays = inventory.elements
    others = inventory.order()
    functions: dict[str, Derived] = {}
    inputs: dict[str, tuple[str, ...]] = {}

    def visit(name: str, path: tuple[str, ...]) -> tuple[str, ...]:
        if name in path:
            circle = " -> ".join((*path[path.index(name) :], name))
            raise ArgumentValueError(
                f"expressions: {circle} is a circle; one of them has to be free."
            )
        if name not in derived:
            if name in arrays:
                raise ArgumentValueError(
                    f"expressions[{path[-1]!r}]: its input {name!r} is an array with "
                    "one element for each bin; use scalar parameters."
                )
            return () if name in others else (name,)
        if name not in functions:
            free = [visit(need, (*path, name)) for need in derived[name].inputs]
            inputs[name] = tuple(dict.fromkeys(sum(free, ())))
            functions[name] = derived[name]
        return inputs[name]

    for name, expression in derived.items():
        if not isinstance(expression, Derived):
            raise ArgumentTypeError(
                f"expressions[{name!r}]: expected a Derived(inputs, function), got "
                f"{type(expression).__name__}."
            )
        if name not in normfactors and not _is_input(name, derived):
            raise unknown_key(name, normfactors, where="expressions", kind="normfactor")
        if name in others and name not in normfactors:
            raise ArgumentValueError(
                f"expressions: {shortened(name)} is a {others[name]}, and only "
                "normfactors can be replaced."
            )
    for name in derived:
        visit(name, ())
    return Expressions(functions, inputs)


def _is_input(name: str, derived: Mapping[str, Derived]) -> bool:
    return any(
        name in getattr(expression, "inputs", ()) for expression in derived.values()
    )


def _parameter_specs(
    document: Document,
    inventory: Inventory,
    config: Mapping[str, ParameterConfig],
    derived: Expressions,
    notes: list[str],
) -> list[ParameterSpec]:
    drafts = {}
    for name, kind in inventory.order().items():
        if name in derived.functions:
            for new in derived.inputs[name]:
                if new not in inventory.order() and new not in drafts:
                    notes.append(
                        f"expressions[{name!r}]: no modifier is called {new!r}, so it "
                        "is a new free parameter."
                    )
                drafts.setdefault(new, unconstrained("normfactor"))
        else:
            drafts[name] = draft(name, kind, inventory, document)
    unused(config, drafts, notes)
    return [
        finish(name, made, config.get(name), document, notes)
        for name, made in drafts.items()
    ]


def _scalar_starts(parameters: list[ParameterSpec]) -> dict[str, float]:
    return {p.name: p.start for p in parameters if isinstance(p.start, float)}


def _poi(
    measurement: Measurement,
    requested: str | None,
    named: Mapping[str, ParameterSpec],
    derived: Expressions,
) -> str | None:
    poi = measurement.poi if requested is None else requested
    if not poi:
        return None
    node = measurement.node.at("config", "poi")
    parameter = named.get(poi)
    if parameter is None and requested is not None:
        name = poi.rpartition("[")[0]
        size = _length(name, named)
        if poi in [f"{name}[{i}]" for i in range(size)]:
            return poi
        if size:
            raise UnknownKeyError(
                f"poi: there is no parameter {poi!r}; {name!r} has the elements 0 to "
                f"{size - 1}."
            )
        raise unknown_key(poi, named, where="poi")
    if parameter is None:
        mend = "Name another one with `poi`, or an empty string for none."
        if poi in derived.functions:
            clash = f"{shortened(poi)}, which an expression replaces"
            raise node.fault("a parameter of interest that is fitted", clash, mend)
        hint = str(unknown_key(poi, named, where="")).partition(".")[2]
        raise node.fault("the name of a modifier", mend=f"{mend}{hint}")
    size = int(np.size(parameter.start))
    if size > 1 and requested is not None:
        raise ArgumentValueError(
            f"poi: {shortened(poi)} is an array of {size}. Name an element of it, such "
            f"as {f'{poi}[0]'!r}."
        )
    if size > 1:
        clash = f"{shortened(poi)}, an array of {size}"
        mend = f"Request an element of it with `poi`, such as {f'{poi}[0]'!r}."
        raise node.fault("a parameter of interest that is one number", clash, mend)
    return poi


def _length(name: str, named: Mapping[str, ParameterSpec]) -> int:
    """Return the number of elements of a parameter that is an array; else 0."""
    shape = np.shape(named[name].start) if name in named else ()
    return shape[0] if shape else 0
