"""A flame graph as SVG: each frame a box as wide as the time spent in it and in all that it called, callers below.

Drawn here and not by the sampler, so that it is small, always the same for the same stacks, without a script, and
coloured by layer. A box tells its whole name and its time where the pointer rests on it.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from benchmarks.profile_folded import LAYERS, Stack, layer_of

WIDTH, ROW, MARGIN = 1200.0, 15, 10
LEGEND_ROWS = 2
LEAST_WIDTH = 1.2
LETTER_WIDTH = 6.1
COLOURS = dict(
    zip(
        LAYERS,
        (
            "#8fb8de",
            "#b9d9a8",
            "#f3d27a",
            "#f2a77c",
            "#e58b8b",
            "#c79bd1",
            "#9fd6cf",
            "#6fb7a6",
            "#7a95c9",
            "#d9b08c",
            "#c8c8c8",
        ),
        strict=True,
    )
)


class Box:
    """A frame in its place: what was spent in it altogether, and the frames that it called."""

    def __init__(self, name: str, layer: str) -> None:
        self.name = name
        self.layer = layer
        self.us = 0.0
        self.calls: dict[str, Box] = {}


def tree(stacks: Iterable[Stack]) -> Box:
    """Returns the root of all stacks."""
    root = Box("all", LAYERS[-1])
    for stack in stacks:
        root.us += stack.us
        box = root
        for depth, frame in enumerate(stack.frames, 1):
            if frame not in box.calls:
                box.calls[frame] = Box(frame, layer_of(stack.frames[:depth]))
            box = box.calls[frame]
            box.us += stack.us
    return root


def draw(stacks: Sequence[Stack], title: str, path: Path) -> None:
    """Draws the stacks to a file. Raises: OSError."""
    root = tree(stacks)
    scale = (WIDTH - 2 * MARGIN) / root.us
    rows = _depth(root, scale)
    height = (rows + LEGEND_ROWS + 2) * ROW + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height}" font-family="sans-serif" '
        f'font-size="10"><rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="{MARGIN + 10}" font-size="13">{escape(title)}</text>',
        *_legend(),
    ]
    _boxes(root, MARGIN, height - MARGIN - ROW, scale, parts)
    path.write_text("\n".join([*parts, "</svg>"]) + "\n")


def _legend() -> list[str]:
    parts = []
    each = (WIDTH - 2 * MARGIN) / (-(-len(COLOURS) // LEGEND_ROWS))
    for place, (layer, colour) in enumerate(COLOURS.items()):
        row, column = divmod(place, -(-len(COLOURS) // LEGEND_ROWS))
        x, y = MARGIN + column * each, MARGIN + ROW * (row + 1) + 4
        parts.append(f'<rect x="{x:.1f}" y="{y}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 14:.1f}" y="{y + 9}">{escape(layer)}</text>')
    return parts


def _depth(box: Box, scale: float) -> int:
    shown = [each for each in box.calls.values() if each.us * scale >= LEAST_WIDTH]
    return 1 + max((_depth(each, scale) for each in shown), default=0)


def _boxes(box: Box, x: float, y: float, scale: float, parts: list[str]) -> None:
    width = box.us * scale
    name = escape(box.name)
    parts.append(
        f'<g><title>{name}: {box.us:.2f} µs</title><rect x="{x:.1f}" y="{y:.0f}" width="{width:.1f}" '
        f'height="{ROW - 1}" fill="{COLOURS[box.layer]}"/>'
    )
    letters = int((width - 4) / LETTER_WIDTH)
    if letters >= 4:
        text = box.name if len(box.name) <= letters else box.name[: letters - 1] + "…"
        parts.append(f'<text x="{x + 2:.1f}" y="{y + ROW - 4:.0f}">{escape(text)}</text>')
    parts.append("</g>")
    for call in sorted(box.calls.values(), key=lambda each: each.name):
        if call.us * scale >= LEAST_WIDTH:
            _boxes(call, x, y - ROW, scale, parts)
        x += call.us * scale
