"""The modifiers of a workspace, their order, and the parameters that they share."""

from collections.abc import Mapping
from typing import NamedTuple

from everwillow.models._document import Node, shortened
from everwillow.models.histfactory.reading import Channel, Document, Modifier, Sample


# The order of pyhf's `par_order`: first by type, in this order.
_ORDER = (
    "histosys",
    "lumi",
    "normfactor",
    "normsys",
    "shapefactor",
    "shapesys",
    "staterror",
)


class Use(NamedTuple):
    """One modifier with its place in the document."""

    channel: Channel
    sample: Sample
    modifier: Modifier

    @property
    def node(self) -> Node:
        """The place in the document."""
        return self.modifier.node

    @property
    def words(self) -> str:
        """The place in words, for messages."""
        return (
            f"sample {shortened(self.sample.name)} of channel "
            f"{shortened(self.channel.name)}"
        )


class Inventory(NamedTuple):
    """The modifiers of a workspace.

    Attributes:
        channels: The channels in the order of the data, which is that of their names.
        uses: All places of modifiers by type and name, in the order of parameters.
        elements: The sizes of array parameters by name.
        layout: The first element of a parameter that a channel uses, by the names of
            channel and parameter.
    """

    channels: list[Channel]
    uses: Mapping[str, Mapping[str, list[Use]]]
    elements: dict[str, int]
    layout: dict[tuple[str, str], int]

    def order(self) -> dict[str, str]:
        """Return the types of all parameters by name, in pyhf's `par_order`.

        A parameter that normsys and histosys share counts as histosys.
        """
        named: dict[str, str] = {}
        for kind in _ORDER:
            for name in self.uses[kind]:
                named.setdefault(name, kind)
        return named


def take_inventory(document: Document) -> Inventory:
    """List the modifiers and check that those of the same name can share a parameter.

    Raises:
        SpecificationError: If they cannot, with one of the places.
    """
    channels = sorted(document.channels, key=lambda channel: channel.name)
    uses: dict[str, dict[str, list[Use]]] = {kind: {} for kind in _ORDER}
    for channel in channels:
        for sample in sorted(channel.samples, key=lambda sample: sample.name):
            for modifier in sorted(sample.modifiers, key=_name_and_kind):
                places = uses[modifier.kind].setdefault(modifier.name, [])
                places.append(Use(channel, sample, modifier))
    uses["staterror"] = dict(sorted(uses["staterror"].items()))
    _check_types(uses)
    inventory = Inventory(channels, uses, {}, {})
    for name, places in uses["lumi"].items():
        if name != "lumi":
            raise places[0].node.at("name").fault("the name 'lumi' of a lumi modifier")
    for name, places in uses["shapesys"].items():
        _lay_out_shapesys(name, places, inventory)
    for name, places in uses["shapefactor"].items():
        _lay_out_shapefactor(name, places, inventory)
    for name, places in uses["staterror"].items():
        _lay_out_staterror(name, places, inventory)
    return inventory


def _name_and_kind(modifier: Modifier) -> tuple[str, str]:
    return modifier[:2]


def _check_types(uses: Mapping[str, Mapping[str, list[Use]]]) -> None:
    first: dict[str, str] = {}
    for kind in _ORDER:
        for name, places in uses[kind].items():
            other = first.setdefault(name, kind)
            if other != kind and {other, kind} != {"histosys", "normsys"}:
                raise (
                    places[0]
                    .node.at("type")
                    .fault(
                        "types that can share a parameter (normsys with histosys)",
                        f"{kind} and, in {uses[other][name][0].words}, {other} named "
                        f"{shortened(name)}",
                        "Rename one of the two.",
                    )
                )


def _lay_out_shapesys(name: str, places: list[Use], inventory: Inventory) -> None:
    if len(places) > 1:
        raise (
            places[1]
            .node.at("name")
            .fault(
                f"a shapesys in one sample only (the first is in {places[0].words})",
                f"a second one named {shortened(name)} in {places[1].words}",
                "Each has its own uncertainties, so give each a name of its own.",
            )
        )
    channel = places[0].channel
    inventory.elements[name] = channel.bins
    inventory.layout[channel.name, name] = 0


def _lay_out_shapefactor(name: str, places: list[Use], inventory: Inventory) -> None:
    # The size is the number of bins of the first channel; channels with fewer bins use
    # the first elements.
    size = inventory.elements[name] = places[0].channel.bins
    for place in places:
        if place.channel.bins > size:
            raise place.node.fault(
                f"at most the {size} bins that shapefactor {shortened(name)} has in "
                f"channel {shortened(places[0].channel.name)}, the first by name",
                f"{place.channel.bins} in channel {shortened(place.channel.name)}",
                "Rename one of the two modifiers.",
            )
        inventory.layout[place.channel.name, name] = 0


def _lay_out_staterror(name: str, places: list[Use], inventory: Inventory) -> None:
    having: dict[str, list[str]] = {}
    begin = 0
    for place in places:
        key = (place.channel.name, name)
        if key not in inventory.layout:
            inventory.layout[key] = begin
            begin += place.channel.bins
        having.setdefault(place.sample.name, []).append(place.channel.name)
    inventory.elements[name] = begin
    if len({frozenset(channels) for channels in having.values()}) > 1:
        different = next(
            place
            for place in places
            if having[place.sample.name] != having[places[0].sample.name]
        )
        raise different.node.fault(
            f"samples that all have staterror {shortened(name)} in the same channels",
            f"{shortened(different.sample.name)} with it in other channels than "
            f"{shortened(places[0].sample.name)}",
            "Give the staterror of each channel a name of its own.",
        )
