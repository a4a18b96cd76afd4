"""The commands there are, as they are typed."""

from __future__ import annotations

from collections.abc import Iterator

import click

from cli.main import cli


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command as it is typed; those of `validate`, which are alike, as one."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        if isinstance(command, click.Group) and name != "validate":
            yield from ((f"{name} {sub}", found) for sub, found in command.commands.items())
        else:
            yield name, command


def has_json(command: click.Command) -> bool:
    """Whether it has ``-f json``."""
    one = next(iter(command.commands.values())) if isinstance(command, click.Group) else command
    return any("--format" in parameter.opts for parameter in one.params)
