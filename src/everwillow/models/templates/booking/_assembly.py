"""Assemble the specification from everything that was booked."""

import re
from collections.abc import Iterable, Mapping

import numpy as np

from everwillow._errors import ArgumentValueError, ShapeMismatchError
from everwillow.likelihood.histograms import Layout
from everwillow.likelihood.templates.spec import (
    BetaVariations,
    Responses,
    Systematic,
    Templates,
    TemplateSpec,
)
from everwillow.models.templates.booking._book import Book
from everwillow.models.templates.booking._remarks import remarks


def natural(name: str) -> tuple[object, ...]:
    """Return a key for natural sorting: numbers by value, and without upper case."""
    parts = re.split(r"(\d+)", name.casefold())
    # Texts and numbers alternate, so that only parts of one type are compared.
    return tuple(int(p) if i % 2 else p for i, p in enumerate(parts)), name


def layout_of(book: Book) -> Layout:
    """Return channels and processes in their order.

    Fitted channels come first, in the order they were added, then the masked ones;
    signals come before other processes, each part in natural order.
    """
    channels = sorted(book.channels.values(), key=lambda channel: channel.masked)
    processes = sorted(book.signal, key=lambda p: (not book.signal[p], natural(p)))
    return Layout(tuple(channels), tuple(processes))


def assemble(book: Book, *, sparse: bool, stat_in_covariance: bool) -> TemplateSpec:
    """Return the specification of everything in a book.

    Raises:
        ArgumentValueError: If a part that a fit needs is missing.
        ShapeMismatchError: If the covariance of the data has another number of bins.
    """
    layout = layout_of(book)
    _check_complete(book, layout)
    templates, rows = _templates(book, layout)
    systematics = _ordered_systematics(book)
    observed, variance = _data(book, layout)
    return TemplateSpec(
        layout=layout,
        signals=tuple(p for p in layout.processes if book.signal[p]),
        templates=templates,
        systematics=systematics,
        responses=_joined_responses(book, [s.name for s in systematics], rows),
        systematic_type=book.kind,
        observed=observed,
        observed_variance=variance,
        observed_covariance=_covariance(
            book, layout, templates, observed, variance, stat=stat_in_covariance
        ),
        pseudodata=_pseudodata(book, layout),
        external=tuple(book.external),
        beta_variations=_beta(book, layout),
        auxiliary={name: dict(arrays) for name, arrays in book.auxiliary.items()},
        sparse=sparse,
        report=remarks(
            book, layout, templates, observed, stat_in_covariance=stat_in_covariance
        ),
    )


def _check_complete(book: Book, layout: Layout) -> None:
    if not any(not channel.masked for channel in layout.channels):
        raise ArgumentValueError(
            "The template fit has no channel to fit. Add one with add_channel."
        )
    filled = {channel for _, channel in book.nominal}
    bare = [c.name for c in layout.channels if c.name not in filled]
    if bare:
        raise ArgumentValueError(
            f"Channel {bare[0]!r} has no process, so nothing is expected in it. Add "
            "one with add_process, or leave the channel out."
        )


def _templates(
    book: Book, layout: Layout
) -> tuple[Templates, Mapping[tuple[str, str], np.ndarray]]:
    """Return all rows, and those of each process in a channel."""
    blocks = list(book.nominal.items())
    bins = np.concatenate(
        [layout.bins_of(c).start + nominal.index for (_, c), nominal in blocks]
    ).astype(np.int32)
    sizes = [len(nominal.index) for _, nominal in blocks]
    processes = np.repeat(
        np.array([layout.process(p) for (p, _), _ in blocks], np.int32), sizes
    )
    order = np.lexsort((processes, bins))
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    ends = np.cumsum([0, *sizes])
    templates = Templates(
        bin=bins[order],
        process=processes[order],
        nominal=np.concatenate([n.value for _, n in blocks])[order],
        variance=np.concatenate([n.variance for _, n in blocks])[order],
    )
    return templates, {
        key: place[start:end]
        for (key, _), start, end in zip(blocks, ends[:-1], ends[1:], strict=True)
    }


def _ordered_systematics(book: Book) -> tuple[Systematic, ...]:
    """Return the systematics, unconstrained ones first, both in natural order."""
    names = sorted(
        book.responses, key=lambda n: (book.kinds[n].constrained, natural(n))
    )
    return tuple(
        Systematic(
            name,
            constrained=book.kinds[name].constrained,
            groups=tuple(book.groups[name]) or (book.families[name],),
            interest=book.kinds[name].interest,
        )
        for name in names
    )


def _joined_responses(
    book: Book, names: Iterable[str], rows: Mapping[tuple[str, str], np.ndarray]
) -> Responses:
    effects = [list(book.responses[name].items()) for name in names]
    sizes = [sum(len(e.average) for _, e in several) for several in effects]
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    row = np.empty(start[-1], np.int32)
    average = np.empty(start[-1])
    asymmetric = any(e.half is not None for several in effects for _, e in several)
    half = np.zeros(start[-1]) if asymmetric else None
    for several, begin, end in zip(effects, start[:-1], start[1:], strict=True):
        at = begin
        for key, effect in several:
            stop = at + len(effect.average)
            own_rows = rows[key]
            row[at:stop] = own_rows if effect.rows is None else own_rows[effect.rows]
            average[at:stop] = effect.average
            if half is not None and effect.half is not None:
                half[at:stop] = effect.half
            at = stop
        if len(several) > 1:
            # A stable sort merges parts that are sorted.
            order = np.argsort(row[begin:end], kind="stable")
            row[begin:end] = row[begin:end][order]
            average[begin:end] = average[begin:end][order]
            if half is not None:
                half[begin:end] = half[begin:end][order]
    return Responses(start, row, average, half)


def _data(book: Book, layout: Layout) -> tuple[np.ndarray, np.ndarray | None]:
    observed = np.full(layout.fitted, np.nan)
    for name, values in book.data.items():
        observed[layout.bins_of(name)] = values
    if not book.data_variance:
        return observed, None
    variance = observed.copy()
    for name, values in book.data_variance.items():
        variance[layout.bins_of(name)] = values
    return observed, variance


def _pseudodata(book: Book, layout: Layout) -> dict[str, np.ndarray]:
    out = {}
    fitted = [c.name for c in layout.channels if not c.masked]
    for name, parts in book.pseudodata.items():
        missing = [channel for channel in fitted if channel not in parts]
        if missing:
            raise ArgumentValueError(
                f"Pseudodata {name!r} have no histogram for channel {missing[0]!r}. "
                "Add one for each fitted channel with add_pseudodata."
            )
        out[name] = np.concatenate([parts[channel] for channel in fitted])
    return out


def _covariance(
    book: Book,
    layout: Layout,
    templates: Templates,
    observed: np.ndarray,
    variance: np.ndarray | None,
    *,
    stat: bool,
) -> np.ndarray | None:
    """Return the covariance of the fitted bins, with the contributions added to it."""
    if book.data_covariance is None and not book.shifts and not stat:
        return None
    if book.data_covariance is not None:
        covariance = book.data_covariance.copy()
        if len(covariance) != layout.fitted:
            raise ShapeMismatchError(
                f"The covariance of the data is for {len(covariance)} bins, and there "
                f"are {layout.fitted} fitted bins. Masked channels have no part in it."
            )
    else:
        diagonal = observed if variance is None else variance
        if not (diagonal > 0).all():
            raise ArgumentValueError(
                "Something is to be added to the covariance of the data, and in "
                f"{int((~(diagonal > 0)).sum())} fitted bins the data have no "
                "variance above 0 to start from. Give add_data_covariance, or "
                "add_data with variances, for every fitted channel."
            )
        covariance = np.diag(diagonal)
    if book.shifts:
        shifts = np.zeros((len(book.shifts), layout.fitted))
        for row, parts in zip(shifts, book.shifts.values(), strict=True):
            for channel, events in parts.items():
                row[layout.bins_of(channel)] = events
        covariance += shifts.T @ shifts
    if stat:
        inside = templates.bin < layout.fitted
        sums = np.bincount(
            templates.bin[inside], templates.variance[inside], layout.fitted
        )
        covariance[np.diag_indices(layout.fitted)] += sums
    return covariance


def _beta(book: Book, layout: Layout) -> BetaVariations | None:
    if not book.beta:
        return None
    starts = {c.name: layout.bins_of(c.name).start for c in layout.channels}
    return BetaVariations(
        process=np.concatenate(
            [
                np.full(len(b.change), layout.process(b.process), np.int32)
                for b in book.beta
            ]
        ),
        source=np.concatenate([starts[b.source] + b.source_bin for b in book.beta]),
        target=np.concatenate([starts[b.target] + b.target_bin for b in book.beta]),
        change=np.concatenate([b.change for b in book.beta]),
    )
