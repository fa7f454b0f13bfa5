"""Durations as text."""


def seconds(value: float) -> str:
    """Return a duration as text.

    Example:
        >>> seconds(0.0123), seconds(1.234), seconds(75.0)
        ('0.01 s', '1.2 s', '75 s')
    """
    if value < 1:
        return f"{value:.2f} s"
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
