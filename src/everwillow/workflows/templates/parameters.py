"""Parameter models, which scale the processes of a template fit, from text.

==========================================================  ==========================
``Strengths [PROCESS ...] [prefix=TEXT]``                   one per process or signal
``SharedStrengths NAME=PROCESS,... ...``                    one per group
``Mixture PROCESS,... PROCESS,... ... [names=NAME,...]``    x and 1 - x
``AxisNorms PROCESS,... CHANNEL,... AXIS,...``              one per bin
``AxisExponential PROCESS,... CHANNEL,... AXIS``            exponentials
``AxisBernstein PROCESS,... CHANNEL,... AXIS DEGREE``       polynomials
``ABCD PROCESS A=REGION B=REGION C=REGION D=REGION``        predicted background
``ExtendedABCD PROCESS A=REGION Ax=REGION ...``             the same, five regions
``Fixed``                                                   no parameters
``package.module:name WORD ...``                            your own function
``...; ...``                                                product of models
==========================================================  ==========================

Options of the classes in `everwillow.models.templates.rates` follow as
``option=value``, such as ``negative=yes``, ``by=eta``, ``name=qcd``. A region is a
channel, or a channel with one bin of some axes: ``ch0(iso=1,mt=0)``. Names with
special characters are written in double quotes. Your own function is called with the
layout and the words, and with the specification if it has an argument ``spec``.
"""

import functools as ft
import inspect
from collections.abc import Callable
from typing import Any, cast

from everwillow._errors import nearest
from everwillow.likelihood.templates.spec import TemplateSpec
from everwillow.mappings.parsing import import_named
from everwillow.mappings.tokens import Token, tokenise
from everwillow.models.templates.rates import (
    ABCD,
    AbstractParameterModel,
    AxisBernstein,
    AxisExponential,
    AxisNorms,
    Composite,
    ExtendedABCD,
    Fixed,
    Mixture,
    SharedStrengths,
    Strengths,
    nominal_yields,
)


ARGUMENT = "parameters"
_FLAGS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def parse_parameters(text: str, spec: TemplateSpec) -> AbstractParameterModel:
    """Read a parameter model from text, as it is written on the command line.

    Args:
        text: The text; the top of this page describes it.
        spec: The template fit.

    Raises:
        ArgumentValueError: If the text is not valid; names the position.
        UnknownKeyError: If it names a process, channel or axis that does not exist.

    Example:
        >>> from everwillow.models.templates import TemplateBuilder
        >>> builder = TemplateBuilder()
        >>> builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
        >>> builder.add_process([3.0, 1.0], "light", "ch0")
        >>> builder.add_process([1.0, 3.0], "heavy", "ch0")
        >>> list(parse_parameters("Mixture light heavy", builder.spec()).parameters())
        ['light_heavy_mixing']
    """
    parts = Token(ARGUMENT, text, 0, text).split(";")
    models = [_read(part, spec) for part in parts]
    return models[0] if len(models) == 1 else Composite(spec.layout, models)


def _read(part: Token, spec: TemplateSpec) -> AbstractParameterModel:
    pieces = [
        Token(ARGUMENT, part.whole, part.start + piece.start, piece.text)
        for piece in tokenise(ARGUMENT, part.text)
    ]
    if not pieces:
        raise part.error(f"a parameter model is missing here: {', '.join(READERS)}.")
    name = pieces[0].text
    if name in READERS:
        return READERS[name](pieces, spec)
    if "." in name or ":" in name:
        return _custom(pieces, spec)
    raise pieces[0].error(
        f"there is no parameter model {name!r}.{nearest(name, READERS)} The parameter "
        f"models are: {', '.join(READERS)}; or package.module:name for your own."
    )


def _list(piece: Token) -> list[str]:
    return [part.name() for part in piece.split(",")]


def _flag(piece: Token) -> bool:
    if piece.text.lower() not in _FLAGS:
        raise piece.error("expected yes or no.")
    return _FLAGS[piece.text.lower()]


def _number(kind: Callable[[str], Any], piece: Token) -> Any:
    try:
        return kind(piece.text)
    except ValueError:
        raise piece.error("expected a number.") from None


_OPTIONS: dict[str, Callable[[Token], Any]] = {
    "axes": _list,
    "by": _list,
    "corrected": _flag,
    "degree": ft.partial(_number, int),
    "interest": _flag,
    "name": Token.name,
    "names": _list,
    "negative": _flag,
    "origin": ft.partial(_number, float),
    "prefix": Token.name,
    "smooth_axis": Token.name,
}


def _split(pieces: list[Token], allowed: str) -> tuple[list[Token], dict[str, Any]]:
    """Return the words and the options of a parameter model."""
    plain: list[Token] = []
    options: dict[str, Any] = {}
    known = allowed.split()
    for piece in pieces:
        key, *rest = piece.split("=")
        if len(rest) != 1 or key.text not in _OPTIONS:
            plain.append(piece)
            continue
        if key.text not in known:
            raise piece.error(
                f"there is no option {key.text!r} here, only {', '.join(known)}."
            )
        options[key.text] = _OPTIONS[key.text](rest[0])
    return plain, options


def _strengths(pieces: list[Token], spec: TemplateSpec) -> AbstractParameterModel:
    plain, options = _split(pieces[1:], "prefix negative interest")
    names = [piece.name() for piece in plain] or list(spec.signals)
    return Strengths(spec.layout, names, **options)


def _shared(pieces: list[Token], spec: TemplateSpec) -> AbstractParameterModel:
    plain, options = _split(pieces[1:], "negative interest")
    groups = {}
    for piece in plain:
        name, *rest = piece.split("=")
        if len(rest) != 1:
            raise piece.error("expected NAME=PROCESS,PROCESS.")
        groups[name.name()] = _list(rest[0])
    return SharedStrengths(spec.layout, groups, **options)


def _mixture(pieces: list[Token], spec: TemplateSpec) -> AbstractParameterModel:
    plain, options = _split(pieces[1:], "names negative interest")
    names = options.pop("names", None)
    sides = [_list(piece) for piece in plain]
    pairs = list(zip(sides[::2], sides[1::2], strict=False))
    if not pairs or len(sides) % 2 or (names and len(names) != len(pairs)):
        raise pieces[0].error(
            "expected pairs PROCESS,... PROCESS,..., the first scaled by x and the "
            "second by 1 - x, and as many names if any."
        )
    named = dict(zip(names, pairs, strict=True)) if names else pairs
    return Mixture(spec.layout, named, **options)


_WORDS: dict[str, Callable[[Token], Any]] = {
    "PROCESS,...": _list,
    "CHANNEL,...": _list,
    "AXIS,...": _list,
    "AXIS": Token.name,
    "DEGREE": ft.partial(_number, int),
}


def _axis_model(
    kind: Callable[..., AbstractParameterModel],
    expected: str,
    allowed: str,
    pieces: list[Token],
    spec: TemplateSpec,
) -> AbstractParameterModel:
    """Read a model with a fixed number of words, the keys of `_WORDS`."""
    plain, options = _split(pieces[1:], allowed)
    words = expected.split()
    if len(plain) != len(words):
        head = pieces[0]
        raise head.error(
            f"expected {head.text} {expected}, and got {len(plain)} words."
        )
    values = [_WORDS[word](piece) for word, piece in zip(words, plain, strict=True)]
    return kind(spec.layout, *values, **options)


def _abcd(
    kind: Callable[..., AbstractParameterModel], pieces: list[Token], spec: TemplateSpec
) -> AbstractParameterModel:
    plain, options = _split(
        pieces[1:], "axes smooth_axis degree corrected name interest"
    )
    if not plain:
        raise pieces[0].error(
            f"expected {pieces[0].text} PROCESS A=REGION B=REGION C=REGION D=REGION."
        )
    regions = {}
    for piece in plain[1:]:
        name, *rest = piece.split("=")
        if len(rest) != 1:
            raise piece.error("expected a region, such as A=ch0(iso=1).")
        regions[name.name()] = _region(rest[0])
    nominal = nominal_yields(spec)
    return kind(spec.layout, nominal, plain[0].name(), regions, **options)


def _region(piece: Token) -> Any:
    """Read a channel, and the bins of axes in parentheses behind it."""
    start = piece.text.find("(")
    if start < 0 or not piece.text.endswith(")"):
        return piece.name()
    bins: dict[str, int | str] = {}
    for part in piece.part(start + 1, len(piece.text) - 1).split(","):
        axis, *rest = part.split("=")
        if len(rest) != 1:
            raise part.error("expected AXIS=BIN.")
        text = rest[0].text
        bins[axis.name()] = int(text) if text.isdecimal() else rest[0].name()
    return piece.part(0, start).name(), bins


def _fixed(pieces: list[Token], spec: TemplateSpec) -> AbstractParameterModel:
    if len(pieces) > 1:
        raise pieces[1].error("Fixed has no words.")
    return Fixed(spec.layout)


def _custom(pieces: list[Token], spec: TemplateSpec) -> AbstractParameterModel:
    function = cast("Callable[..., Any]", import_named(pieces[0]))
    if not callable(function):
        raise pieces[0].error(
            f"expected a function or a class, this is a {type(function).__name__}."
        )
    more = {"spec": spec} if "spec" in inspect.signature(function).parameters else {}
    return function(spec.layout, *(piece.text for piece in pieces[1:]), **more)


READERS: dict[str, Callable[[list[Token], TemplateSpec], AbstractParameterModel]] = {
    "Strengths": _strengths,
    "SharedStrengths": _shared,
    "Mixture": _mixture,
    "AxisNorms": ft.partial(
        _axis_model,
        AxisNorms,
        "PROCESS,... CHANNEL,... AXIS,...",
        "name negative interest",
    ),
    "AxisExponential": ft.partial(
        _axis_model,
        AxisExponential,
        "PROCESS,... CHANNEL,... AXIS",
        "by origin name interest",
    ),
    "AxisBernstein": ft.partial(
        _axis_model,
        AxisBernstein,
        "PROCESS,... CHANNEL,... AXIS DEGREE",
        "by name negative interest",
    ),
    "ABCD": ft.partial(_abcd, ABCD),
    "ExtendedABCD": ft.partial(_abcd, ExtendedABCD),
    "Fixed": _fixed,
}
"""The function that reads each parameter model of everwillow."""
