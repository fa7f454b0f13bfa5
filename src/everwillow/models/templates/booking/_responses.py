"""Responses of the likelihood from varied templates, and unusual properties of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from everwillow._errors import ArgumentValueError, nearest
from everwillow.likelihood.templates.spec import LOG_FLOOR, SystematicType
from everwillow.models.templates.booking._histograms import Content


Symmetrisation: TypeAlias = Literal["average", "conservative", "linear", "quadratic"]
"""How to symmetrise responses to up and down that are not mirror images."""


@dataclass(frozen=True, slots=True)
class Shift:
    """Responses to one error up and to one down.

    Attributes:
        up: The response to +1.
        down: Minus the response to -1; None if that is the mirror image.
    """

    up: Float[np.ndarray, " entries"]
    down: Float[np.ndarray, " entries"] | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """The effect of a parameter on a process in a channel.

    Attributes:
        rows: The affected entries of the nominal template, ascending; None for all.
        average: See `everwillow.likelihood.templates.spec.Responses`.
        half: See there; None if it is zero.
    """

    rows: Int[np.ndarray, " entries"] | None
    average: Float[np.ndarray, " entries"]
    half: Float[np.ndarray, " entries"] | None = None


def check_symmetrisation(symmetrize: object) -> None:
    """Check the name of a symmetrisation.

    Raises:
        ArgumentValueError: If there is no symmetrisation of that name.
    """
    known = get_args(Symmetrisation)
    if symmetrize is not None and symmetrize not in known:
        raise ArgumentValueError(
            f"symmetrize: there is no {symmetrize!r}.{nearest(symmetrize, known)} It "
            f"is one of {', '.join(map(repr, known))} or None."
        )


def log_ratios(
    varied: Float[np.ndarray, " entries"],
    nominal: Float[np.ndarray, " entries"],
    kfactor: float,
) -> Float[np.ndarray, " entries"]:
    """Return the logarithm of the ratio to the nominal yields, times the k-factor.

    It is `LOG_FLOOR` for all k-factors if the signs differ, as an exponential cannot
    reach zero.
    """
    fine = np.sign(varied) == np.sign(nominal)
    if fine.all():
        return kfactor * np.log(varied / nominal)
    ratio = np.divide(varied, nominal, out=np.ones(varied.shape), where=fine)
    return np.where(fine, kfactor * np.log(ratio), LOG_FLOOR)


def shift_of(
    up: Float[np.ndarray, " entries"],
    down: Float[np.ndarray, " entries"] | None,
    nominal: Float[np.ndarray, " entries"],
    *,
    kind: SystematicType,
    kfactor: float,
) -> Shift:
    """Return the responses of yields that are not zero to their variations.

    Log-normal yields respond by logarithms of ratios, normal ones by differences.
    """
    if kind == "normal":
        return Shift(
            kfactor * (up - nominal),
            None if down is None else -kfactor * (down - nominal),
        )
    return Shift(
        log_ratios(up, nominal, kfactor),
        None if down is None else -log_ratios(down, nominal, kfactor),
    )


def symmetrise(
    shift: Shift, symmetrize: Symmetrisation | None
) -> Mapping[str, tuple[np.ndarray, np.ndarray | None]]:
    r"""Return average and half response, by the suffix of the name.

    With the responses U to up and D to down, mirrored:

    - ``"average"``: (U + D) / 2;
    - ``"conservative"``: the larger of U and D in magnitude, bin by bin, D if equal;
    - ``"linear"``: two parameters, ``SymAvg`` with (U + D) / 2 and ``SymDiff`` with
      (U - D) / 2;
    - ``"quadratic"``: the same, ``SymDiff`` times :math:`\sqrt 3`;
    - None: asymmetric, the average (U + D) / 2 and the half (U - D) / 2.

    A mirrored variation is already symmetric.
    """
    up, down = shift.up, shift.down
    if down is None:
        return {"": (up, None)}
    if symmetrize == "conservative":
        return {"": (np.where(np.abs(up) > np.abs(down), up, down), None)}
    average = (up + down) / 2
    if symmetrize == "average":
        return {"": (average, None)}
    half = (up - down) / 2
    if symmetrize is None:
        return {"": (average, half)}
    scale = np.sqrt(3.0) if symmetrize == "quadratic" else 1.0
    return {"SymAvg": (average, None), "SymDiff": (scale * half, None)}


def one_sided(shift: Shift) -> Bool[np.ndarray, " entries"]:
    """Return where up and down shift a yield in the same direction."""
    if shift.down is None:
        return np.zeros(shift.up.shape, bool)
    moved = (shift.up != 0) | (shift.down != 0)
    return moved & (np.sign(shift.up) * np.sign(shift.down) <= 0)


def largest(
    shift: Shift, nominal: Float[np.ndarray, " entries"], kind: SystematicType
) -> Float[np.ndarray, " entries"]:
    """Return the largest relative change of a yield."""
    down = shift.up if shift.down is None else shift.down
    if kind == "normal":
        return np.maximum(np.abs(shift.up), np.abs(down)) / np.abs(nominal)
    return np.maximum(np.abs(np.expm1(shift.up)), np.abs(np.expm1(-down)))


Oddity: TypeAlias = Literal["huge", "one-sided", "sign", "outside", "no effect", "tiny"]


# A smaller factor is probably a relative error that should be added to 1.
TINY = 0.3


@dataclass(frozen=True, slots=True)
class Nominal:
    """The nominal template of a process in the bins of a channel that it fills.

    Attributes:
        index: The filled bins, ascending.
        value: Their yields; 0 only with a nonzero variance.
        variance: Their variances.
        size: The number of bins of the channel.
        assumed: Whether the variances are the yields, as there are no others.
    """

    index: Int[np.ndarray, " rows"]
    value: Float[np.ndarray, " rows"]
    variance: Float[np.ndarray, " rows"]
    size: int
    assumed: bool

    def dense(self) -> Float[np.ndarray, " bins"]:
        """Return the yields of all bins."""
        out = np.zeros(self.size)
        out[self.index] = self.value
        return out


@dataclass(frozen=True, slots=True)
class Finding:
    """An unusual property of a variation.

    Attributes:
        kind: The name of the property.
        systematic: The name of the systematic.
        process: The name of the process.
        channel: In which channel.
        bins: The first ten bins with the property, in C order.
        count: The number of bins with the property.
        size: The largest relative change of a yield, or the tiny factor; 0 if the
            property has no size.
    """

    kind: Oddity
    systematic: str
    process: str
    channel: str
    bins: tuple[int, ...]
    count: int
    size: float = 0.0


@dataclass(frozen=True, slots=True)
class Variation:
    """A variation of a template, read from histograms.

    Attributes:
        up: The content for one error up, one column for each parameter.
        down: The content for one error down; None if it is the mirror image.
        difference: Whether they are differences to the nominal template.
    """

    up: Content
    down: Content | None
    difference: bool = False

    def columns(self) -> Iterator[tuple[str, "Variation"]]:
        """Return each column with its label."""
        ups = _columns(self.up)
        downs = [None] * len(ups) if self.down is None else _columns(self.down)
        for label, up, down in zip(self.up.labels, ups, downs, strict=True):
            yield label, Variation(up, down, self.difference)


def _columns(content: Content) -> list[Content]:
    if len(content.labels) == 1:
        return [content]
    # Contiguous, as every column is read several times.
    values = np.ascontiguousarray(content.values.T)
    return [Content(v[:, None], index=content.index) for v in values]


def _changes(
    content: Content, nominal: Nominal, *, difference: bool
) -> tuple[Int[np.ndarray, " moved"], Float[np.ndarray, " moved"]]:
    """Return the changed rows and their new yields."""
    values = content.values[:, 0]
    if content.index is not None and difference:
        rows = np.searchsorted(nominal.index, content.index)
        rows = np.minimum(rows, len(nominal.index) - 1)
        hit = nominal.index[rows] == content.index
        rows, values = rows[hit], values[hit]
        keep = (values != 0) & (nominal.value[rows] != 0)
        return rows[keep], nominal.value[rows[keep]] + values[keep]
    if content.index is not None:
        full = np.zeros(nominal.size)
        full[content.index] = values
        values = full
    if len(nominal.index) < nominal.size:
        values = values[nominal.index]
    reference = 0.0 if difference else nominal.value
    rows = np.flatnonzero((values != reference) & (nominal.value != 0))
    moved = values[rows]
    return rows, nominal.value[rows] + moved if difference else moved


def moved_rows(
    variation: Variation, nominal: Nominal
) -> tuple[
    Int[np.ndarray, " moved"],
    Float[np.ndarray, " moved"],
    Float[np.ndarray, " moved"] | None,
]:
    """Return the rows that a variation changes, and their yields up and down."""
    if not len(nominal.index):
        return np.zeros(0, int), np.zeros(0), None
    rows, up = _changes(variation.up, nominal, difference=variation.difference)
    if variation.down is None:
        return rows, up, None
    other, down = _changes(variation.down, nominal, difference=variation.difference)
    if np.array_equal(rows, other):
        return rows, up, down
    both = np.union1d(rows, other)
    all_up, all_down = nominal.value[both], nominal.value[both]
    all_up[np.searchsorted(both, rows)] = up
    all_down[np.searchsorted(both, other)] = down
    return both, all_up, all_down


def _outside(variation: Variation, nominal: Nominal) -> Int[np.ndarray, " bins"]:
    """Return the bins that only the variation fills."""
    if len(nominal.index) == nominal.size and nominal.value.all():
        return np.zeros(0, int)
    filled = np.zeros(nominal.size, bool)
    for content in (variation.up, variation.down):
        if content is not None:
            bins = slice(None) if content.index is None else content.index
            filled[bins] |= content.values[:, 0] != 0
    filled[nominal.index[nominal.value != 0]] = False
    return np.flatnonzero(filled)


def respond(
    variation: Variation,
    nominal: Nominal,
    *,
    kind: SystematicType,
    kfactor: float,
    symmetrize: Symmetrisation | None,
    name: tuple[str, str, str],
) -> tuple[dict[str, Response], list[Finding]]:
    """Return the responses to a variation by suffix of the name, and the findings.

    Args:
        variation: The variation of one column.
        nominal: The nominal template.
        kind: Whether yields are log-normal or normal.
        kfactor: The factor of the response.
        symmetrize: The symmetrisation of up and down.
        name: Systematic, process and channel, for the findings.
    """
    rows, up, down = moved_rows(variation, nominal)
    yields = nominal.value[rows]
    shift = shift_of(up, down, yields, kind=kind, kfactor=kfactor)
    changing = np.sign(up) != np.sign(yields)
    if down is not None:
        changing |= np.sign(down) != np.sign(yields)
    size = largest(shift, yields, kind)
    bins = nominal.index[rows]
    findings: list[Finding] = []

    def note(kind_: Oddity, where: np.ndarray, size_: float = 0.0) -> None:
        if len(where):
            first = tuple(map(int, where[:10]))
            findings.append(Finding(kind_, *name, first, len(where), size_))

    huge = (size > 1 + 1e-12) & ~changing
    note("huge", bins[huge], float(size[huge].max(initial=0.0)))
    note("one-sided", bins[one_sided(shift)])
    note("sign", bins[changing])
    note("outside", _outside(variation, nominal))
    if not len(rows):
        findings.append(Finding("no effect", *name, (), 0))
    return {
        suffix: _sparse(rows, average, half)
        for suffix, (average, half) in symmetrise(shift, symmetrize).items()
    }, findings


def _sparse(
    rows: Int[np.ndarray, " moved"],
    average: Float[np.ndarray, " moved"],
    half: Float[np.ndarray, " moved"] | None,
) -> Response:
    """Keep the entries that are not zero."""
    if half is not None and not half.any():
        half = None
    keep = average != 0 if half is None else (average != 0) | (half != 0)
    if not keep.all():
        rows, average = rows[keep], average[keep]
        half = None if half is None else half[keep]
    return Response(rows.astype(np.int32), average, half)


def uniform(
    factors: tuple[float, float | None],
    nominal: Nominal,
    *,
    kind: SystematicType,
    symmetrize: Symmetrisation | None,
    name: tuple[str, str, str],
) -> tuple[dict[str, Response], list[Finding]]:
    """Return the responses to factors that are equal in all bins; see `respond`."""
    up, down = factors
    one = np.ones(1)
    shift = shift_of(
        np.array([up]),
        None if down is None else np.array([down]),
        one,
        kind=kind,
        kfactor=1.0,
    )
    findings: list[Finding] = []
    size = float(largest(shift, one, kind)[0])
    everywhere = tuple(map(int, nominal.index[:10])), len(nominal.index)
    if 0 < up < TINY:
        findings.append(Finding("tiny", *name, *everywhere, up))
    if size > 1 + 1e-12:
        findings.append(Finding("huge", *name, *everywhere, size))
    if one_sided(shift)[0]:
        findings.append(Finding("one-sided", *name, *everywhere))
    if size == 0 or not nominal.value.any():
        findings.append(Finding("no effect", *name, (), 0))
    rows = None if nominal.value.all() else np.flatnonzero(nominal.value)
    yields = nominal.value if rows is None else nominal.value[rows]

    def spread(value: np.ndarray) -> np.ndarray:
        if kind == "normal":
            return yields * value
        return np.broadcast_to(value, yields.shape)

    out: dict[str, Response] = {}
    for suffix, (average, half) in symmetrise(shift, symmetrize).items():
        half_ = None if half is None or not half.any() else spread(half)
        if half_ is None and not average.any():
            out[suffix] = Response(np.zeros(0, np.int32), np.zeros(0))
        else:
            out[suffix] = Response(
                None if rows is None else rows.astype(np.int32), spread(average), half_
            )
    return out, findings


def differences(
    variation: Variation,
    nominal: Nominal,
    *,
    kfactor: float,
    symmetrize: Symmetrisation | None,
) -> dict[str, Float[np.ndarray, " bins"]]:
    """Return the changes of all bins in events, by suffix of the name."""

    def difference(content: Content) -> np.ndarray:
        values = np.zeros(nominal.size)
        bins = slice(None) if content.index is None else content.index
        values[bins] = content.values[:, 0]
        return values if variation.difference else values - nominal.dense()

    shift = Shift(
        kfactor * difference(variation.up),
        None if variation.down is None else -kfactor * difference(variation.down),
    )
    return {s: average for s, (average, _) in symmetrise(shift, symmetrize).items()}
