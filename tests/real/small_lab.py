"""A lab of one or two tiny studies with a NAS, a bucket and the real command line, for breaking it in many ways.

What belongs here: building the lab, running `fusion` in a process of its own or carrying plans out in this one, and the
one promise every fault is held against (`assert_nothing_lost`). What does not: any fault.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cli.demo.qptiff import ImageSpec, write_qptiff
from cli.demo.study import design
from fusion_assets.config import load_config
from fusion_assets.reconcile.lab import TRASH, Lab, open_lab
from fusion_assets.reconcile.observe import observe_lab
from fusion_assets.reconcile.plan import Desired, StudyPlan, plan_studies
from fusion_assets.reconcile.recap import Recap, StepDone
from fusion_assets.standard.listing import SIDECAR_NAME
from fusion_assets.transfer.progress import Progress
from fusion_assets.transfer.sidecar import parse_sidecar
from tests.real.s3 import REGION, S3Server, use_keys

STUDY = "20260105_WW_HCC_run1"
LOCK = ".fusion-toolkit.lock"
PREFIX = "archive"
_MARKERS = ("DAPI", "CD45", "CD3e", "CD8")
_SMALL_FILES = 24
LARGE = "raw.bin"


@dataclass
class Applied:
    """What came of carrying plans out in this process."""

    recaps: Mapping[str, Recap]
    steps: list[StepDone]
    warnings: list[str]

    @property
    def errors(self) -> str:
        return "\n".join(step.message for step in self.steps if step.result == "failed")

    @property
    def failed(self) -> int:
        return sum(recap.failed for recap in self.recaps.values())

    @property
    def changed(self) -> int:
        return sum(recap.changed for recap in self.recaps.values())


@dataclass
class SmallLab:
    """An instrument's disk, a NAS and a bucket.

    Attributes:
        folder: Where everything is.
        server: The S3 server.
        bucket: Its bucket.
        keys: Access key and secret key in the environment of every process.
        originals: Every file that was ever at the source, by study and path: its bytes as last written.
    """

    folder: Path
    server: S3Server
    bucket: str
    keys: tuple[str, str]
    originals: dict[tuple[str, str], bytes] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        return self.folder / "instrument"

    @property
    def nas(self) -> Path:
        return self.folder / "nas"

    @property
    def study(self) -> Path:
        return self.source / STUDY

    @property
    def copy(self) -> Path:
        return self.nas / STUDY

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def environment(self) -> dict[str, str]:
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AWS_") and name not in ("DAGSTER_HOME", "FUSION_CONFIG")
        }
        return {
            **clean,
            "HOME": str(self.folder),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": self.keys[0],
            "AWS_SECRET_ACCESS_KEY": self.keys[1],
        }

    def write_config(self, *, delete_source: bool = True, bandwidth_mib: float | None = None, **places: str) -> None:
        """Write config.toml; `places` replace ``source``, ``truenas`` and ``bucket``."""
        limit = f"bandwidth_limit_mib = {bandwidth_mib}" if bandwidth_mib else ""
        self.config.write_text(
            f"""
[source]
root = '{places.get("source", self.source)}'
[truenas]
root = '{places.get("truenas", self.nas)}'
[s3]
bucket = '{places.get("bucket", self.bucket)}'
prefix = '{PREFIX}'
region = '{REGION}'
endpoint_url = '{self.server.url}'
part_size_mib = 5
[backup]
idle_days = 0
settle_minutes = 0
delete_source = {str(delete_source).lower()}
{limit}
""",
            encoding="utf-8",
        )

    def write(self, path: str, data: bytes, study: str = STUDY) -> Path:
        """Write a file of a study at the source, and remember what must never be lost of it."""
        file = self.source / study / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        self.originals[study, path] = data
        return file

    def add_study(self, study: str = STUDY, *, large_mib: int = 0) -> None:
        """Write a study that keeps the standard: a design, a scan with an image, and raw files of all sizes."""
        scan = f"{study}/Scan1"
        image = self.source / study / scan / f"{study}_Scan1.qptiff"
        image.parent.mkdir(parents=True)
        write_qptiff(image, ImageSpec(_MARKERS, 96, 96, tile=64, levels=2, thumbnail=(16, 16), overview=(16, 16)))
        self.originals[study, image.relative_to(self.source / study).as_posix()] = image.read_bytes()
        self.write(f"{study}.xpd", design(study, _MARKERS).encode(), study)
        self.write(f"{scan}/.temp/MarkerList.txt", "\r\n".join(_MARKERS).encode(), study)
        self.write(f"{scan}/.temp/empty.txt", b"", study)
        for number in range(_SMALL_FILES):
            self.write(f"{scan}/.temp/focus{number:03d}.bin", os.urandom(1000 + number), study)
        if large_mib:
            self.write(f"{scan}/.temp/{LARGE}", os.urandom(large_mib * 1024**2), study)

    def path_of(self, ending: str, study: str = STUDY) -> str:
        """The path of the one file of a study that ends like this."""
        (found,) = [path for of, path in self.originals if of == study and path.endswith(ending)]
        return found

    def argv(self, *arguments: str) -> list[str]:
        fusion = str(Path(sys.executable).with_name("fusion"))
        return [fusion, *arguments, "--config", str(self.config)]

    def fusion(self, *arguments: str, through: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run a command to its end.

        Args:
            arguments: Of `fusion`.
            through: A command that runs it, e.g. with fewer rights.
        """
        return subprocess.run(
            [*through, *self.argv(*arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=self.folder,
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own."""
        with (self.folder / "killed.log").open("ab") as log:
            return subprocess.Popen(
                self.argv(*arguments),
                env=self.environment,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )

    def kill_when(self, happened: Callable[[], bool], *arguments: str, seconds: float = 120) -> bool:
        """Start a command and kill -9 it as soon as something happened.

        Returns:
            Whether it was killed; False if it ended first.
        """
        process = self.start(*arguments)
        deadline = time.monotonic() + seconds
        try:
            while process.poll() is None:
                if happened():
                    break
                assert time.monotonic() < deadline, "what the kill waits for never happened"
                time.sleep(0.001)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return process.returncode == -signal.SIGKILL

    @contextmanager
    def opened(self):
        """The lab, opened in this process; its credentials must be in this process's environment."""
        with open_lab(load_config(self.config)) as lab:
            yield lab

    def plans(self) -> dict[str, StudyPlan]:
        """What would be done, by study."""
        with self.opened() as lab:
            return {plan.study: plan for plan in _plan(lab)}

    def apply(
        self,
        plans: Sequence[StudyPlan] | None = None,
        *,
        retry_seconds: float = 0.1,
        on_progress: Callable[[Progress], None] = lambda _: None,
        on_step: Callable[[StepDone], None] = lambda _: None,
    ) -> Applied:
        """Carry plans out in this process, as `fusion apply` does, but with shorter pauses before a retry.

        Args:
            plans: Made earlier; those of this moment by default.
            retry_seconds: The pause.
            on_progress: Told how far a transfer is.
            on_step: Told of every step that was done.
        """
        # Dagster takes seconds to import; the other real tests, which share a conftest with these, do without.
        import dagster as dg

        from definitions import build_defs
        from fusion_assets.studies.apply import Applier
        from fusion_assets.studies.lab_resource import OpenLab

        steps: list[StepDone] = []
        warnings: list[str] = []
        with self.opened() as lab, dg.DagsterInstance.ephemeral() as instance:
            definitions = build_defs(
                lab.config,
                resources={"lab": OpenLab(lab)},
                progress=lambda _study, _log: on_progress,
                retry_seconds=retry_seconds,
            )

            def tell(done: StepDone) -> None:
                steps.append(done)
                on_step(done)

            applier = Applier(definitions, instance, lab, {}, tell=tell, warn=warnings.append)
            return Applied(applier.apply(_plan(lab) if plans is None else plans), steps, warnings)

    def run_assets(self, *assets: str, study: str = STUDY) -> str:
        """Run these assets of a study as Dagster's UI or a backfill does, whatever the plan says.

        Returns:
            Why steps failed; empty when none did.
        """
        import dagster as dg

        from definitions import build_defs

        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions("studies", [study])
            job = build_defs(load_config(self.config)).resolve_job_def("archive_study")
            result = job.execute_in_process(
                instance=instance,
                partition_key=study,
                asset_selection=[dg.AssetKey(asset) for asset in assets],
                raise_on_error=False,
            )
        failed = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        return "\n".join(data.user_failure_data.description for data in failed if data.user_failure_data)

    def objects(self) -> dict[str, bytes]:
        """Everything in the bucket, as another program sees it."""
        client = self.server.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        return {key: client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}

    def key(self, path: str, study: str = STUDY) -> str:
        return f"{PREFIX}/{study}/{path}"

    def ledger(self) -> list[dict[str, Any]]:
        """Every record of every month, in order."""
        months = sorted((self.nas / "_manifest").glob("????-??.jsonl"))
        return [json.loads(line) for month in months for line in month.read_text().splitlines()]

    def files(self) -> dict[Path, tuple[int, int, int]]:
        """Every file at the source and on the NAS: inode, size and time; one that was written again is another one."""
        found = [path for place in (self.source, self.nas) for path in place.rglob("*") if path.is_file()]
        return {path: (s.st_ino, s.st_size, s.st_mtime_ns) for path in found for s in [path.stat()]}

    def trashed(self) -> list[Path]:
        """Studies in the trash folder at the source."""
        return self.in_folder(self.source / TRASH)

    @staticmethod
    def in_folder(folder: Path) -> list[Path]:
        """What lies in a folder that another process may remove at any moment."""
        try:
            return sorted(folder.iterdir())
        except FileNotFoundError:
            return []


@pytest.fixture
def small_lab(tmp_path: Path, s3_server: S3Server, no_aws: None, monkeypatch: pytest.MonkeyPatch) -> SmallLab:
    """A lab without studies: a new NAS, a new bucket, and an instrument's disk that is not there yet."""
    return make_lab(tmp_path, s3_server, monkeypatch)


def make_lab(folder: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> SmallLab:
    """A lab without studies on a server of the test's own; its keys are in this process's environment, too."""
    keys = server.access_key, server.secret_key
    use_keys(monkeypatch, *keys)
    lab = SmallLab(folder, server, server.make_bucket(), keys)
    lab.nas.mkdir()
    lab.write_config()
    return lab


def _plan(lab: Lab) -> tuple[StudyPlan, ...]:
    return plan_studies(Desired(lab.config.backup.delete_source), observe_lab(lab, {}).studies)


def assert_nothing_lost(lab: SmallLab) -> None:
    """The promise: whatever is gone from its place at the source is proven in both places.

    A study in the trash counts as gone, although its files may still be there: no study may even get that far unproven.
    """
    gone = {at: data for at, data in lab.originals.items() if not _still_there(lab.source.joinpath(*at), data)}
    objects = lab.objects() if gone else {}
    for (study, path), data in gone.items():
        sha256 = hashlib.sha256(data).hexdigest()
        on_nas = lab.nas / study / path
        assert on_nas.is_file(), f"{path} is gone from the source and is not on the NAS"
        assert hashlib.sha256(on_nas.read_bytes()).hexdigest() == sha256, f"{path} is gone, and differs on the NAS"
        sidecar = parse_sidecar((lab.nas / study / SIDECAR_NAME).read_bytes())
        assert sidecar.get(path) == sha256, f"{path} is gone and the sidecar does not vouch for it"
        assert objects.get(lab.key(path, study)) == data, f"{path} is gone and is not in S3 as it was"
    if gone:
        assert any(line["status"] == "complete" for line in lab.ledger()), "files are gone without a complete record"


def assert_completed(lab: SmallLab, *, released: bool = True, study: str = STUDY) -> None:
    """The study is where it belongs: proven in both places, recorded, and gone from the source if that was wanted."""
    objects = lab.objects()
    sidecar = (lab.nas / study / SIDECAR_NAME).read_bytes()
    checksums = parse_sidecar(sidecar)
    for (of, path), data in lab.originals.items():
        if of != study:
            continue
        sha256 = hashlib.sha256(data).hexdigest()
        assert checksums.get(path) == sha256, path
        assert hashlib.sha256((lab.nas / study / path).read_bytes()).hexdigest() == sha256, path
        assert objects.get(lab.key(path, study)) == data, path
    assert objects.get(lab.key(SIDECAR_NAME, study)) == sidecar
    assert [line["status"] for line in lab.ledger() if line["backup_name"] == study][-1] == "complete"
    assert not list((lab.nas / study).rglob("*.partial"))
    for month in (lab.nas / "_manifest").glob("*.jsonl"):
        assert objects[f"{PREFIX}/_manifest/{month.name}"] == month.read_bytes()
    assert (lab.source / study).exists() is not released
    assert not lab.trashed()
    assert not (lab.source / study / LOCK).exists()
    assert_nothing_lost(lab)


def _still_there(file: Path, data: bytes) -> bool:
    return file.is_file() and file.read_bytes() == data


def messages(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The JSON lines a command printed."""
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def recap(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """The total of the last line of ``fusion apply -f json``."""
    last = messages(done)[-1]
    assert last["type"] == "recap", done.stdout + done.stderr
    total: dict[str, int] = last["total"]
    return total
