"""Pages of sections, as Markdown and as one HTML file in the style of the report."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from BreastCMSLLib.results.pages import render


@dataclass(frozen=True)
class Table:
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Items:
    texts: Sequence[str]


@dataclass(frozen=True)
class Picture:
    path: Path
    caption: str

    @property
    def png(self) -> bytes:
        return self.path.read_bytes()


@dataclass(frozen=True)
class Code:
    text: str


Block = str | Table | Items | Picture | Code


@dataclass(frozen=True)
class Section:
    """A title, and blocks: plain text is a paragraph."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A title, the banner above it, and sections."""

    title: str
    banner: str
    sections: Sequence[Section]


def html(page: Page) -> str:
    """One page that needs nothing else: pictures inside, no script, every text escaped."""
    return render("sections.html.jinja", Path(__file__).parent, page=page)


def markdown(page: Page, folder: Path) -> str:
    """A page as Markdown, with pictures by their path relative to a folder."""
    lines = [f"# {_plain(page.title)}", "", f"> {_plain(page.banner)}", ""]
    for section in page.sections:
        lines += [f"## {_plain(section.title)}", ""]
        for block in section.blocks:
            lines += [*_markdown_block(block, folder), ""]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_block(block: Block, folder: Path) -> list[str]:
    match block:
        case Table():
            return [markdown_table(block)]
        case Items():
            return [f"- {_plain(text)}" for text in block.texts]
        case Picture():
            address = Path(os.path.relpath(block.path, folder)).as_posix().replace(" ", "%20")
            return [f"![{_plain(block.caption)}]({address})", "", _plain(block.caption)]
        case Code():
            fence = "`" * (1 + max([2, *(len(run) for run in re.findall("`+", block.text))]))
            return [f"{fence}sh", block.text, fence]
        case _:
            return [_plain(block)]


def markdown_table(table: Table) -> str:
    """A table as Markdown."""
    rows = [[_plain(cell) for cell in row] for row in (table.head, *table.rows)]
    rows.insert(1, ["---"] * len(table.head))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def aligned_table(table: Table) -> list[str]:
    """A table as lines for the terminal."""
    rows = [table.head, *table.rows]
    widths = [max(len(row[n]) for row in rows) for n in range(len(table.head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _plain(text: object) -> str:
    """Text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\`*_|\[\]])", r"\\\1", escape(" ".join(str(text).split()), quote=False))
