"""Any sequence of damages and runs, killed ones among them: no run destroys the last good copy of anything.

A lab's worst year: disks flip bits, the NAS loses files and is rolled back, somebody rewrites sidecars, the ledger is
lost, studies change, go, or take another's name, runs are killed, people start steps in the UI or accept changes. After
each run, every file that had good bytes anywhere before it has them somewhere still.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

from hypothesis import event, given, settings
from hypothesis import strategies as st

from fusion_assets.reconcile.accepting import accept_changes
from fusion_assets.reconcile.conditions import Name
from fusion_assets.reconcile.overwrite import last_proven
from fusion_assets.reconcile.plan import SOURCE_CHANGED, Step
from fusion_assets.reconcile.proven import accepted_paths
from fusion_assets.standard.listing import SIDECAR_NAME
from fusion_assets.transfer.sidecar import parse_sidecar
from tests.reconcile.memory_lab import FAILURES, RAW, STUDY, MemoryLab, flip_bit
from tests.transfer.memory_bucket import Stored

STEPS = (Step.TRUENAS_COPY, Step.S3_ARCHIVE, Step.MANIFEST_ENTRY, Step.SOURCE_RELEASED)
MOST_CHANGES = 90  # of one run
# A year waits for the disk for 0.4 s otherwise.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


class Year:
    """One lab over time.

    Attributes:
        good: What a microscope wrote and nobody wrote over: path and bytes. At the source it must not be lost.
        protected: What was proven in both places since, and nobody gave up: it must not be lost anywhere.
    """

    def __init__(self, root: Path) -> None:
        self.lab = MemoryLab(root / "lab")
        self.snapshot = root / "snapshot"
        self.good = set(self.lab.at_source().items())
        self.protected: set[tuple[str, bytes]] = set()
        self.old_ledger: dict[str, Stored | bytes] = {}

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
        """A run that calls a study complete has proven what its sidecar says, in S3, where nothing rots by itself."""
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
        self.apply(random)

    # What happens at the source.

    def rot_at_source(self, random: Random) -> None:
        if file := _file(random, self.lab.here()):
            flip_bit(file)

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
        self.lab.write(path, data)

    def lose_at_source(self, random: Random) -> None:
        if file := _file(random, self.lab.here()):
            file.unlink()

    def another_study_takes_the_name(self, random: Random) -> None:
        shutil.rmtree(self.lab.study, ignore_errors=True)
        self.lab.write_study(random.choice(["raw", "other"]))
        files = {p.relative_to(self.lab.study).as_posix(): p for p in self.lab.study.rglob("*") if p.is_file()}
        self.good = {(path, file.read_bytes()) for path, file in files.items()}

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
            flip_bit(file)

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
            shutil.copytree(self.lab.copy, self.snapshot)

    def roll_back(self, random: Random) -> None:
        if self.snapshot.is_dir():
            self.lose_copy(random)
            shutil.copytree(self.snapshot, self.lab.copy)

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


def _file(random: Random, folder: Path) -> Path | None:
    found = sorted(folder.rglob("*.bin")) if folder.is_dir() else []
    return random.choice(found) if found else None


RUNS = [
    Year.apply,
    Year.apply,
    Year.apply_and_die,
    Year.apply_while_a_place_fails,
    Year.start_steps_in_the_ui,
    Year.validate_in_the_ui,
    Year.accept_and_apply,
]
DAMAGES = [
    Year.rot_at_source,
    Year.change_at_source,
    Year.gain_at_source,
    Year.lose_at_source,
    Year.another_study_takes_the_name,
    Year.add_what_is_invalid,
    Year.take_away_what_is_invalid,
    Year.move_back_out_of_the_trash,
    Year.release_from_now_on,
    Year.keep_from_now_on,
    Year.flip_on_nas,
    Year.lose_on_nas,
    Year.truncate_on_nas,
    Year.touch_on_nas,
    Year.regenerate_sidecar,
    Year.damage_sidecar,
    Year.lose_copy,
    Year.take_snapshot,
    Year.roll_back,
    Year.lose_ledger,
    Year.save_ledger,
    Year.put_back_an_old_ledger,
    Year.lose_object,
    Year.alter_object,
    Year.lose_archived_sidecar,
    Year.alter_archived_sidecar,
]
RANDOM = st.integers(0, 2**16).map(Random)
DAMAGE = st.tuples(st.sampled_from(DAMAGES), RANDOM)
MONTH = st.tuples(st.lists(DAMAGE, min_size=1, max_size=4), st.tuples(st.sampled_from(RUNS), RANDOM))


@settings(max_examples=int(os.environ.get("WORST_YEARS", "60")), deadline=None)
@given(st.sampled_from([True, True, False]), st.lists(MONTH, min_size=3, max_size=7))
def test_no_run_destroys_the_last_good_copy_of_a_file_whatever_happened_before_it(archived, months) -> None:
    with tempfile.TemporaryDirectory(prefix="worst-year-", dir=MEMORY) as folder:
        year = Year(Path(folder))
        if archived:
            year.apply(Random(0))
        for damages, (run, random) in months:
            for damage, how in damages:
                damage(year, how)
            run(year, random)
