"""The parameters of a density-ratio workspace."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from everwillow._errors import nearest
from everwillow.likelihood.binned.spec import ConstraintSpec, ParameterSpec
from everwillow.models._document import Node, Report, shortened


Kind: TypeAlias = Literal["normfactor", "vandermonde", "systematic"]

_KINDS: dict[str, Kind] = {
    "normfactor": "normfactor",
    "vandermonde": "vandermonde",
    "normplusshape": "systematic",
    "normsys": "systematic",
}
# Start values of parameters that the measurement does not list.
_NEUTRAL: dict[Kind, float] = {"normfactor": 1.0, "vandermonde": 1.0, "systematic": 0.0}


class Parameter(NamedTuple):
    """One parameter of a workspace.

    Attributes:
        name: Its name.
        kind: Its kind.
        start: Its start value.
        lower: Its smallest value.
        upper: Its largest value.
        fixed: Whether it is not fitted.
        listed: Whether the measurement lists it. One that it does not list multiplies
            by 1, or changes nothing.
    """

    name: str
    kind: Kind
    start: float
    lower: float = -np.inf
    upper: float = np.inf
    fixed: bool = False
    listed: bool = True

    def spec(self) -> ParameterSpec:
        """Return the parameter for a `BinnedSpec`."""
        unit = ConstraintSpec("normal", 0.0, 1.0)
        return ParameterSpec(
            self.name,
            self.start,
            self.lower,
            self.upper,
            self.fixed,
            unit if self.kind == "systematic" else None,
        )


class Parameters:
    """All parameters that modifiers of a workspace name, in its order.

    The order is that of the first appearance in channels, samples and modifiers; norm
    factors come first, then couplings, then systematics; and before all others the
    parameter of interest.

    Args:
        known: The parameters by name.
        poi: The parameter of interest, or None.

    Attributes:
        poi: The parameter of interest, or None.
        order: The names in this order.
    """

    def __init__(self, known: dict[str, Parameter], poi: str | None) -> None:
        kinds: Sequence[Kind] = ("normfactor", "vandermonde", "systematic")
        names = sorted(known, key=lambda name: kinds.index(known[name].kind))
        self._known = known
        self.poi = poi
        self.order = tuple(sorted(names, key=lambda name: name != poi))

    @classmethod
    def of(cls, root: Node, config: Node, report: Report) -> "Parameters":
        """Read the parameters of a measurement.

        Args:
            root: The workspace.
            config: The entry ``config`` of the measurement.
            report: The report of the reader.
        """
        kinds = _kinds(root)
        settings = {node.name: node for node in config.listed("parameters")}
        known = {
            name: _parameter(name, kind, settings.get(name), report)
            for name, kind in kinds.items()
        }
        for name in settings.keys() - kinds.keys():
            report.collect("No modifier has the parameters {names}.", name)
        if "errordef" in config and config.value["errordef"] != "LIKELIHOOD":
            report.say(
                "The entry errordef has no effect: neither -ln L nor errors depend on "
                "it."
            )
        poi = config.value.get("poi") or None
        if poi is not None and poi not in known:
            config.child("poi").refuse(
                f"no modifier has the parameter of interest {shortened(poi)}."
                f"{nearest(poi, known)}"
            )
        return cls(known, poi)

    def __getitem__(self, name: str) -> Parameter:
        return self._known[name]

    def specs(self) -> tuple[ParameterSpec, ...]:
        """Return all listed parameters in their order."""
        entries = [self._known[name] for name in self.order]
        return tuple(entry.spec() for entry in entries if entry.listed)


def statistics_parameter(channel: str, relative: np.ndarray) -> ParameterSpec:
    """Return the factors of the bins of a channel, one for each.

    Args:
        channel: The channel, or the unbinned region, which has one number.
        relative: The relative statistical errors of the sum of its templates; 0 where
            a bin is exact. A scalar parameter has shape ``()``.
    """
    exact = ~(relative > 0)
    counts = 1 / np.where(exact, 1.0, relative) ** 2
    return ParameterSpec(
        statistics_name(channel),
        np.ones(relative.shape),
        1e-10,
        10.0,
        exact,
        ConstraintSpec("poisson", counts, counts),
    )


def statistics_name(channel: str) -> str:
    """Return the name of the factors of the bins of a channel."""
    return f"staterror_{channel}"


def _kinds(root: Node) -> dict[str, Kind]:
    """Return the kind of each parameter in the order of first appearance."""
    kinds: dict[str, Kind] = {}
    for channel in root.child("channels").items():
        for sample in channel.child("samples").items():
            for modifier in sample.listed("modifiers"):
                name, text = modifier.name, modifier.type
                if text not in _KINDS:
                    modifier.child("type").unknown(text, _KINDS, "modifier type")
                kind = kinds.setdefault(name, _KINDS[text])
                if kind != _KINDS[text]:
                    modifier.refuse(
                        f"{shortened(name)} is a {kind} elsewhere, and of type "
                        f"{shortened(text)} here."
                    )
    return kinds


def _parameter(
    name: str, kind: Kind, settings: Node | None, report: Report
) -> Parameter:
    if settings is None:
        sentence = (
            "The measurement does not list the nuisance parameters {names}; they are 0."
            if kind == "systematic"
            else "The measurement does not list the factors {names}; they are 1."
        )
        report.collect(sentence, name)
        return Parameter(name, kind, _NEUTRAL[kind], listed=False)
    start = _NEUTRAL[kind]
    if "inits" in settings:
        start = float(settings.child("inits").numbers(size=1)[0])
    lower, upper = -np.inf, np.inf
    if "bounds" in settings:
        (pair, *more) = settings.child("bounds").items()
        if more:
            settings.child("bounds").fail("one pair of numbers")
        ends = [end.number(infinite=True) for end in pair.items()]
        if len(ends) != 2 or not ends[0] <= ends[1]:
            pair.fail("a lower and an upper bound")
        lower, upper = ends
    fixed = bool(settings.value.get("fixed", False))
    if fixed:
        report.collect("The parameters {names} are constant.", name)
    return Parameter(name, kind, start, lower, upper, fixed)
