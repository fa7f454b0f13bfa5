"""Density ratios from networks in ONNX files."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, get_args

import numpy as np

from everwillow._errors import (
    ArgumentValueError,
    ShapeMismatchError,
    SpecificationError,
    first_names,
    missing_package,
    nearest,
)
from everwillow.models.data_files import check_file
from everwillow.models.nsbi.spec import NetworkOutput


CHUNK = 100_000
"""Events that are evaluated at a time, unless another number is asked for."""

# Types of ONNX for real numbers, and those of NumPy.
_REAL: Mapping[str, type[np.floating[Any]]] = {
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
}


class FeatureTable(Protocol):
    """An array of shape ``(events, features)``, or what has parts that are one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The numbers of events and of features."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Any:
        """Return the features of some events."""
        ...


class Network(NamedTuple):
    """A network whose inputs and outputs have been checked.

    Attributes:
        name: Its file, with the place that names it, for messages.
        session: The session of onnxruntime.
        features: The names of the features.
        input: The name of its input.
        output: The name of its output.
        dtype: The type of numbers that it takes.
    """

    name: str
    session: Any
    features: Sequence[str]
    input: str
    output: str
    dtype: type[np.floating[Any]]

    def evaluate(self, events: np.ndarray, output: NetworkOutput) -> np.ndarray:
        """Return one number for each event, as float64.

        Args:
            events: Standardised features, shape ``(events, features)``.
            output: The meaning of the numbers.

        Raises:
            SpecificationError: If the network fails, or returns arrays of another
                shape.
        """
        feed = {self.input: events.astype(self.dtype)}
        try:
            (found,) = self.session.run([self.output], feed)
        # Its exceptions have no base class but this one.
        except Exception as failure:
            raise SpecificationError(
                f"{self.name} cannot be evaluated with the {len(self.features)} "
                f"features {first_names(self.features, 20)}: {_first_line(failure)}"
            ) from failure
        count = len(events)
        if np.shape(found) == (count, 2) and output == "score":
            # Probabilities of both classes, of which the second is the numerator.
            found = found[:, 1]
        if np.shape(found) not in ((count,), (count, 1)):
            raise SpecificationError(
                f"{self.name} returns an array of shape {np.shape(found)} for {count} "
                f"events. For the output {output!r} one number for each event is "
                "expected" + (", or two probabilities." if output == "score" else ".")
            )
        return np.asarray(found, np.float64).reshape(count)


def evaluate_ensemble(
    models: Sequence[str | os.PathLike[str]],
    features: FeatureTable,
    *,
    names: Sequence[str],
    mean: Any = None,
    scale: Any = None,
    output: NetworkOutput = "score",
    chunk: int = CHUNK,
    where: str,
) -> np.ndarray:
    r"""Return the density ratios of events according to every network.

    With the score :math:`s` of the numerator, as of a classifier trained with equal
    total weights of both classes, the ratio is :math:`r = s / (1 - s)`. It is the
    exponential of a logit or a logarithm of the ratio.

    Args:
        models: The ONNX files of the ensemble.
        features: The features, shape ``(events, features)``.
        names: The names of the features.
        mean: The number to subtract from each feature, shape ``(features,)``.
        scale: The divisor of each feature after that.
        output: The meaning of what the networks return: the score, which may also be
            the second of two probabilities, its logit, the ratio or its logarithm.
        chunk: The number of events that are evaluated at a time.
        where: The place that names the networks, for messages.

    Returns:
        The ratios, shape ``(members, events)``, in double precision.

    Raises:
        MissingPackageError: If onnxruntime is not installed.
        MissingFileError: If there is no such file.
        SpecificationError: If a file is not a network of these features, or if a ratio
            is negative or not finite.
        ShapeMismatchError: If features, names, mean and scale do not fit together.
        ArgumentValueError: If `output` is unknown, there is no network, or a scale is
            not positive.
    """
    known = get_args(NetworkOutput)
    if output not in known:
        raise ArgumentValueError(
            f"{where}: the output {output!r} is unknown; it is one of "
            f"{', '.join(known)}.{nearest(output, known)}"
        )
    if not models:
        raise ArgumentValueError(f"{where}: there is no network.")
    shift, divisor = _standardisation(features, names, mean, scale, where)
    networks = [open_network(model, names=names, where=where) for model in models]
    found = np.empty((len(networks), len(features)))
    for start in range(0, len(features), chunk):
        part = slice(start, start + chunk)
        standard = (np.asarray(features[part], np.float64) - shift) / divisor
        for row, network in zip(found, networks, strict=True):
            row[part] = network.evaluate(standard, output)
    for row, network in zip(found, networks, strict=True):
        row[:] = _ratios(row, output, network.name)
    return found


def open_network(
    path: str | os.PathLike[str], *, names: Sequence[str], where: str
) -> Network:
    """Open a network and check that it takes these features.

    Args:
        path: The ONNX file.
        names: The names of the features.
        where: The place that names the file, for messages.

    Raises:
        MissingPackageError: If onnxruntime is not installed.
        MissingFileError: If there is no such file.
        SpecificationError: If it is not a network of one array of these features.
    """
    file, runtime = check_file(path, where=where), _onnxruntime(where)
    name = f"{where}: the network {file}"
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # errors are raised as well
    # Every session would keep the memory of its largest chunk.
    options.enable_cpu_mem_arena = False
    try:
        # By its name, as weights may be in files beside it.
        session = runtime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
    # Its exceptions have no base class but this one.
    except Exception as failure:
        raise SpecificationError(
            f"{name} is not an ONNX file that onnxruntime can read: "
            f"{_first_line(failure)}"
        ) from failure
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise SpecificationError(
            f"{name} has {len(inputs)} inputs ({_names_of(inputs)}). Export it with a "
            "single one of shape (events, features)."
        )
    (entry,) = inputs
    if entry.type not in _REAL:
        raise SpecificationError(
            f"{name} takes {entry.type}. Export it with an input of real numbers: "
            f"{' or '.join(_REAL)}."
        )
    _check_shape(entry.shape, names, name)
    outputs = [one for one in session.get_outputs() if one.type in _REAL]
    if len(outputs) != 1:
        every = session.get_outputs()
        raise SpecificationError(
            f"{name} has {len(outputs)} outputs of real numbers, of all its outputs "
            f"{_names_of(every)}. Export it with one (with `zipmap=False` for a "
            "classifier of scikit-learn)."
        )
    return Network(name, session, names, entry.name, outputs[0].name, _REAL[entry.type])


def _check_shape(shape: Any, names: Sequence[str], name: str) -> None:
    """Check the shape of the input, in which texts and None are free lengths."""
    if not shape:
        return
    if len(shape) != 2:
        raise SpecificationError(
            f"{name} takes an array of shape {tuple(shape)}. Export it with an input "
            "of shape (events, features)."
        )
    events, count = shape
    if isinstance(events, int):
        raise SpecificationError(
            f"{name} takes exactly {events} events at a time. Export it with a dynamic "
            "first axis."
        )
    if isinstance(count, int) and count != len(names):
        raise SpecificationError(
            f"{name} takes {count} features, and {len(names)} are given: "
            f"{first_names(names, 20)}. List the features of its training, in their "
            "order."
        )


def _standardisation(
    features: FeatureTable, names: Sequence[str], mean: Any, scale: Any, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return what is subtracted from features, and their divisors."""
    count = len(names)
    if len(features.shape) != 2 or features.shape[1] != count:
        raise ShapeMismatchError(
            f"{where}: expected features of shape (events, {count}) for "
            f"{first_names(names, 20)}, got {features.shape}."
        )
    shift = np.zeros(count) if mean is None else np.asarray(mean, float)
    divisor = np.ones(count) if scale is None else np.asarray(scale, float)
    for text, values in (("mean", shift), ("scale", divisor)):
        if values.shape != (count,):
            raise ShapeMismatchError(
                f"{where}: the {text} of the features has the shape {values.shape}, "
                f"and there are {count} features: {first_names(names, 20)}."
            )
    bad = [n for n, d in zip(names, divisor, strict=True) if not 0 < d < np.inf]
    if bad:
        raise ArgumentValueError(
            f"{where}: the scale of {first_names(bad)} is not a positive number. Leave "
            "constant features out of the training."
        )
    return shift, divisor


def _ratios(values: np.ndarray, output: NetworkOutput, name: str) -> np.ndarray:
    """Return ratios from what a network returned for all events."""
    _refuse(
        ~np.isfinite(values),
        values,
        f"{name} returns numbers that are not finite",
        "Check the features and the standardisation of these events.",
    )
    if output == "score":
        _refuse(
            (values < 0) | (values > 1),
            values,
            f"{name} returns scores outside of 0 to 1",
            "If it has no sigmoid at its end, the output is 'logit'.",
        )
        _refuse(
            values == 1,
            values,
            f"{name} returns scores of exactly 1, hence infinite ratios",
            "Export it without its last sigmoid, with the output 'logit'.",
        )
        return values / (1 - values)
    if output == "ratio":
        _refuse(
            values < 0,
            values,
            f"{name} returns negative ratios",
            "If it returns their logarithms, the output is 'log_ratio'.",
        )
        return values
    with np.errstate(over="ignore"):
        ratios = np.exp(values)
    _refuse(
        np.isinf(ratios),
        values,
        f"{name} returns logarithms of ratios that are too large",
        "If it returns scores or ratios, the output is 'score' or 'ratio'.",
    )
    return ratios


def _refuse(bad: np.ndarray, values: np.ndarray, problem: str, mend: str) -> None:
    """Raise an error with the number of bad events and the first of them."""
    count = int(np.count_nonzero(bad))
    if count:
        first = int(np.argmax(bad))
        raise SpecificationError(
            f"{problem} for {count} of {bad.size} events, first in row {first} (from 0)"
            f": {values[first]:g}. {mend}"
        )


class Spread(NamedTuple):
    """The average of an ensemble.

    Attributes:
        mean: The mean of the members, shape ``(events,)``.
        error: The standard error of this mean; NaN for a single member.
    """

    mean: np.ndarray
    error: np.ndarray


def ensemble_spread(members: Any) -> Spread:
    r"""Return the mean of an ensemble and its standard error.

    The error is :math:`\sqrt{\sum_k (r_k - \bar r)^2 / (m (m - 1))}` with `m` members.

    Args:
        members: The ratios of every member, shape ``(members, events)``.

    Raises:
        ShapeMismatchError: If there is no member, or the shape is another one.

    Example:
        >>> spread = ensemble_spread([[1.0, 2.0], [3.0, 2.0]])
        >>> spread.mean.tolist(), spread.error.tolist()
        ([2.0, 2.0], [1.0, 0.0])
    """
    ratios = np.asarray(members, np.float64)
    if ratios.ndim != 2 or not len(ratios):
        raise ShapeMismatchError(
            f"members: expected the shape (members, events), got {ratios.shape}."
        )
    mean, number = ratios.mean(axis=0), len(ratios)
    if number == 1:
        return Spread(mean, np.full_like(mean, np.nan))
    return Spread(mean, ratios.std(axis=0, ddof=1) / np.sqrt(number))


def _onnxruntime(where: str) -> Any:
    # Only configurations with networks need it.
    try:
        import onnxruntime  # noqa: PLC0415
    except ImportError as error:
        raise missing_package(f"{where}: networks need onnxruntime", "onnx") from error
    return onnxruntime


def _names_of(entries: Any) -> str:
    return ", ".join(f"{one.name}: {one.type}" for one in entries)


def _first_line(failure: Exception) -> str:
    return str(failure).strip().splitlines()[0][:300]
