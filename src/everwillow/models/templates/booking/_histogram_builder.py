"""The part of a builder that is plain histograms: channels, processes and data."""

from typing import Any

from everwillow._errors import ArgumentValueError, KeyCollisionError
from everwillow.likelihood.histograms import Channel, Layout
from everwillow.models.templates.booking._assembly import layout_of
from everwillow.models.templates.booking._axes import axes_of
from everwillow.models.templates.booking._book import (
    Book,
    check_name,
    covariance_of,
    data_of,
)


# What fits call what was observed, what is expected, and pseudo-experiments.
RESERVED = ("data", "asimov", "toys")


class AbstractHistogramBuilder:
    """Collect channels, nominal templates and data in a `Book`."""

    _book: Book

    def add_channel(
        self, axes: Any, name: str, *, masked: bool = False, flow: bool = False
    ) -> None:
        """Add a histogram that is fitted, or one that the fit is propagated to.

        Args:
            axes: Its axes: each an `Axis`, an axis of a UHI histogram, or a pair of a
                name with edges (numbers) or labels (strings). None, ``[]``, are a
                single bin.
            name: Its name.
            masked: Whether it has no data and stays out of the fit.
            flow: Whether underflow and overflow bins are bins of it: they are intervals
                that begin at minus infinity and end at infinity. Categories have none.

        Raises:
            KeyCollisionError: If there is a channel of that name.

        Example:
            >>> from everwillow.models.templates import TemplateBuilder
            >>> builder = TemplateBuilder()
            >>> axes = [("pt", [0.0, 20.0])]
            >>> builder.add_channel(axes, "gen", masked=True, flow=True)
            >>> builder.layout.channels[0].axes[0].edges
            (-inf, 0.0, 20.0, inf)
        """
        check_name(name, "add_channel")
        if name in self._book.channels:
            raise KeyCollisionError(
                f"add_channel: there is a channel {name!r} already."
            )
        found = axes_of(axes, where=f"channel {name!r}", flow=flow)
        self._book.channels[name] = Channel(name, found, bool(masked))

    def add_process(
        self,
        hist: Any,
        name: str,
        channel: str,
        *,
        signal: bool = False,
        variances: Any = None,
    ) -> None:
        """Add the nominal template of a process in a channel.

        Args:
            hist: Its yields.
            name: Name of the process.
            channel: Where it contributes.
            signal: Whether it is a signal; the same in all channels.
            variances: Variances of the yields, as a histogram or array; by default
                those of `hist`, or else the yields themselves.

        Raises:
            ArgumentValueError: If a yield is negative and that is not allowed.
            KeyCollisionError: If the process is in the channel already.
            ConflictError: If it is a signal elsewhere and not here.
        """
        check_name(name, "add_process")
        self._book.add_template(
            hist, name, channel, signal=bool(signal), variances=variances
        )

    def add_data(self, hist: Any, channel: str, *, variances: Any = None) -> None:
        """Add what was observed in a fitted channel.

        Args:
            hist: The data.
            channel: Where.
            variances: Variances for chi-square fits; by default those of the histogram
                if it has any, else the data themselves.

        Raises:
            KeyCollisionError: If the channel has data already.
            ArgumentValueError: If it is masked.
        """
        place = self._book.channel(channel, masked=False)
        if channel in self._book.data:
            raise KeyCollisionError(f"add_data: channel {channel!r} has data already.")
        where = f"data of channel {channel!r}"
        data, variance = data_of(hist, place, variances, where=where)
        self._book.data[channel] = data
        if variance is not None:
            self._book.data_variance[channel] = variance

    def add_data_covariance(self, cov: Any) -> None:
        """Set the covariance of the data of all fitted bins, channel after channel.

        Args:
            cov: A symmetric matrix; each channel is flattened in C order.

        Raises:
            ShapeMismatchError: If it is no square matrix; whether it has the right
                number of bins is seen by `spec`.
            KeyCollisionError: If there is one already.
        """
        if self._book.data_covariance is not None:
            raise KeyCollisionError(
                "add_data_covariance: there is a covariance already."
            )
        self._book.data_covariance = covariance_of(cov)

    def add_pseudodata(self, hist: Any, name: str, channel: str) -> None:
        """Add a part of another set of data, which can be fitted instead.

        Args:
            hist: What it has in the channel.
            name: Name of the set; every fitted channel needs its part.
            channel: Where.

        Raises:
            ArgumentValueError: If the name stands for other data: data, asimov, toys.
            KeyCollisionError: If the set has this channel already.
        """
        place = self._book.channel(channel, masked=False)
        if check_name(name, "add_pseudodata") in RESERVED:
            raise ArgumentValueError(
                f"add_pseudodata: {name!r} stands for other data than pseudodata. "
                "Choose another name."
            )
        if channel in self._book.pseudodata.get(name, {}):
            raise KeyCollisionError(
                f"add_pseudodata: {name!r} has data in channel {channel!r} already."
            )
        where = f"pseudodata {name!r} of channel {channel!r}"
        data, _ = data_of(hist, place, None, where=where)
        self._book.pseudodata.setdefault(name, {})[channel] = data

    @property
    def layout(self) -> Layout:
        """Channels and processes as far as they were added."""
        return layout_of(self._book)
