"""Warns of built pages that would request something from another host."""

import pathlib
import re

from sphinx.util import logging


LOGGER = logging.getLogger(__name__)
# What a browser requests while it shows a page; a link that a reader follows is none.
_REQUEST = re.compile(
    r"<(?:script|img|source|iframe)\b[^>]*\bsrc=\"((?:https?:)?//[^\"]*)\"|"
    r"<link\b(?=[^>]*\brel=\"[^\"]*(?:stylesheet|icon|preload))[^>]*"
    r"\bhref=\"((?:https?:)?//[^\"]*)\""
)


def check(app, failure):
    """Look at every page once all are written."""
    if failure is not None or app.builder.format != "html":
        return
    for page in sorted(pathlib.Path(app.outdir).rglob("*.html")):
        for found in _REQUEST.finditer(page.read_text(encoding="utf-8")):
            LOGGER.warning("%s requests %s", page.name, found[1] or found[2])


def setup(app):
    """Register the check."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
