"""A lab's places, opened: the source, the NAS, the ledger and the bucket that config.toml names.

What belongs here: putting the clients together, and refusing to work on a place that is not really there. What does
not: looking at studies (`observe`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fusion_assets.config import Config, S3Section, refuse_shared_places
from fusion_assets.manifest.extra_fields import EVICTED_FIELD
from fusion_assets.manifest.ledger import Ledger
from fusion_assets.manifest.record import Status
from fusion_assets.reconcile.found_lock import LOCKS
from fusion_assets.standard.validate import LEDGER_DIRECTORY, is_study_candidate
from resources.errors import NotFoundError, NotMountedError
from resources.open_storage import open_storage
from resources.s3 import S3Bucket
from resources.storage import Entry, Storage

# Beside the studies, on the same volume; a name beginning with "." is never taken for a study.
TRASH = ".fusion-trash"


@dataclass(frozen=True, slots=True)
class Lab:
    """One lab: what it declares, and clients for its places."""

    config: Config
    source: Storage
    truenas: Storage
    ledger: Ledger
    bucket: S3Bucket

    @property
    def ledger_is_on_truenas(self) -> bool:
        """Whether the ledger lies inside the root of the NAS, so that to read it is to see that the NAS is there."""
        root = self.truenas.location("").rstrip("/\\")
        return self.ledger.location.startswith((f"{root}/", f"{root}\\"))


@contextmanager
def open_lab(config: Config) -> Iterator[Lab]:
    """Open a lab's places without Dagster, and close them again.

    Args:
        config: The lab.

    Yields:
        The lab; nothing has been contacted yet.

    Raises:
        ConfigError: The NAS or the ledger would be on the instrument's own disk.
    """
    refuse_shared_places(config)
    servers = {name: section.server() for name, section in config.smb.items()}
    bucket = _open_bucket(config.s3, config.s3.storage_class)
    # Every append rewrites the ledger's mirror, and a lost ledger is read from it: it never goes to cold storage.
    mirror = _open_bucket(config.s3, None)
    source = open_storage(config.source.root, servers)
    truenas = open_storage(config.truenas.root, servers)
    manifest = open_storage(config.manifest_root, servers)
    try:
        yield Lab(config, source, truenas, Ledger(manifest, mirror), bucket)
    finally:
        for place in (source, truenas, manifest, bucket, mirror):
            place.close()


def _open_bucket(section: S3Section, storage_class: str | None) -> S3Bucket:
    return S3Bucket(
        section.bucket,
        prefix=section.prefix,
        region=section.region,
        endpoint_url=section.endpoint_url,
        profile=section.profile,
        storage_class=storage_class,
        sse=section.sse,
        sse_kms_key_id=section.sse_kms_key_id,
    )


def copy_place(lab: Lab, backup_name: str) -> str:
    """Where the copy of a study goes, as far as that can be said.

    Args:
        lab: The lab.
        backup_name: The study's name at the destinations.
    """
    return lab.truenas.location(backup_name)


def archive_place(lab: Lab, backup_name: str) -> str:
    """Where the archive of a study goes: the server, too, for buckets of two servers may bear the same name.

    Args:
        lab: The lab.
        backup_name: The study's name at the destinations.
    """
    return f"{lab.bucket.object_uri(backup_name)} at {lab.config.s3.endpoint_url or 'AWS'}"


def check_places(lab: Lab) -> tuple[Entry, ...]:
    """Refuse to work on places that are not really there.

    An unmounted share usually shows as an empty directory. Taken at its word it would mean "no studies", or "every
    backup is gone". So an empty source is an error unless our own trash folder shows that we emptied it, and a NAS
    without a ledger is an error when S3 holds the ledger's mirror.

    Args:
        lab: The lab.

    Returns:
        What is at the root of the source.

    Raises:
        NotMountedError: A root is missing, or empty where it must not be.
        NotFoundError: The bucket does not exist.
    """
    lab.source.check_mounted()
    lab.truenas.check_mounted()
    lab.bucket.check_reachable()
    entries = tuple(lab.source.list())
    if not entries:
        raise NotMountedError(
            f"source.root {lab.source.root} is empty: a share that is not mounted looks like this | hint: mount it, or "
            f"check source.root; a disk that is really new needs no backup yet"
        )
    check_truenas(lab)
    return entries


def check_truenas(lab: Lab) -> None:
    """Refuse a NAS that is not really there, and a ledger that does not say what it once said.

    Whatever writes or deletes asks this first. A ledger that lacks what S3 mirrors of it knows neither which studies
    were released nor what was proven of those that are still at the source: good copies could be overwritten.

    Args:
        lab: The lab.

    Raises:
        NotMountedError: It is missing, or empty where it must not be, or the ledger is not whole.
        ResourceError: The NAS or S3 cannot be asked: unknown, not whole.
    """
    lab.truenas.check_mounted()
    lost, way_out = lab.ledger.lost_months(), f"brings the ledger back from {lab.bucket.object_uri('_manifest/')}"
    if lost and not lab.ledger.exists():
        raise NotMountedError(
            f"there is no ledger at {lab.ledger.location}, but S3 holds its mirror: truenas.root {lab.truenas.root} is "
            f"probably not mounted | hint: mount it; if the NAS was really lost, `fusion manifest restore` {way_out}"
        )
    if lost:
        raise NotMountedError(
            f"the ledger at {lab.ledger.location} lacks records of {', '.join(lost)} that its mirror in S3 has: its "
            f"files were lost, cut or edited | hint: `fusion manifest restore` {way_out}; a bad line taken out by "
            f"hand leaves S3, too, by `fusion manifest mirror {lost[0]} --overwrite`"
        )
    check_copies_there(lab)


def check_copies_there(lab: Lab) -> None:
    """Refuse a NAS without a trace of us: neither our folders, nor one of the copies the ledger knows.

    Args:
        lab: The lab, its ledger seen to be there.

    Raises:
        NotMountedError: There is none.
    """
    if lab.ledger_is_on_truenas:
        return  # it was read just now, or is to be made; S3 mirrors none that is not there
    records = lab.ledger.read().records.values()
    known = [r.backup_name for r in records if r.status is Status.COMPLETE and not r.extra.get(EVICTED_FIELD)]
    if not known:
        return
    present = {entry.name for entry in lab.truenas.list()}
    if LOCKS not in present and present.isdisjoint(known):
        raise NotMountedError(
            f"truenas.root {lab.truenas.root} holds none of the {len(known)} copies the ledger knows: a share that "
            f"is not mounted looks like this | hint: mount it, or check truenas.root; if this NAS is really new, make "
            f"the folder {lab.truenas.location(LOCKS)} on it"
        )


def create_ledger(lab: Lab) -> None:
    """Make the ledger's directory for a lab's first record, if it is to lie on the NAS itself.

    One that config.toml places elsewhere must be there: if it is not, its share may not be mounted. In a bare mount
    point a ledger would pass for a NAS from then on. So only two may call this: who has just called `check_truenas`,
    and a person who brings the ledger back from its mirror.

    Args:
        lab: The lab.
    """
    if lab.config.truenas.manifest_root is None:
        lab.truenas.make_directory(LEDGER_DIRECTORY)


def source_studies(entries: tuple[Entry, ...]) -> tuple[str, ...]:
    """The names of the studies at the root of a source.

    Args:
        entries: What is at the root.

    Returns:
        Every directory but hidden ones and the system's own, sorted.
    """
    return tuple(entry.name for entry in entries if is_study_candidate(entry))


def is_at_source(lab: Lab, run_name: str) -> bool:
    """Whether the study's directory is at the source.

    Args:
        lab: The lab.
        run_name: The study.
    """
    return is_directory(lab.source, run_name)


def is_directory(storage: Storage, path: str) -> bool:
    """Whether there is a directory of that name, and not a file or a link.

    Args:
        storage: Where.
        path: Relative to its root.
    """
    try:
        return storage.stat(path).kind == "directory"
    except NotFoundError:
        return False


def trashed_studies(lab: Lab) -> dict[str, str]:
    """Studies whose release was begun: their path in the trash by their name, the newest if there are several.

    Args:
        lab: The lab.
    """
    try:
        entries = lab.source.list(TRASH)
    except NotFoundError:
        return {}
    return {entry.name.rpartition("@")[0]: entry.path for entry in entries if "@" in entry.name}
