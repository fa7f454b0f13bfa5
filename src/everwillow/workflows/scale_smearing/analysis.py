"""All fits of a configuration: nominal, systematics, and their combination."""

import dataclasses
import importlib.metadata
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np

from everwillow._errors import EverwillowError
from everwillow.models.scale_smearing.categories import Categories
from everwillow.models.scale_smearing.configuration.document import read_configuration
from everwillow.models.scale_smearing.configuration.records import (
    FitSettings,
    SasConfiguration,
)
from everwillow.models.scale_smearing.event_input import read_sample
from everwillow.models.scale_smearing.likelihood.packing import PackedSize
from everwillow.models.scale_smearing.parameters import FAILED, SasParameters
from everwillow.models.scale_smearing.regions import (
    RegionOptions,
    RegionTable,
    make_regions,
)
from everwillow.workflows.scale_smearing.regional_fit import (
    RegionalFit,
    fit_regions,
    nothing,
    nothing_to_fit,
)
from everwillow.workflows.scale_smearing.relative_pt import (
    RecastBins,
    corrected,
    joined,
    recast_bins,
    relative_categories,
    uses_relative_pt,
    with_relative_pt,
)
from everwillow.workflows.scale_smearing.systematics import combined, double_moments


NOMINAL = "Nominal"
NOTABLE_CUT = 0.01
"""The share of events outside of the bins in pt from which it is worth a sentence."""
_START_KINDS = ("resp", "reso")


@final
@dataclasses.dataclass(frozen=True)
class SasResult:
    """The results of all fits of a configuration.

    Attributes:
        configuration: The configuration.
        nominal: The nominal result, with errors from data and simulation.
        systematics: The result of each variation by name.
        combined: The nominal result with the errors of all sources.
        double: By name each variation with two Gaussians, with the moments of the
            response, and with the errors of the nominal result without this variation.
        fits: The last fit of the regions, by ``"Nominal"`` and name; none of a
            variation without regions.
        report: Sentences on the configuration, events and regions.
    """

    configuration: SasConfiguration
    nominal: SasParameters
    systematics: Mapping[str, SasParameters]
    combined: SasParameters
    double: Mapping[str, SasParameters]
    fits: Mapping[str, RegionalFit]
    report: tuple[str, ...]

    @property
    def success(self) -> bool:
        """Whether all fits ended at a minimum."""
        found = (self.nominal, *self.systematics.values())
        return all(bool(one.success) for one in found)

    def named(self) -> dict[str, SasParameters]:
        """Return all results by the names of their files, without the ending."""
        stem = f"SAS{self.configuration.dataset}_syst-"
        named = {NOMINAL: self.nominal, **self.systematics}
        named["NominalWithSyst"] = self.combined
        for i, (name, one) in enumerate(self.double.items()):
            named[f"{NOMINAL if i == 0 else name}2GWithSyst"] = one
        return {f"{stem}{name}": one for name, one in named.items()}


@dataclasses.dataclass
class _Job:
    """One of the fits.

    Attributes:
        settings: Its settings.
        table: The regions of the first pass.
        notes: Sentences on the events.
        data: The columns of data, as long as a second pass needs them.
        simulation: The same of simulation.
        bins: The bins in pt of data, if there are two passes.
    """

    settings: FitSettings
    table: RegionTable
    notes: tuple[str, ...]
    data: Mapping[str, Any] | None = None
    simulation: Mapping[str, Any] | None = None
    bins: RecastBins | None = None


def compute_sas(
    configuration: SasConfiguration | Mapping[str, Any] | str | os.PathLike[str],
    *,
    progress: Callable[[str], Any] | None = None,
) -> SasResult:
    """Make all fits of a configuration: nominal, systematics, and their combination.

    Nothing is written: `write_results` does that.

    Args:
        configuration: A configuration, its content, or the name of a YAML file.
        progress: Called with the name of each step when it begins.

    Raises:
        MissingFileError: If a file is missing.
        SpecificationError: With all faults of the configuration; or if files of events
            lack columns or have no events.
        ArgumentValueError: If no region of a fit has enough events.
    """
    if not isinstance(configuration, SasConfiguration):
        configuration = read_configuration(configuration)
    told = progress or (lambda _: None)
    every = {NOMINAL: configuration.nominal, **configuration.systematics}
    jobs: dict[str, _Job] = {}
    events: dict[Any, Any] = {}
    failed: dict[str, str] = {}
    for name, settings in every.items():
        told(f"Reading events: {name}")
        try:
            jobs[name] = _prepared(settings, events)
        except EverwillowError as error:
            if name == NOMINAL:
                raise
            # Without this variation all other results are still known.
            failed[name] = f"{name}: {error}"
    events.clear()
    found: dict[str, SasParameters] = {}
    fits: dict[str, RegionalFit] = {}
    sizes = {double: _common_size(jobs, double=double) for double in (False, True)}
    for name, job in jobs.items():
        told(f"Fitting: {name}")
        if name != NOMINAL and not job.table.spec.regions:
            text = nothing_to_fit(job.table)
            found[name] = nothing(job.settings.categories, job.table.status, text)
            continue
        starts = _starts(job.settings, found.get(NOMINAL))
        fits[name], found[name] = _fitted(
            job,
            starts,
            sizes[job.settings.double_gaussian],
            _origin(configuration, name),
        )
    for name, text in failed.items():
        categories = every[name].categories
        found[name] = nothing(categories, (FAILED,) * categories.size, text)
    nominal = found.pop(NOMINAL)
    total = combined(nominal, found, **_flat(configuration))
    notes = {NOMINAL: nominal.origin["notes"]}
    # Those of the regions are among the sentences on the fits already.
    lost = total.origin["notes"][len(nominal.origin["notes"]) :]
    return SasResult(
        configuration,
        nominal,
        found,
        total,
        _double(configuration, nominal, found),
        fits,
        tuple(dict.fromkeys([*_sentences(configuration, jobs, notes), *lost])),
    )


def _prepared(settings: FitSettings, events: dict[Any, Any]) -> _Job:
    """Read events, and make the regions of the first pass."""
    samples, notes = [], []
    for sample in ("data", "simulation"):
        # Fits that differ in other settings read the same events once.
        files = settings.data if sample == "data" else settings.simulation
        cut = settings.cut.text if settings.cut else None
        weight = settings.weight if sample == "simulation" else None
        key = (files, cut, settings.tree, settings.mass, weight, settings.suffixes)
        key += (settings.categories.names, settings.pt, str(settings.branches))
        if key not in events:
            events[key] = read_sample(settings, sample)
        samples.append(events[key].columns)
        notes += [f"{sample}: {one}" for one in events[key].sentences()]
    data, simulation = samples
    if not uses_relative_pt(settings):
        table = _regions(data, simulation, settings, settings.categories)
        return _Job(settings, table, tuple(notes))
    inside = [with_relative_pt(one, settings) for one in samples]
    notes += _cut_off(samples[0], inside[0], settings)
    notes.append(
        f"The inner edges in {settings.pt!r} are replaced by the middles between the "
        "mean momenta of bins in pt / m, as the fit has two passes."
    )
    data, simulation = inside
    table = _regions(data, simulation, settings, relative_categories(settings))
    bins = recast_bins(data, settings)
    return _Job(settings, table, tuple(notes), data, simulation, bins)


def _cut_off(
    events: Mapping[str, Any], inside: Mapping[str, Any], settings: FitSettings
) -> Iterator[str]:
    """Yield a sentence if the range in pt cuts off a part of the data."""
    share = 1 - len(inside[settings.mass]) / len(events[settings.mass])
    if share > NOTABLE_CUT:
        yield (
            f"{100 * share:.2g} % of the events of data have a lepton outside of the "
            f"bins of {settings.pt!r}. A range of pt cuts off masses, and shifts the "
            "first and the last bin: choose outer edges that contain all leptons."
        )


def _fitted(
    job: _Job,
    starts: Mapping[str, np.ndarray],
    size: PackedSize | None,
    origin: Mapping[str, Any],
) -> tuple[RegionalFit, SasParameters]:
    """Make the passes of a fit."""
    settings = job.settings
    kinds = {
        "errors": settings.errors,
        "simulation_errors": settings.simulation_errors,
    }
    if job.bins is None:
        fit = fit_regions(job.table, starts=starts, size=size)
        return fit, fit.parameters(**kinds, origin=origin)
    first = fit_regions(job.table, starts=starts, size=size)
    before = first.parameters(errors=False)
    recast = settings.categories.replaced(settings.pt, list(job.bins.edges))
    if not before.success:
        origin = {**before.origin, **origin}
        return first, dataclasses.replace(before, categories=recast, origin=origin)
    assert job.data is not None
    assert job.simulation is not None
    data = corrected(job.data, settings, recast, before.resp)
    table = _regions(data, job.simulation, settings, relative_categories(settings))
    job.data = job.simulation = None
    size = size if size and size.contains(table.spec) else None
    after = {"reso": _off_bound(before.reso)}
    second = fit_regions(table, starts=after, size=size)
    found = second.parameters(**kinds, origin=origin)
    return second, joined(before, found, job.bins, settings)


def _regions(
    data: Mapping[str, Any],
    simulation: Mapping[str, Any],
    settings: FitSettings,
    categories: Categories,
) -> RegionTable:
    names = {field.name for field in dataclasses.fields(RegionOptions)}
    options = {name: getattr(settings, name) for name in names}
    return make_regions(
        data,
        simulation,
        categories,
        options=RegionOptions(**options),
        mass_exponent=settings.mass_exponent,
        double_gaussian=settings.double_gaussian,
        shared=settings.shared,
    )


def _common_size(jobs: Mapping[str, _Job], *, double: bool) -> PackedSize | None:
    """Return a size for all fits with one or two Gaussians, which share a program."""
    specs = [
        job.table.spec
        for job in jobs.values()
        if job.table.spec.regions and job.settings.double_gaussian == double
    ]
    return PackedSize.of(*specs).rounded() if specs else None


def _starts(
    settings: FitSettings, nominal: SasParameters | None
) -> dict[str, np.ndarray]:
    """Return start values: those given, random ones, or the nominal result."""
    size = settings.categories.size
    starts: dict[str, np.ndarray] = {}
    if settings.random_start:
        random = np.random.default_rng(settings.seed)
        starts["resp"] = random.normal(1, 0.02, size)
        starts["reso"] = np.abs(random.normal(0.015, 0.002, size))
    elif nominal is not None and not uses_relative_pt(settings):
        starts["resp"] = nominal.resp
        starts["reso"] = _off_bound(nominal.reso)
    for kind in _START_KINDS:
        given = getattr(settings, f"start_{kind}")
        if given is not None:
            starts[kind] = np.asarray(given, float)
    return starts


def _off_bound(reso: np.ndarray) -> np.ndarray:
    """Return resolutions as start values: NaN, so the usual one, in place of zero.

    Close to zero the likelihood bends down, and a fit from there takes more steps.
    """
    return np.where(reso > 0, reso, np.nan)


def _double(
    configuration: SasConfiguration,
    nominal: SasParameters,
    found: Mapping[str, SasParameters],
) -> dict[str, SasParameters]:
    """Return fits with two Gaussians, with moments and the errors of the others."""
    made = {}
    for name, one in found.items():
        if not one.double:
            continue
        others = {key: value for key, value in found.items() if key != name}
        errors = combined(nominal, others, **_flat(configuration))
        made[name] = dataclasses.replace(
            one,
            eresp=errors.eresp,
            ereso=errors.ereso,
            eresp_mc=errors.eresp_mc,
            ereso_mc=errors.ereso_mc,
            covariance=errors.covariance,
            covariances=errors.covariances,
            double={**one.double, **double_moments(one)},
        )
    return made


def _flat(configuration: SasConfiguration) -> dict[str, float]:
    return {
        "scale_flat": configuration.scale_flat,
        "smear_flat": configuration.smear_flat,
    }


def _origin(configuration: SasConfiguration, name: str) -> dict[str, Any]:
    settings = {NOMINAL: configuration.nominal, **configuration.systematics}[name]
    return {
        "variation": name,
        "seed": settings.seed,
        "version": importlib.metadata.version("everwillow"),
        "configuration": configuration.source,
    }


def _sentences(
    configuration: SasConfiguration,
    jobs: Mapping[str, _Job],
    notes: Mapping[str, Sequence[str]],
) -> Iterator[str]:
    yield from configuration.report
    told: set[str] = set()
    for name, job in jobs.items():
        for text in (*job.notes, *notes.get(name, job.table.notes)):
            # What holds for the nominal fit too needs no name.
            if text not in told:
                yield text if name == NOMINAL else f"{name}: {text}"
            if name == NOMINAL:
                told.add(text)
