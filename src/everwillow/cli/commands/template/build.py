"""``everwillow template build``."""

import pathlib
import runpy
import sys
import traceback
from typing import Any

from everwillow._errors import ArgumentValueError, MissingFileError
from everwillow.cli.files import check_target
from everwillow.cli.report.terminal import busy, show
from everwillow.likelihood.templates.spec import TemplateSpec
from everwillow.models.templates.booking.builder import TemplateBuilder
from everwillow.models.templates.inputs_report import inspect_inputs
from everwillow.models.templates.writing import write


def run(*, script: str, out: str) -> None:
    """Run a script, write the template fit that it books, and report on its inputs."""
    check_target("--out", out, [script])
    with busy("Building"):
        spec = spec_of(pathlib.Path(script))
        write(spec, out)
    show(str(inspect_inputs(spec)), f"{out} is ready for `everwillow template fit`.")


def spec_of(script: pathlib.Path) -> TemplateSpec:
    """Run a script, and return the template fit of its `build` or `builder`.

    Raises:
        MissingFileError: If there is no such file.
        ArgumentValueError: If the script fails, or defines neither.
    """
    if not script.is_file():
        raise MissingFileError(f"{script}: there is no such file.")
    names: Any = _guarded(script, lambda: runpy.run_path(str(script)))
    if callable(names.get("build")):
        made = _guarded(script, names["build"])
    elif "builder" in names:
        made = names["builder"]
    else:
        raise ArgumentValueError(
            f"{script}: the script defines neither a function build() that returns a "
            "TemplateBuilder, nor a TemplateBuilder under the name `builder`."
        )
    if isinstance(made, TemplateBuilder):
        return _guarded(script, made.spec)
    if isinstance(made, TemplateSpec):
        return made
    raise ArgumentValueError(
        f"{script}: expected a TemplateBuilder, got {type(made).__name__}."
    )


def _guarded(script: pathlib.Path, call: Any) -> Any:
    """Call code of a script, with the folder of the script in the module path."""
    folder = str(script.parent.resolve())
    sys.path.insert(0, folder)
    try:
        return call()
    except Exception as error:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if pathlib.Path(frame.filename).name == script.name
        ]
        if isinstance(error, SyntaxError):
            lines = [error.lineno]
        place = f"{script}, line {lines[-1]}" if lines else str(script)
        raise ArgumentValueError(f"{place}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(folder)
