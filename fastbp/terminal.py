"""Colours and lines where the output goes to a terminal, plain characters elsewhere."""

import os
import shutil
import sys
import time

CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "blue": "34", "cyan": "36"}


class Screen:
    """Standard output, dressed up if it is a terminal.

    Parameters
    ----------
    stream : text file, optional
        ``sys.stdout`` by default.

    Examples
    --------
    >>> import io
    >>> text = io.StringIO()
    >>> screen = Screen(text)
    >>> screen.heading("Title")
    >>> text.getvalue(), screen.paint("red", "text")
    ('\\nTitle\\n-----\\n', 'text')
    """

    def __init__(self, stream=None):
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.coloured = self.live and not os.environ.get("NO_COLOR")  # https://no-color.org
        self.lined = self.live and (self.stream.encoding or "").lower().replace("-", "") == "utf8"

    def print(self, text=""):
        print(text, file=self.stream, flush=True)

    def paint(self, style, text):
        """text in the style of that name."""
        return f"\x1b[{CODES[style]}m{text}\x1b[0m" if self.coloured else text

    def heading(self, text):
        if self.lined:
            width = min(shutil.get_terminal_size().columns, 100)
            line = "─" * max(0, width - len(text) - 4)
            self.print(f"\n{self.paint('cyan', '──')} {self.paint('bold', text)} {self.paint('cyan', line)}\n")
        else:
            self.print(f"\n{text}\n{'-' * len(text)}")

    def pixels(self, upper, lower):
        """Two rows of grey pixels, 0 (black) to 1, as one line of half blocks; for coloured terminals."""
        greys = [(232 + round(23 * float(a)), 232 + round(23 * float(b))) for a, b in zip(upper, lower, strict=True)]
        return "".join(f"\x1b[38;5;{a};48;5;{b}m▀" for a, b in greys) + "\x1b[0m"


class Bar:
    """A callback of `fit`: a line that grows with the epochs, or one line at the end where there is no terminal."""

    def __init__(self, screen, label, epochs):
        self.screen = screen
        self.label = label
        self.epochs = epochs
        self.last = 0.0

    def __call__(self, net, history):
        epoch = len(history.history["loss"])
        done = epoch == self.epochs
        now = time.monotonic()
        if not done and (not self.screen.live or now - self.last < 0.05):
            return
        self.last = now
        full, empty = "━━" if self.screen.lined else "# "
        filled = 40 * epoch // self.epochs
        bar = self.screen.paint("green", full * filled) + self.screen.paint("dim", empty * (40 - filled))
        seconds = sum(history.history["seconds"])
        line = (
            f"{self.label} {bar} epoch {epoch}/{self.epochs}  loss {history.history['loss'][-1]:.4f}  {seconds:.2f} s"
        )
        self.screen.stream.write(("\r" + line + "\x1b[K" if self.screen.live else line) + ("\n" if done else ""))
        self.screen.stream.flush()
