"""A study archived on real S3 servers: one that checks every byte, one that states odd checksums, one that dies."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fusion_assets.transfer import archive_copy, check_archive, copy_and_archive
from resources.errors import UnavailableError
from resources.local import LocalStorage
from resources.s3 import S3Bucket
from tests.real.s3 import S3Server, make_ministack, open_bucket, running
from tests.real.transfer_lab import OPTIONS, RUN, SIDECAR, check_copy_on_disk, check_objects, list_study, make_study

pytestmark = pytest.mark.real

LARGE = f"{RUN}/Scan1/{RUN}.qptiff"


@pytest.fixture
def places(tmp_path: Path) -> tuple[LocalStorage, LocalStorage, dict[str, bytes]]:
    for name in ("source", "nas"):
        (tmp_path / name).mkdir()
    return LocalStorage(tmp_path / "source"), LocalStorage(tmp_path / "nas"), make_study(tmp_path / "source")


def move(source, nas, bucket, **options):
    return copy_and_archive(source, nas, bucket, list_study(source), **{"options": OPTIONS, **options})


def test_a_server_that_checks_every_byte_agrees_with_all_of_them(places, s3_bucket: S3Bucket, s3_server: S3Server):
    source, nas, files = places
    _, archived = move(source, nas, s3_bucket)
    assert archived.error is None
    assert archived.proved_by_download == 0, "every object was proven by a checksum the server states"
    check_copy_on_disk(Path(nas.root) / RUN, files, Path(source.root))
    check_objects(s3_bucket, s3_server.client(), files)
    assert check_archive(nas, s3_bucket, RUN) == []
    composites = {proof.path: proof.composite for proof in archived.proofs if proof.composite}
    assert len(composites) == 2
    for path, composite in composites.items():
        info = s3_bucket.head(f"{RUN}/{path}")
        assert info is not None
        assert info.composite == composite


def test_a_second_run_uploads_nothing_and_reads_nothing(places, s3_bucket: S3Bucket):
    source, nas, files = places
    move(source, nas, s3_bucket)
    copied, archived = move(source, nas, s3_bucket)
    assert archived.error is None
    assert (copied.source_read, copied.nas_written, archived.nas_read, archived.uploaded_bytes) == (0, 0, 0, 0)
    assert archived.present_files == len(files)


def test_objects_that_are_missing_or_altered_are_named_and_replaced(places, s3_bucket: S3Bucket, s3_server: S3Server):
    source, nas, files = places
    move(source, nas, s3_bucket)
    client, key = s3_server.client(), f"{s3_bucket.prefix}/{RUN}"
    client.put_object(Bucket=s3_bucket.bucket, Key=f"{key}/{LARGE}", Body=bytes(len(files[LARGE])))
    client.delete_object(Bucket=s3_bucket.bucket, Key=f"{key}/{RUN}.xpd")
    assert [problem.path for problem in check_archive(nas, s3_bucket, RUN)] == sorted([LARGE, f"{RUN}.xpd"])
    assert archive_copy(nas, s3_bucket, backup_name=RUN, options=OPTIONS).uploaded_files == 2
    assert check_archive(nas, s3_bucket, RUN) == []
    check_objects(s3_bucket, client, files)


def test_a_server_whose_checksums_cannot_be_used_is_asked_for_the_bytes(
    places, moto_bucket: S3Bucket, moto_server: S3Server
):
    source, nas, files = places
    _, archived = move(source, nas, moto_bucket)
    assert archived.error is None
    assert archived.proved_by_download > 0
    check_objects(moto_bucket, moto_server.client(), files)


@pytest.fixture
def mortal_server(tmp_path: Path) -> Iterator[S3Server]:
    with running(make_ministack(tmp_path / "ministack", persist=True)) as server:
        yield server


@pytest.mark.usefixtures("s3_credentials")
@pytest.mark.parametrize("uploaded", [1, 5 << 20])
def test_a_server_that_dies_in_the_middle_costs_the_archive_but_not_the_copy(places, mortal_server, uploaded):
    source, nas, files = places
    bucket = open_bucket(mortal_server)
    stopper = threading.Thread(target=mortal_server.kill)
    begun = threading.Event()

    def stop_after(progress) -> None:
        if progress.uploaded >= uploaded and not begun.is_set():
            begun.set()
            stopper.start()

    began = time.monotonic()
    # Slow enough that there is something left to do when the server dies.
    copied, archived = move(source, nas, bucket, options=replace(OPTIONS, bandwidth_limit=12e6), progress=stop_after)
    stopper.join()
    assert isinstance(archived.error, UnavailableError), archived
    assert copied.files == len(files)
    assert time.monotonic() - began < 60
    check_copy_on_disk(Path(nas.root) / RUN, files, Path(source.root))
    mortal_server.start()
    client = mortal_server.client()
    held = client.list_objects_v2(Bucket=bucket.bucket, Prefix=f"{bucket.prefix}/{RUN}/{SIDECAR}")
    assert held["KeyCount"] == 0, "no commit mark on an archive that is not complete"
    assert archive_copy(nas, bucket, backup_name=RUN, options=OPTIONS).error is None
    check_objects(bucket, client, files)
