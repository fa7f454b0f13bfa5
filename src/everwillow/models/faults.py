"""All faults of an input, reported by one error."""

from everwillow._errors import SpecificationError


class Faults:
    """Collects faults with their lines, to report all of them at once.

    Args:
        document: The name of the document.

    Example:
        >>> faults = Faults("config.yml")
        >>> faults.add(7, "there is no sample 'ttba'.")
        >>> faults.add(3, "the key 'Tree' is missing.")
        >>> faults.check()
        Traceback (most recent call last):
            ...
        everwillow._errors.SpecificationError: config.yml has 2 faults:
          config.yml:3: the key 'Tree' is missing.
          config.yml:7: there is no sample 'ttba'.
    """

    def __init__(self, document: str) -> None:
        self.document = document
        self._found: dict[tuple[int, str], None] = {}

    def __len__(self) -> int:
        return len(self._found)

    def where(self, line: int) -> str:
        """Return a place in the document for messages."""
        return f"{self.document}:{line}" if line else self.document

    def add(self, line: int, problem: str) -> None:
        """Add a fault.

        Args:
            line: Its line in the document, from 1; 0 if the document has no lines.
            problem: What is wrong and how to mend it, in sentences.
        """
        self._found.setdefault((line, problem))

    def include(self, others: "Faults", part: str) -> None:
        """Add the faults of a part that are not known yet.

        Args:
            others: The faults of the part, with lines of this document.
            part: What the part is, for messages.
        """
        for line, problem in others._found:
            if (line, problem) not in self._found:
                self.add(line, f"{part}: {problem}")

    def caught(self, line: int, error: Exception) -> None:
        """Add the fault that an error reports, whose text may begin with the place."""
        self.add(line, str(error).removeprefix(f"{self.where(line)}: "))

    def check(self) -> None:
        """Raise the error with all faults in the order of their lines.

        Raises:
            SpecificationError: If there is a fault.
        """
        if not self._found:
            return
        ordered = sorted(self._found, key=lambda found: found[0])
        texts = [f"{self.where(line)}: {problem}" for line, problem in ordered]
        if len(texts) == 1:
            raise SpecificationError(texts[0])
        listed = "\n  ".join(texts)
        raise SpecificationError(
            f"{self.document} has {len(texts)} faults:\n  {listed}"
        )
