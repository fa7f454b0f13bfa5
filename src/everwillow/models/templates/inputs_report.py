"""Report on the inputs of a template fit before the fit."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from everwillow._html import Part, Table, apart, html_of, text_of
from everwillow.likelihood.histograms import Channel, Layout
from everwillow.likelihood.templates.spec import LOG_FLOOR, TemplateSpec


VariationFault: TypeAlias = Literal["huge", "one-sided", "sign-changing"]
"""Unusual properties of a variation: above 100 %, up and down not to opposite sides, or
to a yield of the other sign."""

_FIRST = 10


@dataclass(frozen=True, slots=True)
class ChannelInputs:
    """A summary of a channel.

    Attributes:
        channel: Its name.
        bins: The number of bins.
        masked: Whether it is masked.
        expected: The sum of the nominal yields.
        observed: The sum of the data; None without data.
    """

    channel: str
    bins: int
    masked: bool
    expected: float
    observed: float | None


@dataclass(frozen=True, slots=True)
class EmptyBins:
    """Bins of a channel whose expectation is zero.

    Attributes:
        channel: The channel.
        bins: These bins, by their indices along the axes.
        with_data: The number of these bins with nonzero data.
    """

    channel: str
    bins: tuple[tuple[int, ...], ...]
    with_data: int


@dataclass(frozen=True, slots=True)
class EmptyTemplate:
    """A process without a yield in a channel.

    Attributes:
        process: The process.
        channel: The channel.
    """

    process: str
    channel: str


@dataclass(frozen=True, slots=True)
class OddVariation:
    """A systematic with an unusual effect on a process in a channel.

    Attributes:
        fault: The unusual property.
        systematic: The name of the parameter.
        process: The process.
        channel: The channel.
        count: The number of bins with this property.
        bins: The first ten of these, by their indices along the axes.
        size: The largest relative change of a yield in them.
    """

    fault: VariationFault
    systematic: str
    process: str
    channel: str
    count: int
    bins: tuple[tuple[int, ...], ...]
    size: float


@dataclass(frozen=True, slots=True)
class InputsReport:
    """The inputs of a template fit, and those that are unusual; prints as tables.

    Attributes:
        channels: All channels.
        empty_bins: Bins whose expectation is zero.
        empty_templates: Processes without a yield in a channel.
        odd_variations: Variations that are huge, one-sided or change signs.
        without_effect: Systematics without an effect on any yield.
        remarks: Remarks from reading the histograms, before pairs were symmetrised.
    """

    channels: tuple[ChannelInputs, ...]
    empty_bins: tuple[EmptyBins, ...]
    empty_templates: tuple[EmptyTemplate, ...]
    odd_variations: tuple[OddVariation, ...]
    without_effect: tuple[str, ...]
    remarks: tuple[str, ...]

    def __str__(self) -> str:
        """Return the tables."""
        return text_of(self._parts())

    def _repr_html_(self) -> str:
        """Return the tables for notebooks."""
        return html_of(self._parts())

    def _parts(self) -> list[Part]:
        parts = [
            _table(
                ("channel", "bins", "masked", "expected", "observed"),
                [
                    (
                        c.channel,
                        str(c.bins),
                        "yes" if c.masked else "no",
                        f"{c.expected:.6g}",
                        "-" if c.observed is None else f"{c.observed:.6g}",
                    )
                    for c in self.channels
                ],
            ),
            _table(
                ("nothing expected in", "bins", "with data", "which"),
                [
                    (e.channel, str(len(e.bins)), str(e.with_data), _spell(e.bins))
                    for e in self.empty_bins
                ],
            ),
            _table(
                ("without a yield", "channel"),
                [(e.process, e.channel) for e in self.empty_templates],
            ),
            *(self._variations(fault) for fault in _FAULTS),
            _table(("without any effect",), [(n,) for n in self.without_effect]),
            "\n".join(["remarks", *(f"- {r}" for r in self.remarks)])
            if self.remarks
            else "",
        ]
        return apart([part for part in parts if part])

    def _variations(self, fault: VariationFault) -> Part:
        return _table(
            (f"{fault} variation", "process", "channel", "bins", "up to", "which"),
            [
                (
                    v.systematic,
                    v.process,
                    v.channel,
                    str(v.count),
                    f"{100 * v.size:.3g} %",
                    _spell(v.bins, v.count),
                )
                for v in self.odd_variations
                if v.fault == fault
            ],
        )


_FAULTS: tuple[VariationFault, ...] = ("huge", "one-sided", "sign-changing")


def inspect_inputs(spec: TemplateSpec) -> InputsReport:
    """Find unusual inputs of a template fit.

    The function inspects the responses of the fit, in which up and down may be
    averaged. The remarks contain the findings on the histograms.

    Args:
        spec: The template fit, of a builder or a file.

    Example:
        >>> from everwillow.models.templates.booking.builder import TemplateBuilder
        >>> builder = TemplateBuilder()
        >>> builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
        >>> builder.add_process([10.0, 20.0], "flat", "ch0", variances=[1.0, 2.0])
        >>> builder.add_systematic([25.0, 20.0], "scale", "flat", "ch0")
        >>> builder.add_data([9.0, 22.0], "ch0")
        >>> report = inspect_inputs(builder.spec())
        >>> [(odd.fault, odd.systematic, odd.bins) for odd in report.odd_variations]
        [('huge', 'scale', ((0,),))]
    """
    layout, templates = spec.layout, spec.templates
    total = np.bincount(templates.bin, templates.nominal, layout.bins)
    sizes = np.diff(spec.responses.start)
    return InputsReport(
        channels=tuple(_channel(spec, c, total) for c in layout.channels),
        empty_bins=tuple(_empty_bins(spec, total)),
        empty_templates=tuple(_empty_templates(spec)),
        odd_variations=tuple(_odd_variations(spec)),
        without_effect=tuple(
            s.name for s, n in zip(spec.systematics, sizes, strict=True) if not n
        ),
        remarks=spec.report,
    )


def _channel(
    spec: TemplateSpec, channel: Channel, total: Float[np.ndarray, " bins"]
) -> ChannelInputs:
    part = spec.layout.bins_of(channel.name)
    data = None if channel.masked else float(spec.observed[part].sum())
    return ChannelInputs(
        channel.name,
        channel.size,
        channel.masked,
        float(total[part].sum()),
        None if data is None or np.isnan(data) else data,
    )


def _empty_bins(
    spec: TemplateSpec, total: Float[np.ndarray, " bins"]
) -> Iterable[EmptyBins]:
    for channel in spec.layout.channels:
        part = spec.layout.bins_of(channel.name)
        empty = np.flatnonzero(total[part] == 0)
        if len(empty):
            data = np.zeros(0) if channel.masked else spec.observed[part][empty]
            filled = int(np.count_nonzero(np.nan_to_num(data)))
            yield EmptyBins(channel.name, _indices(empty, channel), filled)


def _empty_templates(spec: TemplateSpec) -> Iterable[EmptyTemplate]:
    layout = spec.layout
    some = spec.templates.nominal != 0
    has = np.zeros((len(layout.channels), len(layout.processes)), bool)
    channels = _channel_of(layout, spec.templates.bin[some])
    has[channels, spec.templates.process[some]] = True
    for c, p in np.argwhere(~has):
        yield EmptyTemplate(layout.processes[p], layout.channels[c].name)


def _channel_of(
    layout: Layout, bins: Int[np.ndarray, " entries"]
) -> Int[np.ndarray, " entries"]:
    ends = np.cumsum([channel.size for channel in layout.channels])
    return np.searchsorted(ends, bins, side="right")


def _odd_variations(spec: TemplateSpec) -> list[OddVariation]:
    """Return odd variations in the order of faults, then of systematics."""
    responses = spec.responses
    half = responses.half
    up = responses.average if half is None else responses.average + half
    # The response to -1, not mirrored.
    down = -responses.average if half is None else half - responses.average
    nominal = spec.templates.nominal[responses.row]
    moves = np.stack([up, down])
    if spec.systematic_type == "normal":
        moves = np.divide(moves, nominal, where=nominal != 0, out=np.zeros_like(moves))
        changing = np.any(moves <= -1, axis=0)
        sizes = np.max(np.abs(moves), axis=0)
        huge = sizes > 1 + 1e-9
    else:
        changing = np.any(np.isclose(np.abs(moves), -LOG_FLOOR, rtol=1e-12), axis=0)
        sizes = np.max(np.abs(np.expm1(moves)), axis=0)
        # A size from `LOG_FLOOR`, in place of a missing logarithm, is meaningless.
        huge = (sizes > 1 + 1e-9) & ~changing
    one_sided = np.zeros(len(up), bool)
    if half is not None:
        one_sided = (np.sign(up) * np.sign(down) >= 0) & ((up != 0) | (down != 0))
    faults: dict[VariationFault, np.ndarray] = {
        "huge": huge,
        "one-sided": one_sided,
        "sign-changing": changing,
    }
    return [
        odd for fault in _FAULTS for odd in _grouped(spec, fault, faults[fault], sizes)
    ]


def _grouped(
    spec: TemplateSpec,
    fault: VariationFault,
    where: Bool[np.ndarray, " entries"],
    sizes: Float[np.ndarray, " entries"],
) -> Iterable[OddVariation]:
    """Return one record for each systematic, process and channel."""
    layout, templates = spec.layout, spec.templates
    entries = np.flatnonzero(where)
    if not len(entries):
        return
    systematic = np.searchsorted(spec.responses.start, entries, side="right") - 1
    bins = templates.bin[spec.responses.row[entries]]
    process = templates.process[spec.responses.row[entries]]
    channel = _channel_of(layout, bins)
    order = np.lexsort((bins, channel, process, systematic))
    keys = np.stack([systematic, process, channel])[:, order]
    starts = np.flatnonzero(np.any(np.diff(keys, axis=1, prepend=-1), 0))
    for begin, end in zip(starts, [*starts[1:], len(order)], strict=True):
        group = order[begin:end]
        s, p, c = keys[:, begin]
        place = layout.channels[c]
        local = bins[group] - layout.bins_of(place.name).start
        yield OddVariation(
            fault,
            spec.systematics[s].name,
            layout.processes[p],
            place.name,
            len(group),
            _indices(local[:_FIRST], place),
            float(sizes[entries[group]].max()),
        )


def _indices(
    bins: Int[np.ndarray, " entries"], channel: Channel
) -> tuple[tuple[int, ...], ...]:
    if not channel.axes:
        return ((),) * len(bins)
    indices = np.stack(np.unravel_index(bins, channel.shape), 1)
    return tuple(tuple(map(int, index)) for index in indices)


def _spell(bins: Sequence[tuple[int, ...]], count: int | None = None) -> str:
    shown = " ".join("(" + ",".join(map(str, index)) + ")" for index in bins[:5])
    more = (len(bins) if count is None else count) - min(len(bins), 5)
    return shown + (f" and {more} more" if more else "")


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> Part:
    return Table([titles, *rows]) if rows else ""


__all__ = [
    "ChannelInputs",
    "EmptyBins",
    "EmptyTemplate",
    "InputsReport",
    "OddVariation",
    "VariationFault",
    "inspect_inputs",
]
