"""From the file to a `Config`: where it is looked for, and the one clear error that a wrong file gives.

What belongs here: that, in the words of who writes the file. What does not: the rules (`sections`, `lab`).
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ValidationError,
)
from pydantic_core import ErrorDetails

from fusion_assets.config.lab import Config, ConfigError
from fusion_assets.config.sections import SINGLE_QUOTES, SmbSection

CONFIG_VARIABLE = "FUSION_CONFIG"
USER_CONFIG_DIR = Path("~/.config/fusion-toolkit")

# What is wrong with a value, by pydantic's name for it, in the words of who writes the file.
_WORDS = {
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "string_type": "must be text, in quotes",
    "tuple_type": "must be a list, in [ ]",
    "dict_type": "must be a section of its own, with keys in it",
    "model_type": "must be a section of its own, with keys in it",
    "literal_error": "must be {expected}",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be {le:g} or less",
    "string_too_short": "needs {min_length} characters or more",
    "string_too_long": "may have {max_length} characters at the most",
}


def find_config(explicit: str | Path | None = None) -> Path:
    """The config.toml to use.

    Args:
        explicit: What the user named with ``--config``.

    Returns:
        `explicit`, else ``$FUSION_CONFIG``, else ``./config.toml``, else ``~/.config/fusion-toolkit/config.toml``.

    Raises:
        ConfigError: None of them exists.
    """
    named = explicit or os.environ.get(CONFIG_VARIABLE)
    candidates = [Path(named)] if named else [Path("config.toml"), USER_CONFIG_DIR / "config.toml"]
    for candidate in candidates:
        if candidate.expanduser().is_file():
            return candidate.expanduser().resolve()
    looked = " or ".join(str(candidate) for candidate in candidates)
    raise ConfigError(
        f"no configuration at {looked} | hint: write one (README, 'A real lab') and name it with --config PATH"
    )


def load_config(explicit: str | Path | None = None) -> Config:
    """Read and check config.toml.

    Args:
        explicit: What the user named with ``--config``; see `find_config` for where else it is looked for.

    Raises:
        ConfigError: It is not there, not TOML, or says something we do not understand.
    """
    path = find_config(explicit)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"at line ([0-9]+)", str(error))
        hint = f" | hint: {SINGLE_QUOTES}" if at and "\\" in text.splitlines()[int(at[1]) - 1] else ""
        raise ConfigError(f"{path}: not valid TOML: {error}{hint}") from error
    return parse_config(data, path=path)


def parse_config(data: dict[str, Any], *, path: Path | None = None) -> Config:
    """Check what a config.toml says.

    Args:
        data: The parsed TOML.
        path: Where it came from, for messages and for paths relative to it.

    Raises:
        ConfigError: With one line per mistake; an unknown key names the nearest known one.
    """
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        where = str(path) if path else "config"
        lines = [f"{where}: {_explain(detail)}" for detail in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines)) from error
    return config.model_copy(update={"path": path})


def _explain(detail: ErrorDetails) -> str:
    location = [str(part) for part in detail["loc"]]
    name = ".".join(location) or "the file"
    if detail["type"] == "missing":
        return f"section [{name}] is missing" if len(location) == 1 else f"key {name} is missing"
    if detail["type"] == "extra_forbidden":
        nearest = get_close_matches(location[-1], list(_known_keys(location[:-1])), n=1, cutoff=0.4)
        is_section = len(location) == 1 and isinstance(detail["input"], dict)
        shape = "[{}]" if is_section else "{}"
        meant = shape.format(".".join([*location[:-1], *nearest]))
        hint = f" | hint: did you mean {meant}?" if nearest else ""
        return f"unknown {'section' if is_section else 'key'} {shape.format(name)}{hint}"
    words = _WORDS.get(detail["type"])
    message = words.format(**detail.get("ctx", {})) if words else detail["msg"].removeprefix("Value error, ")
    return f"{name}: {message} (got {detail['input']!r})" if location else message


def _known_keys(section: list[str]) -> Iterator[str]:
    model: type[BaseModel] = Config
    for name in section:
        if name not in model.model_fields:
            model = SmbSection  # inside [smb.<name>] the middle part is the user's own
            continue
        annotation = model.model_fields[name].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return (key for key in model.model_fields if key != "path")
