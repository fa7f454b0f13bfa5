"""Tokens of a text with their positions, which error messages name."""

import itertools
import re
from dataclasses import dataclass

from everwillow._errors import ArgumentValueError


_BARE = re.compile(r"[^\s,:;=()\"]+")


@dataclass(frozen=True, slots=True)
class Token:
    """A part of a text, with its position.

    Attributes:
        kind: The kind of the whole text for error messages, such as ``"mapping"``.
        whole: The whole text.
        start: The position of the token in the whole text.
        text: The text of the token.
    """

    kind: str
    whole: str
    start: int
    text: str

    def error(self, problem: str) -> ArgumentValueError:
        """Build the error for a problem with this token."""
        place = f"at position {self.start} ({self.text!r})"
        where = f" {self.whole!r}, {place}"
        return ArgumentValueError(problem, argument=self.kind, where=where)

    def part(self, start: int, stop: int) -> "Token":
        """Return a part of the token, without the blanks around it."""
        text = self.text[start:stop]
        blanks = len(text) - len(text.lstrip())
        return Token(self.kind, self.whole, self.start + start + blanks, text.strip())

    def split(self, separator: str) -> list["Token"]:
        """Split the token at separators outside of quotes and parentheses.

        Args:
            separator: The characters that separate.

        Raises:
            ArgumentValueError: If a quote or a parenthesis is not closed.
        """
        cuts, depth, quoted = [-1], 0, False
        for i, character in enumerate(self.text):
            if character == '"':
                quoted = not quoted
            elif quoted:
                continue
            elif character == "(":
                depth += 1
            elif character == ")":
                depth -= 1
                if depth < 0:
                    raise self.part(i, i + 1).error(
                        "a parenthesis closes that was not opened."
                    )
            elif depth == 0 and character in separator:
                cuts.append(i)
        if quoted or depth:
            raise self.error("a quote or a parenthesis is not closed.")
        cuts.append(len(self.text))
        return [self.part(a + 1, b) for a, b in itertools.pairwise(cuts)]

    def name(self) -> str:
        """Return the token as a name, without quotes.

        Raises:
            ArgumentValueError: If the name is empty.
        """
        text = self.text
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1]
        if not text:
            raise self.error("a name is missing here.")
        return text


def tokenise(kind: str, text: str) -> list[Token]:
    """Split a text at blanks outside of quotes and parentheses."""
    return [token for token in Token(kind, text, 0, text).split(" \t\n") if token.text]


def quoted(name: str, *, always: bool = False) -> str:
    """Return a name as it is written in a text, in quotes if it is not a plain word.

    Args:
        name: The name.
        always: Whether to put plain words in quotes, too.

    Raises:
        ArgumentValueError: If the name is empty or contains a double quote.
    """
    if '"' in name or not name:
        raise ArgumentValueError(
            "A name of a channel, process, axis or category that is empty or has a "
            f"double quote cannot be spelled: {name!r}."
        )
    bare = _BARE.fullmatch(name) is not None and name not in ("None", "sum")
    return name if bare and not always else f'"{name}"'
