"""kill -9 at random moments of a transfer, again and again, and the run that must finish it as if nothing had been."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resources.s3 import S3Bucket
from tests.real.s3 import REGION, S3Server
from tests.real.transfer_lab import RUN, SIDECAR, check_copy_on_disk, check_objects, make_study

pytestmark = pytest.mark.real

CHILD = """
import json, sys
from dataclasses import replace
from fusion_assets.transfer import copy_and_archive
from resources.local import LocalStorage
from resources.s3 import S3Bucket
from tests.real.transfer_lab import OPTIONS, list_study

told = json.loads(sys.argv[1])
bucket = S3Bucket(told["bucket"], prefix=told["prefix"], region=told["region"], endpoint_url=told["url"])
source = LocalStorage(told["source"])
study = list_study(source)
bucket.check_reachable()
print("begins", flush=True)
options = replace(OPTIONS, bandwidth_limit=told["limit"])
_, archived = copy_and_archive(source, LocalStorage(told["nas"]), bucket, study, options=options)
if archived.error:
    raise archived.error
print(json.dumps([archived.uploaded_files, archived.present_files]), flush=True)
"""


def start(told: dict) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", CHILD, json.dumps(told)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "begins\n"
    return child


def check_unfinished(copy: Path, files: dict[str, bytes], bucket: S3Bucket) -> None:
    """Nothing bears a final name that is not proven, and no commit mark stands where anything is missing."""
    held = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()} if copy.exists() else set()
    for path in held:
        if path != SIDECAR and not path.endswith(".partial"):
            assert (copy / path).read_bytes() == files[path]
    if SIDECAR in held:
        assert set(files) <= held
    keys = {listed.key.removeprefix(f"{RUN}/"): listed.size for listed in bucket.list(f"{RUN}/")}
    if SIDECAR in keys:
        assert set(files) <= set(keys)
    for path, size in keys.items():
        assert path == SIDECAR or size == len(files[path])


@pytest.mark.parametrize("seed", range(3))
def test_a_transfer_that_is_killed_again_and_again_is_finished_by_the_next(
    tmp_path: Path, s3_bucket: S3Bucket, s3_server: S3Server, seed: int
):
    for name in ("source", "nas"):
        (tmp_path / name).mkdir()
    files = make_study(tmp_path / "source")
    told = {
        "bucket": s3_bucket.bucket,
        "prefix": s3_bucket.prefix,
        "region": REGION,
        "url": s3_server.url,
        "source": str(tmp_path / "source"),
        "nas": str(tmp_path / "nas"),
        "limit": 20e6,  # 27 MB: a transfer takes about 1.5 s, most of which a kill can hit
    }
    chance = random.Random(seed)
    for _ in range(4):
        child = start(told)
        time.sleep(chance.uniform(0.05, 1.4))
        child.kill()
        child.communicate()
        check_unfinished(tmp_path / "nas" / RUN, files, s3_bucket)
    child = start({**told, "limit": None})
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    uploaded, present = json.loads(output)
    assert uploaded + present == len(files)
    check_copy_on_disk(tmp_path / "nas" / RUN, files, tmp_path / "source")
    check_objects(s3_bucket, s3_server.client(), files)
