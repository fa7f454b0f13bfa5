"""The registry of auxiliary measurements: each is counted once, however reached."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from everwillow.models._document import Node
from everwillow.models.hs3.auxiliary import Measurement, Names, Single, measurement
from everwillow.models.hs3.parameters import Parameters


@dataclass
class Measurements:
    """Counts distributions as constraints of parameters.

    Attributes:
        names: Tells data from parameters.
        parameters: Where constraints go.
        counted: The parameters of each distribution that is counted.
        others: Distributions that are no plain measurement, or a second one of their
            parameter; they become terms of the likelihood.
    """

    names: Names
    parameters: Parameters
    counted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    others: dict[str, Node] = field(default_factory=dict)

    def count(self, node: Node, *, observed: float | None = None) -> bool:
        """Count a distribution, if it is a measurement of parameters.

        Args:
            node: The distribution; counting it again does nothing.
            observed: The value of its variate, where the likelihood gives one.

        Returns:
            Whether it is a constraint of the model; if not it is among `others`.
        """
        name = node.child("name").text()
        if name in self.counted or name in self.others:
            return name in self.counted
        found = measurement(node, self.names, observed=observed)
        if found is None or not self._enter(name, found, node):
            self.others[name] = node
            return False
        self.counted[name] = _parameters(found)
        return True

    def report(self, factors: Mapping[str, Node]) -> None:
        """Say which factors of products were counted, and of which parameters."""
        for name in factors:
            if name in self.counted:
                self.names.document.report.collect(
                    "These factors of products depend on nothing observed with the "
                    "data; they are auxiliary measurements, each counted once: "
                    "{names}.",
                    f"{name} (of {', '.join(self.counted[name])})",
                )

    def _enter(self, name: str, found: Measurement, node: Node) -> bool:
        for parameter in _parameters(found):
            self.parameters.want(parameter, "free", node=node)
        if isinstance(found, Single):
            return self.parameters.constrain(
                found.parameter, found.spec, origin=node.where, explicit=True
            )
        self.parameters.constrain_jointly(name, found)
        return True


def _parameters(found: Measurement) -> tuple[str, ...]:
    return (found.parameter,) if isinstance(found, Single) else found.parameters
