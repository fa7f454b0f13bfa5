"""Functions of a document and what they need."""

import jax
import jax.numpy as jnp
import pytest

from everwillow._errors import EverwillowError, SpecificationError, UnknownKeyError
from everwillow.models.hs3.functions import FUNCTIONS, function_from
from everwillow.models.hs3.functions.graph import Graph, Scope


FUNCTIONS_OF_A_DOCUMENT = {
    "yield": {"type": "product", "factors": ["mu", "n.value", 2]},
    "n": {"type": "sum", "summands": ["a", "b", "0.5"]},
    "line": {"type": "polynomial", "x": "x", "coefficients": [1.0, "a", 3]},
}
VALUES = {"mu": 1.5, "a": 2.0, "b": -1.0, "x": jnp.array([0.0, 2.0])}


def test_values():
    scope = Scope(VALUES, graph=Graph(FUNCTIONS_OF_A_DOCUMENT))
    assert scope["n"] == 1.5
    assert scope["yield"] == 4.5
    assert scope["line"].tolist() == [1.0, 17.0]
    assert scope[7.0] == 7.0


def test_a_generic_function_needs_the_names_of_its_formula():
    pytest.importorskip("lark")
    spec = {"type": "generic_function", "expression": "n * exp(-x)"}
    graph = Graph({**FUNCTIONS_OF_A_DOCUMENT, "g": spec})
    assert graph.free(["g"]) == ("a", "b", "x")
    assert graph.functions["g"].log(Scope(VALUES, graph=graph)).tolist() == (
        pytest.approx([0.4054651081081644, -1.5945348918918356])
    )


def test_free_names_are_found_through_functions_in_order():
    graph = Graph(FUNCTIONS_OF_A_DOCUMENT)
    assert graph.free(["yield"]) == ("mu", "a", "b")
    assert graph.free(["other", "n", "mu"]) == ("other", "a", "b", "mu")


def test_a_function_is_a_function_of_its_free_names():
    graph = Graph(FUNCTIONS_OF_A_DOCUMENT)

    def bound(*values):
        names = dict(zip(("mu", "a", "b"), values, strict=True))
        return Scope(names, graph=graph)["yield"]

    assert graph.free(["yield"]) == ("mu", "a", "b")
    assert bound(1.5, 2.0, -1.0) == 4.5
    assert jax.grad(bound, 1)(1.5, 2.0, -1.0) == 3.0
    assert hash(graph) == hash(Graph(FUNCTIONS_OF_A_DOCUMENT))


def test_new_values_reach_functions_that_depend_on_them():
    scope = Scope(VALUES, graph=Graph(FUNCTIONS_OF_A_DOCUMENT))
    assert scope["yield"] == 4.5
    assert scope.at({"a": 3.0})["yield"] == 7.5
    assert scope.at({"x": 1.0})["yield"] == 4.5
    assert scope["yield"] == 4.5


def test_functions_of_functions_may_be_many():
    chain = {"f0": {"type": "sum", "summands": ["a", 1]}}
    for i in range(1, 2000):
        chain[f"f{i}"] = {"type": "sum", "summands": [f"f{i - 1}", 1]}
    graph = Graph(dict(reversed(chain.items())))
    assert graph.free(["f1999"]) == ("a",)
    assert Scope({"a": 1.0}, graph=graph)["f50"] == 52.0


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "its type must be a text"),
        ({"type": "summ"}, "Did you mean 'sum'"),
        ({"type": "derivative"}, "'derivative' are not supported"),
        ({"type": "gauss_model_function"}, "resolutionModel of a decay_dist"),
        ({"type": "sum"}, "'summands' is missing"),
        ({"type": "sum", "sumands": [1]}, "Did you mean 'sumands'"),
        ({"type": "sum", "summands": []}, "must not be empty"),
        ({"type": "sum", "summands": "a"}, "must be a list"),
        ({"type": "sum", "summands": [None]}, "summands/0' must be a name or a number"),
        ({"type": "sum", "summands": [True]}, "must be a name or a number"),
        ({"type": "sum", "summands": [float("inf")]}, "must be a finite number"),
        ({"type": "sum", "summands": [10**400]}, "must be a finite number"),
        ({"type": "generic_function", "expression": 3}, "must be a text"),
        ([], "an object is needed"),
    ],
)
def test_a_definition_that_cannot_be_used_is_named(spec, words):
    with pytest.raises(SpecificationError, match=words) as caught:
        function_from("f", spec)
    assert "functions/f" in str(caught.value)


def test_an_expression_that_cannot_be_read_is_named_with_its_place():
    pytest.importorskip("lark")
    spec = {"type": "generic_function", "expression": "1 +"}
    with pytest.raises(
        SpecificationError, match=r"functions/f/expression: .* character 4"
    ):
        function_from("f", spec)


def test_keys_without_meaning_are_said():
    graph = Graph({"f": {"type": "sum", "summands": [1], "colour": "red"}})
    assert graph.notes == (
        "functions/f: the key 'colour' has no meaning and is ignored.",
    )


def test_a_circle_is_named():
    circle = {
        "a": {"type": "sum", "summands": ["b"]},
        "b": {"type": "product", "factors": ["c", "x"]},
        "c": {"type": "sum", "summands": ["a"]},
    }
    with pytest.raises(SpecificationError, match="a -> b -> c -> a"):
        Graph(circle)


def test_an_unknown_name_is_an_error_with_the_nearest_one():
    spec = {"f": {"type": "sum", "summands": ["alpha_lumi"]}}
    with pytest.raises(UnknownKeyError, match=r"functions/f.*'alpha_lumy'"):
        Graph(spec, known=["alpha_lumy", "mu"])
    with pytest.raises(EverwillowError, match="values"):
        Scope({"mu": 1.0}, graph=Graph(spec))["f"]


def test_the_table_has_the_functions_of_the_standard():
    standard = {"product", "sum", "polynomial", "generic_function"}
    of_root = {"histogram", "step", "binvolume", "inverse_binvolume", "binwidth"}
    of_root |= {"interpolation", "interpolation0d", "weighted_sum", "generic"}
    assert set(FUNCTIONS) == standard | of_root
