"""The likelihood of template fits, as functions of vectors."""
