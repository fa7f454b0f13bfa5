"""HistFactory workspaces in the format of pyhf."""
