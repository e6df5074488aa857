"""A page made of headings, paragraphs, tables and pictures, told once and written as Markdown and as HTML."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em; color: #1b1f24 }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: .25em .7em; border-bottom: 1px solid #d8dee4 }
th { text-align: left; background: #f6f8fa } td:not(:first-child) { text-align: right } td.text { text-align: left }
img { max-width: 100% } code, pre { background: #f6f8fa; padding: .1em .3em } pre { padding: .6em; overflow-x: auto }
td.good { color: #116329 } td.bad { color: #a40e26 } td.fair { color: #7d4e00 } .wide { overflow-x: auto }
"""

MARKS = {"reproduced": "good", "reached": "good", "same direction": "fair", "not reproduced": "bad", "missed": "bad"}
"""Words of a cell that HTML shows in a colour."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; level 1 is the page's own."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Text; `code` makes it a block as it is."""

    text: str
    code: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Headers, and rows of as many cells."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG beside the page, and what it shows."""

    path: Path
    caption: str


Block = Heading | Paragraph | Table | Picture


@dataclass(slots=True)
class Document:
    """A page.

    Attributes:
        blocks: from top to bottom.
    """

    blocks: list[Block] = field(default_factory=list)

    def add(self, *blocks: Block) -> None:
        """Put more at the end."""
        self.blocks += blocks

    def markdown(self) -> str:
        """The page as Markdown; pictures are named relative to its directory."""
        return "\n\n".join(_markdown(block) for block in self.blocks) + "\n"

    def html(self) -> str:
        """The page as one HTML file that holds its pictures."""
        title = next((block.text for block in self.blocks if isinstance(block, Heading)), "")
        body = "\n".join(_html(block) for block in self.blocks)
        head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
        return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Paragraph(text, code):
            return f"```\n{text}\n```" if code else text
        case Picture(path, caption):
            return f"![{caption}]({path.name})"
        case Table(headers, rows):
            lines = [headers, ["---"] * len(headers), *rows]
            return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Paragraph(text, code):
            return f"<pre>{html.escape(text)}</pre>" if code else f"<p>{html.escape(text)}</p>"
        case Picture(path, caption):
            octets = base64.b64encode(path.read_bytes()).decode("ascii")
            source = f"data:image/png;base64,{octets}"
            return f'<figure><img alt="{html.escape(caption)}" src="{source}"></figure>'
        case Table(headers, rows):
            head = "".join(f"<th>{html.escape(cell)}</th>" for cell in headers)
            body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
            return f'<div class="wide"><table><tr>{head}</tr>\n{body}</table></div>'


def _cell(text: str) -> str:
    """A cell in its colour; what does not begin with a number is set to the left."""
    mark = MARKS.get(text, "" if text[:1].isdigit() or not text else "text")
    return f'<td class="{mark}">{html.escape(text)}</td>' if mark else f"<td>{html.escape(text)}</td>"
