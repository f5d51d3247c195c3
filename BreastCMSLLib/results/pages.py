"""HTML pages of one look, for the report of an exam and the card of a model.

A page is a jinja2 template that extends ``page.html.jinja`` (blocks ``title``, ``banner`` and ``body``) and
may use the macros of ``parts.html.jinja``. jinja2 is imported only when a page is rendered.
"""

from __future__ import annotations

import base64
from pathlib import Path

TEMPLATES = Path(__file__).resolve().parent / "templates"


def style() -> str:
    """The style sheet of all pages, as CSS."""
    return (TEMPLATES / "style.css").read_text(encoding="utf-8")


def render(template: str, folder: Path | None = None, **values: object) -> str:
    """Fill a template.

    Parameters
    ----------
    template : str
        Name of its file.
    folder : Path, optional
        Where the template lies; this package's own are found in any case.
    **values
        What the template names. Text is escaped, unless it is a ``markupsafe.Markup``.

    Returns
    -------
    str

    Raises
    ------
    jinja2.TemplateError
        The template is missing or wrong, or a name in it has no value.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader([TEMPLATES] if folder is None else [folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["style"] = Markup(style())
    environment.filters["png_url"] = png_url
    return environment.get_template(template).render(**values)


def png_url(png: bytes) -> str:
    """The bytes of a PNG file as an address that holds them."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
