"""The progress of work that takes long: a switch, and a bar for `ifit`."""

import functools as ft
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TextIO

from everwillow import _progress
from everwillow._errors import ArgumentTypeError, missing_package
from everwillow._lazy_names import own_names
from everwillow._typing import ArrayLike
from everwillow.callback import nll_of
from everwillow.statelib import State


_shown: list[_progress.Display] = []


def show(on: bool = True, *, file: TextIO | None = None) -> None:  # noqa: FBT001, FBT002
    """Show what is done while it takes longer than a second, or stop showing it.

    One line has the work that is done now and its time: compiling, a scan, a ranking,
    or how many toys are fitted. On a terminal and in a notebook the line is written
    again and again and disappears at the end; in a file each work is a line.

    The same events are INFO records of the logger ``everwillow`` of `logging`, whether
    they are shown or not: ``logging.basicConfig(level="INFO")`` prints them.

    Args:
        on: Whether to show progress from now on.
        file: The stream to write to; standard error by default.

    Example:
        >>> import everwillow as ew
        >>> ew.progress.show(True)
        >>> ew.progress.show(False)
    """
    while _shown:
        _shown.pop().close()
    if on:
        _shown.append(_progress.Display(file).__enter__())


class ProgressBar:
    """Show the progress of a fit on one line: iteration, -ln L and EDM if known.

    It needs tqdm, which the extra `progress` installs.

    The iteration is the number that every callback gets, 0 after the first step. The
    line has no -ln L if the state of the solver does not contain it (see
    `everwillow.callback.nll_of`), unless `value` computes it.

    Callbacks are not notified of the end of a fit. The line ends by `close`, at the end
    of a ``with`` block, or if the bar is garbage: for
    ``ifit(..., callbacks=[ProgressBar()])`` that is as soon as `ifit` returns. A closed
    bar prints nothing. An open bar may be used for several fits, with a line for each.

    Args:
        value: Function of a State that returns -ln L, as for
            `everwillow.callback.HistoryCallback`.
        description: A text at the beginning of the line, to distinguish fits.
        file: The stream to write to; standard error by default.
        interval: Shortest time between two updates of the line, in seconds. The last
            step is shown in any case when the line ends.

    Raises:
        ImportError: If tqdm cannot be imported.

    Example:
        >>> import io
        >>> import everwillow as ew
        >>> from everwillow.fitting import ifit
        >>> from everwillow.progress import ProgressBar
        >>> def nll(params, data):
        ...     return 0.5 * (params["mu"] - data) ** 2
        >>> state = ew.State.from_pytree({"mu": 1.0})
        >>> out = io.StringIO()
        >>> with ProgressBar(file=out) as bar:
        ...     result = ifit(nll, state, 3.0, callbacks=[bar])
        >>> out.getvalue().splitlines()[-1].strip()
        'iteration ... [00:..., -ln L = 0, EDM = ...]'
    """

    def __init__(
        self,
        value: Callable[[State], ArrayLike] | None = None,
        *,
        description: str = "",
        file: TextIO | None = None,
        interval: float = 0.1,
    ) -> None:
        self._value = value
        self._description = f"{description}: iteration" if description else "iteration"
        self._file = file
        self._interval = interval
        self._line: Any = None
        self._bar = _bar_class()
        self._last = -1
        self._closed = False

    def __call__(self, iteration: int, y: State, state: Any) -> None:
        """Show one step."""
        if self._closed:
            return
        text = self._text(y, state)
        if self._line is not None and iteration <= self._last:
            self._end_line()  # another fit has begun
        if self._line is None:
            # The first iteration is not 0 where a fit continues from a checkpoint.
            self._line = self._new_line(iteration, text)
        else:
            self._line.set_postfix_str(text, refresh=False)
            self._line.update(iteration - self._last)
        self._last = iteration

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Show the last step, end the line and print nothing from now on.

        Closing what is closed does nothing.
        """
        self._closed = True
        self._end_line()

    def __repr__(self) -> str:
        shown = f"iteration {self._last}" if self._last >= 0 else "no step yet"
        return f"ProgressBar({shown}{', closed' if self._closed else ''})"

    def _text(self, y: State, state: Any) -> str:
        parts = []
        try:
            value = nll_of(state) if self._value is None else self._value(y)
        except ArgumentTypeError:
            if self._value is not None:
                raise
        else:
            number = float(value)  # pyright: ignore[reportArgumentType]
            parts.append(f"-ln L = {number:.10g}")
        edm = getattr(state, "edm", None)
        if edm is not None:
            parts.append(f"EDM = {float(edm):.1e}")
        return ", ".join(parts)

    def _new_line(self, iteration: int, text: str) -> Any:
        return self._bar(
            desc=self._description,
            initial=iteration,
            postfix=text,
            bar_format="{desc} {n_fmt} [{elapsed}{postfix}]",
            file=self._file,
            mininterval=self._interval,
            # A fixed number, so that only the clock decides what is left out.
            miniters=1,
        )

    def _end_line(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None


@ft.cache
def _bar_class() -> Any:
    """Return a bar of tqdm that nothing but a step redraws."""
    try:
        from tqdm import tqdm  # noqa: PLC0415
    except ImportError as error:
        drawing = "everwillow.progress.ProgressBar draws with tqdm"
        raise missing_package(drawing, "progress") from error
    # No thread of tqdm's own: it would live, and could print, after the fit.
    return type("_Bar", (tqdm,), {"monitor_interval": 0})


__dir__ = own_names(globals())
