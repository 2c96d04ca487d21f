"""A trace as a graph in the DOT language of Graphviz: forward from left to right, the partials beneath.

Columns are ranks: that of y_k (of a norm n_k) holds W_k and b_k above it and its partials below, that of z_k its own.
The way forward sets the ranks; arrows of the backward pass (`constraint=false`) follow.
"""

import re

import numpy as np

NAME = re.compile(r"dL/d(?:[yznWgb]\d+|x)|dz\d+/d(?:[yz]\d+|x)|\b(?:[Wgbmvnyz]\d+|[xtL])\b")
COLOURS = {"given": "#eeeeee", "forward": "#d6e6f5", "backward": "#fbe3cf"}
# of an arrow, by the parts of its two ends
ARROWS = {
    ("given", "forward"): "",
    ("forward", "forward"): "",
    ("given", "backward"): ' [constraint=false, color="#bbbbbb", style=dashed]',
    ("forward", "backward"): ' [constraint=false, color="#bbbbbb", style=dashed]',
    ("backward", "backward"): ' [constraint=false, color="#c8641e"]',
}
MOST_NUMBERS = 12  # of an array that is shown in its node


def sources(formula):
    """Names of the arrays in a formula, each once."""
    return list(dict.fromkeys(NAME.findall(formula)))


def column(name):
    """The member of the forward chain that a step stands above or beneath."""
    if name in ("x", "dL/dx"):
        return "x"
    if name in ("t", "L"):
        return "L"
    chain = "z" if name.startswith("z") or "dz" in name else "y"
    return chain + re.findall(r"\d+", name)[0]


def quoted(text):
    return f'"{escaped(text)}"'


def escaped(text):
    return text.replace("\\", "\\\\").replace('"', '\\"')


def label(step):
    """Name, formula, shape, and the numbers if they are few; `\\l` ends a line of its own, set left."""
    lines = [*step.head.replace("; ", ";\n").split("\n"), str(step.array.shape)]
    if step.array.size <= MOST_NUMBERS:
        lines += np.array2string(step.array, precision=4).split("\n")
    return "".join(escaped(line) + "\\l" for line in lines)


def dot(steps):
    """Source of the graph of a trace's steps: a node each, and an arrow from every array that its formula names."""
    lines = [
        "digraph trace {",
        "  rankdir=LR; nodesep=0.15; ranksep=0.6;",
        '  node [shape=box, style="rounded,filled", fontname="monospace", fontsize=10, color="#888888"];',
        '  edge [color="#555555", arrowsize=0.6];',
    ]
    columns = {}
    for step in steps:
        lines.append(f'  {quoted(step.name)} [label="{label(step)}", fillcolor="{COLOURS[step.part]}"];')
        columns.setdefault(column(step.name), {"given": [], "forward": [], "backward": []})[step.part].append(step.name)
    for parts in columns.values():
        stack = [quoted(name) for part in parts.values() for name in part]
        lines.append("  { rank=same; " + " -> ".join(stack) + (" [style=invis];" if len(stack) > 1 else ";") + " }")
    parts = {step.name: step.part for step in steps}
    for step in steps:
        for source in sources(step.formula):
            lines.append(f"  {quoted(source)} -> {quoted(step.name)}{ARROWS[parts[source], step.part]};")
    return "\n".join([*lines, "}", ""])
