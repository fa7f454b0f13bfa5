"""The directive `functions-of`: every public function of packages, each a link."""

from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from public_functions import public_functions
from sphinx.ext.autosummary import Autosummary


class FunctionsOf(Autosummary):
    """A table of the functions of the packages named in its content.

    With the option `by-module`, the reference describes them under the modules that
    define them, and not under the package.
    """

    option_spec = Autosummary.option_spec | {"by-module": directives.flag}

    def run(self):
        """Let autosummary describe the functions."""
        by_module = "by-module" in self.options
        names = [
            f"~{module if by_module else package}.{name}"
            for package in self.content
            for name, module in public_functions(package).items()
        ]
        self.content = StringList(names, source="")
        self.options["nosignatures"] = None
        return super().run()


def setup(app):
    """Register the directive."""
    app.setup_extension("sphinx.ext.autosummary")
    app.add_directive("functions-of", FunctionsOf)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
