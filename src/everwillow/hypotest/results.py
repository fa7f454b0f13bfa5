"""The records that hypothesis tests return."""

import dataclasses
import numbers
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Float

from everwillow._bands import BAND_NAMES, BAND_TEXTS
from everwillow._errors import RESULTS, unknown_key
from everwillow._html import Table, html_of
from everwillow._keywords import renamed_attribute
from everwillow._numerics import is_traced
from everwillow._rounding import plain
from everwillow.toys.fits import describe


class LIMIT(eqx.Enumeration):
    """How the search for a limit ended."""

    found = "The limit is where CLs falls to its level."
    beyond_bound = "The limit is beyond the upper bound of the parameter."
    fit_failed = "Fits that the limit needs failed."


class TestStatResult(eqx.Module):
    """The value of a test statistic, and its fits.

    Attributes:
        value: The test statistic, with its factor 2; NaN if a fit failed.
        test: The tested value of the POI.
        q_asimov: The test statistic of the Asimov data, None if it was not computed.
        extras: Further results of the test statistic. Those of `CowanTestStatistic` are
            the fits ``fit_free`` and ``fit_constrained``; ``fit_zero``, with the POI
            held at 0, or None; ``mu_hat``; and with Asimov data also
            ``asimov_fit_free``, ``asimov_fit_constrained`` and ``mu_asimov``.
    """

    __test__ = False

    value: Any
    test: Any = None
    q_asimov: Any = None
    extras: dict[str, Any] = eqx.field(default_factory=dict)

    def __repr__(self) -> str:
        """Return the numbers, and the names of the extras."""
        known = isinstance(self.extras, Mapping) and self.extras
        more = (f"extras: {', '.join(self.extras)}",) if known else ()
        return _numbers_of(self, "value", "test", "q_asimov", *more)

    def _repr_html_(self) -> str:
        """Return a table of the numbers for notebooks."""
        statistics = {"tested value": self.test, "test statistic": self.value}
        return _table_of(self, statistics | {"of the Asimov data": self.q_asimov}, {})


class AbstractPvalues(eqx.Module):
    """A record with the p-values of a test, which ``pnull`` and ``palt`` are, too."""

    _old_fields: ClassVar[Mapping[str, str]] = {
        "pnull": "null_pvalue",
        "palt": "alt_pvalue",
    }

    null_pvalue: eqx.AbstractVar[Any]
    alt_pvalue: eqx.AbstractVar[Any]

    @property
    def pnull(self) -> Any:
        """The same as `null_pvalue`."""
        return self.null_pvalue

    @property
    def palt(self) -> Any:
        """The same as `alt_pvalue`."""
        return self.alt_pvalue


class HypoTestResult(AbstractPvalues):
    """The outcome of a hypothesis test.

    Attributes:
        q_obs: The test statistic of the data.
        null_pvalue: Probability of data with at least this test statistic under the
            tested value (CLs+b of a limit).
        alt_pvalue: This probability under the alternative hypothesis (CLb of a limit);
            None if the alternative is not known.
        test_stat_result: The result of the test statistic.
    """

    q_obs: Any
    null_pvalue: Any
    alt_pvalue: Any
    test_stat_result: TestStatResult

    @property
    def cl_s(self) -> Any:
        """The ratio of the p-values, CLs; None if the alternative is not known.

        It is NaN if both p-values underflow. The method `cls` of calculators computes
        it from logarithms.
        """
        from everwillow.hypotest.formulas import cl_s  # noqa: PLC0415

        if self.alt_pvalue is None:
            return None
        return cl_s(self.null_pvalue, self.alt_pvalue)

    def __repr__(self) -> str:
        """Return the numbers, without the fits."""
        return _numbers_of(self, "q_obs", "null_pvalue", "alt_pvalue")

    def _repr_html_(self) -> str:
        """Return a table of the numbers for notebooks."""
        statistics = {
            "tested value": getattr(self.test_stat_result, "test", None),
            "test statistic": self.q_obs,
        }
        pvalues = {
            "p-value of the tested value": self.null_pvalue,
            "p-value of the alternative": self.alt_pvalue,
        }
        return _table_of(self, statistics, pvalues)


def _numbers_of(record: Any, *names: str) -> str:
    """Return a short repr with some fields, and with texts that are no field."""
    parts = [
        f"{name}={_number(getattr(record, name))}" if hasattr(record, name) else name
        for name in names
    ]
    return f"{type(record).__name__}({', '.join(parts)})"


def _number(value: Any) -> str:
    """Return a number with 6 digits, or in short what is in its place."""
    if value is None:
        return "None"
    if is_traced(value):
        return "traced"
    shape = np.shape(value) if hasattr(value, "dtype") else ()
    if shape:
        return f"array of shape {shape}"
    try:
        return f"{float(value):.6g}"
    except (TypeError, ValueError):
        # What takes the place of numbers in trees that JAX makes.
        return type(value).__name__


def _table_of(
    record: Any, statistics: Mapping[str, Any], others: Mapping[str, Any]
) -> str:
    """Return a table of numbers as HTML, without those that are None.

    Statistics are differences of numbers of order one, so they have nine decimals.
    """
    known = {
        name: value
        for name, value in {**statistics, **others}.items()
        if value is not None
    }
    if is_traced(known) or any(np.ndim(value) for value in known.values()):
        return html_of([repr(record)])
    rows = [
        (name, plain(round(float(value), 9) if name in statistics else float(value)))
        for name, value in known.items()
    ]
    return html_of([Table([("quantity", "value"), *rows])])


class _AbstractNamedValues(eqx.Module):
    """A record whose fields can be iterated over, and looked up by name."""

    _kind: ClassVar[str]

    def keys(self) -> tuple[str, ...]:
        """Return the names."""
        return tuple(field.name for field in dataclasses.fields(self))

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Iterate over pairs of name and value."""
        return ((name, getattr(self, name)) for name in self.keys())

    def __getitem__(self, name: Any) -> Any:
        """Return one value by its name."""
        if name not in self.keys():
            where = type(self).__name__
            raise unknown_key(name, self.keys(), where=where, kind=self._kind)
        return getattr(self, name)


class BandValues(_AbstractNamedValues):
    """Expected values at the median and at one and two standard deviations.

    The values are those at the quantiles 0.023, 0.159, 0.5, 0.841 and 0.977 of data of
    the alternative hypothesis, ordered by the p-value: `minus_2sigma` has the smallest.
    For limits that is also the smallest limit, from data that fluctuated down.

    Iterating gives pairs ``(name, value)``; ``bands["median"]`` is one value, and so is
    ``bands[2]``, by its position.
    """

    _kind: ClassVar[str] = "band"

    minus_2sigma: Any
    minus_1sigma: Any
    median: Any
    plus_1sigma: Any
    plus_2sigma: Any

    def __getitem__(self, name: Any) -> Any:
        """Return one value by its name, or by its position from 0 to 4."""
        if isinstance(name, numbers.Integral) and 0 <= int(name) < len(BAND_NAMES):
            name = BAND_NAMES[int(name)]
        return super().__getitem__(name)

    def _repr_html_(self) -> str:
        """Return a table of the values for notebooks."""
        texts = (f"expected {text}" for text in BAND_TEXTS)
        return _table_of(self, {}, dict(zip(texts, dict(self).values(), strict=True)))

    def __len__(self) -> int:
        """Return 5."""
        return len(BAND_NAMES)


# The distance of each band from the median in standard deviations.
N_SIGMA = (-2.0, -1.0, 0.0, 1.0, 2.0)


def observed_and_expected(
    head: str, observed: Any, expected: BandValues, *, digits: int
) -> Table:
    """Return a table of an observed value and expected ones, below a headline."""
    rows = [(head, ""), ("observed", plain(float(observed), digits))]
    rows += [
        (f"expected {text}", plain(float(value), digits))
        for text, (_, value) in zip(BAND_TEXTS, expected, strict=True)
    ]
    return Table(rows)


class ExpectedBands(_AbstractNamedValues):
    """Expected p-values of a test, each with its bands.

    Iterating gives pairs ``(name, BandValues)``; ``expected["cl_s"]`` is one of them.

    Attributes:
        null_pvalue: The p-values of the tested value.
        alt_pvalue: The p-values of the alternative hypothesis.
        cl_s: The ratio of the two, CLs.
        null_sig: The p-values of the tested value as significances, one-sided.
        alt_sig: Those of the alternative hypothesis as significances.
    """

    _kind: ClassVar[str] = "result"

    # The names in files of earlier versions, which have no significances.
    _old_fields: ClassVar[Mapping[str, str]] = {
        "pnull": "null_pvalue",
        "palt": "alt_pvalue",
        "cls": "cl_s",
    }

    null_pvalue: BandValues
    alt_pvalue: BandValues
    cl_s: BandValues
    null_sig: BandValues | None = None
    alt_sig: BandValues | None = None

    pnull: ClassVar[Any] = renamed_attribute("null_pvalue")
    palt: ClassVar[Any] = renamed_attribute("alt_pvalue")
    cls: ClassVar[Any] = renamed_attribute("cl_s")


class ToyResult(eqx.Module):
    """The test statistic of pseudo-experiments.

    The test statistic of toys whose fits failed is NaN, and their status has the
    reason. `failures` is their number.

    Attributes:
        q_null: The test statistic of toys of the tested value, shape ``(toys,)``.
        q_alt: The test statistic of toys of the alternative hypothesis; None if there
            were none.
        status_null: The status of the first failed fit of each toy of the tested value,
            or success, as codes of `RESULTS`; None if the test statistic makes no fits.
        status_alt: This status for toys of the alternative hypothesis.
    """

    q_null: Float[Any, " toys"]
    q_alt: Float[Any, " toys"] | None = None
    status_null: RESULTS | None = None
    status_alt: RESULTS | None = None

    @property
    def failures(self) -> dict[str, int]:
        """The number of toys without a test statistic, by hypothesis."""
        counts = {"null": int(np.sum(np.isnan(self.q_null)))}
        if self.q_alt is not None:
            counts["alt"] = int(np.sum(np.isnan(self.q_alt)))
        return counts

    def __repr__(self) -> str:
        """Return the numbers of toys and of failures."""
        if is_traced(self.q_null, self.q_alt):
            return "ToyResult(traced)"
        parts = [f"null: {_sentence(self.q_null, self.status_null)}"]
        if self.q_alt is not None:
            parts.append(f"alt: {_sentence(self.q_alt, self.status_alt)}")
        return f"ToyResult({' '.join(parts)})"


def _sentence(q: Any, status: RESULTS | None) -> str:
    good = ~np.isnan(q)
    if status is None:
        return f"{np.sum(~good)} of {len(good)} toys failed."
    return describe(good, status, np.arange(len(good)))
