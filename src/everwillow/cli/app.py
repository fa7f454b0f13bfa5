"""The application: its groups of commands, and the end of the process."""

import os
import sys
from typing import Annotated, Any

from everwillow._errors import missing_package
from everwillow.cli.interruption import end_on_interrupt, is_command


try:
    import typer

    from everwillow.cli.groups import density_ratios, sas, templates, workspaces
    from everwillow.cli.parsing import Group
except ImportError as error:
    failure = missing_package("The command everwillow needs typer and rich", "cli")
    # On the command line a sentence is enough; an import raises the exception.
    raise (SystemExit(str(failure)) if is_command() else failure) from error


app = typer.Typer(
    name="everwillow",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Fit binned likelihoods, set limits, scan the profile likelihood and rank "
        "impacts, for published analyses: pyhf workspaces and HS3 documents (JSON, "
        "gzipped or not; - is the standard input)."
    ),
    epilog=(
        "Exit codes: 0 success; 1 internal error; 2 bad input or usage, or a limit "
        "beyond the bounds; 3 a fit did not converge, so there is no result or a part "
        "of it is missing; 130 interrupted. Compiled programs are kept in the cache "
        "folder of the user, which makes the next run faster: --no-cache or "
        "EVERWILLOW_CACHE=0 switches that off."
    ),
)


def _show_version(requested: bool) -> None:  # noqa: FBT001
    if requested:
        from importlib import metadata  # noqa: PLC0415

        typer.echo(f"everwillow {metadata.version('everwillow')}")
        raise typer.Exit


@app.callback()
def _everwillow(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            is_eager=True,
            callback=_show_version,
        ),
    ] = False,
) -> None:
    del version


workspaces.add_to(app)
for group in (templates.template, density_ratios.nsbi, sas.sas):
    app.add_typer(group)


def main() -> None:
    """Run the command line, and end the process at once.

    The regular end of JAX takes a third of a second, which a process that is not needed
    any more does not need.
    """
    end_on_interrupt()
    code: Any = 0
    try:
        app()
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 1
    os._exit(code or 0)
