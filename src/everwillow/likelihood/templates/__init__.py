"""Kernels of template fits: templates, responses and their derivatives."""

from everwillow._lazy_names import lazy_names


__getattr__, __dir__ = lazy_names(
    __name__,
    {},
    (
        "arrays",
        "blocks",
        "dense",
        "hessian_matrix",
        "lists",
        "partition",
        "products",
        "responses",
        "spec",
    ),
)
