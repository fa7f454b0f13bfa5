"""Polynomials of a coupling for which samples are nodes."""

from collections.abc import Mapping

import numpy as np


def lagrange_coefficients(nodes: Mapping[str, float]) -> dict[str, list[float]]:
    r"""Return the coefficients of the Lagrange polynomials, highest power first.

    The sample at the node $x_i$ is multiplied by
    $L_i(\kappa) = \prod_{j \ne i} (\kappa - x_j) / (x_i - x_j)$.

    Args:
        nodes: The nodes by the names of the samples, all different.

    Example:
        >>> lagrange_coefficients({"a": 0.0, "b": 2.0})
        {'a': [-0.5, 1.0], 'b': [0.5, 0.0]}
    """
    found = {}
    for name, node in nodes.items():
        others = np.array([x for other, x in nodes.items() if other != name])
        # Divided root by root: products of differences may overflow.
        coefficients = np.ones(1)
        for other in others:
            coefficients = np.convolve(coefficients, [1.0, -other]) / (node - other)
        found[name] = [float(one) + 0.0 for one in coefficients]
    return found
