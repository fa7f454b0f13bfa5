"""Commands whose options are converted without pydantic where possible.

Recent versions of typer convert every option with pydantic, also texts and defaults.
Its import takes a third of the time of ``--help``. Here it is imported only for options
that have to be converted.
"""

from typing import Any

from typer.core import TyperCommand, TyperGroup

from everwillow.cli.old_options import in_new_words, with_empty_values


# More characters than any sentence on a command has.
_WHOLE = 1000


class Command(TyperCommand):
    """A command of typer that does not convert options of the right type."""

    def get_params(self, ctx: Any) -> Any:
        """Return the options, that for help included."""
        return _spared(super().get_params(ctx))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, a section for each panel."""
        _write_options(self.get_params(ctx), ctx, formatter)

    def parse_args(self, ctx: Any, args: Any) -> Any:
        """Read the words, also old spellings, and options with an optional value.

        The placeholder of an optional value is in brackets.
        """
        flags = {flag: one for one in self.get_params(ctx) for flag in one.opts}
        optional = {
            flag
            for flag, one in flags.items()
            if (getattr(one, "metavar", None) or "").startswith("[")
        }
        words = with_empty_values(in_new_words(args, flags), optional)
        return super().parse_args(ctx, words)


class Group(TyperGroup):
    """A group of commands of typer, with the same treatment of its options."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options and the commands."""
        _write_options(self.get_params(ctx), ctx, formatter)
        rows = [
            (name, command.get_short_help_str(limit=_WHOLE))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def get_params(self, ctx: Any) -> Any:
        """Return the options, that for help included."""
        return _spared(super().get_params(ctx))


def _write_options(params: Any, ctx: Any, formatter: Any) -> None:
    """Write options in sections.

    The tables that typer makes with rich cut long options on narrow terminals.
    """
    sections: dict[str, list[Any]] = {}
    for param in params:
        is_argument = param.param_type_name == "argument"
        name = getattr(param, "rich_help_panel", None)
        record = param.get_help_record(ctx)
        if record is not None:
            name = name or ("Arguments" if is_argument else "Options")
            sections.setdefault(name, []).append(record)
    for name, records in sections.items():
        with formatter.section(name):
            formatter.write_dl(records)


def _spared(params: Any) -> Any:
    for param in params:
        # A flag takes no value; newer versions show one in --help.
        if getattr(param, "is_flag", False) and param.metavar is None:
            param.metavar = ""
        # Older versions have no such attribute, and do not use pydantic.
        if getattr(param, "_runtime_param", ...) is None:
            param._runtime_param = _AsItIs(param)
    return params


class _AsItIs:
    """Converts the values of an option in place of an object of typer."""

    def __init__(self, param: Any) -> None:
        self._param = param

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return a value in the type of its option."""
        expected = getattr(param.type_descriptor, "annotation", None)
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        if type(value) is expected:
            return value
        texts = isinstance(value, list | tuple) and all(
            isinstance(one, str) for one in value
        )
        if several and expected == list[str] and texts:
            return list(value)
        param._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)
