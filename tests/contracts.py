"""Contracts of import-linter that are this project's own."""

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, output


def owner(module: str) -> str | None:
    """Return the package whose private module this is or is part of, if any."""
    parts = module.split(".")
    for i, part in enumerate(parts):
        if part.startswith("_"):
            return ".".join(parts[:i])
    return None


class PrivateModules(Contract):
    """A module whose name begins with an underscore is for its own package only.

    Packages inside that package may import it too.
    """

    type_name = "private_modules"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Find imports of private modules from outside of their packages."""
        broken = []
        for module in sorted(graph.modules):
            package = owner(module)
            if package is None or not module.startswith("everwillow."):
                continue
            importers = graph.find_modules_that_directly_import(module)
            broken += [
                (importer, module)
                for importer in sorted(importers)
                if not f"{importer}.".startswith(f"{package}.")
            ]
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """List the imports."""
        for importer, module in check.metadata["broken"]:
            output.print_error(f"{importer} imports {module}", bold=False)
        output.print_error("Make it public, or export what is needed of it.")
