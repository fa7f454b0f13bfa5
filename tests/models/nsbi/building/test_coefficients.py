"""Lagrange polynomials are 1 at their own node, 0 at others, and add up to 1."""

import numpy as np
import pytest

from everwillow.models.nsbi.building._coefficients import lagrange_coefficients


@pytest.mark.parametrize(
    "nodes", [(2.0,), (0.0, 1.0), (-1.0, 0.5, 3.0), (0.0, 1.0, 5.0, -2.0, 10.0)]
)
def test_polynomials_at_their_nodes(nodes):
    found = lagrange_coefficients(dict(zip("abcde", nodes, strict=False)))
    values = np.array([np.polyval(one, nodes) for one in found.values()])
    np.testing.assert_allclose(values, np.eye(len(nodes)), atol=1e-11)


def test_polynomials_add_up_to_one():
    found = lagrange_coefficients({"a": -1.0, "b": 0.5, "c": 3.0})
    total = np.sum(list(found.values()), axis=0)
    np.testing.assert_allclose(total, [0.0, 0.0, 1.0], atol=1e-15)


def test_highest_power_is_first():
    # kappa * (kappa - 1) / 2 at the node 2
    found = lagrange_coefficients({"a": 0.0, "b": 1.0, "c": 2.0})
    assert found["c"] == [0.5, -0.5, 0.0]
