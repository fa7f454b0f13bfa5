"""Book histograms, systematics and data, and make a specification of them."""
