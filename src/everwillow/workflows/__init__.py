"""From files to results: what the command line and Python both call."""
