"""Ranges and bins of masses."""

import math
from typing import Any

from everwillow.models.scale_smearing.configuration._context import choose_line
from everwillow.models.scale_smearing.configuration.records import (
    Binning,
    FitSettings,
    Window,
)
from everwillow.models.yaml_section import Section, described, number


_FEWEST, _MOST = 10, 1_000_000  # bins of simulated masses


def read_windows(fitter: Section, changed: frozenset[int]) -> dict[str, Any]:
    """Read the ranges of masses and the widths of their bins.

    Args:
        fitter: The section.
        changed: The lines of values that are not those of the nominal fit.
    """
    data = _window(fitter, "win_z_dt", FitSettings.data_window)
    simulation = _window(fitter, "win_z_mc", FitSettings.simulation_window)
    if data is not None and simulation is not None:
        _check_nested(fitter, data, simulation, changed)
    bins = _data_bins(fitter, data)
    width = fitter.number("bin_width_mc")
    width = FitSettings.template_width if width is None else width
    line = choose_line(fitter, "bin_width_mc", "win_z_mc", preferred=changed)
    if width <= 0:
        fitter.fault(line, f"bin_width_mc must be positive, not {width:g}.")
    elif simulation is not None:
        number_of_bins = (simulation[1] - simulation[0]) / width
        if not _FEWEST <= number_of_bins <= _MOST:
            fitter.fault(
                line,
                f"bin_width_mc {width:g} makes {number_of_bins:.3g} bins in "
                f"{_shown(simulation)}. Choose a width with {_FEWEST} to {_MOST} bins.",
            )
    return {
        "data_window": data or FitSettings.data_window,
        "simulation_window": simulation or FitSettings.simulation_window,
        "data_bins": bins,
        "template_width": width,
    }


def _window(fitter: Section, key: str, default: Window) -> Window | None:
    given = fitter.numbers(key)
    if given is None:
        return default if fitter.entry(key) is None else None
    line = fitter.line_of(key)
    if len(given) != 2:
        fitter.fault(line, f"{key} must be two masses, not {len(given)}.")
        return None
    low, high = given
    if low >= high:
        fitter.fault(
            line,
            f"{key} is reversed: {_shown((low, high))}. Write the lower mass first.",
        )
        return None
    if low <= 0:
        fitter.fault(line, f"{key} begins at {low:g}, but masses are positive.")
        return None
    return low, high


def _check_nested(
    fitter: Section, data: Window, simulation: Window, changed: frozenset[int]
) -> None:
    """Check that simulated masses cover the range of data."""
    if simulation[0] <= data[0] and data[1] <= simulation[1]:
        return
    line = choose_line(fitter, "win_z_mc", "win_z_dt", preferred=changed)
    problem = (
        f"win_z_mc {_shown(simulation)} must contain win_z_dt {_shown(data)}, as "
        "simulated masses from outside migrate into the range of data."
    )
    if data[0] <= simulation[0] and simulation[1] <= data[1]:
        problem += " Widen win_z_mc, or exchange the two if they are mixed up."
    fitter.fault(line, problem)


def _data_bins(fitter: Section, data: Window | None) -> Binning:
    if fitter.is_null("bin_width_dt"):
        return None
    entry = fitter.entry("bin_width_dt")
    if entry is None or entry.text.strip().upper() == "Q":
        return "Q"
    width = number(entry)
    if width is None or width < 0 or not math.isfinite(width):
        fitter.fault(
            entry.line,
            "bin_width_dt must be 'Q' for quantiles, a width in GeV, or null for the "
            f"rule of Freedman and Diaconis, not {described(entry)}.",
        )
        return "Q"
    if data is not None and width > data[1] - data[0]:
        fitter.fault(
            entry.line,
            f"bin_width_dt {width:g} is wider than win_z_dt {_shown(data)}.",
        )
    return width or None


def _shown(window: Window) -> str:
    return f"[{window[0]:g}, {window[1]:g}]"
