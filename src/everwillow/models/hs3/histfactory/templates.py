"""Arrays and settings of the modifiers of a channel."""

from collections.abc import Iterator, Sequence

import numpy as np

from everwillow.likelihood.binned.spec import Effect, SampleSpec, ShapeVariation
from everwillow.models._document import Node
from everwillow.models.hs3.histfactory.channels import Channel, Sample
from everwillow.models.hs3.histfactory.modifiers import Modifier, constraint_type


def scaled(sample: Sample, factor: float, effects: Sequence[Effect]) -> SampleSpec:
    """Return the sample with templates multiplied by a constant factor."""
    if factor == 1.0:
        return SampleSpec(sample.name, sample.nominal, tuple(effects))
    moved = tuple(
        ShapeVariation(e.parameter, factor * e.down, factor * e.up, e.interpolation)
        if isinstance(e, ShapeVariation)
        else e
        for e in effects
    )
    return SampleSpec(sample.name, factor * sample.nominal, moved)


def check_total(channel: Channel) -> None:
    """Check that no bin has a likelihood of zero at the nominal yields."""
    assert channel.observed is not None
    total = np.sum([sample.nominal for sample in channel.samples], axis=0)
    wrong = (total < 0.0) | ((total == 0.0) & (channel.observed > 0.0))
    if wrong.any():
        place = int(np.argmax(wrong))
        channel.node.refuse(
            f"bin {place} of the channel {channel.name!r} expects {total[place]:g} "
            f"events and observes {channel.observed[place]:g}: its likelihood is zero."
        )


def check_positive(lo: Node, hi: Node, code: str) -> None:
    """Check the factors of an exponential interpolation."""
    for node in (lo, hi):
        if node.number() <= 0.0:
            node.refuse(
                f"{code} needs a positive factor, found {node.number():g}. Use 'lin' "
                "or 'poly6', which add instead of multiply."
            )


def template_node(data: Node, key: str) -> Node:
    """Return the list of the yields of a histosys on one side, `lo` or `hi`."""
    node = data.get(f"{key}_data") or data.child(key)
    return node if isinstance(node.value, list) else node.child("contents")


def stat_error_node(modifier: Modifier) -> Node | None:
    """Return the list of absolute errors that a staterror has itself, if any."""
    data = modifier.node.get("data")
    if data is None or isinstance(data.value, list):
        return data
    return data.get("uncertainties") or data.get("errors") or data.get("vals")


def modifiers_of(channel: Channel, kind: str) -> Iterator[tuple[Sample, Modifier]]:
    """Yield the modifiers of one kind with their samples."""
    for sample in channel.samples:
        for modifier in sample.modifiers:
            if modifier.kind == kind:
                yield sample, modifier


def paired(names: object, values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Pair the scalars with their numbers, or the array with all of them."""
    if isinstance(names, str):
        yield names, values
    elif isinstance(names, tuple):
        yield from zip(names, values, strict=True)


def bin_values(modifier: Modifier, channel: Channel) -> np.ndarray:
    """Return the entry `vals` of a shapesys."""
    data = modifier.node.child("data")
    return _errors(
        data if isinstance(data.value, list) else data.child("vals"), channel
    )


def bin_errors(sample: Sample, modifier: Modifier, channel: Channel) -> np.ndarray:
    """Return the absolute errors of a staterror."""
    node = stat_error_node(modifier)
    if node is not None:
        return _errors(node, channel)
    if sample.errors is None:
        modifier.node.refuse(
            f"a staterror uses the errors of its sample, but {sample.name!r} has no "
            f"'errors' in {sample.node.where}/data."
        )
    return sample.errors


def _errors(node: Node, channel: Channel) -> np.ndarray:
    values = node.numbers(size=channel.bins, owner=f"{channel.name!r}")
    if (values < 0.0).any():
        node.refuse("an error cannot be negative.")
    return values


def stat_settings(sample: Sample, channel: Channel) -> tuple[str | None, float]:
    """Return constraint and threshold of staterrors from entries beside modifiers.

    ROOT has them in an entry `staterror` of the channel; that of a sample outranks it.
    """
    kind, threshold = None, 0.0
    for node in (channel.node, sample.node):
        settings = node.get("staterror")
        if settings is not None:
            kind = constraint_type(settings) or kind
            least = settings.get("relThreshold")
            threshold = threshold if least is None else least.number()
    return kind, threshold
