"""Parsing of mappings: the same text in Python and on the command line.

- ``Identity [CHANNEL ...]``: the yields of whole channels
- ``Select CHANNEL [PROCESS,...] [SELECTION]``: some processes and bins
- ``Project CHANNEL [AXIS ...]``: sums over the other axes
- ``Normalize CHANNEL [AXIS ...]``: fractions of the total
- ``Ratio CHANNEL CHANNEL [PROCESSES PROCESSES] [SELECTION SELECTION]``: bin by bin
- ``Normratio``, ``Asymmetry``, ``Difference``: with the arguments of ``Ratio``
- ``AngularCoefficients CHANNEL [PROCESS,...] [SELECTION] [axis=NAME]``: σ_i/σ_UL
- ``LamTung``: A0 - A2, with the arguments of ``AngularCoefficients``
- ``package.module:name WORD ...``: a function or mapping of the user
- ``MAPPING; MAPPING``: several mappings in one

``None`` stands for all processes or bins. Names with special characters are written in
double quotes.
"""

import functools as ft
import importlib
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from everwillow._errors import ArgumentTypeError, nearest
from everwillow.mappings.angular_coefficients import AngularCoefficients, LamTung
from everwillow.mappings.channels import Identity, Normalize, Project, Select
from everwillow.mappings.composite import Composite
from everwillow.mappings.custom import Custom
from everwillow.mappings.histogram_mapping import AbstractHistogramMapping
from everwillow.mappings.ratio import Asymmetry, Difference, Normratio, Ratio
from everwillow.mappings.selection import read_selection
from everwillow.mappings.tokens import Token, tokenise


KIND = "mapping"


def parse_mapping(text: str | Sequence[str]) -> AbstractHistogramMapping:
    """Parse the text of a mapping.

    Args:
        text: The text, or its words as on a command line.

    Returns:
        The mapping; parsing its `key` returns an equal one.

    Raises:
        ArgumentValueError: If the text is not a mapping, with the position in it.
        ArgumentTypeError: If `text` is neither a text nor a sequence of words.

    Example:
        >>> parse_mapping("Project ch0 x") == Project("ch0", axes="x")
        True
        >>> parse_mapping(["Ratio", "ch0", "ch0", "signal", "None"])
        <Ratio ch0 ch0 signal None>
    """
    tokens = _tokens(text)
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token.text == ";":
            parts.append([])
        else:
            parts[-1].append(token)
    mappings = [_read(part, _whole(text)) for part in parts]
    return mappings[0] if len(mappings) == 1 else Composite(*mappings)


def _whole(text: str | Sequence[str]) -> str:
    return text if isinstance(text, str) else " ".join(text)


def _tokens(text: str | Sequence[str]) -> list[Token]:
    """Return the words and the semicolons between them."""
    tokens: list[Token] = []
    if isinstance(text, str):
        for i, part in enumerate(Token(KIND, text, 0, text).split(";")):
            if i:
                tokens.append(Token(KIND, text, part.start, ";"))
            tokens += [
                Token(KIND, text, part.start + token.start, token.text)
                for token in tokenise(KIND, part.text)
            ]
        return tokens
    if not isinstance(text, Sequence) or not all(isinstance(w, str) for w in text):
        raise ArgumentTypeError(f"mapping: expected a text or its words, got {text!r}.")
    whole, start = _whole(text), 0
    for word in text:
        tokens.append(Token(KIND, whole, start, word))
        start += len(word) + 1
    return tokens


def _read(tokens: list[Token], whole: str) -> AbstractHistogramMapping:
    if not tokens:
        raise Token(KIND, whole, 0, "").error(
            f"a mapping is missing here. The mappings are: {', '.join(READERS)}."
        )
    name = tokens[0].text
    if name in READERS:
        return READERS[name](tokens)
    if "." in name or ":" in name:
        return _custom(tokens)
    raise tokens[0].error(
        f"there is no mapping {name!r}.{nearest(name, READERS)} The mappings are: "
        f"{', '.join(READERS)}; or package.module:name for one's own."
    )


def _identity(tokens: list[Token]) -> Identity:
    return Identity(*(token.name() for token in tokens[1:]))


def _projection(kind: Callable[..., Any], tokens: list[Token]) -> Any:
    _check_channels(tokens, 1)
    channel, *axes = (token.name() for token in tokens[1:])
    return kind(channel, axes=axes)


def _select(tokens: list[Token]) -> Select:
    _check_channels(tokens, 1)
    return Select(tokens[1].name(), **_term(tokens[2:]))


def _angular(kind: Callable[..., Any], tokens: list[Token]) -> Any:
    _check_channels(tokens, 1)
    rest, axis = tokens[2:], None
    if rest and rest[-1].text.startswith("axis="):
        axis = rest[-1].part(len("axis="), len(rest[-1].text)).name()
        rest = rest[:-1]
    return kind(tokens[1].name(), axis=axis, **_term(rest))


def _term(tokens: list[Token]) -> dict[str, Any]:
    """Read the optional processes and selection of a term as keyword arguments."""
    if len(tokens) > 2:
        raise tokens[2].error(
            "expected PROCESS,PROCESS and SELECTION at most: selections of several "
            "axes are one word, x:2:5,cat:sum."
        )
    if len(tokens) == 1 and _is_selection(tokens[0]):
        return {"selection": read_selection(tokens[0])}
    readers = {"processes": _processes, "selection": read_selection}.items()
    return {k: read(token) for (k, read), token in zip(readers, tokens, strict=False)}


def _two_terms(kind: Callable[..., Any], tokens: list[Token]) -> Any:
    _check_channels(tokens, 2)
    rest = tokens[3:]
    if len(rest) not in (0, 2, 4):
        raise rest[-1].error(
            "expected pairs, for both histograms: [PROCESSES PROCESSES] [SELECTION "
            "SELECTION], with None for all."
        )
    processes = selection = None
    if len(rest) == 2 and any(map(_is_selection, rest)):
        selection = tuple(map(read_selection, rest))
    elif rest:
        processes = tuple(map(_processes, rest[:2]))
    if len(rest) == 4:
        selection = tuple(map(read_selection, rest[2:]))
    names = [token.name() for token in tokens[1:3]]
    return kind(*names, processes=processes, selection=selection)


def _check_channels(tokens: list[Token], channels: int) -> None:
    if len(tokens) <= channels:
        needed = " ".join(["CHANNEL"] * channels)
        raise tokens[-1].error(
            f"expected {tokens[0].text} {needed} and what may follow."
        )


def _is_selection(token: Token) -> bool:
    return len(token.split(":")) > 1


def _processes(token: Token) -> tuple[str, ...] | None:
    if token.text == "None":
        return None
    if _is_selection(token):
        raise token.error(
            "expected PROCESS,PROCESS or None, and this is a selection of bins."
        )
    return tuple(part.name() for part in token.split(","))


def _custom(tokens: list[Token]) -> AbstractHistogramMapping:
    """Import a function, a mapping or a class of mappings, and return the mapping."""
    path, words = tokens[0], [_unquoted(token) for token in tokens[1:]]
    imported = import_named(path)
    if isinstance(imported, AbstractHistogramMapping):
        if words:
            raise tokens[1].error(
                f"{path.text} is a mapping already and takes no words."
            )
        return imported
    if isinstance(imported, type) and issubclass(imported, AbstractHistogramMapping):
        return imported(*words)
    if not callable(imported):
        raise path.error(
            f"expected a function or a mapping, this is a {type(imported).__name__}."
        )
    named = hasattr(imported, "__qualname__")
    return Custom(imported, *words, name=None if named else path.text)


def _unquoted(token: Token) -> str:
    return token.name() if token.text.startswith('"') else token.text


def import_named(path: Token) -> Any:
    """Import the object ``package.module:name`` or ``package.module.name``.

    Raises:
        ArgumentValueError: If there is no such module or name; points at the token.
    """
    module, _, name = path.text.rpartition(":" if ":" in path.text else ".")
    if not module or not name:
        raise path.error("expected package.module:name.")
    here = str(pathlib.Path.cwd())
    # Like `python` for scripts; commands installed by packages do not do this.
    sys.path.insert(0, here)
    try:
        imported: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        # Pass on the error if the module exists and lacks a module that it imports.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise path.error(
            f"there is no module {error.name!r}, neither in the folder {here} nor "
            "where Python looks: in the folders of PYTHONPATH and among what is "
            "installed."
        ) from error
    finally:
        sys.path.remove(here)
    for part in name.split("."):
        if not hasattr(imported, part):
            known = [n for n in dir(imported) if not n.startswith("_")]
            raise path.error(f"{module} has no {name!r}.{nearest(part, known)}")
        imported = getattr(imported, part)
    return imported


READERS: dict[str, Callable[[list[Token]], AbstractHistogramMapping]] = {
    "Identity": _identity,
    "Select": _select,
    "Project": ft.partial(_projection, Project),
    "Normalize": ft.partial(_projection, Normalize),
    "Ratio": ft.partial(_two_terms, Ratio),
    "Normratio": ft.partial(_two_terms, Normratio),
    "Asymmetry": ft.partial(_two_terms, Asymmetry),
    "Difference": ft.partial(_two_terms, Difference),
    "AngularCoefficients": ft.partial(_angular, AngularCoefficients),
    "LamTung": ft.partial(_angular, LamTung),
}
"""The function that reads each mapping of everwillow from tokens."""


__all__ = ["READERS", "parse_mapping"]
