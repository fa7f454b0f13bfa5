"""Numbers as text, rounded to the digits of their errors."""

import math
from collections.abc import Iterable
from typing import Any


SMALL, LARGE = 1e-4, 1e6
MOST_DECIMALS = 12
# A p-value below is near the smallest number. Differences of -ln L below mean nothing.
LEAST_PVALUE, LEAST_EDM = 1e-300, 1e-12


def with_error(value: float, error: float, digits: int = 2) -> tuple[str, str]:
    """Round an error to some digits, and the value to the same place.

    Args:
        value: The number.
        error: Its error; NaN or infinite if there is none.
        digits: The number of digits of the error.

    Returns:
        Value and error with the same number of decimals; large and small ones with a
        common power of ten.

    Example:
        >>> with_error(1.549184, 1.400757), with_error(172.4, 33.2)
        (('1.5', '1.4'), ('172', '33'))
        >>> with_error(1.234e-7, 5.6e-9)
        ('1.234e-07', '0.056e-07')
    """
    if not (math.isfinite(error) and error > 0 and math.isfinite(value)):
        return plain(value), ""
    left, right = alike([value, error], error, digits)
    return left, right


def alike(numbers: Iterable[Any], error: float, digits: int = 2) -> list[str]:
    """Round numbers to one place, that of some digits of an error.

    Args:
        numbers: The numbers; one that is not finite is written as it is.
        error: The error; if it is not positive, each number has five digits.
        digits: The number of digits of the error.

    Returns:
        The texts; large and small ones have a common power of ten.

    Example:
        >>> alike([172.4, 0.93, 3e-17, float("nan")], 1.1)
        ['172.4', '0.9', '0.0', 'nan']
        >>> alike([3.2e-7, 1e-9], 5.6e-8), alike([1.0, 2.0], 0.0)
        (['3.20e-07', '0.01e-07'], ['1', '2'])
    """
    numbers = [float(number) for number in numbers]
    known = [abs(number) for number in numbers if math.isfinite(number)]
    if not (math.isfinite(error) and error > 0):
        return [plain(number) for number in numbers]
    largest, unit = max([*known, error]), ""
    if largest < SMALL or largest >= LARGE:
        power = math.floor(math.log10(largest))
        error, unit = error / 10.0**power, f"e{power:+03d}"
        numbers = [number / 10.0**power for number in numbers]
    decimals = min(max(_decimals(error, digits), 0), MOST_DECIMALS)
    return [
        _unsigned(f"{number:.{decimals}f}") + unit
        if math.isfinite(number)
        else plain(number)
        for number in numbers
    ]


def _decimals(error: float, digits: int) -> int:
    """Return the number of decimals for a number of digits of an error."""
    first = math.floor(math.log10(error))
    # 0.0996 becomes 0.10: rounding may add a digit.
    if round(error / 10.0 ** (first - digits + 1)) >= 10**digits:
        first += 1
    return digits - 1 - first


def plain(value: float, digits: int = 5) -> str:
    """Return a number with a number of digits; zero has no sign.

    Example:
        >>> plain(-0.0), plain(3.9672907), plain(float("nan"))
        ('0', '3.9673', 'nan')
    """
    return f"{value + 0.0:.{digits}g}"


def pvalue_text(value: float) -> str:
    """Return a p-value with three digits; one that has underflowed as a bound.

    Example:
        >>> pvalue_text(0.0317), pvalue_text(0.0)
        ('0.0317', '< 1e-300')
    """
    return f"< {LEAST_PVALUE:g}" if value < LEAST_PVALUE else plain(value, 3)


def named_pvalue(value: float) -> str:
    """Return a p-value with its name.

    Example:
        >>> named_pvalue(0.0317), named_pvalue(0.0)
        ('p = 0.0317', 'p < 1e-300')
    """
    text = pvalue_text(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def edm_text(value: float, digits: int = 3) -> str:
    """Return an EDM with its name; one at the level of rounding as a bound.

    Example:
        >>> edm_text(3.21e-9), edm_text(4.7e-26)
        ('EDM 3.21e-09', 'EDM < 1e-12')
    """
    if value < LEAST_EDM:
        return f"EDM < {LEAST_EDM:g}"
    return f"EDM {plain(value, digits)}"


def nll_text(nll: float) -> str:
    """Return -ln L with ten digits, and values at the level of rounding as 0.

    Example:
        >>> nll_text(21.123456789123), nll_text(1.1e-47)
        ('21.12345679', '0')
    """
    return plain(nll if abs(nll) >= LEAST_EDM else 0.0, 10)


def signed(value: float, decimals: int = 2) -> str:
    """Return a number with its sign; an empty text for NaN.

    Example:
        >>> signed(0.2795), signed(-0.001), signed(float("nan"))
        ('+0.28', '0.00', '')
    """
    if math.isnan(value):
        return ""
    return _unsigned(f"{value:+.{decimals}f}")


def noiseless(value: float, scale: float) -> float:
    """Return zero in place of a number that is zero up to rounding; NaN stays.

    Example:
        >>> noiseless(-3e-17, 0.1), noiseless(1e-3, 0.1), noiseless(float("nan"), 1.0)
        (0.0, 0.001, nan)
    """
    return 0.0 if abs(value) <= 1e-9 * scale else value


def signed_digits(value: float, digits: int = 3) -> str:
    """Return a number with its sign and a number of digits; zero has no sign.

    Example:
        >>> signed_digits(0.01234), signed_digits(-0.0)
        ('+0.0123', '0')
    """
    return _unsigned(f"{value:+.{digits}g}")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    Example:
        >>> counted(1, "bin"), counted(2, "bin")
        ('1 bin', '2 bins')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _unsigned(text: str) -> str:
    """Drop the sign of zero."""
    return text.lstrip("+-") if not text.strip("+-0.") else text
