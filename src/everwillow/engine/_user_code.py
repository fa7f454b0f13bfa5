"""Errors inside of functions of users: where they occur, and how they are mended.

A function of a user runs below many frames of JAX and of this package. Their part of
the traceback is left out, and what JAX says of traced values is said in the terms of
the function.
"""

import functools as ft
import importlib
import inspect
import linecache
import pathlib
import re
import sysconfig
import types
from collections.abc import Iterable
from typing import Any

import jax

from everwillow._errors import (
    ArgumentTypeError,
    EverwillowError,
    TracingError,
    unknown_key,
)
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
    "scipy",
)

# What JAX and NumPy say without an exception of their own.
_SET_ELEMENT = "setting an array element with a sequence"
_NO_INDEX = "Only integer scalar arrays can be converted to a scalar index"
_WRONG_COUNT = re.compile(
    r"([\w.<>]+)\(\) (?:takes .*positional argument|missing .*required positional)"
)

# How functions are called, by the function here that calls them.
_FORMS = {
    "value": "nll(params, observation)",
    "main_nll": "nll(params, observation)",
    "residuals": "residuals(params, observation)",
    "expected": "expected(params)",
    "sample": "sample(params, key)",
}

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
        "Leave out float(), int() and .item(): parameters are arrays of JAX, which "
        "take part in all computations.",
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
        own = _wrong_count(error)
        return error if own is None else own.with_traceback(None)
    own = _told(error, frames[-1], args)
    if own is None:
        return error.with_traceback(frames[0])
    return own.with_traceback(_chained(frames))


def defined(function: Any) -> str:
    """Return name, file and line of a function, or ``""`` for other objects."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return ""
    return f"{code.co_name} ({_file(code)}, line {code.co_firstlineno})"


def _told(
    error: Exception, last: types.TracebackType, args: Iterable[Any]
) -> Exception | None:
    """Return an error in terms of the function of the user, if there is one."""
    args = list(args)
    mistake = _mistake(error, last)
    if mistake is not None:
        problem, mend = mistake
        return TracingError(f"{_place(last)}: {problem}.", mend=mend)
    if isinstance(error, KeyError) and last.tb_next is None and error.args:
        known = _names(args)
        if known and error.args[0] not in known:
            return unknown_key(error.args[0], known, where=_place(last))
    if isinstance(error, AttributeError):
        name = error.name
        if isinstance(error.obj, dict) and name in error.obj:
            return AttributeError(
                f"{_place(last)}: {error}. The parameters are a dict: write "
                f"[{name!r}] in place of .{name}."
            )
    if (
        isinstance(error, TypeError | AttributeError)
        and "NoneType" in str(error)
        and _without_data(args)
    ):
        return ArgumentTypeError(
            f"{_place(last)}: the observation is None, as no data were given.",
            mend="Pass them after the parameters, as in fit(nll, params, observation).",
        )
    return None


def _mistake(error: Exception, last: types.TracebackType) -> tuple[str, str] | None:
    """Return what a line does with a traced value, and what to do instead."""
    no_value = "which has no value yet while JAX compiles"
    if isinstance(error, ValueError) and str(error).startswith(_SET_ELEMENT):
        return (
            f"an element of an array of NumPy is set to a parameter, {no_value}",
            "Make the array of its elements, jnp.stack([a, b]), or use an array of "
            "JAX: a = jnp.zeros(2), then a = a.at[0].set(value).",
        )
    if isinstance(error, TypeError) and str(error).startswith(_NO_INDEX):
        return (
            "a parameter is used as a whole number, as in range() or as an index, but "
            "is a floating-point number",
            "Compute all terms and choose with jnp.where(jnp.arange(n) < value, a, 0).",
        )
    if isinstance(error, jax.errors.TracerArrayConversionError) and _in_scipy(last):
        return (
            f"a function of SciPy gets a parameter, {no_value}",
            "Use jax.scipy, for example jax.scipy.stats.norm.logpdf in place of "
            "scipy.stats.norm.logpdf.",
        )
    if isinstance(error, jax.errors.ConcretizationTypeError) and _calls_math(last):
        return (
            f"a function of the module math gets a parameter, {no_value}",
            "Use jax.numpy: `import jax.numpy as jnp`, then jnp.log in place of "
            "math.log.",
        )
    for kinds, problem, mend in _MISTAKES:
        if isinstance(error, kinds):
            return problem, mend
    return None


def _in_scipy(last: types.TracebackType) -> bool:
    """Return whether a line of a user has called SciPy."""
    called = last.tb_next
    if called is None:
        return False
    return "scipy" in pathlib.Path(called.tb_frame.f_code.co_filename).parts


def _calls_math(last: types.TracebackType) -> bool:
    """Return whether a line calls a function of the module math."""
    known = last.tb_frame.f_globals | last.tb_frame.f_locals
    words = re.findall(r"[A-Za-z_]\w*", _line(last))
    named = [known[word] for word in words if word in known]
    return any(
        isinstance(one, types.ModuleType | types.BuiltinFunctionType)
        and "math" in (one.__name__, getattr(one, "__module__", None))
        for one in named
    )


def _without_data(args: Iterable[Any]) -> bool:
    """Return whether a program has got no observation."""
    for arg in args:
        if hasattr(arg, "observation"):
            seen = arg.observation
            return (seen.get("main", 0) if isinstance(seen, dict) else seen) is None
    return False


def _wrong_count(error: Exception) -> EverwillowError | None:
    """Return an error for a function that takes another number of arguments."""
    match = _WRONG_COUNT.match(str(error)) if isinstance(error, TypeError) else None
    if match is None:
        return None
    caller = error.__traceback__
    home = _folders()[0]
    last = form = None
    while caller is not None:
        if home in pathlib.Path(caller.tb_frame.f_code.co_filename).parents:
            name = caller.tb_frame.f_code.co_name
            # Wrappers of functions are no callers.
            form = _FORMS.get(name, form if last and name == "__call__" else None)
            last = caller
        caller = caller.tb_next
    if last is None or form is None:
        return None
    function = _found(match[1], [last.tb_frame.f_locals])
    place = defined(function) if function is not None else match[1]
    return ArgumentTypeError(
        f"{place}: {error}.",
        mend=f"The form is {form}, also for a function that does not use all of them.",
    )


def _found(name: str, parts: list[Any], depth: int = 4) -> Any:
    """Return the function of a name that some objects hold, or None."""
    inner: list[Any] = []
    for part in parts:
        if inspect.isroutine(part) or hasattr(part, "__wrapped__"):
            function = inspect.unwrap(part)
            if getattr(function, "__qualname__", None) == name:
                return function
        elif isinstance(part, dict):
            inner += part.values()
        elif isinstance(part, list | tuple):
            inner += part
        elif hasattr(part, "__dict__"):
            inner.append(inspect.getattr_static(type(part), "__call__", None))
            inner += vars(part).values()
    return _found(name, inner, depth - 1) if inner and depth else None


def _place(traceback: types.TracebackType) -> str:
    """Return function, file, number and text of a line."""
    code, text = traceback.tb_frame.f_code, _line(traceback)
    shown = f", `{text}`" if text else ""
    return f"{code.co_name} ({_file(code)}, line {traceback.tb_lineno}{shown})"


def _line(traceback: types.TracebackType) -> str:
    frame = traceback.tb_frame
    return linecache.getline(
        frame.f_code.co_filename, traceback.tb_lineno, frame.f_globals
    ).strip()


def _file(code: types.CodeType) -> str:
    path = pathlib.PurePath(code.co_filename)
    # A kernel of Jupyter gives each cell a file of its own, with a number as its name.
    return "cell" if path.parent.name.startswith("ipykernel_") else path.name


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
