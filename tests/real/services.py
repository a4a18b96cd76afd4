"""The services of deploy/ as systemd would run them, with every path in a folder of the test.

What belongs here: moving the units into a folder, starting exactly their commands, ending them in all the ways in which
services end, and asking Dagster's database what came of it. What does not: any expectation.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorTick, SensorInstigatorData

from tests.notify.mail_servers import PASSWORD, USER, Authority
from tests.real.s3 import free_port
from tests.real.small_lab import SmallLab

REPOSITORY = Path(__file__).parents[2]
CODE_SERVER, DAEMON, WEBSERVER, HEARTBEAT = (
    f"fusion-{name}.service" for name in ("code-server", "daemon", "webserver", "heartbeat")
)
SECOND = "second daemon"
NOTHING: Mapping[str, str] = {}
# The NAS of a test lies on a disk that others fill.
ROOM_ENOUGH = "[cleanup]\nfree_threshold_pct = 0.001\n"
_BUSY = f"""
{ROOM_ENOUGH}
[sensors]
idle_interval_seconds = 3
capacity_interval_seconds = 10
log_interval_seconds = 3
alert_interval_seconds = 3
[notify]
enabled = true
cooldown_minutes = {{backup_failure = 0, check_failed = 0, fusion_error = 0, heartbeat = 0, monitor_crash = 0}}
"""
_PATH = "/usr/local/bin:/usr/bin:/bin"
_MARK = "INVOCATION_ID"
_SETTINGS = {"sqlite": REPOSITORY / "dagster.yaml", "postgres": REPOSITORY / "deploy" / "dagster.postgres.yaml"}


@dataclass
class Services:
    """A lab on a host of its own.

    Attributes:
        config: Its config.toml.
        folder: Where everything of the services lies; short, for a socket's path has 107 characters at the most.
        environment: What the operator wrote into fusion.env, beside what it says anyway.
        moved: What the host's own paths are in the test.
        port: Of the webserver.
        running: The processes, by unit.
    """

    config: Path
    folder: Path
    environment: Mapping[str, str]
    moved: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "var"

    @property
    def deploy(self) -> Path:
        return self.folder / "deploy"

    def install(self, settings: str = "sqlite") -> None:
        """What docs/operations.md has an operator do, as far as it needs no root.

        Args:
            settings: Which dagster.yaml is used, ``sqlite`` or ``postgres``.
        """
        self.home.mkdir()
        (self.folder / "run").mkdir()
        self.moved = {
            "/opt/fusion-toolkit/.venv/bin": str(Path(sys.executable).parent),
            "/opt/fusion-toolkit/deploy": str(self.deploy),
            "/opt/fusion-toolkit": str(REPOSITORY),
            "/etc/fusion/config.toml": str(self.config),
            "/etc/fusion": str(self.folder),
            "/var/lib/fusion": str(self.home),
            "/run/fusion": str(self.folder / "run"),
            "runuser -u fusion -- ": "",
            '"$(id -u)"': "0",
            "127.0.0.1 -p 3000": f"127.0.0.1 -p {self.port}",
            **self.moved,
        }
        self.deploy.mkdir()
        for file in (REPOSITORY / "deploy").iterdir():
            self._move(file, self.deploy / file.name)
        self._move(_SETTINGS[settings], self.home / "dagster.yaml")
        added = "".join(f"{name}={shlex.quote(value)}\n" for name, value in self.environment.items())
        shutil.copyfile(self.deploy / "fusion.env", self.folder / "fusion.env")
        with (self.folder / "fusion.env").open("a", encoding="utf-8") as file:
            file.write(added)

    def _move(self, source: Path, target: Path) -> None:
        text = source.read_text(encoding="utf-8")
        for old, new in self.moved.items():
            text = text.replace(old, new)
        target.write_text(text, encoding="utf-8")
        target.chmod(source.stat().st_mode)

    def setting(self, unit: str, key: str) -> str:
        """What a unit says of a key that it has once."""
        lines = (self.deploy / unit).read_text(encoding="utf-8").splitlines()
        (value,) = [line.removeprefix(f"{key}=") for line in lines if line.startswith(f"{key}=")]
        return value

    def variables(self) -> dict[str, str]:
        """The environment that systemd gives the services: nothing of this process's own."""
        lines = Path(self.setting(CODE_SERVER, "EnvironmentFile")).read_text(encoding="utf-8").splitlines()
        written = [shlex.split(line)[0].split("=", 1) for line in lines if line and not line.startswith("#")]
        return {
            "PATH": _PATH,
            "HOME": str(self.home),
            **dict(written),
        }

    def argv(self, unit: str) -> list[str]:
        return shlex.split(self.setting(unit, "ExecStart"))

    def start(self, *units: str, name: str = "") -> None:
        """Start units, in this order.

        Args:
            units: Their files' names.
            name: What to call the process, if not as its unit: for a second one.
        """
        for unit in units:
            with self.log(name or unit).open("ab") as log:
                self.running[name or unit] = subprocess.Popen(
                    self.argv(unit),
                    env={**self.variables(), _MARK: f"{self.folder}/{name or unit}"},
                    cwd=self.setting(unit, "WorkingDirectory"),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def log(self, unit: str) -> Path:
        return self.folder / f"{unit}.log"

    def logs(self) -> str:
        """The ends of all logs, for the message of a test that failed."""
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in sorted(self.folder.glob("*.log")))

    def kill(self, unit: str) -> None:
        """kill -9 of a service and all of its children, as when the host dies or its memory is exhausted."""
        process = self.running.pop(unit)
        while pids := self.pids(unit):
            _signal(pids, signal.SIGKILL)
            time.sleep(0.02)
        process.wait()

    def stop(self, unit: str, seconds: float = 60) -> None:
        """``systemctl stop``: SIGTERM to all processes of a service, and SIGKILL to those that do not end."""
        _signal(self.pids(unit), signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while self.pids(unit) and time.monotonic() < deadline:
            self.running[unit].poll()
            time.sleep(0.1)
        self.kill(unit)

    def pids(self, unit: str) -> list[int]:
        """All processes of a service: systemd knows them by their control group, we by a variable they inherit."""
        mark = f"{_MARK}={self.folder}/{unit}".encode()
        return [int(process.name) for process in Path("/proc").glob("[0-9]*") if mark in _environment(process)]

    def end(self) -> None:
        for unit in list(self.running):
            self.kill(unit)

    def fusion(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``sudo fusion …``, from an environment that has nothing of the lab's."""
        return self._run([str(self.deploy / "fusion"), *arguments], {"PATH": _PATH})

    def call(self, unit: str) -> subprocess.CompletedProcess[str]:
        """What a timer does: run a service to its end."""
        return self._run(self.argv(unit), self.variables())

    def _run(self, argv: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, env=environment, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False
        )

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            yield instance

    def runs(self, **tags: str) -> list[dg.DagsterRun]:
        """All runs with these tags, oldest first; ``_`` in a tag's name stands for ``/``."""
        wanted = {name.replace("_", "/"): value for name, value in tags.items()}
        with self.instance() as instance:
            return list(instance.get_runs(dg.RunsFilter(tags=wanted)))[::-1]

    def run(self, run_id: str) -> dg.DagsterRun:
        with self.instance() as instance:
            run = instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def set_clock_back(self, by: timedelta) -> None:
        """What Dagster remembers of its ticks is as if the clock had been ahead by as much."""
        with self.instance() as instance:
            for state in instance.all_instigator_state():
                for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1):
                    later = tick.tick_data._replace(timestamp=tick.timestamp + by.total_seconds())
                    instance.update_tick(InstigatorTick(tick.tick_id, later))
                if isinstance(data := state.instigator_data, SensorInstigatorData) and data.last_tick_start_timestamp:
                    ahead = data.last_tick_start_timestamp + by.total_seconds()
                    instance.update_instigator_state(state.with_data(data._replace(last_tick_start_timestamp=ahead)))

    def look_again(self) -> None:
        """Wait until every sensor that looks often has looked once more from beginning to end, however slow it is."""
        looks = [f"Checking for new runs for sensor: {sensor}" for sensor in ("alerts", "idle_studies")]
        log = self.log(DAEMON)
        before = {look: log.read_text().count(look) for look in looks}
        # The look that begins next is over when the one after it begins.
        self.until(
            lambda: all(log.read_text().count(look) > before[look] + 1 for look in looks), "sensors looked again"
        )

    def until(self, happened: Callable[[], Any], what: str, seconds: float = 240) -> Any:
        """Wait for something: on a quiet machine for seconds, beside three workers of a test for minutes."""
        deadline = time.monotonic() + seconds
        while not (found := happened()):
            assert time.monotonic() < deadline, f"within {seconds} s it did not happen that {what}\n{self.logs()}"
            time.sleep(0.2)
        return found


def _environment(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:  # it ended, or is somebody else's
        return []


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@contextmanager
def installed(
    lab: SmallLab, authority: Authority, mail_port: int, *, settings: str = "sqlite", moved: Mapping[str, str] = NOTHING
) -> Iterator[Services]:
    """The services of a lab, installed but not started; whatever runs at the end is killed.

    Args:
        lab: Its config.toml is added to: sensors that look every few seconds, mails that are not gathered.
        authority: Who vouches for the mail server.
        mail_port: Where it listens, with STARTTLS and a login.
        settings: Which dagster.yaml is used, ``sqlite`` or ``postgres``.
        moved: Further paths of the host, and what they are in the test.
    """
    with lab.config.open("a", encoding="utf-8") as file:
        file.write(_BUSY)
    (lab.folder / "recipients").mkdir()
    (lab.folder / "recipients" / "default.txt").write_text("ops@lab.example\n", encoding="utf-8")
    secrets = {
        "AWS_ACCESS_KEY_ID": lab.keys[0],
        "AWS_SECRET_ACCESS_KEY": lab.keys[1],
        "FUSION_SMTP_HOST": "127.0.0.1",
        "FUSION_SMTP_PORT": str(mail_port),
        "FUSION_SMTP_USER": USER,
        "FUSION_SMTP_APP_PASSWORD": PASSWORD,
        "SSL_CERT_FILE": str(authority.ca_file),
    }
    with tempfile.TemporaryDirectory(prefix="fusion-", ignore_cleanup_errors=True) as folder:
        services = Services(lab.config, Path(folder), secrets, dict(moved))
        services.install(settings)
        try:
            yield services
        finally:
            services.end()
