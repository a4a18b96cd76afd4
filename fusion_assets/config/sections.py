"""The sections of config.toml, each with its defaults and limits, and what they have in common.

What belongs here: one section by itself. What does not: what must hold between sections (`lab`), and reading the file
(`loading`).
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Literal, Self
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    field_validator,
    model_validator,
)

from resources.smb import SmbServer, password_from

Percent = Annotated[float, Field(gt=0, lt=100)]
Positive = Annotated[int, Field(gt=0)]
Interval = Annotated[int, Field(ge=1, le=86_400)]
NotNegative = Annotated[float, Field(ge=0)]
# More than a hundred years, or one of minutes, is a slip of the hand; added to a date, it may leave the calendar.
Days = Annotated[float, Field(ge=0, le=36_500)]
Minutes = Annotated[float, Field(ge=0, le=525_600)]

# The way out of a path in which "\t" is a tab.
SINGLE_QUOTES = "write Windows paths in 'single quotes': in double ones a backslash begins something else"

SMB_PORT = 445
_MOST_KEPT_FREE_PCT = 50
# Of the widest rule there is, that of AWS's oldest buckets; the newer ones, and other servers, take less of it.
_BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Event(StrEnum):
    """What a lab can be mailed about; also the name of the subscription file."""

    BACKUP_FAILURE = "backup_failure"
    CLEANUP_FAILURE = "cleanup_failure"
    FUSION_ERROR = "fusion_error"
    MONITOR_CRASH = "monitor_crash"
    TOOLKIT_ERROR = "toolkit_error"
    CHECK_FAILED = "check_failed"
    CAPACITY_WARNING = "capacity_warning"
    DIGEST = "digest"
    HEARTBEAT = "heartbeat"


class Section(BaseModel):
    """What all sections share: they cannot be changed once read, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _is_as_typed(place: str) -> str:
    r"""Refuse ``"D:\temp"``, in which ``\t`` is a tab."""
    if any(character < " " for character in place):
        raise ValueError(f"a path has no such characters | hint: {SINGLE_QUOTES}")
    return place


Place = Annotated[str, AfterValidator(_is_as_typed)]


class SourceSection(Section):
    """The instrument's disk: `root` holds the studies; `log` is the acquisition software's Fusion.log."""

    root: Place = Field(min_length=1)
    log: Place | None = None


class TruenasSection(Section):
    """The NAS: `root` holds one directory per study; `manifest_root` the ledger, by default ``<root>/_manifest``."""

    root: Place = Field(min_length=1)
    manifest_root: Place | None = None


class S3Section(Section):
    """The permanent archive. Credentials come from the usual AWS chain, never from this file."""

    bucket: str = Field(min_length=3, max_length=63)
    prefix: str = ""
    region: str | None = None
    endpoint_url: str | None = None
    profile: str | None = None
    storage_class: str | None = None
    part_size_mib: int = Field(default=16, ge=5, le=5120)
    sse: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    sse_kms_key_id: str | None = None

    @field_validator("bucket")
    @classmethod
    def _is_bucket_name(cls, name: str) -> str:
        if not _BUCKET_NAME.fullmatch(name):
            raise ValueError(
                "a bucket's name has letters, digits, -, _ and . only, and begins with one of the first two"
            )
        return name

    @field_validator("endpoint_url")
    @classmethod
    def _has_scheme(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("an endpoint is written with its scheme, like https://s3.example.org:9000")
        return url

    @model_validator(mode="after")
    def _key_needs_kms(self) -> Self:
        if self.sse_kms_key_id and not (self.sse or "").startswith("aws:kms"):
            raise ValueError('sse_kms_key_id needs sse = "aws:kms"')
        return self


class BackupSection(Section):
    """When a study is ready, and how hard we work. 0 idle days and 0 minutes: idle at the first observation."""

    idle_days: Days = 30
    settle_minutes: Minutes = 30
    delete_source: StrictBool = True
    max_workers: int = Field(default=4, ge=1, le=64)
    bandwidth_limit_mib: Annotated[float, Field(gt=0)] | None = None


class CleanupSection(Section):
    """When the NAS is too full, and how much one cleanup may remove at the most.

    All of the NAS kept free, or all of the store removed in one cleanup, would empty it: 100 is refused for both. More
    than half of it kept free is rarely meant (the share that may be *used*, a slip of the hand) and empties most of it
    in some quarters of an hour: that is taken only from who says, too, how much one cleanup may remove.
    """

    free_threshold_pct: Percent = 15
    max_studies: Positive = 20
    max_bytes: Positive | None = None
    max_store_pct: Percent = 50

    @model_validator(mode="after")
    def _keeps_half(self) -> Self:
        if self.free_threshold_pct > _MOST_KEPT_FREE_PCT and "max_store_pct" not in self.model_fields_set:
            raise ValueError(
                f"free_threshold_pct = {self.free_threshold_pct:g} evicts copies until that share of the NAS is FREE, "
                f"which empties most of it: more than {_MOST_KEPT_FREE_PCT} is refused | hint: write 15, say; if it is "
                "really meant, say by max_store_pct, too, which share of all copies one cleanup may remove"
            )
        return self


class ScrubSection(Section):
    """How soon every copy is read again, and how much one scrub may read at the most."""

    cycle_weeks: int = Field(default=12, ge=1, le=520)
    max_bytes: Positive | None = None


class MonitorSection(Section):
    """How Fusion.log is read, and for how many days the same error is not mailed again."""

    sent_keep_days: Days = 30
    patterns: dict[str, str] = Field(default_factory=dict)


class NotifySection(Section):
    """Mail on or off; who receives what is in `recipients_dir` (default: ``recipients`` beside config.toml).

    Attributes:
        toolkit_error_cooldown_seconds: For this long after a mail of our own warnings, further ones are gathered.
        cooldown_minutes: The same for the other events; 0: never gather, each mail goes by itself.
        ui_url: Where the Dagster UI is seen from a reader's desk, for links in mails.
    """

    enabled: StrictBool = False
    recipients_dir: str | None = None
    toolkit_error_cooldown_seconds: NotNegative = 300
    cooldown_minutes: dict[Event, NotNegative] = Field(default_factory=dict)
    ui_url: str = "http://127.0.0.1:3000"

    @field_validator("cooldown_minutes", mode="before")
    @classmethod
    def _names_events(cls, minutes: object) -> object:
        for name in minutes if isinstance(minutes, dict) else ():
            if name == Event.TOOLKIT_ERROR:
                raise ValueError(f"{name} has toolkit_error_cooldown_seconds instead")
            if name not in set(Event):
                nearest = get_close_matches(str(name), list(Event), n=1, cutoff=0)[0]
                raise ValueError(f"there is no event {name!r} | hint: did you mean {nearest}?")
        return minutes


class HeartbeatSection(Section):
    """How a dead daemon is noticed from outside: a file that stays fresh, and a URL that is fetched, while it lives."""

    file: str | None = None
    url: str | None = None
    max_age_minutes: Annotated[float, Field(gt=0)] = 15

    @field_validator("url")
    @classmethod
    def _is_on_the_web(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("https://", "http://")):
            raise ValueError("only http:// and https:// can be pinged")
        return url


class SensorsSection(Section):
    """Which sensors run when the daemon does, and how often they look."""

    idle_studies: StrictBool = True
    truenas_capacity: StrictBool = True
    fusion_log: StrictBool = True
    alerts: StrictBool = True
    idle_interval_seconds: Interval = 300
    capacity_interval_seconds: Interval = 900
    log_interval_seconds: Interval = 60
    alert_interval_seconds: Interval = 60


class SchedulesSection(Section):
    """What the calendar starts, and in which time zone (an IANA name; by default that of the host)."""

    timezone: str | None = None
    monthly_backup: StrictBool = True
    monthly_cleanup: StrictBool = True
    weekly_scrub: StrictBool = True
    weekly_digest: StrictBool = True
    daily_inventory: StrictBool = True

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str | None) -> str | None:
        if name is not None and name not in available_timezones():
            nearest = get_close_matches(name, sorted(available_timezones()), n=1, cutoff=0.4)
            raise ValueError(f"there is no such time zone | hint: did you mean {nearest[0] if nearest else 'UTC'}?")
        return name


class HooksSection(Section):
    """Commands (argv lists) run before a subcommand's own work, e.g. to mount a share."""

    backup: tuple[str, ...] = ()
    cleanup: tuple[str, ...] = ()


class SmbSection(Section):
    """One SMB server by a name of yours, for ``smb://<name>/share/path``; the password stays in the environment."""

    host: str = Field(min_length=1)
    username: str = ""
    password_env: str | None = None
    encrypt: StrictBool = True
    port: int = Field(default=SMB_PORT, ge=1, le=65535)
    connections: int = Field(default=2, ge=1, le=16)

    def server(self) -> SmbServer:
        """What opening a storage on it takes.

        Raises:
            ResourceError: Its password's variable is not set.
        """
        return SmbServer(
            host=self.host,
            port=self.port,
            username=self.username,
            password=password_from(self.password_env),
            encrypt=self.encrypt,
            connections=self.connections,
        )
