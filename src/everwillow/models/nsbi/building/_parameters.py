"""The measurement of a workspace, and what its parameters multiply nominally."""

from typing import Any

import numpy as np

from everwillow.models.nsbi.building._coefficients import lagrange_coefficients
from everwillow.models.nsbi.configuration.records import (
    Configuration,
    MeasurementEntry,
    ParameterEntry,
)


def measurements(configuration: Configuration) -> list[dict[str, Any]]:
    """Return the entries of all measurements."""
    return [_measurement(configuration, one) for one in configuration.measurements]


def _measurement(
    configuration: Configuration, entry: MeasurementEntry
) -> dict[str, Any]:
    config: dict[str, Any] = {
        "poi": entry.poi,
        "errordef": entry.error_def,
        "parameters": [
            _parameter(one, fixed=one.name not in entry.fitted)
            for one in configuration.parameters
        ],
    }
    if entry.template_statistics is not None:
        config["template_statistics"] = entry.template_statistics
    return {"name": entry.name, "errordef": entry.error_def, "config": config}


def _parameter(entry: ParameterEntry, *, fixed: bool) -> dict[str, Any]:
    bounds = None if entry.bounds is None else [list(entry.bounds)]
    written = {"name": entry.name, "inits": [entry.nominal], "bounds": bounds}
    return {**written, "fixed": True} if fixed else written


def multipliers(configuration: Configuration) -> dict[str, dict[str, float]]:
    """Return by what the nominal values multiply each sample in each region."""
    found = {
        region.name: {sample.name: 1.0 for sample in configuration.samples}
        for region in configuration.regions
    }

    def multiply(entry: ParameterEntry, sample: str, factor: float) -> None:
        for region in entry.regions:
            found[region][sample] *= factor

    for one in configuration.norm_factors:
        for sample in one.parameter.samples:
            multiply(one.parameter, sample, one.parameter.nominal)
    for one in configuration.couplings:
        polynomials = lagrange_coefficients(one.nodes)
        for sample in one.parameter.samples:
            value = float(np.polyval(polynomials[sample], one.parameter.nominal))
            multiply(one.parameter, sample, value)
    return found
