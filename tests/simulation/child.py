"""A process of its own in a simulated lab: the command line, or the worker of a run, which may be killed in the middle.

Started as ``python -m tests.simulation.child WORLD cli …`` or ``… WORLD run REQUEST``; see `surroundings.child_argv`.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from resources.local import LocalStorage
from tests.simulation.clock import travelling
from tests.simulation.surroundings import Nas, surrounded

_CHANGES = ("write_file", "create_exclusive", "append", "rename", "replace", "remove_file", "open_writer")


def main() -> None:
    world = json.loads(sys.argv[1])
    place = world["nas"]
    nas = Nas(Path(place["root"]), place["total"], Path(place["snapshot"]))
    now = datetime.now(UTC) + timedelta(seconds=world["ahead"])
    with travelling(now), surrounded(nas), ExitStack() as killers:
        if world["kill_at"]:
            _die_at(world["kill_at"], killers)
        what, *arguments = sys.argv[2:]
        if what == "cli":
            from cli.main import main as fusion

            sys.argv = ["fusion", *arguments]
            fusion()
        else:
            _run(json.loads(arguments[0]))


def _run(request: dict[str, object]) -> None:
    """The worker of one run, as Dagster's run launcher starts it."""
    import dagster as dg

    from tests.simulation.daemon import Request, execute, load

    with dg.DagsterInstance.get() as instance:
        result = execute(load(Path(str(request.pop("config")))), instance, Request(**request))  # type: ignore[arg-type]
    sys.exit(0 if result.success else 1)


def _die_at(number: int, killers: ExitStack) -> None:
    """Kill this process without a word right before its `number`-th change on a disk."""
    changes = itertools.count(1)

    def counted(name: str) -> None:
        original = getattr(LocalStorage, name)

        def change(*arguments: object, **options: object) -> object:
            if next(changes) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        killers.enter_context(patch.object(LocalStorage, name, change))

    for name in _CHANGES:
        counted(name)


if __name__ == "__main__":
    main()
