"""Numbers that carry their first and second derivatives, for exact answers in loops."""

import math

import numpy as np


class Jet:
    """A number with its gradient and Hessian in a few variables.

    Comparisons look at the number only, so that a function in pieces is differentiated
    on the piece where it is.
    """

    # Keeps NumPy from taking a Jet for an array element by element.
    __array_ufunc__ = None

    def __init__(self, value, gradient, hessian):
        self.value, self.gradient, self.hessian = value, gradient, hessian

    def compose(self, value, first, second):
        """Return f(self), with f and two derivatives of it given."""
        outer = np.outer(self.gradient, self.gradient)
        return Jet(value, first * self.gradient, first * self.hessian + second * outer)

    def like(self, other):
        if isinstance(other, Jet):
            return other
        zero = np.zeros_like(self.gradient)
        return Jet(float(other), zero, np.zeros_like(self.hessian))

    def __add__(self, other):
        other = self.like(other)
        return Jet(
            self.value + other.value,
            self.gradient + other.gradient,
            self.hessian + other.hessian,
        )

    def __mul__(self, other):
        other = self.like(other)
        cross = np.outer(self.gradient, other.gradient)
        return Jet(
            self.value * other.value,
            self.value * other.gradient + other.value * self.gradient,
            self.value * other.hessian + other.value * self.hessian + cross + cross.T,
        )

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -self.like(other)

    def __rsub__(self, other):
        return -self + other

    def __pow__(self, power):
        n, x = power, self.value
        return self.compose(
            x**n,
            n * x ** (n - 1) if n else 0.0,
            n * (n - 1) * x ** (n - 2) if n > 1 else 0.0,
        )

    def __lt__(self, other):
        return self.value < float_of(other)

    def __gt__(self, other):
        return self.value > float_of(other)

    def __abs__(self):
        return self if self.value >= 0 else -self


def float_of(x):
    return x.value if isinstance(x, Jet) else float(x)


def exp(x):
    if not isinstance(x, Jet):
        return math.exp(x)
    y = math.exp(x.value)
    return x.compose(y, y, y)


def log(x):
    if not isinstance(x, Jet):
        return math.log(x)
    return x.compose(math.log(x.value), 1 / x.value, -1 / x.value**2)


def variables(vector):
    """Return one Jet for each element of a vector, its own variable."""
    rows = np.eye(len(vector))
    return [
        Jet(float(v), row, np.zeros((len(vector), len(vector))))
        for v, row in zip(vector, rows, strict=True)
    ]
