"""A lab over its worst years: what may happen to its places, what people and programs do, and what must not be lost.

What belongs here: one year, step by step, and what is looked at after each run. What does not: which steps, and in
which order (`test_any_damage`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

from hypothesis import event

from fusion_assets.manifest.record import Record
from fusion_assets.reconcile.accepting import accept_changes
from fusion_assets.reconcile.conditions import Name
from fusion_assets.reconcile.overwrite import last_proven
from fusion_assets.reconcile.plan import SOURCE_CHANGED, Step
from fusion_assets.reconcile.proven import accepted_paths
from fusion_assets.standard.listing import SIDECAR_NAME
from fusion_assets.transfer.sidecar import parse_sidecar
from resources.s3_errors import ArchivedObjectError
from resources.s3_objects import ObjectInfo
from tests.damage import rot
from tests.reconcile.memory_lab import FAILURES, RAW, STUDY, MemoryLab, WholeBucket, carry_out
from tests.transfer.memory_bucket import Stored

STEPS = (Step.TRUENAS_COPY, Step.S3_ARCHIVE, Step.MANIFEST_ENTRY, Step.SOURCE_RELEASED)
MOST_CHANGES = 90  # of one run


class MoodyBucket(WholeBucket):
    """It may lie in cold storage, and may state no checksum of what another program uploaded, or of nothing at all."""

    is_cold = False
    states_others = True

    def head(self, key: str) -> ObjectInfo | None:
        info = super().head(key)
        is_other = info is not None and not info.metadata and not key.startswith("_manifest/")
        return replace(info, sha256=None) if info and is_other and not self.states_others else info

    def read(self, key, **kwargs):
        self._refuse_cold(key)
        return super().read(key, **kwargs)

    def get_bytes(self, key: str) -> bytes | None:
        self._refuse_cold(key)
        return super().get_bytes(key)

    def _refuse_cold(self, key: str) -> None:
        if self.is_cold and key in self.objects and not key.startswith("_manifest/"):
            raise ArchivedObjectError(f"{key} must be restored first")


class Year:
    """One lab over time.

    Attributes:
        good: What a microscope wrote and nobody wrote over: path and bytes. At the source it must not be lost.
        protected: What was proven in both places since, and nobody gave up: it must not be lost anywhere.
        times: When a file with these bytes was written.
        rotten_on_nas: Files that rotted there at some time: a run with no reason to read them does not see it.
    """

    def __init__(self, root: Path) -> None:
        self.lab = MemoryLab(root / "lab")
        self.lab.bucket = self.bucket = MoodyBucket()
        self.snapshot, self.whole_snapshot = root / "snapshot", root / "whole snapshot"
        self.good = set(self.lab.at_source().items())
        self.protected: set[tuple[str, bytes]] = set()
        self.old_ledger: dict[str, Stored | bytes] = {}
        self.old_objects: dict[str, Stored] = {}
        self.times: dict[tuple[str, bytes], int] = {}
        self.rotten_on_nas: set[str] = set()
        self._remember_times()

    def _remember_times(self) -> None:
        for path, data in self.lab.at_source().items():
            self.times[path, data] = (self.lab.here() / path).stat().st_mtime_ns

    def watch(self, run: Callable[[], str | None]) -> None:
        """Let a run run, and see what it destroyed."""
        before = {version: self.lab.places(*version) for version in self.good | self.protected}
        ledger = self.lab.ledger_bytes()
        said = run()
        self._look_at_what_is_new(ledger, said)
        event({None: "done", "killed": "killed"}.get(said, "refused"))
        if last_proven(self.lab.opened().ledger.read().history(STUDY)) is not None:
            self.protected |= {version for version in self.good if {"nas", "s3"} <= self.lab.places(*version)}
        for (path, data), places in before.items():
            after = self.lab.places(path, data)
            if "source" in places or (places and (path, data) in self.protected):
                assert after, f"the last good copy of {path} was destroyed; it was in {places}: {said}"
            if (path, data) in self.protected and "s3" in places:
                assert "s3" in after, f"the good object of {path} was overwritten: {said}"

    def _look_at_what_is_new(self, before: bytes, said: str | None) -> None:
        """A run that calls a study complete has proven what its sidecar says, in both places."""
        new = self.lab.ledger_bytes().removeprefix(before).splitlines()
        proven = {json.loads(line)["s3_verified_at"] for line in before.splitlines()}
        records = [json.loads(line) for line in new]
        if not records or records[-1]["status"] != "complete" or records[-1]["s3_verified_at"] in proven:
            return
        checksums = parse_sidecar(self.lab.bucket.objects[f"{STUDY}/{SIDECAR_NAME}"].data)
        assert len(checksums) == records[-1]["file_count"]
        for path, sha256 in checksums.items():
            stored = self.lab.bucket.objects[f"{STUDY}/{path}"]
            assert hashlib.sha256(stored.data).hexdigest() == sha256, f"{path} was called proven in S3: {said}"
            if path not in self.rotten_on_nas:
                held = (self.lab.copy / path).read_bytes()
                assert hashlib.sha256(held).hexdigest() == sha256, f"{path} was called proven on the NAS: {said}"
        # What had rotted before it was first read is what was archived: README, Limits.
        self.good = {
            (path, data) for path, data in self.good if checksums.get(path) in {None, hashlib.sha256(data).hexdigest()}
        }

    # Runs.

    def apply(self, random: Random) -> None:
        self.watch(self.lab.apply)

    def apply_and_die(self, random: Random) -> None:
        cut_after = random.randrange(MOST_CHANGES)
        self.watch(lambda: self.lab.apply(cut_after=cut_after))

    def start_steps_in_the_ui(self, random: Random) -> None:
        first = random.randrange(len(STEPS))
        steps = STEPS[first : first + random.randint(1, 3)]
        self.watch(lambda: self.lab.run(*steps))

    def apply_while_a_place_fails(self, random: Random) -> None:
        """A place answers for a while, then fails once."""
        answers = random.randrange(60)
        self.watch(lambda: self.lab.apply(fails_after=answers, place=random.choice(["source", "nas", "s3"])))

    def apply_while_s3_is_away(self, random: Random) -> None:
        """The plan was made before; some day it is back."""

        def run() -> str | None:
            opened = self.lab.opened()
            try:
                plan = self.lab.plan(opened)
                self.bucket.break_down()
                carry_out(opened, plan.actions if plan else ())
            except FAILURES as error:
                return str(error)
            return None

        self.watch(run)
        self.bucket.before = lambda _method, _key: None

    def validate_in_the_ui(self, random: Random) -> None:
        self.watch(lambda: self.lab.run(Step.VALIDATED))

    def accept_and_apply(self, random: Random) -> None:
        opened = self.lab.opened()
        try:
            plan = self.lab.plan(opened)
            if plan and plan.observed.conditions[Name.VALIDATED].reason == SOURCE_CHANGED and plan.observed.at_source:
                accept_changes(opened, STUDY, plan.observed.fingerprint)
                record = opened.ledger.read().records[STUDY]
                over = str(record.extra["accepted_over"])
                given_up = accepted_paths(record, plan.observed.fingerprint, over)
                event("accepted")
                self.protected = {version for version in self.protected if version[0] not in given_up}
        except FAILURES:
            event("not accepted")
        if random.random() < 0.7:
            self.apply(random)

    # What happens at the source.

    def rot_at_source(self, random: Random) -> None:
        if file := _file(random, self.lab.here()):
            rot(file)

    def cut_at_source(self, random: Random) -> None:
        """As a repair of its disk does: the time stays. What the ledger says was proven of it is not given up."""
        file = _file(random, self.lab.study)
        if not file or not file.stat().st_size:
            return
        path, time, record = file.relative_to(self.lab.study).as_posix(), file.stat().st_mtime_ns, self._record()
        if record and record.truenas_verified_at and (path, file.read_bytes()) in self.good:
            self.protected |= (
                {(path, file.read_bytes())} if "nas" in self.lab.places(path, file.read_bytes()) else set()
            )
        os.truncate(file, random.randrange(file.stat().st_size))
        os.utime(file, ns=(time, time))

    def _record(self) -> Record | None:
        return self.lab.opened().ledger.read().records.get(STUDY)

    def change_at_source(self, random: Random) -> None:
        if file := _file(random, self.lab.study):
            path = file.relative_to(self.lab.study).as_posix()
            self._write(path, os.urandom(random.choice([file.stat().st_size, 300])))

    def gain_at_source(self, random: Random) -> None:
        if self.lab.study.is_dir():
            self._write(f"{RAW}/new{random.randrange(3)}.bin", os.urandom(400))

    def _write(self, path: str, data: bytes) -> None:
        # The older bytes, if they were never proven, are given up: whoever is still being written changes.
        self.good = {version for version in self.good if version[0] != path} | {(path, data)}
        if last_proven(self.lab.opened().ledger.read().history(STUDY)) is None:
            self.protected = {version for version in self.protected if version[0] != path}
        self.lab.write(path, data)
        self._remember_times()

    def touch_at_source(self, random: Random) -> None:
        if file := _file(random, self.lab.study):
            os.utime(file)

    def put_good_files_back(self, random: Random) -> None:
        """With their times, as every hint says."""
        for path, data in sorted(self.good) if self.lab.study.is_dir() else []:
            file, time = self.lab.study / path, self.times[path, data]
            if not file.is_file() or file.read_bytes() != data:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
                os.utime(file, ns=(time, time))

    def bring_back_from_the_nas(self, random: Random) -> None:
        if self.lab.copy.is_dir() and not self.lab.here().exists():
            ours = shutil.ignore_patterns("_checksums*", "*.partial", ".fusion*")
            shutil.copytree(self.lab.copy, self.lab.study, symlinks=True, ignore=ours)

    def lose_at_source(self, random: Random) -> None:
        if file := _file(random, self.lab.here()):
            file.unlink()

    def another_study_takes_the_name(self, random: Random) -> None:
        shutil.rmtree(self.lab.study, ignore_errors=True)
        self.lab.write_study(random.choice(["raw", "other"]))
        files = {p.relative_to(self.lab.study).as_posix(): p for p in self.lab.study.rglob("*") if p.is_file()}
        self.good = {(path, file.read_bytes()) for path, file in files.items()}
        self._remember_times()

    def add_what_is_invalid(self, random: Random) -> None:
        link = self.lab.study / "link"
        if self.lab.study.is_dir() and not link.is_symlink():
            link.symlink_to("/nowhere")

    def take_away_what_is_invalid(self, random: Random) -> None:
        (self.lab.study / "link").unlink(missing_ok=True)

    def move_back_out_of_the_trash(self, random: Random) -> None:
        if not self.lab.study.exists() and self.lab.here().is_dir():
            self.lab.here().rename(self.lab.study)

    def release_from_now_on(self, random: Random) -> None:
        self.lab.write_config(delete_source=True)

    def keep_from_now_on(self, random: Random) -> None:
        self.lab.write_config(delete_source=False)

    # What happens on the NAS.

    def flip_on_nas(self, random: Random) -> None:
        if file := _file(random, self.lab.copy):
            rot(file)
            self.rotten_on_nas.add(file.relative_to(self.lab.copy).as_posix())

    def copies_of_another_program(self, random: Random) -> None:
        """On the NAS, in S3, or both, where there is nothing yet."""
        if self.lab.copy.exists() or self.lab.keys() or not self.lab.study.is_dir():
            return
        for path, data in self.lab.at_source().items():
            self.bucket.objects[f"{STUDY}/{path}"] = Stored(data, {})
        if random.random() < 0.7:
            shutil.copytree(self.lab.study, self.lab.copy, symlinks=True)
        if random.random() < 0.3:
            self.lose_archive(random)

    def put_by_hand(self, random: Random) -> None:
        """A late file that a person does not wait for: copied to the NAS, to S3, or to both."""
        if not self.lab.study.is_dir() or last_proven(self.lab.opened().ledger.read().history(STUDY)) is None:
            return
        path = f"{RAW}/late{random.randrange(9)}.bin"
        if self.lab.copy.joinpath(path).exists() or f"{STUDY}/{path}" in self.bucket.objects:
            return
        self._write(path, os.urandom(350))
        version = (path, (self.lab.study / path).read_bytes())
        if random.random() < 0.7 and self.lab.copy.joinpath(RAW).is_dir():
            shutil.copy2(self.lab.study / path, self.lab.copy / path)
        if random.random() < 0.5:
            self.bucket.objects[f"{STUDY}/{path}"] = Stored(version[1], {})
        self.protected |= {version} if self.lab.places(*version) > {"source"} else set()

    def lose_journal(self, random: Random) -> None:
        for file in self.lab.copy.glob("*journal*"):
            file.unlink()

    def lose_on_nas(self, random: Random) -> None:
        if file := _file(random, self.lab.copy):
            file.unlink()

    def truncate_on_nas(self, random: Random) -> None:
        if file := _file(random, self.lab.copy):
            os.truncate(file, 7)

    def touch_on_nas(self, random: Random) -> None:
        if file := _file(random, self.lab.copy):
            os.utime(file)

    def regenerate_sidecar(self, random: Random) -> None:
        self.lab.regenerate_sidecar()

    def damage_sidecar(self, random: Random) -> None:
        if self.lab.sidecar.is_file():
            damage = random.choice([b"", b"no sidecar at all", None])
            self.lab.sidecar.unlink() if damage is None else self.lab.sidecar.write_bytes(damage)

    def lose_copy(self, random: Random) -> None:
        shutil.rmtree(self.lab.copy, ignore_errors=True)

    def take_snapshot(self, random: Random) -> None:
        shutil.rmtree(self.snapshot, ignore_errors=True)
        if self.lab.copy.is_dir():
            shutil.copytree(self.lab.copy, self.snapshot, symlinks=True)

    def roll_back(self, random: Random) -> None:
        if self.snapshot.is_dir():
            self.lose_copy(random)
            shutil.copytree(self.snapshot, self.lab.copy, symlinks=True)
            self._distrust_nas()

    def _distrust_nas(self) -> None:
        files = (path for path in self.lab.copy.rglob("*") if path.is_file())
        self.rotten_on_nas |= {file.relative_to(self.lab.copy).as_posix() for file in files}

    def take_snapshot_of_all(self, random: Random) -> None:
        shutil.rmtree(self.whole_snapshot, ignore_errors=True)
        shutil.copytree(self.lab.nas, self.whole_snapshot, symlinks=True)

    def roll_back_all(self, random: Random) -> None:
        """With the ledger, and not its mirror."""
        if self.whole_snapshot.is_dir():
            shutil.rmtree(self.lab.nas)
            shutil.copytree(self.whole_snapshot, self.lab.nas, symlinks=True)
            self._distrust_nas()

    def restore_ledger(self, random: Random) -> None:
        try:
            self.lab.opened().ledger.restore_from_mirror()
        except FAILURES:
            event("ledger not restored")

    def lose_ledger(self, random: Random) -> None:
        self.lab.forget_ledger()

    def save_ledger(self, random: Random) -> None:
        self.old_ledger = self.lab.ledger_files()

    def put_back_an_old_ledger(self, random: Random) -> None:
        """With its mirror, as from a backup of both."""
        if self.old_ledger:
            self.lab.forget_ledger()
            self.lab.put_ledger(self.old_ledger)

    # What happens in S3.

    def lose_object(self, random: Random) -> None:
        if keys := self.lab.keys():
            del self.lab.bucket.objects[random.choice(keys)]

    def alter_object(self, random: Random) -> None:
        if keys := self.lab.keys():
            self.lab.alter_object(random.choice(keys))

    def lose_archived_sidecar(self, random: Random) -> None:
        self.lab.bucket.objects.pop(f"{STUDY}/{SIDECAR_NAME}", None)

    def alter_archived_sidecar(self, random: Random) -> None:
        if f"{STUDY}/{SIDECAR_NAME}" in self.lab.bucket.objects:
            self.lab.alter_object(f"{STUDY}/{SIDECAR_NAME}")

    def lose_archive(self, random: Random) -> None:
        for key in [key for key in self.bucket.objects if key.startswith(f"{STUDY}/")]:
            del self.bucket.objects[key]

    def save_objects(self, random: Random) -> None:
        self.old_objects = {key: each for key, each in self.bucket.objects.items() if key.startswith(f"{STUDY}/")}

    def put_old_objects_back(self, random: Random) -> None:
        """As from the versions of a bucket: what was proven since is lost there."""
        if self.old_objects:
            self.lose_archive(random)
            self.bucket.objects.update(self.old_objects)

    def put_old_sidecar_back(self, random: Random) -> None:
        if sidecar := self.old_objects.get(f"{STUDY}/{SIDECAR_NAME}"):
            self.bucket.objects[f"{STUDY}/{SIDECAR_NAME}"] = sidecar

    def change_storage_class(self, random: Random) -> None:
        self.bucket.is_cold = not self.bucket.is_cold

    def change_what_is_stated(self, random: Random) -> None:
        self.bucket.states_others = random.random() < 0.5
        self.bucket.states_checksums = random.random() < 0.7


def _file(random: Random, folder: Path) -> Path | None:
    found = sorted(folder.rglob("*.bin")) if folder.is_dir() else []
    return random.choice(found) if found else None
