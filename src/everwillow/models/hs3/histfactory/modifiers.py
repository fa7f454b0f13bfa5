"""Reading of the modifiers of histfactory distributions into a normalised form.

Spec: HS3 0.2, chapter HistFactory; and what ROOT, pyhs3 and converters of pyhf write.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

from everwillow._errors import UnknownKeyError, nearest
from everwillow.likelihood.binned.spec import Interpolation
from everwillow.models._document import Node, Report


Kind = Literal[
    "normfactor", "normsys", "histosys", "shapefactor", "shapesys", "staterror"
]
PER_BIN = ("shapefactor", "shapesys", "staterror")
_KINDS = {kind: kind for kind in ("normfactor", "normsys", "histosys", *PER_BIN)} | {
    "overallsys": "normsys",
    "lumi": "normfactor",
    "custom": "normfactor",
}
_CONSTRAINTS = {
    "gauss": "Gauss",
    "gaussian": "Gauss",
    "normal": "Gauss",
    "poisson": "Poisson",
    "pois": "Poisson",
    "lognormal": "LogNormal",
    "const": "Const",
    "none": "None",
}
_CODES: dict[str, Interpolation] = {
    "lin": "code0",
    "log": "code1",
    "parabolic": "code2",
    "poly6": "code4p",
    "code0": "code0",
    "code1": "code1",
    "code2": "code2",
    "code4": "code4",
    "code4p": "code4p",
    "code6": "code6",
}
_DEFAULT_CODE: dict[str, Interpolation] = {"normsys": "code4", "histosys": "code4p"}
# The integers of ROOT, whose code 3 is 2. Its FlexibleInterpVar, a normsys, takes 4 for
# 5; its PiecewiseInterpolation, a histosys, adds in 4 what 6 multiplies.
_NUMBERS: dict[str, tuple[Interpolation, ...]] = {
    "normsys": ("code0", "code1", "code2", "code2", "code4", "code4", "code4p"),
    "histosys": ("code0", "code1", "code2", "code2", "code4p", "code4", "code6"),
}


@dataclass(frozen=True)
class Modifier:
    """One modifier in a normalised form.

    Attributes:
        kind: The type of the modifier.
        name: Its name, or that of its parameter.
        parameters: Its parameters, or numbers for constant ones; empty if the document
            does not name the gammas.
        listed: Whether the document has a list of parameters, one for each bin.
        constraints: The type of the constraint (`Gauss`, `Poisson`, `LogNormal`,
            `Const`, `None`), or the name of a distribution, or None if it is not given.
            One for all parameters, or one for each.
        node: The place of the modifier.
    """

    kind: Kind
    name: str
    parameters: tuple[str | float, ...]
    listed: bool
    constraints: tuple[str | None, ...]
    node: Node

    def constraint(self, index: int) -> str | None:
        """Return the constraint of one of the parameters."""
        return self.constraints[index if len(self.constraints) > 1 else 0]


def read_modifier(
    node: Node, *, distributions: Iterable[str], report: Report
) -> Modifier:
    """Read one modifier.

    Args:
        node: The node of the modifier.
        distributions: The names of the distributions, for constraints given by name.
        report: The report to which assumptions are added.
    """
    kind_node = node.child("type")
    kind = _KINDS.get(kind_node.text().lower())
    if kind is None:
        hint = nearest(kind_node.value, _KINDS) or f" There is: {', '.join(_KINDS)}."
        raise UnknownKeyError(
            f"{kind_node.where}: no modifier type {kind_node.value!r}.{hint}"
        )
    parameters, listed = _parameters(node, cast(Kind, kind), report)
    name = node.get("name")
    own = str(parameters[0]) if parameters else kind
    return Modifier(
        cast(Kind, kind),
        own if name is None else name.text(),
        parameters,
        listed,
        _constraints(node, len(parameters), distributions, report),
        node,
    )


def _parameters(
    node: Node, kind: Kind, report: Report
) -> tuple[tuple[str | float, ...], bool]:
    many = node.get("parameters")
    if many is not None and not isinstance(many.value, str):
        names = tuple(item.reference() for item in many.items())
        if not names:
            many.refuse("there must be at least one parameter.")
        if kind not in PER_BIN and len(names) != 1:
            many.refuse(f"a {kind} has one parameter, found {len(names)}.")
        return names, True
    one = node.get("parameter") or many
    if one is not None:
        return (one.reference(),), False
    name = node.get("name")
    if kind in PER_BIN:
        return (), False
    if name is None:
        node.child("parameter")
        raise AssertionError
    # So did ROOT until 6.30: a normfactor is its parameter, a systematic has `alpha_`.
    parameter = name.text() if kind == "normfactor" else f"alpha_{name.text()}"
    report.collect(
        "No parameter is given for the modifiers of {names}; the name of the modifier "
        "is used, after 'alpha_' for systematics.",
        parameter,
    )
    return (parameter,), False


# From July 2026 on ROOT writes names only; before, also types under a key of their own.
CONSTRAINT_KEYS = (
    "constraints",
    "constraint_names",
    "constraint",
    "constraint_name",
    "constraint_types",
    "constraint_type",
)


def _constraints(
    node: Node, count: int, distributions: Iterable[str], report: Report
) -> tuple[str | None, ...]:
    """Return names or types of constraints from their entries; names outrank types."""
    constraints: list[tuple[str | None, ...]] = []
    for key in CONSTRAINT_KEYS:
        entry = node.get(key)
        if entry is None:
            continue
        # The name may be that of a missing distribution if a type is given too.
        spare = key.startswith("constraint_name") and any(
            f"constraint_type{end}" in node for end in ("", "s")
        )
        kinds = _constraint_kinds(entry, count, distributions, spare=spare)
        if any(kinds):
            constraints.append(kinds)
    if not constraints:
        return (None,)
    named = [kinds for kinds in constraints if set(kinds) & set(distributions)]
    chosen = (named or constraints)[0]
    if not named and any(kinds != chosen for kinds in constraints):
        report.say(
            f"{node.where}: its entries on the constraint differ; "
            f"{', '.join(map(str, chosen))} is used."
        )
    return chosen


def _constraint_kinds(
    entry: Node, count: int, distributions: Iterable[str], *, spare: bool
) -> tuple[str | None, ...]:
    if not isinstance(entry.value, list):
        return (_constraint(entry, distributions, spare=spare),)
    kinds = tuple(
        None if item.value is None else _constraint(item, distributions, spare=spare)
        for item in entry.items()
    )
    if len(kinds) != count and len(kinds) != 1:
        entry.refuse(f"{len(kinds)} constraints for {count} parameters.")
    return kinds or (None,)


def constraint_type(node: Node) -> str | None:
    """Return the type of constraint that an entry of settings gives, or None."""
    for key in ("constraint", "constraint_type"):
        entry = node.get(key)
        if entry is not None:
            return _constraint(entry, ())
    return None


def _constraint(
    node: Node, distributions: Iterable[str], *, spare: bool = False
) -> str | None:
    text = node.text()
    if text in distributions:
        return text
    if text.lower() == "unknown":  # ROOT's word for what it cannot name
        return None
    known = _CONSTRAINTS.get(text.lower())
    if known is None and spare:
        return None
    if known is None:
        options = [*dict.fromkeys(_CONSTRAINTS.values()), *distributions]
        hint = nearest(text, options)
        raise UnknownKeyError(
            f"{node.where}: {text!r} is neither a type of constraint (Gauss, Poisson, "
            f"LogNormal, Const, None) nor the name of a distribution.{hint}"
        )
    return known


_STRUCTURED: dict[tuple[str, str, str], Interpolation] = {
    ("add", "poly1", "poly1"): "code0",
    ("mult", "exp", "exp"): "code1",
    ("add", "poly2", "poly1"): "code2",
    ("mult", "poly6", "exp"): "code4",
    ("mult", "poly6", "poly1"): "code6",
    ("add", "poly6", "poly1"): "code4p",
}


def interpolation(
    modifier: Modifier, *, report: Report, default: Node | None = None
) -> Interpolation:
    """Return the interpolation code of a normsys or histosys.

    The entry may be beside the data or inside, and may be `lin`, `log`, `parabolic` and
    `poly6`, or `code0` to `code4p`, or one of ROOT's integers, which have different
    meanings for the two kinds. Newer documents describe it, as in ``{"type": "add",
    "in": "poly6", "out": "poly1"}``.

    Args:
        modifier: The modifier.
        report: The report to which assumptions are added.
        default: The entry `default_interpolation` of the distribution, for modifiers of
            all types without an entry.
    """
    data = modifier.node.get("data")
    inside = data is not None and isinstance(data.value, dict)
    given = modifier.node.get("interpolation")
    if given is None and inside and data is not None:
        given = data.get("interpolation")
    if given is None:
        given = default
    if given is None and modifier.constraint(0) == "LogNormal":
        return "code1"  # the logarithm of the factor is then linear, as it must be
    if given is None:
        code = _DEFAULT_CODE[modifier.kind]
        shape = "straight" if code == "code4p" else "exponential"
        report.collect(
            f"No interpolation is given for the {modifier.kind} of {{names}}; {code} "
            f"is assumed (sixth order, with {shape} tails).",
            modifier.name,
        )
        return code
    if isinstance(given.value, dict):
        return _structured(given)
    value = given.value
    code = _CODES.get(value) if isinstance(value, str) else None
    numbers = _NUMBERS[modifier.kind]
    # Some exporters write all numbers with a point.
    if isinstance(value, int | float) and not isinstance(value, bool):
        code = numbers[int(value)] if value in range(len(numbers)) else None
    if code is None:
        hint = nearest(value, _CODES) if isinstance(value, str) else ""
        hint = hint or f" There is: {', '.join(_CODES)}, 0 to {len(numbers) - 1}."
        raise UnknownKeyError(f"{given.where}: no such interpolation.{hint}")
    return code


def _structured(node: Node) -> Interpolation:
    inner = node.child("in").text()
    outer, kind = node.get("out"), node.get("type")
    parts = (
        "add" if kind is None else kind.text(),
        inner,
        inner if outer is None else outer.text(),
    )
    alias = {"multiply": "mult", "multiplicative": "mult", "additive": "add"}
    code = _STRUCTURED.get((alias.get(parts[0], parts[0]), *parts[1:]))
    if code is None:
        known = "; ".join(", ".join(entry) for entry in _STRUCTURED)
        node.refuse(
            f"the interpolation {', '.join(parts)} (type, in, out) is not read. There "
            f"is: {known}."
        )
    return code
