"""`fusion status` and `fusion explain`, as an operator types them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.real.s3 import no_aws, s3_server
from tests.real.small_lab import STUDY, SmallLab, small_lab

__all__ = ["no_aws", "s3_server", "small_lab"]

pytestmark = pytest.mark.real


@pytest.fixture
def lab(small_lab: SmallLab) -> SmallLab:
    small_lab.add_study()
    small_lab.write_config(delete_source=False)
    return small_lab


def beat(lab: SmallLab, at: datetime) -> None:
    (lab.folder / ".fusion").mkdir(exist_ok=True)
    (lab.folder / ".fusion" / "heartbeat").write_text(at.isoformat())


def test_a_watcher_outside_notices_a_dead_daemon_by_an_exit_code(lab) -> None:
    never = lab.fusion("status", "--heartbeat")
    assert (never.returncode, "never heard of" in never.stdout) == (1, True)
    beat(lab, datetime.now(UTC))
    assert lab.fusion("status", "--heartbeat").returncode == 0
    beat(lab, datetime.now(UTC) - timedelta(hours=1))
    silent = lab.fusion("status", "--heartbeat", "-f", "json")
    assert silent.returncode == 1
    assert json.loads(silent.stdout)["heartbeat"]["fresh"] is False
    beat(lab, datetime.now(UTC) + timedelta(seconds=60))
    assert lab.fusion("status", "--heartbeat").returncode == 0, "no two clocks are the same"
    beat(lab, datetime.now(UTC) + timedelta(days=400))
    ahead = lab.fusion("status", "--heartbeat")
    assert (ahead.returncode, "the clock was set back" in ahead.stdout) == (1, True)


def test_a_dead_daemon_is_mailed_once_by_the_watcher_and_its_next_death_again(lab) -> None:
    with lab.config.open("a") as file:
        file.write("[notify]\nenabled = true\n")
    (lab.folder / "recipients").mkdir()
    (lab.folder / "recipients" / "heartbeat.txt").write_text("ops@lab.example\n")

    def waiting() -> int:
        return json.loads(lab.fusion("status", "-f", "json").stdout)["mails_waiting"]

    lab.apply()
    for _ in range(2):
        assert lab.fusion("status", "--heartbeat", "--mail").returncode == 1
    assert waiting() == 1
    beat(lab, datetime.now(UTC))
    assert lab.fusion("status", "--heartbeat", "--mail").returncode == 0
    beat(lab, datetime.now(UTC) - timedelta(hours=1))
    lab.fusion("status", "--heartbeat", "--mail")
    assert waiting() == 2


def test_the_status_says_what_is_archived_how_full_the_nas_is_and_what_waits(lab) -> None:
    lab.apply()
    text = lab.fusion("status")
    assert text.returncode == 0, text.stderr
    assert "1 complete" in text.stdout
    assert "% of" in text.stdout
    assert "not enough history for a forecast" in text.stdout
    fields = json.loads(lab.fusion("status", "-f", "json").stdout)
    assert fields["ledger"]["by_status"] == {"complete": 1}
    assert fields["proven_longest_ago"] == STUDY


def test_a_status_without_the_nas_is_an_error_and_not_an_empty_lab(lab) -> None:
    lab.apply()
    lab.nas.rename(lab.nas.with_name("away"))
    lab.nas.mkdir()
    status = lab.fusion("status")
    assert status.returncode == 2
    assert "not mounted" in status.stderr
    assert re.search(r"^NAS +not seen: .*not mounted", status.stdout, re.MULTILINE)


def test_a_status_while_s3_is_away_shows_the_daemon_the_nas_and_the_mails_all_the_same(lab) -> None:
    lab.apply()
    lab.config.write_text(lab.config.read_text().replace(lab.server.url, "http://127.0.0.1:9"))
    status = lab.fusion("status")
    assert status.returncode == 3
    named = [line.split()[0] for line in status.stdout.splitlines()]
    assert named == ["daemon", "ledger", "proofs", "NAS", "mirror", "mails"]
    assert "1 complete" in status.stdout
    assert re.search(r"^mirror +not seen: .*127.0.0.1:9", status.stdout, re.MULTILINE)
    lab.nas.rename(lab.nas.with_name("away"))
    lab.nas.mkdir()
    bare = json.loads(lab.fusion("status", "-f", "json").stdout)
    assert "there is no ledger" in bare["truenas"]["error"], "nor an empty lab, whose disk would be the host's"
    assert "127.0.0.1:9" in bare["mirror"]["error"]


def test_a_study_is_explained_by_its_conditions_its_history_and_what_the_daemon_decided(lab) -> None:
    (lab.folder / ".fusion").mkdir()
    decided = {STUDY: {"at": "2026-11-21T02:00:00+00:00", "started": False, "why": "tried once; again at 03:00"}}
    (lab.folder / ".fusion" / "decisions.json").write_text(json.dumps(decided))
    lab.apply()
    said = lab.fusion("explain", STUDY)
    assert said.returncode == 0, said.stderr
    assert "held back since 2026-11-21T02:00:00+00:00: tried once; again at 03:00" in said.stdout
    told = re.findall("^ledger: .*", said.stdout, re.MULTILINE)
    assert told[-1].startswith("ledger: complete")
    assert len(set(told)) == len(told), "of lines that differ in what is not shown, one is enough"
    assert lab.fusion("status", STUDY).stdout == said.stdout
    fields = json.loads(lab.fusion("status", STUDY, "-f", "json").stdout)
    assert fields["decision"]["why"] == "tried once; again at 03:00"
    assert fields["conditions"]["OnS3"]["status"] == "True"
    assert fields["history"][-1]["status"] == "complete"


def test_everything_that_is_wrong_with_a_study_is_listed_where_its_condition_says_there_is_more(lab) -> None:
    for name in ("notes.txt", "todo.txt"):
        lab.write(name, b"", STUDY)
    image = lab.source / STUDY / lab.path_of(".qptiff")
    image.write_bytes(image.read_bytes()[:100])
    said = lab.fusion("explain", STUDY).stdout
    assert "(and 1 more: `fusion explain` lists them)" in said
    assert re.findall(r"^invalid: \[([RD]\d)\]", said, re.MULTILINE) == ["R5", "R5", "D2"]


def test_a_study_that_nobody_knows_is_a_mistake_and_not_an_empty_answer(lab) -> None:
    said = lab.fusion("explain", "20260101_no_such_study")
    assert said.returncode == 2
    assert "there is no study" in said.stderr
