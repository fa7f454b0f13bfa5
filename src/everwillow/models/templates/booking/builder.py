"""Build a template fit from histograms."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, final, get_args

from everwillow._errors import ArgumentValueError, KeyCollisionError
from everwillow.likelihood.templates.spec import SystematicType, TemplateSpec
from everwillow.models.templates.booking._assembly import assemble
from everwillow.models.templates.booking._book import Book, Kind, check_name
from everwillow.models.templates.booking._effects import (
    check_kind,
    of_factors,
    of_variations,
)
from everwillow.models.templates.booking._extras import (
    beta_block,
    external_term,
    payload as arrays_of,
)
from everwillow.models.templates.booking._histogram_builder import (
    AbstractHistogramBuilder,
)
from everwillow.models.templates.booking._inputs import (
    factors_of,
    groups_of,
    names_of,
    variations_of,
)
from everwillow.models.templates.booking._symmetrisation import Symmetrisation
from everwillow.models.templates.model import TemplateModel
from everwillow.models.templates.writing import write


@final
class TemplateBuilder(AbstractHistogramBuilder):
    """Collect histograms, systematics and data of a template fit.

    Histograms are UHI histograms (of hist, boost_histogram or uproot), NumPy arrays of
    the shape of the channel, or sparse matrices that know ``tocoo`` (of scipy), with as
    many entries as the channel has bins. They are copied; nothing given is changed.

    Whatever cannot be right is an error at once. What is only odd, such as variations
    above 100 %, is a sentence in ``spec().report``; more of that says
    `everwillow.models.templates.inputs_report.inspect_inputs`.

    Args:
        systematic_type: How yields respond: by exponents (``"log_normal"``), or by sums
            (``"normal"``).
        sparse: Whether the model keeps responses as a list of those that are not zero.
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
        """Return one line: what was added so far."""
        book = self._book
        processes = {process for process, _ in book.nominal}
        return (
            f"TemplateBuilder({len(book.channels)} channels, {len(processes)} "
            f"processes, {len(book.responses)} systematics)"
        )

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
            name: Name of the parameter; the same name is the same parameter.
            processes: One process or several.
            channel: Where.
            factor: What one error up multiplies the yields by, such as 1.02, for every
                process; one error down is the mirror image, 1 / 1.02 for log-normal
                yields. A tuple ``(up, down)`` says both for every process; a list has
                a factor, or a pair, for each process.
            groups: Groups of its impact, by default one of the name of the systematic;
                those of several calls are joined.
            constrained: Whether a unit Gaussian constrains the parameter.
            symmetrize: What becomes of a pair; see `add_systematic`.
            noi: Whether the parameter is one of interest.
            add_to_data_covariance: Whether to add the effect to the covariance of the
                data instead of making a parameter of it.

        Raises:
            KeyCollisionError: If it was booked before for a process here.
            ConflictError: If the name is another kind of parameter elsewhere.
            ShapeMismatchError: If a list has not one factor for each process.

        Example:
            >>> builder = TemplateBuilder()
            >>> builder.add_channel([], "all")
            >>> builder.add_process(100.0, "w", "all")
            >>> builder.add_process(20.0, "z", "all")
            >>> builder.add_norm_systematic("theory", ["w", "z"], "all", [1.1, 1.2])
            >>> builder.spec().responses.average.round(4)
            array([0.0953, 0.1823])
        """
        kind = Kind(bool(constrained), bool(noi), bool(add_to_data_covariance))
        check_kind(self._book, name, channel, kind, symmetrize)
        names = names_of(processes, f"systematic {name!r}, processes")
        factors = factors_of(factor, names, name)
        bookings, findings = of_factors(
            self._book,
            name,
            channel,
            dict(zip(names, factors, strict=True)),
            kind,
            symmetrize,
        )
        joined = groups_of(groups, name)
        self._book.book(bookings, kind, family=name, groups=joined, findings=findings)

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
        :math:`L_d = -\kappa (D - N)`. One histogram alone is mirrored,
        :math:`L_d = L_u`, so that :math:`D = N^2/U`, or :math:`2N - U`. Where
        the signs of U and N differ the logarithm is :math:`\ln 10^{-3}`, whatever
        :math:`\kappa`; where N = 0 nothing responds.

        A pair that is not its own mirror image becomes, by `symmetrize`:

        - ``"average"``: :math:`(L_u + L_d)/2`;
        - ``"conservative"``: bin by bin that of larger magnitude, :math:`L_d` if equal;
          it jumps where both move a yield to the same side;
        - ``"linear"``: two parameters, ``<name>SymAvg`` with :math:`(L_u + L_d)/2` and
          ``<name>SymDiff`` with :math:`(L_u - L_d)/2`;
        - ``"quadratic"``: the same, ``<name>SymDiff`` times :math:`\sqrt 3`;
        - None: as it is; the parameter at +1 gives U, at -1 gives D.

        A histogram with further axes makes one parameter of each of their bins. It is
        called ``<name>_<bin>``, or ``<name>_<bin>_<bin>`` with two such axes in their
        order: a bin of a category by its label, one of an interval by its index from 0
        (``SymAvg`` and ``SymDiff`` come behind).

        Args:
            hist: The varied yields: a histogram, or a pair ``(up, down)``; for several
                processes a list with one of these for each.
            name: Name of the parameter; the same name is the same parameter.
            processes: One process or several.
            channel: Where.
            kfactor: :math:`\kappa`.
            mirror: Whether a histogram without a partner is mirrored; if not, a pair is
                required.
            symmetrize: See above.
            as_difference: Whether the histograms are differences to the nominal one.
            constrained: Whether a unit Gaussian constrains the parameters.
            syst_axes: The further axes; by default those that the channel has not. For
                an array they are its last ones, and this names them.
            groups: Groups of its impact, by default one of the name of the systematic;
                those of several calls are joined.
            noi: Whether the parameters are of interest.
            add_to_data_covariance: Whether to add the effect, as events, to the
                covariance of the data instead of making parameters of it.

        Raises:
            KeyCollisionError: If it was booked before for a process here.
            ConflictError: If the name is another kind of parameter elsewhere.
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
        kind = Kind(bool(constrained), bool(noi), bool(add_to_data_covariance))
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
        bookings, findings = of_variations(
            self._book,
            name,
            channel,
            dict(zip(names, variations, strict=True)),
            kind,
            symmetrize,
            kfactor,
        )
        joined = groups_of(groups, name)
        self._book.book(bookings, kind, family=name, groups=joined, findings=findings)

    def add_external_likelihood(
        self, gradient: Any = None, hessian: Any = None, *, name: str | None = None
    ) -> None:
        r"""Add a likelihood from elsewhere, :math:`g^T x + \frac12 x^T H x`.

        x are parameters on their physical scale, whichever they are.

        Args:
            gradient: g: a mapping by name, a histogram with categories, or a pair of
                names and numbers.
            hessian: H, symmetric: a mapping by pairs of names or of mappings by name,
                a histogram with two axes of categories, or a pair of names and numbers.
            name: What it is called, by default ``external0``, ``external1``, ...

        Raises:
            ArgumentValueError: If H is not symmetric, or both are missing.
            KeyCollisionError: If there is one of that name.

        Example:
            >>> builder = TemplateBuilder()
            >>> builder.add_external_likelihood({"mu": 0.5}, {("mu", "mu"): 4.0})
        """
        taken = {term.name for term in self._book.external}
        if name is None:
            count = len(taken)
            name = next(
                n for i in range(count + 1) if (n := f"external{i}") not in taken
            )
        check_name(name, "add_external_likelihood")
        if name in taken:
            raise KeyCollisionError(
                f"add_external_likelihood: there is one named {name!r} already."
            )
        self._book.external.append(external_term(gradient, hessian, name))

    def add_beta_variations(
        self, hist: Any, process: str, source_channel: str, dest_channel: str
    ) -> None:
        """Let fluctuations of a simulated sample in fitted bins move masked ones.

        What the masked template has as variances comes on top: give those of the events
        that are in no fitted bin, or fluctuations of the others count twice.

        Args:
            hist: How many nominal events of a masked bin come from a fitted bin; rates
                and systematics of the masked channel act on them. Its axes are
                those of the fitted channel, then those of the masked one; a histogram
                whose axes have these names may have them the other way round. A sparse
                matrix has a row for each fitted bin.
            process: Of which process.
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
        """Add arrays that a model of the parameters of interest needs.

        Args:
            name: Name of the payload.
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
        self._book.auxiliary[name] = arrays_of(name, payload)

    def spec(self) -> TemplateSpec:
        """Return what was added as a specification.

        More may be added afterwards; what was returned does not change.

        Raises:
            ArgumentValueError: If there is too little for a fit; says what.
            ShapeMismatchError: If the covariance of the data is that of other bins.
        """
        return assemble(
            self._book, sparse=self._sparse, stat_in_covariance=self._stat_in_covariance
        )

    def build(self, **options: Any) -> TemplateModel:
        """Return the model.

        Args:
            options: Of `everwillow.models.templates.model.TemplateModel.from_spec`.
        """
        return TemplateModel.from_spec(self.spec(), **options)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the specification, see `everwillow.models.templates.reading.write`.

        Args:
            path: The file.
        """
        write(self.spec(), path)


__all__ = ["TemplateBuilder"]
