"""The events of unbinned channels of a workspace: weights and density ratios."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from everwillow.models._document import Node, Report, shortened
from everwillow.models.nsbi._parameters import Parameters
from everwillow.models.nsbi.arrays import WorkspaceArrays
from everwillow.models.nsbi.likelihood.responses import LEAST_FACTOR
from everwillow.models.nsbi.spec import Events, ReferenceDensity, Variation


class EventReader:
    """Reads the events of unbinned channels.

    Args:
        arrays: The arrays of the workspace.
        parameters: Its parameters.
        report: The report of the reader.

    Attributes:
        generation: 1 or 2, the generation of the workspace; None before the first
            unbinned channel.
    """

    def __init__(
        self, arrays: WorkspaceArrays, parameters: Parameters, report: Report
    ) -> None:
        self._arrays = arrays
        self._parameters = parameters
        self._report = report
        self.generation: int | None = None

    def region(
        self, channel: Node, samples: Sequence[Node], observed: Node | None
    ) -> dict[str, Any]:
        """Return the events of a channel, as arguments of an `UnbinnedRegion`.

        Args:
            channel: The channel.
            samples: Its samples.
            observed: The entry of ``observations`` for it, if there is one.
        """
        own = {node.name: node for node in samples}
        reference = channel.get("reference")
        has_data = observed is not None and "ratios" in observed
        if has_data and observed is not None:
            self.generation = 2
            entries = _by_sample(observed.child("ratios"), own)
            weights = observed.get("weights")
            events = self._events(weights, own, entries, "observation")
        else:
            self.generation = self.generation or 1
            events = self._events(channel.child("weights"), own, own, "channel")
        if reference is not None:
            entries = _by_sample(reference.child("samples"), own)
            weights = reference.child("weights")
            simulated = self._events(weights, own, entries, "reference")
            _check_alike(reference, events, simulated)
            kind = _density(reference)
        elif has_data and "weights" in channel:
            # The channel has Asimov data.
            kind = "nominal"
            weights = channel.child("weights")
            simulated = self._events(weights, own, own, "channel")
            _check_alike(channel, events, simulated)
        else:
            simulated, kind = None, "nominal"
        return {
            "events": events,
            "reference": simulated,
            "reference_density": kind,
        }

    def _events(
        self,
        weights: Node | None,
        samples: Mapping[str, Node],
        entries: Mapping[str, Node],
        place: Literal["channel", "observation", "reference"],
    ) -> Events:
        """Read events.

        Args:
            weights: The reference to their weights; None if all are 1.
            samples: The samples of the channel.
            entries: For each sample the node that refers to the ratios at these events:
                a reference, or an object with ``ratios`` and ``modifiers``.
            place: Where these events are described.
        """
        values = None if weights is None else self._weights(weights)
        ratios: dict[str, np.ndarray] = {}
        variations: dict[tuple[str, str], Variation] = {}
        members: dict[tuple[str, str, str], tuple[np.ndarray, ...]] = {}

        def read(
            node: Node, key: tuple[str, str, str], borrower: str = ""
        ) -> np.ndarray:
            nonlocal values
            if values is None:
                values = np.ones(self._ratios(node, None, "", "")[0].size)
            named = "its first ratios" if weights is None else shortened(weights.value)
            each = self._ratios(node, values.size, named, borrower)
            if len(each) == 1:
                return each[0]
            members[key] = each
            return np.mean(each, axis=0)

        for name, sample in samples.items():
            entry = entries[name]
            whole = isinstance(entry.value, dict)
            node = entry.child("ratios") if whole else entry
            ratios[name] = read(node, (name, "", ""))
            own = whole and "modifiers" in entry
            borrower = "" if own or place == "channel" else place
            for modifier in _shapes(entry if own else sample, self._parameters):
                data, parameter = modifier.child("data"), modifier.name
                ends = [
                    read(data.child(ratio), (name, parameter, end), borrower)
                    for ratio, end in (("lo_ratio", "down"), ("hi_ratio", "up"))
                ]
                if any(np.min(end, initial=1.0) < LEAST_FACTOR for end in ends):
                    self._report.collect(
                        "The systematics {names} have events whose varied density is "
                        "zero. It falls to 0 within ±1, and is 0 beyond.",
                        parameter,
                    )
                if borrower == "observation":
                    self._report.collect(
                        "Observed events without modifiers of their own have the "
                        "changes of densities of the channel: they must be the same "
                        "events. Samples: {names}.",
                        name,
                    )
                variations[name, parameter] = Variation(*ends)
        assert values is not None
        _check_possible(entries, values, ratios)
        return Events(values, ratios, variations, members)

    def _weights(self, node: Node) -> np.ndarray:
        values = self._arrays.read(node.text(), where=node.where)
        if not np.isfinite(values).all():
            node.fail("finite weights")
        return values

    def _ratios(
        self, node: Node, size: int | None, weights: str, borrower: str
    ) -> tuple[np.ndarray, ...]:
        nodes = list(node.items()) if isinstance(node.value, list) else [node]
        if not nodes:
            node.fail("a file, or a list of files")
        read = []
        for one in nodes:
            values = self._arrays.read(one.text(), where=one.where)
            if size is not None and values.size != size and borrower:
                one.refuse(
                    f"the ratios {shortened(one.value)} of the channel have "
                    f"{values.size} events, the {borrower} has {size}. Give "
                    f"`modifiers` with ratios of its events in the {borrower}."
                )
            if size is not None and values.size != size:
                one.refuse(
                    f"{shortened(one.value)} has {values.size} ratios, and "
                    f"{weights} has {size} weights."
                )
            bad = ~(np.isfinite(values) & (values >= 0))
            if bad.any():
                first = int(np.argmax(bad))
                one.refuse(
                    f"{shortened(one.value)} has {int(bad.sum())} ratios that are "
                    f"negative or not finite; number {first} is {values[first]}."
                )
            read.append(values)
        return tuple(read)


def _check_possible(
    entries: Mapping[str, Node],
    weights: np.ndarray,
    ratios: Mapping[str, np.ndarray],
) -> None:
    """Check that each event with a weight has a density."""
    total = np.zeros(weights.size)
    for values in ratios.values():
        total += values
    impossible = (weights != 0) & (total == 0)
    if impossible.any():
        next(iter(entries.values())).refuse(
            f"{int(impossible.sum())} events with a weight have the ratio 0 for all "
            f"samples, so that they are impossible; the first is number "
            f"{int(np.argmax(impossible))}. Leave them out, or mend the ratios."
        )


def _density(reference: Node) -> ReferenceDensity:
    """Return the density from which a reference sample is simulated."""
    node = reference.get("density")
    if node is None:
        return "reference"
    found = [one for one in get_args(ReferenceDensity) if one == node.value]
    if not found:
        node.fail("'reference' or 'nominal'")
    return found[0]


def _check_alike(node: Node, events: Events, simulated: Events) -> None:
    different = simulated.variations.keys() ^ events.variations.keys()
    if different:
        sample, parameter = sorted(different)[0]
        node.refuse(
            f"the change of {shortened(sample)} by {shortened(parameter)} is not given "
            "for both the observed events and the reference sample."
        )


def _by_sample(node: Node, samples: Mapping[str, Node]) -> dict[str, Node]:
    """Return the entry of each sample: of an object, or of a list in their order."""
    if isinstance(node.value, dict):
        return {name: node.child(name) for name in samples}
    entries = list(node.items())
    if all(isinstance(entry.value, dict) and "name" in entry for entry in entries):
        named: dict[str, Any] = {entry.name: entry for entry in entries}
        for name in samples:
            if name not in named:
                node.unknown(name, named, "sample")
        return named
    if len(entries) != len(samples):
        node.fail(f"an entry for each of the {len(samples)} samples of the channel")
    return dict(zip(samples, entries, strict=True))


def _shapes(node: Node, parameters: Parameters) -> list[Node]:
    """Return the modifiers that change the density of a sample."""
    found = []
    for modifier in node.listed("modifiers"):
        if modifier.type != "normplusshape":
            continue
        if modifier.name not in parameters.order:
            modifier.child("name").unknown(
                modifier.name, parameters.order, "parameter of the channels"
            )
        data = modifier.child("data")
        if parameters[modifier.name].listed and "hi_ratio" in data:
            found.append(modifier)
    return found
