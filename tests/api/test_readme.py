"""The examples of the README do what they say."""

import contextlib
import io
import pathlib
import re

import pytest


ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
# In their order: later ones go on in the session of those before.
EXAMPLES = ("combination", "limit", "workspace")


def block(example, language):
    """Return the one block of code of a language in an example."""
    found = re.search(
        rf"<!-- {example}:begin -->(.*)<!-- {example}:end -->", README, re.DOTALL
    )
    assert found is not None
    (code,) = re.findall(rf"```{language}\n(.*?)```", found[1], re.DOTALL)
    return code


@pytest.fixture(scope="module")
def printed():
    """What each example prints."""
    session, output = {}, {}
    for example in EXAMPLES:
        code = compile(block(example, "python"), "README.md", "exec")
        lines = io.StringIO()
        with contextlib.redirect_stdout(lines), contextlib.chdir(ROOT):
            exec(code, session)
        output[example] = lines.getvalue()
    return output


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES)
def test_example_prints_the_output_shown(printed, example):
    assert printed[example] == block(example, "text")


def test_every_example_is_tested():
    assert tuple(re.findall(r"<!-- (\w+):begin -->", README)) == EXAMPLES
