"""A scrub stays within its budget also on a disk that fails, and comes to what can be read all the same."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.reconcile import scrub
from fusion_assets.reconcile.lab import Lab
from fusion_assets.reconcile.scrub import Provable, Scrubbed, Share, provable, scrub_share
from fusion_assets.transfer.errors import TransferError
from resources.errors import AccessDeniedError, UnavailableError
from resources.lockfile import LockHeldError, describe, new_lock
from tests.reconcile.memory_lab import STUDY, MemoryLab

COPIES = 24


@pytest.fixture
def lab(tmp_path) -> Lab:
    """A lab with many good copies, told apart by their names alone."""
    memory_lab = MemoryLab(tmp_path)
    assert memory_lab.apply() is None
    opened = memory_lab.opened()
    record = opened.ledger.read().records[STUDY]
    for name in (f"copy{n:02}" for n in range(COPIES - 1)):
        shutil.copytree(memory_lab.copy, memory_lab.nas / name)
        _archive_as(memory_lab, name)
        opened.ledger.append(replace(record, backup_name=name, run_name=name))
    return opened


def _archive_as(lab: MemoryLab, name: str) -> None:
    own = {key: stored for key, stored in lab.bucket.objects.items() if key.startswith(f"{STUDY}/")}
    lab.bucket.objects |= {f"{name}/{key.removeprefix(f'{STUDY}/')}": stored for key, stored in own.items()}


def waiting(lab: Lab) -> tuple[Provable, ...]:
    return provable(lab.ledger.read().records.values())


def scrub_week(lab: Lab, *, cycle_weeks: int, max_bytes: int | None = None) -> Share:
    folder = lab.truenas.path.parent / "state"
    return scrub_share(lab, waiting(lab), folder=folder, cycle_weeks=cycle_weeks, max_bytes=max_bytes)


def break_disk(lab: Lab, backups: tuple[Provable, ...]) -> None:
    """Their largest files break off while they are read."""
    bad = {backup.backup_name for backup in backups}

    def fail(path: str, _data: memoryview) -> None:
        if path.split("/", maxsplit=1)[0] in bad and path.endswith("-large.bin"):
            raise UnavailableError(f"{path}: Input/output error")

    lab.truenas.after_read = fail


def test_a_disk_that_fails_is_not_read_on_until_somebody_ends_the_scrub(lab) -> None:
    break_disk(lab, waiting(lab))
    share = scrub_week(lab, cycle_weeks=4)
    assert not share.done
    assert len(share.unread) == 6 + 3
    assert f": {COPIES - 9}, because" in share.cut_short


def test_what_a_scrub_reads_in_vain_counts_in_bytes_too(lab) -> None:
    break_disk(lab, waiting(lab))
    two = 2 * waiting(lab)[0].total_bytes
    assert len(scrub_week(lab, cycle_weeks=1, max_bytes=two).unread) == 2 + 3


def test_a_copy_that_broke_off_goes_to_the_end_of_the_line_and_is_told_of_until_it_can_be_read(lab) -> None:
    bad, good = waiting(lab)[:8], waiting(lab)[8:]
    break_disk(lab, bad)
    for _ in range(2):
        assert not scrub_week(lab, cycle_weeks=COPIES).done
    names = {backup.run_name for backup in bad}
    for _ in good:
        share = scrub_week(lab, cycle_weeks=COPIES)
    assert set(share.unread) == names, "also those that were not tried again this week"
    assert not share.cut_short
    assert {backup.run_name for backup in waiting(lab)[: len(bad)]} == names
    assert all(backup.proven_at > good[-1].proven_at for backup in waiting(lab)[len(bad) :])
    break_disk(lab, ())
    for left in range(len(bad) - 1, -1, -1):
        assert len(scrub_week(lab, cycle_weeks=COPIES).unread) == left


def test_copies_that_are_gone_cost_nothing_and_end_no_scrub(lab) -> None:
    for backup in waiting(lab)[:10]:
        shutil.rmtree(lab.truenas.path / backup.backup_name)
    share = scrub_week(lab, cycle_weeks=COPIES)
    assert (len(share.done), len(share.unread)) == (1, 10)


class Killed(BaseException):
    """The run was ended from outside."""


@given(
    fates=st.lists(
        st.sampled_from(["good", "bad", "gone", "held", "hangs", "takes the NAS along"]), min_size=1, max_size=14
    ),
    sizes=st.lists(st.integers(1, 5), min_size=14, max_size=14),
    cycle_weeks=st.integers(1, 30),
    max_bytes=st.none() | st.integers(1, 12),
)
def test_whatever_is_broken_every_copy_that_can_be_read_is_proven_within_a_number_of_weeks(
    fates, sizes, cycle_weeks, max_bytes
) -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    copies = [
        Provable(f"{number}", f"{number}", sizes[number], first + timedelta(minutes=number))
        for number in range(len(fates))
    ]
    proven: dict[str, datetime] = {}
    away: list[str] = []
    weeks: list[datetime] = []

    def read(_lab: object, backup: Provable, *, now: datetime) -> Scrubbed:
        match fates[int(backup.run_name)]:
            case "gone":
                raise TransferError("no finished copy")
            case "held":
                raise LockHeldError("held", describe(new_lock("a.lock"), now))
            case "hangs":
                raise Killed
            case "bad":
                raise AccessDeniedError("access denied")
            case "takes the NAS along":
                away.append("the NAS is away")
                raise UnavailableError("the NAS is away")
        proven[backup.run_name] = weeks[-1]
        return Scrubbed(backup, ())

    noted: dict[str, str] = {}
    with (
        patch.object(scrub, "scrub", read),
        patch.object(scrub, "_away", lambda _: away.pop() if away else ""),
        patch.object(scrub, "load_broken_off", lambda _: dict(noted)),
        patch.object(scrub, "save_broken_off", lambda _, said: (noted.clear(), noted.update(said))),
    ):
        for _ in range(2 * len(copies)):
            weeks.append(first + timedelta(weeks=len(weeks) + 1))
            due = sorted((replace(one, proven_at=proven.get(one.run_name, one.proven_at)) for one in copies), key=age)
            with suppress(Killed):
                scrub_share(cast("Lab", None), due, folder=Path(), cycle_weeks=cycle_weeks, max_bytes=max_bytes)
    assert len(proven) == fates.count("good")


def age(backup: Provable) -> tuple[datetime, str]:
    return backup.proven_at, backup.backup_name
