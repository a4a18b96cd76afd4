"""What the ledger proved last is the truth about bytes: no sidecar, journal or source is believed against it.

In every test something was proven once, and then one place is damaged so that it still looks right. Whatever a run does
after that, it never overwrites or deletes the last good copy of a file. Plans are carried out in this process
(`SmallLab.apply`), by the same code as `fusion apply`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fusion_assets.reconcile import deletion, transferring
from fusion_assets.reconcile.accepting import accept_changes
from fusion_assets.reconcile.conditions import Name
from fusion_assets.reconcile.plan import NAME_TAKEN, SOURCE_CHANGED, Verdict
from fusion_assets.standard.listing import SIDECAR_NAME
from fusion_assets.transfer import study as transfers
from fusion_assets.transfer.sidecar import format_sidecar, parse_sidecar
from tests.damage import archived_objects, break_off_release, flip_bit, forget_ledger
from tests.real.small_lab import LARGE, LOCK, PREFIX, STUDY, SmallLab, assert_completed, assert_nothing_lost

pytestmark = pytest.mark.real

SMALL = "focus003.bin"


@pytest.fixture
def lab(small_lab: SmallLab) -> SmallLab:
    """A lab of one study that keeps its sources; one file is archived in several parts."""
    small_lab.add_study(large_mib=6)
    small_lab.write_config(delete_source=False)
    return small_lab


@pytest.fixture
def archived(lab: SmallLab) -> SmallLab:
    """The same lab after its study was archived; from now on sources are released."""
    done = lab.apply()
    assert done.failed == 0, done.errors
    _release(lab)
    return lab


@pytest.fixture
def released(archived: SmallLab) -> SmallLab:
    """The same lab after its source was released."""
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert not archived.study.exists()
    (archived.source / "20260106_WW_HCC_run2").mkdir()  # else the source looks as if it were not mounted
    return archived


def _release(lab: SmallLab) -> None:
    lab.write_config(delete_source=True)


def _regenerate_sidecar(lab: SmallLab) -> None:
    """As somebody does who runs sha256sum on the NAS to make its complaints go away."""
    files = [path for path in lab.copy.rglob("*") if path.is_file() and path.name != SIDECAR_NAME]
    sums = {p.relative_to(lab.copy).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    (lab.copy / SIDECAR_NAME).write_bytes(format_sidecar(sums))


def _copies(lab: SmallLab) -> dict[Path, bytes]:
    """Every file of the study's copy on the NAS."""
    return {path: path.read_bytes() for path in lab.copy.rglob("*") if path.is_file()}


def _good_places(lab: SmallLab) -> dict[str, set[str]]:
    """Where the good bytes of each file are."""
    objects, here = lab.objects(), lab.study if lab.study.is_dir() else (*lab.trashed(), lab.study)[0]
    good: dict[str, set[str]] = {}
    for (study, path), data in lab.originals.items():
        if study == STUDY:
            places = {"source": here / path, "nas": lab.copy / path}
            good[path] = {name for name, file in places.items() if file.is_file() and file.read_bytes() == data}
            good[path] |= {"s3"} if objects.get(lab.key(path)) == data else set()
    return good


def _assert_no_last_copy_was_destroyed(lab: SmallLab, before: dict[str, set[str]]) -> None:
    after = _good_places(lab)
    destroyed = [path for path, places in before.items() if places and not after[path]]
    assert not destroyed, f"the last good copy is gone of {destroyed}"
    lost = [path for path, places in before.items() if "s3" in places and "s3" not in after[path]]
    assert not lost, f"good objects in S3 were overwritten: {lost}"


def _restore(lab: SmallLab, path: str, *places: Path) -> None:
    """Put the good bytes back with their time, as messages ask for it."""
    head = lab.server.client().head_object(Bucket=lab.bucket, Key=lab.key(path))
    time = int(head["Metadata"]["mtime"].replace(".", ""))
    for place in places:
        file = place / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(lab.originals[STUDY, path])
        os.utime(file, ns=(time, time))


def _killed(lab: SmallLab, *at: tuple[object, str]) -> None:
    """Carry plans out in a process that dies where one of these functions is called; its locks are taken away."""
    child = os.fork()
    if child == 0:
        try:
            for module, name in at:
                setattr(module, name, lambda *_, **__: os._exit(9))
            lab.apply()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9, "it was not killed where it should have been"
    _unlock(lab)


def _unlock(lab: SmallLab) -> None:
    for lock in (*lab.source.glob(f"*/{LOCK}"), *(lab.nas / ".fusion-locks").glob("*.lock")):
        lock.unlink()


# A sidecar that parses, and is not the one that was proven.


@pytest.mark.parametrize("ending", [SMALL, LARGE])
@pytest.mark.parametrize("edit", ["the time stays", "the time changes"])
def test_a_sidecar_regenerated_over_a_rotten_copy_does_not_cost_the_good_object_and_the_good_source(
    archived: SmallLab, edit: str, ending: str
) -> None:
    path = archived.path_of(ending)
    good, objects = (archived.copy / SIDECAR_NAME).read_bytes(), archived_objects(archived)
    flip_bit(archived.copy / path)
    if edit == "the time changes":
        os.utime(archived.copy / path)
    _regenerate_sidecar(archived)
    if edit == "the time changes":
        assert f"newer than the archive, by files of which no {SIDECAR_NAME} that the ledger knows" in (
            archived.apply().errors
        ), "what rots keeps its time: this may be the one copy of a change, which only a person knows"
        assert archived_objects(archived) == objects
        assert archived.study.is_dir()
        assert archived.fusion("apply", "--yes", "--accept-changes", STUDY).returncode == 0
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert (archived.copy / SIDECAR_NAME).read_bytes() == good
    assert_completed(archived)


def test_a_sidecar_regenerated_over_a_rotten_copy_of_a_released_study_never_reaches_s3(released: SmallLab) -> None:
    path = released.path_of(SMALL)
    good, before, objects = (
        (released.copy / SIDECAR_NAME).read_bytes(),
        _good_places(released),
        archived_objects(released),
    )
    flip_bit(released.copy / path)
    _regenerate_sidecar(released)
    said = released.run_assets("s3_archive", "manifest_entry")
    assert Path(path).name in said
    assert "from s3://" in said
    assert archived_objects(released) == objects
    _assert_no_last_copy_was_destroyed(released, before)

    _restore(released, path, released.copy)
    assert released.run_assets("s3_archive", "manifest_entry") == ""
    assert (released.copy / SIDECAR_NAME).read_bytes() == good
    assert_completed(released)


def test_a_nas_that_was_rolled_back_to_an_older_snapshot_is_not_archived_over_the_newer_files(
    archived: SmallLab,
) -> None:
    path = archived.path_of(SMALL)
    shutil.copytree(archived.copy, archived.folder / "snapshot")
    archived.write(path, b"version 2, the right one")
    assert archived.fusion("apply", "--yes", "--accept-changes", STUDY).returncode == 0
    assert_completed(archived)
    (archived.source / "20260106_WW_HCC_run2").mkdir()  # else the source looks as if it were not mounted
    shutil.rmtree(archived.copy)
    shutil.copytree(archived.folder / "snapshot", archived.copy)

    said = archived.run_assets("s3_archive", "manifest_entry")

    assert Path(path).name in said
    assert archived.objects()[archived.key(path)] == b"version 2, the right one"


# What files must hash to, when the NAS has lost its sidecar.


def _lose_copy(lab: SmallLab, path: str) -> None:
    shutil.rmtree(lab.copy)


def _empty_sidecar(lab: SmallLab, path: str) -> None:
    (lab.copy / SIDECAR_NAME).write_bytes(b"")


def _lose_sidecar_and_file(lab: SmallLab, path: str) -> None:
    (lab.copy / SIDECAR_NAME).unlink()
    (lab.copy / path).unlink()


def _lose_both_sidecars_and_file(lab: SmallLab, path: str) -> None:
    _lose_sidecar_and_file(lab, path)
    lab.server.client().delete_object(Bucket=lab.bucket, Key=lab.key(SIDECAR_NAME))


LOSSES = pytest.mark.parametrize(
    "lose", [_lose_copy, _empty_sidecar, _lose_sidecar_and_file, _lose_both_sidecars_and_file]
)
Loss = Callable[[SmallLab, str], None]


@LOSSES
@pytest.mark.parametrize("ending", [SMALL, LARGE])
@pytest.mark.parametrize("at", ["source", "trash"])
def test_a_rotten_source_is_not_copied_over_what_is_proven_when_the_nas_lost_its_sidecar_too(
    archived: SmallLab, at: str, ending: str, lose: Loss
) -> None:
    path, objects = archived.path_of(ending), archived_objects(archived)
    here = break_off_release(archived) if at == "trash" else archived.study
    flip_bit(here / path)
    lose(archived, path)
    del objects[archived.key(SIDECAR_NAME)]
    before = _good_places(archived)

    done = archived.apply()

    if lose is _empty_sidecar:  # the copy is whole: the rotten file is not needed
        assert done.recaps[STUDY].failed == 0, done.errors
    else:
        assert done.recaps[STUDY].failed
        assert Path(path).name in done.errors
        assert {
            key: data for key, data in archived_objects(archived).items() if not key.endswith(SIDECAR_NAME)
        } == objects
        _restore(archived, path, here)
        done = archived.apply()
        assert done.recaps[STUDY].failed == 0, done.errors
    _assert_no_last_copy_was_destroyed(archived, {path: places - {"source"} for path, places in before.items()})
    assert_completed(archived)


@LOSSES
def test_a_good_source_makes_the_copy_whole_again_when_the_nas_lost_its_sidecar_too(
    archived: SmallLab, lose: Loss
) -> None:
    good = (archived.copy / SIDECAR_NAME).read_bytes()
    lose(archived, archived.path_of(SMALL))
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert (archived.copy / SIDECAR_NAME).read_bytes() == good
    assert_completed(archived)


@pytest.mark.parametrize("rotten", [False, True], ids=["good source", "rotten source"])
def test_what_was_proven_is_known_from_cold_storage_without_reading_it_back(lab: SmallLab, *, rotten: bool) -> None:
    lab.config.write_text(lab.config.read_text().replace("[backup]", "storage_class = 'DEEP_ARCHIVE'\n[backup]"))
    assert lab.apply().failed == 0
    shutil.rmtree(lab.copy)
    path = lab.path_of(SMALL)
    if rotten:
        flip_bit(lab.study / path)
    done = lab.apply()
    assert bool(done.failed) is rotten, done.errors
    if rotten:
        assert Path(path).name in done.errors
    else:
        assert lab.plans()[STUDY].verdict is Verdict.SETTLED


def test_a_file_that_rotted_is_refused_although_a_person_accepted_that_another_one_changed(archived: SmallLab) -> None:
    path, changed = archived.path_of(SMALL), archived.path_of("focus007.bin")
    archived.write(changed, b"right new bytes")
    flip_bit(archived.study / path)
    (archived.copy / path).unlink()
    before = _good_places(archived)
    refused = archived.fusion("apply", "--yes", "--accept-changes", STUDY)
    assert refused.returncode == 1
    assert Path(path).name in refused.stdout
    _assert_no_last_copy_was_destroyed(archived, before)

    _restore(archived, path, archived.study)
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


def test_accepted_files_that_were_archived_are_held_to_their_new_bytes(archived: SmallLab) -> None:
    archived.write_config(delete_source=False)
    path = archived.path_of(SMALL)
    archived.write(path, b"right new bytes")
    assert archived.fusion("apply", "--yes", "--accept-changes", STUDY).returncode == 0
    before = _good_places(archived)
    (archived.copy / path).unlink()
    flip_bit(archived.study / path)
    _release(archived)
    done = archived.apply()
    assert Path(path).name in done.errors
    _assert_no_last_copy_was_destroyed(archived, {path: places & {"s3"} for path, places in before.items()})


def test_a_proven_sidecar_that_is_nowhere_any_more_needs_a_person_while_there_are_copies(archived: SmallLab) -> None:
    path, other = archived.path_of(SMALL), archived.path_of("focus007.bin")
    _lose_both_sidecars_and_file(archived, path)
    archived.server.client().delete_object(Bucket=archived.bucket, Key=archived.key(other))
    flip_bit(archived.study / archived.path_of("focus009.bin"))  # else the source could prove it
    before, objects, held = _good_places(archived), archived_objects(archived), _copies(archived)
    for _ in range(2):
        refused = archived.apply()
        assert "nothing is overwritten" in refused.errors
        assert "rename" in refused.errors
        assert (archived_objects(archived), _copies(archived)) == (objects, held)
    _assert_no_last_copy_was_destroyed(archived, before)
    assert archived.study.is_dir()


# Finished copies the ledger does not know.


def test_a_study_that_took_the_name_of_one_the_ledger_forgot_is_not_archived_over_its_only_copies(
    released: SmallLab,
) -> None:
    forget_ledger(released)
    first, released.originals = released.originals, {}
    released.add_study(large_mib=6)
    second, released.originals = released.originals, first
    objects, held = archived_objects(released), _copies(released)

    assert released.plans()[STUDY].observed.conditions[Name.VALIDATED].reason == SOURCE_CHANGED
    refused = released.apply()
    by_dagster = released.run_assets("truenas_copy", "s3_archive", "manifest_entry", "source_released")

    for said in (refused.errors, by_dagster):
        assert "rename" in said
        assert "ledger does not know" in said
    assert (archived_objects(released), _copies(released)) == (objects, held)
    assert all((released.study / path).read_bytes() == data for (_, path), data in second.items())
    released.study.rename(released.folder / "renamed")
    done = released.apply()
    assert done.recaps[STUDY].failed == 0, done.errors
    assert_completed(released)


def test_a_study_whose_files_look_like_those_of_one_the_ledger_forgot_is_told_from_it_by_its_bytes(
    archived: SmallLab,
) -> None:
    forget_ledger(archived)
    path = archived.path_of(SMALL)
    flip_bit(archived.study / path)  # the size and the time are those of the copy
    before, objects, held = _good_places(archived), archived_objects(archived), _copies(archived)
    for said in (archived.apply().errors, archived.run_assets("s3_archive", "manifest_entry", "source_released")):
        assert Path(path).name in said
        assert "rename" in said
    assert (archived_objects(archived), _copies(archived)) == (objects, held)
    _assert_no_last_copy_was_destroyed(archived, before)
    _restore(archived, path, archived.study)
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


def test_files_that_changed_since_the_ledger_was_lost_replace_nothing_until_a_person_accepts_them(
    archived: SmallLab,
) -> None:
    path = archived.path_of(SMALL)
    forget_ledger(archived)
    archived.write(path, b"ransom, or the right new bytes")
    objects, held = archived_objects(archived), _copies(archived)

    plan = archived.plans()[STUDY]
    assert plan.observed.conditions[Name.VALIDATED].reason == SOURCE_CHANGED
    assert path in plan.observed.conditions[Name.VALIDATED].message
    assert Path(path).name in archived.apply().errors
    assert Path(path).name in archived.run_assets("truenas_copy", "s3_archive")
    assert (archived_objects(archived), _copies(archived)) == (objects, held)

    done = archived.fusion("apply", "--yes", "--accept-changes", STUDY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_completed(archived)


@pytest.mark.parametrize("left", ["on the NAS", "in S3", "in both"])
def test_files_of_which_nothing_at_all_is_known_are_not_overwritten_by_others(archived: SmallLab, left: str) -> None:
    forget_ledger(archived)
    (archived.copy / SIDECAR_NAME).unlink()
    archived.server.client().delete_object(Bucket=archived.bucket, Key=archived.key(SIDECAR_NAME))
    if left == "in S3":
        shutil.rmtree(archived.copy)
    elif left == "on the NAS":
        for key in archived_objects(archived):
            archived.server.client().delete_object(Bucket=archived.bucket, Key=key)
    path = archived.path_of(SMALL)
    archived.study.joinpath(path).write_bytes(b"ransom")
    rotten = archived.path_of(LARGE)
    flip_bit(archived.study / rotten)
    objects, held = archived_objects(archived), _copies(archived)
    assert archived.plans()[STUDY].observed.conditions[Name.VALIDATED].reason == SOURCE_CHANGED
    assert Path(path).name in archived.apply().errors
    assert "ledger does not know" in archived.run_assets("truenas_copy", "s3_archive")
    assert (archived_objects(archived), _copies(archived)) == (objects, held)
    archived.study.joinpath(path).write_bytes(archived.originals[STUDY, path])
    if left != "in S3":
        os.utime(archived.study / path, ns=(0, (archived.copy / path).stat().st_mtime_ns))
    assert Path(rotten).name in archived.apply().errors
    assert (archived_objects(archived), _copies(archived)) == (objects, held)
    flip_bit(archived.study / rotten)
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


def test_a_study_is_not_copied_over_that_of_another_lab_whose_ledger_this_one_does_not_know(
    small_lab: SmallLab,
) -> None:
    small_lab.add_study()
    text = small_lab.config.read_text()
    for name in "ab":
        (small_lab.nas / f"_ledger_{name}").mkdir()

    def config_of(name: str) -> str:
        root = f"root = '{small_lab.nas}'"
        own = text.replace(root, f"{root}\nmanifest_root = '{small_lab.nas}/_ledger_{name}'")
        return own.replace(f"prefix = '{PREFIX}'", f"prefix = '{name}'")

    small_lab.config.write_text(config_of("a"))
    done = small_lab.apply()
    assert done.failed == 0, done.errors
    held = _copies(small_lab)

    small_lab.add_study()
    small_lab.config.write_text(config_of("b"))
    refused = small_lab.apply()

    assert refused.failed == 1
    assert "ledger does not know" in refused.errors
    assert _copies(small_lab) == held
    assert small_lab.study.is_dir()
    assert not [key for key in archived_objects(small_lab) if key.startswith("b/")]


def test_a_study_that_shares_no_file_with_the_archived_one_of_its_name_is_not_merged_with_it(
    archived: SmallLab,
) -> None:
    shutil.rmtree(archived.study)  # by hand: nothing was released
    other = archived.study / f"{STUDY}_b/Scan9/.temp/other.bin"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"of another study")
    objects, held = archived_objects(archived), _copies(archived)
    assert archived.plans()[STUDY].observed.conditions[Name.VALIDATED].reason == NAME_TAKEN
    for said in (archived.apply().errors, archived.run_assets("truenas_copy", "s3_archive")):
        assert "rename it" in said
    assert (archived_objects(archived), _copies(archived)) == (objects, held)
    assert other.is_file()


def test_a_copy_whose_first_run_was_killed_is_not_archived_alone_while_the_source_says_otherwise(
    lab: SmallLab,
) -> None:
    _killed(lab, (transferring, "with_proofs"))  # the sidecars are there, the ledger only knows that it was begun
    path = lab.path_of(SMALL)
    flip_bit(lab.copy / path)
    _regenerate_sidecar(lab)
    before = _good_places(lab)
    _release(lab)
    assert Path(path).name in lab.run_assets("s3_archive", "manifest_entry")
    _assert_no_last_copy_was_destroyed(lab, before)
    done = lab.apply()
    assert done.failed == 0, done.errors
    assert_completed(lab)


# The journal of a run that was broken off.


def test_a_copy_that_was_found_rotten_is_not_kept_on_the_word_of_the_journal(archived: SmallLab) -> None:
    path = archived.path_of(SMALL)
    (archived.copy / path).unlink()
    archived.write(f"{STUDY}/Scan1/.temp/znew.bin", b"new" * 100)
    _killed(archived, (transfers, "_commit_copy"))
    flip_bit(archived.copy / path)
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)
    assert_nothing_lost(archived)


@pytest.mark.parametrize("ending", [SMALL, LARGE])
def test_a_copy_that_rotted_after_its_first_run_was_killed_is_found_before_the_source_may_go(
    lab: SmallLab, ending: str
) -> None:
    path = lab.path_of(ending)
    _release(lab)
    _killed(lab, (transfers, "_commit_copy"))
    flip_bit(lab.copy / path)
    kept = {file: seen for file, seen in lab.files().items() if file.is_relative_to(lab.copy)}
    found = lab.apply()
    assert found.failed == 1
    assert Path(path).name in found.errors
    assert_nothing_lost(lab)
    done = lab.apply()
    assert done.failed == 0, done.errors
    assert_completed(lab)
    again = [f.name for f, seen in kept.items() if f.suffix != ".partial" and lab.files()[f] != seen]
    assert again == [Path(path).name], "good files were copied again"


# From half a study no sidecar is made.


@pytest.mark.parametrize("damage", [b"", b"no sidecar at all", None], ids=["empty", "unreadable", "missing"])
def test_no_file_is_forgotten_when_the_sidecar_is_damaged_in_the_middle_of_a_release(
    archived: SmallLab, damage: bytes | None
) -> None:
    sidecar = archived.copy / SIDECAR_NAME
    good = sidecar.read_bytes()
    break_off_release(archived, *[path for _, path in archived.originals if "focus01" in path])
    sidecar.write_bytes(damage) if damage is not None else sidecar.unlink()
    done = archived.apply()
    assert done.recaps[STUDY].failed == 0, done.errors
    assert sidecar.read_bytes() == good
    ours = [line for line in archived.ledger() if line["backup_name"] == STUDY]
    assert ours[-1]["file_count"] == len(parse_sidecar(good))
    assert_completed(archived)


def test_a_file_that_is_only_archived_any_more_is_not_forgotten_with_the_sidecar(archived: SmallLab) -> None:
    archived.write_config(delete_source=False)
    gone = archived.path_of(SMALL)
    (archived.study / gone).unlink()
    archived.write(f"{STUDY}/Scan1/.temp/y.bin", b"y" * 99)
    assert archived.apply().failed == 0
    files = archived.ledger()[-1]["file_count"]
    (archived.copy / SIDECAR_NAME).write_bytes(b"")
    flip_bit(archived.copy / gone)
    refused = archived.apply()
    assert Path(gone).name in refused.errors
    assert "from s3://" in refused.errors
    _restore(archived, gone, archived.copy)
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert archived.ledger()[-1]["file_count"] == files
    assert_completed(archived, released=False)


# Killed while something that is proven is replaced by something newer.


@pytest.mark.parametrize("s3", ["S3 has it", "S3 has nothing yet"])
@pytest.mark.parametrize("at", ["copy committed", "archive committed"])
def test_a_run_killed_between_a_new_sidecar_and_the_ledger_is_finished_by_the_next_one(
    lab: SmallLab, at: str, s3: str
) -> None:
    if s3 == "S3 has it":
        assert lab.apply().failed == 0
    else:
        assert lab.run_assets("truenas_copy") == ""
    lab.write(f"{STUDY}/Scan1/.temp/znew.bin", b"new" * 100)
    _killed(lab, (transfers, "_archived") if at == "copy committed" else (transferring, "with_proofs"))
    held = lab.files()
    done = lab.apply()
    assert done.failed == 0, done.errors
    assert_completed(lab, released=False)
    ours = {path for path in held if path.is_relative_to(lab.copy) and path.name != SIDECAR_NAME}
    assert {path: held[path] for path in ours}.items() <= lab.files().items(), "good files were copied again"


def test_a_run_killed_after_it_announced_a_sidecar_it_never_wrote_is_finished_by_the_next_one(
    archived: SmallLab,
) -> None:
    archived.write(f"{STUDY}/Scan1/.temp/znew.bin", b"new" * 100)
    _killed(archived, (transfers, "write_sidecar"))
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


def test_accepted_files_are_finished_by_the_next_run_when_the_first_is_killed(archived: SmallLab) -> None:
    path = archived.path_of(SMALL)
    archived.write(path, b"right new bytes")
    with archived.opened() as opened:
        accept_changes(opened, STUDY, archived.plans()[STUDY].observed.fingerprint)
    for killed_at in ((transfers, "_commit_copy"), (transfers, "_archived"), (transferring, "with_proofs")):
        _killed(archived, killed_at)
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


def test_a_release_killed_right_after_the_rename_is_not_finished_from_rotten_copies(
    archived: SmallLab,
) -> None:
    remove = "_remove_proven" if hasattr(deletion, "_remove_proven") else "remove_proven"
    _killed(archived, (deletion, remove))
    (archived.source / "20260106_WW_HCC_run2").mkdir()  # else the source looks as if it were not mounted
    path = archived.path_of(SMALL)
    flip_bit(archived.copy / path)
    _regenerate_sidecar(archived)
    before = _good_places(archived)
    done = archived.apply()
    _assert_no_last_copy_was_destroyed(archived, {path: places & {"s3"} for path, places in before.items()})
    assert done.recaps[STUDY].failed == 0, done.errors
    assert_completed(archived)
