"""``everwillow nsbi scan``."""

import pathlib
from typing import Any

import numpy as np

from everwillow.cli.commands.scan import (
    best_value,
    check_range,
    end_if_failed,
    scan_answer,
)
from everwillow.cli.report.fits import HEIGHT, profile_table
from everwillow.cli.report.terminal import remarks
from everwillow.cli.request import Request
from everwillow.cli.workspace_fit import WorkspaceFit
from everwillow.workflows.documents import RATIOS
from everwillow.workflows.nsbi.scans import scan_model
from everwillow.workflows.report import range_of


def run(
    request: Request,
    *,
    between: tuple[float, float] | None,
    points: int,
    starts: int,
    statistical: bool,
) -> None:
    """Scan the profile likelihood with and without systematics, and print both."""
    check_range(between, points)
    best = WorkspaceFit.of(request, kinds=RATIOS)
    given, poi, minimum = best.given, best.given.poi(), best.result.check()
    values = np.linspace(*(between or range_of(given.model, minimum, poi)), points)
    with best.timed("scan", "Scanning"), best.noting():
        both = scan_model(
            given.model,
            minimum,
            poi,
            values,
            statistical=statistical,
            starts=starts,
            fixed=given.fixed,
        )
    heights = {HEIGHT: heights_of(both.total)}
    if both.statistical is not None:
        heights["without systematics"] = heights_of(both.statistical)
    elif statistical:
        best.notes.append("NOTE: no parameter with a constraint is fitted.")
    label = pathlib.Path(request.title).stem
    best.finish(
        both._asdict(),
        lambda plotting: plotting.sensitivity(
            {label: both.total},
            stat_only=None if both.statistical is None else {label: both.statistical},
        ),
        profile_table(poi, values, heights),
        best_value(both.total),
        *remarks(given.model.report),
        answer={
            "total": scan_answer(both.total),
            "statistical": None
            if both.statistical is None
            else scan_answer(both.statistical),
            "remarks": given.model.report,
        },
    )
    end_if_failed(*(np.asarray(one.success) for one in both.scans))


def heights_of(scan: Any) -> np.ndarray:
    """Return the heights of a scan, NaN for fits without a minimum."""
    return np.where(scan.success, scan.twice_delta_nll, np.nan)
