"""A text on an analysis that fits a terminal."""

from collections.abc import Mapping, Sequence

from everwillow._tree import format_table
from everwillow.models.hs3.document import Document
from everwillow.models.hs3.histfactory.channels import Channel
from everwillow.models.hs3.selection import Selection


_LONGEST = 34  # characters of a name


def summary_text(
    document: Document,
    selection: Selection,
    channels: Sequence[Channel],
    observed: Mapping[str, Sequence[float]],
    *,
    max_rows: int,
) -> str:
    """Return what an analysis consists of."""
    others = [n for n, _ in selection.main if n.child("name").text() not in observed]
    free = sum(not point.const for point in selection.points.values())
    lines = [
        f"HS3 {document.version}, analysis {selection.name!r}"
        + (f" of {len(document.analyses)}" if len(document.analyses) > 1 else ""),
        f"parameters of interest: {', '.join(selection.pois) or 'none'}",
        f"parameters: {len(selection.points)}, {free} of them not constant",
        f"auxiliary distributions: {len(selection.aux)}",
        "",
    ]
    rows = [["channel", "bins", "samples", "modifiers", "expected", "observed"]]
    for channel in channels[:max_rows]:
        expected = sum(float(sample.nominal.sum()) for sample in channel.samples)
        rows.append(
            [
                _short(channel.name),
                str(channel.bins),
                str(len(channel.samples)),
                str(sum(len(sample.modifiers) for sample in channel.samples)),
                f"{expected:.6g}",
                f"{sum(observed[channel.name]):.6g}",
            ]
        )
    if channels:
        lines.append(format_table(rows))
        if len(channels) > max_rows:
            lines.append(f"... ({len(channels)} channels in all)")
    if others:
        table = [["other distribution", "type"]]
        for node in others[:max_rows]:
            kind = node.child("type").text()
            table.append([_short(node.child("name").text()), kind])
        lines += ["", format_table(table)]
        if len(others) > max_rows:
            lines.append(f"... ({len(others)} in all)")
    return "\n".join(lines)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."
