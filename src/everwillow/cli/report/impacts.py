"""Tables of impacts: the same for workspaces and for template fits."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from everwillow._rounding import signed, with_error
from everwillow.cli.report.answers import rows
from everwillow.cli.report.fits import SHOWN, shift_text
from everwillow.cli.report.terminal import table
from everwillow.workflows.report import Impacts, Parameters


NONE = "none"
_AT_BOUND = "is held at its bound, from where a small shift does not move it"


class PoiImpacts(NamedTuple):
    """Impacts of single parameters on one parameter of interest, signed.

    Attributes:
        poi: The parameter of interest.
        value: Its value.
        error: Its error; NaN if it is held at its bound.
        names: The other parameters.
        pulls: Their pulls; NaN without a constraint.
        constraints: Their errors over the widths of their constraints.
        traditional: Shifts for moves up by the error, from the covariance.
        up: The same by fits; None without such fits.
        down: Shifts for moves down by fits.
        others: Other impacts by the head of their column.
    """

    poi: str
    value: float
    error: float
    names: tuple[str, ...]
    pulls: np.ndarray
    constraints: np.ndarray
    traditional: np.ndarray
    up: np.ndarray | None
    down: np.ndarray | None
    others: Mapping[str, np.ndarray]


def impact_table(
    impacts: PoiImpacts,
    *,
    count: int,
    option: str,
    note: str,
    remarks: Sequence[str] = (),
) -> str:
    """Return a table of the largest impacts on a parameter of interest.

    Args:
        impacts: The impacts.
        count: The largest number of rows.
        option: The option that shows more rows.
        note: A sentence on the other columns, left out if these are empty.
        remarks: Sentences on parameters at bounds, in place of those made here.
    """
    up, down, sizes = impacts.up, impacts.down, np.abs(impacts.traditional)
    columns = {"up": impacts.traditional, "down": -impacts.traditional}
    how = "from the covariance"
    if up is not None and down is not None:
        columns = {"up": up, "down": down, "traditional": impacts.traditional}
        how = "by two fits for each parameter"
        if np.isfinite(impacts.traditional).any():
            how += "; traditional: from the covariance"
        larger = np.maximum(np.abs(up), np.abs(down))
        sizes = np.where(np.isnan(sizes), larger, sizes)
    columns |= impacts.others
    order = np.argsort(np.where(sizes >= 0, -sizes, np.inf), kind="stable")
    shown = [
        (
            impacts.names[i],
            signed(float(impacts.pulls[i])),
            signed(float(impacts.constraints[i])).lstrip("+"),
            *(_cell(head, column[i], impacts) for head, column in columns.items()),
        )
        for i in order[:count]
    ]
    value, error = with_error(impacts.value, impacts.error)
    title = f"Impacts on {impacts.poi} = {value}" + (f" +- {error}" if error else "")
    moved = "when a parameter moves by its post-fit error"
    lines = [f"Up and down: shift of {impacts.poi} {moved}, {how}."]
    here = order[:count].tolist()
    if any(np.isfinite(other[i]) for other in impacts.others.values() for i in here):
        lines.append(note)
    if remarks:
        lines += remarks
    elif np.isnan(impacts.error):
        lines.append(f"{impacts.poi} {_AT_BOUND}.")
    lines += _missing(impacts, here)
    more = len(impacts.names) - len(shown)
    if more > 0:
        lines.append(f"{more} smaller ones are not shown; {option} shows more.")
    heads = ("name", "pull", "constraint", *columns)
    return table(heads, shown, title=title) + "\n\n" + "\n".join(filter(None, lines))


def _cell(head: str, value: Any, impacts: PoiImpacts) -> str:
    text = shift_text(value, impacts.error)
    return text or (NONE if head in ("up", "down") else "")


def _missing(impacts: PoiImpacts, rows: list[int]) -> list[str]:
    """Return sentences on the numbers that the rows of a table do not have."""
    lines = []
    moved = impacts.up is not None and impacts.down is not None
    shifts = [impacts.traditional]
    if moved:
        shifts = [impacts.up, impacts.down]
    if any(np.isnan(one[i]) for one in shifts for i in rows if one is not None):
        why = "there is no impact to first order at a bound"
        if moved:
            why = "the fit failed, or the parameter is at its bound on that side"
        lines.append(f"{NONE}: {why}.")
    if any(np.isnan(impacts.pulls[i]) for i in rows):
        lines.append("No pull: parameters without a constraint.")
    return lines


def impact_answer(impacts: PoiImpacts) -> dict[str, Any]:
    """Return impacts as objects, for JSON."""
    columns = {
        "pull": impacts.pulls,
        "constraint": impacts.constraints,
        "traditional": impacts.traditional,
        **({} if impacts.up is None else {"up": impacts.up, "down": impacts.down}),
        **{name.replace("-", "_"): one for name, one in impacts.others.items()},
    }
    return {
        "poi": impacts.poi,
        "value": impacts.value,
        "error": impacts.error,
        "impacts": rows("name", impacts.names, columns),
    }


def impact_parts(
    impacts: Impacts, parameters: Parameters, *, everything: bool
) -> list[tuple[str, str]]:
    """Return tables of the impacts of groups and of parameters, with their names."""
    parts = []
    places = {name: i for i, name in enumerate(parameters.names)}
    here = np.array([places[name] for name in impacts.names], int)
    for i, poi in enumerate(impacts.interest):
        part = f"impacts/{poi}"
        parts.append((part, _group_table(impacts, i)))
        if not impacts.names:
            continue
        known = dict(zip(impacts.global_names, impacts.global_impacts[i], strict=True))
        single = PoiImpacts(
            poi=poi,
            value=float(parameters.values[places[poi]]),
            error=float(impacts.errors[i]),
            names=impacts.names,
            pulls=parameters.pulls[here],
            constraints=parameters.constraints[here],
            traditional=impacts.traditional[i],
            up=None if impacts.up is None else impacts.up[i],
            down=None if impacts.down is None else impacts.down[i],
            others={"global": np.array([known.get(n, np.nan) for n in impacts.names])},
        )
        count = len(impacts.names) if everything else SHOWN
        note = "Global: shift when its auxiliary measurement moves by its error."
        parts.append(
            (part, impact_table(single, count=count, option="--all", note=note))
        )
    return parts


def _group_table(impacts: Impacts, i: int) -> str:
    """Return a table of the parts of the error of a parameter of interest."""
    error = float(impacts.errors[i])
    columns = impacts.grouped_traditional[i], impacts.grouped_global[i]
    shown = [
        (name, *(shift_text(value, error).lstrip("+") for value in values))
        for name, *values in zip(impacts.groups, *columns, strict=True)
    ]
    shown.append(("total", shift_text(error, error).lstrip("+"), ""))
    title = f"Parts of the error of {impacts.interest[i]}"
    if not np.isfinite(error):
        title += f", which has none: it {_AT_BOUND}"
    return table(("group", "traditional", "global"), shown, title=title)
