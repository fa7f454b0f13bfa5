"""Typesets formulas with the copy of KaTeX in `_static/katex`, without a network."""

from docutils import nodes
from sphinx.util.math import get_node_equation_number, wrap_displaymath


SCRIPTS = ("katex/katex.min.js", "formulas.js")
STYLE = "katex/katex.min.css"


def inline(writer, node):
    """Write a formula in a line; `formulas.js` typesets every element of its class."""
    writer.body.append(writer.starttag(node, "span", "", CLASS="formula"))
    writer.body.append(f"{writer.encode(node.astext())}</span>")
    raise nodes.SkipNode


def display(writer, node):
    """Write a formula between paragraphs, with its number if it has one."""
    writer.body.append(writer.starttag(node, "div", CLASS="formula-block"))
    if node["number"]:
        number = get_node_equation_number(writer, node)
        writer.body.append(f'<span class="eqno">({number})')
        writer.add_permalink_ref(node, "Link to this equation")
        writer.body.append("</span>")
    text = node.astext()
    if not node.get("no-wrap", node.get("nowrap")):
        text = wrap_displaymath(text, None, numbering=False)
    writer.body.append(f'<div class="formula display">{writer.encode(text)}</div>')
    writer.body.append("</div>\n")
    raise nodes.SkipNode


def add_files(app, _page, _template, _context, doctree):
    """Let a page with formulas load what typesets them."""
    if doctree is not None and next(doctree.findall(_is_formula), None) is not None:
        app.add_css_file(STYLE)
        for script in SCRIPTS:
            app.add_js_file(script, loading_method="defer")


def _is_formula(node):
    return isinstance(node, (nodes.math, nodes.math_block))


def setup(app):
    """Register the renderer."""
    app.add_html_math_renderer(
        "katex", inline_renderers=(inline, None), block_renderers=(display, None)
    )
    app.connect("html-page-context", add_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
