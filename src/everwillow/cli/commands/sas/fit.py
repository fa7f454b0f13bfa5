"""``everwillow sas fit``."""

import time

import typer

from everwillow.cli.report.outcome import NOT_CONVERGED
from everwillow.cli.report.sas import (
    error_tables,
    results_head,
    results_table,
    second_table,
)
from everwillow.cli.report.terminal import busy, remarks, show, table
from everwillow.models.scale_smearing import read_configuration
from everwillow.models.scale_smearing.configuration.records import (
    FitSettings,
    SasConfiguration,
    Window,
)
from everwillow.workflows.scale_smearing.analysis import (
    NOMINAL,
    SasResult,
    compute_sas,
)
from everwillow.workflows.scale_smearing.outputs import (
    Ending,
    Written,
    prepare_outputs,
    write_results,
)


def run(
    *,
    config: str,
    out: str | None,
    dry_run: bool,
    plots: bool,
    ending: Ending,
    everything: bool,
) -> None:
    """Make all fits of a configuration, write all files, and print the result."""
    began = time.perf_counter()
    configuration = read_configuration(config, results=out)
    if dry_run:
        show(
            fits_table(configuration),
            *remarks(configuration.report),
            "The configuration has no faults. No events were read, and nothing was "
            f"written. Results would go to {configuration.results}.",
        )
        return
    prepare_outputs(configuration, plots=plots)
    with busy("Reading events") as step:
        result = compute_sas(configuration, progress=step)
        written = write_results(result, plots=plots, ending=ending, progress=step)
    elapsed = time.perf_counter() - began
    show(*_parts(result, written, elapsed, everything=everything))
    if not result.success:
        raise typer.Exit(NOT_CONVERGED)


def fits_table(configuration: SasConfiguration) -> str:
    """Return a table of the fits of a configuration, and their cuts."""
    every = {NOMINAL: configuration.nominal, **configuration.systematics}
    rows: list[tuple[str, ...]] = []
    cuts: dict[str, list[str]] = {}
    for name, one in every.items():
        windows = ("{:g}-{:g}".format(*w) for w in _windows(one))
        gaussians = "2" if one.double_gaussian else "1"
        rows.append((name, str(one.categories.size), *windows, gaussians))
        cuts.setdefault(one.cut.text if one.cut else "none", []).append(name)
    heads = ("fit", "categories", "data/GeV", "sim./GeV", "Gaussians")
    lines = [f"Cut ({', '.join(names)}): {cut}" for cut, names in cuts.items()]
    return table(heads, rows, title="Fits") + "\n\n" + "\n".join(lines)


def _windows(settings: FitSettings) -> tuple[Window, Window]:
    return settings.data_window, settings.simulation_window


def _parts(
    result: SasResult, written: Written, elapsed: float, *, everything: bool
) -> list[str]:
    parts = [results_head(result.nominal, time=elapsed)]
    parts.append(results_table(result.combined, everything=everything))
    if second := second_table(result.nominal, everything=everything):
        parts.append(second)
    if result.nominal.success:
        parts += error_tables(result.combined, everything=everything)
    failed = [
        f"FAILED: {name}: {one.message}"
        for name, one in result.systematics.items()
        if not one.success
    ]
    if failed:
        parts.append("\n".join(failed))
    parts += remarks((*result.report, *written.remarks))
    place = result.configuration.results
    endings: dict[str, int] = {}
    for file in written.files:
        endings[file.suffix] = endings.get(file.suffix, 0) + 1
    counts = ", ".join(f"{count} {ending[1:]}" for ending, count in endings.items())
    parts.append(f"{len(written.files)} files are in {place} ({counts}).")
    return parts
