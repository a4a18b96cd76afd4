"""The ledger's copy in S3, on a server that checks what it is sent: equal after every append, never behind itself."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fusion_assets.manifest.ledger import LOCK_NAME, Ledger
from fusion_assets.manifest.mirror import MirrorConflictError, MirrorError, get_month, mirror_key
from resources.errors import ChecksumError, UnavailableError
from resources.local import LocalStorage
from resources.s3 import S3Bucket
from tests.manifest.records import record
from tests.real.s3 import S3Server, free_port, open_bucket

pytestmark = pytest.mark.real

JANUARY = datetime(2026, 1, 5, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 5, tzinfo=UTC)

APPENDER = """
import dataclasses, sys
from fusion_assets.manifest.ledger import Ledger
from fusion_assets.manifest.record import parse_line
from resources.local import LocalStorage
from resources.s3 import S3Bucket
directory, endpoint, bucket, name, count, template = sys.argv[1:]
ledger = Ledger(
    LocalStorage(directory), S3Bucket(bucket, prefix="archive", endpoint_url=endpoint, region="us-east-1")
)
for number in range(int(count)):
    ledger.append(dataclasses.replace(parse_line(template), backup_name=f"{name}-{number}"))
"""


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    folder = tmp_path / "_manifest"
    folder.mkdir()
    return folder


@pytest.fixture
def ledger(disk: Path, s3_bucket: S3Bucket) -> Ledger:
    return Ledger(LocalStorage(disk), s3_bucket, patience=5)


@pytest.fixture
def cut_off(disk: Path, s3_bucket: S3Bucket, s3_server: S3Server) -> Ledger:
    """The same ledger, while nobody answers at S3's port."""
    nobody = open_bucket(s3_server, s3_bucket.bucket, endpoint_url=f"http://127.0.0.1:{free_port()}")
    return Ledger(LocalStorage(disk), nobody)


def study(number: int):
    return record(backup_name=f"study-{number}")


def test_the_mirror_equals_the_file_after_every_append(ledger, disk, s3_bucket, s3_server):
    s3 = s3_server.client()
    for number in range(5):
        month = ledger.append(study(number), now=JANUARY if number < 3 else FEBRUARY)
        content = (disk / f"{month}.jsonl").read_bytes()
        found = s3.get_object(Bucket=s3_bucket.bucket, Key=f"archive/_manifest/{month}.jsonl")
        assert found["Body"].read() == content
        assert found["Metadata"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert ledger.stale_mirrors() == []
    assert all(state.same for state in ledger.mirror_state())


def test_writers_at_work_together_leave_a_mirror_that_equals_the_file(ledger, disk, s3_bucket, s3_server):
    template = record().to_line().decode()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", APPENDER, str(disk), s3_server.url, s3_bucket.bucket, name, "15", template],
            cwd=Path(__file__).parents[2],
        )
        for name in "ab"
    ]
    while any(process.poll() is None for process in processes):
        assert ledger.stale_mirrors() == [], "a line that is being written is not one that was left behind"
    assert [process.wait(120) for process in processes] == [0, 0]
    (month,) = ledger.read().months
    assert len(ledger.read().records) == 30
    assert get_month(s3_bucket, month) == (disk / f"{month}.jsonl").read_bytes()


def test_without_s3_the_record_is_safe_and_the_months_left_behind_are_known_and_caught_up(ledger, cut_off, disk):
    ledger.append(study(1), now=JANUARY)
    with pytest.raises(MirrorError, match="2026-01 was not copied") as failed:
        cut_off.append(study(2), now=JANUARY)
    assert failed.value.month == "2026-01"
    assert isinstance(failed.value, UnavailableError), "trying again can cure it"
    assert not (disk / LOCK_NAME).exists()
    ledger.append(study(3), now=FEBRUARY)
    assert list(ledger.read().records) == ["study-1", "study-2", "study-3"]
    assert ledger.stale_mirrors() == ["2026-01"]
    ledger.mirror("2026-01")
    assert ledger.stale_mirrors() == []


def test_stale_months_are_found_with_one_listing_and_no_other_request(ledger, s3_bucket, monkeypatch):
    ledger.append(study(1), now=JANUARY)
    ledger.append(study(2), now=FEBRUARY)
    sent: list[str] = []
    requester = s3_bucket._requester
    send = requester.send
    monkeypatch.setattr(requester, "send", lambda request, **more: sent.append(request.method) or send(request, **more))
    assert ledger.stale_mirrors() == []
    assert sent == ["GET"]


def test_a_torn_end_is_mended_before_the_file_is_mirrored(ledger, disk, s3_bucket):
    ledger.append(study(1), now=JANUARY)
    with (disk / "2026-01.jsonl").open("ab") as file:
        file.write(b'{"backup_')
    ledger.mirror("2026-01")
    assert get_month(s3_bucket, "2026-01") == study(1).to_line() == (disk / "2026-01.jsonl").read_bytes()


def test_a_nas_that_lost_its_ledger_does_not_empty_the_mirror_too(ledger, disk, s3_bucket):
    ledger.append(study(1), now=JANUARY)
    (disk / "2026-01.jsonl").unlink()
    with pytest.raises(MirrorConflictError, match="`fusion manifest restore` joins the two"):
        ledger.append(study(2), now=JANUARY)
    assert get_month(s3_bucket, "2026-01") == study(1).to_line()
    assert list(ledger.read().records) == ["study-2"], "and what was appended is safe"

    assert ledger.restore_from_mirror() == ["2026-01"]
    assert list(ledger.read().records) == ["study-1", "study-2"]
    assert ledger.stale_mirrors() == []
    ledger.append(study(3), now=JANUARY)


def test_a_lost_ledger_comes_back_whole_and_a_whole_one_is_left_alone(ledger, disk):
    for number, month in enumerate([JANUARY, JANUARY, FEBRUARY]):
        ledger.append(study(number), now=month)
    before = {path.name: path.read_bytes() for path in disk.iterdir()}
    assert ledger.restore_from_mirror() == []
    for path in disk.iterdir():
        path.unlink()
    assert ledger.stale_mirrors() == ["2026-01", "2026-02"]
    with pytest.raises(MirrorConflictError, match="`fusion manifest restore` brings it back"):
        ledger.mirror("2026-01", losing=ledger.lost_by_mirroring("2026-01"))
    assert ledger.restore_from_mirror() == ["2026-01", "2026-02"]
    assert {path.name: path.read_bytes() for path in disk.iterdir()} == before
    assert ledger.restore_from_mirror() == []


def test_a_ledger_edited_by_hand_is_mirrored_only_when_told_so(ledger, disk, s3_bucket):
    ledger.append(record(file_count=111), now=JANUARY)
    file = disk / "2026-01.jsonl"
    file.write_bytes(file.read_bytes().replace(b"111", b"222"))
    assert ledger.stale_mirrors() == [], "the sizes are equal"
    with pytest.raises(MirrorConflictError):
        ledger.mirror("2026-01")
    lost = ledger.lost_by_mirroring("2026-01")
    assert [b"111" in line for line in lost] == [True]
    with pytest.raises(MirrorConflictError):
        ledger.mirror("2026-01", losing=[b"another line, which was all that somebody agreed to lose"])
    ledger.mirror("2026-01", losing=lost)
    assert get_month(s3_bucket, "2026-01") == file.read_bytes()


def test_objects_beside_the_months_are_no_months(ledger, s3_bucket):
    for key in (
        "_manifest/pins.json",
        "_manifest/2026-13.jsonl",
        "_manifest/old/2026-01.jsonl",
        "_manifest2/2026-01.jsonl",
    ):
        s3_bucket.put(key, b"x", sha256=hashlib.sha256(b"x").digest())
    assert ledger.mirror_state() == []
    assert ledger.restore_from_mirror() == []


def test_an_object_put_by_another_program_counts_by_its_bytes(ledger, disk, s3_bucket, s3_server):
    """No SHA-256 is stated for it: it is compared by reading it."""
    client = s3_server.client()
    key = f"archive/{mirror_key('2026-01')}"
    client.put_object(Bucket=s3_bucket.bucket, Key=key, Body=study(1).to_line(), ChecksumAlgorithm="CRC32")
    (disk / "2026-01.jsonl").write_bytes(study(1).to_line())
    ledger.append(study(2), now=JANUARY)
    client.put_object(Bucket=s3_bucket.bucket, Key=key, Body=b"other", ChecksumAlgorithm="CRC32")
    with pytest.raises(MirrorConflictError):
        ledger.append(study(3), now=JANUARY)


def test_a_mirror_that_arrives_damaged_is_not_restored(ledger, disk, s3_bucket, monkeypatch):
    ledger.append(study(1), now=JANUARY)
    (disk / "2026-01.jsonl").unlink()
    monkeypatch.setattr(s3_bucket, "get_bytes", lambda key: study(1).to_line().replace(b"300", b"301"))
    with pytest.raises(ChecksumError, match="arrived damaged"):
        ledger.restore_from_mirror()
    assert list(disk.iterdir()) == []


def test_a_ledger_without_a_bucket_has_no_mirror(disk):
    ledger = Ledger(LocalStorage(disk))
    ledger.append(study(1), now=JANUARY)
    ledger.mirror("2026-01")
    assert (ledger.mirror_state(), ledger.restore_from_mirror()) == ([], [])
    assert json.loads((disk / "2026-01.jsonl").read_bytes())["backup_name"] == "study-1"
