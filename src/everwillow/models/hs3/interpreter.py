"""Inspection of an HS3 document without compiling it, and injection of signals."""

import copy
import json
import pathlib
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, final

import numpy as np

from everwillow._errors import ArgumentValueError, KeyCollisionError, unknown_key
from everwillow._tree import format_table
from everwillow._typing import ArrayLike
from everwillow.models._document import Node
from everwillow.models.hs3.document import Document, read_document
from everwillow.models.hs3.histfactory.channels import Channel, read_channel, with_data
from everwillow.models.hs3.selection import Selection, select
from everwillow.models.hs3.signals import Signal, read_signal, signals_of, with_signals


_LONGEST = 34  # characters of a name


# More than twelve methods: these are the members that users of HS3 documents in
# reinterpretation know, each a line or two.
@final
class WorkspaceInterpreter:
    """A document to inspect and to inject signals into; the document is not changed.

    Args:
        document: The document, or the path of a JSON file.

    Raises:
        EverwillowError: If it is not an HS3 document.

    Example:
        >>> workspace = WorkspaceInterpreter(
        ...     {
        ...         "metadata": {"hs3_version": "0.2"},
        ...         "distributions": [
        ...             {
        ...                 "name": "SR",
        ...                 "type": "histfactory_dist",
        ...                 "samples": [
        ...                     {"name": "background", "data": {"contents": [4.0, 9.0]}}
        ...                 ],
        ...             }
        ...         ],
        ...     }
        ... )
        >>> workspace.bin_map, workspace.expected_background_yields
        ({'SR': 2}, {'SR': [4.0, 9.0]})
        >>> workspace.inject_signal("SR", "signal", [1.0, 2.0], poi_name="mu")
        >>> [s["name"] for s in workspace.patch()["distributions"][0]["samples"]]
        ['background', 'signal']
    """

    def __init__(self, document: Mapping[str, Any] | str | PathLike[str]) -> None:
        self._document = read_document(document)
        self._content = copy.deepcopy(self._document.root.value)
        self._signals: list[Signal] = []
        self._removed: list[str] = []

    def __repr__(self) -> str:
        """Return one line with the numbers of entries."""
        document = self._document
        return (
            f"WorkspaceInterpreter(HS3 {document.version}, "
            f"{len(document.distributions)} distributions, {len(document.likelihoods)} "
            f"likelihoods, {len(document.analyses)} analyses, {len(self._signals)} "
            "signals)"
        )

    def __getitem__(self, key: str) -> Any:
        """Return a copy of a top-level entry, for example ``"domains"``."""
        if key not in self._content:
            raise unknown_key(key, self._content, where="the document", kind="entry")
        return copy.deepcopy(self._content[key])

    @property
    def distributions(self) -> list[str]:
        """The names of all distributions."""
        return list(self._document.distributions)

    @property
    def distribution_types(self) -> dict[str, str]:
        """The type of each distribution."""
        nodes = self._document.distributions
        return {name: node.type for name, node in nodes.items()}

    @property
    def analyses(self) -> list[str]:
        """The names of the analyses."""
        return list(self._document.analyses)

    @property
    def likelihoods(self) -> list[str]:
        """The names of the likelihoods."""
        return list(self._document.likelihoods)

    @property
    def poi_names(self) -> dict[str, list[str]]:
        """The parameters of interest of each analysis."""
        return {name: list(self._selection(name).pois) for name in self.analyses}

    @property
    def bin_map(self) -> dict[str, int]:
        """The number of bins of each histfactory distribution."""
        return {channel.name: channel.bins for channel in self._channels()}

    @property
    def samples(self) -> dict[str, list[str]]:
        """The samples of each histfactory distribution."""
        return {
            channel.name: [sample.name for sample in channel.samples]
            for channel in self._channels()
        }

    @property
    def modifier_types(self) -> dict[str, dict[str, list[str]]]:
        """The types of the modifiers of each sample, by distribution and sample."""
        return {
            channel.name: {
                sample.name: list(dict.fromkeys(m.kind for m in sample.modifiers))
                for sample in channel.samples
            }
            for channel in self._channels()
        }

    @property
    def expected_background_yields(self) -> dict[str, list[float]]:
        """The nominal yields of each histfactory distribution, all samples together."""
        return {
            channel.name: np.sum([s.nominal for s in channel.samples], axis=0).tolist()
            for channel in self._channels()
        }

    @property
    def observed_data(self) -> dict[str, list[float]]:
        """The counts of each histfactory distribution in the first analysis."""
        return self.get_observed_data()

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """`value`, `const`, `min` and `max` of each parameter of the first analysis.

        None stands for a missing entry.
        """
        selection = self._selection(None)
        names = [
            *selection.points,
            *(selection.bounds.keys() - selection.points.keys()),
        ]
        table = {}
        for name in names:
            point, span = selection.points.get(name), selection.bounds.get(name)
            table[name] = {
                "value": None if point is None else point.value,
                "const": point is not None and point.const,
                "min": None if span is None else span[0],
                "max": None if span is None else span[1],
            }
        return table

    @property
    def signal_per_distribution(self) -> dict[str, dict[str, list[float]]]:
        """The yields of the injected signals, by distribution and sample."""
        table: dict[str, dict[str, list[float]]] = {}
        for signal in self._signals:
            samples = table.setdefault(signal.distribution, {})
            samples[signal.sample] = list(signal.contents)
        return table

    @property
    def remove_list(self) -> list[str]:
        """The distributions that `patch` leaves out."""
        return list(self._removed)

    def get_analysis(self, name: str | int | None = None) -> dict[str, Any]:
        """Return a copy of an analysis, by name or position; the first if None."""
        selection = self._selection(name)
        node = self._document.analyses.get(selection.name)
        return {} if node is None else copy.deepcopy(node.value)

    def get_distributions(self, analysis: str | int | None = None) -> list[str]:
        """Return the names of the distributions of an analysis, in their order."""
        selection = self._selection(analysis)
        return [node.name for node, _ in selection.main]

    def get_observed_data(
        self, analysis: str | int | None = None
    ) -> dict[str, list[float]]:
        """Return the counts of the histfactory distributions of an analysis."""
        table = {}
        for node, data in self._selection(analysis).main:
            if node.type == "histfactory_dist":
                channel = with_data(
                    read_channel(node, self._document), data, self._document
                )
                assert channel.observed is not None
                table[channel.name] = channel.observed.tolist()
        return table

    def inject_signal(
        self,
        distribution: str,
        sample: str,
        yields: ArrayLike | Sequence[float],
        errors: ArrayLike | Sequence[float] | None = None,
        poi_name: str | None = None,
    ) -> None:
        """Add a sample to a histfactory distribution, scaled by the POI.

        Its only modifier is a normfactor of the parameter of interest. Errors are
        written into the document, but no staterror is added.

        Args:
            distribution: Name of the distribution.
            sample: Name of the new sample.
            yields: Expected events in each bin at a signal strength of 1.
            errors: Their errors; 0 if None.
            poi_name: The parameter that scales it; that of the analysis if None.

        Raises:
            UnknownKeyError: If there is no such distribution.
            ArgumentValueError: If the number of bins is wrong, or if the parameter that
                scales it is not known.
            KeyCollisionError: If the distribution has a sample of that name.
        """
        channel = self._channel(distribution)
        existing = {s.name for s in channel.samples}
        existing |= set(self.signal_per_distribution.get(distribution, {}))
        if sample in existing:
            raise KeyCollisionError(
                f"{distribution!r} has a sample {sample!r} already. Choose another "
                "name, or call reset_signal first."
            )
        poi = self._poi(distribution) if poi_name is None else poi_name
        signal = read_signal(distribution, sample, yields, errors, poi)
        signal.check(channel.bins)
        self._signals.append(signal)

    def inject_signals(
        self, signals: Mapping[str, Any], *, poi_name: str | None = None
    ) -> None:
        """Add samples to several distributions.

        Args:
            signals: By distribution either the yields, or ``{"contents": [...],
                "errors": [...]}``, or these by the name of the sample. A key
                ``"distribution.sample"`` names the sample too; the default is
                ``"signal"``.
            poi_name: The parameter that scales them; that of the analysis if None.

        Raises:
            EverwillowError: As in `inject_signal`; no signal is added then.
        """
        before = list(self._signals)
        try:
            for entry in signals_of(signals, self.distributions):
                self.inject_signal(*entry, poi_name)
        except Exception:
            self._signals = before
            raise

    def remove_distribution(self, name: str) -> None:
        """Leave a distribution, with its data, out of all likelihoods.

        Raises:
            UnknownKeyError: If there is no such distribution.
        """
        if name not in self._document.distributions:
            known = self.distributions
            raise unknown_key(name, known, where="remove", kind="distribution")
        if name not in self._removed:
            self._removed.append(name)

    def reset_signal(self) -> None:
        """Remove the injected signals and restore the removed distributions."""
        self._signals, self._removed = [], []

    def patch(self) -> dict[str, Any]:
        """Return a copy of the document with all injections and removals.

        Raises:
            ArgumentValueError: If there is nothing to do.
        """
        if not self._signals and not self._removed:
            raise ArgumentValueError(
                "patch: there is nothing to do. Call inject_signal first."
            )
        return with_signals(self._content, self._signals, self._removed)

    def save_patch(self, path: str | PathLike[str]) -> None:
        """Write the result of `patch` as JSON."""
        text = json.dumps(self.patch(), indent=1)
        pathlib.Path(path).write_text(text, encoding="utf-8")

    def summary(self, analysis: str | int | None = None, *, max_rows: int = 12) -> str:
        """Return a summary of an analysis as text.

        Args:
            analysis: Name or position; the first if None.
            max_rows: The largest number of rows in a table.
        """
        selection = self._selection(analysis)
        observed = self.get_observed_data(analysis)
        channels = [c for c in self._channels() if c.name in observed]
        return _summary_text(
            self._document, selection, channels, observed, max_rows=max_rows
        )

    def _selection(self, analysis: str | int | None) -> Selection:
        return select(self._document, analysis)

    def _channels(self) -> list[Channel]:
        return [
            read_channel(node, self._document)
            for node in self._document.distributions.values()
            if node.type == "histfactory_dist"
        ]

    def _channel(self, name: str) -> Channel:
        node = self._document.distributions.get(name)
        known = list(self.bin_map)
        if node is None or name not in known:
            kind = "histfactory distribution"
            raise unknown_key(name, known, where="inject_signal", kind=kind)
        return read_channel(Node(node.value), self._document)

    def _poi(self, distribution: str) -> str:
        for name in self.analyses:
            selection = self._selection(name)
            inside = [node.name for node, _ in selection.main]
            if distribution in inside and selection.pois:
                return selection.pois[0]
        raise ArgumentValueError(
            f"inject_signal: no analysis with {distribution!r} has a parameter of "
            "interest. Say which parameter scales the signal with poi_name."
        )


def _summary_text(
    document: Document,
    selection: Selection,
    channels: Sequence[Channel],
    observed: Mapping[str, Sequence[float]],
    *,
    max_rows: int,
) -> str:
    """Return what an analysis consists of."""
    others = [n for n, _ in selection.main if n.name not in observed]
    free = sum(not point.const for point in selection.points.values())
    lines = [
        f"HS3 {document.version}, analysis {selection.name!r}"
        + (f" of {len(document.analyses)}" if len(document.analyses) > 1 else ""),
        f"parameters of interest: {', '.join(selection.pois) or 'none'}",
        f"parameters: {len(selection.points)}, {free} of them not constant",
        f"auxiliary distributions: {len(selection.aux)}",
        "",
    ]
    rows = [["channel", "bins", "samples", "modifiers", "expected", "observed"]]
    for channel in channels[:max_rows]:
        expected = sum(float(sample.nominal.sum()) for sample in channel.samples)
        rows.append(
            [
                _short(channel.name),
                str(channel.bins),
                str(len(channel.samples)),
                str(sum(len(sample.modifiers) for sample in channel.samples)),
                f"{expected:.6g}",
                f"{sum(observed[channel.name]):.6g}",
            ]
        )
    if channels:
        lines.append(format_table(rows))
        if len(channels) > max_rows:
            lines.append(f"... ({len(channels)} channels in all)")
    if others:
        table = [["other distribution", "type"]]
        for node in others[:max_rows]:
            kind = node.type
            table.append([_short(node.name), kind])
        lines += ["", format_table(table)]
        if len(others) > max_rows:
            lines.append(f"... ({len(others)} in all)")
    return "\n".join(lines)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."
