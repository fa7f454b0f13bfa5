"""``everwillow nsbi compare``."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from everwillow.cli.commands.scan import check_range, end_if_failed
from everwillow.cli.files import labels_of
from everwillow.cli.report.nsbi import comparison_table
from everwillow.cli.report.terminal import remarks
from everwillow.cli.request import Request
from everwillow.cli.workspace_fit import WorkspaceFit
from everwillow.workflows.documents import RATIOS
from everwillow.workflows.nsbi.scans import compare


def run(
    request: Request,
    *,
    files: Sequence[str],
    between: tuple[float, float] | None,
    points: int,
    starts: int,
    statistical: bool,
    labels: Sequence[str] | None,
) -> None:
    """Compare the profile likelihoods of several files, and print their numbers."""
    check_range(between, points)
    names = labels_of(files, tuple(labels or ()))
    fits = {
        label: WorkspaceFit.of(
            dataclasses.replace(request, workspace=file, others=tuple(files)),
            kinds=RATIOS,
        )
        for label, file in zip(names, files, strict=True)
    }
    first = fits[names[0]]
    with first.timed("comparison", "Comparing"), first.noting():
        found = compare(
            {label: one.given.model for label, one in fits.items()},
            first.given.poi(),
            None if between is None else np.linspace(*between, points),
            fits={label: one.result for label, one in fits.items()},
            points=points,
            statistical=statistical,
            starts=starts,
            fixed={label: one.given.fixed for label, one in fits.items()},
        )
    first.finish(
        found.record(),
        found.figure,
        comparison_table(found),
        *remarks(_sentences(fits)),
        answer={
            "name": found.name,
            "levels": found.levels,
            "total": found.total,
            "statistical": found.statistical,
            "remarks": _sentences(fits),
        },
        others=[fits[name] for name in names[1:]],
    )
    end_if_failed(
        *(np.asarray(s.success) for both in found.scans.values() for s in both.scans)
    )


def _sentences(fits: Mapping[str, WorkspaceFit]) -> list[str]:
    """Return the reports of all models; what all of them say has no name."""
    reports = {label: one.given.model.report for label, one in fits.items()}
    every = dict.fromkeys(text for report in reports.values() for text in report)
    sentences = []
    for text in every:
        names = [label for label, report in reports.items() if text in report]
        whose = "" if len(names) == len(reports) else f"{', '.join(names)}: "
        sentences.append(f"{whose}{text}")
    return sentences
