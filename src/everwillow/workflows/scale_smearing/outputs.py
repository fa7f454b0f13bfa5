"""All files of an analysis: results, corrections, corrected events, and figures."""

import dataclasses
import importlib
import os
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, final

from everwillow._errors import ArgumentValueError
from everwillow.models.event_files import EventFiles
from everwillow.models.scale_smearing.configuration.records import (
    FitSettings,
    SasConfiguration,
)
from everwillow.models.scale_smearing.correction_files import import_correctionlib
from everwillow.models.scale_smearing.corrections import write_corrections
from everwillow.models.scale_smearing.parameters_file import parameters_to_json
from everwillow.workflows.scale_smearing.analysis import SasResult
from everwillow.workflows.scale_smearing.corrected_files import Sample, correct_files
from everwillow.workflows.scale_smearing.smoothed_corrections import write_smoothed
from everwillow.workflows.scale_smearing.smoothing import smooth


Ending: TypeAlias = Literal["pdf", "png", "svg"]


@final
@dataclasses.dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        files: The files in the order of their writing.
        remarks: Sentences on what was not written, on functions of pt, and on
            corrected events.
    """

    files: tuple[pathlib.Path, ...]
    remarks: tuple[str, ...]


def write_results(
    result: SasResult,
    folder: str | os.PathLike[str] | None = None,
    *,
    plots: bool = True,
    ending: Ending = "png",
    progress: Callable[[str], Any] | None = None,
) -> Written:
    """Write all files of an analysis.

    ``SAS<dataset>_syst-<name>.json`` for each fit, and with ``NominalWithSyst`` for the
    nominal one with all errors (``Nominal2GWithSyst`` for one with two Gaussians). Then
    what the configuration asks for: corrections for correctionlib, functions of pt, and
    corrected events. At last the figures. Corrections are made of successful fits only.

    Args:
        result: The results.
        folder: The folder, which is created; that of the configuration if None.
        plots: Whether to draw figures.
        ending: The format of figures.
        progress: Called with the name of each step when it begins.

    Raises:
        ImportError: If correctionlib or matplotlib is needed and not installed.
            `prepare_outputs` finds that before the fits.
        OSError: If a file cannot be written.
    """
    told = progress or (lambda _: None)
    place = prepare_outputs(result.configuration, folder, plots=False)
    told("Writing results")
    files = []
    for name, parameters in result.named().items():
        path = place / f"{name}.json"
        parameters_to_json(parameters, path)
        files.append(path)
    if not result.nominal.success:
        lost = "The nominal fit has no minimum, so no corrections are written."
        return Written(tuple(files), (lost,))
    made, remarks = _corrections(result, place, told)
    files += made
    for sample in ("data", "simulation"):
        made, said = _corrected(result, place, sample, told)
        files += made
        remarks += said
    if plots:
        from everwillow.workflows.scale_smearing.all_figures import (  # noqa: PLC0415
            write_figures,
        )

        drawn, missing = write_figures(result, place, ending=ending, progress=told)
        files += drawn
        remarks += missing
    return Written(tuple(files), tuple(remarks))


def prepare_outputs(
    configuration: SasConfiguration,
    folder: str | os.PathLike[str] | None = None,
    *,
    plots: bool = True,
) -> pathlib.Path:
    """Make the folder of results and import what writes them, before any fit.

    Args:
        configuration: The configuration.
        folder: The folder; that of the configuration if None.
        plots: Whether figures will be drawn.

    Returns:
        The folder.

    Raises:
        OSError: If the folder cannot be made or written to.
        ImportError: If a package is missing.
    """
    place = pathlib.Path(folder or configuration.results)
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=place):
        pass
    if configuration.corrections.write or configuration.corrections.smoothing:
        import_correctionlib()
    if plots:
        importlib.import_module("everwillow.plotting")
    return place


def _corrections(
    result: SasResult, place: pathlib.Path, told: Callable[[str], Any]
) -> tuple[list[pathlib.Path], list[str]]:
    """Write what the configuration asks for."""
    configuration = result.configuration
    asked = configuration.corrections
    names = {
        "dataset": configuration.dataset,
        "correction_set": configuration.correction_set,
        "description": asked.description,
    }
    made: list[pathlib.Path] = []
    if asked.write:
        told("Writing corrections")
        made.append(
            write_corrections(result.combined, place, **names, version=asked.version)
        )
    if asked.smoothing:
        told("Fitting functions of pt")
        try:
            curves = smooth(result.combined, pt=configuration.nominal.pt)
        except ArgumentValueError as error:
            return made, [f"There are no functions of pt: {error}"]
        made.append(write_smoothed(curves, place, **names, version=asked.version))
        return made, list(curves.sentences())
    return made, []


def _corrected(
    result: SasResult, place: pathlib.Path, sample: Sample, told: Callable[[str], Any]
) -> tuple[list[pathlib.Path], list[str]]:
    """Write the corrected copies of a sample, if they are asked for."""
    asked, settings = result.configuration.corrections, result.configuration.nominal
    simulated = sample == "simulation"
    if not (asked.correct_simulation if simulated else asked.correct_data):
        return [], []
    told(f"Correcting {sample}")
    files = settings.simulation if simulated else settings.data
    momenta = _has_momenta(settings, files[0])
    made = correct_files(
        result.combined,
        files,
        place,
        kind=sample,
        correction_set=result.configuration.correction_set,
        suffixes=settings.suffixes,
        mass=settings.mass,
        pt=settings.pt if momenta else None,
        mass_exponent=settings.mass_exponent,
        tree=settings.tree,
        branches=settings.branches,
        seed=settings.seed,
    )
    remarks = [text for one in made for text in one.sentences()]
    if not momenta:
        missing = " and ".join(f"{settings.pt}{one}" for one in settings.suffixes)
        remarks.append(
            f"The files of {sample} have no columns {missing}, so only masses are "
            "corrected."
        )
    return [one.path for one in made], remarks


def _has_momenta(settings: FitSettings, file: pathlib.Path) -> bool:
    """Return whether a file has the momenta of all leptons."""
    with EventFiles() as opened:
        known = {*opened.table(file, settings.tree).columns, *settings.branches}
    return all(f"{settings.pt}{suffix}" in known for suffix in settings.suffixes)
