"""Template fits from files: one call that fits, and one file with all of its results.

The file of `write_results` is HDF5, for any program that reads HDF5: nothing in it is
pickled. The attributes ``format`` ("everwillow template results") and ``version`` (1)
of the file say what it is. Each record of `everwillow.workflows.template_results` is a
group, whose fields are in it under their names: numbers and text as attributes, arrays
and lists of names as datasets with an attribute ``description``. What was not computed
is absent. Where a record has parts by name, such as ``channels``, there is a group for
each, whose attribute ``name`` tells the name (in the path, ``/`` and ``%`` are
percent-encoded); they are in the order of the fit. So there are:

- attributes ``data``, ``likelihood``, ``made_by`` of the file; ``remarks``.
- ``parameters/names``, ``values``, ``errors``, ``prefit_values``, ``prefit_errors``,
  and flags (0 or 1) ``interest``, ``constrained``, ``frozen``, ``at_bound``,
  ``blinded``.
- ``fit``: attributes ``success`` (0 or 1), ``status``, ``nll`` (-ln L), ``edm``,
  ``evaluations``; ``fit/saturated`` with ``statistic``, ``ndof``, ``pvalue``.
- ``covariance/names``, ``matrix``, ``correlation``.
- ``impacts/interest``, ``names``, ``traditional``, ``global_names``,
  ``global_impacts``, ``groups``, ``grouped_traditional``, ``grouped_global``, ...
- ``channels/<channel>``, a histogram: ``axes/<i>`` with an attribute ``name`` and
  either ``edges`` or ``labels``; ``process_names``; ``prefit/values``, ``errors``,
  ``processes`` with a leading axis of processes; ``postfit`` likewise; ``data``,
  ``data_errors``; ``breakdown/groups``, ``impacts``, ``rest``.
- ``mappings/<key>/histograms/<name>``, likewise; ``prefit_covariance``,
  ``postfit_covariance``, ``prefit_chi2``, ``postfit_chi2``.
- ``projections/<CHANNEL AXIS ...>``: ``statistic``, ``ndof``, ``pvalue``.
- ``scans/<parameter>/values``, ``twice_delta_nll``, attribute ``best``.
- ``toys/names``, ``true_values``, ``values``, ``errors``, ``nll``, ``success``,
  attribute ``seed``.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from everwillow._hdf5 import Kind, import_h5py, reading, write_header, writing
from everwillow.fitting import FitResult, fit
from everwillow.goodness import nested_test
from everwillow.likelihood.template_spec import TemplateSpec
from everwillow.mappings import AbstractHistogramMapping
from everwillow.models.templates.blinding import Blind
from everwillow.models.templates.model import Likelihood, Statistics
from everwillow.models.templates.storage import load
from everwillow.workflows import _hdf5_records
from everwillow.workflows._template_histograms import histograms_of, parsed
from everwillow.workflows._template_models import Starts, model_of, prefit_errors
from everwillow.workflows._template_numbers import (
    check_scans,
    chi_square,
    covariance_of,
    degenerate,
    free_projections,
    impacts_of,
    parameters_of,
    scans_of,
    summary_of,
    toys_of,
)
from everwillow.workflows.template_results import TemplateResults


KIND = Kind("everwillow template results", version=1, contents="template results")


def run(
    spec: TemplateSpec | str | os.PathLike[str],
    *,
    data: str | None = None,
    parameters: Any = None,
    starts: Starts | None = None,
    likelihood: Likelihood = "poisson",
    statistics: Statistics = "default",
    per_process: bool = False,
    freeze: Sequence[str] | Mapping[str, float | None] = (),
    mappings: Sequence[str | AbstractHistogramMapping] = (),
    covariances: bool = False,
    impacts: bool = False,
    breakdown: bool = False,
    scans: Sequence[str] = (),
    scan_points: int = 21,
    projections: Sequence[str] = (),
    ntoys: int = 100,
    seed: int = 0,
    unconstrained: float | None = None,
    blind: Blind = False,
    unblind: bool | str | Iterable[str] = False,
    max_steps: int = 256,
    minimise: Callable[..., FitResult] = fit,
) -> TemplateResults:
    """Fit templates, and compute everything that is asked for.

    A fit that fails is no exception: ``results.fit.success`` is False then, and all
    numbers after the fit are NaN or absent.

    Args:
        spec: What the builder says, or the file that it wrote.
        data: What to fit. ``"data"``: what was observed, the default, an error where
            there is nothing. ``"asimov"``: what is expected at the start values. The
            name of pseudodata. ``"toys"``: pseudo-experiments at the start values, in
            addition to the Asimov data.
        parameters: What scales the processes: a text as `parse_parameters` reads it, or
            what `TemplateModel.from_spec` takes.
        starts: Values where the fit starts, by parameter: what is expected before the
            fit, and so what Asimov data and toys contain.
        likelihood: As in `TemplateModel.from_spec`.
        statistics: As there.
        per_process: As there.
        freeze: Parameters that are taken out of the fit, names or patterns; a mapping
            tells their values.
        mappings: As `everwillow.mappings.parse_mapping` reads them, or mappings.
        covariances: Whether to keep the covariance of the values of each mapping.
        impacts: Whether to compute impacts on the parameters of interest.
        breakdown: Whether to divide the errors of all bins by groups of systematics.
        scans: Parameters whose profile likelihood is scanned.
        scan_points: How many points each scan has.
        projections: Projections of channels, written ``CHANNEL AXIS ...``, that are
            tested against a fit with free bins. Each takes a fit.
        ntoys: Number of toys, if these are asked for.
        seed: Of the toys.
        unconstrained: The error before the fit of systematics without a constraint;
            without it they count as known.
        blind: As in `TemplateModel.from_spec`. What would tell hidden parameters is
            left out then: after the fit masked channels, and parts of processes.
        unblind: As there.
        max_steps: As in `everwillow.fit`.
        minimise: What fits, in place of `everwillow.fit`, with the same arguments.

    Raises:
        ArgumentValueError: If there are no data of that kind, or an option fits not.
        UnknownKeyError: If a name means nothing.

    Example:
        >>> from everwillow.models.templates import TemplateBuilder
        >>> builder = TemplateBuilder()
        >>> builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
        >>> builder.add_process([30.0, 10.0], "signal", "ch0", signal=True)
        >>> builder.add_process([50.0, 50.0], "flat", "ch0")
        >>> builder.add_norm_systematic("norm", "flat", "ch0", 1.1)
        >>> builder.add_data([83.0, 58.0], "ch0")
        >>> results = run(builder.spec(), statistics=None, mappings=["Project ch0 x"])
        >>> print(results.parameters.names, results.parameters.values.round(2))
        ('norm', 'signal') [-0.12  1.08]
        >>> histogram = results.mappings["Project ch0 x"].histograms["values"]
        >>> print(histogram.postfit.values.round(1))
        [82.  60.3]
    """
    spec = spec if isinstance(spec, TemplateSpec) else load(spec)
    model, what = model_of(
        spec,
        data=data,
        parameters=parameters,
        starts=starts,
        likelihood=likelihood,
        statistics=statistics,
        per_process=per_process,
        freeze=freeze,
        blind=blind,
        unblind=unblind,
    )
    chosen = parsed(mappings, spec.layout)
    check_scans(model, scans)
    wider = free_projections(model, projections)
    unknown = prefit_errors(model, unconstrained)
    result = minimise(model, max_steps=max_steps, throw=False)
    found = histograms_of(
        model, result, chosen, unknown, covariances=covariances, breakdown=breakdown
    )
    good = bool(result.success)
    known = good and result.hessian is not None
    tests = {}
    for text, free in wider.items() if good else ():
        better = minimise(free, max_steps=max_steps, throw=False)
        tests[text] = chi_square(nested_test(result, better))
    return TemplateResults(
        data=what,
        likelihood=likelihood,
        made_by=version("everwillow"),
        parameters=parameters_of(model, result, unknown),
        fit=summary_of(model, result),
        channels=found.channels,
        covariance=covariance_of(result) if good else None,
        impacts=impacts_of(model, result) if known and impacts else None,
        mappings=found.mappings,
        scans=scans_of(model, result, scans, scan_points) if known else {},
        projections=tests,
        toys=toys_of(model, ntoys, seed) if what == "toys" else None,
        remarks=(*spec.report, *found.remarks, *degenerate(model, result)),
    )


def write_results(results: TemplateResults, path: str | os.PathLike[str]) -> None:
    """Write results to an HDF5 file, all of it or nothing.

    Args:
        results: What `run` returned.
        path: The file; its directory has to exist. One that is there is replaced.

    Raises:
        ImportError: If h5py is not installed.
    """
    with writing(path, track_order=True) as file:
        write_header(file, KIND)
        file.attrs["description"] = "What a template fit found."
        _hdf5_records.write_record(file, results, import_h5py().string_dtype())


def load_results(path: str | os.PathLike[str]) -> TemplateResults:
    """Read what `write_results` has written.

    Args:
        path: The file.

    Raises:
        MissingFileError: If there is no such file.
        ArgumentValueError: If it is none of these files, or damaged; says how.
        ImportError: If h5py is not installed.
    """
    with reading(path, KIND) as opened:
        return _hdf5_records.read_record(opened, TemplateResults)


__all__ = ["load_results", "run", "write_results"]
