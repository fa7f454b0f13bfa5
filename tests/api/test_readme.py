"""The example of the README does what it says."""

import contextlib
import io
import pathlib
import re


README = (pathlib.Path(__file__).parents[2] / "README.md").read_text("utf-8")
EXAMPLE = re.search(
    r"<!-- combination:begin -->(.*)<!-- combination:end -->", README, re.DOTALL
)


def block(language):
    """Return the one block of code of a language in the example."""
    assert EXAMPLE is not None
    (code,) = re.findall(rf"```{language}\n(.*?)```", EXAMPLE[1], re.DOTALL)
    return code


def test_example_prints_the_output_shown():
    printed = io.StringIO()
    code = compile(block("python"), "README.md", "exec")
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue() == block("text")
