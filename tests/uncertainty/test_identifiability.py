"""Parameters that the data cannot tell apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow.parameters import MultivariateNormal, Normal
from everwillow.uncertainty import degeneracies


X = np.linspace(-1.0, 1.0, 7)
# a and b act alike; c is opposite to them up to a little; line and slope are free.
EFFECTS = {
    "a": 2.0 + 0 * X,
    "b": 1.0 + 0 * X,
    "c": -1.0 + 0.01 * X,
    "line": X,
    "slope": X + 0.001 * X**2,
    "weak": 1e-6 * X**2,
}
WIDTHS = {"a": 0.5, "b": 1.0, "c": 1.0, "weak": 2.0}
KEYS = tuple(EFFECTS)


def nll(params, data):
    total = sum(params[key] * effect for key, effect in EFFECTS.items())
    return 0.5 * jnp.sum((data - total) ** 2)


def expected(params):
    return sum(params[key] * effect for key, effect in EFFECTS.items())


CONSTRAINTS = {key: Normal(0.0, width) for key, width in WIDTHS.items()}
MODEL = ew.Model(
    nll, dict.fromkeys(KEYS, 0.0), X, constraints=CONSTRAINTS, expected=expected
)
J = np.stack([EFFECTS[key] for key in KEYS], 1)
PRIOR = np.diag([1 / WIDTHS[key] ** 2 if key in WIDTHS else 0 for key in KEYS])
HESSIAN = J.T @ J + PRIOR


@pytest.fixture(scope="module")
def found():
    return degeneracies(MODEL, MODEL.state, curvature=1e-3)


def names(found, pairs):
    return [tuple(found.labels[i] for i in pair) for pair in pairs]


def test_units_are_widths_before_the_fit(found):
    own = 1 / np.sqrt(np.diag(HESSIAN))
    wanted = [WIDTHS.get(key, own[i]) for i, key in enumerate(KEYS)]
    np.testing.assert_allclose(found.widths, wanted, rtol=1e-12)
    assert found.labels == KEYS


def test_flat_directions(found):
    scaled = found.widths[:, None] * HESSIAN * found.widths
    values, vectors = np.linalg.eigh(scaled)
    assert (values < 1e-3).sum() == 1
    np.testing.assert_allclose(found.flat, values[:1], rtol=1e-6)
    np.testing.assert_allclose(np.abs(found.directions[0] @ vectors[:, 0]), 1.0)
    (members,) = found.members
    assert set(members) == {"line", "slope"}
    assert next(iter(members.values())) > 0


def test_pairs_that_are_correlated(found):
    covariance = np.linalg.inv(HESSIAN)
    unit = np.sqrt(np.diag(covariance))
    correlation = covariance / unit[:, None] / unit
    wanted = {
        (KEYS[i], KEYS[j]): correlation[i, j]
        for i in range(6)
        for j in range(i + 1, 6)
        if abs(correlation[i, j]) >= 0.95
    }
    got = dict(zip(names(found, found.pairs), found.correlations, strict=True))
    assert set(got) == set(wanted) == {("line", "slope")}
    np.testing.assert_allclose(got["line", "slope"], wanted["line", "slope"], rtol=1e-6)


def test_pairs_that_are_alike_whatever_their_constraints(found):
    got = dict(zip(names(found, found.alike), found.likeness, strict=True))
    assert set(got) == {("a", "b"), ("a", "c"), ("b", "c"), ("line", "slope")}
    np.testing.assert_allclose(got["a", "b"], 1.0, atol=1e-12)
    cosine = J[:, 0] @ J[:, 2] / np.linalg.norm(J[:, 0]) / np.linalg.norm(J[:, 2])
    np.testing.assert_allclose(got["a", "c"], cosine, rtol=1e-9)
    assert got["a", "c"] < 0
    assert list(np.abs(found.likeness)) == sorted(np.abs(found.likeness), reverse=True)


def test_it_prints_what_it_found(found):
    text = repr(found)
    for words in ("nearly flat direction", "correlation", "likeness", "slope"):
        assert words in text


@pytest.mark.slow
def test_after_a_fit_it_takes_its_hessian(found):
    result = ew.fit(MODEL, fixed={"slope": 0.0})
    after = degeneracies(MODEL, result)
    assert after.labels == ("a", "b", "c", "line", "weak")
    assert after.flat.size == 0
    assert ("a", "b") in names(after, after.alike)
    # A function with the constraints of the model is the same.
    start = MODEL.state
    plain = degeneracies(nll, start, X, constraints=CONSTRAINTS, fixed={"slope": 0.0})
    assert names(plain, plain.alike) == names(after, after.alike)


def test_joint_constraints_are_taken_off():
    joint = np.array([[0.25, 0.2], [0.2, 1.0]])
    constraints = {"ab": MultivariateNormal(("a", "b"), [0.0, 0.0], joint)}

    def two(params, data):
        away = params["a"] * jnp.array([1.0, 0.0]) + params["b"] * jnp.array([0.0, 1.0])
        return 0.5 * jnp.sum((data - away) ** 2)

    start = {"a": 0.0, "b": 0.0}
    model = ew.Model(two, start, np.zeros(2), constraints=constraints)
    out = degeneracies(model, model.state, likeness=1e-6, correlation=1e-6)
    assert out.alike.size == 0
    covariance = np.linalg.inv(np.eye(2) + np.linalg.inv(joint))
    wanted = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    np.testing.assert_allclose(out.correlations, [wanted], rtol=1e-9)


def test_it_is_for_the_host():
    with pytest.raises(ValueError, match="outside"):
        jax.jit(lambda s: degeneracies(MODEL, s).flat)(MODEL.state)
