"""Places that are not what config.toml says they are: one clear sentence, exit code 2, and nothing was touched.

Only the exit code and the sentence need the command line; each run of it looks at no more than it must.
"""

from __future__ import annotations

import os
import shutil

import pytest

from tests.real.small_lab import STUDY, SmallLab, assert_completed, assert_nothing_lost

pytestmark = pytest.mark.real


@pytest.fixture
def lab(small_lab: SmallLab) -> SmallLab:
    small_lab.add_study()
    return small_lab


def _refused(lab: SmallLab, *words: str) -> None:
    """`apply` ends with exit code 2 and one sentence with these words; the source and the NAS are as they were."""
    before = lab.files()
    done = lab.fusion("apply", "--yes")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert lab.files() == before


def test_a_misspelled_key_names_the_one_that_was_meant(lab: SmallLab) -> None:
    lab.config.write_text(lab.config.read_text().replace("idle_days", "idel_days"))
    _refused(lab, "backup.idel_days", "did you mean backup.idle_days?", str(lab.config))
    assert_nothing_lost(lab)


def test_a_missing_section_is_named(lab: SmallLab) -> None:
    text = lab.config.read_text()
    lab.config.write_text(text[: text.index("[s3]")] + text[text.index("[backup]") :])
    _refused(lab, "[s3] is missing", str(lab.config))
    assert_nothing_lost(lab)


def test_a_bucket_that_does_not_exist(lab: SmallLab) -> None:
    lab.write_config(bucket="no-such-bucket-here")
    _refused(lab, "no-such-bucket-here")
    assert_nothing_lost(lab)


def test_absent_credentials_say_where_they_come_from(lab: SmallLab) -> None:
    lab.keys, good = ("", ""), lab.keys
    _refused(lab, "AWS_ACCESS_KEY_ID", lab.bucket)
    lab.keys = good
    assert_nothing_lost(lab)


def test_refused_credentials_are_named_as_what_is_wrong(lab: SmallLab) -> None:
    good = lab.keys
    lab.keys = (good[0], "not/the/secret")
    _refused(lab, "the secret access key is not the one of this access key id", "AWS_SECRET_ACCESS_KEY", lab.bucket)
    lab.keys = ("AKIANOBODYKNOWSIT", good[1])
    _refused(lab, "the access key id is not known", "AWS_ACCESS_KEY_ID", lab.bucket)
    lab.keys = good
    assert_nothing_lost(lab)


def test_an_empty_mount_point_is_not_an_instrument_without_studies(lab: SmallLab) -> None:
    mount_point = lab.folder / "mnt"
    mount_point.mkdir()
    lab.write_config(source=str(mount_point))
    _refused(lab, str(mount_point), "empty", "mount it")
    assert_nothing_lost(lab)


@pytest.mark.parametrize("place", ["source", "truenas"])
def test_a_root_that_is_missing(lab: SmallLab, place: str) -> None:
    missing = lab.folder / "not-mounted"
    lab.write_config(**{place: str(missing)})
    _refused(lab, str(missing), "mount")
    assert not missing.exists(), "a root must never be created: it would hide the mount"
    assert_nothing_lost(lab)


@pytest.mark.parametrize("place", ["the same", "inside", "around"])
def test_a_nas_on_the_instrument_s_own_disk_is_refused(lab: SmallLab, place: str) -> None:
    truenas = {"the same": lab.source, "inside": lab.source / "nas", "around": lab.folder}[place]
    truenas.mkdir(exist_ok=True)
    lab.write_config(truenas=str(truenas))
    _refused(lab, f"truenas.root {truenas}", f"source.root {lab.source}", "the instrument's own disk")
    assert not lab.objects()
    assert_nothing_lost(lab)


def test_an_empty_nas_is_not_a_lost_backup_while_s3_knows_the_ledger(lab: SmallLab) -> None:
    lab.write_config(delete_source=False)
    assert lab.apply().failed == 0
    away = lab.folder / "the-real-nas"
    lab.nas.rename(away)
    lab.nas.mkdir()
    lab.write_config(delete_source=True)
    objects = lab.objects()

    _refused(lab, str(lab.nas), "not mounted", "mirror")

    assert lab.objects() == objects
    assert lab.study.is_dir()
    lab.nas.rmdir()
    away.rename(lab.nas)
    assert lab.apply().failed == 0
    assert_completed(lab)


def test_a_step_started_while_the_nas_is_not_mounted_leaves_no_ledger_that_would_pass_for_a_nas(lab: SmallLab) -> None:
    assert lab.apply().failed == 0
    away = lab.folder / "the-real-nas"
    lab.nas.rename(away)
    lab.nas.mkdir()
    invalid, other = "20260107_bad", "20260106_WW_HCC_run2"
    lab.write("a.txt", b"its name breaks the standard", invalid)
    lab.add_study(other)

    assert "fusion manifest restore" in lab.run_assets("validated", study=invalid)
    assert "fusion manifest restore" in lab.run_assets("truenas_copy", "s3_archive", study=other)

    assert list(lab.nas.iterdir()) == []
    _refused(lab, str(lab.nas), "not mounted", "mirror")
    assert (lab.source / other).is_dir()
    lab.nas.rmdir()
    away.rename(lab.nas)
    assert lab.apply().recaps[other].failed == 0
    assert_completed(lab, study=other)


def test_a_month_of_the_ledger_that_the_nas_lost_stops_everything_before_good_copies_are_overwritten(
    lab: SmallLab,
) -> None:
    lab.write_config(delete_source=False)
    assert lab.apply().failed == 0
    (month,) = (lab.nas / "_manifest").glob("*.jsonl")
    month.unlink()
    path = lab.path_of("focus005.bin")
    (lab.study / path).write_bytes(b"damaged")
    objects = lab.objects()

    _refused(lab, month.stem, "fusion manifest restore")
    for assets in (("truenas_copy", "s3_archive"), ("manifest_entry",), ("s3_archive",)):
        assert "fusion manifest restore" in lab.run_assets(*assets)

    assert lab.objects() == objects
    assert (lab.copy / path).read_bytes() == lab.originals[STUDY, path]
    assert lab.fusion("manifest", "restore").returncode == 0
    assert "proven files changed at the source" in lab.apply().errors
    assert (lab.copy / path).read_bytes() == lab.originals[STUDY, path]


def test_a_new_nas_after_the_old_one_died_gets_the_ledger_back_and_every_study_that_is_still_at_the_source(
    lab: SmallLab,
) -> None:
    gone, here = STUDY, "20260106_WW_HCC_run2"
    lab.add_study(here)
    lab.write_config(delete_source=False)
    assert lab.apply().failed == 0
    shutil.rmtree(lab.source / gone)
    shutil.rmtree(lab.nas)
    lab.nas.mkdir()

    _refused(lab, "fusion manifest restore")
    assert lab.fusion("manifest", "restore").returncode == 0
    done = lab.apply()

    assert done.recaps[here].failed == 0, done.errors
    lab.originals = {at: data for at, data in lab.originals.items() if at[0] == here}  # one copy of the other is gone
    assert_completed(lab, study=here, released=False)
    assert done.recaps[gone].failed == 1
    assert "its copy is gone from the NAS" in done.errors
    assert lab.key("", gone).rstrip("/") in done.errors


def test_an_s3_server_that_is_down_is_said_in_a_sentence_and_nothing_begins(lab: SmallLab) -> None:
    config = lab.config.read_text()
    lab.config.write_text(config.replace(lab.server.url, "http://127.0.0.1:9"))
    done = lab.fusion("apply", "--yes")
    assert done.returncode == 3, done.stderr
    assert "http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(lab.nas.iterdir())
    assert_nothing_lost(lab)


def test_a_file_that_may_not_be_read_keeps_its_study_and_stops_no_other(lab: SmallLab) -> None:
    other = "20260106_WW_HCC_run2"
    lab.add_study(other)
    secret = lab.study / lab.path_of("MarkerList.txt")
    secret.chmod(0)
    # Root may read everything, unless this capability is taken away.
    as_ordinary = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    if as_ordinary:
        assert shutil.which("setpriv"), "install util-linux"
    done = lab.fusion("apply", "--yes", through=as_ordinary)
    secret.chmod(0o644)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "permission denied" in done.stdout
    assert "MarkerList.txt" in done.stdout
    assert lab.study.is_dir()
    assert_nothing_lost(lab)
    assert_completed(lab, study=other)
    assert lab.apply().failed == 0
    assert_completed(lab)
