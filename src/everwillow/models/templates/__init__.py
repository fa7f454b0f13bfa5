"""Template fits: built from histograms, with masked channels and mappings."""
