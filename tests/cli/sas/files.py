"""What commands said."""


def said(done) -> str:
    """Return the output with single spaces and without frames."""
    text = done.stdout + done.stderr
    return " ".join(text.replace("│", " ").split())
