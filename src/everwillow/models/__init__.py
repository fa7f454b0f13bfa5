"""Models of whole families of likelihoods, each in a package of its own."""
