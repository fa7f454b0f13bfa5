"""Tokens of a text that know their positions, for errors that name the place."""

import itertools
import re
from dataclasses import dataclass

from everwillow._errors import ArgumentValueError


_BARE = re.compile(r"[^\s,:;=()\"]+")


@dataclass(frozen=True, slots=True)
class Token:
    """A part of a text that knows its position.

    Attributes:
        kind: What the whole text is, for errors, such as ``"mapping"``.
        whole: The whole text.
        start: The position of the token in it.
        text: The token.
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
        """Return a part of it, without the blanks around."""
        text = self.text[start:stop]
        blanks = len(text) - len(text.lstrip())
        return Token(self.kind, self.whole, self.start + start + blanks, text.strip())

    def split(self, separator: str) -> list["Token"]:
        """Split it at each of some characters outside of quotes and parentheses.

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
        """Return the name that it spells, without quotes.

        Raises:
            ArgumentValueError: If it is empty.
        """
        text = self.text
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1]
        if not text:
            raise self.error("a name is missing here.")
        return text


def tokenise(kind: str, text: str) -> list[Token]:
    """Split a text at blanks outside of quotes and parentheses."""
    found = Token(kind, text, 0, text).split(" \t\n")
    return [token for token in found if token.text]


def quoted(name: str, *, always: bool = False) -> str:
    """Spell a name, in quotes if it has characters that mean something.

    Args:
        name: The name.
        always: Whether to quote any name.

    Raises:
        ArgumentValueError: If it cannot be spelled.
    """
    if '"' in name or not name:
        raise ArgumentValueError(
            "A name of a channel, process, axis or category that is empty or has a "
            f"double quote cannot be spelled: {name!r}."
        )
    bare = _BARE.fullmatch(name) is not None and name not in ("None", "sum")
    return name if bare and not always else f'"{name}"'
