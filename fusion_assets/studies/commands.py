"""`fusion backup run` and `fusion cleanup run` as Dagster jobs, for the calendar: the same commands a person types.

They come with everything a command brings: the hook, the locks that are in the way, the recap, the mail. Their runs of
single studies are in the same history.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of ops as objects, not as text.

import sys
from collections.abc import Sequence

import dagster as dg

from fusion_assets.config import Config
from fusion_assets.studies.tags import MAILED_TAG
from resources.command import stream_command

BACKUP_RUN = "backup_run"
CLEANUP_RUN = "cleanup_run"

# What the command line ended with when it told of its failure by mail, as far as mails are switched on.
_MAILED = 1
# A month of studies at 60 MB/s takes days.
_LONGEST_SECONDS = 7 * 86_400


def build_command_jobs(config: Config) -> list[dg.JobDefinition]:
    """The jobs ``backup_run`` and ``cleanup_run`` of one lab.

    Args:
        config: What the lab declares.
    """
    return [
        _command_job(config, BACKUP_RUN, ["backup", "run"], "Archive every idle study, as `fusion backup run` does."),
        _command_job(config, CLEANUP_RUN, ["cleanup", "run"], "Make room on the NAS, as `fusion cleanup run` does."),
    ]


def _command_job(config: Config, name: str, command: Sequence[str], description: str) -> dg.JobDefinition:
    @dg.op(name=f"fusion_{name}", description=description)
    def run(context: dg.OpExecutionContext) -> None:
        named = ["--config", str(config.path)] if config.path else []
        argv = [sys.executable, "-m", "cli", *command, *named]
        code = stream_command(argv, context.log.info, environment={"NO_COLOR": "1"})
        if code == _MAILED:
            context.instance.add_run_tags(context.run.run_id, {MAILED_TAG: "yes"})
        if code != 0:
            raise dg.Failure(f"`fusion {' '.join(command)}` ended with exit code {code}; its output is in this log")

    @dg.job(
        name=name,
        executor_def=dg.in_process_executor,
        description=description,
        tags={dg.MAX_RUNTIME_SECONDS_TAG: str(_LONGEST_SECONDS)},
    )
    def job() -> None:
        run()

    return job
