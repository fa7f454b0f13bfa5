"""Moments of a response of two Gaussians."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Moments(NamedTuple):
    """The first two moments of a response, in units of the mean of its first Gaussian.

    Attributes:
        mean: The mean.
        width: The standard deviation, not divided by the mean.
    """

    mean: Float[np.ndarray, " n"]
    width: Float[np.ndarray, " n"]


def moments(
    frac: Float[np.ndarray, " n"],
    reso: Float[np.ndarray, " n"],
    mu: Float[np.ndarray, " n"],
    reso2: Float[np.ndarray, " n"],
) -> Moments:
    r"""Return mean and standard deviation of a response of two Gaussians.

    The mean is :math:`f + (1 - f) \mu`, the variance
    :math:`f s_1^2 + (1 - f) \mu^2 s_2^2 + f (1 - f) (\mu - 1)^2`. Where all of the
    response is in the first Gaussian, the second need not have values.

    Args:
        frac: The fraction f of the first Gaussian.
        reso: Its relative width.
        mu: The mean of the second, relative to that of the first.
        reso2: The relative width of the second.

    Example:
        >>> moments(np.array([0.5]), np.array([0.0]), np.array([0.8]), np.array([0.0]))
        Moments(mean=array([0.9]), width=array([0.1]))
    """
    mu, reso2 = np.where(frac >= 1, 1.0, mu), np.where(frac >= 1, 0.0, reso2)
    variance = frac * reso**2 + (1 - frac) * (mu * reso2) ** 2
    variance = variance + frac * (1 - frac) * (mu - 1) ** 2
    return Moments(frac + (1 - frac) * mu, np.sqrt(variance))
