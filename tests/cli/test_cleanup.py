"""`fusion cleanup run`, `pin` and `unpin` as a person types them, on a NAS whose volume is measured exactly."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from cli.main import cli
from fusion_assets.eviction import telling
from fusion_assets.reconcile.lab import TRASH
from resources.local import LocalStorage
from resources.lockfile import LockHeldError
from tests.eviction.store_lab import DISK_BYTES, StoreLab, Volume, assert_evicted, assert_nothing_lost
from tests.real.s3 import no_aws, s3_server
from tests.real.small_lab import SmallLab, small_lab

__all__ = ["no_aws", "s3_server", "small_lab"]

OLDEST, OLD, NEW = "20260105_WW_HCC_run1", "20260106_WW_HCC_run2", "20260107_WW_HCC_run3"
KIB = 2048  # of a study: more than the noise that a volume of these sizes is allowed


@pytest.fixture
def lab(small_lab: SmallLab, monkeypatch: pytest.MonkeyPatch) -> StoreLab:
    """Three archived studies on a NAS with 5 % of its volume free; what is measured of it is the volume's."""
    small_lab.source.mkdir()
    (small_lab.source / "20990101_ZZ_KEEP_busy").mkdir()
    lab = StoreLab(small_lab, Volume([small_lab.nas], DISK_BYTES))
    lab.archive(OLDEST, OLD, NEW, kib=KIB)
    lab.fill()
    monkeypatch.setattr(LocalStorage, "space", lambda _: lab.volume.space())
    monkeypatch.setattr("fusion_assets.eviction.evict.PAUSES", ())
    monkeypatch.setenv("DAGSTER_HOME", str(small_lab.folder / ".fusion"))
    return lab


def fusion(lab: StoreLab, *arguments: str) -> Result:
    result = CliRunner().invoke(cli, [*arguments, "--config", str(lab.small.config)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def test_the_oldest_backup_goes_and_no_more_than_is_needed(lab: StoreLab) -> None:
    before = lab.s3()
    result = fusion(lab, "cleanup", "run", "-f", "json")
    assert result.exit_code == 0, result.output
    assert_evicted(lab, OLDEST)
    assert lab.on_nas() == {OLD, NEW}
    assert lab.s3() == before
    said = lines(result)
    assert [(line["study"], line["result"]) for line in said[:-1]] == [(OLDEST, "evicted")]
    assert said[-1]["total"] == {"ok": 0, "changed": 1, "skipped": 0, "failed": 0}
    assert said[-1]["still_missing"] == 0


def test_a_second_cleanup_changes_nothing(lab: StoreLab) -> None:
    fusion(lab, "cleanup", "run")
    before = lab.small.files(), lab.small.objects()
    result = fusion(lab, "cleanup", "run")
    assert result.exit_code == 0
    assert (lab.small.files(), lab.small.objects()) == before


def test_a_dry_run_says_what_would_go_and_why_the_rest_stays_and_touches_nothing(lab: StoreLab) -> None:
    lab.pin(OLDEST)
    before = lab.small.files(), lab.small.objects(), sorted(lab.small.folder.iterdir())
    result = fusion(lab, "cleanup", "run", "--dry-run")
    assert result.exit_code == 0
    said = {line.split()[1]: line for line in result.stdout.splitlines() if line.startswith(("evict", "keep"))}
    assert said[OLD].startswith("evict")
    assert "pinned by ada" in said[OLDEST]
    assert "not needed" in said[NEW]
    assert "not enough history" in result.stdout
    (plan,) = lines(fusion(lab, "cleanup", "run", "--dry-run", "-f", "json"))
    assert [each["study"] for each in plan["evictions"]] == [OLD]
    assert {each["study"] for each in plan["kept"]} == {OLDEST, NEW}
    assert plan["suffices"] is True
    assert (lab.small.files(), lab.small.objects(), sorted(lab.small.folder.iterdir())) == before


def test_a_study_that_s3_does_not_prove_fails_and_the_next_oldest_goes_instead(lab: StoreLab) -> None:
    key = lab.small.key(lab.small.path_of("big.bin", OLDEST), OLDEST)
    lab.small.server.client().delete_object(Bucket=lab.small.bucket, Key=key)
    result = fusion(lab, "cleanup", "run", "-f", "json")
    assert result.exit_code == 1
    assert [(line["study"], line["result"]) for line in lines(result)[:-1]] == [(OLDEST, "failed"), (OLD, "evicted")]
    assert "big.bin" in lines(result)[0]["message"]
    assert lab.on_nas() == {OLDEST, NEW}
    assert_nothing_lost(lab)


def test_a_bound_ends_the_cleanup_and_says_what_is_still_missing(lab: StoreLab) -> None:
    lab.want(free_threshold_pct=80, max_studies=1, max_store_pct=99)
    result = fusion(lab, "cleanup", "run")
    assert result.exit_code == 0
    assert lab.on_nas() == {OLD, NEW}
    assert "max_studies = 1" in result.stderr


def test_no_setting_empties_the_nas(lab: StoreLab) -> None:
    lab.want(free_threshold_pct=99.9, max_store_pct=99.9, max_studies=1000)
    for _ in range(3):
        fusion(lab, "cleanup", "run")
    assert lab.on_nas() == {NEW}


def test_a_threshold_of_100_is_refused(lab: StoreLab) -> None:
    lab.want(free_threshold_pct=100)
    with pytest.raises(Exception, match="free_threshold_pct"):
        fusion(lab, "cleanup", "run")
    assert len(lab.on_nas()) == 3


def test_space_that_does_not_rise_stops_the_cleanup_and_the_next_ones(lab: StoreLab) -> None:
    lab.want(free_threshold_pct=60, max_store_pct=99)
    snapshot = lab.snapshot(OLDEST)
    result = fusion(lab, "cleanup", "run")
    assert result.exit_code == 1
    assert "snapshot" in result.stderr
    assert lab.on_nas() == {OLD, NEW}
    assert fusion(lab, "cleanup", "run").exit_code == 1
    assert "--despite-snapshots" in fusion(lab, "cleanup", "run", "--dry-run").stdout
    assert lab.on_nas() == {OLD, NEW}
    assert fusion(lab, "cleanup", "run", "--despite-snapshots").exit_code == 0
    assert lab.on_nas() == {NEW}
    shutil.rmtree(snapshot)


def test_a_cleanup_that_another_host_makes_is_not_joined(lab: StoreLab) -> None:
    lock = {"hostname": "microscope-2", "pid": 7, "started_at": "2026-01-05T00:00:00Z", "run_name": ""}
    (lab.small.nas / ".cleanup.lock").write_text(json.dumps(lock))
    with pytest.raises(LockHeldError, match="microscope-2"):  # exit code 2 at the border of the program
        fusion(lab, "cleanup", "run")
    assert len(lab.on_nas()) == 3
    assert "fusion unlock --cleanup" in fusion(lab, "cleanup", "run", "--dry-run").stderr


def test_the_hook_runs_first_and_its_failure_keeps_the_cleanup_from_starting(lab: StoreLab, tmp_path: Path) -> None:
    _hook(lab, "import sys; print('mounting'); sys.exit(7)")
    result = fusion(lab, "cleanup", "run")
    assert result.exit_code == 1
    assert "exit code 7" in result.stderr
    assert len(lab.on_nas()) == 3


def test_the_hook_runs_before_the_nas_is_looked_at(lab: StoreLab) -> None:
    away = lab.small.folder / "away"
    lab.small.nas.rename(away)
    _hook(lab, f"import os; os.rename(r'{away}', r'{lab.small.nas}')")
    assert fusion(lab, "cleanup", "run").exit_code == 0
    assert_evicted(lab, OLDEST)


def test_an_eviction_that_was_broken_off_is_put_right_whether_space_is_needed_or_not(lab: StoreLab) -> None:
    (lab.small.nas / TRASH).mkdir()
    (lab.small.nas / OLDEST).rename(lab.small.nas / TRASH / f"{OLDEST}@20260201T000000000000")
    lab.volume.total *= 10
    result = fusion(lab, "cleanup", "run")
    assert result.exit_code == 0, result.output
    assert lab.on_nas() == {OLDEST, OLD, NEW}
    assert not lab.trash()


def test_a_pinned_study_stays_until_it_is_unpinned(lab: StoreLab) -> None:
    assert fusion(lab, "pin", OLDEST, "--reason", "paper in review", "--until", "2999-12-31").exit_code == 0
    listed = fusion(lab, "pin", "--list").stdout
    assert OLDEST in listed
    assert "paper in review" in listed
    assert "until 2999-12-31" in listed or "until 3000-01-01" in listed
    (as_json,) = lines(fusion(lab, "pin", "--list", "-f", "json"))
    assert [pin["backup_name"] for pin in as_json["pins"]] == [OLDEST]
    fusion(lab, "cleanup", "run")
    assert lab.on_nas() == {OLDEST, NEW}
    assert fusion(lab, "unpin", OLDEST).exit_code == 0
    assert "nothing is pinned" in fusion(lab, "pin", "--list").stdout
    assert fusion(lab, "unpin", OLDEST).exit_code == 1


def test_a_pin_says_whether_there_is_a_copy_that_it_keeps(lab: StoreLab) -> None:
    assert fusion(lab, "pin", NEW, "--reason", "x").stdout == f"{NEW} stays on the NAS\n"
    with lab.opened() as opened:
        begun = opened.ledger.read().records[OLD]
        opened.ledger.append(telling.begun(begun, datetime.now(UTC)))
        assert "its eviction had begun" in fusion(lab, "pin", OLD, "--reason", "x").stdout
        opened.ledger.append(begun)
    lab.evict(OLDEST)
    said = fusion(lab, "pin", OLDEST, "--reason", "x", "--until", "2999-12-31").stdout
    assert said.startswith(f"{OLDEST} is pinned until the end of 2999-12-31, but it was evicted on")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pin", OLDEST), "--reason"),
        (("pin", OLDEST[:-1] + "9", "--reason", "x"), f"did you mean {OLDEST}"),
        (("pin", OLDEST, "--reason", "x", "--until", "2020-01-01"), "over already"),
        (("pin",), "name one study"),
        (("unpin", OLDEST[:-1] + "9"), f"did you mean {OLDEST}"),
    ],
)
def test_a_pin_that_makes_no_sense_is_refused_in_a_sentence(
    lab: StoreLab, arguments: tuple[str, ...], said: str
) -> None:
    result = fusion(lab, *arguments)
    assert result.exit_code == click.UsageError.exit_code
    assert said in result.stderr
    assert not (lab.small.nas / "_manifest" / "pins.jsonl").exists()


def _lose_object(lab: StoreLab) -> None:
    key = lab.small.key(lab.small.path_of("big.bin", OLDEST), OLDEST)
    lab.small.server.client().delete_object(Bucket=lab.small.bucket, Key=key)


def _hold_blocks(lab: StoreLab) -> None:
    lab.snapshot(OLDEST)


@pytest.mark.parametrize("spoil", [_lose_object, _hold_blocks])
def test_a_cleanup_that_failed_or_stopped_is_mailed_once(
    lab: StoreLab, spoil: Callable[[StoreLab], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(lab)
    mails: list[tuple[str, str]] = []
    monkeypatch.setattr(
        "cli.cleanup_view.send_mail", lambda _config, _env, event, message: mails.append((event.value, message.text))
    )
    assert fusion(lab, "cleanup", "run").exit_code == 1
    ((event, text),) = mails
    assert event in ("cleanup_failure", "capacity_warning")
    assert OLDEST in text
    assert "S3 was not touched" in text or "S3 is never touched" in text


def _hook(lab: StoreLab, code: str) -> None:
    argv = json.dumps([sys.executable, "-c", code])
    with lab.small.config.open("a") as file:
        file.write(f"\n[hooks]\ncleanup = {argv}\n")
