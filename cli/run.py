"""One run of the reconciler from the command line: the lab, the Dagster instance, the memory, and the display."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.output import print_json, progress_bar, warn_of_bad_lines
from cli.settings import Settings
from fusion_assets.config import Config
from fusion_assets.manifest.fold import BadLine
from fusion_assets.reconcile.lab import Lab, open_lab
from fusion_assets.reconcile.memory import load_memory, save_memory
from fusion_assets.reconcile.observe import LabObservation, observe_lab
from fusion_assets.reconcile.plan import Desired, StudyPlan, plan_studies
from fusion_assets.reconcile.recap import Recap, StepDone, recap_study, standing_failure
from fusion_assets.state import HOME_VARIABLE, state_folder

if TYPE_CHECKING:
    import dagster as dg
    from rich.progress import Progress as Bar

    from fusion_assets.transfer.progress import Progress

_LOG = logging.getLogger(__name__)
_MARKS = {"ok": "green", "changed": "yellow", "skipped": "cyan", "failed": "red"}


@dataclass(slots=True)
class Run:
    """An open lab and where its runs are recorded.

    Attributes:
        config: What the lab declares.
        lab: Its places.
        folder: Its state folder.
        as_json: Print JSON lines instead of text.
        bar: The progress display.
        smtp_env: The dotenv file with mail credentials that was named on the command line.
        failures: Why a step failed, by study, as it happened.
        bad_lines: What was told already of the ledger.
    """

    config: Config
    lab: Lab
    folder: Path
    as_json: bool
    bar: Bar
    smtp_env: Path | None = None
    failures: dict[str, str] = field(default_factory=dict)
    bad_lines: tuple[BadLine, ...] = ()

    def observe(self, limit: str | None) -> LabObservation:
        """Observe the lab, remember what was seen, and tell what cannot be read of the ledger."""
        task = self.bar.add_task("looking at the studies", total=None)
        observation = observe_lab(
            self.lab,
            load_memory(self.folder),
            limit=limit,
            seen=lambda done, of: self.bar.update(task, description=f"looking at the studies {done}/{of}"),
        )
        self.bar.remove_task(task)
        save_memory(self.folder, observation.memory)
        warn_of_bad_lines(bad for bad in observation.ledger.bad_lines if bad not in self.bad_lines)
        self.bad_lines = observation.ledger.bad_lines
        return observation

    def plan(self, observation: LabObservation) -> tuple[StudyPlan, ...]:
        """Plan every study that was observed."""
        return plan_studies(Desired(self.config.backup.delete_source), observation.studies)

    def apply(self, plans: Sequence[StudyPlan]) -> dict[str, Recap]:
        """Carry plans out in Dagster; without anything to do, Dagster is not even started."""
        if not any(plan.actions for plan in plans):
            desired = Desired(self.config.backup.delete_source)
            for plan in plans:
                if failure := standing_failure(desired, plan, {}):
                    self._tell(failure)
            return {plan.study: recap_study(desired, plan, {}) for plan in plans}

        from definitions import build_defs
        from fusion_assets.studies.apply import Applier
        from fusion_assets.studies.lab_resource import OpenLab

        with dagster_instance(self.folder) as instance:
            definitions = build_defs(self.config, resources={"lab": OpenLab(self.lab)}, progress=self._progress)
            memory = load_memory(self.folder)
            applier = Applier(definitions, instance, self.lab, memory, tell=self._tell, warn=self._warn)
            return applier.apply(plans)

    def _tell(self, done: StepDone) -> None:
        if done.result == "failed":
            self.failures[done.study] = done.message
        if self.as_json:
            event = {"type": "step", "study": done.study, "step": done.step.value, "result": done.result}
            print_json({**event, "message": done.message} if done.message else event)
            return
        mark = click.style(f"{done.result:<8}", fg=_MARKS[done.result])
        click.echo(f"{mark} {done.study} {done.step.value}{f': {done.message}' if done.message else ''}")

    def _warn(self, message: str) -> None:
        click.echo(click.style(f"warning: {message}", fg="yellow"), err=True)
        _LOG.warning("%s", message)

    def _progress(self, study: str, log: Callable[[str], None]) -> Callable[[Progress], None]:
        del log  # the display shows it
        task = self.bar.add_task(study, total=None)

        def show(progress: Progress) -> None:
            moved, to_move = progress.copied + progress.read_back, progress.to_copy + progress.to_read_back
            self.bar.update(task, total=to_move or None, completed=moved)
            if progress.fraction >= 1.0:
                self.bar.update(task, visible=False)

        return show


@contextmanager
def reconciling(settings: Settings, *, as_json: bool) -> Iterator[Run]:
    """Open the configured lab for one run.

    Args:
        settings: The global options.
        as_json: Print JSON lines instead of text.

    Raises:
        ConfigError: There is no usable configuration.
    """
    config = settings.load()
    with open_lab(config) as lab, progress_bar(shown=not as_json) as bar:
        yield Run(config, lab, state_folder(config), as_json, bar, settings.smtp_env)


@contextmanager
def dagster_instance(folder: Path) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance in a state folder, made with the project's dagster.yaml when it is new.

    Args:
        folder: The state folder, used as ``DAGSTER_HOME``.
    """
    import dagster as dg

    from resources.run_slots import free_slots_of_the_dead

    os.environ[HOME_VARIABLE] = str(prepare_instance(folder))
    with dg.DagsterInstance.get() as instance:
        free_slots_of_the_dead(instance)
        yield instance


def prepare_instance(folder: Path) -> Path:
    """Make a state folder a Dagster home, with the project's dagster.yaml when it is new.

    Args:
        folder: The state folder.

    Returns:
        Its absolute path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "dagster.yaml").exists():
        shutil.copyfile(_shipped_settings(), folder / "dagster.yaml")
    return folder.resolve()


def _shipped_settings() -> Path:
    """The project's dagster.yaml, which lies beside the rooms."""
    return Path(__file__).parent.parent / "dagster.yaml"
