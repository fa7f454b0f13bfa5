"""Errors inside of functions of users: where they occur, and how they are mended.

A function of a user runs below many frames of JAX and of this package. Their part of
the traceback is left out, and what JAX says of traced values is said in the terms of
the function.
"""

import functools as ft
import importlib
import linecache
import pathlib
import sysconfig
import types
from collections.abc import Iterable
from typing import Any

import jax

from everwillow._errors import EverwillowError, TracingError, unknown_key
from everwillow._typing import Key
from everwillow.engine.layout import Layout
from everwillow.statelib import State


_PACKAGES = (
    "everwillow",
    "jax",
    "jaxlib",
    "equinox",
    "optimistix",
    "lineax",
    "jaxtyping",
    "numpy",
)

# By the exception of JAX: what the line of the user does, and what to do instead. The
# first class that fits counts.
_MISTAKES: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
    (
        (jax.errors.TracerArrayConversionError,),
        "a function of NumPy gets a parameter, which has no value yet while JAX "
        "compiles",
        "Use jax.numpy: `import jax.numpy as jnp`, then jnp.log in place of np.log.",
    ),
    (
        (jax.errors.TracerBoolConversionError,),
        "a decision depends on a parameter, which has no value yet while JAX compiles",
        "In place of `if`, `and`, `min` and the like compute both sides and choose "
        "with jnp.where(condition, a, b), jnp.logical_and or jnp.minimum.",
    ),
    (
        (jax.errors.NonConcreteBooleanIndexError,),
        "an array is indexed by a condition on a parameter, which has no value yet "
        "while JAX compiles",
        "Keep all elements and choose with jnp.where(condition, a, 0).",
    ),
    (
        (
            jax.errors.ConcretizationTypeError,
            jax.errors.TracerIntegerConversionError,
        ),
        "a parameter is converted to a number of Python, but has no value yet while "
        "JAX compiles",
        "Leave out float(), int() and .item(), and use jax.numpy: "
        "`import jax.numpy as jnp`, then jnp.log in place of math.log.",
    ),
)


def told(error: Exception, args: Iterable[Any]) -> Exception:
    """Return an error, for code of a user with a traceback that begins there.

    Args:
        error: The error of a program.
        args: The arguments of the program, whose parameters a message may name.

    Returns:
        A `TracingError` if the code needs numbers where there are traced values, an
        `UnknownKeyError` if it looks up a parameter that does not exist, otherwise the
        same error.
    """
    frames = _user_frames(error.__traceback__)
    if isinstance(error, EverwillowError):
        # Its message is enough.
        return error.with_traceback(frames[0] if frames else None)
    if not frames:
        return error
    own = _told(error, frames[-1], args)
    if own is None:
        return error.with_traceback(frames[0])
    return own.with_traceback(_chained(frames))


def _told(
    error: Exception, last: types.TracebackType, args: Iterable[Any]
) -> EverwillowError | None:
    """Return an error in terms of the function of the user, if there is one."""
    for kinds, problem, mend in _MISTAKES:
        if isinstance(error, kinds):
            return TracingError(f"{_place(last)}: {problem}.", mend=mend)
    if isinstance(error, KeyError) and last.tb_next is None and error.args:
        known = _names(args)
        if known and error.args[0] not in known:
            return unknown_key(error.args[0], known, where=_place(last))
    return None


def _place(traceback: types.TracebackType) -> str:
    """Return function, file, number and text of a line."""
    code, number = traceback.tb_frame.f_code, traceback.tb_lineno
    text = linecache.getline(code.co_filename, number, traceback.tb_frame.f_globals)
    path = pathlib.PurePath(code.co_filename)
    # A kernel of Jupyter gives each cell a file of its own, with a number as its name.
    file = "cell" if path.parent.name.startswith("ipykernel_") else path.name
    shown = f", `{text.strip()}`" if text.strip() else ""
    return f"{code.co_name} ({file}, line {number}{shown})"


def _names(args: Iterable[Any]) -> list[Key]:
    """Return the names of the parameters of a program."""
    for arg in args:
        layout = getattr(arg, "layout", None)
        if isinstance(layout, Layout):
            return list(layout.keys)
        if isinstance(arg, State):
            return list(arg)
    return []


def _user_frames(
    traceback: types.TracebackType | None,
) -> list[types.TracebackType]:
    """Return the parts of a traceback that are in code of users."""
    found = []
    while traceback is not None:
        if _is_users(traceback.tb_frame.f_code.co_filename):
            found.append(traceback)
        traceback = traceback.tb_next
    return found


def _chained(parts: Iterable[types.TracebackType]) -> types.TracebackType | None:
    """Return a traceback of some parts of another one."""
    following = None
    for part in reversed(list(parts)):
        following = types.TracebackType(
            following, part.tb_frame, part.tb_lasti, part.tb_lineno
        )
    return following


@ft.cache
def _is_users(filename: str) -> bool:
    if filename.startswith("<frozen"):
        return False
    path = pathlib.Path(filename)
    library = pathlib.Path(sysconfig.get_path("stdlib"))
    if library in path.parents:
        return "site-packages" in path.parts and not _is_known(path)
    return not _is_known(path)


def _is_known(path: pathlib.Path) -> bool:
    return any(folder in path.parents for folder in _folders())


@ft.cache
def _folders() -> tuple[pathlib.Path, ...]:
    files = [importlib.import_module(name).__file__ for name in _PACKAGES]
    return tuple(pathlib.Path(file).parent for file in files if file)
