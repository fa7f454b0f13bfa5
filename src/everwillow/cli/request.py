"""The options that the commands for workspaces share, and their values."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

from everwillow._errors import ArgumentValueError, nearest
from everwillow.cli.files import STDIN, check_target
from everwillow.workflows.command_options import option


_RESULTS = (".json", ".npz", ".h5", ".hdf5")
_PICTURES = (".pdf", ".png", ".svg", ".eps")
_REPEATED = ("patches", "fixed", "free")
_INPUT, _OUTPUT, _RATIOS = "Input", "Output", "Density ratios"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """Options of the commands for workspaces.

    Attributes:
        workspace: A file, or ``-`` for the standard input.
        measurement: Name or index of the measurement of a workspace.
        analysis: Name or index of the analysis of an HS3 document.
        patches: ``FILE`` or ``PATCHSET:NAME``.
        verify: Whether to check that a patch set is made for the workspace.
        poi: Parameter of interest.
        fixed: ``NAME`` or ``NAME=VALUE``.
        free: Names of parameters that are fitted although the document fixes them.
        interpolation: Interpolation codes of a pyhf workspace, or the interpolation of
            density ratios.
        normalize: Whether densities are normalised for all values of parameters.
        template_statistics: Whether the bins of templates fluctuate within their
            statistical errors; None for the choice of the workspace.
        storage: The type in which densities are in memory.
        out: File for the results, or None.
        plot: File for the plot, or None.
        form: ``"text"`` or ``"json"``: how results are printed.
        cache: Whether to keep compiled programs.
        others: Other files that are read.
    """

    workspace: str
    measurement: str | None = option(
        None,
        "Name or index of the measurement of a workspace; the first by default.",
        "--measurement",
        "-m",
        panel=_INPUT,
    )
    analysis: str | None = option(
        None,
        "Name or index of the analysis of an HS3 document; the first by default.",
        panel=_INPUT,
    )
    patches: tuple[str, ...] = option(
        (),
        "Apply a JSON patch, or a patch of a patch set.",
        "--patch",
        "-p",
        panel=_INPUT,
        metavar="FILE|PATCHSET:NAME",
        repeated=True,
    )
    verify: bool = option(
        True, "Check that a patch set is made for this workspace.", panel=_INPUT
    )
    poi: str | None = option(
        None,
        "Parameter of interest, or an element such as 'gamma[3]'; by default that of "
        "the document.",
        panel=_INPUT,
        metavar="NAME",
    )
    fixed: tuple[str, ...] = option(
        (),
        "Hold a parameter constant, an element such as gamma[3], or all parameters "
        "that match a pattern such as 'stat*'.",
        "--fix",
        "-f",
        panel=_INPUT,
        metavar="NAME[=VALUE]",
        repeated=True,
    )
    free: tuple[str, ...] = option(
        (),
        "Fit a parameter that the document or --fix holds constant, an element, or all "
        "parameters that match a pattern.",
        panel=_INPUT,
        metavar="NAME",
        repeated=True,
    )
    interpolation: str = option(
        "default",
        "Interpolation codes of a pyhf workspace: default (codes 4 and 4p), "
        "pyhf-python (codes 1 and 0), or normsys=CODE,histosys=CODE; of density "
        "ratios: polynomial (the default) or linear.",
        panel=_INPUT,
    )
    normalize: bool = option(
        True,
        "Divide the densities of samples, changed by nuisance parameters, by their "
        "integrals.",
        panel=_RATIOS,
    )
    template_statistics: bool | None = option(
        None,
        "Let the bins of templates fluctuate within their statistical errors; by "
        "default as the workspace says.",
        "--template-statistics/--no-template-statistics",
        panel=_RATIOS,
        kind=bool,
    )
    storage: str = option(
        "float64",
        "Type in which densities are in memory.",
        panel=_RATIOS,
        kind=Literal["float64", "float32"],
    )
    out: str | None = option(
        None, "File for the results: .json, .npz or .h5.", "--out", "-o", panel=_OUTPUT
    )
    plot: str | None = option(
        None, "File for a plot of the results: .pdf, .png or .svg.", panel=_OUTPUT
    )
    form: str = option(
        "text",
        "Print tables, or one JSON object for other programs.",
        "--format",
        panel=_OUTPUT,
        kind=Literal["text", "json"],
    )
    cache: bool = option(True, "Keep compiled programs for the next run.")
    others: tuple[str, ...] = ()

    @classmethod
    def of(cls, workspace: str, options: Mapping[str, Any]) -> "Request":
        """Make a request from the values of the command line."""
        given: dict[str, Any] = {
            name: tuple(value or ()) if name in _REPEATED else value
            for name, value in options.items()
        }
        return cls(workspace=workspace, **given)

    @property
    def title(self) -> str:
        """The names of the workspace and of the patches, for output."""
        name = self.workspace
        name = "standard input" if name == STDIN else pathlib.Path(name).name
        return " + ".join([name, *(pathlib.Path(p).name for p in self.patches)])

    @property
    def inputs(self) -> tuple[str, ...]:
        """The files that are read."""
        return (self.workspace, *self.patches, *self.others)

    def check(self) -> None:
        """Check the files for results and plots, before anything is computed.

        Raises:
            ArgumentValueError: If the ending of a file is not known, its folder does
                not exist, or it is an input file.
        """
        for flag, file, endings in (
            ("--out", self.out, _RESULTS),
            ("--plot", self.plot, _PICTURES),
        ):
            if file is not None:
                check_target(flag, file, self.inputs, endings)


def name_or_index(text: str | None) -> str | int | None:
    """Return the name of a measurement or an analysis, or its index as a number."""
    return int(text) if text is not None and text.isdecimal() else text


def settings_of(
    texts: tuple[str, ...], option: str = "--fix"
) -> dict[str, float | None]:
    """Read ``NAME`` and ``NAME=VALUE``.

    Args:
        texts: The values of the option.
        option: The option, for messages.

    Raises:
        ArgumentValueError: If a value is not a finite number.

    Example:
        >>> settings_of(("lumi", "mu=0.5"))
        {'lumi': None, 'mu': 0.5}
    """
    settings: dict[str, float | None] = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        if not equals:
            settings[text] = None
            continue
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not name or not math.isfinite(value):
            raise ArgumentValueError(
                f"{option} {text}: expected NAME or NAME=VALUE with a finite number."
            )
        settings[name] = value
    return settings


def interpolation_of(text: str) -> str | dict[str, str]:
    """Read a name, or ``normsys=code1,histosys=code0``.

    Raises:
        ArgumentValueError: If it is neither.

    Example:
        >>> interpolation_of("normsys=code1")
        {'normsys': 'code1'}
    """
    names = ("default", "pyhf-python", "polynomial", "linear")
    if "=" in text:
        return dict(_pair(part) for part in text.split(","))
    if text in names:
        return text
    raise ArgumentValueError(
        f"--interpolation {text}: expected {', '.join(names)}, or codes such as "
        f"normsys=code1,histosys=code0.{nearest(text, names)}"
    )


def _pair(text: str) -> tuple[str, str]:
    name, _, code = text.partition("=")
    return name.strip(), code.strip()
