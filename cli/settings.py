"""What every subcommand shares: the global options, accepted before and after it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from fusion_assets.config import Config, load_config

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True)
class Settings:
    """The global options as they were given, wherever on the command line they stood.

    Attributes:
        verbose: Show more, and tracebacks of unexpected errors.
        config_path: ``--config``; None to look in the usual places.
        smtp_env: ``--smtp-env``; None for the usual chain of mail credentials.
    """

    verbose: bool = False
    config_path: Path | None = None
    smtp_env: Path | None = None

    def load(self) -> Config:
        """Read the configuration these settings name."""
        return load_config(self.config_path)


def global_options(command: Callable[P, R]) -> Callable[..., R]:
    """Give a command the global options; what is given after the subcommand wins over what was given before it."""

    @click.option("-v", "--verbose", is_flag=True, help="Show more; tracebacks of unexpected errors too.")
    @click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="The lab's config.toml [default: $FUSION_CONFIG, ./config.toml, ~/.config/fusion-toolkit/config.toml].",
    )
    @click.option(
        "--smtp-env",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="A dotenv file with mail credentials [default: ~/.config/fusion-toolkit/smtp.env].",
    )
    @functools.wraps(command)
    def with_options(*args: Any, verbose: bool, config_path: Path | None, smtp_env: Path | None, **kwargs: Any) -> R:
        settings = click.get_current_context().ensure_object(Settings)
        settings.verbose = settings.verbose or verbose
        settings.config_path = config_path or settings.config_path
        settings.smtp_env = smtp_env or settings.smtp_env
        return command(*args, **kwargs)

    return with_options


format_option = click.option(
    "-f",
    "--format",
    "output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="For people, or for programs.",
)
limit_option = click.option(
    "--limit", metavar="GLOB", default=None, help="Only studies whose name matches, e.g. '2026*_WW_*'."
)
