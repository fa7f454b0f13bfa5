"""Dataclasses as groups of HDF5: what a field is in the file follows from its type.

Numbers and text are attributes; arrays and tuples of text are datasets; records are
groups; mappings of records are groups of groups, whose attribute ``name`` is the key;
axes are groups as in files of template fits. None is absent. Descriptions are those of
the docstrings.
"""

import dataclasses
import functools as ft
import inspect
import re
import types
import typing
from typing import Any

import numpy as np

from everwillow.likelihood.histograms import Axis


# Smaller datasets are larger with compression.
_COMPRESSED_FROM = 4096
_TEXT: Any = tuple[str, ...]
_AXES: Any = tuple[Axis, ...]


def write_record(group: Any, record: Any, text: Any) -> None:
    """Write a dataclass into a group.

    Args:
        group: Of h5py.
        record: The dataclass.
        text: The type of strings, ``h5py.string_dtype()``.
    """
    kinds, said = _fields(type(record)), _said(type(record))
    for name, kind in kinds.items():
        value = getattr(record, name)
        if value is None:
            continue
        about = said.get(name, "")
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
    """Read what `write_record` has written.

    Args:
        group: Of h5py.
        cls: The class of the record.

    Raises:
        KeyError: If something is missing.
        ValueError: If an array has the wrong kind.
    """
    found: dict[str, Any] = {}
    optional = {f.name for f in dataclasses.fields(cls) if _may_miss(f)}
    for name, kind in _fields(cls).items():
        is_attribute = kind in (bool, int, float, str)
        if name not in (group.attrs if is_attribute else group):
            if name in optional:
                continue
            raise KeyError(f"{group.name} has no {name!r}")
        if is_attribute:
            found[name] = kind(group.attrs[name])
        elif kind == _TEXT:
            found[name] = tuple(group[name].asstr()[()])
        elif kind is np.ndarray:
            values = np.asarray(group[name][()])
            is_flag = "boolean" in group[name].attrs
            found[name] = values.astype(bool) if is_flag else values
        elif kind == _AXES:
            found[name] = _read_axes(group[name])
        elif dataclasses.is_dataclass(kind):
            found[name] = read_record(group[name], kind)
        else:
            parts = [(part.attrs["name"], part) for part in group[name].values()]
            value = typing.get_args(kind)[1]
            found[name] = {key: read_record(part, value) for key, part in parts}
    return cls(**found)


def segment(key: str) -> str:
    """Return the name of a group for a key; distinct keys stay distinct.

    Example:
        >>> segment("Ratio a/b c")
        'Ratio a%2Fb c'
    """
    out = re.sub(r"[\x00-\x1f%/]", lambda found: f"%{ord(found[0]):02X}", key) or "%"
    return out.replace(".", "%2E") if set(out) == {"."} else out


@ft.cache
def _fields(cls: Any) -> dict[str, Any]:
    """Return what each field is, without None and without shapes of arrays."""
    return {name: _plain(kind) for name, kind in typing.get_type_hints(cls).items()}


def _plain(kind: Any) -> Any:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        (kind,) = (part for part in typing.get_args(kind) if part is not type(None))
    # Arrays with shapes are classes of jaxtyping.
    return np.ndarray if getattr(kind, "array_type", None) is np.ndarray else kind


def _may_miss(field: Any) -> bool:
    no = dataclasses.MISSING
    return field.default is not no or field.default_factory is not no


@ft.cache
def _said(cls: Any) -> dict[str, str]:
    """Return what the docstring says about each attribute."""
    text = (inspect.getdoc(cls) or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    return {name: " ".join(about.split()) for name, about in found}


def _group(parent: Any, name: str, about: str) -> Any:
    # Readers then find parts in the order in which they were written.
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
        found = labels.asstr()[()] if text else labels[()]
        axes.append(Axis(name, labels=tuple(found.tolist()), title=title))
    return tuple(axes)


__all__ = ["read_record", "segment", "write_record"]
