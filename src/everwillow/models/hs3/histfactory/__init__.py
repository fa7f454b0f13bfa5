"""The histfactory distributions of HS3, read into a `BinnedSpec`."""
