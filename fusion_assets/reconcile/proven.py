"""What the ledger proved last of a study, by its sidecar, and what a person accepted since. Pure.

What the ledger proved last is the truth about bytes. Its name is the SHA-256 of a sidecar, which every record carries
on until another one is proven: neither the sidecar that lies on the NAS, nor a journal, nor the source is believed
against it. Before a sidecar replaces one that was proven, the ledger is told of it: so a run that is killed in between
leaves none that the ledger does not know.

What belongs here: what its records mean. What does not: finding such a sidecar (`copies`), and what may be
written over (`overwrite`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fusion_assets.manifest.extra_fields import (
    ACCEPTED_AT_FIELD,
    ACCEPTED_FIELD,
    ACCEPTED_OVER_FIELD,
    ACCEPTED_PATHS_FIELD,
    ADOPTED_ARCHIVE_FIELD,
    ANNOUNCED_FIELD,
    ARCHIVE_BEGUN_FIELD,
    COPY_BEGUN_FIELD,
    COPY_FINGERPRINT_FIELD,
    COPY_OF_FIELD,
    COPY_READ_FIELD,
    FINGERPRINT_FIELD,
    SCRUBBED_FIELD,
    SIDECAR_FIELD,
)
from fusion_assets.manifest.record import Record, Status

NEVER = datetime.min.replace(tzinfo=UTC)
ACCEPTED_FIELDS = (ACCEPTED_FIELD, ACCEPTED_AT_FIELD, ACCEPTED_PATHS_FIELD, ACCEPTED_OVER_FIELD)


@dataclass(frozen=True, slots=True)
class KnownSidecars:
    """The sidecars of a study that the ledger vouches for, by SHA-256 in hex; None where there is none.

    Attributes:
        announced: One that was about to be written: if it is anywhere, it is newer than the others.
        latest: Of the copy that was proven last, be it archived or not.
        archived: Of what was proven last in both places.
    """

    announced: str | None = None
    latest: str | None = None
    archived: str | None = None

    def __bool__(self) -> bool:
        """Whether the ledger knows of any."""
        return bool(self.announced or self.latest)

    def include(self, sidecar: bytes) -> bool:
        """Whether these bytes are one of them."""
        return self.include_sha256(hashlib.sha256(sidecar).hexdigest())

    def include_sha256(self, sha256: str | None) -> bool:
        """Whether the sidecar of this SHA-256 (hex) is one of them; none at all is no other one."""
        return sha256 in (None, self.announced, self.latest, self.archived)


def known_sidecars(record: Record | None, proven: Record | None = None) -> KnownSidecars:
    """The sidecars of a study that the ledger vouches for.

    Args:
        record: What it says of the study now.
        proven: The last record that says that both copies were proven; None if there is none, or nobody asks.
    """
    archived = _field(proven, SIDECAR_FIELD)
    return KnownSidecars(_field(record, ANNOUNCED_FIELD), _field(record, SIDECAR_FIELD) or archived, archived)


def _field(record: Record | None, name: str) -> str | None:
    value = record.extra.get(name) if record else None
    return value if isinstance(value, str) and value else None


def copy_was_begun(history: Iterable[Record], place: str) -> bool:
    """Whether a run of ours ever began to copy a study to this place, so that what lies there may be half of it.

    Args:
        history: Its records: that it was found invalid, or could not be looked at, wrote nothing.
        place: Where its copy goes now, `lab.copy_place`: the lab may have another NAS than before.
    """
    proven_there = (record.truenas_verified_at and record.truenas_path == place for record in history)
    return _was_begun(history, COPY_BEGUN_FIELD, place) or any(proven_there)


def archive_was_begun(history: Iterable[Record], place: str) -> bool:
    """Whether a run of ours ever began to upload a study to this place.

    Args:
        history: Its records.
        place: Where its archive goes now, `lab.archive_place`: the lab may have another bucket, or server, than before.
    """
    return _was_begun(history, ARCHIVE_BEGUN_FIELD, place)


def _was_begun(history: Iterable[Record], name: str, place: str) -> bool:
    return any(place in begun_in(record, name) for record in history)


def begun_in(record: Record, name: str) -> Mapping[str, str]:
    """In which places work was begun, and when.

    Args:
        record: What the ledger says of a study.
        name: `COPY_BEGUN_FIELD` or `ARCHIVE_BEGUN_FIELD`.
    """
    places = record.extra.get(name)
    return places if isinstance(places, Mapping) else {}


def copy_of(record: Record) -> str:
    """The study at the source that the copies are of, by its name there; empty if there are none yet.

    Args:
        record: What the ledger says of them.
    """
    if record.status is not Status.COMPLETE and SIDECAR_FIELD not in record.extra:
        return ""
    return str(record.extra.get(COPY_OF_FIELD) or record.run_name)


def is_renamed(record: Record, fingerprint: str) -> bool:
    """Whether a study at the source is, under whatever name, file by file the one that the copies are of.

    Args:
        record: What the ledger says of them.
        fingerprint: Of the study's listing.
    """
    return (record.extra.get(COPY_FINGERPRINT_FIELD) or record.extra.get(FINGERPRINT_FIELD)) == fingerprint


def is_named(history: Iterable[Record], archive_sha256: str) -> bool:
    """Whether the ledger ever named an archive.

    Args:
        history: The records of the study.
        archive_sha256: Of the archive's sidecar, in hex; empty for objects that had none when they were adopted.
    """
    return any(_names(record, archive_sha256) for record in history)


def accepted_since(history: Sequence[Record], archive_sha256: str) -> frozenset[str]:
    """The files whose change a person accepted since the ledger named an archive last; none if it never did.

    Args:
        history: The records of the study, oldest first.
        archive_sha256: As for `is_named`.
    """
    named = [number for number, record in enumerate(history) if _names(record, archive_sha256)]
    paths = [record.extra.get(ACCEPTED_PATHS_FIELD) for record in history[named[-1] :]] if named else []
    return frozenset(str(path) for said in paths if isinstance(said, list) for path in said)


def _names(record: Record, archive_sha256: str) -> bool:
    if record.extra.get(ADOPTED_ARCHIVE_FIELD) == archive_sha256:
        return True
    return bool(archive_sha256) and archive_sha256 in (_field(record, SIDECAR_FIELD), _field(record, ANNOUNCED_FIELD))


def agreed(held: Mapping[str, str], archived: Mapping[str, str], accepted: Collection[str]) -> Mapping[str, str]:
    """What the files must be, where what was held and what is archived list different ones.

    What only one of the two lists counts. Where both list a file with different bytes, and no person said that it
    changed since, the archive's word does: nothing in S3 is written over because a newer proof was of rotten bytes.

    Args:
        held: What the ledger and the NAS say, SHA-256 in hex by path.
        archived: What S3 says.
        accepted: What `accepted_since` gives of that archive.
    """
    return {**held, **{path: sha256 for path, sha256 in archived.items() if path not in accepted or path not in held}}


def carried_on(record: Record | None) -> Mapping[str, Any]:
    """The fields of a record that the next one must have, whatever state of the source it is about.

    Args:
        record: What the ledger says of the study now.
    """
    if record is None:
        return {}
    names = (SIDECAR_FIELD, COPY_FINGERPRINT_FIELD, ANNOUNCED_FIELD)
    carried = {name: record.extra[name] for name in names if name in record.extra}
    carried |= {COPY_OF_FIELD: owner} if (owner := copy_of(record)) else {}
    read_at = copy_read_at(record)
    return {**carried, COPY_READ_FIELD: read_at.isoformat()} if read_at > NEVER else carried


def copy_read_at(record: Record) -> datetime:
    """When every byte of the copy was last read: when it was made, or proven again since; `NEVER` if nobody knows.

    Args:
        record: What the ledger says of it.
    """
    return max(copy_proven_at(record), _time(record, SCRUBBED_FIELD))


def copy_proven_at(record: Record) -> datetime:
    """When the copy was made, as far as its oldest file goes; `NEVER` if nobody knows.

    Args:
        record: What the ledger says of it.
    """
    return _time(record, COPY_READ_FIELD) if COPY_READ_FIELD in record.extra else record.truenas_verified_at or NEVER


def scrubbed_at(record: Record) -> datetime:
    """When both copies were proven again; `NEVER` if they were not since they were made.

    Args:
        record: What the ledger says of them.
    """
    return _time(record, SCRUBBED_FIELD)


def _time(record: Record, name: str) -> datetime:
    try:
        time = datetime.fromisoformat(str(record.extra.get(name)))
    except ValueError:
        return NEVER
    return time if time.tzinfo else NEVER


def accepted(record: Record | None, fingerprint: str) -> Mapping[str, Any]:
    """The fields of a record that say that a person accepted the source as it is; empty if nobody did.

    Args:
        record: The ledger's record of the study.
        fingerprint: Of the study's listing.
    """
    if record is None or record.extra.get(ACCEPTED_FIELD) != fingerprint:
        return {}
    return {name: record.extra[name] for name in ACCEPTED_FIELDS if name in record.extra}


def accepted_paths(record: Record | None, fingerprint: str, sidecar_sha256: str) -> frozenset[str]:
    """The files that a person said may replace what was proven of them.

    Once their new bytes were proven, they are held to those: what was accepted was accepted over another sidecar.

    Args:
        record: The ledger's record of the study.
        fingerprint: Of the study's listing.
        sidecar_sha256: Of what was proven last.
    """
    return accepted_over(record, sidecar_sha256) if accepted(record, fingerprint) else frozenset()


def accepted_over(record: Record | None, sidecar_sha256: str) -> frozenset[str]:
    """The same, however the source looks by now.

    Args:
        record: The ledger's record of the study.
        sidecar_sha256: Of what was proven last.
    """
    paths = record.extra.get(ACCEPTED_PATHS_FIELD) if record else None
    if record is None or record.extra.get(ACCEPTED_OVER_FIELD) != sidecar_sha256 or not isinstance(paths, list):
        return frozenset()
    return frozenset(str(path) for path in paths)
