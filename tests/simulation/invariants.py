"""What must be true of a simulated lab at every midnight, and what must be true at the end of its month.

What belongs here: looking at the world with other eyes than the product's (files, objects, the lines of the ledger, the
mails that were received, Dagster's history) and holding it against what the instrument wrote. What does not: making it
happen.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from fusion_assets.config import load_config
from fusion_assets.notify.mailbox import Mailbox
from fusion_assets.partitions import partition_key
from schedules.calendar import APPOINTMENTS
from tests.simulation.daemon import RUN_KEY_TAG
from tests.simulation.fusion_log import OLD, PHRASES, STORM
from tests.simulation.instrument import VALID, Fate, SimulatedStudy
from tests.simulation.lab import PREFIX, SimulatedLab
from tests.simulation.mails import Letter, Received, read_mails

_SIDECAR = "_checksums.sha256"
_LOCK = ".fusion-toolkit.lock"
_EVICTED = "truenas_evicted_at"
_JOBS = frozenset(appointment.job for appointment in APPOINTMENTS)
_GRACE = timedelta(hours=6)
_DIGITS = re.compile(r"\d[\d.,]*(?: (?:bytes|[KMGTP]iB)\b)?")
_FAILED = re.compile(r"backup: \d+ stud(y|ies) failed|the (weekly|daily) \w+ failed|\d+ jobs failed")
_LOCKED = "locked by what no longer runs"
_UNSEEN = "the lab cannot be looked at"
_HELD = "free space did not rise"
_FULL = "the NAS is too full"
_CHECKS = re.compile(r"check (every_study_as_declared|copies_intact) failed|\d+ checks failed")
# What a lab is mailed that is nobody's failure, or is told of by a command that fails again each time it is called.
_OTHERS = re.compile(r"digest|backup stopped|cleanup")


@dataclass(frozen=True)
class Seen:
    """The world at one moment.

    Attributes:
        ledger: The latest record of each backup.
        completed: When each backup was ever completed.
        objects: Sizes of the archive's objects by study and path.
        received: All mails.
    """

    ledger: dict[str, dict[str, Any]]
    completed: dict[str, set[str]]
    objects: dict[str, dict[str, int]]
    received: Received


@dataclass
class Invariants:
    """The promises, checked again and again.

    Attributes:
        lab: The lab.
        proven: Studies whose bytes were read and compared.
        broken: Every promise that was broken, when, and how.
        checks: How often each promise was checked.
    """

    lab: SimulatedLab
    proven: set[str] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)
    checks: Counter[str] = field(default_factory=Counter)

    def check(self, *, at_the_end: bool = False) -> Seen | None:
        """Check all of them.

        Args:
            at_the_end: Whether nothing more is to come: then all must be done, and not only nothing wrong.

        Returns:
            What was seen; None while the NAS or S3 is away, and nothing can be seen.
        """
        if self.lab.server.process is None or self.lab.nas_is_away:
            return None
        seen = look(self.lab)
        promises = {
            "what left the instrument is whole in S3": self._nothing_lost(seen, at_the_end=at_the_end),
            "invalid studies are at the source, untouched": self._invalid_untouched(seen),
            "no study was archived twice": self._archived_once(seen),
            "ledger, NAS and S3 agree": self._places_agree(seen, at_the_end=at_the_end),
            "Dagster agrees with them": self._dagster_agrees(seen),
            "the NAS is within its threshold, or a mail says why": self._has_room(seen),
            "pinned copies are on the NAS": self._pins_kept(),
            "no run was started twice": self._runs_once(),
            "no mail came twice": self._no_mail_twice(seen),
            "no cause was mailed twice": self._no_cause_twice(seen),
        }
        if at_the_end:
            promises |= {
                "every valid study is archived, and gone from the instrument": self._all_archived(seen),
                "every error was mailed once in its time": self._errors_mailed(seen),
                "every failure was mailed": self._failures_mailed(seen),
                "no mail waits any more": self._no_mail_waits(),
            }
        for promise, found in promises.items():
            self.checks[promise] += 1
            self.broken += [f"{self.lab.now:%Y-%m-%d %H:%M} {promise}: {what}" for what in found]
        return seen

    def _nothing_lost(self, seen: Seen, *, at_the_end: bool) -> Iterator[str]:
        for study in self.lab.studies:
            if study.name in self.lab.ended_by_hand:
                continue
            record = seen.ledger.get(study.name, {})
            if record.get("status") != "complete" and not _released(record):
                yield from _differences(study, self.lab.disk, "at the source")
                continue
            if at_the_end or study.name not in self.proven:
                yield from self._archive_differs(study)
                self.proven.add(study.name)
            if missing := study.files.keys() - seen.objects.get(study.name, {}).keys():
                yield f"{study.name}: S3 lacks {sorted(missing)}"
            if not record.get(_EVICTED) and (at_the_end or study.name not in self.lab.rotten):
                yield from _differences(study, self.lab.nas.root, "on the NAS", bytes_too=at_the_end)

    def _archive_differs(self, study: SimulatedStudy) -> Iterator[str]:
        client = self.lab.server.client()
        for path, sha256 in study.files.items():
            key = f"{PREFIX}/{study.name}/{path}"
            body = client.get_object(Bucket=self.lab.bucket, Key=key)["Body"].read()
            if hashlib.sha256(body).hexdigest() != sha256:
                yield f"{study.name}: {path} has other bytes in S3"

    def _invalid_untouched(self, seen: Seen) -> Iterator[str]:
        for study in self.lab.studies:
            if study.fate in VALID or study.name in self.lab.ended_by_hand:
                continue
            yield from _differences(study, self.lab.disk, "at the source")
            if study.name in seen.objects or (self.lab.nas.root / study.name).exists():
                yield f"{study.name} ({study.fate}) was copied or archived"

    def _archived_once(self, seen: Seen) -> Iterator[str]:
        for name, times in seen.completed.items():
            if len(times) > 1 + (name in self.lab.brought_back):  # which is proven anew as a whole
                yield f"{name} was completed {len(times)} times: {sorted(times)}"

    def _places_agree(self, seen: Seen, *, at_the_end: bool) -> Iterator[str]:
        for name, record in seen.ledger.items():
            is_complete, on_nas = record["status"] == "complete", (self.lab.nas.root / name).is_dir()
            if is_complete and on_nas is bool(record.get(_EVICTED)):
                yield f"{name}: evicted says {record.get(_EVICTED)}, on the NAS says {on_nas}"
            if is_complete and _SIDECAR not in seen.objects.get(name, {}):
                yield f"{name} is complete without its sidecar in S3"
            if is_complete and record["source_deleted_at"] and (self.lab.disk / name).exists():
                yield f"{name} is released and still at the source"
        for name in {path.name for path in self.lab.nas.root.iterdir() if path.name[:1].isdigit()} - set(seen.ledger):
            yield f"{name} is on the NAS, and the ledger does not know it"
        for name in seen.objects.keys() - seen.ledger.keys():
            yield f"{name} is in S3, and the ledger does not know it"
        if self.lab.s3_back_at and self.lab.now - self.lab.s3_back_at < _GRACE and not at_the_end:
            return  # what could not be mirrored is mirrored by the next record
        for month in (self.lab.nas.root / "_manifest").glob("????-??.jsonl"):
            key = f"{PREFIX}/_manifest/{month.name}"
            mirror = self.lab.server.client().get_object(Bucket=self.lab.bucket, Key=key)["Body"].read()
            if mirror != month.read_bytes():
                yield f"the mirror of {month.name} differs"

    def _dagster_agrees(self, seen: Seen) -> Iterator[str]:
        def made(asset: str) -> dict[str, float]:
            records = self.lab.instance.fetch_materializations(dg.AssetKey(asset), limit=5_000).records
            return {str(record.partition_key): record.timestamp for record in reversed(records)}

        entries, archives, released = made("manifest_entry"), made("s3_archive"), made("source_released")
        copies, evicted = made("truenas_copy"), made("truenas_evicted")
        for study in self.lab.studies:
            key, record = partition_key(study.name), seen.ledger.get(study.name, {})
            is_complete = record.get("status") == "complete"
            if is_complete and (key not in entries or key not in archives or key not in copies):
                yield f"{study.name} is complete, and Dagster has not all of its assets"
            if not is_complete and key in entries and study.name not in self.lab.rotten:
                yield f"{study.name} is an entry for Dagster, and {record.get('status')} in the ledger"
            if bool(_released(record)) is not (key in released):
                yield f"{study.name}: released at {_released(record)}, for Dagster: {key in released}"
            if bool(record.get(_EVICTED)) is not (evicted.get(key, 0) > copies.get(key, 0)):
                yield f"{study.name}: evicted at {record.get(_EVICTED)}, for Dagster: {key in evicted}"

    def _has_room(self, seen: Seen) -> Iterator[str]:
        """Sensors need some ticks to make room."""
        since, space, wanted = self.lab.low_since, self.lab.nas.space(), self.lab.settings.threshold
        is_told = any(letter.title.startswith((_HELD, _FULL)) for letter in seen.received.letters)
        if since and self.lab.now - since > _GRACE and not is_told:
            free = f"{100 * space.free / space.total:.1f} %"
            yield f"{free} are free, less than {wanted} % since {since}, and no mail says so"

    def _pins_kept(self) -> Iterator[str]:
        for name in self.lab.pinned:
            if not (self.lab.nas.root / name).is_dir():
                yield f"{name} was pinned and is gone"

    def _runs_once(self) -> Iterator[str]:
        keys = Counter(run.tags[RUN_KEY_TAG] for run in self.lab.instance.get_runs() if RUN_KEY_TAG in run.tags)
        yield from (f"{key} was started {count} times" for key, count in keys.items() if count > 1)

    def _no_mail_twice(self, seen: Seen) -> Iterator[str]:
        twice = [one for one, count in Counter(seen.received.message_ids).items() if count > 1]
        yield from (f"{one} came twice" for one in twice)

    def _no_cause_twice(self, seen: Seen) -> Iterator[str]:
        letters = seen.received.letters
        outages = sum(self.lab.outages.values())
        for (name, why), count in Counter(_failures(letters)).items():
            if count > (outages if name in _JOBS else 1):
                yield f"{name}: {why}: {count} times"
        yield from (f"{name}: {found}: {n} times" for (name, found), n in Counter(_findings(letters)).items() if n > 1)
        most = {_UNSEEN: outages, _HELD: self.lab.happened["snapshot holds space"], _FULL: self.lab.times_low}
        for title, causes in most.items():
            count = sum(letter.title.startswith(title) for letter in letters)
            if count > causes:
                yield f"{title!r} was mailed {count} times for {causes} causes"
        for letter in letters:
            if not _is_known(letter):
                yield f"nobody expected mail {letter.mail}, {letter.title!r}"
        for phrase, expected in expected_errors(self.lab).items():
            if (count := _mailed(letters, phrase)) > expected:
                yield f"{phrase!r} was mailed {count} times instead of {expected}"

    def _all_archived(self, seen: Seen) -> Iterator[str]:
        for study in self.lab.studies:
            if study.fate in VALID:
                record = seen.ledger.get(study.name, {})
                if record.get("status") != "complete":
                    yield f"{study.name} ({study.fate}) is {record.get('status', 'not in the ledger')}"
                elif (self.lab.disk / study.name).exists():
                    yield f"{study.name} is still at the source"

    def _errors_mailed(self, seen: Seen) -> Iterator[str]:
        for phrase, expected in expected_errors(self.lab).items():
            if (count := _mailed(seen.received.letters, phrase)) != expected:
                yield f"{phrase!r} was mailed {count} times instead of {expected}"

    def _failures_mailed(self, seen: Seen) -> Iterator[str]:
        letters = seen.received.letters
        told = {name for name, _ in _failures(letters)}
        for study in self.lab.studies:
            name = study.first_name
            locks = sum(_LOCKED in letter.title and name in letter.text for letter in letters)
            if study.fate is Fate.KILLED and locks != 1:
                yield f"{name} was locked by a dead worker, and {locks} mails say so"
            elif study.fate not in (Fate.GOOD, Fate.KILLED) and name not in told:
                yield f"{name} ({study.fate}) failed, and no mail says so"
        for name in self.lab.rotten:
            found = any(row.startswith(f"{name} ") and "copies_intact" in row for row, _ in _findings(letters))
            if not seen.ledger[name].get(_EVICTED) and not found:
                yield f"the copy of {name} rotted, and no mail says so"
        unseen = sum(letter.title.startswith(_UNSEEN) for letter in letters)
        if unseen != sum(self.lab.outages.values()):
            yield f"{sum(self.lab.outages.values())} outages, {unseen} mails of them"

    def _no_mail_waits(self) -> Iterator[str]:
        waiting = Mailbox(load_config(self.lab.daemon.config)).waiting()
        yield from (f"{mail.subject!r} waits: {mail}" for mail in waiting)


def look(lab: SimulatedLab) -> Seen:
    """Look at the world.

    Args:
        lab: Whose places are all there.
    """
    ledger: dict[str, dict[str, Any]] = {}
    completed: dict[str, set[str]] = {}
    for month in sorted((lab.nas.root / "_manifest").glob("????-??.jsonl")):
        for line in month.read_text().splitlines():
            record = json.loads(line)
            ledger[record["backup_name"]] = record
            if record["status"] == "complete":
                completed.setdefault(record["backup_name"], set()).add(record["completed_at"])
    objects: dict[str, dict[str, int]] = {}
    pages = lab.server.client().get_paginator("list_objects_v2").paginate(Bucket=lab.bucket, Prefix=f"{PREFIX}/")
    for page in pages:
        for found in page.get("Contents", []):
            study, _, path = found["Key"].removeprefix(f"{PREFIX}/").partition("/")
            objects.setdefault(study, {})[path] = found["Size"]
    objects.pop("_manifest", None)
    return Seen(ledger, completed, objects, read_mails(lab.mails))


def expected_errors(lab: SimulatedLab) -> dict[str, int]:
    """How often each error has to be mailed: at the first look that finds it, and then when it is new again."""
    keep = timedelta(days=lab.settings.keep_days)
    expected = dict.fromkeys((*PHRASES, STORM, OLD), 0)
    for phrase, looks in lab.log.read.items():
        mailed_at = None
        for at in looks:
            if mailed_at is None or at - mailed_at >= keep:
                mailed_at = at
                expected[phrase] += 1
    return expected


def _released(record: dict[str, Any]) -> str | None:
    """When its source was; of a copy that is being made whole after it rotted, another field says so."""
    return record.get("source_deleted_at") or record.get("released_at")


def _mailed(letters: tuple[Letter, ...], phrase: str) -> int:
    return sum(phrase in letter.text for letter in letters)


def _failures(letters: tuple[Letter, ...]) -> Iterator[tuple[str, str]]:
    """Study and reason, numbers left out, of each failure the daemon mailed; a command tells its own again."""
    for letter in letters:
        if _FAILED.match(letter.title) and "What happens next" in letter.text:
            yield from ((name, _DIGITS.sub("#", why)) for name, why in _rows(letter, "What failed"))


def _findings(letters: tuple[Letter, ...]) -> Iterator[tuple[str, str]]:
    """What each failed check found of each study, without what changes by itself."""
    for letter in letters:
        if _CHECKS.match(letter.title):
            yield from ((name, _DIGITS.sub("#", found)) for name, found in _rows(letter, "What was found"))


def _rows(letter: Letter, heading: str) -> Iterator[tuple[str, str]]:
    for row in letter.text.partition(f"{heading}\n")[2].partition("\n\n")[0].splitlines():
        name, _, why = row.strip().partition(": ")
        yield name, re.sub(r" \(http\S+\)$", "", why)


def _is_known(letter: Letter) -> bool:
    known = _FAILED.match(letter.title) or _CHECKS.match(letter.title) or _OTHERS.match(letter.title)
    return bool(known) or letter.title.startswith((_UNSEEN, _HELD, _FULL)) or _is_about(letter)


def _is_about(letter: Letter) -> bool:
    return _LOCKED in letter.title or "instrument error" in letter.title


def _differences(study: SimulatedStudy, place: Path, where: str, *, bytes_too: bool = True) -> Iterator[str]:
    for path, sha256 in study.files.items():
        file = place / study.name / path
        if not file.is_file():
            yield f"{study.name}: {path} is not {where}"
        elif bytes_too and hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
            yield f"{study.name}: {path} has other bytes {where}"
