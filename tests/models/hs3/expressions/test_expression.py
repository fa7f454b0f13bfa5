"""The expression language: values, positions of faults, derivatives at branches."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from everwillow._errors import EverwillowError


pytest.importorskip("lark")

from everwillow.models.hs3.expressions import Expression


VALUES = {"x": 0.7, "y": -1.3, "n": 3.0, "a.b::c": 2.0}

# The expression, and the same in Python.
CASES = {
    "1 + 2 * 3": 7.0,
    "(1 + 2) * 3": 9.0,
    "-2^2": -4.0,
    "2^3^2": 512.0,
    "2**3": 8.0,
    "2^-1": 0.5,
    "7 / 2": 3.5,
    "8 / 4 / 2": 1.0,
    "5 - 3 - 1": 1.0,
    "1.234e2 + 1.234E-2 + .5 + 5.": 128.91234,
    "PI * EULER": math.pi * math.e,
    "TRUE + TRUE": 2.0,
    "FALSE": 0.0,
    "!FALSE && !(1 > 2)": 1.0,
    "TRUE || FALSE && FALSE": 1.0,
    "x > 0 && y > 0": 0.0,
    "x >= 0.7": 1.0,
    "x <= 0.7": 1.0,
    "x < 0.7 || x != 0.7": 0.0,
    "0.1 + 0.2 == 0.3": 1.0,
    "0.1 + 0.2 === 0.3": 0.0,
    "0.1 + 0.2 != 0.3": 0.0,
    "0.1 + 0.2 !== 0.3": 1.0,
    "x > 0 ? 1 : y > 0 ? 2 : 3": 1.0,
    "x < 0 ? 1 : y < 0 ? 2 : 3": 2.0,
    "x<0?1:y": -1.3,
    "ifelse(x > 1, 1, n)": 3.0,
    "n ? x : y": 0.7,
    "(x > 0) * n": 3.0,
    "exp(x) + log(x) + sqrt(x)": math.exp(0.7) + math.log(0.7) + math.sqrt(0.7),
    "abs(y) + pow(x, n)": 1.3 + 0.7**3,
    "min(x, y) - max(x, y)": -2.0,
    "sin(x) + cos(x) + tan(x)": math.sin(0.7) + math.cos(0.7) + math.tan(0.7),
    "asin(x) + acos(x) + atan(x)": math.asin(0.7) + math.acos(0.7) + math.atan(0.7),
    "y^2 + y^3": 1.69 - 2.197,
    "y^2.0": 1.69,
    "x^n": 0.343,
    "a.b::c * 2": 4.0,
    "exp + log": 5.0,
    "+x - -x": 1.4,
    "\n x \t+ 1": 1.7,
}


def test_values_are_those_of_python():
    values = VALUES | {"exp": 2.0, "log": 3.0}
    got = {text: float(Expression(text)(values)) for text in CASES}
    assert got == pytest.approx(CASES, rel=1e-14)


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 1, "too early"),
        ("1 +", 4, "too early"),
        ("a b", 3, "unexpected 'b'"),
        ("2x", 2, "unexpected 'x'"),
        ("x < y < z", 7, "unexpected '<'"),
        ("a $ b", 3, "unexpected character '\\$'"),
        ("exp (x)", 5, "no space"),
        ("foo(x)", 1, "no function 'foo'"),
        ("1 + lgo(x)", 5, "Did you mean 'log'"),
        ("min(x)", 1, "2 arguments, not 1"),
        ("sin(x, y)", 1, "1 argument, not 2"),
        ("1 + 1e999", 5, "too large"),
        ("(x", 3, "too early"),
        ("x ? y", 6, "too early"),
        ("__import__('os')", 1, "no function"),
        ("x[0]", 2, "unexpected character"),
        ("x.real.__class__()", 1, "no function"),
    ],
)
def test_a_fault_is_shown_at_its_place(text, position, words):
    with pytest.raises(EverwillowError, match=words) as caught:
        Expression(text)
    assert isinstance(caught.value, ValueError)
    *_, line, caret = str(caught.value).splitlines()
    assert f"character {position}:" in str(caught.value)
    assert line[4:] == text
    assert caret == " " * (position + 3) + "^"


def test_a_fault_in_a_long_text_is_shown_with_what_is_around_it():
    with pytest.raises(ValueError, match="unexpected character") as caught:
        Expression("+".join(["abc"] * 50) + " $ " + "+".join(["abc"] * 50))
    *_, line, caret = str(caught.value).splitlines()
    assert line[len(caret) - 1] == "$"
    assert line.startswith("    ...")
    assert line.endswith("...")


def test_it_is_a_hashable_value_with_its_text():
    one, other = Expression("a + b*a"), Expression("a + b*a")
    assert one == other
    assert hash(one) == hash(other)
    assert one != Expression("a + b")
    assert one.names == ("a", "b")
    assert str(one) == "a + b*a"
    assert eval(repr(one)) == one  # our own text, in a test
    with pytest.raises(AttributeError, match="cannot be changed"):
        one.text = "b"


def test_what_it_needs_and_does_not_get_is_named():
    with pytest.raises(EverwillowError, match="'alpha_one'"):
        Expression("alpha_one")({"alpha_onf": 1.0})
    with pytest.raises(EverwillowError, match="a text is needed"):
        Expression(3.0)


def test_arrays_are_computed_elementwise_and_alike_under_jit_and_vmap():
    formula = Expression("x > 0 ? a * sqrt(x) : x^2")
    x = jnp.linspace(-1.0, 1.0, 5)
    expected = np.where(np.asarray(x) > 0, 2.0 * np.sqrt(np.abs(x)), np.asarray(x) ** 2)

    def value(x):
        return formula({"x": x, "a": 2.0})

    np.testing.assert_allclose(value(x), expected, rtol=1e-15)
    np.testing.assert_allclose(jax.jit(value)(x), expected, rtol=1e-15)
    np.testing.assert_allclose(jax.vmap(value)(x), expected, rtol=1e-15)


@pytest.mark.parametrize("x", [-1.0, 0.0, 4.0])
def test_a_branch_that_is_not_taken_does_not_spoil_derivatives(x):
    formula = Expression("x > 0 ? a * sqrt(x) * log(x) : x^2 + a")

    def value(x, a):
        return formula({"x": x, "a": a})

    def taken(x, a):
        return a * jnp.sqrt(x) * jnp.log(x) if x0 > 0 else x**2 + a

    x0 = x
    for derivative in (
        jax.grad,
        jax.hessian,
        lambda f, n: jax.jacrev(jax.grad(f, n), n),
    ):
        got = jax.tree.leaves(derivative(value, (0, 1))(x, 3.0))
        want = jax.tree.leaves(derivative(taken, (0, 1))(x, 3.0))
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_integer_powers_have_derivatives_at_a_base_of_zero():
    for text in ("x^2", "x**2", "x^2.0", "pow(x, 2)"):
        value = lambda x, text=text: Expression(text)({"x": x})
        assert jax.grad(value)(0.0) == 0.0
        assert jax.grad(jax.grad(value))(0.0) == 2.0
        assert jax.grad(jax.grad(jax.grad(value)))(0.0) == 0.0


def test_logarithms_of_densities_do_not_underflow():
    x = {"x": jnp.array([0.0, 100.0]), "c": -2.0}
    log = Expression("-c * exp(-x^2/2) / exp(x)^2").log(x)
    np.testing.assert_allclose(log, [math.log(2.0), math.log(2.0) - 5200.0])
    assert Expression("c").log(x) == -jnp.inf
    slope = jax.grad(lambda c: Expression("c").log({"c": c}))(-2.0)
    assert slope == 0.0


def test_long_sums_and_chains_of_cases_are_not_deep():
    total = Expression(" + ".join(["x"] * 2000))
    assert total({"x": 0.5}) == 1000.0
    steps = Expression("".join(f"x < {i} ? {i} : " for i in range(300)) + "0")
    assert steps({"x": 123.5}) == 124.0
    assert jax.grad(lambda x: steps({"x": x}))(123.5) == 0.0


@pytest.mark.parametrize(
    "text",
    ["-" * 5000 + "x", "x^" * 5000 + "x", "sin(" * 5000 + "x" + ")" * 5000],
)
def test_what_is_too_deep_is_refused(text):
    with pytest.raises(ValueError, match="levels deep"):
        Expression(text)


def test_brackets_cost_no_depth():
    assert Expression("(" * 2000 + "x" + ")" * 2000)({"x": 1.0}) == 1.0
