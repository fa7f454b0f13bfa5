"""Template fits in HDF5 files, for any program that reads HDF5.

The attributes ``format`` ("everwillow templates"), ``version`` (1), ``systematic_type``
("log_normal" or "normal") and ``sparse`` (0 or 1) of the file describe it. Every
group and dataset has an attribute ``description``. Text is UTF-8, indices count from 0,
and the numbers in names such as ``channels/0`` give the order:

- ``channels/<i>``: attributes ``name`` and ``masked``; ``axes/<j>`` with an attribute
  ``name`` and ``edges``, one more than there are bins, the outer ones maybe infinite,
  or ``labels``.
- ``processes``, ``signals``: names.
- ``templates/bin``, ``process``, ``nominal``, ``variance``: one entry for each yield.
  Bins are numbered channel after channel, each in C order (the last axis fastest).
- ``systematics/name``, ``constrained``, ``interest``: one entry for each; the groups of
  number k are ``groups[groups_start[k]:groups_start[k + 1]]``.
- ``responses/start``, ``row``, ``average``, and ``half`` if any is not zero: systematic
  k affects the yields ``row[start[k]:start[k + 1]]``. Its response at the value t is
  f = t average + t a(t) half, with a(t) = u (u^2 (3 u^2 - 10) + 15) / 8, u = 2 t, if
  abs(t) < 1/2, and else the sign of t. Log-normal yields are multiplied by the
  exponential of the sum of all f; the sum is added to normal yields.
- ``data/observed``, of the fitted bins, NaN without data; ``data/variance`` and
  ``data/covariance`` if there are any.
- ``pseudodata/<i>``: other data of the fitted bins, attribute ``name``.
- ``external/<i>``: attribute ``name``; ``parameters``, ``gradient``, ``hessian``.
- ``beta_variations/process``, ``source``, ``target``, ``change``, if there are any.
- ``auxiliary/<i>``: attribute ``name``, with datasets ``<j>`` that have one, too.
- ``report``: remarks, one sentence each.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from everwillow._hdf5 import Kind, import_h5py, write_header, writing
from everwillow.likelihood.histograms import Layout
from everwillow.likelihood.templates.spec import Systematic, TemplateSpec


KIND = Kind("everwillow templates", version=1, contents="template fit")
# Compression makes datasets with fewer bytes larger.
_COMPRESSED_FROM = 4096


def write(spec: TemplateSpec, path: str | os.PathLike[str]) -> None:
    """Write a template fit to an HDF5 file, or no file if there is an error.

    Args:
        spec: The template fit.
        path: The file, whose directory has to exist. An existing file is replaced.

    Raises:
        ImportError: If h5py is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> from everwillow.models.templates import TemplateBuilder, load
        >>> builder = TemplateBuilder()
        >>> builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
        >>> builder.add_process([10.0, 20.0], "signal", "ch0", signal=True)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(builder.spec(), pathlib.Path(folder, "fit.hdf5"))
        ...     load(pathlib.Path(folder, "fit.hdf5")).signals
        ('signal',)
    """
    with writing(path) as file:
        write_header(file, KIND)
        file.attrs["systematic_type"] = spec.systematic_type
        file.attrs["sparse"] = int(spec.sparse)
        file.attrs["description"] = (
            "A template fit: what is expected, how it varies, and what was observed."
        )
        _Writer(file, import_h5py().string_dtype()).write(spec)


class _Writer:
    """Writes the parts of a specification."""

    def __init__(self, file: Any, text: Any) -> None:
        self.file = file
        self.text = text

    def write(self, spec: TemplateSpec) -> None:
        """Write all parts."""
        self._channels(spec.layout)
        self._put("processes", spec.layout.processes, "names of the processes")
        self._put("signals", spec.signals, "names of the processes that are signals")
        self._group("templates", "the yields that are not 0, sorted by bin and process")
        self._put("templates/bin", spec.templates.bin, "bin of each yield")
        self._put("templates/process", spec.templates.process, "process of each yield")
        self._put("templates/nominal", spec.templates.nominal, "events")
        self._put("templates/variance", spec.templates.variance, "events squared")
        self._systematics(spec.systematics)
        self._group("responses", "what systematics do to the yields")
        self._put("responses/start", spec.responses.start, "first entry of each")
        self._put("responses/row", spec.responses.row, "the yield that an entry is for")
        self._put("responses/average", spec.responses.average, "mean of +1 and -(-1)")
        self._put("responses/half", spec.responses.half, "half their difference")
        self._group("data", "what was observed; NaN where nothing was given")
        self._put("data/observed", spec.observed, "data of the fitted bins")
        self._put("data/variance", spec.observed_variance, "variances of the data")
        self._put("data/covariance", spec.observed_covariance, "covariance of the data")
        self._group("pseudodata", "other data of the fitted bins")
        for i, (name, values) in enumerate(spec.pseudodata.items()):
            self._put(f"pseudodata/{i}", values, "data", name=name)
        self._others(spec)
        self._put("report", spec.report, "remarks")

    def _channels(self, layout: Layout) -> None:
        self._group("channels", "in the order of the bins, fitted ones first")
        for i, channel in enumerate(layout.channels):
            path = f"channels/{i}"
            group = self._group(path, "a histogram", name=channel.name)
            group.attrs["masked"] = int(channel.masked)
            self._group(f"{path}/axes", "the last one is the fastest")
            for j, axis in enumerate(channel.axes):
                own = self._group(f"{path}/axes/{j}", "an axis", name=axis.name)
                if axis.title:
                    own.attrs["title"] = axis.title
                if axis.edges is not None:
                    edges = np.array(axis.edges, np.float64)
                    self._put(f"{path}/axes/{j}/edges", edges, "ends of the bins")
                    continue
                labels = tuple(axis.labels or ())
                whole = all(isinstance(label, int) for label in labels)
                self._put(
                    f"{path}/axes/{j}/labels",
                    np.array(labels) if whole else tuple(map(str, labels)),
                    "what the bins are",
                )

    def _systematics(self, systematics: Sequence[Systematic]) -> None:
        path = "systematics"
        self._group(path, "parameters that are 0 nominally and 1 one error up")
        self._put(f"{path}/name", tuple(s.name for s in systematics), "names")
        self._put(
            f"{path}/constrained",
            np.array([s.constrained for s in systematics], np.int8),
            "1 where a unit Gaussian constrains it",
        )
        self._put(
            f"{path}/interest",
            np.array([s.interest for s in systematics], np.int8),
            "1 where it is a parameter of interest",
        )
        groups = tuple(group for s in systematics for group in s.groups)
        self._put(f"{path}/groups", groups, "groups of impacts, one after the other")
        ends = np.cumsum([0, *(len(s.groups) for s in systematics)])
        self._put(f"{path}/groups_start", ends, "first group of each")

    def _others(self, spec: TemplateSpec) -> None:
        self._group("external", "terms g x + x H x / 2 of physical parameters")
        for i, term in enumerate(spec.external):
            path = f"external/{i}"
            self._group(path, "a likelihood from elsewhere", name=term.name)
            self._put(f"{path}/parameters", term.parameters, "the parameters x")
            self._put(f"{path}/gradient", term.gradient, "g")
            self._put(f"{path}/hessian", term.hessian, "H")
        if spec.beta_variations is not None:
            path, beta = "beta_variations", spec.beta_variations
            self._group(path, "factors of simulated samples that move masked bins")
            self._put(f"{path}/process", beta.process, "process of each entry")
            self._put(f"{path}/source", beta.source, "its fitted bin")
            self._put(f"{path}/target", beta.target, "its masked bin")
            self._put(f"{path}/change", beta.change, "events for a factor of 2")
        self._group("auxiliary", "arrays for models of the parameters of interest")
        for i, (name, arrays) in enumerate(spec.auxiliary.items()):
            self._group(f"auxiliary/{i}", "a payload", name=name)
            for j, (key, values) in enumerate(arrays.items()):
                self._put(f"auxiliary/{i}/{j}", values, "an array", name=key)

    def _group(self, path: str, description: str, *, name: str | None = None) -> Any:
        group = self.file.require_group(path)
        group.attrs["description"] = description
        if name is not None:
            group.attrs["name"] = name
        return group

    def _put(
        self,
        path: str,
        values: np.ndarray | Sequence[str] | None,
        description: str,
        *,
        name: str | None = None,
    ) -> None:
        if values is None:
            return
        if not isinstance(values, np.ndarray) or values.dtype.kind == "U":
            data = np.array(values, object)
            dataset = self.file.create_dataset(path, data.shape, self.text, data)
        else:
            # Integers, as few programs show the enumeration of booleans in HDF5 well.
            whole = values.dtype.kind == "b"
            data = values.astype(np.int8) if whole else values
            large = data.size >= _COMPRESSED_FROM
            options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
            dataset = self.file.create_dataset(
                path, data=data, **(options if large else {})
            )
            if whole:
                dataset.attrs["boolean"] = 1
        dataset.attrs["description"] = description
        if name is not None:
            dataset.attrs["name"] = name


__all__ = ["KIND", "write"]
