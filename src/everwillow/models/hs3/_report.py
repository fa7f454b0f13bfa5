"""What a reader normalised or assumed, collected while it reads."""

_SHOWN = 4  # names in one sentence


class Report:
    """Sentences on what was normalised or assumed, each said once."""

    def __init__(self) -> None:
        self._said: dict[str, list[str] | None] = {}

    def say(self, sentence: str) -> None:
        """Add a sentence."""
        self._said.setdefault(sentence, None)

    def collect(self, sentence: str, name: str) -> None:
        """Add a name to a sentence that has the place ``{names}`` for all of them."""
        names = self._said.setdefault(sentence, [])
        if names is not None and name not in names[-1:]:
            names.append(name)

    def sentences(self) -> tuple[str, ...]:
        """Return all sentences in the order in which they were first needed."""
        return tuple(
            sentence if names is None else sentence.format(names=_listed(names))
            for sentence, names in self._said.items()
        )


def _listed(names: list[str]) -> str:
    names = list(dict.fromkeys(names))
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown}, ... ({len(names)} in all)"
