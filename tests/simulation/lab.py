"""A simulated lab: its places, servers, instrument and daemon, and all that is done to it from outside.

What belongs here: building it, and making its parts fail and come back. What does not: what people do (`people`), when
something happens (`month`), and what must be true afterwards (`invariants`).
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import dagster as dg

from cli.demo.mail import mail_server
from fusion_assets.partitions import run_name_of
from tests.real.s3 import REGION, S3Server, free_port, make_ministack
from tests.simulation.clock import ZONE, Clock, travelling
from tests.simulation.daemon import SimulatedDaemon
from tests.simulation.fusion_log import FusionLog
from tests.simulation.instrument import Fate, SimulatedStudy, retitle
from tests.simulation.settings import Settings
from tests.simulation.surroundings import REPOSITORY, Nas, surrounded

PREFIX = "archive"
_CONFIG = """\
[source]
root = '{source}'
log = '{log}'
[truenas]
root = '{nas}'
[s3]
bucket = '{bucket}'
prefix = '{prefix}'
region = '{region}'
endpoint_url = '{endpoint}'
part_size_mib = 5
[scrub]
cycle_weeks = 1
[backup]
idle_days = {idle_days}
settle_minutes = 30
delete_source = true
[cleanup]
free_threshold_pct = {threshold}
[monitor]
sent_keep_days = {keep_days}
[notify]
enabled = true
[sensors]
idle_interval_seconds = {idle_studies}
capacity_interval_seconds = {truenas_capacity}
log_interval_seconds = {fusion_log}
alert_interval_seconds = {alerts}
[schedules]
timezone = '{zone}'
"""

# Nobody reads here what runs print: two processes less to start for each of them.
_NO_OUTPUT = """
compute_logs: {module: dagster.core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}
"""


@dataclass
class SimulatedLab:
    """One lab.

    Attributes:
        folder: Where everything of it is.
        settings: How much happens in it.
        clock: What time it is in it.
        nas: Its NAS.
        server: Its S3 server.
        bucket: Its bucket.
        log: The instrument's log.
        random: Of the seed.
        now: The time, however wrong the clock is.
        studies: Everything the instrument has begun to write.
        ended_by_hand: Names that were at the source once, and are not because a person renamed or deleted them.
        outages: Of a place, long enough to be mailed.
        pinned: Studies that a person pinned, since when.
        unlocked: Studies that a person unlocked.
        backfilled: Studies that a person made again by hand.
        rotten: Copies on the NAS of which a bit flipped, each with the damaged file.
        brought_back: Those of which a person brought the good file back from S3.
        happened: What was done to the lab, by name.
        faults: What is out of order at this moment.
        s3_back_at: When S3 was last started again.
        low_since: Since when less of the NAS is free than should be, and the daemon could do something about it.
        times_low: How often that began.
    """

    folder: Path
    settings: Settings
    clock: Clock
    nas: Nas
    server: S3Server
    bucket: str
    log: FusionLog
    random: random.Random
    now: datetime
    instance: dg.DagsterInstance
    daemon: SimulatedDaemon
    studies: list[SimulatedStudy] = field(default_factory=list)
    ended_by_hand: set[str] = field(default_factory=set)
    outages: Counter[str] = field(default_factory=Counter)
    pinned: dict[str, datetime] = field(default_factory=dict)
    unlocked: Counter[str] = field(default_factory=Counter)
    backfilled: list[str] = field(default_factory=list)
    rotten: dict[str, str] = field(default_factory=dict)
    brought_back: set[str] = field(default_factory=set)
    happened: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    mail: ExitStack = field(default_factory=ExitStack)
    mail_port: int = field(default_factory=free_port)
    s3_back_at: datetime | None = None
    low_since: datetime | None = None
    times_low: int = 0
    daemon_is_up: bool = True
    source_is_away: bool = False
    nas_is_away: bool = False
    s3_is_away: bool = False

    @property
    def source(self) -> Path:
        return self.folder / "instrument"

    @property
    def disk(self) -> Path:
        """Where the instrument's disk really lies, be it mounted or not."""
        return _away(self.source) if self.source_is_away else self.source

    @property
    def all_are_there(self) -> bool:
        """Whether each of the three places can be reached."""
        return self.server.process is not None and not self.nas_is_away and not self.source_is_away

    @property
    def mails(self) -> Path:
        return self.folder / "mail"

    # Servers and shares come and go

    def stop_s3(self) -> None:
        self.server.stop()
        self.s3_is_away = True
        self.outages["S3"] += 1

    def start_s3(self) -> None:
        self.server.start()
        self.s3_is_away, self.s3_back_at = False, self.now

    def stop_mail(self) -> None:
        self.mail.close()

    def start_mail(self) -> None:
        os.environ.update(self.mail.enter_context(mail_server(self.mails, self.mail_port)))

    def unmount_nas(self) -> None:
        """One that nothing was ever written to looks the same without its disks, and nobody can tell."""
        if not self.copies():
            return
        self.outages["NAS"] += 1
        _unmount(self.nas.root)
        self.nas_is_away = True

    def mount_nas(self) -> None:
        if self.nas_is_away:
            _mount(self.nas.root)
            self.nas_is_away = False

    def unmount_source(self) -> None:
        self.outages["source"] += 1
        _unmount(self.source)
        self.source_is_away = True

    def mount_source(self) -> None:
        _mount(self.source)
        self.source_is_away = False

    def lose_source(self) -> None:
        """Its root is not even an empty folder: it cannot be listed."""
        self.unmount_source()
        self.source.rmdir()

    def find_source(self) -> None:
        self.source.mkdir()
        self.mount_source()

    def flip_a_bit(self) -> None:
        """The NAS's disks damage a file that was proven: the image of the newest copy whose source is released."""
        copies = [name for name in self.copies() if not (self.disk / name).exists() and name not in self.rotten]
        if not copies:
            return
        study = next(one for one in self.studies if one.name == copies[-1])
        path = next(path for path in study.files if path.endswith(".qptiff"))
        file = self.nas.root / study.name / path
        status, data = file.stat(), bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.rotten[study.name] = path

    def kill_daemon(self) -> None:
        self.daemon.kill()
        self.daemon_is_up = False

    def start_daemon(self) -> None:
        self.daemon_is_up = True

    def forget_cursors(self) -> None:
        """Dagster's database of cursors was lost, its runs were not."""
        self.daemon.kill()
        self.daemon.cursors.clear()

    def set_clock_wrong(self, by: timedelta) -> None:
        self.clock.wrong_by = by

    # What befalls studies

    def befall(self, key: str, job: str) -> int:
        """What happens to a study between the look of a sensor and its run; see `SimulatedDaemon.before_run`."""
        if job != "archive_study":
            return 0
        name = run_name_of(key)
        for study in self.studies:
            if study.name == name and not study.struck:
                study.struck = True
                return self._strike(study)
        return 0

    def _strike(self, study: SimulatedStudy) -> int:
        if study.fate is Fate.DELETED:
            shutil.rmtree(self.disk / study.name)
            self.ended_by_hand.add(study.name)
            self.happened["study deleted by hand"] += 1
        if study.fate is Fate.RETITLED:
            self.ended_by_hand.add(study.name)
            retitle(study, self.disk)
            self.happened["study renamed right before its run"] += 1
        if study.fate is Fate.UNLUCKY:
            self.server.stop()
            self.happened["S3 lost in a run"] += 1
        if study.fate is Fate.KILLED:
            self.happened["worker killed"] += 1
            return self.random.randrange(3, 30)
        return 0

    def recover(self) -> None:
        """What was away for no longer than a run is back."""
        if self.server.process is None and not self.s3_is_away:
            self.start_s3()

    def watch_space(self) -> None:
        """Note since when the NAS is too full."""
        space = self.nas.space()
        is_low = 100 * space.free / space.total < self.settings.threshold
        if not is_low or not self.daemon_is_up or not self.all_are_there:
            self.low_since = None
        elif self.low_since is None:
            self.low_since = self.now
            self.times_low += 1

    def copies(self) -> list[str]:
        """The studies on the NAS, oldest archive first."""
        by_hand = {path.name for path in self.nas.root.iterdir() if path.name[:1].isdigit()}
        finished = sorted(self.studies, key=lambda study: study.finished_at)
        return [study.name for study in finished if study.name in by_hand]


def _away(place: Path) -> Path:
    return place.with_name(f"{place.name}.away")


def _unmount(place: Path) -> None:
    """An empty folder is what an unmounted share looks like."""
    place.rename(_away(place))
    place.mkdir()


def _mount(place: Path) -> None:
    assert not list(place.iterdir()), f"something was written into {place} while it was not mounted"
    place.rmdir()
    _away(place).rename(place)


@contextmanager
def simulated_lab(folder: Path, settings: Settings) -> Iterator[SimulatedLab]:
    """Build a lab in a new folder, and start its servers.

    Args:
        folder: Where; empty.
        settings: How much is to happen in it.
    """
    random_ = random.Random(settings.seed)
    nas = Nas(folder / "nas", settings.nas_bytes, folder / "snapshot.json")
    for place in (nas.root, folder / "instrument", folder / "dagster", folder / "recipients", folder / "workshop"):
        place.mkdir()
    (folder / "instrument" / "System Volume Information").mkdir()  # a disk without anything looks unmounted
    (folder / "recipients" / "default.txt").write_text("ops@lab.example\n")
    (folder / "dagster" / "dagster.yaml").write_text((REPOSITORY / "dagster.yaml").read_text() + _NO_OUTPUT)
    server = make_ministack(folder / "s3", persist=True)
    with ExitStack() as world:
        world.enter_context(_environment(folder, server))
        server.start()
        world.callback(server.stop)
        bucket = server.make_bucket()
        # A server that is started again knows a bucket by what lies in it.
        server.client().put_object(Bucket=bucket, Key="of another lab", Body=b"")
        log = FusionLog(folder / "logs" / "Fusion.log", settings.storm)
        config = _write_config(folder, settings, server, bucket, log)
        clock = world.enter_context(travelling())
        world.enter_context(surrounded(nas))
        instance = world.enter_context(dg.DagsterInstance.get())
        daemon = SimulatedDaemon(config, instance, nas, settings.intervals)
        lab = SimulatedLab(
            folder, settings, clock, nas, server, bucket, log, random_, datetime.now(UTC), instance, daemon
        )
        daemon.before_run = lab.befall
        lab.start_mail()
        world.callback(lab.stop_mail)
        yield lab


@contextmanager
def _environment(folder: Path, server: S3Server) -> Iterator[None]:
    """This process's environment as that of the lab's daemon."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FUSION_", "DAGSTER_"))}
    labs = {
        "DAGSTER_HOME": str(folder / "dagster"),
        "HOME": str(folder),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
    }
    with patch.dict(os.environ, {**ours, **labs}, clear=True):
        yield


def _write_config(folder: Path, settings: Settings, server: S3Server, bucket: str, log: FusionLog) -> Path:
    config = folder / "config.toml"
    config.write_text(
        _CONFIG.format(
            source=folder / "instrument",
            log=log.file,
            nas=folder / "nas",
            bucket=bucket,
            prefix=PREFIX,
            region=REGION,
            endpoint=server.url,
            idle_days=settings.idle_days,
            keep_days=settings.keep_days,
            threshold=settings.threshold,
            zone=ZONE,
            **{name: int(interval.total_seconds()) for name, interval in settings.intervals.items()},
        )
    )
    return config
