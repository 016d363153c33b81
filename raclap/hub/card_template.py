"""Filling in a card's template, strictly: what the run does not have is not left blank, it is refused.

A template gets plain values alone (texts, numbers, lists, mappings), and can reach nothing else.
"""

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from raclap.errors import RaClapError


class CardError(RaClapError):
    """A card cannot be written: its template asks for what is not there, or is no template."""


def fill_in(template: Path, values: Mapping[str, Any]) -> str:
    """Renders a Jinja2 template.

    Args:
        template: the file.
        values: what it may ask for.

    Raises:
        CardError: the file cannot be read or is no template, or asks for a value that is not there; the message names
            file, line and value.
    """
    if not template.is_file():
        raise CardError(f"{template}: no such card template")
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(template.parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown
    )
    try:
        return environment.get_template(template.name).render(values)
    except TemplateSyntaxError as error:
        raise CardError(f"{error.filename or template}, line {error.lineno}: {error.message}") from error
    except UnicodeDecodeError as error:
        raise CardError(f"{template}: not a text in UTF-8 ({error})") from error
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise CardError(
            f"{template}, line {_line(error, template)}: asks for what this model does not have ({error})"
        ) from error


def _line(error: BaseException, template: Path) -> int | str:
    """The line of the template that an error comes from: Jinja2 puts the template's frames into the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).name == template.name]
    return lines[-1] if lines and lines[-1] is not None else "unknown"
