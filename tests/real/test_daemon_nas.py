"""The real daemon and a NAS that is away, then back and too full, then left by a worker that is killed at a gate."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from sensors.idle_cursor import cursor_from_text
from tests.notify.mail_servers import Inbox, free_port, make_authority, starttls_server
from tests.real.rigged_definitions import KILL, SIZE, taken
from tests.real.services import CODE_SERVER, DAEMON, ROOM_ENOUGH, Services, installed
from tests.real.small_lab import STUDY, SmallLab, assert_completed

# Beside one other lab of services at the most: three of them leave none enough of two cores.
pytestmark = [pytest.mark.real, pytest.mark.timeout(600), pytest.mark.xdist_group("services")]

OLDEST, SECOND = (f"2026010{number}_WW_HCC_run{number}" for number in (1, 2))
DELETED = "20260106_WW_HCC_deleted"
SENSOR = "idle_studies"
RIGGED = "tests.real.rigged_definitions"
ENOUGH = "truenas_capacity skipped: 100.0 % of the NAS is free, 99."


def copies(nas: Path) -> set[str]:
    return {path.name for path in nas.iterdir() if path.name[0].isdigit()}


def cursor_text(services: Services) -> str | None:
    with services.instance() as instance:
        states = [state for state in instance.all_instigator_state() if state.name == SENSOR]
        return states[0].instigator_data.cursor if states and states[0].instigator_data else None


def is_blind(services: Services) -> bool:
    return cursor_from_text(cursor_text(services)).blind_since is not None


def two_hours_pass(services: Services) -> None:
    """Nobody waits for them: while the daemon is down, its memory of since when it sees nothing grows older."""
    with services.instance() as instance:
        (state,) = [state for state in instance.all_instigator_state() if state.name == SENSOR]
        cursor = cursor_from_text(state.instigator_data.cursor)
        older = replace(cursor, blind_since=cursor.blind_since - timedelta(hours=2))
        data = state.instigator_data._replace(cursor=older.to_text())
        instance.update_instigator_state(state.with_data(data))


def history_is_lost(services: Services, run: dg.DagsterRun) -> None:
    """What only paces: whoever does not know of an earlier try takes the next one at once, not after five minutes."""
    with services.instance() as instance:
        instance.delete_run(run.run_id)


def test_a_nas_that_is_away_is_one_mail_and_one_that_is_too_full_is_emptied_also_after_a_kill_at_a_gate(
    small_lab: SmallLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, hidden = small_lab, small_lab.nas.with_name("unmounted")
    for study in (OLDEST, SECOND):
        lab.add_study(study)
    assert lab.apply().failed == 0
    lab.nas.rename(hidden)
    lab.nas.mkdir()  # the mount point
    lab.add_study()
    lab.write(f"{DELETED}.xpd", b"{}", DELETED)
    del lab.originals[DELETED, f"{DELETED}.xpd"]
    gone = lab.source / DELETED
    with lab.config.open("a") as file:
        # It goes at the latest possible moment: a run that was requested for it has begun.
        file.write(f"[hooks]\nbackup = ['rm', '-rf', '{gone}']\n")
    authority, mail_port = make_authority(tmp_path), free_port()
    with (
        installed(lab, authority, mail_port, moved={"-m definitions": f"-m {RIGGED}"}) as services,
        starttls_server(authority, Inbox(mail_port)) as inbox,
    ):
        monkeypatch.setenv("DAGSTER_HOME", str(services.home))
        _is_mailed_once_while_away(lab, services, inbox)
        lab.nas.rmdir()
        hidden.rename(lab.nas)
        services.until(lambda: not lab.study.exists(), "the study was released")
        services.until(lambda: all(run.is_finished for run in services.runs()), "all runs ended")
        assert_completed(lab)
        services.until(lambda: len(inbox.mails) == 2, "the study that was deleted was mailed")
        assert (copies(lab.nas), gone.exists()) == ({OLDEST, SECOND, STUDY}, False)
        assert {run.tags["dagster/partition"] for run in services.runs() if not run.is_success} == {DELETED}

        _is_killed_at_a_gate(lab, services)
        assert copies(lab.nas) == {OLDEST, SECOND, STUDY}
        services.start(DAEMON)
        services.until(lambda: copies(lab.nas) != {OLDEST, SECOND, STUDY}, "the next run went on")
        services.until(lambda: services.log(DAEMON).read_text().count(ENOUGH), "the NAS has room enough")
        assert copies(lab.nas) == {SECOND, STUDY}
        assert lab.ledger()[-1]["backup_name"] == OLDEST
        assert_nothing_lost_in_s3(lab)
    subjects = [str(mail["Subject"]) for mail in inbox.mails]
    assert ["cannot be looked at" in subjects[0], "1 study failed" in subjects[1], len(subjects)] == [True, True, 2]


def _is_mailed_once_while_away(lab: SmallLab, services: Services, inbox: Inbox) -> None:
    services.start(CODE_SERVER, DAEMON)
    services.until(lambda: is_blind(services), "the NAS was seen to be away")
    services.stop(DAEMON)
    two_hours_pass(services)
    services.start(DAEMON)
    services.until(lambda: inbox.mails, "a mail arrived")
    assert services.runs() == []
    assert list(lab.nas.iterdir()) == [], "nothing is written into a mount point"


def _is_killed_at_a_gate(lab: SmallLab, services: Services) -> None:
    """The NAS becomes too full by a setting, which counts as soon as the code server is started again."""
    order = lab.folder / KILL
    order.touch()
    percent = 100 * (SIZE - taken(lab.nas) + 1000) / SIZE
    too_full = f"[cleanup]\nfree_threshold_pct = {percent}\nmax_store_pct = 50\n"
    lab.config.write_text(lab.config.read_text().replace(ROOM_ENOUGH, too_full))
    services.stop(CODE_SERVER)
    services.start(CODE_SERVER)
    services.until(lambda: not order.exists(), "the worker was killed")
    services.kill(DAEMON)
    (killed,) = (run for run in services.runs() if run.job_name == "evict_study")
    services.until(lambda: services.run(killed.run_id).is_finished, "its code server saw that it is gone")
    history_is_lost(services, killed)


def assert_nothing_lost_in_s3(lab: SmallLab) -> None:
    objects = lab.objects()
    assert [at for at, data in lab.originals.items() if objects.get(lab.key(at[1], at[0])) != data] == []
