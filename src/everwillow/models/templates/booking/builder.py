"""Build a template fit from histograms."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, final, get_args

import numpy as np

from everwillow._errors import ArgumentTypeError, ArgumentValueError, KeyCollisionError
from everwillow.likelihood.histograms import Channel, Layout
from everwillow.likelihood.templates.spec import SystematicType, TemplateSpec
from everwillow.models.templates.booking._assembly import assemble, layout_of
from everwillow.models.templates.booking._axes import axes_of
from everwillow.models.templates.booking._beta_variations import beta_block
from everwillow.models.templates.booking._book import (
    Book,
    SystematicKind,
    check_name,
    data_of,
    read_covariance,
)
from everwillow.models.templates.booking._external import external_term
from everwillow.models.templates.booking._responses import Symmetrisation
from everwillow.models.templates.booking._systematics import (
    book_effects,
    check_kfactor,
    check_kind,
    factors_of,
    groups_of,
    names_of,
    variations_of,
)
from everwillow.models.templates.model import TemplateModel
from everwillow.models.templates.writing import write


# Names of the data, of Asimov data and of pseudo-experiments in fits.
RESERVED = ("data", "asimov", "toys")


# More methods than usual: one for each kind of input.
@final
class TemplateBuilder:
    """Collect histograms, systematics and data of a template fit.

    Histograms are UHI histograms (of hist, boost_histogram or uproot), NumPy arrays of
    the shape of the channel, or sparse matrices with a method ``tocoo`` (of scipy),
    with as many entries as the channel has bins. They are copied and not changed.

    Inconsistent input raises an error immediately. Unusual input, such as variations
    above 100 %, is reported by a sentence in ``spec().report`` and in more detail by
    `everwillow.models.templates.inputs_report.inspect_inputs`.

    Args:
        systematic_type: The response of yields to systematics: ``"log_normal"``
            (exponential) or ``"normal"`` (linear).
        sparse: Whether the model keeps responses as a list of nonzero elements.
        allow_negative: Whether nominal yields may be negative; an error otherwise.
        add_bin_by_bin_stat_to_data_cov: Whether the variances of all processes are
            added to the diagonal of the covariance of the data.

    Example:
        >>> builder = TemplateBuilder()
        >>> builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
        >>> builder.add_process([10.0, 20.0], "signal", "ch0", signal=True)
        >>> builder.add_process([50.0, 40.0], "flat", "ch0")
        >>> builder.add_norm_systematic("lumi", ["signal", "flat"], "ch0", 1.02)
        >>> builder.add_systematic([11.0, 19.0], "scale", "signal", "ch0")
        >>> builder.add_data([63.0, 58.0], "ch0")
        >>> [systematic.name for systematic in builder.spec().systematics]
        ['lumi', 'scale']
    """

    def __init__(
        self,
        systematic_type: SystematicType = "log_normal",
        *,
        sparse: bool = False,
        allow_negative: bool = False,
        add_bin_by_bin_stat_to_data_cov: bool = False,
    ) -> None:
        if systematic_type not in get_args(SystematicType):
            raise ArgumentValueError(
                f"systematic_type: it is 'log_normal' or 'normal', not "
                f"{systematic_type!r}."
            )
        self._book = Book(systematic_type, allow_negative)
        self._sparse = bool(sparse)
        self._stat_in_covariance = add_bin_by_bin_stat_to_data_cov

    def __repr__(self) -> str:
        """Return the numbers of channels, processes and systematics in a line."""
        book = self._book
        processes = {process for process, _ in book.nominal}
        return (
            f"TemplateBuilder({len(book.channels)} channels, {len(processes)} "
            f"processes, {len(book.responses)} systematics)"
        )

    def add_channel(
        self, axes: Any, name: str, *, masked: bool = False, flow: bool = False
    ) -> None:
        """Add a channel: a histogram that is fitted, or a masked one.

        Args:
            axes: The axes: each an `Axis`, an axis of a UHI histogram, or a pair of a
                name with edges (numbers) or labels (strings); ``[]`` for a single bin.
            name: The name of the channel.
            masked: Whether the channel has no data and is not fitted; its yields follow
                from the fit.
            flow: Whether the channel has underflow and overflow bins: intervals from
                minus infinity and to infinity. Categories have none.

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
        channel_axes = axes_of(axes, where=f"channel {name!r}", flow=flow)
        self._book.channels[name] = Channel(name, channel_axes, bool(masked))

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
            hist: The yields.
            name: The name of the process.
            channel: The channel.
            signal: Whether it is a signal, which has to be the same in all channels.
            variances: Variances of the yields, as a histogram or array; by default
                those of `hist`, or else the yields themselves.

        Raises:
            ArgumentValueError: If a yield is negative and that is not allowed.
            KeyCollisionError: If the process is in the channel already.
            ConflictError: If it is a signal in only some channels.
        """
        check_name(name, "add_process")
        self._book.add_template(
            hist, name, channel, signal=bool(signal), variances=variances
        )

    def add_data(self, hist: Any, channel: str, *, variances: Any = None) -> None:
        """Add the data of a fitted channel.

        Args:
            hist: The data.
            channel: The channel.
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
            ShapeMismatchError: If it is not a square matrix; `spec` checks the number
                of bins.
            KeyCollisionError: If there is one already.
        """
        if self._book.data_covariance is not None:
            raise KeyCollisionError(
                "add_data_covariance: there is a covariance already."
            )
        self._book.data_covariance = read_covariance(cov)

    def add_pseudodata(self, hist: Any, name: str, channel: str) -> None:
        """Add one channel of pseudodata, which can be fitted instead of the data.

        Args:
            hist: The pseudodata of the channel.
            name: The name of the pseudodata, which need all fitted channels.
            channel: The channel.

        Raises:
            ArgumentValueError: If the name is reserved: data, asimov, toys.
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

    def add_norm_systematic(
        self,
        name: str,
        processes: str | Sequence[str],
        channel: str,
        factor: Any,
        *,
        groups: str | Sequence[str] | None = None,
        constrained: bool = True,
        symmetrize: Symmetrisation | None = "average",
        noi: bool = False,
        add_to_data_covariance: bool = False,
    ) -> None:
        """Add a systematic that scales whole templates.

        Args:
            name: The name of the parameter; effects of the same name have one
                parameter.
            processes: One process or several.
            channel: The channel.
            factor: The factor of the yields for one error up, such as 1.02, for every
                process; one error down is the mirror image, 1 / 1.02 for log-normal
                yields. A tuple ``(up, down)`` gives both for every process; a list has
                a factor, or a pair, for each process.
            groups: The groups for impacts, by default one with the name of the
                systematic; groups of several calls are joined.
            constrained: Whether a unit Gaussian constrains the parameter.
            symmetrize: The symmetrisation of a pair; see `add_systematic`.
            noi: Whether the parameter is one of interest.
            add_to_data_covariance: Whether to add the effect to the covariance of the
                data instead of making a parameter of it.

        Raises:
            KeyCollisionError: If it was booked before for a process here.
            ConflictError: If another effect of this name has a different kind.
            ShapeMismatchError: If the length of a list is not the number of processes.

        Example:
            >>> builder = TemplateBuilder()
            >>> builder.add_channel([], "all")
            >>> builder.add_process(100.0, "w", "all")
            >>> builder.add_process(20.0, "z", "all")
            >>> builder.add_norm_systematic("theory", ["w", "z"], "all", [1.1, 1.2])
            >>> builder.spec().responses.average.round(4)
            array([0.0953, 0.1823])
        """
        kind = SystematicKind(
            bool(constrained), bool(noi), bool(add_to_data_covariance)
        )
        check_kind(self._book, name, channel, kind, symmetrize)
        names = names_of(processes, f"systematic {name!r}, processes")
        factors = factors_of(factor, names, name)
        book_effects(
            self._book,
            name,
            channel,
            dict(zip(names, factors, strict=True)),
            kind,
            symmetrize=symmetrize,
            groups=groups_of(groups, name),
        )

    def add_systematic(
        self,
        hist: Any,
        name: str,
        processes: str | Sequence[str],
        channel: str,
        *,
        kfactor: float = 1.0,
        mirror: bool = True,
        symmetrize: Symmetrisation | None = "average",
        as_difference: bool = False,
        constrained: bool = True,
        syst_axes: str | Sequence[str] | None = None,
        groups: str | Sequence[str] | None = None,
        noi: bool = False,
        add_to_data_covariance: bool = False,
    ) -> None:
        r"""Add a systematic that deforms templates.

        With the nominal yields N, those up U and those down D, the responses of
        log-normal yields are :math:`L_u = \kappa \ln(U/N)` and
        :math:`L_d = -\kappa \ln(D/N)`, of normal ones :math:`L_u = \kappa (U - N)` and
        :math:`L_d = -\kappa (D - N)`. A single histogram is mirrored,
        :math:`L_d = L_u`, so that :math:`D = N^2/U`, or :math:`2N - U`. If the signs of
        U and N differ the logarithm is :math:`\ln 10^{-3}` for all :math:`\kappa`; if N
        is 0 there is no response.

        `symmetrize` determines the response to a pair that is not symmetric:

        - ``"average"``: :math:`(L_u + L_d)/2`;
        - ``"conservative"``: the larger one in magnitude, bin by bin, :math:`L_d` if
          equal; it is discontinuous where both shift a yield in the same direction;
        - ``"linear"``: two parameters, ``<name>SymAvg`` with :math:`(L_u + L_d)/2` and
          ``<name>SymDiff`` with :math:`(L_u - L_d)/2`;
        - ``"quadratic"``: the same, ``<name>SymDiff`` times :math:`\sqrt 3`;
        - None: asymmetric; the parameter at +1 gives U, at -1 gives D.

        A histogram with further axes makes one parameter of each of their bins. Its
        name is ``<name>_<bin>``, or ``<name>_<bin>_<bin>`` with two such axes in their
        order, where a bin of a category has its label, and a bin of an interval its
        index from 0 (``SymAvg`` and ``SymDiff`` are appended).

        Args:
            hist: The varied yields: a histogram, or a pair ``(up, down)``; for several
                processes a list with one of these for each.
            name: The name of the parameter; effects of the same name have one
                parameter.
            processes: One process or several.
            channel: The channel.
            kfactor: :math:`\kappa`.
            mirror: Whether to mirror a single histogram; if not, a pair is required.
            symmetrize: See above.
            as_difference: Whether the histograms are differences to the nominal one.
            constrained: Whether a unit Gaussian constrains the parameters.
            syst_axes: The further axes; by default all that the channel does not have.
                For an array they are its last ones, and this names them.
            groups: The groups for impacts, by default one with the name of the
                systematic; groups of several calls are joined.
            noi: Whether the parameters are of interest.
            add_to_data_covariance: Whether to add the effect, as events, to the
                covariance of the data instead of making parameters of it.

        Raises:
            KeyCollisionError: If it was booked before for a process here.
            ConflictError: If another effect of this name has a different kind.
            ShapeMismatchError: If its bins are not those of the channel.
            UnknownKeyError: If the channel has no such process.

        Example:
            >>> builder = TemplateBuilder()
            >>> builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
            >>> builder.add_process([10.0, 20.0], "flat", "ch0")
            >>> pair = ([11.0, 22.0], [9.5, 18.0])
            >>> builder.add_systematic(
            ...     pair, "tilt", "flat", "ch0", symmetrize="linear"
            ... )
            >>> [systematic.name for systematic in builder.spec().systematics]
            ['tiltSymAvg', 'tiltSymDiff']
        """
        kind = SystematicKind(
            bool(constrained), bool(noi), bool(add_to_data_covariance)
        )
        check_kind(self._book, name, channel, kind, symmetrize)
        names = names_of(processes, f"systematic {name!r}, processes")
        variations = variations_of(
            hist,
            names,
            self._book.channel(channel),
            name,
            several=not isinstance(processes, str),
            mirror=mirror,
            difference=as_difference,
            syst_axes=syst_axes,
        )
        book_effects(
            self._book,
            name,
            channel,
            dict(zip(names, variations, strict=True)),
            kind,
            symmetrize=symmetrize,
            groups=groups_of(groups, name),
            kfactor=check_kfactor(kfactor, name),
        )

    def add_external_likelihood(
        self, gradient: Any = None, hessian: Any = None, *, name: str | None = None
    ) -> None:
        r"""Add an external likelihood, :math:`g^T x + \frac12 x^T H x`.

        x are any parameters, on their physical scale.

        Args:
            gradient: g: a mapping by name, a histogram with categories, or a pair of
                names and numbers.
            hessian: H, symmetric: a mapping by pairs of names or of mappings by name,
                a histogram with two axes of categories, or a pair of names and numbers.
            name: The name of the term, by default ``external0``, ``external1``, ...

        Raises:
            ArgumentValueError: If H is not symmetric, or both are missing.
            KeyCollisionError: If there is one of that name.

        Example:
            >>> builder = TemplateBuilder()
            >>> builder.add_external_likelihood({"mu": 0.5}, {("mu", "mu"): 4.0})
        """
        names = {term.name for term in self._book.external}
        if name is None:
            count = len(names)
            name = next(
                n for i in range(count + 1) if (n := f"external{i}") not in names
            )
        check_name(name, "add_external_likelihood")
        if name in names:
            raise KeyCollisionError(
                f"add_external_likelihood: there is one named {name!r} already."
            )
        self._book.external.append(external_term(gradient, hessian, name))

    def add_beta_variations(
        self, hist: Any, process: str, source_channel: str, dest_channel: str
    ) -> None:
        """Correlate fluctuations of a simulated sample in fitted and in masked bins.

        The variances of the masked template are added: give the variances of events
        that are in no fitted bin, or the fluctuations of the others count twice.

        Args:
            hist: The number of nominal events of each masked bin that are in each
                fitted bin; rates and systematics of the masked channel apply to them.
                The axes are those of the fitted channel, then those of the masked one,
                or in the other order if they have these names. A sparse matrix has a
                row for each fitted bin.
            process: The name of the process.
            source_channel: The fitted channel.
            dest_channel: The masked channel.

        Raises:
            KeyCollisionError: If these were added before.
            ArgumentValueError: If the first is masked or the second is not.
        """
        source = self._book.channel(source_channel, masked=False)
        target = self._book.channel(dest_channel, masked=True)
        self._book.template(process, source_channel)
        self._book.template(process, dest_channel)
        key = (process, source_channel, dest_channel)
        if key in {(b.process, b.source, b.target) for b in self._book.beta}:
            raise KeyCollisionError(f"add_beta_variations: {key} was added before.")
        self._book.beta.append(beta_block(hist, process, source, target))

    def add_auxiliary(self, name: str, payload: Mapping[str, Any]) -> None:
        """Add arrays that a parameter model needs.

        Args:
            name: The name of the payload.
            payload: Arrays of numbers or lists of strings, by key.

        Raises:
            KeyCollisionError: If there is one of that name.
            ArgumentTypeError: If it holds anything else.
        """
        check_name(name, "add_auxiliary")
        if name in self._book.auxiliary:
            raise KeyCollisionError(
                f"add_auxiliary: there is a payload {name!r} already."
            )
        self._book.auxiliary[name] = _arrays_of(name, payload)

    @property
    def layout(self) -> Layout:
        """The channels and processes that have been added."""
        return layout_of(self._book)

    def spec(self) -> TemplateSpec:
        """Return the specification of everything that has been added.

        Later additions do not change it.

        Raises:
            ArgumentValueError: If a part that a fit needs is missing.
            ShapeMismatchError: If the covariance of the data has another number of
                bins.
        """
        return assemble(
            self._book, sparse=self._sparse, stat_in_covariance=self._stat_in_covariance
        )

    def build(self, **options: Any) -> TemplateModel:
        """Return the model.

        Args:
            options: The options of
                `everwillow.models.templates.model.TemplateModel.from_spec`.
        """
        return TemplateModel.from_spec(self.spec(), **options)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the specification, see `everwillow.models.templates.writing.write`.

        Args:
            path: The file.
        """
        write(self.spec(), path)


def _arrays_of(name: str, arrays: Any) -> dict[str, np.ndarray]:
    """Return copies of the arrays for a model of parameters.

    Raises:
        ArgumentTypeError: If one holds neither numbers nor strings.
    """
    if not isinstance(arrays, Mapping):
        raise ArgumentTypeError(
            f"auxiliary {name!r}: expected a mapping of names to arrays or lists of "
            f"strings, got {type(arrays).__name__}."
        )
    out = {}
    for key, values in arrays.items():
        try:
            array = np.array(values)
        except ValueError:
            array = np.array(None)
        if not isinstance(key, str) or array.dtype.kind not in "biufU":
            raise ArgumentTypeError(
                f"auxiliary {name!r}: {key!r} holds {type(values).__name__}. Keys are "
                "strings, values arrays of numbers or lists of strings."
            )
        out[key] = array
    return out
