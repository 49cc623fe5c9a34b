"""The command line itself: its recipes, its errors, its way of stopping."""

import inspect
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter, config

from geocamnet import __version__
from geocamnet.console import say_error, set_up_logging
from geocamnet.errors import DataError, GeocamnetError, missing_extra, unknown_name
from geocamnet.stores import url_of

# What a job of several says at its end.
BRING_TOGETHER = "when every job is done, the same command without --shard brings them together"

app = App(
    name="geocamnet",
    help="Name carbonate rocks in thin section, and map where the name comes from.",
    version=__version__,
    default_parameter=Parameter(negative=(), consume_multiple=True),
)

# What may lie in an object store. Anything else would become a folder of this machine called "s3:".
_AT_URLS = {("audit", "raw"), ("prepare", "raw"), ("prepare", "data"), ("run", "source"), ("run", "out")}


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the command line; an error the user can mend is one sentence, not a stack trace.

    Args:
        tokens: the words after ``geocamnet``; None takes them from ``sys.argv``.

    Raises:
        SystemExit: 2 after an error of the user's, 130 after Ctrl-C.
    """
    set_up_logging()
    try:
        _call(app.meta, tokens)
    except CycloptsError as error:
        command = "".join(f" {name}" for name in error.command_chain or ())
        say_error(f"{error} See: geocamnet{command} --help")
        sys.exit(2)
    except GeocamnetError as error:
        say_error(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        say_error("Stopped. What was done is kept; the same command goes on (train and distil: with --resume).")
        sys.exit(130)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "geocamnet":
            raise
        say_error(missing_extra(error.name or "?", "train"))
        sys.exit(2)


def _call(one: App, tokens: Sequence[str] | None) -> None:
    # Parsed and called apart, so that errors and Ctrl-C reach `main` and not cyclopts' own way of telling them.
    command, bound, _ = one.parse_args(tokens, exit_on_error=False, print_error=False, verbose=False)
    for name, value in bound.arguments.items():
        if isinstance(value, Path) and (url := url_of(value)) and (command.__name__, name) not in _AT_URLS:
            raise DataError(
                f"{url}: a URL is not taken for {name.upper()} here, only for the photographs of audit, prepare and "
                "run, and the results of prepare and run. Copy it to this machine, or name a folder."
            )
    command(*bound.args, **bound.kwargs)


@app.meta.default
def _read_recipe(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)], recipe: Path | None = None
) -> None:
    """Take the settings of a recipe before those of the command line.

    Args:
        tokens: the command.
        recipe: a TOML file with a table per command; the command line overrides it.
    """
    app.config = ()
    if recipe is not None:
        _check_recipe(recipe)
        app.config = config.Toml(recipe, must_exist=True, search_parents=False)
    _call(app, tokens)


def _check_recipe(file: Path) -> None:
    """Check every table and key of a recipe, those of other commands too: a typing error should not wait for them."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{file}: can't be read ({error.strerror}). --recipe names a TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: is not TOML ({error}).") from error
    commands = [name for name in app if not name.startswith("-")]
    for table, values in tables.items():
        if table not in commands or not isinstance(values, dict):
            raise DataError(f"{file}: {unknown_name('table', table, commands)}")
        command = app[table].default_command
        assert command is not None
        known: dict[str, Any] = {}
        for one in inspect.signature(command).parameters.values():
            known |= _choices(one.default) if is_dataclass(one.default) else {one.name: one.default}
        _check_keys(values, known, where=f"{file}, [{table}]")


def _check_keys(values: Mapping[str, Any], known: Mapping[str, Any], *, where: str) -> None:
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            raise DataError(f"{where}: {unknown_name('key', key, known)}")
        if is_dataclass(known[name]):
            if not isinstance(value, dict):
                raise DataError(f"{where}: {key} is a table, [...{key}]; received {value!r}.")
            _check_keys(value, _choices(known[name]), where=f"{where}, {key}")


def _choices(recipe: Any) -> dict[str, Any]:
    return {one.name: getattr(recipe, one.name) for one in fields(recipe)}
