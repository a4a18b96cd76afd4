"""What was proven last, wherever that is known from, is held against the source, the copy, its sidecar and S3."""

from __future__ import annotations

import hashlib

import pytest

from fusion_assets.transfer import check_copy
from fusion_assets.transfer.errors import ArchiveError, CorruptCopyError, RottenSourceError
from tests.transfer.lab import BACKUP, RUN, SIDECAR, STUDY, Lab, flip_bit_of
from tests.transfer.test_resume import cut_at_the_sidecar

LARGE = f"{RUN}/Scan1/{RUN}.qptiff"
SMALL = f"{RUN}.xpd"


@pytest.fixture
def proven(lab: Lab) -> dict[str, str]:
    """What the study hashes to; it is in both places."""
    lab.copy_and_archive()
    return {path: hashlib.sha256((lab.study / path).read_bytes()).hexdigest() for path in STUDY}


@pytest.mark.parametrize("sidecar", ["good", "gone", "unreadable", "regenerated"])
@pytest.mark.parametrize("path", [SMALL, LARGE])
def test_a_source_that_rotted_never_replaces_what_was_proven_of_it_whatever_the_sidecar_says(
    lab, proven, path, sidecar
):
    (lab.copy / path).unlink()
    flip_bit_of(lab.study / path)
    damage_sidecar(lab, sidecar)
    objects = lab.in_s3()
    with pytest.raises(RottenSourceError, match="damaged it") as caught:
        lab.copy_and_archive(lab.listed(expected=proven))
    assert caught.value.paths == (path,)
    assert path not in lab.on_nas()
    assert lab.in_s3() == objects
    flip_bit_of(lab.study / path)
    copied, _ = lab.copy_and_archive(lab.listed(expected=proven))
    assert copied.copied_files == 1
    lab.check_copied()
    lab.check_archived()


def damage_sidecar(lab: Lab, how: str) -> None:
    sidecar = lab.copy / SIDECAR
    if how == "gone":
        sidecar.unlink()
    elif how == "unreadable":
        sidecar.write_bytes(b"no sidecar at all")
    elif how == "regenerated":
        sidecar.write_bytes(sidecar.read_bytes().replace(sidecar.read_bytes()[:64], b"0" * 64))


def test_a_file_that_may_have_other_bytes_is_copied_and_replaces_what_was_proven(lab, proven):
    lab.write(SMALL, b"a person said that these are right", mtime_ns=1_800_000_000_000_000_000)
    with pytest.raises(RottenSourceError):
        lab.copy_and_archive(lab.listed(expected=proven))
    lab.copy_and_archive(lab.listed(expected=proven, accepted=[SMALL]))
    lab.check_copied()
    lab.check_archived()


def test_a_file_the_nas_has_with_the_time_of_the_changed_source_is_copied_all_the_same(lab, proven):
    lab.write(SMALL, b"a person said that these are right", mtime_ns=1_800_000_000_000_000_000)
    (lab.copy / SMALL).unlink()
    (lab.study / SMALL).rename(lab.copy / SMALL)  # nobody has read these on the NAS
    lab.write(SMALL, b"a person said that these are right", mtime_ns=1_800_000_000_000_000_000)
    flip_bit_of(lab.copy / SMALL)
    lab.copy_and_archive(lab.listed(expected=proven, accepted=[SMALL]))
    lab.check_copied()


def test_no_path_is_forgotten_when_neither_the_sidecar_nor_the_source_has_it(lab, proven):
    (lab.study / SMALL).unlink()
    (lab.copy / SIDECAR).write_bytes(b"")
    lab.copy_and_archive(lab.listed(expected=proven))
    assert SMALL in (lab.copy / SIDECAR).read_text()
    (lab.copy / SMALL).unlink()
    with pytest.raises(CorruptCopyError, match="gone"):
        lab.copy_and_archive(lab.listed(expected=proven))
    with pytest.raises(CorruptCopyError, match="gone"):
        lab.copy_and_archive(lab.listed(expected=proven, distrusted=[SMALL]))


@pytest.mark.parametrize("damage", ["regenerated", "shorter"])
def test_a_copy_whose_sidecar_is_not_what_was_proven_is_not_archived(lab, proven, damage):
    if damage == "shorter":
        sidecar = lab.copy / SIDECAR
        sidecar.write_bytes(b"".join(sidecar.read_bytes().splitlines(keepends=True)[1:]))
    else:
        flip_bit_of(lab.copy / SMALL)
        damage_sidecar(lab, damage)
    objects = lab.in_s3()
    with pytest.raises(ArchiveError, match="not what was proven"):
        lab.archive_copy(expected=proven)
    assert lab.in_s3() == objects


def test_a_finished_archive_that_nobody_looked_at_is_not_overwritten_by_a_study_of_its_name(tmp_path, lab, proven):
    other = Lab(tmp_path / "other", {path: size + 1 for path, size in STUDY.items()})
    other.bucket = lab.bucket
    objects = lab.in_s3()
    copied, archived = other.copy_and_archive(other.listed(expected={}))
    assert copied.copied_files == len(STUDY), "a copy is worth having while S3 cannot be asked"
    assert isinstance(archived.error, ArchiveError)
    assert "nothing of it is overwritten" in str(archived.error)
    assert lab.in_s3() == objects


def test_a_new_sidecar_is_announced_before_it_is_written_and_an_old_one_is_not(lab):
    told: list[tuple[str, bool]] = []

    def announce(sha256: str) -> None:
        told.append((sha256, (lab.copy / SIDECAR).exists()))

    lab.copy_study(announce=announce)
    assert told == [(hashlib.sha256((lab.copy / SIDECAR).read_bytes()).hexdigest(), False)]
    lab.copy_study(announce=announce)
    lab.copy_and_archive(announce=announce)
    assert len(told) == 1


def test_a_journal_that_is_older_than_what_was_proven_is_not_believed(lab):
    cut_at_the_sidecar(lab, lab.copy_study)
    expected = {SMALL: hashlib.sha256(b"other bytes").hexdigest()}
    with pytest.raises(RottenSourceError):
        lab.copy_study(lab.listed(expected=expected))
    assert lab.copy_study(lab.listed(expected=expected, accepted=[SMALL])).copied_files == 0
    lab.check_copied()


def test_a_copy_is_compared_with_what_was_proven_and_not_with_its_own_sidecar(lab, proven):
    flip_bit_of(lab.copy / LARGE)
    for how in ("regenerated", "gone"):
        damage_sidecar(lab, how)
        assert [problem.path for problem in check_copy(lab.nas, BACKUP, proven)] == [LARGE]
