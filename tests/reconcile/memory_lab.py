"""A lab whose bucket is in memory: small and fast enough for thousands of runs, each cut off at any change it makes.

What belongs here: the lab, one study in it, carrying plans out as `fusion apply` does (without Dagster and locks), and
damages. What does not: what must hold after them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli.demo.qptiff import ImageSpec, write_qptiff
from cli.demo.study import design
from fusion_assets.config import load_config
from fusion_assets.manifest.ledger import Ledger
from fusion_assets.reconcile import releasing, steps
from fusion_assets.reconcile.deletion import GateError
from fusion_assets.reconcile.errors import InvalidStudyError, LedgerError
from fusion_assets.reconcile.lab import TRASH, Lab
from fusion_assets.reconcile.observe import observe_lab
from fusion_assets.reconcile.plan import Desired, Step, StudyPlan, plan_studies
from fusion_assets.reconcile.transferring import refuse_unarchived, transfer
from fusion_assets.standard.listing import SIDECAR_NAME
from fusion_assets.transfer.errors import TransferError
from fusion_assets.transfer.sidecar import format_sidecar
from resources.errors import ResourceError, UnavailableError
from resources.local import LocalStorage
from tests.transfer.lab import TINY
from tests.transfer.memory_bucket import MemoryBucket, Stored
from tests.transfer.watched_storage import MUTATIONS, WatchedStorage

STUDY, BESIDE = "20260105_WW_HCC_run1", "20260106_WW_HCC_run2"
RAW = f"{STUDY}/Scan1/.temp"
FAILURES = (InvalidStudyError, LedgerError, GateError, TransferError, ResourceError)


class PowerCutError(BaseException):
    """The process is gone: nothing after it happens any more, whoever tries."""


class WholeBucket(MemoryBucket):
    """With what a lab asks of a bucket beyond a transfer."""

    def check_reachable(self) -> None:
        self._asked("check", "")

    def list_directories(self, prefix: str = "") -> Iterator[str]:
        self._asked("list", "")
        yield from sorted({key.partition("/")[0] for key in self.objects})

    def list(self, prefix: str = ""):
        return iter(list(super().list(prefix)))


class MemoryLab:
    """A lab with one study at its source, and a directory beside it, so that the source never looks unmounted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.source, self.nas = root / "source", root / "nas"
        for folder in (self.source / BESIDE, self.nas):
            folder.mkdir(parents=True)
        self.write_config(delete_source=False)
        self.bucket = WholeBucket()
        self._clock = 1_700_000_000
        self.write_study()

    def write_config(self, *, delete_source: bool) -> None:
        (self.root / "config.toml").write_text(
            f"[source]\nroot = '{self.source}'\n[truenas]\nroot = '{self.nas}'\n[s3]\nbucket = 'memory'\n"
            f"[backup]\nidle_days = 0\nsettle_minutes = 0\ndelete_source = {str(delete_source).lower()}\n"
        )

    @property
    def study(self) -> Path:
        return self.source / STUDY

    @property
    def copy(self) -> Path:
        return self.nas / STUDY

    @property
    def sidecar(self) -> Path:
        return self.copy / SIDECAR_NAME

    def write(self, path: str, data: bytes) -> None:
        """A file at the source, newer than all before it."""
        file = self.study / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        self._clock += 60
        os.utime(file, (self._clock, self._clock))

    def write_study(self, prefix: str = "raw") -> None:
        """A study that keeps the standard; `prefix` names its raw files, whose bytes are always new."""
        image = self.study / f"{STUDY}/Scan1/{STUDY}_Scan1.qptiff"
        image.parent.mkdir(parents=True)
        write_qptiff(image, ImageSpec(("DAPI",), 16, 16, tile=16, levels=1, thumbnail=(16, 16), overview=(16, 16)))
        self.write(f"{STUDY}.xpd", design(STUDY, ("DAPI",)).encode())
        self.write(image.relative_to(self.study).as_posix(), image.read_bytes())
        self.write(f"{RAW}/MarkerList.txt", b"DAPI\r\n")
        for number in range(3):
            self.write(f"{RAW}/{prefix}{number}.bin", os.urandom(500 + number))
        self.write(f"{RAW}/{prefix}-large.bin", os.urandom(25_000))

    def opened(self, *, cut_after: int | None = None, fails_after: int | None = None, place: str = "nas") -> Lab:
        """The lab.

        Args:
            cut_after: After so many changes, the process dies when it is about to change something once more.
            fails_after: After so many answers, `place` (``source``, ``nas`` or ``s3``) gives none for once.
            place: Which.
        """
        source, nas = WatchedStorage(self.source), WatchedStorage(self.nas)
        cut = _Cut(cut_after)
        source.before = nas.before = cut.on_storage
        self.bucket.before = cut.on_bucket
        if fails_after is not None:
            {"source": source, "nas": nas, "s3": self.bucket}[place].before = _Hiccup(fails_after).on_question
        ledger = Ledger(LocalStorage(self.nas / "_manifest"), self.bucket)
        return Lab(load_config(self.root / "config.toml"), source, nas, ledger, self.bucket)

    def plan(self, lab: Lab) -> StudyPlan | None:
        observed = [one for one in observe_lab(lab, {}).studies if one.run_name == STUDY]
        desired = Desired(lab.config.backup.delete_source)
        return plan_studies(desired, observed)[0] if observed else None

    def apply(self, *, cut_after: int | None = None, fails_after: int | None = None, place: str = "nas") -> str | None:
        """Carry plans out until there is nothing to do; why it failed, None if it did not. Arguments: see `opened`."""
        try:
            lab = self.opened(cut_after=cut_after, fails_after=fails_after, place=place)
            for _ in range(3):
                plan = self.plan(lab)
                if plan is None or not plan.actions:
                    return None
                carry_out(lab, plan.actions)
        except FAILURES as error:
            return str(error)
        except PowerCutError:
            return "killed"
        return "the steps succeeded, but the study is not in its declared state"

    def run(self, *actions: Step) -> str | None:
        """Run these steps, whatever the plan says; why they failed, None if they did not."""
        try:
            carry_out(self.opened(), actions)
        except FAILURES as error:
            return str(error)
        return None

    def here(self) -> Path:
        """The study's directory at the source, or in the trash."""
        trash = self.source / TRASH
        trashed = sorted(trash.glob(f"{STUDY}@*")) if trash.is_dir() else []
        return self.study if self.study.is_dir() or not trashed else trashed[-1]

    def places(self, path: str, data: bytes) -> set[str]:
        """Where a file is, with these bytes."""
        files = {"source": self.here() / path, "nas": self.copy / path}
        found = {name for name, file in files.items() if file.is_file() and file.read_bytes() == data}
        stored = self.bucket.objects.get(f"{STUDY}/{path}")
        return found | ({"s3"} if stored and stored.data == data else set())

    def at_source(self) -> Mapping[str, bytes]:
        here = self.here()
        return {p.relative_to(here).as_posix(): p.read_bytes() for p in here.rglob("*") if p.is_file()}

    def forget_ledger(self) -> None:
        shutil.rmtree(self.nas / "_manifest", ignore_errors=True)
        for key in [key for key in self.bucket.objects if key.startswith("_manifest/")]:
            del self.bucket.objects[key]

    def ledger_files(self) -> dict[str, Stored | bytes]:
        """The ledger on the NAS, by name, and its mirror, by key."""
        folder = self.nas / "_manifest"
        files = {file.name: file.read_bytes() for file in folder.glob("*.jsonl")}
        return {**files, **{key: each for key, each in self.bucket.objects.items() if key.startswith("_manifest/")}}

    def put_ledger(self, files: Mapping[str, Stored | bytes]) -> None:
        """Put `ledger_files` back where there are none."""
        (self.nas / "_manifest").mkdir(exist_ok=True)
        for name, content in files.items():
            if isinstance(content, bytes):
                (self.nas / "_manifest" / name).write_bytes(content)
            else:
                self.bucket.objects[name] = content

    def ledger_bytes(self) -> bytes:
        """All lines on the NAS, in order."""
        return b"".join(file.read_bytes() for file in sorted((self.nas / "_manifest").glob("????-??.jsonl")))

    def regenerate_sidecar(self) -> None:
        """As somebody does who runs sha256sum on the NAS to make its complaints go away."""
        files = [p for p in self.copy.rglob("*") if p.is_file() and p.suffix != ".partial" and p.name != SIDECAR_NAME]
        sums = {p.relative_to(self.copy).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
        if files:
            self.sidecar.write_bytes(format_sidecar(sums))

    def keys(self) -> list[str]:
        """Of the study's raw files in S3."""
        return sorted(key for key in self.bucket.objects if key.startswith(f"{STUDY}/") and key.endswith(".bin"))

    def alter_object(self, key: str) -> None:
        """Other bytes of the same length."""
        stored = self.bucket.objects[key]
        self.bucket.objects[key] = Stored(stored.data[::-1], stored.metadata)


class _Cut:
    """Lets a number of changes happen, and none after that; reading the places is free."""

    def __init__(self, changes: int | None) -> None:
        self._left = changes

    def on_storage(self, method: str, path: str) -> None:
        if method in MUTATIONS or method == "write":
            self._count()

    def on_bucket(self, method: str, key: str) -> None:
        if method not in ("head", "list", "read", "get", "check") and not key.startswith("_manifest/"):
            self._count()

    def _count(self) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise PowerCutError


class _Hiccup:
    """A place that answers a number of questions, then not once, then again; the ledger's are not counted."""

    def __init__(self, answers: int) -> None:
        self._left = answers

    def on_question(self, method: str, path: str) -> None:
        if "_manifest" in path:
            return
        self._left -= 1
        if self._left == -1:
            raise UnavailableError("it did not answer for once")


def carry_out(lab: Lab, actions: tuple[Step, ...]) -> None:
    """The steps of one plan, as the assets run them."""
    if Step.VALIDATED in actions:
        steps.refuse_invalid(lab, STUDY, steps.validate(lab, STUDY))
    copying, archiving = Step.TRUENAS_COPY in actions, Step.S3_ARCHIVE in actions
    if copying or archiving:
        done = transfer(lab, STUDY, copying=copying, archiving=archiving, options=TINY, progress=lambda _: None)
        refuse_unarchived(done)
    if Step.MANIFEST_ENTRY in actions:
        steps.record_entry(lab, STUDY)
    if Step.SOURCE_RELEASED in actions:
        releasing.release(lab, STUDY, {})
