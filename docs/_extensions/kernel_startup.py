"""Runs first in the kernel of every page; see `conf.py`."""

import gc
import logging


# On a slow machine a program may compile for long, which is no fault of a page.
logging.getLogger("everwillow").setLevel(logging.ERROR)

# A page is short, and most of what it makes lives until its end: looking for garbage
# costs some percent of its time.
gc.disable()
