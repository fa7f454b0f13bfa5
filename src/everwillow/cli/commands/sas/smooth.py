"""``everwillow sas smooth``."""

import pathlib

from everwillow.cli.report.sas import curves_table
from everwillow.cli.report.terminal import busy, remarks, show
from everwillow.models.scale_smearing import parameters_from_json
from everwillow.workflows.scale_smearing.smoothed_corrections import write_smoothed
from everwillow.workflows.scale_smearing.smoothing import smooth


def run(
    *,
    file: str,
    out: str | None,
    dset: str,
    cset: str,
    description: str | None,
    vers: int,
    pt: str,
) -> None:
    """Fit functions of pt to a result, and write them for correctionlib."""
    parameters = parameters_from_json(pathlib.Path(file))
    with busy("Fitting functions of pt"):
        curves = smooth(parameters, pt=pt)
    written = write_smoothed(
        curves,
        out or pathlib.Path(file).parent,
        dataset=dset,
        correction_set=cset,
        version=vers,
        description=description,
    )
    show(
        *(curves_table(curves, one) for one in (curves.scale, curves.smear)),
        *remarks(curves.sentences()),
        f"The functions are in {written}.",
    )
