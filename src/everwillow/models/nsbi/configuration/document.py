"""The whole of a configuration, checked before any file of data is opened."""

import itertools
import os
import pathlib
from collections.abc import Iterable, Sequence

from everwillow.models.faults import Faults
from everwillow.models.nsbi.configuration._context import Context
from everwillow.models.nsbi.configuration._measurements import read_measurements
from everwillow.models.nsbi.configuration._processes import (
    read_coupling,
    read_norm_factor,
    read_observations,
    read_sample,
)
from everwillow.models.nsbi.configuration._ratios import NetworkSettings
from everwillow.models.nsbi.configuration._regions import RegionReader
from everwillow.models.nsbi.configuration._systematics import read_systematic
from everwillow.models.nsbi.configuration.records import (
    Configuration,
    CouplingEntry,
    NormFactorEntry,
    SampleEntry,
    SystematicEntry,
)
from everwillow.models.yaml_section import Section
from everwillow.models.yaml_source import load_yaml


def read_configuration(path: str | os.PathLike[str]) -> Configuration:
    """Read a configuration and check all of it.

    Files that it names must exist; none of them is read.

    Args:
        path: The YAML file.

    Raises:
        MissingFileError: If there is no such file.
        SpecificationError: With all faults and their lines, if it has any.
    """
    file = pathlib.Path(path).absolute()
    faults = Faults(file.name)
    document = load_yaml(file, faults)
    context = Context(file.parent, faults)
    root = Section(document, faults, "")
    general = root.section("General", required=True)
    observations = read_observations(context, root)
    declared = root.sections("Samples", required=True)
    regions = root.sections("Regions", required=True)
    for section in declared:
        context.declare(section, context.samples, "sample")
    for section in regions:
        context.declare(section, context.regions, "region")
    samples = [read_sample(context, section) for section in declared]
    couplings = [read_coupling(context, s) for s in root.sections("VandermondeFactors")]
    factors = [read_norm_factor(context, s) for s in root.sections("NormFactors")]
    systematics = [read_systematic(context, s) for s in root.sections("Systematics")]
    settings = NetworkSettings().inside(context, root)
    reader = RegionReader(
        context, settings, samples, systematics, observed=bool(observations)
    )
    entries = [reader.read(section) for section in regions]
    measurements = read_measurements(context, general)
    root.finish()
    idle = _idle(context, samples, [*couplings, *factors, *systematics])
    for poi in {one.poi for one in measurements} & idle:
        line = context.parameters[poi]
        faults.add(line, f"POI {poi!r} affects no sample in any region.")
    faults.check()
    return Configuration(
        file,
        measurements,
        observations,
        tuple(samples),
        tuple(one for one in factors if one.parameter.name not in idle),
        tuple(one for one in couplings if one.parameter.name not in idle),
        tuple(one for one in systematics if one.parameter.name not in idle),
        tuple(entries),
        context.report.sentences(),
    )


def _idle(
    context: Context,
    samples: Sequence[SampleEntry],
    entries: Iterable[CouplingEntry | NormFactorEntry | SystematicEntry],
) -> set[str]:
    """Return the parameters that affect no sample in any region, and report them."""
    places = {(one.name, region) for one in samples for region in one.regions}
    idle = set()
    for parameter in (one.parameter for one in entries):
        affected = itertools.product(parameter.samples, parameter.regions)
        if places.isdisjoint(affected):
            idle.add(parameter.name)
            context.report.collect(
                "Parameters that affect no sample in any region are left out: {names}.",
                parameter.name,
            )
    return idle
