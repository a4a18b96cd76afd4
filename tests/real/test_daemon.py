"""The real daemon and code server, started as the units start them: all by itself, once, and told of once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.notify.mail_servers import Authority, Inbox, free_port, make_authority, starttls_server
from tests.real.services import CODE_SERVER, DAEMON, SECOND, Services, installed
from tests.real.small_lab import LOCK, STUDY, SmallLab, assert_completed, assert_nothing_lost

# Beside one other lab of services at the most: three of them leave none enough of two cores.
pytestmark = [pytest.mark.real, pytest.mark.timeout(600), pytest.mark.xdist_group("services")]

OTHERS = tuple(f"2026010{number}_WW_HCC_run{number}" for number in (6, 7, 8))
MISNAMED = "20261399_WW_HCC_run9"
LARGE_MIB = 24


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path)


@pytest.fixture
def mail_port() -> int:
    return free_port()


@pytest.fixture
def lab(small_lab: SmallLab) -> SmallLab:
    """One study whose transfer takes some seconds."""
    small_lab.add_study(large_mib=LARGE_MIB)
    small_lab.write_config(bandwidth_mib=4)
    return small_lab


@pytest.fixture
def services(
    lab: SmallLab, authority: Authority, mail_port: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Services]:
    with installed(lab, authority, mail_port) as made:
        monkeypatch.setenv("DAGSTER_HOME", str(made.home))
        yield made


def in_transfer(lab: SmallLab) -> bool:
    return any(lab.copy.rglob("*.partial")) if lab.copy.is_dir() else False


def tries(services: Services) -> Counter[tuple[str, str]]:
    """How often each study was started in each of its states."""
    return Counter((run.tags["dagster/partition"], run.tags["fusion/state"]) for run in services.runs())


def text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def stop_before_it_is_tried_again(services: Services) -> None:
    """End the daemon once it has seen the failed try: five minutes later, slow as it may be, it starts the next one."""
    decisions = services.home / "decisions.json"
    services.until(lambda: "tried again at" in decisions.read_text(), "the sensor will start it again")
    services.stop(DAEMON)
    assert "tried again at" in services.fusion("explain", STUDY).stdout


def test_a_lab_whose_daemon_is_killed_and_comes_back_while_no_mail_server_answers_does_and_tells_all_once(
    lab: SmallLab, authority: Authority, mail_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, studies = lab.folder / "Fusion.log", (STUDY, *OTHERS)
    log.write_text("2026-01-05 12:00:00,000 INFO started\n")
    lab.config.write_text(lab.config.read_text().replace("[truenas]", f"log = '{log}'\n[truenas]"))
    with installed(lab, authority, mail_port) as services:
        monkeypatch.setenv("DAGSTER_HOME", str(services.home))
        services.start(CODE_SERVER, DAEMON)
        services.until((services.home / "monitor.json").exists, "the log was looked at")
        services.until(lambda: in_transfer(lab), "the transfer began")
        services.kill(DAEMON)
        for study in OTHERS:
            lab.add_study(study)
        lab.write(f"{MISNAMED}.xpd", b"{}", MISNAMED)
        with log.open("a") as file:
            file.write("2026-01-05 12:34:56,789 ERROR stage does not answer\n2026-01-05 12:34:57,000 INFO going on\n")
        services.start(DAEMON)
        services.until(lambda: "refused" in services.fusion("notify", "waiting").stdout, "a mail waits")
        with starttls_server(authority, Inbox(mail_port)) as inbox:
            services.until(lambda: not any((lab.source / one).exists() for one in studies), "all were released")
            (services.home / "monitor.json").write_text("garbage")
            services.until(lambda: len(inbox.mails) >= 3, "three mails arrived")
            services.until(lambda: all(run.is_finished for run in services.runs()), "all runs ended")
            services.look_again()
        assert services.fusion("status", "--heartbeat").returncode == 0
        assert all(number == 1 for number in tries(services).values()), tries(services)
        assert len([run for run in services.runs() if not run.is_success]) == 1, "that of the bad name"
    for study in studies:
        assert_completed(lab, study=study)
    wanted = {"the name": MISNAMED, "the log": "stage does not answer", "the sensor": "fusion_log does not go on"}
    texts = [f"{mail['Subject']} {text_of(mail)}" for mail in inbox.mails]
    assert {what: sum(words in text for text in texts) for what, words in wanted.items()} == dict.fromkeys(wanted, 1)
    assert len(texts) == len(wanted), texts
    assert all(inbox.logins)


def test_the_daemon_of_the_services_lets_no_second_one_in(lab: SmallLab, services: Services) -> None:
    services.start(CODE_SERVER, DAEMON)
    services.until(lambda: "SensorDaemon" in services.log(DAEMON).read_text(), "the daemon works")
    services.start(DAEMON, name=SECOND)
    assert services.running[SECOND].wait(30) == 1
    beside = services.fusion("ui", "--port", str(services.port))
    assert beside.returncode == 2
    assert "a daemon works for this lab already" in beside.stderr


def test_services_that_are_stopped_in_the_middle_of_a_transfer_leave_nothing_that_needs_a_person(
    lab: SmallLab, services: Services, authority: Authority, mail_port: int
) -> None:
    with starttls_server(authority, Inbox(mail_port)) as inbox:
        services.start(CODE_SERVER, DAEMON)
        services.until(lambda: in_transfer(lab), "the transfer began")
        services.stop(CODE_SERVER)
        assert not (lab.study / LOCK).exists()
        (run,) = services.runs()
        assert run.is_finished
        unreached = "DagsterUserCodeUnreachableError"
        services.until(lambda: unreached in services.log(DAEMON).read_text(), "a sensor could not tick meanwhile")
        services.start(CODE_SERVER)
        services.look_again()
        stop_before_it_is_tried_again(services)
        assert services.fusion("backup", "run").returncode == 0, "a person need not wait for that"
        assert_completed(lab)
    assert [text_of(mail) for mail in inbox.mails] == []


def test_a_host_that_loses_power_in_the_middle_of_a_transfer_is_one_mail_with_the_one_command_that_is_needed(
    lab: SmallLab, services: Services, authority: Authority, mail_port: int
) -> None:
    settings = services.home / "dagster.yaml"
    settings.write_text(settings.read_text().replace("poll_interval_seconds: 60", "poll_interval_seconds: 3"))
    with starttls_server(authority, Inbox(mail_port)) as inbox:
        services.start(CODE_SERVER, DAEMON)
        services.until(lambda: in_transfer(lab), "the transfer began")
        services.kill(CODE_SERVER)
        services.kill(DAEMON)
        assert_nothing_lost(lab)
        services.start(CODE_SERVER, DAEMON)
        services.until(lambda: inbox.mails, "a mail arrived")
        services.until(lambda: all(run.is_finished for run in services.runs()), "the run was seen to be gone")
        services.look_again()
        (mail,) = inbox.mails
        assert f"fusion unlock {STUDY}" in text_of(mail)
        assert services.fusion("unlock", STUDY).returncode == 0
        stop_before_it_is_tried_again(services)
        assert services.fusion("backup", "run").returncode == 0, "a person need not wait for that"
    assert_completed(lab)
