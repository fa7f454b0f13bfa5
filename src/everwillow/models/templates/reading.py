"""Reading of the files of `everwillow.models.templates.writing`."""

import os
from typing import Any, get_args

import numpy as np

from everwillow._errors import ArgumentValueError
from everwillow._hdf5 import reading
from everwillow.likelihood.histograms import Axis, Channel, Layout
from everwillow.likelihood.templates.spec import (
    BetaVariations,
    ExternalTerm,
    Responses,
    Systematic,
    SystematicType,
    Templates,
    TemplateSpec,
)
from everwillow.models.templates.checks import check_spec
from everwillow.models.templates.writing import KIND


def load(path: str | os.PathLike[str]) -> TemplateSpec:
    """Read a file of `everwillow.models.templates.writing.write`.

    Args:
        path: The file.

    Returns:
        The specification, identical to the written one.

    Raises:
        MissingFileError: If there is no such file.
        ArgumentValueError: If it is another file, or damaged.
        ImportError: If h5py is not installed.
    """
    with reading(path, KIND) as opened:
        spec = _read(opened)
        check_spec(spec)
    return spec


def _read(file: Any) -> TemplateSpec:
    kind = file.attrs["systematic_type"]
    if kind not in get_args(SystematicType):
        raise ArgumentValueError(f"its attribute 'systematic_type' is {kind!r}.")
    layout = Layout(
        tuple(_channel(group) for group in _numbered(file["channels"])),
        _text(file["processes"]),
    )
    start, groups = (
        file["systematics/groups_start"][()],
        _text(file["systematics/groups"]),
    )
    return TemplateSpec(
        layout=layout,
        signals=_text(file["signals"]),
        templates=_arrays(file["templates"], Templates),
        systematics=tuple(
            Systematic(name, bool(held), groups[begin:end], bool(interest))
            for name, held, interest, begin, end in zip(
                _text(file["systematics/name"]),
                file["systematics/constrained"][()],
                file["systematics/interest"][()],
                start[:-1],
                start[1:],
                strict=True,
            )
        ),
        responses=_arrays(file["responses"], Responses),
        systematic_type=kind,
        observed=file["data/observed"][()],
        observed_variance=_maybe(file, "data/variance"),
        observed_covariance=_maybe(file, "data/covariance"),
        pseudodata={d.attrs["name"]: d[()] for d in _numbered(file["pseudodata"])},
        external=tuple(
            ExternalTerm(
                term.attrs["name"],
                _text(term["parameters"]),
                term["gradient"][()],
                term["hessian"][()],
            )
            for term in _numbered(file["external"])
        ),
        beta_variations=_arrays(file["beta_variations"], BetaVariations)
        if "beta_variations" in file
        else None,
        auxiliary={
            group.attrs["name"]: {d.attrs["name"]: _array(d) for d in _numbered(group)}
            for group in _numbered(file["auxiliary"])
        },
        sparse=bool(file.attrs["sparse"]),
        report=_text(file["report"]),
    )


def _numbered(group: Any) -> list[Any]:
    return [group[str(i)] for i in range(len(group))]


def _text(dataset: Any) -> tuple[str, ...]:
    return tuple(dataset.asstr()[()])


def _array(dataset: Any) -> np.ndarray:
    if dataset.dtype.kind == "O":
        return np.array(dataset.asstr()[()], np.str_)
    values = np.asarray(dataset[()])
    return values.astype(bool) if "boolean" in dataset.attrs else values


def _maybe(file: Any, path: str) -> np.ndarray | None:
    return file[path][()] if path in file else None


def _arrays(group: Any, record: Any) -> Any:
    return record(**{name: dataset[()] for name, dataset in group.items()})


def _channel(group: Any) -> Channel:
    axes = []
    for axis in _numbered(group["axes"]):
        name, title = axis.attrs["name"], axis.attrs.get("title", "")
        if "edges" in axis:
            axes.append(Axis(name, tuple(axis["edges"][()].tolist()), title=title))
            continue
        labels = tuple(_array(axis["labels"]).tolist())
        axes.append(Axis(name, labels=labels, title=title))
    return Channel(group.attrs["name"], tuple(axes), bool(group.attrs["masked"]))
