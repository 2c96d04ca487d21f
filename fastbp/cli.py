"""The `fastbp` command."""

import argparse
import contextlib
import os
import sys

from .config import show_config
from .version import __version__

PARTS = ("notes", "gradcheck", "digits")


def main(argv=None):
    """Runs the command and returns its exit status.

    Parameters
    ----------
    argv : list of str, optional
        Arguments after the command's name; ``sys.argv[1:]`` by default.

    Returns
    -------
    int

    Examples
    --------
    >>> main(["config"])  # doctest: +ELLIPSIS
    fastbp   ...
    0
    """
    arguments = make_parser().parse_args(argv)
    with contextlib.suppress(AttributeError):  # a stream that stands in for standard output may lack it
        sys.stdout.reconfigure(errors="replace")
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has left, as in `fastbp demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def make_parser():
    parser = argparse.ArgumentParser(
        prog="fastbp", description="Multilayer perceptrons on the CPU, trained by backpropagation written out by hand."
    )
    parser.add_argument("--version", action="version", version=f"fastbp {__version__}")
    parser.set_defaults(run=lambda arguments: parser.print_help())
    commands = parser.add_subparsers(title="commands", metavar="{demo,config}")

    demo = commands.add_parser(
        "demo",
        help="a small net step by step, a gradient check, handwritten digits",
        description="notes: trains a 2-3-1 net and prints one step of backpropagation, every partial by name. "
        "gradcheck: compares gradients with central differences, layer by layer. "
        "digits: learns 8x8 handwritten digits, beside the same training in plain NumPy.",
    )
    demo.add_argument("parts", nargs="*", metavar="part", help=f"some of {', '.join(PARTS)} (default: all)")
    demo.add_argument(
        "--seed", type=seed, default=1, help="of first weights, data and shuffling (default: %(default)s)"
    )
    demo.add_argument("--quick", action="store_true", help="fewer epochs and one timing: a second or two")
    demo.set_defaults(run=lambda arguments: run_demo(demo, arguments))

    config = commands.add_parser("config", help="level, CPU, threads, build flags and versions")
    config.set_defaults(run=lambda arguments: show_config())
    return parser


def seed(text):
    """A whole number >= 0, for argparse."""
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def run_demo(parser, arguments):
    for part in arguments.parts:
        if part not in PARTS:
            parser.error(f"part: expected {', '.join(PARTS)}, got {part!r}")
    from . import demo

    demo.run(arguments.parts or PARTS, arguments.seed, arguments.quick)
