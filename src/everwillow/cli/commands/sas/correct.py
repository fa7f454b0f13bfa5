"""``everwillow sas correct``."""

import pathlib
from collections.abc import Sequence
from typing import Any

from everwillow.cli.report.terminal import busy, show, table
from everwillow.workflows.scale_smearing.corrected_files import Sample, correct_files


def run(
    *,
    source: str,
    files: Sequence[str],
    out: str,
    kind: Sample,
    cset: str,
    suffixes: Sequence[str] | None,
    layout: str | None,
    **options: Any,
) -> None:
    """Write corrected copies of files of events."""
    if layout is not None:
        from everwillow.models.scale_smearing.branches import preset  # noqa: PLC0415

        known = preset(layout)
        options["branches"] = known.branches
        options["tree"] = options["tree"] or known.tree
    with busy(f"Correcting {kind}"):
        made = correct_files(
            pathlib.Path(source),
            files,
            out,
            kind=kind,
            correction_set=cset,
            suffixes=tuple(suffixes or ("1", "2")),
            **options,
        )
    rows = [
        (
            one.path.name,
            str(one.events),
            "not known" if one.outside is None else str(one.outside),
            str(one.without_number),
        )
        for one in made
    ]
    heads = ("file", "events", "leptons outside", "without a number")
    show(table(heads, rows), f"The corrected files are in {out}.")
