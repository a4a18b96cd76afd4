"""A study copied and archived over SMB: from an instrument's share, to a NAS's share, and from there to S3."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fusion_assets.transfer import archive_copy, check_archive, check_copy, copy_and_archive, copy_study
from fusion_assets.transfer.errors import CorruptCopyError
from resources.local import LocalStorage
from resources.s3 import S3Bucket
from tests.real.s3 import S3Server
from tests.real.samba import Place
from tests.real.transfer_lab import OPTIONS, RUN, check_copy_on_disk, check_objects, list_study, make_study

pytestmark = pytest.mark.real


def test_a_study_goes_to_a_nas_over_smb_and_to_s3_in_one_pass(
    tmp_path: Path, share: Place, s3_bucket: S3Bucket, s3_server: S3Server
):
    files = make_study(tmp_path)
    source = LocalStorage(tmp_path)
    _, archived = copy_and_archive(source, share.storage, s3_bucket, list_study(source), options=OPTIONS)
    assert archived.error is None
    check_copy_on_disk(share.disk / RUN, files, tmp_path)
    check_objects(s3_bucket, s3_server.client(), files)
    copied, archived = copy_and_archive(source, share.storage, s3_bucket, list_study(source), options=OPTIONS)
    assert (copied.copied_files, archived.uploaded_files) == (0, 0)
    assert check_copy(share.storage, RUN) == []
    assert check_archive(share.storage, s3_bucket, RUN) == []


def test_a_study_comes_from_an_instrument_over_smb(tmp_path: Path, share: Place):
    files = make_study(share.disk)
    copy_study(share.storage, LocalStorage(tmp_path), list_study(share.storage), options=OPTIONS)
    check_copy_on_disk(tmp_path / RUN, files, share.disk)


def test_a_bit_that_flips_on_a_nas_over_smb_is_found_set_aside_and_healed(
    tmp_path: Path, share: Place, s3_bucket: S3Bucket
):
    files = make_study(tmp_path)
    source = LocalStorage(tmp_path)
    copy_study(source, share.storage, list_study(source), options=OPTIONS)
    victim = share.disk / RUN / f"{RUN}.xpd"
    before = victim.stat()
    victim.write_bytes(bytes([files[f"{RUN}.xpd"][0] ^ 1]) + files[f"{RUN}.xpd"][1:])
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(CorruptCopyError):
        archive_copy(share.storage, s3_bucket, backup_name=RUN, options=OPTIONS)
    _, archived = copy_and_archive(source, share.storage, s3_bucket, list_study(source), options=OPTIONS)
    assert archived.error is None
    check_copy_on_disk(share.disk / RUN, files, tmp_path)
