"""Everything that was booked, and the checks when more is added."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConflictError,
    KeyCollisionError,
    ShapeMismatchError,
    UnknownKeyError,
    nearest,
)
from everwillow.likelihood.histograms import Channel
from everwillow.likelihood.templates.spec import ExternalTerm, SystematicType
from everwillow.models.templates.booking._histograms import Content, read, read_plain
from everwillow.models.templates.booking._responses import Finding, Nominal, Response
from everwillow.models.templates.checks import spell_bins


@dataclass(frozen=True, slots=True)
class SystematicKind:
    """The kind of a systematic, which is the same in all its bookings.

    Attributes:
        constrained: Whether a unit Gaussian constrains it.
        interest: Whether it is a parameter of interest.
        covariance: Whether it is added to the covariance of the data instead.
    """

    constrained: bool
    interest: bool
    covariance: bool


@dataclass(frozen=True, slots=True)
class Booking:
    """One effect of a systematic, ready to be booked.

    Attributes:
        name: Its name, with the label of a further axis.
        suffix: The suffix of the name from symmetrisation.
        process: The name of the process.
        channel: The name of the channel.
        effect: A `Response`, or events in all bins of the channel for the covariance.
    """

    name: str
    suffix: str
    process: str
    channel: str
    effect: Response | Float[np.ndarray, " bins"]


@dataclass(frozen=True, slots=True)
class BetaBlock:
    """Events of a process that move from a fitted to a masked channel."""

    process: str
    source: str
    target: str
    source_bin: np.ndarray
    target_bin: np.ndarray
    change: np.ndarray


@dataclass(slots=True, eq=False)
class Book:
    """Everything that was booked, by name; all arrays are copies."""

    kind: SystematicType
    allow_negative: bool
    channels: dict[str, Channel] = field(default_factory=dict)
    signal: dict[str, bool] = field(default_factory=dict)
    nominal: dict[tuple[str, str], Nominal] = field(default_factory=dict)
    data: dict[str, np.ndarray] = field(default_factory=dict)
    data_variance: dict[str, np.ndarray] = field(default_factory=dict)
    data_covariance: np.ndarray | None = None
    pseudodata: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    kinds: dict[str, SystematicKind] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    families: dict[str, str] = field(default_factory=dict)
    suffixes: dict[str, set[str]] = field(default_factory=dict)
    responses: dict[str, dict[tuple[str, str], Response]] = field(default_factory=dict)
    shifts: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    booked: set[tuple[str, str, str]] = field(default_factory=set)
    external: list[ExternalTerm] = field(default_factory=list)
    beta: list[BetaBlock] = field(default_factory=list)
    auxiliary: dict[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def channel(self, name: str, *, masked: bool | None = None) -> Channel:
        """Return a channel by name, and check whether it is masked if that is given."""
        check_name(name, "channel")
        if name not in self.channels:
            raise UnknownKeyError(
                f"There is no channel {name!r}.{nearest(name, self.channels)} Add it "
                "with add_channel first."
            )
        channel = self.channels[name]
        if masked is not None and channel.masked != masked:
            is_, needed = (
                ("masked", "fitted") if channel.masked else ("fitted", "masked")
            )
            raise ArgumentValueError(
                f"Channel {name!r} is {is_}, and this needs a {needed} one: masked "
                "channels have no data and stay out of the fit."
            )
        return channel

    def template(self, process: str, channel: str) -> Nominal:
        """Return the nominal template of a process in a channel."""
        self.channel(channel)
        if (process, channel) not in self.nominal:
            there = [p for p, c in self.nominal if c == channel]
            raise UnknownKeyError(
                f"Channel {channel!r} has no process {process!r}."
                f"{nearest(process, there)} Add it with add_process first; there are "
                f"{there}."
            )
        return self.nominal[process, channel]

    def add_template(
        self, hist: Any, name: str, channel: str, *, signal: bool, variances: Any
    ) -> None:
        """Read and check the nominal template of a process."""
        place = self.channel(channel)
        where = f"process {name!r} in channel {channel!r}"
        if (name, channel) in self.nominal:
            raise KeyCollisionError(
                f"{where}: it was added before. Add the histograms up, or rename it."
            )
        if self.signal.get(name, signal) != signal:
            raise ConflictError(
                f"Process {name!r} is a signal in one channel and none in another. "
                "Give the same signal= everywhere."
            )
        template = nominal_of(
            read(hist, place, where=where),
            place,
            None if variances is None else _variances(variances, place, where),
        )
        negative = template.index[template.value < 0]
        if len(negative) and not self.allow_negative:
            raise ArgumentValueError(
                f"{where}: the nominal yield is negative in "
                f"{spell_bins(negative, place)}. Merge bins or mend the sample; or "
                "allow it for all processes with TemplateBuilder(allow_negative=True)."
            )
        self.signal[name] = signal
        self.nominal[name, channel] = template

    def book(
        self,
        bookings: Sequence[Booking],
        kind: SystematicKind,
        *,
        family: str,
        groups: Sequence[str],
        findings: Iterable[Finding] = (),
    ) -> None:
        """Book all effects, or none of them if there is an error."""
        places: set[tuple[str, str, str]] = set()
        effects: set[tuple[str, str, str]] = set()
        for booking in bookings:
            full = booking.name + booking.suffix, booking.process, booking.channel
            if full in effects:
                raise KeyCollisionError(
                    f"Systematic {full[0]!r}: two bins of further axes have this name, "
                    "put together of their labels. Give them other labels."
                )
            effects.add(full)
            for name in {booking.name, booking.name + booking.suffix}:
                self._check_kind(name, kind)
                self._check_free(name, booking)
                places.add((name, booking.process, booking.channel))
        for booking in bookings:
            name = booking.name + booking.suffix
            self.kinds[name] = self.kinds[booking.name] = kind
            self.families.setdefault(name, family)
            self.suffixes.setdefault(booking.name, set()).add(booking.suffix)
            joined = self.groups.setdefault(name, [])
            joined.extend(g for g in groups if g not in joined)
            if isinstance(booking.effect, Response):
                by_place = self.responses.setdefault(name, {})
                by_place[booking.process, booking.channel] = booking.effect
            else:
                sums = self.shifts.setdefault(name, {})
                sums[booking.channel] = booking.effect + sums.get(booking.channel, 0.0)
        self.booked |= places
        self.findings.extend(findings)

    def _check_kind(self, name: str, kind: SystematicKind) -> None:
        before = self.kinds.get(name, kind)
        for option, old, new in (
            ("constrained", before.constrained, kind.constrained),
            ("noi", before.interest, kind.interest),
            ("add_to_data_covariance", before.covariance, kind.covariance),
        ):
            if old != new:
                raise ConflictError(
                    f"Systematic {name!r} was booked with {option}={old} before and is "
                    f"now with {option}={new}. A name is one parameter: give the same "
                    "everywhere, or two names."
                )

    def _check_free(self, name: str, booking: Booking) -> None:
        if (name, booking.process, booking.channel) in self.booked:
            raise KeyCollisionError(
                f"Systematic {name!r} was booked before for process "
                f"{booking.process!r} in channel {booking.channel!r}. Book it once, or "
                "under another name."
            )


def nominal_of(
    content: Content, channel: Channel, variances: np.ndarray | None
) -> Nominal:
    """Return a nominal template; without variances they are the yields."""
    index, values = content.index, content.values[:, 0]
    own = None if content.variances is None else content.variances[:, 0]
    if variances is not None:
        own = variances if index is None else variances[index]
        if index is not None and np.delete(variances, index).any():
            full = np.zeros(channel.size)
            full[index] = values
            index, values, own = None, full, variances
    assumed = own is None
    own = np.abs(values) if own is None else own
    kept = np.flatnonzero((values != 0) | (own != 0))
    bins = kept if index is None else index[kept]
    return Nominal(
        bins.astype(np.int32), values[kept], own[kept], channel.size, assumed
    )


def _variances(variances: Any, channel: Channel, where: str) -> np.ndarray:
    values = read_plain(variances, channel, where=f"{where}, variances").values[:, 0]
    if (values < 0).any():
        raise ArgumentValueError(
            f"{where}: the variance is negative in "
            f"{spell_bins(np.flatnonzero(values < 0), channel)}."
        )
    return values


def data_of(
    histogram: Any, channel: Channel, variances: Any, *, where: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return data of all bins of a channel, and their variances.

    These are the given ones, or those of the histogram; None for plain counts.
    """
    content = read_plain(histogram, channel, where=where)
    data, own = content.values[:, 0].copy(), content.variances
    if variances is None:
        # Variances equal to the counts add no information.
        same = own is None or np.array_equal(own[:, 0], data)
        return data, None if own is None or same else own[:, 0].copy()
    return data, _variances(variances, channel, where).copy()


def read_covariance(covariance: Any) -> np.ndarray:
    """Return a copy of a covariance matrix.

    Raises:
        ShapeMismatchError: If it is not a symmetric matrix.
        ArgumentValueError: If a number is impossible in a covariance.
    """
    if callable(getattr(covariance, "toarray", None)):
        covariance = covariance.toarray()
    elif hasattr(covariance, "axes") and callable(getattr(covariance, "values", None)):
        covariance = covariance.values()
    matrix = np.array(covariance, np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ShapeMismatchError(
            f"add_data_covariance: expected a square matrix over all fitted bins, got "
            f"the shape {matrix.shape}. Flatten every channel in C order, one after "
            "the other."
        )
    if not np.isfinite(matrix).all() or (np.diagonal(matrix) <= 0).any():
        raise ArgumentValueError(
            "add_data_covariance: every entry must be finite and every variance "
            "positive."
        )
    check_symmetric(matrix, "add_data_covariance")
    return matrix


def check_symmetric(matrix: np.ndarray, where: str) -> None:
    """Check that a matrix is symmetric up to rounding, and return it symmetrised."""
    scale = np.abs(matrix).max(initial=0.0)
    if np.abs(matrix - matrix.T).max(initial=0.0) > 1e-9 * scale:
        row, column = np.unravel_index(
            np.argmax(np.abs(matrix - matrix.T)), matrix.shape
        )
        raise ArgumentValueError(
            f"{where}: the matrix is not symmetric, for example {matrix[row, column]} "
            f"and {matrix[column, row]} at ({row}, {column}) and back."
        )
    matrix[...] = (matrix + matrix.T) / 2


def check_name(name: Any, where: str) -> str:
    """Check that a name is a text and not empty."""
    if not isinstance(name, str) or not name:
        raise ArgumentTypeError(
            f"{where}: the name must be a string that is not empty, got {name!r}."
        )
    return name
