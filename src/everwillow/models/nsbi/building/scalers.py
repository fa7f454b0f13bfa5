"""Means and scales of the features of networks."""

import os
import pathlib
import zipfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from everwillow._errors import ShapeMismatchError, SpecificationError, unknown_key
from everwillow._file_formats import format_of_file
from everwillow.models.data_files import check_file
from everwillow.models.json_source import load_json


class Scaler(NamedTuple):
    """The standardisation ``(x - mean) / scale`` of features.

    Attributes:
        mean: What is subtracted from each of them.
        scale: Their divisors, positive.
    """

    mean: np.ndarray
    scale: np.ndarray

    def for_features(
        self, names: Sequence[str], standardised: Sequence[str], *, where: str
    ) -> "Scaler":
        """Return the scaler of all features, of which some are left as they are.

        Args:
            names: The features of a network.
            standardised: Those that this scaler is for, in its order.
            where: The place that names them, for messages.

        Raises:
            UnknownKeyError: If a standardised feature is not one of the network.
            ShapeMismatchError: If this scaler is for another number of features.

        Example:
            >>> scaler = Scaler(np.array([5.0]), np.array([2.0]))
            >>> scaler.for_features(["pt", "eta"], ["pt"], where="here").mean.tolist()
            [5.0, 0.0]
        """
        if len(self.mean) != len(standardised):
            raise ShapeMismatchError(
                f"{where}: the scaler has {len(self.mean)} means, and "
                f"{len(standardised)} features are to be standardised."
            )
        mean, scale = np.zeros(len(names)), np.ones(len(names))
        for name, *numbers in zip(standardised, *self, strict=True):
            if name not in names:
                raise unknown_key(name, names, where=where, kind="feature")
            mean[names.index(name)], scale[names.index(name)] = numbers
        return Scaler(mean, scale)


def read_scaler(path: str | os.PathLike[str], *, where: str) -> Scaler:
    """Read the means and scales of features from a .npz or JSON file.

    Args:
        path: A file with the entries ``mean`` and ``scale``, vectors of equal length.
        where: The place that names the file, for messages.

    Raises:
        MissingFileError: If there is no such file.
        SpecificationError: If it has another format or other entries, or if a mean is
            not finite or a scale not positive.
    """
    file = check_file(path, where=where)
    name = f"{where}: the scaler {file}"
    content = _content(file, name)
    arrays = []
    for key in Scaler._fields:
        if key not in content:
            raise SpecificationError(
                f"{name} has no entry {key!r}; it has {', '.join(content) or 'none'}."
            )
        try:
            arrays.append(np.asarray(content[key], np.float64))
        except (TypeError, ValueError):
            raise SpecificationError(
                f"{name}: {key} is not a list of numbers."
            ) from None
    mean, scale = arrays
    if mean.ndim != 1 or mean.shape != scale.shape:
        raise SpecificationError(
            f"{name}: mean and scale have to be lists of one length; their shapes are "
            f"{mean.shape} and {scale.shape}."
        )
    for i in np.flatnonzero(~(np.isfinite(mean) & np.isfinite(scale) & (scale > 0))):
        raise SpecificationError(
            f"{name}: entry {i} has the mean {mean[i]:g} and the scale {scale[i]:g}. "
            "Means have to be finite and scales positive; a constant feature cannot be "
            "standardised."
        )
    return Scaler(mean, scale)


def _content(file: pathlib.Path, name: str) -> dict[str, Any]:
    if format_of_file(file) == "zip":
        try:
            with np.load(file, allow_pickle=False) as opened:
                return dict(opened)
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            raise SpecificationError(
                f"{name} cannot be read: {error}. Write it again with `numpy.savez`, "
                "with arrays of numbers."
            ) from error
    if format_of_file(file) != "json":
        raise SpecificationError(
            f"{name} is neither a .npz nor a JSON file. Write it with `numpy.savez` or "
            "`json.dump`, with the entries mean and scale."
        )
    document = load_json(file)
    if not isinstance(document, dict):
        raise SpecificationError(f"{name} is not a JSON object with mean and scale.")
    return document
