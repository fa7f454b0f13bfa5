"""Results of template fits in HDF5 files.

Any program that reads HDF5 reads them; nothing in them is pickled. The attributes
``format`` ("everwillow template results") and ``version`` (1) identify a file. Each
record of `everwillow.workflows.templates.results` is a group, whose fields are in it
under their names: numbers and text as attributes, arrays and lists of names as datasets
with an attribute ``description``. Results that were not computed are absent. Where a
record has parts by name, such as ``channels``, each part is a group with an attribute
``name`` (in the path, ``/`` and ``%`` are percent-encoded), in the order of the fit.
The contents of a file are:

- attributes ``data``, ``likelihood``, ``made_by`` of the file; ``remarks``.
- ``parameters/names``, ``values``, ``errors``, ``prefit_values``, ``prefit_errors``,
  and flags (0 or 1) ``interest``, ``constrained``, ``frozen``, ``at_bound``,
  ``blinded``.
- ``fit``: attributes ``success`` (0 or 1), ``status``, ``nll`` (-ln L), ``edm``,
  ``evaluations``, of regularised fits ``penalty`` (a part of -ln L); ``fit/saturated``
  with ``statistic``, ``ndof``, ``pvalue``.
- ``covariance/names``, ``matrix``, ``correlation``.
- ``impacts/interest``, ``names``, ``traditional``, ``global_names``,
  ``global_impacts``, ``groups``, ``grouped_traditional``, ``grouped_global``, ...
- ``channels/<channel>``, a histogram: ``axes/<i>`` with an attribute ``name`` and
  either ``edges`` or ``labels``; ``process_names``; ``prefit/values``, ``errors``,
  ``processes`` with a leading axis of processes; ``postfit`` likewise; ``data``,
  ``data_errors``; ``breakdown/groups``, ``impacts``, ``rest``;
  ``prefit_variations/names``, ``up`` and ``down`` with a leading axis of names;
  ``postfit_variations`` likewise;
  attribute ``quantity``, the quantity of the values.
- ``mappings/<key>/histograms/<name>``, likewise; ``prefit_covariance``,
  ``postfit_covariance``, ``prefit_chi2``, ``postfit_chi2``.
- ``projections/<CHANNEL AXIS ...>``: ``statistic``, ``ndof``, ``pvalue``.
- ``scans/<parameter>/values``, ``twice_delta_nll``, attribute ``best``.
- ``toys/names``, ``true_values``, ``values``, ``errors``, ``nll``, ``success``,
  attribute ``seed``.
"""

import dataclasses
import functools as ft
import os
import re
import types
import typing
from typing import Any

import numpy as np

from everwillow._hdf5 import Kind, import_h5py, reading, write_header, writing
from everwillow.likelihood.histograms import Axis
from everwillow.workflows.records import descriptions
from everwillow.workflows.templates.results import TemplateResults


# Compression makes smaller datasets larger.
_COMPRESSED_FROM = 4096
KIND = Kind("everwillow template results", version=1, contents="template results")

_TEXT: Any = tuple[str, ...]
_AXES: Any = tuple[Axis, ...]


def write_results(results: TemplateResults, path: str | os.PathLike[str]) -> None:
    """Write results to an HDF5 file, all of it or nothing.

    Args:
        results: The results of `run`.
        path: The file; its directory has to exist. One that is there is replaced.

    Raises:
        ImportError: If h5py is not installed.
    """
    with writing(path, track_order=True) as file:
        write_header(file, KIND)
        file.attrs["description"] = "What a template fit found."
        write_record(file, results, import_h5py().string_dtype())


def load_results(path: str | os.PathLike[str]) -> TemplateResults:
    """Read results that `write_results` has written.

    Args:
        path: The file.

    Raises:
        MissingFileError: If there is no such file.
        ArgumentValueError: If it is another kind of file, or damaged; says how.
        ImportError: If h5py is not installed.
    """
    with reading(path, KIND) as opened:
        return read_record(opened, TemplateResults)


def write_record(group: Any, record: Any, text: Any) -> None:
    """Write a record into a group.

    Args:
        group: A group of h5py.
        record: The record.
        text: The type of strings, ``h5py.string_dtype()``.
    """
    texts = descriptions(type(record))
    for name, kind in _fields(type(record)).items():
        value = getattr(record, name)
        if value is None:
            continue
        about = texts[name]
        if kind in (bool, int, float, str):
            group.attrs[name] = int(value) if kind is bool else value
        elif kind in (_TEXT, np.ndarray):
            _put(group, name, value, text).attrs["description"] = about
        else:
            inner = _group(group, name, about)
            if kind == _AXES:
                _write_axes(inner, value, text)
            elif dataclasses.is_dataclass(kind):
                write_record(inner, value, text)
            else:
                for key, part in value.items():
                    own = _group(inner, segment(key), "")
                    own.attrs["name"] = key
                    write_record(own, part, text)


def read_record(group: Any, cls: Any) -> Any:
    """Read a record that `write_record` has written.

    Args:
        group: A group of h5py.
        cls: The class of the record.

    Raises:
        KeyError: If something is missing.
        ValueError: If an array has the wrong kind.
    """
    values: dict[str, Any] = {}
    missing = dataclasses.MISSING
    optional = {
        field.name
        for field in dataclasses.fields(cls)
        if (field.default, field.default_factory) != (missing, missing)
    }
    for name, kind in _fields(cls).items():
        is_attribute = kind in (bool, int, float, str)
        if name not in (group.attrs if is_attribute else group):
            if name in optional:
                continue
            raise KeyError(f"{group.name} has no {name!r}")
        if is_attribute:
            values[name] = kind(group.attrs[name])
        elif kind == _TEXT:
            values[name] = tuple(group[name].asstr()[()])
        elif kind is np.ndarray:
            array = np.asarray(group[name][()])
            is_flag = "boolean" in group[name].attrs
            values[name] = array.astype(bool) if is_flag else array
        elif kind == _AXES:
            values[name] = _read_axes(group[name])
        elif dataclasses.is_dataclass(kind):
            values[name] = read_record(group[name], kind)
        else:
            parts = [(part.attrs["name"], part) for part in group[name].values()]
            value = typing.get_args(kind)[1]
            values[name] = {key: read_record(part, value) for key, part in parts}
    return cls(**values)


def segment(key: str) -> str:
    """Return the name of a group for a key; distinct keys have distinct names.

    Example:
        >>> segment("Ratio a/b c")
        'Ratio a%2Fb c'
    """
    out = re.sub(r"[\x00-\x1f%/]", lambda match: f"%{ord(match[0]):02X}", key) or "%"
    return out.replace(".", "%2E") if set(out) == {"."} else out


@ft.cache
def _fields(cls: Any) -> dict[str, Any]:
    """Return the type of each field, without None and without shapes of arrays."""
    return {name: _plain(kind) for name, kind in typing.get_type_hints(cls).items()}


def _plain(kind: Any) -> Any:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        (kind,) = (part for part in typing.get_args(kind) if part is not type(None))
    # Arrays with shapes are classes of jaxtyping.
    return np.ndarray if getattr(kind, "array_type", None) is np.ndarray else kind


def _group(parent: Any, name: str, about: str) -> Any:
    # Readers then see parts in the order in which they were written.
    group = parent.create_group(name, track_order=True)
    if about:
        group.attrs["description"] = about
    return group


def _put(group: Any, name: str, values: Any, text: Any) -> Any:
    if not isinstance(values, np.ndarray):
        data = np.array(values, object)
        return group.create_dataset(name, data.shape, text, data)
    # Booleans are an enumeration in HDF5, which few programs show as such.
    is_flag = values.dtype.kind == "b"
    data = values.astype(np.int8) if is_flag else values
    options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    large = data.size >= _COMPRESSED_FROM
    dataset = group.create_dataset(name, data=data, **(options if large else {}))
    if is_flag:
        dataset.attrs["boolean"] = 1
    return dataset


def _write_axes(group: Any, axes: tuple[Axis, ...], text: Any) -> None:
    for i, axis in enumerate(axes):
        inner = _group(group, str(i), "an axis; the last one is the fastest")
        inner.attrs["name"] = axis.name
        if axis.title:
            inner.attrs["title"] = axis.title
        if axis.edges is not None:
            edges = np.array(axis.edges, np.float64)
            _put(inner, "edges", edges, text).attrs["description"] = "ends of the bins"
            continue
        labels = axis.labels or ()
        whole = all(isinstance(label, int) for label in labels)
        values = np.array(labels, int) if whole else tuple(map(str, labels))
        _put(inner, "labels", values, text).attrs["description"] = "what the bins are"


def _read_axes(group: Any) -> tuple[Axis, ...]:
    axes = []
    for i in range(len(group)):
        axis = group[str(i)]
        name, title = axis.attrs["name"], axis.attrs.get("title", "")
        if "edges" in axis:
            edges = tuple(axis["edges"][()].tolist())
            axes.append(Axis(name, edges, title=title))
            continue
        labels = axis["labels"]
        text = labels.dtype.kind == "O"
        values = labels.asstr()[()] if text else labels[()]
        axes.append(Axis(name, labels=tuple(values.tolist()), title=title))
    return tuple(axes)
