"""Signals to be injected into a document."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    NonFiniteError,
    ShapeMismatchError,
)
from everwillow.models._document import Node


_DEFAULT_SAMPLE = "signal"


@dataclass(frozen=True)
class Signal:
    """One sample to be added to a distribution."""

    distribution: str
    sample: str
    contents: tuple[float, ...]
    errors: tuple[float, ...]
    poi: str

    def check(self, bins: int) -> None:
        """Check the number of bins."""
        for quantity, values in (("yields", self.contents), ("errors", self.errors)):
            if len(values) != bins:
                raise ShapeMismatchError(
                    f"inject_signal: {len(values)} {quantity}, but the distribution "
                    f"{self.distribution!r} has {bins} bins."
                )

    def entry(self) -> dict[str, Any]:
        """Return the sample as it stands in a document."""
        return {
            "name": self.sample,
            "data": {"contents": list(self.contents), "errors": list(self.errors)},
            "modifiers": [
                {"name": self.poi, "type": "normfactor", "parameter": self.poi}
            ],
        }


def read_signal(
    distribution: str, sample: str, yields: Any, errors: Any, poi: str
) -> Signal:
    """Check the numbers of a signal."""
    contents = _vector(yields, "yields", distribution)
    if errors is None:
        widths = np.zeros_like(contents)
    else:
        widths = _vector(errors, "errors", distribution)
        if (widths < 0.0).any():
            raise ArgumentValueError(
                f"inject_signal: the errors for {distribution!r} are negative."
            )
    return Signal(
        distribution, sample, tuple(contents.tolist()), tuple(widths.tolist()), poi
    )


def _vector(values: Any, quantity: str, distribution: str) -> np.ndarray:
    try:
        vector = np.atleast_1d(np.asarray(values, np.float64))
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentTypeError(
            f"inject_signal: the {quantity} for {distribution!r} must be numbers, got "
            f"{type(values).__name__}."
        ) from error
    if vector.ndim != 1:
        raise ShapeMismatchError(
            f"inject_signal: the {quantity} for {distribution!r} have shape "
            f"{vector.shape}; a list of numbers is needed."
        )
    if not np.isfinite(vector).all():
        raise NonFiniteError(
            f"inject_signal: the {quantity} for {distribution!r} are not all finite."
        )
    return vector


def signals_of(
    signals: Mapping[str, Any], distributions: Sequence[str]
) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield distribution, sample, yields and errors of each entry of a map."""
    if not isinstance(signals, Mapping):
        raise ArgumentTypeError(
            "inject_signals: expected a mapping from distributions to yields, got "
            f"{type(signals).__name__}."
        )
    for key, value in signals.items():
        distribution, sample = key, _DEFAULT_SAMPLE
        if key not in distributions and isinstance(key, str) and "." in key:
            front, _, back = key.rpartition(".")
            if front in distributions:
                distribution, sample = front, back
        if not isinstance(value, Mapping) or "contents" in value:
            yield distribution, sample, *_contents(value, distribution)
            continue
        for name, inner in value.items():
            yield distribution, name, *_contents(inner, distribution)


def _contents(value: Any, distribution: str) -> tuple[Any, Any]:
    if not isinstance(value, Mapping):
        return value, None
    unknown = [key for key in value if key not in ("contents", "errors")]
    if unknown or "contents" not in value:
        raise ArgumentValueError(
            f"inject_signals: the entry for {distribution!r} needs 'contents' and may "
            f"have 'errors', found {sorted(map(str, value))}."
        )
    return value["contents"], value.get("errors")


def with_signals(
    content: Mapping[str, Any], signals: Sequence[Signal], removed: Sequence[str]
) -> dict[str, Any]:
    """Return a copy of a document with added samples and without some distributions."""
    patched = copy.deepcopy(dict(content))
    distributions = patched.get("distributions", [])
    by_name = distributions
    if isinstance(distributions, list):
        by_name = {entry["name"]: entry for entry in distributions}
    for signal in signals:
        if signal.distribution not in removed:
            by_name[signal.distribution]["samples"].append(signal.entry())
    if removed:
        for likelihood in _likelihoods(patched):
            _leave_out(likelihood, removed)
    return patched


def _likelihoods(patched: dict[str, Any]) -> list[Node]:
    part = Node(patched).get("likelihoods")
    if part is None:
        return []
    if isinstance(part.value, dict):
        return [Node(value, part, name) for name, value in part.value.items()]
    return list(part.items())


def _leave_out(likelihood: Node, removed: Sequence[str]) -> None:
    names = [item.text() for item in likelihood.child("distributions").items()]
    data = [item.value for item in likelihood.child("data").items()]
    if len(names) != len(data):
        likelihood.refuse(f"{len(names)} distributions, but {len(data)} data.")
    kept = [i for i, name in enumerate(names) if name not in removed]
    if not kept:
        likelihood.refuse("no distribution is left in this likelihood.")
    likelihood.value["distributions"] = [names[i] for i in kept]
    likelihood.value["data"] = [data[i] for i in kept]
