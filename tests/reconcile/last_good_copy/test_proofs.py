"""What a proof says, of which place, and for how long."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fusion_assets.config import load_config
from fusion_assets.manifest.extra_fields import EVICTED_FIELD
from fusion_assets.reconcile.deletion import GateError
from fusion_assets.reconcile.errors import InvalidStudyError
from fusion_assets.reconcile.lab import TRASH
from fusion_assets.reconcile.plan import Step
from fusion_assets.reconcile.releasing import release
from fusion_assets.reconcile.scrub import provable, scrub
from fusion_assets.reconcile.steps import refuse_invalid, validate
from fusion_assets.reconcile.transferring import transfer
from resources.errors import NotFoundError
from tests.damage import rot
from tests.reconcile.last_good_copy.actions import FILE, NEW, OTHER, bytes_of, copied_while_s3_is_away, record
from tests.reconcile.memory_lab import STUDY, MemoryLab
from tests.transfer.lab import TINY
from tests.transfer.memory_bucket import Stored

# What a proof says.


@pytest.mark.parametrize("then", ["nothing", "the study gains a file", "the NAS loses another file"])
def test_a_copy_that_nobody_read_for_months_is_read_before_its_source_goes_whatever_was_copied_since(
    archived: MemoryLab, then: str
) -> None:
    good = bytes_of(archived)
    _backdate(archived, days=60)
    rot(archived.copy / FILE)
    if then == "the study gains a file":
        archived.write(NEW, b"one more frame" * 30)
    elif then == "the NAS loses another file":
        (archived.copy / OTHER).unlink()
    archived.write_config(delete_source=True)
    assert "CopyRead" in str(archived.apply())
    assert "source" in archived.places(FILE, good)
    assert archived.apply() is None
    assert archived.places(FILE, good) == {"nas", "s3"}


def _backdate(lab: MemoryLab, *, days: int) -> None:
    """All that the ledger says happened, happened that much earlier."""

    def older(found: re.Match[str]) -> str:
        return (datetime.fromisoformat(found[0]) - timedelta(days=days)).isoformat(timespec="microseconds")

    for file in (lab.nas / "_manifest").glob("*.jsonl"):
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?", older, file.read_text())
        file.write_text(text)
        lab.bucket.objects[f"_manifest/{file.name}"] = Stored(text.encode(), {})


def test_the_ledger_says_where_the_copies_are_when_the_lab_moved_them(archived: MemoryLab) -> None:
    archived.bucket.uri = "s3://another"
    for key in [key for key in archived.bucket.objects if not key.startswith("_manifest/")]:
        del archived.bucket.objects[key]
    archived.nas.rename(archived.root / "new-nas")
    archived.nas = archived.root / "new-nas"
    archived.write_config(delete_source=True)
    assert archived.apply() is None
    assert record(archived).s3_uri == f"s3://another/{STUDY}"
    assert record(archived).truenas_path == str(archived.copy)
    assert not archived.study.exists()


@pytest.mark.parametrize("invalid_first", [False, True])
def test_an_alias_that_is_given_to_a_study_found_invalid_first_overwrites_nothing(
    lab: MemoryLab, *, invalid_first: bool
) -> None:
    good, other = bytes_of(lab), "20260107_WW_HCC_run9"
    copied_while_s3_is_away(lab)
    shutil.copytree(lab.study, lab.source / other)
    (lab.source / other / FILE).write_bytes(b"of another study" * 30)
    lab.study.rename(lab.root / "moved away")
    config = load_config(lab.root / "config.toml").model_copy(update={"alias": {other: STUDY}})
    opened = replace(lab.opened(), config=config)
    link = lab.source / other / "link"
    if invalid_first:
        link.symlink_to("/etc")
        with pytest.raises(InvalidStudyError, match="R5"):
            refuse_invalid(opened, other, validate(opened, other))
        link.unlink()
        refuse_invalid(opened, other, validate(opened, other))
    for copying in (False, True):
        with pytest.raises(InvalidStudyError, match=f"{STUDY} is archived under this name"):
            transfer(opened, other, copying=copying, archiving=True, options=TINY, progress=lambda _: None)
    assert lab.places(FILE, good) == {"nas"}


def test_a_release_that_is_asked_for_twice_changes_nothing_the_second_time(archived: MemoryLab) -> None:
    archived.write_config(delete_source=True)
    assert archived.apply() is None
    ledger = archived.ledger_bytes()
    assert archived.run(Step.SOURCE_RELEASED) is None
    assert archived.ledger_bytes() == ledger


@pytest.fixture
def moved_nas(lab: MemoryLab) -> Callable[[], None]:
    """Moves the lab to another NAS, on which a file of the copy is another one."""

    def move() -> None:
        shutil.copytree(lab.nas, lab.root / "nas2")
        lab.nas = lab.root / "nas2"
        rot(lab.copy / FILE)
        lab.write_config(delete_source=True)

    return move


def test_a_nas_that_the_lab_moved_to_is_read_before_the_source_goes(
    archived: MemoryLab, moved_nas: Callable[[], None]
) -> None:
    good = bytes_of(archived)
    moved_nas()
    assert "CopyRead" in str(archived.apply())
    assert archived.apply() is None
    assert archived.places(FILE, good) == {"nas", "s3"}
    assert record(archived).truenas_path == str(archived.copy)


@pytest.mark.parametrize("due", ["a gained file", "a lost file", "a lost time", "a lost object"])
def test_no_work_on_a_nas_that_the_lab_moved_to_lends_its_files_the_proof_of_the_old_one(
    archived: MemoryLab, moved_nas: Callable[[], None], due: str
) -> None:
    good = bytes_of(archived)
    moved_nas()
    if due == "a gained file":
        archived.write(NEW, b"one more frame" * 30)
    elif due == "a lost file":
        (archived.copy / OTHER).unlink()
    elif due == "a lost time":
        os.utime(archived.copy / OTHER)
    else:
        del archived.bucket.objects[f"{STUDY}/{OTHER}"]
    archived.apply()
    archived.apply()
    assert archived.places(FILE, good) == {"nas", "s3"}


def test_an_evicted_copy_that_somebody_brought_back_is_read_before_the_source_goes(archived: MemoryLab) -> None:
    good, complete = bytes_of(archived), record(archived)
    evicted = {**complete.extra, EVICTED_FIELD: datetime.now(UTC).isoformat()}
    archived.opened().ledger.append(replace(complete, extra=evicted))
    rot(archived.copy / FILE)
    archived.write_config(delete_source=True)
    assert "CopyRead" in str(archived.apply())
    assert archived.places(FILE, good) == {"source", "s3"}


def test_what_was_proven_on_another_nas_is_not_called_complete(lab: MemoryLab, moved_nas: Callable[[], None]) -> None:
    (lab.nas / "_manifest").mkdir()
    assert lab.run(Step.VALIDATED, Step.TRUENAS_COPY, Step.S3_ARCHIVE) is None
    good = bytes_of(lab)
    moved_nas()
    assert "nobody has read the copy in" in str(lab.apply())
    assert lab.apply() is None
    assert lab.places(FILE, good) == {"nas", "s3"}


# Reading takes hours, and what was asked before it is that old when it is done.


@pytest.mark.parametrize("lost", ["object", "copy"])
@pytest.mark.parametrize("left", ["source", "trash"])
def test_what_is_lost_while_the_source_is_read_keeps_the_source(archived: MemoryLab, lost: str, left: str) -> None:
    good = bytes_of(archived)
    archived.write_config(delete_source=True)
    (archived.study / OTHER).unlink()  # it is not what was hashed, and has to be read
    if left == "trash":
        (archived.source / TRASH).mkdir()
        archived.study.rename(archived.source / TRASH / f"{STUDY}@20261121T000000000000")

    def lose(said: str) -> None:
        if "not as it was when it was hashed" in said:
            _lose(archived, lost)

    with pytest.raises((GateError, NotFoundError)):
        release(archived.opened(), STUDY, {}, lose)
    assert "source" in archived.places(FILE, good)


def test_an_object_that_is_lost_while_the_copy_is_read_again_keeps_the_source(archived: MemoryLab) -> None:
    good = bytes_of(archived)
    archived.write_config(delete_source=True)
    _backdate(archived, days=60)

    def lose(said: str) -> None:
        if "is read again on the NAS" in said:
            _lose(archived, "object")

    with pytest.raises(GateError):
        release(archived.opened(), STUDY, {}, lose)
    assert archived.places(FILE, good) == {"source", "nas"}
    assert archived.apply() is None
    assert archived.places(FILE, good) == {"nas", "s3"}


def _lose(lab: MemoryLab, what: str) -> None:
    if what == "object":
        del lab.bucket.objects[f"{STUDY}/{FILE}"]
    else:
        (lab.copy / FILE).unlink()


def test_a_scrub_of_another_nas_proves_nothing_of_the_first(archived: MemoryLab) -> None:
    """A lab tried a second NAS, scrubbed it, and went back to the first."""
    good, first = bytes_of(archived), archived.nas
    _backdate(archived, days=60)
    shutil.copytree(first, archived.root / "nas2")
    archived.nas = archived.root / "nas2"
    archived.write_config(delete_source=True)
    opened = archived.opened()
    (waiting,) = provable(opened.ledger.read().records.values())
    scrubbed = scrub(opened, waiting, now=datetime.now(UTC))
    assert scrubbed is not None
    assert not scrubbed.problems
    shutil.rmtree(first / "_manifest")
    shutil.copytree(archived.nas / "_manifest", first / "_manifest")
    archived.nas = first
    archived.write_config(delete_source=True)
    rot(archived.copy / FILE)
    assert "CopyRead" in str(archived.apply())
    assert archived.places(FILE, good) == {"source", "s3"}
