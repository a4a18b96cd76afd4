"""What must not be archived, or not be released, whoever asks for it and by which door.

Each test asks for single steps, as a person does in Dagster's UI, or breaks the ledger; then the pipeline is run.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fusion_assets.manifest.record import Status
from tests.real.small_lab import STUDY, SmallLab, assert_completed, assert_nothing_lost

pytestmark = pytest.mark.real


@pytest.fixture
def lab(small_lab: SmallLab) -> SmallLab:
    small_lab.add_study()
    return small_lab


def cut_short(lab: SmallLab) -> None:
    path = lab.path_of(".qptiff")
    data = lab.originals[STUDY, path]
    lab.write(path, data[: len(data) * 6 // 10])


def test_an_image_that_was_found_cut_short_is_neither_copied_nor_recorded_by_asking_for_that_alone(
    lab: SmallLab,
) -> None:
    cut_short(lab)
    assert "[D2]" in lab.apply().errors
    for assets in (("truenas_copy", "s3_archive"), ("truenas_copy",), ("s3_archive",)):
        assert "[D2]" in lab.run_assets(*assets)
    assert {line["status"] for line in lab.ledger()} == {"failed_validation"}
    assert not lab.objects().keys() - {f"archive/_manifest/{datetime.now(UTC):%Y-%m}.jsonl"}
    assert lab.apply().failed
    assert lab.study.is_dir()


def test_an_image_that_was_found_cut_short_after_it_was_copied_is_not_recorded(lab: SmallLab) -> None:
    cut_short(lab)
    assert not lab.run_assets("truenas_copy", "s3_archive")
    with lab.opened() as opened:
        proven = opened.ledger.read().records[STUDY]
        assert "[D2]" in lab.run_assets("validated")
        opened.ledger.append(proven)  # as an earlier version would, which did not ask
    assert "its last validation failed" in lab.run_assets("manifest_entry")
    assert lab.apply().failed
    assert lab.study.is_dir()
    assert "complete" not in {line["status"] for line in lab.ledger()}


def test_an_image_that_nobody_validated_is_looked_at_before_its_source_goes(lab: SmallLab) -> None:
    cut_short(lab)
    assert not lab.run_assets("truenas_copy", "s3_archive", "manifest_entry")
    assert "is kept at the source: Whole: [D2]" in lab.apply().errors
    assert lab.study.is_dir()
    assert_nothing_lost(lab)


def test_a_study_whose_names_break_the_standard_is_not_copied_by_asking_for_the_copy_alone(lab: SmallLab) -> None:
    lab.write("stray.txt", b"")
    assert "[R5]" in lab.run_assets("truenas_copy", "s3_archive")
    assert not lab.copy.exists()


def test_a_record_whose_times_are_out_of_order_is_not_written_and_the_source_kept(lab: SmallLab) -> None:
    """The clock was two hours ahead when the study was begun, and was corrected before it was recorded."""
    assert not lab.run_assets("truenas_copy", "s3_archive")
    with lab.opened() as opened:
        begun = opened.ledger.read().records[STUDY]
        opened.ledger.append(replace(begun, started_at=datetime.now(UTC) + timedelta(hours=2)))
    for _ in range(2):
        assert "the ledger would not be consistent" in (errors := lab.apply().errors)
        assert "completed_at must not be before" in errors
        assert "complete" not in {line["status"] for line in lab.ledger()}
        assert lab.study.is_dir()
    assert not lab.run_assets("truenas_copy", "s3_archive", "manifest_entry")
    assert not lab.apply().failed
    assert_completed(lab)


@pytest.mark.parametrize("way_out", ["a new name", "an alias"])
def test_a_study_whose_name_differs_only_by_case_from_an_archived_one_is_refused_until_it_has_another(
    lab: SmallLab, way_out: str
) -> None:
    assert not lab.apply().failed
    twin, other = "20260105_WW_HCC_RUN1", "20260105_WW_HCC_run1b"
    lab.add_study(twin)
    for _ in range(2):
        assert f"is the same name as '{STUDY}' wherever upper and lower case" in lab.apply().errors
    assert STUDY in lab.run_assets("truenas_copy", "s3_archive", study=twin)
    assert not (lab.nas / twin).exists()
    if way_out == "an alias":
        lab.config.write_text(f"{lab.config.read_text()}[alias]\n'{twin}' = '{other}'\n")
        assert not lab.apply().failed
        assert (lab.nas / other / lab.path_of(".xpd", twin)).is_file()
    assert_nothing_lost_of_first(lab)


def assert_nothing_lost_of_first(lab: SmallLab) -> None:
    lab.originals = {at: data for at, data in lab.originals.items() if at[0] == STUDY}
    assert_completed(lab)


def test_a_complete_record_that_breaks_the_ledgers_schema_releases_nothing(lab: SmallLab) -> None:
    lab.write_config(delete_source=False)
    assert not lab.apply().failed
    with lab.opened() as opened:
        complete = opened.ledger.read().records[STUDY]
        assert complete.status is Status.COMPLETE
        opened.ledger.append(replace(complete, started_at=datetime.now(UTC) + timedelta(hours=2)))
    lab.write_config(delete_source=True)
    assert "is kept at the source: LedgerConsistent: " in lab.apply().errors
    assert lab.study.is_dir()
