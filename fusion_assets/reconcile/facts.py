"""What was seen of one study in each place, as plain data: what `observe` gathers and `judge` turns into conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fusion_assets.manifest.record import Record
from fusion_assets.reconcile.conditions import Unseen
from fusion_assets.reconcile.idle import Observation
from fusion_assets.standard.listing import Listing
from fusion_assets.standard.rules import StudyReport
from resources.storage import Entry


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """The study's directory at the source.

    Attributes:
        listing: Everything in it.
        report: What the naming standard says of that listing.
        observation: Since when it has looked like this.
        held_open: A file that another program holds open, where that could be asked.
    """

    listing: Listing
    report: StudyReport
    observation: Observation
    held_open: str | None = None


@dataclass(frozen=True, slots=True)
class CopyFacts:
    """The study's directory on the NAS.

    Attributes:
        files: Regular files by path relative to the study, the program's own not among them.
        checksums: The sidecar, SHA-256 in hex by path; None when there is none that can be read.
        sidecar: The sidecar's own bytes; empty when there is none.
        damage: Why the sidecar that is there cannot be read; empty otherwise.
    """

    files: Mapping[str, Entry]
    checksums: Mapping[str, str] | None
    sidecar: bytes = b""
    damage: str = ""


@dataclass(frozen=True, slots=True)
class ArchiveFacts:
    """The study's objects in S3.

    Attributes:
        sizes: Bytes by path relative to the study, the sidecar not among them.
        sidecar_sha256: SHA-256 (hex) of the sidecar object; None when the commit mark is not there.
    """

    sizes: Mapping[str, int]
    sidecar_sha256: str | None


@dataclass(frozen=True, slots=True)
class Present:
    """There, but not looked into: a study that left the source long ago is the scrub's business, not every plan's."""


@dataclass(frozen=True, slots=True)
class LockFacts:
    """The study's lock.

    Attributes:
        description: Who holds it, in words for a person.
        owner_is_gone: Whether a crash left it: its owner is seen to be dead, or was killed while the file was written.
        for_long: Whether it is held for so long that a person should look: its owner may hang, or its host be gone.
    """

    description: str
    owner_is_gone: bool
    for_long: bool = False


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """All that was seen of one study; None where nothing is there, `Unseen` where it could not be seen.

    Attributes:
        trash: What a release that did not finish has left of its source in the trash.
        invalid: Why the ledger calls states of the source invalid, as far as that stands, by their fingerprint.
        last_proven: The last record that says that it was proven in both places, whatever was begun or failed after it.
        copy_begun: Whether a run of ours ever began to copy it.
        archive_begun: Whether one began to upload it.
        elsewhere: A record of a study of the same name at the source under another backup name: an alias came or went.
        mirrored: Whether the ledger's mirror in S3 holds its latest record.
    """

    run_name: str
    backup_name: str
    source: SourceFacts | Unseen | None
    lock: LockFacts | Unseen | None
    copy: CopyFacts | Present | Unseen | None
    archive: ArchiveFacts | Present | Unseen | None
    record: Record | Unseen | None
    trash: Listing | Unseen | None = None
    invalid: Mapping[str, str] = field(default_factory=dict)
    last_proven: Record | None = None
    copy_begun: bool = True
    archive_begun: bool = True
    elsewhere: Record | None = None
    mirrored: bool | Unseen = True
