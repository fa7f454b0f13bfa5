"""Remarks on assumptions and on unusual inputs, a sentence each."""

import numpy as np

from everwillow.likelihood.histograms import Channel, Layout
from everwillow.likelihood.templates.spec import Templates
from everwillow.models.templates.booking._book import Book
from everwillow.models.templates.booking._responses import Finding
from everwillow.models.templates.checks import spell_bins
from everwillow.models.templates.remarks import MOST, listed


_SENTENCES = {
    "huge": "moves a yield by up to {size:.3g} %, in {bins}",
    "one-sided": "does not move the yield to opposite sides, up and down, in {bins}",
    "sign": "changes the sign of the yield, or makes it 0, in {bins}{floor}",
    "outside": (
        "fills what the nominal template leaves empty, {bins}; empty bins do not "
        "respond"
    ),
    "no effect": "has no effect",
    "tiny": (
        "is the factor {factor:.3g}, that is {less:.3g} %; is {more:.3g} what is meant?"
    ),
}


def remarks(
    book: Book,
    layout: Layout,
    templates: Templates,
    observed: np.ndarray,
    *,
    stat_in_covariance: bool,
) -> tuple[str, ...]:
    """Return the report of a specification."""
    return (
        *_of_bins(layout, templates, observed),
        *_of_templates(book),
        *_of_names(book),
        *_of_variations(book),
        *_of_data(book, layout, stat_in_covariance=stat_in_covariance),
        *_of_beta(book),
    )


def _of_bins(layout: Layout, templates: Templates, observed: np.ndarray) -> list[str]:
    total = np.bincount(templates.bin, templates.nominal, layout.bins)
    out = []
    for channel in layout.channels:
        part = layout.bins_of(channel.name)
        empty = np.flatnonzero(total[part] == 0)
        if len(empty):
            out.append(
                f"Channel {channel.name!r}: nothing is expected in "
                f"{spell_bins(empty, channel)}."
            )
        if channel.masked:
            continue
        odd = np.flatnonzero((observed[part] != 0) & (total[part] <= 0))
        odd = odd[np.isfinite(observed[part][odd])]
        if len(odd):
            out.append(
                f"Channel {channel.name!r}: there are data where nothing is expected, "
                f"in {spell_bins(odd, channel)}; a Poisson likelihood is 0 there."
            )
        negative = np.flatnonzero(observed[part] < 0)
        if len(negative):
            out.append(
                f"Channel {channel.name!r}: the data are negative in "
                f"{spell_bins(negative, channel)}."
            )
    return out


def _of_templates(book: Book) -> list[str]:
    out = [
        f"Process {process!r} in channel {channel!r} is empty."
        for (process, channel), nominal in book.nominal.items()
        if not nominal.value.any()
    ]
    assumed = [
        f"{process!r} in {channel!r}"
        for (process, channel), nominal in book.nominal.items()
        if nominal.assumed
    ]
    if assumed:
        out.append(
            "No variances were given, so that they are the yields, for process "
            f"{listed(assumed)}."
        )
    return _shortened(out)


def _of_names(book: Book) -> list[str]:
    out = []
    for name, suffixes in book.suffixes.items():
        if "" in suffixes and len(suffixes) > 1:
            others = sorted(suffixes - {""})
            out.append(
                f"Systematic {name!r} is one parameter in some places and split in "
                f"{' and '.join(repr(name + s) for s in others)} in others: these are "
                "parameters of their own."
            )
    for name, effects in book.responses.items():
        if not any(effect.average.size for effect in effects.values()):
            free = "" if book.kinds[name].constrained else ", and nothing constrains it"
            out.append(f"Systematic {name!r} has no effect anywhere{free}.")
    return _shortened(out)


def _of_variations(book: Book) -> list[str]:
    out: list[str] = []
    logarithms = book.kind == "log_normal"
    floor = "; the exponent of the response is ln(1e-3) there" if logarithms else ""
    for kind, text in _SENTENCES.items():
        of_kind = [finding for finding in book.findings if finding.kind == kind]
        out += _shortened(
            [_sentence(f, text, book.channels[f.channel], floor) for f in of_kind]
        )
    return out


def _sentence(finding: Finding, text: str, channel: Channel, floor: str) -> str:
    bins = spell_bins(finding.bins, channel)
    if finding.count > len(finding.bins):
        bins += f" and {finding.count - len(finding.bins)} more"
    factor = finding.size
    effect = text.format(
        size=100 * factor,
        bins=bins,
        floor=floor,
        factor=factor,
        less=100 * (factor - 1),
        more=1 + factor,
    )
    end = "" if effect.endswith("?") else "."
    return (
        f"Systematic {finding.systematic!r} on process {finding.process!r} in channel "
        f"{finding.channel!r} {effect}{end}"
    )


def _of_beta(book: Book) -> list[str]:
    out = []
    for block in book.beta:
        sides = (block.source, block.source_bin), (block.target, block.target_bin)
        filled = [
            book.nominal[block.process, channel].dense()[bins] != 0
            for channel, bins in sides
        ]
        idle = int((~(filled[0] & filled[1])).sum())
        if idle:
            out.append(
                f"Beta variations of process {block.process!r} from {block.source!r} "
                f"to {block.target!r}: {idle} entries are for bins without a yield, "
                "and do nothing."
            )
    return out


def _of_data(book: Book, layout: Layout, *, stat_in_covariance: bool) -> list[str]:
    without = [
        repr(c.name)
        for c in layout.channels
        if not c.masked and c.name not in book.data
    ]
    out = [f"There are no data for channel {listed(without)}."] if without else []
    if book.shifts:
        out.append(
            f"The covariance of the data contains the systematics "
            f"{listed(list(map(repr, book.shifts)))}; they are no parameters."
        )
    if stat_in_covariance:
        out.append(
            "The covariance of the data contains the variances of the templates: fit "
            "without bin-by-bin statistics, or they count twice."
        )
    return out


def _shortened(sentences: list[str]) -> list[str]:
    if len(sentences) <= MOST:
        return sentences
    return [*sentences[:MOST], f"... and {len(sentences) - MOST} more like the last."]
