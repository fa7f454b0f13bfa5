"""Models of pyhf workspaces and HS3 documents, and what is made of them by a fit."""
