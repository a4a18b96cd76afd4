"""Any sequence of damages and runs, killed ones among them: no run destroys the last good copy of anything.

A lab's worst year: disks flip bits, the NAS loses files and is rolled back, with its ledger or without, so is the
bucket, somebody rewrites sidecars, the ledger is lost, another program left copies, studies change, go, come back or
take another's name, runs are killed, S3 is away, people start steps in the UI or accept changes. After each run, every
file that had good bytes anywhere before it has them somewhere still.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reconcile.worst_year import Year

# A year waits for the disk for 0.4 s otherwise.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None

RUNS = [
    Year.apply,
    Year.apply,
    Year.apply_and_die,
    Year.apply_while_a_place_fails,
    Year.start_steps_in_the_ui,
    Year.validate_in_the_ui,
    Year.apply_while_s3_is_away,
    Year.accept_and_apply,
    Year.accept_and_apply,
]
DAMAGES = [
    Year.rot_at_source,
    Year.change_at_source,
    Year.cut_at_source,
    Year.gain_at_source,
    Year.touch_at_source,
    Year.put_good_files_back,
    Year.put_good_files_back,
    Year.bring_back_from_the_nas,
    Year.lose_at_source,
    Year.another_study_takes_the_name,
    Year.add_what_is_invalid,
    Year.take_away_what_is_invalid,
    Year.move_back_out_of_the_trash,
    Year.release_from_now_on,
    Year.keep_from_now_on,
    Year.flip_on_nas,
    Year.copies_of_another_program,
    Year.lose_journal,
    Year.lose_on_nas,
    Year.truncate_on_nas,
    Year.touch_on_nas,
    Year.regenerate_sidecar,
    Year.damage_sidecar,
    Year.lose_copy,
    Year.take_snapshot,
    Year.roll_back,
    Year.take_snapshot_of_all,
    Year.roll_back_all,
    Year.restore_ledger,
    Year.lose_ledger,
    Year.save_ledger,
    Year.put_back_an_old_ledger,
    Year.put_by_hand,
    Year.lose_object,
    Year.alter_object,
    Year.lose_archived_sidecar,
    Year.alter_archived_sidecar,
    Year.lose_archive,
    Year.save_objects,
    Year.put_old_objects_back,
    Year.put_old_sidecar_back,
    Year.change_storage_class,
    Year.change_what_is_stated,
]
FIRST = st.sampled_from([Year.apply, Year.apply, Year.copies_of_another_program, None])
RANDOM = st.integers(0, 2**16).map(Random)
DAMAGE = st.tuples(st.sampled_from(DAMAGES), RANDOM)
MONTH = st.tuples(st.lists(DAMAGE, min_size=1, max_size=4), st.tuples(st.sampled_from(RUNS), RANDOM))


@pytest.mark.timeout(900)
@settings(max_examples=int(os.environ.get("WORST_YEARS", "40")), deadline=None)
@given(
    FIRST,
    st.lists(MONTH, min_size=3, max_size=7),
)
def test_no_run_destroys_the_last_good_copy_of_a_file_whatever_happened_before_it(first, months) -> None:
    with tempfile.TemporaryDirectory(prefix="worst-year-", dir=MEMORY) as folder:
        year = Year(Path(folder))
        if first:
            first(year, Random(0))
        for damages, (run, random) in months:
            for damage, how in damages:
                damage(year, how)
            run(year, random)
