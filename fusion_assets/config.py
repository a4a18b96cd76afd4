"""config.toml -> Config: the state a lab declares for its studies, checked once, at the border.

What belongs here: the sections, their defaults and limits, where the file is looked for, and the one clear error a
wrong file gives, also when its places are not apart. What does not: opening any of them (that is `resources`).
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from resources.errors import ResourceError
from resources.smb import SCHEME, SmbServer, parse_address, password_from

CONFIG_VARIABLE = "FUSION_CONFIG"
USER_CONFIG_DIR = Path("~/.config/fusion-toolkit")

Percent = Annotated[float, Field(gt=0, lt=100)]
Positive = Annotated[int, Field(gt=0)]
Interval = Annotated[int, Field(ge=1, le=86_400)]
NotNegative = Annotated[float, Field(ge=0)]
# More than a hundred years, or one of minutes, is a slip of the hand; added to a date, it may leave the calendar.
Days = Annotated[float, Field(ge=0, le=36_500)]
Minutes = Annotated[float, Field(ge=0, le=525_600)]

_SMB_PORT = 445
_MOST_KEPT_FREE_PCT = 50
# The form that R1 gives a study's name: one directory in the NAS root, and none of those we keep there ourselves.
_STUDY_NAME = re.compile(r"[0-9]{8}(_[A-Za-z0-9-]+){3}")


# Of the widest rule there is, that of AWS's oldest buckets; the newer ones, and other servers, take less of it.
_BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file, the key, the rule and the way out."""


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


class SourceSection(Section):
    """The instrument's disk: `root` holds the studies; `log` is the acquisition software's Fusion.log."""

    root: str = Field(min_length=1)
    log: str | None = None


class TruenasSection(Section):
    """The NAS: `root` holds one directory per study; `manifest_root` the ledger, by default ``<root>/_manifest``."""

    root: str = Field(min_length=1)
    manifest_root: str | None = None


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
    port: int = Field(default=_SMB_PORT, ge=1, le=65535)
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


class Config(Section):
    """The whole of config.toml.

    Attributes:
        path: The file it was read from; None when made in code.
        lsm: Light-sheet projects, kept as they stand until their rooms read them.
    """

    source: SourceSection
    truenas: TruenasSection
    s3: S3Section
    backup: BackupSection = BackupSection()
    cleanup: CleanupSection = CleanupSection()
    scrub: ScrubSection = ScrubSection()
    monitor: MonitorSection = MonitorSection()
    notify: NotifySection = NotifySection()
    heartbeat: HeartbeatSection = HeartbeatSection()
    sensors: SensorsSection = SensorsSection()
    schedules: SchedulesSection = SchedulesSection()
    hooks: HooksSection = HooksSection()
    smb: dict[str, SmbSection] = Field(default_factory=dict)
    alias: dict[str, str] = Field(default_factory=dict)
    lsm: dict[str, dict[str, Any]] = Field(default_factory=dict)
    path: Path | None = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _aliases_are_names_of_their_own(self) -> Self:
        seen: dict[str, str] = {}
        for run_name, backup_name in self.alias.items():
            if not _STUDY_NAME.fullmatch(backup_name):
                raise ValueError(
                    f"alias: {run_name!r} becomes {backup_name!r}, which is no name of a study (R1) | hint: write "
                    "YYYYMMDD_<user>_<project>_<customname>, of the letters A-Z a-z, the digits and -"
                )
            if other := seen.get(backup_name.casefold()):
                raise ValueError(
                    f"alias: {other!r} and {run_name!r} both become {backup_name!r}; one would overwrite the other"
                )
            seen[backup_name.casefold()] = run_name
        return self

    @model_validator(mode="after")
    def _servers_are_declared(self) -> Self:
        for root in (self.source.root, self.truenas.root, self.truenas.manifest_root, self.source.log):
            if root and root.lower().startswith(SCHEME):
                try:
                    parse_address(SCHEME + root[len(SCHEME) :], self.smb)
                except ResourceError as error:
                    raise ValueError(str(error)) from error
        return self

    def backup_name(self, run_name: str) -> str:
        """The name a study has at its destinations: its alias if it has one, else its own."""
        return self.alias.get(run_name, run_name)

    @property
    def manifest_root(self) -> str:
        """Where the ledger is: as configured, else ``_manifest`` inside the NAS root."""
        root = self.truenas.root
        separator = "\\" if "\\" in root and "/" not in root else "/"
        return self.truenas.manifest_root or f"{root.rstrip(separator)}{separator}_manifest"


def refuse_shared_places(config: Config) -> None:
    """Refuse a NAS or a ledger on the instrument's own disk: a copy beside its original proves nothing.

    Two folders side by side are two places. Links of local paths are followed, which asks the file system: so this is
    called when places are opened, not when the file is read, which must work while a mounted server is down.

    Args:
        config: The lab.

    Raises:
        ConfigError: The roots of the source and of the NAS are one place, or one lies inside the other; or the ledger
            lies inside the source.
        ResourceError: An ``smb://`` address is not one, or its server is not declared.
    """
    roots = {
        "source.root": config.source.root,
        "truenas.root": config.truenas.root,
        "truenas.manifest_root": config.manifest_root,
    }
    steps = {name: _steps_to(root, config.smb) for name, root in roots.items()}
    for inner, outer in (
        ("truenas.root", "source.root"),
        ("source.root", "truenas.root"),
        ("truenas.manifest_root", "source.root"),
    ):
        if steps[inner][: len(steps[outer])] == steps[outer]:
            where = "is the same place as" if steps[inner] == steps[outer] else "lies inside"
            raise ConfigError(
                f"{config.path or 'config'}: {inner} {roots[inner]} {where} {outer} {roots[outer]}: what is on the "
                "instrument's own disk is no copy of it | hint: name a place on the NAS"
            )


def _steps_to(root: str, servers: Mapping[str, SmbSection]) -> tuple[str, ...]:
    """The steps that lead to a root, equal for equal places: from the file system's root, or from an SMB server."""
    if root.lower().startswith(SCHEME):
        address = parse_address(SCHEME + root[len(SCHEME) :], servers)
        server = servers[address.server]
        return ("smb", *f"{server.host}:{server.port}/{address.share}/{address.path}".casefold().strip("/").split("/"))
    if root.startswith(("\\\\", "//")):
        host, _, path = root.replace("\\", "/").strip("/").casefold().partition("/")
        return ("smb", f"{host}:{_SMB_PORT}", *path.split("/"))
    return Path(os.path.normcase(os.path.realpath(Path(root).expanduser()))).parts


def find_config(explicit: str | Path | None = None) -> Path:
    """The config.toml to use.

    Args:
        explicit: What the user named with ``--config``.

    Returns:
        `explicit`, else ``$FUSION_CONFIG``, else ``./config.toml``, else ``~/.config/fusion-toolkit/config.toml``.

    Raises:
        ConfigError: None of them exists.
    """
    named = explicit or os.environ.get(CONFIG_VARIABLE)
    candidates = [Path(named)] if named else [Path("config.toml"), USER_CONFIG_DIR / "config.toml"]
    for candidate in candidates:
        if candidate.expanduser().is_file():
            return candidate.expanduser().resolve()
    looked = " or ".join(str(candidate) for candidate in candidates)
    raise ConfigError(
        f"no configuration at {looked} | hint: write one (README, 'A real lab') and name it with --config PATH"
    )


def load_config(explicit: str | Path | None = None) -> Config:
    """Read and check config.toml.

    Args:
        explicit: What the user named with ``--config``; see `find_config` for where else it is looked for.

    Raises:
        ConfigError: It is not there, not TOML, or says something we do not understand.
    """
    path = find_config(explicit)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    return parse_config(data, path=path)


def parse_config(data: dict[str, Any], *, path: Path | None = None) -> Config:
    """Check what a config.toml says.

    Args:
        data: The parsed TOML.
        path: Where it came from, for messages and for paths relative to it.

    Raises:
        ConfigError: With one line per mistake; an unknown key names the nearest known one.
    """
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        where = str(path) if path else "config"
        lines = [f"{where}: {_explain(detail)}" for detail in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines)) from error
    return config.model_copy(update={"path": path})


def _explain(detail: ErrorDetails) -> str:
    location = [str(part) for part in detail["loc"]]
    name = ".".join(location) or "the file"
    if detail["type"] == "missing":
        return f"section [{name}] is missing" if len(location) == 1 else f"key {name} is missing"
    if detail["type"] == "extra_forbidden":
        nearest = get_close_matches(location[-1], list(_known_keys(location[:-1])), n=1, cutoff=0.4)
        hint = f" | hint: did you mean {'.'.join([*location[:-1], nearest[0]])}?" if nearest else ""
        return f"unknown key {name}{hint}"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{name}: {message} (got {detail['input']!r})" if location else message


def _known_keys(section: list[str]) -> Iterator[str]:
    model: type[BaseModel] = Config
    for name in section:
        if name not in model.model_fields:
            model = SmbSection  # inside [smb.<name>] the middle part is the user's own
            continue
        annotation = model.model_fields[name].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return (key for key in model.model_fields if key != "path")
