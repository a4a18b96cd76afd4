"""What all stages of one transfer share: the places, the threads, the counters and what has been proven so far.

What belongs here: opening and ending that. What does not: any step of the work.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusion_assets.transfer.bandwidth import Bandwidth
from fusion_assets.transfer.crew import Crew, Stop
from fusion_assets.transfer.errors import ReadBackError, RottenSourceError
from fusion_assets.transfer.held import list_held, remove_files
from fusion_assets.transfer.journal import Journal
from fusion_assets.transfer.options import TransferOptions
from fusion_assets.transfer.plan import leftovers_of, same_file
from fusion_assets.transfer.progress import Meter, ProgressSink
from fusion_assets.transfer.proof import FileProof
from fusion_assets.transfer.upload import Uploads
from resources.errors import ResourceError, StorageFullError
from resources.storage import PARTIAL_SUFFIX, Entry, Storage

if TYPE_CHECKING:
    from resources.s3 import S3Bucket

_COPY_SHARE = 4  # of the memory, one part in four is for copying, the rest for reading back and uploading


@dataclass(frozen=True, slots=True)
class Study:
    """A study that is to be copied, archived, or both.

    Attributes:
        run_name: Its directory at the source; empty when only its NAS copy is archived.
        backup_name: Its directory on the NAS, and what its keys begin with.
        entries: Its listing, paths relative to it: what is copied, and what it must still be afterwards.
        expected: SHA-256 in hex by path of all that was proven of it last, wherever that is known from: no file with
            other bytes may replace what was proven, and no path of it may be forgotten. Empty where nothing was; None
            where nobody looked, and the sidecar of the copy is to be believed.
        accepted: Of these, the files that may have other bytes by now.
        distrusted: Files whose copy was found not to be what was proven: they are copied again.
    """

    run_name: str
    backup_name: str
    entries: Sequence[Entry]
    expected: Mapping[str, str] | None = None
    accepted: Collection[str] = ()
    distrusted: Collection[str] = ()

    def expects(self, path: str) -> str | None:
        """The SHA-256 that a file must have; None if it may have any."""
        return (self.expected or {}).get(path) if path not in self.accepted else None


@dataclass(frozen=True, slots=True)
class Places:
    """Where a study moves between.

    Attributes:
        source: Where it is; None when only its NAS copy is archived.
        nas: Where the copy is, or goes.
        bucket: Where the objects go; None when it is only copied.
    """

    source: Storage | None
    nas: Storage
    bucket: S3Bucket | None


@dataclass(slots=True)
class Session:
    """One transfer.

    Attributes:
        places: Where it moves between.
        study: What is moved.
        archive: The S3 side; None when only the copy is wanted.
        proofs: Every file proven on the NAS, by path.
        unread: Those of them that a run proved which was broken off: they are read again before they count.
        changed: Files that changed while they were copied.
        corrupt: Files whose copy was found corrupt, and set aside.
    """

    places: Places
    study: Study
    options: TransferOptions
    archive: Uploads | None
    meter: Meter
    stop: Stop
    bandwidth: Bandwidth
    copiers: Crew
    provers: Crew
    journal: Journal
    proofs: dict[str, FileProof] = field(default_factory=dict)
    unread: Collection[str] = ()
    changed: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    _keeps_times: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def nas(self) -> Storage:
        """Where the copy is."""
        return self.places.nas

    @property
    def source(self) -> Storage:
        """Where the study is; only to be asked for while it is copied."""
        assert self.places.source is not None
        return self.places.source

    @property
    def open_archive(self) -> Uploads | None:
        """The S3 side, if there is one and it has not failed."""
        return self.archive if self.archive and self.archive.is_open else None

    def source_path(self, path: str) -> str:
        """A file of the study, as the source storage knows it."""
        return f"{self.study.run_name}/{path}"

    def nas_path(self, path: str) -> str:
        """A file of the study, as the NAS storage knows it."""
        return f"{self.study.backup_name}/{path}"

    def partial_path(self, path: str) -> str:
        """A file of the copy until it is proven."""
        return f"{self.study.backup_name}/{path}{PARTIAL_SUFFIX}"

    def check_expected(self, path: str, sha256: str) -> None:
        """Raise `RottenSourceError` if a file of the source, which must be what was proven, has other bytes."""
        if self.study.expects(path) not in (None, sha256):
            raise RottenSourceError(
                f"{self.source.location(self.source_path(path))} has not the bytes that were proven of it when it was "
                "archived: its disk has damaged it, or it was written again. Nothing was copied over what was proven | "
                "hint: put the good file back with its time, from the NAS or from S3, wherever it is not, and check "
                "the disk of the source; or keep this one elsewhere: move it out, or rename the study",
                paths=[path],
            )

    def note_changed(self, path: str) -> None:
        """A file changed while it was copied: nothing of it is recorded."""
        with self._lock:
            self.changed.append(path)

    def note_corrupt(self, path: str) -> None:
        """A file of the copy was found corrupt."""
        with self._lock:
            self.corrupt.append(path)

    def record(self, proofs: Iterable[FileProof]) -> None:
        """Files are proven: make that durable, then let them have their final names."""
        proven = list(proofs)
        if not proven:
            return
        self._check_times_kept(proven[0])
        self.journal.append(proven)
        self.proofs.update((proof.path, proof) for proof in proven)

    def _check_times_kept(self, proof: FileProof) -> None:
        """Refuse a NAS that rounds times: no copy there would look like its source, and all be made again for ever.

        Of one file, the first: it is the file system that rounds.
        """
        if not self._keeps_times and not same_file(self.nas.stat(self.partial_path(proof.path)), proof):
            raise ReadBackError(
                f"{self.nas.location(self.nas_path(proof.path))}: its time is not what was set; a copy is "
                "known by size and time, and would be made again at every run | hint: use a file system that "
                "keeps times to 100 ns (ZFS, ext4, XFS, NTFS; not FAT or exFAT), with no gateway that rounds them",
                paths=[proof.path],
            )
        self._keeps_times = True


def _open_archive(bucket: S3Bucket, study: Study, meter: Meter) -> Uploads:
    return Uploads(bucket, study.backup_name, meter, is_new=study.expected is not None and not study.expected)


@contextmanager
def open_session(
    places: Places, study: Study, options: TransferOptions, progress: ProgressSink | None
) -> Iterator[Session]:
    """Everything a transfer needs, and its end: the last progress told, the threads gone."""
    stop, meter = Stop(), Meter(progress)
    copying = options.memory // _COPY_SHARE if places.source else 0
    copiers = Crew("copy", threads=options.workers if places.source else 0, memory=copying, stop=stop)
    provers = Crew("prove", threads=options.upload_workers, memory=options.memory - copying, stop=stop)
    session = Session(
        places=places,
        study=study,
        options=options,
        archive=_open_archive(places.bucket, study, meter) if places.bucket else None,
        meter=meter,
        stop=stop,
        bandwidth=Bandwidth(options.bandwidth_limit, stop),
        copiers=copiers,
        provers=provers,
        journal=Journal(places.nas, study.backup_name),
    )
    try:
        yield session
        meter.report(at_end=True)
    except StorageFullError:
        # What is unfinished is copied again anyway; until then it must not fill the NAS for everybody else.
        with suppress(ResourceError):
            remove_files(places.nas, study.backup_name, leftovers_of(list_held(places.nas, study.backup_name)))
        raise
    finally:
        copiers.close()
        provers.close()
