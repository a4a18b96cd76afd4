"""docs/operations.md is whole: every sensor, schedule, mail and unit is in it, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from definitions import build_defs
from fusion_assets.config import Event, SchedulesSection, SensorsSection, parse_config
from schedules.calendar import APPOINTMENTS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "operations.md").read_text()
LAB = {
    "source": {"root": "/source", "log": "/source/Fusion.log"},
    "truenas": {"root": "/nas"},
    "s3": {"bucket": "bucket"},
}


def first_cells(heading: str) -> set[str]:
    """What stands in backticks in the first column of the table under a heading of columns."""
    _, _, rest = TEXT.partition(f"| {heading} |")
    table, _, _ = rest.partition("\n\n")
    return set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))


def test_everything_that_runs_by_itself_is_explained() -> None:
    repository = build_defs(parse_config(LAB)).get_repository_def()
    assert first_cells("sensor") == {sensor.name for sensor in repository.sensor_defs}
    assert first_cells("schedule") == {schedule.name for schedule in repository.schedule_defs}


def test_the_calendar_of_the_document_is_that_of_the_schedules() -> None:
    for appointment in APPOINTMENTS:
        minute, hour, day, _, weekday = appointment.cron.split()
        names = {"6": "Saturday, ", "1": "Monday, ", "*": f"day {day}, " if day != "*" else ""}
        assert f"| `{appointment.name}` | {names[weekday]}{int(hour):02}:{int(minute):02} |" in TEXT


def test_every_mail_is_explained() -> None:
    assert first_cells("event") == set(Event)


def test_every_switch_that_is_named_is_one() -> None:
    switches = set(re.findall(r"`(?:\[\w+\] )?(\w+) = false`", TEXT)) - {"delete_source"}
    assert switches == {
        name
        for section in (SensorsSection, SchedulesSection)
        for name, field in section.model_fields.items()
        if field.default is True
    }


def test_every_unit_that_is_named_is_installed() -> None:
    units = {file.name for file in (ROOT / "deploy").iterdir()}
    named = set(
        re.findall(r"\bfusion(?:-(?:code-server|daemon|webserver|heartbeat|\w+))?\.(?:service|target|timer)\b", TEXT)
    )
    assert named
    assert named <= units
    assert {f"{name}.service" for name in re.findall(r"systemctl \w+ (fusion-[a-z-]+)\b(?!\.)", TEXT)} <= units


def test_what_units_wait_for_is_enabled() -> None:
    """That target alone is reached at once, whatever the clock shows."""
    assert any("time-sync.target" in file.read_text() for file in (ROOT / "deploy").glob("*.service"))
    assert "# systemctl enable systemd-time-wait-sync" in TEXT


@pytest.mark.parametrize("file", sorted(path.name for path in (ROOT / "deploy").iterdir()))
def test_every_file_of_deploy_is_put_into_its_place(file: str) -> None:
    assert file in TEXT or f"*{Path(file).suffix}" in TEXT or file == "workspace.yaml"


def test_no_link_leads_nowhere() -> None:
    for target in re.findall(r"\]\(([\w./-]+)\)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
