"""What a user asked for: the options that several commands share."""

import dataclasses
import math
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from everwillow._errors import ArgumentValueError, nearest
from everwillow.cli.files import STDIN, check_target, expecting_json
from everwillow.workflows.command_options import option


if TYPE_CHECKING:
    from everwillow.workflows.histfactory import Source


FORMATS = {"pyhf": "pyhf workspace", "hs3": "HS3 document"}
_RESULTS = (".json", ".npz", ".h5", ".hdf5")
_PICTURES = (".pdf", ".png", ".svg", ".eps")
_INPUT, _OUTPUT = "Input", "Output"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """Options of the commands for workspaces.

    Attributes:
        workspace: A file, or ``-`` for the standard input.
        measurement: Measurement of a pyhf workspace; a name or an index.
        analysis: Analysis of an HS3 document; a name or an index.
        patches: ``FILE`` or ``PATCHSET:NAME``.
        verify: Whether patch sets have to be made for the workspace.
        poi: Parameter of interest.
        fixed: ``NAME`` or ``NAME=VALUE``.
        interpolation: Interpolation codes of a pyhf workspace.
        out: Where results go, or None.
        plot: Where the plot goes, or None.
        cache: Whether compiled programs are kept.
    """

    workspace: str
    measurement: str | None = option(
        None,
        "Of a workspace: name or number.",
        "--measurement",
        "-m",
        panel=_INPUT,
    )
    analysis: str | None = option(
        None, "Of an HS3 document: name or number.", "--analysis", panel=_INPUT
    )
    patches: tuple[str, ...] = option(
        (),
        "Apply a JSON patch, or one of a patch set.",
        "--patch",
        "-p",
        panel=_INPUT,
        metavar="FILE|PATCHSET:NAME",
        repeated=True,
    )
    verify: bool = option(
        True,
        "Whether a patch set must be made for this workspace.",
        "--verify/--no-verify",
        panel=_INPUT,
        kind=bool,
    )
    poi: str | None = option(None, "Parameter of interest.", "--poi", panel=_INPUT)
    fixed: tuple[str, ...] = option(
        (),
        "Hold a parameter, an element such as gamma[3], or all that match a pattern "
        "such as 'stat*'.",
        "--fix",
        "-f",
        panel=_INPUT,
        metavar="NAME[=VALUE]",
        repeated=True,
    )
    interpolation: str = option(
        "default",
        "Of a workspace: default (codes 4 and 4p), pyhf-python (codes 1 and 0), or "
        "normsys=CODE,histosys=CODE.",
        "--interpolation",
        panel=_INPUT,
    )
    out: str | None = option(
        None,
        "Write the result: .json, .npz or .h5.",
        "--out",
        "-o",
        panel=_OUTPUT,
    )
    plot: str | None = option(
        None, "Draw the result: .pdf, .png or .svg.", "--plot", panel=_OUTPUT
    )
    cache: bool = option(
        True,
        "Whether compiled programs are kept for the next run.",
        "--cache/--no-cache",
        kind=bool,
    )

    @classmethod
    def of(cls, workspace: str, options: Mapping[str, Any]) -> "Request":
        """Make a request of options as the command line has them."""
        given: dict[str, Any] = {
            name: tuple(value or ()) if name in ("patches", "fixed") else value
            for name, value in options.items()
        }
        return cls(workspace=workspace, **given)

    @property
    def title(self) -> str:
        """The name of the data, for people."""
        name = self.workspace
        name = "standard input" if name == STDIN else pathlib.Path(name).name
        return " + ".join([name, *(pathlib.Path(p).name for p in self.patches)])

    @property
    def inputs(self) -> tuple[str, ...]:
        """What is read."""
        return (self.workspace, *self.patches)

    def check(self) -> None:
        """Check where results go, before anything is computed.

        Raises:
            ArgumentValueError: If a file has an unknown ending, or no folder, or is
                one of those that are read.
        """
        for flag, file, endings in (
            ("--out", self.out, _RESULTS),
            ("--plot", self.plot, _PICTURES),
        ):
            if file is not None:
                check_target(flag, file, self.inputs, endings)


@dataclasses.dataclass(frozen=True)
class Input:
    """A model, as a command gets it.

    Attributes:
        source: The document that it was made of, patches applied.
        model: The model.
        fixed: What the user fixes.
        seconds: How long it took to read.
    """

    source: "Source"
    model: Any
    fixed: Mapping[Any, Any]
    seconds: float

    @property
    def poi(self) -> str:
        """The parameter of interest.

        Raises:
            ArgumentValueError: If there is none.
        """
        if self.model.poi is None:
            names = [str(key) for key in self.model.state]
            shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            raise ArgumentValueError(
                "The document names no parameter of interest. Choose one with --poi; "
                f"the parameters are {shown}."
            )
        return self.model.poi


def read(workspace: str) -> "Source":
    """Read the document that a command was given."""
    from everwillow.workflows.histfactory import read_source  # noqa: PLC0415

    if workspace != STDIN:
        with expecting_json(workspace):
            return read_source(workspace)
    source = read_source(sys.stdin.buffer.read())
    return dataclasses.replace(source, name="standard input")


def load(request: Request) -> Input:
    """Read a document and make a model of it."""
    began = time.perf_counter()
    from everwillow.workflows import histfactory  # noqa: PLC0415

    source = histfactory.patched_source(
        read(request.workspace), request.patches, verify=request.verify
    )
    model = histfactory.load_model(
        source,
        measurement=name_or_index(request.measurement),
        analysis=name_or_index(request.analysis),
        poi=request.poi,
        interpolation=interpolation_of(request.interpolation),
    )
    fixed = histfactory.fixed_parameters(model, settings_of(request.fixed))
    return Input(source, model, fixed, time.perf_counter() - began)


def name_or_index(text: str | None) -> str | int | None:
    """Read the name of a measurement or an analysis, or its index."""
    return int(text) if text is not None and text.isdecimal() else text


def settings_of(
    texts: tuple[str, ...], option: str = "--fix"
) -> dict[str, float | None]:
    """Read ``NAME`` and ``NAME=VALUE``.

    Args:
        texts: What the user wrote.
        option: Where.

    Raises:
        ArgumentValueError: If a value is no finite number.

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
    names = ("default", "pyhf-python")
    if "=" in text:
        return dict(_pair(part) for part in text.split(","))
    if text in names:
        return text
    raise ArgumentValueError(
        f"--interpolation {text}: expected {' or '.join(names)}, or codes such as "
        f"normsys=code1,histosys=code0.{nearest(text, names)}"
    )


def _pair(text: str) -> tuple[str, str]:
    name, _, code = text.partition("=")
    return name.strip(), code.strip()
