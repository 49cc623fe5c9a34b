"""Tables of the reference made from the program itself, so that they can't go stale.

Three directives: ``cli`` lists a command's arguments and options, ``recipe`` the choices of a recipe,
``classes`` the 22 classes.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass
from inspect import cleandoc
from pathlib import PurePath
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def options_of(verb: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, meaning and default of every argument and option of a command of ``geocamnet``."""
    from geocamnet.cli import app
    from geocamnet.train import recipes

    # The command line shows nothing for a field that shares its line of a docstring with another.
    shared = _attributes(recipes.FitRecipe) | _attributes(recipes.PrepareRecipe)
    for one in app[verb].assemble_argument_collection(parse_docstring=True):
        if not one.show:
            continue
        positional = one.field_info.kind is one.field_info.POSITIONAL_OR_KEYWORD
        shown = tuple(
            name for name in one.names if "-no-" not in name.replace(".", "-") or one.field_info.default is True
        )
        names = one.names[0].removeprefix("--").upper() if positional else " ".join(shown)
        name = f"``{names}``{_choices(one.hint)}"
        default = "required" if one.required else _value(one.field_info.default)
        field = one.names[0].removeprefix("--").replace("-", "_")
        yield name, " ".join((one.parameter.help or shared.get(field, "")).split()), default


def choices_of(recipe: type) -> Iterator[tuple[str, str, str]]:
    """Yield name, meaning and default of every field of a recipe, from its docstring and its bases'."""
    meanings = _attributes(recipe)
    hints = get_type_hints(recipe)
    for one in fields(recipe):
        default = one.default if one.default is not MISSING else one.default_factory()  # type: ignore[misc]
        shown = "its own table" if is_dataclass(default) else _value(default)
        yield f"``{one.name}``{_choices(hints[one.name])}", meanings[one.name], shown


def class_rows() -> Iterator[tuple[str, str, str, str, str]]:
    """Yield id, name, Chinese, group and other spellings of each of the 22 classes."""
    from geocamnet.taxonomy import CLASSES

    for rock in CLASSES:
        group = rock.group.replace("_", " ")
        yield str(rock.id), f"``{rock.name}``", rock.chinese, group, ", ".join(rock.aliases)


def _attributes(recipe: type) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in reversed(recipe.__mro__):
        section = cleandoc(one.__dict__.get("__doc__") or "").partition("Attributes:\n")[2]
        for names, meaning in re.findall(r"^    ([\w, ]+): (.+(?:\n {8,}.+)*)", section, re.MULTILINE):
            found |= dict.fromkeys(names.split(", "), " ".join(meaning.split()))
    return found


def _choices(hint: Any) -> str:
    if get_origin(hint) is not Literal:
        return ""
    return ": " + ", ".join(str(one) for one in get_args(hint))


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ((), ""):
        return "none"
    if isinstance(value, PurePath):
        return f"``{value.as_posix()}``"
    return f"``{' '.join(map(str, value)) if isinstance(value, tuple) else value}``"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> nodes.table:
    table, group = nodes.table(), nodes.tgroup(cols=len(headings))
    table += group
    group += [nodes.colspec(colwidth=width) for width in widths]
    head, body = nodes.thead(), nodes.tbody()
    group += [head, body]
    for part, cells in ((head, headings), *((body, row) for row in rows)):
        line = nodes.row()
        line += [nodes.entry("", nodes.paragraph("", "", *_text(cell))) for cell in cells]
        part += line
    return table


def _text(text: str) -> Iterator[nodes.Node]:
    # ``code`` and `code` of docstrings; everything else is plain.
    for part in re.split(r"(``[^`]+``|`[^`]+`)", text):
        if part:
            yield nodes.literal(text=part.strip("`")) if part.startswith("`") else nodes.Text(part)


class Cli(SphinxDirective):
    """The arguments and options of one command."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """Return the table, or a sentence where the command takes nothing."""
        rows = list(options_of(self.arguments[0]))
        if not rows:
            return [nodes.paragraph(text="Takes nothing.")]
        return [_table(("Argument or option", "Meaning", "Default"), rows, (30, 55, 15))]


class Recipe(SphinxDirective):
    """The choices of one recipe."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        from geocamnet.train import recipes

        rows = list(choices_of(getattr(recipes, self.arguments[0])))
        return [_table(("Choice", "Meaning", "Default"), rows, (30, 55, 15))]


class Classes(SphinxDirective):
    """The 22 classes."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        headings = ("Id", "Name in an index", "Chinese", "Group", "Also read as")
        return [_table(headings, list(class_rows()), (6, 28, 14, 16, 36))]


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx of the directives."""
    app.add_directive("cli", Cli)
    app.add_directive("recipe", Recipe)
    app.add_directive("classes", Classes)
    return {"parallel_read_safe": True}
