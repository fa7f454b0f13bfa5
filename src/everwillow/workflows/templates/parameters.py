"""What scales the processes of a template fit, from text.

==========================================================  ==========================
``Strengths [PROCESS ...] [prefix=TEXT]``                   one for each, or signal
``SharedStrengths NAME=PROCESS,... ...``                    one for several
``Mixture PROCESS,... PROCESS,... ... [names=NAME,...]``    x and 1 - x
``AxisNorms PROCESS,... CHANNEL,... AXIS,...``              one for each bin
``AxisExponential PROCESS,... CHANNEL,... AXIS``            exponentials
``AxisBernstein PROCESS,... CHANNEL,... AXIS DEGREE``       polynomials
``ABCD PROCESS A=REGION B=REGION C=REGION D=REGION``        a predicted background
``ExtendedABCD PROCESS A=REGION Ax=REGION ...``             from five regions
``Fixed``                                                   no parameters
``package.module:name WORD ...``                            one's own
``...; ...``                                                their product
==========================================================  ==========================

Options of the classes in `everwillow.models.templates.rates` follow as
``option=value``, such as ``negative=yes``, ``by=eta``, ``name=qcd``. A region is a
channel, or a channel with one bin of some axes: ``ch0(iso=1,mt=0)``. Names with
special characters are written in double quotes. One's own function is called with the
layout and the words, and with the specification if it has an argument ``spec``.
"""

import functools as ft
import inspect
from collections.abc import Callable
from typing import Any, cast

from everwillow._errors import nearest
from everwillow.likelihood.templates.spec import TemplateSpec
from everwillow.mappings.parsing import _imported as imported
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


WHAT = "parameters"
_FLAGS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def parse_parameters(text: str, spec: TemplateSpec) -> AbstractParameterModel:
    """Read what scales the processes, as it is written on the command line.

    Args:
        text: The text, see the top of this page.
        spec: The template fit that it is for.

    Raises:
        ArgumentValueError: If the text spells nothing; it tells the place.
        UnknownKeyError: If it names a process, channel or axis that is not there.

    Example:
        >>> from everwillow.models.templates import TemplateBuilder
        >>> builder = TemplateBuilder()
        >>> builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
        >>> builder.add_process([3.0, 1.0], "light", "ch0")
        >>> builder.add_process([1.0, 3.0], "heavy", "ch0")
        >>> list(parse_parameters("Mixture light heavy", builder.spec()).parameters())
        ['light_heavy_mixing']
    """
    parts = Token(WHAT, text, 0, text).split(";")
    models = [_read(part, spec) for part in parts]
    return models[0] if len(models) == 1 else Composite(spec.layout, models)


def _read(part: Token, spec: TemplateSpec) -> AbstractParameterModel:
    pieces = [
        Token(WHAT, part.whole, part.start + piece.start, piece.text)
        for piece in tokenise(WHAT, part.text)
    ]
    if not pieces:
        raise part.error(f"something is missing here. There are: {', '.join(READERS)}.")
    name = pieces[0].text
    if name in READERS:
        return READERS[name](pieces, spec)
    if "." in name or ":" in name:
        return _custom(pieces, spec)
    raise pieces[0].error(
        f"there is no {name!r}.{nearest(name, READERS)} There are: "
        f"{', '.join(READERS)}; or package.module:name for one's own."
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
    """Return the words, and the options among them."""
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
                f"there is no option {key.text!r} here, but {', '.join(known)}."
            )
        options[key.text] = _OPTIONS[key.text](rest[0])
    return plain, options


def _exactly(pieces: list[Token], head: Token, wanted: str) -> list[Token]:
    names = wanted.split()
    if len(pieces) != len(names):
        raise head.error(f"expected {head.text} {wanted}, and got {len(pieces)} words.")
    return pieces


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


def _norms(pieces: list[Token], spec: TemplateSpec) -> AbstractParameterModel:
    plain, options = _split(pieces[1:], "name negative interest")
    wanted = "PROCESS,... CHANNEL,... AXIS,..."
    where = map(_list, _exactly(plain, pieces[0], wanted))
    return AxisNorms(spec.layout, *where, **options)


def _exponential(pieces: list[Token], spec: TemplateSpec) -> AbstractParameterModel:
    plain, options = _split(pieces[1:], "by origin name interest")
    wanted = "PROCESS,... CHANNEL,... AXIS"
    processes, channels, axis = _exactly(plain, pieces[0], wanted)
    where = _list(processes), _list(channels), axis.name()
    return AxisExponential(spec.layout, *where, **options)


def _bernstein(pieces: list[Token], spec: TemplateSpec) -> AbstractParameterModel:
    plain, options = _split(pieces[1:], "by name negative interest")
    wanted = "PROCESS,... CHANNEL,... AXIS DEGREE"
    processes, channels, axis, degree = _exactly(plain, pieces[0], wanted)
    where = _list(processes), _list(channels), axis.name(), _number(int, degree)
    return AxisBernstein(spec.layout, *where, **options)


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
        raise pieces[1].error("Fixed has no words behind it.")
    return Fixed(spec.layout)


def _custom(pieces: list[Token], spec: TemplateSpec) -> AbstractParameterModel:
    found = cast("Callable[..., Any]", imported(pieces[0]))
    if not callable(found):
        raise pieces[0].error(
            f"expected a function or a class, this is a {type(found).__name__}."
        )
    more = {"spec": spec} if "spec" in inspect.signature(found).parameters else {}
    return found(spec.layout, *(piece.text for piece in pieces[1:]), **more)


READERS: dict[str, Callable[[list[Token], TemplateSpec], AbstractParameterModel]] = {
    "Strengths": _strengths,
    "SharedStrengths": _shared,
    "Mixture": _mixture,
    "AxisNorms": _norms,
    "AxisExponential": _exponential,
    "AxisBernstein": _bernstein,
    "ABCD": ft.partial(_abcd, ABCD),
    "ExtendedABCD": ft.partial(_abcd, ExtendedABCD),
    "Fixed": _fixed,
}
"""How to read each parameter model that comes with everwillow."""


__all__ = ["READERS", "parse_parameters"]
