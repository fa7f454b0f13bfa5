"""The examples of the README do what they say."""

import code
import codeop
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


def paste(text, prompt):
    """Feed a prompt of Python line by line; it compiles what a blank line ends."""
    wrong = io.StringIO()
    with contextlib.redirect_stderr(wrong), contextlib.chdir(ROOT):
        unfinished = [prompt.push(line) for line in [*text.splitlines(), ""]]
    assert not unfinished[-1]
    assert wrong.getvalue() == ""


@pytest.fixture(scope="module")
def printed():
    """What each example prints when it is pasted into a plain prompt."""
    prompt, output = code.InteractiveConsole(), {}
    for example in EXAMPLES:
        lines = io.StringIO()
        with contextlib.redirect_stdout(lines):
            paste(block(example, "python"), prompt)
        output[example] = lines.getvalue()
    return output


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES)
def test_example_prints_the_output_shown(printed, example):
    assert printed[example] == block(example, "text")


@pytest.mark.parametrize(
    "page", ["README.md", "docs/index.md", "docs/tutorials/getting-started.md"]
)
def test_code_can_be_pasted_into_a_plain_prompt(page):
    text = (ROOT / page).read_text("utf-8")
    cells = re.findall(
        r"^```(?:\{code-cell\}|python)\n(?::.*\n\n?)*(.*?)^```", text, re.DOTALL | re.M
    )
    compiled = codeop.CommandCompiler()
    for cell in cells:
        statement = []
        for line in [*cell.replace("%matplotlib inline\n", "").splitlines(), ""]:
            statement.append(line)
            if compiled("\n".join(statement), page, "single") is not None:
                statement = []
        assert not statement


def test_every_example_is_tested():
    assert tuple(re.findall(r"<!-- (\w+):begin -->", README)) == EXAMPLES
