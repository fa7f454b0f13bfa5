"""Values that functions and objects hold besides their arguments.

A likelihood may read global variables, cells of a closure, attributes of ``self``. A
compiled program has their values as constants. Programs are therefore cached under a
*mark* of these values (`marks.py`), and traced values among them become leaves of a
pytree (`opening.py`).
"""

from everwillow._captures.held import INERT, is_inert, structure_parts
from everwillow._captures.marks import Mark, context, marked, settle, up_to_date
from everwillow._captures.opening import Opened, holds_tracer, opened, reclosed


__all__ = [
    "INERT",
    "Mark",
    "Opened",
    "context",
    "holds_tracer",
    "is_inert",
    "marked",
    "opened",
    "reclosed",
    "settle",
    "structure_parts",
    "up_to_date",
]
