"""The sections of samples, free factors and couplings."""

import math

from everwillow.models.nsbi.configuration._context import Context
from everwillow.models.nsbi.configuration.records import (
    CouplingEntry,
    EventSource,
    NormFactorEntry,
    SampleEntry,
)
from everwillow.models.yaml_section import Section


def read_observations(context: Context, root: Section) -> tuple[EventSource, ...]:
    """Read `Observations`."""
    sources = []
    for section in root.sections("Observations", single=True):
        section.text("Name")
        sources.append(context.source(section))
        section.finish()
    return tuple(sources)


def read_sample(context: Context, section: Section) -> SampleEntry:
    """Read an element of `Samples`, whose name is declared already."""
    name = section.text("Name") or ""
    source = context.source(section)
    selection = context.selection(section)
    if selection is not None:
        context.report.collect(
            "The samples {names} have a Filter of their own, which is applied besides "
            "those of the regions.",
            name,
        )
    regions = context.restricted(section)
    section.finish(("UseAsBasis", "UseAsReference", "Data"))
    return SampleEntry(name, source, selection, regions, section.line)


def read_norm_factor(context: Context, section: Section) -> NormFactorEntry:
    """Read an element of `NormFactors`."""
    name = context.declare(section, context.parameters, "norm factor")
    samples, regions = context.affected(section)
    if samples is None:
        samples = tuple(context.samples)
        context.report.collect("Factors of all samples: {names}.", name)
    parameter = context.parameter(section, name, samples, regions, 1.0)
    section.finish()
    return NormFactorEntry(parameter)


def read_coupling(context: Context, section: Section) -> CouplingEntry:
    """Read an element of `VandermondeFactors`."""
    name = context.declare(section, context.parameters, "coupling")
    nodes = _nodes(context, section)
    samples, regions = context.affected(section)
    if samples is None:
        samples = tuple(nodes)
    for sample in samples:
        if nodes and sample not in nodes:
            section.fault(
                section.line_of("Samples"),
                f"Basis has no value for the sample {sample!r}.",
            )
    parameter = context.parameter(section, name, samples, regions, None)
    section.finish()
    return CouplingEntry(parameter, nodes)


def _nodes(context: Context, section: Section) -> dict[str, float]:
    """Read `Basis`: the value of the coupling for each sample."""
    basis = section.entry("Basis", required=True)
    if basis is None:
        return {}
    if not isinstance(basis.value, dict) or not basis.value:
        section.fault(
            basis.line, "Basis must have values of the coupling, each with a sample."
        )
        return {}
    nodes: dict[str, float] = {}
    for text, named in basis.value.items():
        try:
            node = float(text)
        except ValueError:
            node = math.nan
        if not math.isfinite(node):
            section.fault(named.line, f"Basis: {text!r} is not a number.")
            continue
        for sample in context.known(section, [named], context.samples, "sample"):
            if node in nodes.values():
                section.fault(named.line, f"Basis has two samples at {node:g}.")
            elif sample in nodes:
                section.fault(named.line, f"Basis has the sample {sample!r} twice.")
            nodes.setdefault(sample, node)
    return nodes
