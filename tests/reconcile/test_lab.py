"""Places that are not really there, and what is at them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile.lab import (
    TRASH,
    Lab,
    check_places,
    check_truenas,
    create_ledger,
    is_at_source,
    source_studies,
    trashed_studies,
)
from resources.errors import NotMountedError
from tests.manifest.records import record
from tests.real.small_lab import STUDY, SmallLab

pytestmark = pytest.mark.real


def append(opened: Lab, *records: Record) -> None:
    create_ledger(opened)
    for one in records:
        opened.ledger.append(one)


@pytest.fixture
def elsewhere(lab: SmallLab):
    """The lab with its ledger on another share."""
    ledger = lab.folder / "ledger"
    ledger.mkdir()
    lab.config.write_text(lab.config.read_text().replace("[s3]", f"manifest_root = '{ledger}'\n[s3]"))
    with lab.opened() as opened:
        yield opened


def test_a_nas_that_holds_not_one_of_the_copies_the_ledger_knows_is_not_mounted(elsewhere, lab):
    append(elsewhere, record(backup_name="a"), record(backup_name="b"))
    with pytest.raises(NotMountedError, match="none of the 2 copies"):
        check_truenas(elsewhere)
    (lab.nas / "b").mkdir()
    check_truenas(elsewhere)


def test_a_new_nas_is_told_from_one_that_is_not_mounted_by_the_one_folder_the_message_names(elsewhere, lab):
    append(elsewhere, record(backup_name="a"))
    with pytest.raises(NotMountedError, match=f"make the folder {lab.nas}/.fusion-locks"):
        check_truenas(elsewhere)
    (lab.nas / ".fusion-locks").mkdir()
    check_truenas(elsewhere)


def test_a_ledger_on_the_nas_shows_that_the_nas_is_there_though_it_lost_every_copy(opened):
    append(opened, record(backup_name="a"), record(backup_name="b"))
    check_truenas(opened)


def test_a_ledger_that_lacks_a_month_or_lines_of_one_that_s3_mirrors_stops_everything(opened, lab):
    append(opened, record(backup_name="a"), record(backup_name="b"))
    (month,) = (lab.nas / "_manifest").glob("*.jsonl")
    content = month.read_bytes()
    month.write_bytes(content.splitlines(keepends=True)[0])
    with pytest.raises(NotMountedError, match=f"lacks records of {month.stem}.*fusion manifest restore"):
        check_places(opened)
    month.unlink()
    with pytest.raises(NotMountedError, match=f"lacks records of {month.stem}.*fusion manifest restore"):
        check_places(opened)
    month.write_bytes(content + b'{"torn')
    check_places(opened)


@pytest.mark.parametrize(
    "absent",
    [
        record(extra={"truenas_evicted_at": "2026-05-01T00:00:00Z"}),
        record(status=Status.IN_PROGRESS, completed_at=None),
        record(status=Status.FAILED_TRUENAS, completed_at=None),
    ],
    ids=["evicted", "begun", "failed"],
)
def test_a_copy_that_was_evicted_or_never_finished_is_not_missed(elsewhere, absent):
    append(elsewhere, absent)
    check_truenas(elsewhere)


def test_a_lab_without_a_record_has_nothing_to_miss(opened):
    check_truenas(opened)
    assert [entry.name for entry in check_places(opened)] == [STUDY]


def test_an_instrument_whose_last_study_we_moved_to_the_trash_is_not_an_empty_mount_point(opened, lab):
    lab.study.rename(lab.folder / "away")
    with pytest.raises(NotMountedError, match="is empty"):
        check_places(opened)
    (lab.source / TRASH).mkdir()
    assert source_studies(check_places(opened)) == ()


def test_a_nas_without_its_ledger_is_refused_while_s3_mirrors_one(opened, lab):
    append(opened, record(backup_name="a"))
    (lab.nas / "_manifest").rename(lab.folder / "away")
    with pytest.raises(NotMountedError, match="fusion manifest restore"):
        check_places(opened)


def test_a_ledger_that_is_to_lie_elsewhere_is_never_created_for_its_share_may_not_be_mounted(opened, tmp_path: Path):
    truenas = opened.config.truenas.model_copy(update={"manifest_root": str(tmp_path / "elsewhere")})
    create_ledger(replace(opened, config=opened.config.model_copy(update={"truenas": truenas})))
    assert not (tmp_path / "elsewhere").exists()
    assert not opened.ledger.exists()
    create_ledger(opened)
    assert opened.ledger.exists()


def test_hidden_directories_and_loose_files_are_no_studies(opened, lab):
    (lab.source / TRASH).mkdir()
    (lab.source / "notes.txt").write_text("")
    (lab.source / "System Volume Information").mkdir()
    assert source_studies(check_places(opened)) == (STUDY,)
    assert is_at_source(opened, STUDY)
    assert not is_at_source(opened, "notes.txt")
    assert not is_at_source(opened, "nothing")


def test_of_two_unfinished_releases_of_one_name_the_last_one_is_gone_on_with(opened, lab):
    assert trashed_studies(opened) == {}
    for name in (f"{STUDY}@20260301T000000000000", f"{STUDY}@20260302T000000000000", "odd@name@20260301T000000000000"):
        (lab.source / TRASH / name).mkdir(parents=True)
    (lab.source / TRASH / "not ours").mkdir()
    assert trashed_studies(opened) == {
        STUDY: f"{TRASH}/{STUDY}@20260302T000000000000",
        "odd@name": f"{TRASH}/odd@name@20260301T000000000000",
    }
