"""The fixtures of the sensors: a lab on a real S3 server whose mails wait in its mailbox, and a daemon in a test."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from tests.real.s3 import no_aws, s3_server
from tests.real.small_lab import SmallLab, small_lab
from tests.sensors.daemon import Daemon

__all__ = ["no_aws", "s3_server", "small_lab"]


@pytest.fixture
def lab(small_lab: SmallLab, monkeypatch: pytest.MonkeyPatch) -> SmallLab:
    """A lab of one good study, with a subscriber and a mail server that never answers, so that mails can be counted."""
    small_lab.add_study()
    small_lab.write_config(delete_source=True)
    with small_lab.config.open("a") as file:
        file.write("[notify]\nenabled = true\n")
    (small_lab.folder / "recipients").mkdir()
    (small_lab.folder / "recipients" / "default.txt").write_text("ops@lab.example\n")
    for name, value in {"HOST": "127.0.0.1", "PORT": "9", "SECURITY": "none", "SENDER": "fusion@lab.example"}.items():
        monkeypatch.setenv(f"FUSION_SMTP_{name}", value)
    return small_lab


@pytest.fixture
def daemon(lab: SmallLab) -> Iterator[Daemon]:
    home = lab.folder / ".fusion"  # where the command line looks, too
    home.mkdir()
    with dg.instance_for_test(temp_dir=str(home)) as instance:
        yield Daemon(lab.config, instance)


@pytest.fixture
def watched(lab: SmallLab, daemon: Daemon) -> Daemon:
    """A daemon whose alerts have begun, and mail at once: what ended before is old news."""
    with lab.config.open("a") as file:
        file.write("cooldown_minutes = {backup_failure = 0, check_failed = 0}\n")
    daemon.tick("alerts")
    return daemon
