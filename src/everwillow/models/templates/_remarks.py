"""What was assumed or looks odd, in sentences."""

import jax.numpy as jnp
import numpy as np

from everwillow.likelihood.data_terms import (
    AbstractDataTerm,
    CovarianceTerm,
    PoissonTerm,
)
from everwillow.likelihood.histograms import Channel, Layout
from everwillow.likelihood.template_arrays import TemplateArrays
from everwillow.likelihood.template_spec import Templates, TemplateSpec
from everwillow.models.templates._booking import Book, spell_bins
from everwillow.models.templates._variations import Finding
from everwillow.models.templates.parameter_models.base import (
    AbstractParameterModel,
    rates_of,
)


MOST = 50
"""How many sentences of one kind are written out."""

_SAID = {
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


def unused(spec: TemplateSpec, term: AbstractDataTerm) -> tuple[str, ...]:
    """Return what was given of the data and is left out of the likelihood.

    Args:
        spec: The template fit.
        term: How the data enter.
    """
    joint = isinstance(term, CovarianceTerm)
    covariance = spec.observed_covariance is not None
    out = []
    needs = not isinstance(term, PoissonTerm)
    if needs and spec.observed_variance is None and not (joint and covariance):
        wanted = "add_data_covariance, or " if joint else ""
        out.append(
            "The data have no variances, so that the counts are taken for them. Give "
            f"{wanted}add_data(..., variances=...)."
        )
    if covariance and not joint:
        out.append(
            "The covariance of the data is not used, nor are systematics in it: that "
            "takes likelihood='covariance'."
        )
    replaced = (joint and covariance) or isinstance(term, PoissonTerm)
    if replaced and spec.observed_variance is not None:
        instead = "covariance" if joint else "counts"
        out.append(
            f"The variances of the data are not used, but their {instead}: that takes "
            "likelihood='chi2'."
        )
    return tuple(out)


def held(spec: TemplateSpec, rate_model: AbstractParameterModel) -> tuple[str, ...]:
    """Return which signals no parameter scales.

    Args:
        spec: The template fit.
        rate_model: What scales the processes.
    """
    known = rate_model.parameters()
    signals = [name for name in spec.signals if name not in known]
    if not signals or not known:
        return ()
    start = np.array([float(entry.start) for entry in known.values()])
    before, after = (
        np.asarray(rates_of(rate_model, jnp.asarray(values)))
        for values in (start, 1.1 * start + 0.1)
    )
    return tuple(
        f"{name!r} is a signal without a parameter here: it is held where it is. To "
        f"fit it, put 'Strengths {name}; ' before the other parameters."
        for name in signals
        if np.array_equal(*(v[spec.layout.process(name)] for v in (before, after)))
    )


def idle(spec: TemplateSpec, arrays: TemplateArrays) -> tuple[str, ...]:
    """Return whose systematics do nothing, as they are added in units of a rate of 0.

    Args:
        spec: The template fit.
        arrays: The templates of the fitted bins.
    """
    if arrays.baseline is None:
        return ()
    filled = np.asarray(arrays.nominal) != 0
    process, size = np.asarray(arrays.process), len(spec.layout.processes)
    there, alive = (
        np.bincount(process[where], minlength=size)
        for where in (filled, filled & (np.asarray(arrays.baseline) != 0))
    )
    moved = np.unique(spec.templates.process[spec.responses.row])
    names = [spec.layout.processes[p] for p in moved if there[p] and not alive[p]]
    if not names:
        return ()
    return (
        f"Systematics of process {_listed(list(map(repr, names)))} do nothing: they "
        "are added in units of the rate at the start values, which is 0. Choose other "
        "start values, with_starts(...).",
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
            f"{_listed(assumed)}."
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
    for kind, said in _SAID.items():
        found = [finding for finding in book.findings if finding.kind == kind]
        out += _shortened(
            [_sentence(f, said, book.channels[f.channel], floor) for f in found]
        )
    return out


def _sentence(finding: Finding, said: str, channel: Channel, floor: str) -> str:
    bins = spell_bins(finding.bins, channel)
    if finding.count > len(finding.bins):
        bins += f" and {finding.count - len(finding.bins)} more"
    factor = finding.size
    effect = said.format(
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
    out = [f"There are no data for channel {_listed(without)}."] if without else []
    if book.shifts:
        out.append(
            f"The covariance of the data contains the systematics "
            f"{_listed(list(map(repr, book.shifts)))}; they are no parameters."
        )
    if stat_in_covariance:
        out.append(
            "The covariance of the data contains the variances of the templates: fit "
            "without bin-by-bin statistics, or they count twice."
        )
    return out


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more


def _shortened(sentences: list[str]) -> list[str]:
    if len(sentences) <= MOST:
        return sentences
    return [*sentences[:MOST], f"... and {len(sentences) - MOST} more like the last."]
