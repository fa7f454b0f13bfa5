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
  ``evaluations``, of regularised fits ``penalty`` (a part of -ln L); ``fit/saturated``
  with ``statistic``, ``ndof``, ``pvalue``.
- ``covariance/names``, ``matrix``, ``correlation``.
- ``impacts/interest``, ``names``, ``traditional``, ``global_names``,
  ``global_impacts``, ``groups``, ``grouped_traditional``, ``grouped_global``, ...
- ``channels/<channel>``, a histogram: ``axes/<i>`` with an attribute ``name`` and
  either ``edges`` or ``labels``; ``process_names``; ``prefit/values``, ``errors``,
  ``processes`` with a leading axis of processes; ``postfit`` likewise; ``data``,
  ``data_errors``; ``breakdown/groups``, ``impacts``, ``rest``;
  ``prefit_variations/names``, ``up`` and ``down`` with a leading axis of names;
  ``postfit_variations`` likewise;
  attribute ``quantity``, what the values are.
- ``mappings/<key>/histograms/<name>``, likewise; ``prefit_covariance``,
  ``postfit_covariance``, ``prefit_chi2``, ``postfit_chi2``.
- ``projections/<CHANNEL AXIS ...>``: ``statistic``, ``ndof``, ``pvalue``.
- ``scans/<parameter>/values``, ``twice_delta_nll``, attribute ``best``.
- ``toys/names``, ``true_values``, ``values``, ``errors``, ``nll``, ``success``,
  attribute ``seed``.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from everwillow._hdf5 import Kind, import_h5py, reading, write_header, writing
from everwillow.fitting import FitResult, fit
from everwillow.likelihood.templates.spec import TemplateSpec
from everwillow.mappings import AbstractHistogramMapping
from everwillow.models.templates.likelihood.blinding import Blind
from everwillow.models.templates.model import Likelihood, Statistics
from everwillow.models.templates.reading import load
from everwillow.workflows import _hdf5_records
from everwillow.workflows._template_analysis import (
    check_without_fit,
    ended,
    results_of,
)
from everwillow.workflows._template_models import TOYS, Starts, model_of
from everwillow.workflows.template_questions import Pairs, questions_of
from everwillow.workflows.template_results import TemplateResults
from everwillow.workflows.template_smoothing import (
    Smooth,
    Strength,
    curvatures_of,
    smoothed,
)


KIND = Kind("everwillow template results", version=1, contents="template results")


def run(
    spec: TemplateSpec | str | os.PathLike[str],
    *,
    data: str | None = None,
    parameters: Any = None,
    starts: Starts | None = None,
    from_result: TemplateResults | str | os.PathLike[str] | None = None,
    refit: bool = True,
    likelihood: Likelihood = "poisson",
    statistics: Statistics = "default",
    per_process: bool = False,
    profile: bool = True,
    sparse: bool | None = None,
    regularise: Smooth | Iterable[Smooth] = (),
    strength: Strength | None = None,
    l_curve: Sequence[float] | None = None,
    freeze: Sequence[str] | Mapping[str, float | None] = (),
    mappings: Sequence[str | AbstractHistogramMapping] = (),
    covariances: bool = False,
    impacts: bool = False,
    asymmetric_impacts: bool = False,
    nonprofiled_impacts: bool = False,
    groups: Mapping[str, str | Sequence[str]] | None = None,
    breakdown: bool = False,
    variations: bool | str | Sequence[str] = (),
    minos: bool | str | Sequence[str] = False,
    scans: Pairs = (),
    scan_points: int = 21,
    contours: Pairs = (),
    contour_levels: Sequence[float] = (0.6827, 0.95),
    limits: bool | str | Sequence[str] = False,
    limit_level: float = 0.05,
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
            fit, and so what Asimov data and toys contain. Systematics that are added
            (``systematic_type="normal"``) are in proportion to these expectations, so
            that other starts are another likelihood; begin a fit elsewhere by
            `from_result` there.
        from_result: What another fit found, or its file. The fit begins at its values
            where both have a parameter; what is expected before the fit, Asimov data
            and toys stay those of `starts`.
        refit: Whether to fit, which is the default. If not, the values and the
            covariance of `from_result` are propagated to channels and mappings, which
            may be others than those of that fit. What needs a minimum is an error then.
        likelihood: As in `TemplateModel.from_spec`.
        statistics: As there.
        per_process: As there.
        profile: As there. If False, ``bin_by_bin[0]``, ... are among the parameters.
        sparse: Whether effects are kept as a list; None as the builder says.
        regularise: Histograms that ought to be smooth
            (`everwillow.models.templates.likelihood.regularisation`): mappings, as
            `mappings` has them; ``Parameters PATTERN ...`` for the values of parameters
            in a row; or `Curvature`, which has a strength of its own.
        strength: τ of all of them, or one for each; 0 by default. ``"corner"`` takes
            that at the corner of the L-curve.
        l_curve: Strengths of an L-curve, each of which takes a fit.
        freeze: Parameters that are taken out of the fit, names or patterns; a mapping
            tells their values.
        mappings: As `everwillow.mappings.parse_mapping` reads them, or mappings.
        covariances: Whether to keep the covariance of the values of each mapping.
        impacts: Whether to compute impacts on the parameters of interest, traditional
            and global ones, of parameters and of groups.
        asymmetric_impacts: Whether to compute these, and the traditional ones of each
            parameter by two more fits.
        nonprofiled_impacts: Whether to move each frozen parameter by the width of its
            constraint, and fit again.
        groups: More parameters of groups, names or patterns: of parameter models, say.
        breakdown: Whether to divide the errors of all bins by groups of systematics.
        variations: Names or patterns of parameters: all histograms are evaluated with
            each of them moved up and down, before the fit by the width of its
            constraint (or `unconstrained`; others are left out), after the fit by its
            error. All other parameters stay, also those that are profiled. True for
            all that are fitted.
        minos: Names or patterns of parameters that get asymmetric errors; True for
            those of interest.
        scans: Parameters whose profile likelihood is scanned; two of them, as
            ``"A,B"`` or ``("A", "B")``, on a grid.
        scan_points: How many points a scan has, in each direction.
        contours: Pairs of parameters, likewise, whose contours are followed.
        contour_levels: The confidence levels of these, for both parameters together.
        limits: Names or patterns of parameters of interest that get CLs upper limits,
            observed and expected (`everwillow.limits`); True for all of interest.
        limit_level: The CLs of these, 0.05 for 95 % confidence.
        projections: Projections of channels, written ``CHANNEL AXIS ...``, that are
            tested against a fit with free bins. Each takes a fit.
        ntoys: Number of toys, if these are asked for.
        seed: Of the toys.
        unconstrained: The error before the fit of systematics without a constraint;
            without it they count as known.
        blind: As in `TemplateModel.from_spec`. What would tell hidden parameters at
            once is left out then: after the fit masked channels, and parts of
            processes; limits on hidden parameters. Scans and contours have hidden
            scales. It takes little arithmetic to get them from the yields all the same.
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
    if sparse is not None:
        spec = dataclasses.replace(spec, sparse=bool(sparse))
    model, what = model_of(
        spec,
        data=data,
        parameters=parameters,
        starts=starts,
        likelihood=likelihood,
        statistics=statistics,
        per_process=per_process,
        profile=profile,
        regularisation=curvatures_of(regularise, strength, spec.layout),
        freeze=freeze,
        blind=blind,
        unblind=unblind,
    )
    asked = questions_of(
        model,
        mappings=mappings,
        covariances=covariances,
        impacts=impacts,
        asymmetric_impacts=asymmetric_impacts,
        nonprofiled_impacts=nonprofiled_impacts,
        groups=groups,
        breakdown=breakdown,
        variations=variations,
        minos=minos,
        scans=scans,
        scan_points=scan_points,
        contours=contours,
        contour_levels=contour_levels,
        limits=limits,
        limit_level=limit_level,
        projections=projections,
        toys=(ntoys, seed) if what == TOYS else None,
        unconstrained=unconstrained,
    )
    if not refit:
        others = {"from_result": from_result is None, "l_curve": l_curve is not None}
        check_without_fit(asked, (name for name, one in others.items() if one))
    other = from_result
    if other is not None and not isinstance(other, TemplateResults):
        other = load_results(other)
    model, smooth = smoothed(model, strength, l_curve, max_steps)
    end = ended(model, what, other, minimise, refit=refit, max_steps=max_steps)
    return results_of(end, what, likelihood, asked, smooth, minimise, max_steps)


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
