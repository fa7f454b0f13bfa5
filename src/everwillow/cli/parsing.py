"""Commands whose options are read without waiting for what reads them.

Recent versions of typer convert every option, text that stays text and defaults too,
with pydantic, whose import takes longer than a fit. Here it is only asked where there
is something to convert.
"""

from typing import Any

from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command of typer, with options that need no conversion left as they are."""

    def get_params(self, ctx: Any) -> Any:
        """Return the options, that for help included."""
        return _spared(super().get_params(ctx))


class Group(TyperGroup):
    """The same for options before the name of a command."""

    def get_params(self, ctx: Any) -> Any:
        """Return the options, that for help included."""
        return _spared(super().get_params(ctx))


def _spared(params: Any) -> Any:
    for param in params:
        # A flag takes no value, whatever newer versions write behind it.
        if getattr(param, "is_flag", False) and param.metavar is None:
            param.metavar = ""
        # Older versions have nothing of the kind, and need none.
        if getattr(param, "_runtime_param", ...) is None:
            param._runtime_param = _AsItIs(param)
    return params


class _AsItIs:
    """Stands where typer keeps what converts the values of an option."""

    def __init__(self, param: Any) -> None:
        self._param = param

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return a value in the type of its option."""
        wanted = getattr(param.type_descriptor, "annotation", None)
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        if type(value) is wanted:
            return value
        texts = isinstance(value, list | tuple) and all(
            isinstance(one, str) for one in value
        )
        if several and wanted == list[str] and texts:
            return list(value)
        param._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)
