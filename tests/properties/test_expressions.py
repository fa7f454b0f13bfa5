"""Any text is an expression or a clear error, and what is parsed can be computed."""

import jax.numpy as jnp
import pytest
from hypothesis import given, settings, strategies as st

from everwillow._errors import EverwillowError


pytest.importorskip("lark")

from everwillow.models.hs3.expressions import Expression


def _parsed(text: str) -> Expression | EverwillowError:
    try:
        return Expression(text)
    except EverwillowError as error:
        return error


_NAMES = st.sampled_from(["x", "alpha_1", "m.x", "CMS::s", "exp", "PI", "TRUE"])
_NUMBERS = st.sampled_from(["0", "1", "2.5", "1e3", ".5", "7.", "1.2E-3"])


def _extended(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = [
        "+",
        "-",
        "*",
        "/",
        "^",
        "**",
        "==",
        "===",
        "!=",
        "!==",
        "<",
        "<=",
        ">",
        ">=",
        "&&",
        "||",
    ]
    one = ["exp", "log", "sqrt", "abs", "sin", "cos", "tan", "asin", "acos", "atan"]
    return st.one_of(
        st.tuples(inner, st.sampled_from(operators), inner).map(
            lambda t: f"({t[0]}) {t[1]} ({t[2]})"
        ),
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map("".join),
        st.tuples(st.sampled_from(["-", "!", "+"]), inner).map(lambda t: t[0] + t[1]),
        st.tuples(st.sampled_from(one), inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(st.sampled_from(["min", "max", "pow"]), inner, inner).map(
            lambda t: f"{t[0]}({t[1]}, {t[2]})"
        ),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]}) ? {t[1]} : {t[2]}"),
    )


_FORMULAS = st.recursive(st.one_of(_NAMES, _NUMBERS), _extended, max_leaves=12)
_VALUES = {"x": 0.5, "alpha_1": -1.0, "m.x": 2.0, "CMS::s": 0.0, "exp": 1.5}


@pytest.mark.slow
@settings(max_examples=200)
@given(_FORMULAS)
def test_what_the_grammar_makes_is_parsed_and_computed(text):
    formula = _parsed(text)
    if not isinstance(formula, Expression):
        # Only a comparison of a comparison, which has no common convention.
        assert "unexpected" in str(formula)
        return
    value = formula({name: _VALUES[name] for name in formula.names})
    assert value.shape == ()
    assert value.dtype == jnp.float64
    assert Expression(str(formula)) == formula


@settings(max_examples=500)
@given(
    st.text(alphabet="()+-*/^!&|=<>?:,.0123456789eExXpPI_ \n$@'\"[]{}\\é²", max_size=60)
)
def test_any_text_is_an_expression_or_an_error_of_ours(text):
    assert isinstance(_parsed(text), Expression | ValueError)


@settings(max_examples=300)
@given(_FORMULAS, st.data())
def test_a_changed_formula_is_an_expression_or_an_error_of_ours(text, data):
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 5)))
    middle = data.draw(st.text(max_size=5))
    assert isinstance(
        _parsed(text[:start] + middle + text[stop:]), Expression | ValueError
    )


@pytest.mark.slow
@settings(max_examples=30)
@given(
    st.sampled_from(["(", "-", "!", "a^", "a?", "sin(", "a?b:", "a+", "1e"]), st.data()
)
def test_repetition_of_any_length_is_an_expression_or_an_error_of_ours(part, data):
    count = data.draw(st.integers(1, 20_000))
    assert isinstance(_parsed(part * count + "a"), Expression | ValueError)
