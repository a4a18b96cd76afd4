"""The whole way over SMB: from the instrument's share to the NAS's share and S3, by the command line, and released."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from resources.smb_pool import Pool
from tests.real.s3 import S3Server
from tests.real.samba import PASSWORD, SHARE, USERNAME, Place, SambaServer, mark_read_only
from tests.real.small_lab import STUDY, SmallLab, assert_completed, make_lab, messages, recap

pytestmark = pytest.mark.real

PASSWORD_VARIABLE = "FUSION_TEST_SMB_PASSWORD"


@pytest.fixture
def lab(
    share: Place, samba: SambaServer, s3_server: S3Server, no_aws: None, monkeypatch: pytest.MonkeyPatch
) -> SmallLab:
    """A lab whose instrument and NAS are only reached through the server, as the account that logs in."""
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    lab = make_lab(share.disk, s3_server, monkeypatch)
    lab.add_study(large_mib=6)
    root = f"{SHARE}/{share.disk.name}"
    lab.write_config(source=f"smb://instrument/{root}/instrument", truenas=f"smb://nas/{root}/nas")
    servers = "".join(
        f"[smb.{name}]\nhost = '127.0.0.1'\nport = {samba.port}\nusername = '{USERNAME}'\n"
        f"password_env = '{PASSWORD_VARIABLE}'\n"
        for name in ("instrument", "nas")
    )
    lab.config.write_text(lab.config.read_text() + servers)
    _give_to_account(lab.source, lab.nas)
    return lab


def _give_to_account(*places: Path) -> None:
    account = pwd.getpwnam(USERNAME)
    for place in places:
        for path in (place, *place.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid)


def test_a_study_travels_from_share_to_share_and_leaves_the_instrument_and_a_second_run_changes_nothing(
    lab: SmallLab,
) -> None:
    first = lab.fusion("apply", "--yes", "-f", "json")
    assert first.returncode == 0, first.stdout + first.stderr
    assert recap(first) == {"ok": 1, "changed": 4, "skipped": 0, "failed": 0}
    assert_completed(lab)
    before = lab.files(), lab.objects()
    second = lab.fusion("apply", "--yes", "-f", "json")
    assert second.returncode == 0, second.stdout + second.stderr
    assert recap(second) == {"ok": 5, "changed": 0, "skipped": 0, "failed": 0}
    assert (lab.files(), lab.objects()) == before


def test_a_study_with_a_read_only_file_and_folder_leaves_the_instrument(lab: SmallLab, samba: SambaServer) -> None:
    client = Pool(samba.login(connections=1), SHARE)
    image = next(lab.study.rglob("*.qptiff"))
    for path in (image, image.parent):
        mark_read_only(client.of_thread(), str(path.relative_to(samba.share)).replace("/", "\\"))
    client.close()
    done = lab.apply()
    assert done.failed == 0, done.errors
    assert_completed(lab)


def test_a_second_study_of_the_same_instrument_follows_the_first_by_the_monthly_task(lab: SmallLab) -> None:
    assert lab.fusion("backup", "run").returncode == 0
    lab.add_study(later := "20260206_WW_HCC_run2")
    _give_to_account(lab.source)
    planned = lab.fusion("plan", "-f", "json")
    assert [plan["study"] for plan in messages(planned)[0]["studies"]] == [STUDY, later]
    done = lab.fusion("backup", "run", "-f", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(messages(done)[-1]["studies"]) == [later]
    for study in (STUDY, later):
        assert_completed(lab, study=study)


def test_a_wrong_password_is_said_in_a_sentence_without_it(lab: SmallLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "not-the-password")
    done = lab.fusion("plan")
    assert done.returncode == 2, done.stderr
    assert "not-the-password" not in done.stderr
    assert PASSWORD_VARIABLE in done.stderr or USERNAME in done.stderr
    monkeypatch.delenv(PASSWORD_VARIABLE)
    unset = lab.fusion("plan")
    assert unset.returncode == 2, unset.stderr
    assert PASSWORD_VARIABLE in unset.stderr
