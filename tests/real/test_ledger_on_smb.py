"""The ledger and the locks on a share of a real Samba, several writers at once, each with connections of its own."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fusion_assets.manifest.ledger import LOCK_NAME, Ledger
from fusion_assets.reconcile.found_lock import LOCKS
from fusion_assets.reconcile.locks import backup_lock, find_backup_lock, find_locks, locked_backups, study_lock
from fusion_assets.reconcile.unlocking import unlock
from fusion_assets.standard.listing import LOCK_NAME as STUDY_LOCK
from resources.lockfile import LockHeldError, new_lock, take
from resources.process import this_host
from resources.smb import parse_address
from resources.smb_storage import SmbStorage
from tests.manifest.records import record
from tests.real.samba import Place, SambaServer

pytestmark = pytest.mark.real

JANUARY = datetime(2026, 1, 5, tzinfo=UTC)

APPENDER = """
import dataclasses, sys
from fusion_assets.manifest.ledger import Ledger
from fusion_assets.manifest.record import parse_line
from resources.smb import SmbServer, parse_address
from resources.smb_storage import SmbStorage
root, port, username, password, name, count, template = sys.argv[1:]
server = SmbServer(host="127.0.0.1", port=int(port), username=username, password=password)
ledger = Ledger(SmbStorage(parse_address(root, ["nas"]), server))
for number in range(int(count)):
    ledger.append(dataclasses.replace(parse_line(template), backup_name=f"{name}-{number}"))
    print(number, flush=True)
"""


def appender(share: Place, samba: SambaServer, name: str, count: int) -> subprocess.Popen[str]:
    login = samba.login()
    template = record().to_line().decode()
    argv = [sys.executable, "-c", APPENDER, share.storage.root, str(samba.port), login.username, login.password, name]
    root = Path(__file__).parents[2]
    return subprocess.Popen([*argv, str(count), template], stdout=subprocess.PIPE, text=True, cwd=root)


def test_writers_on_several_connections_never_interleave_or_lose_a_line(share, samba):
    processes = [appender(share, samba, name, 20) for name in "ab"]
    assert [process.communicate()[0].count("\n") for process in processes] == [20, 20]
    view = Ledger(share.storage).read()
    assert not view.bad_lines
    for name in "ab":
        own = [event.backup_name for _, event in view.events if event.backup_name.startswith(name)]
        assert own == [f"{name}-{i}" for i in range(20)]
    assert not (share.disk / LOCK_NAME).exists()


def test_the_lock_of_a_killed_writer_on_this_host_is_taken_over(share, samba):
    ledger = Ledger(share.storage, patience=60)
    for round_ in range(3):
        process = appender(share, samba, str(round_), 10_000)
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        done = process.communicate()[0].count("\n") + 1
        ledger.append(record(backup_name=f"after-{round_}"))
        view = ledger.read()
        assert not view.bad_lines
        assert {f"after-{round_}", *(f"{round_}-{i}" for i in range(done))} <= set(view.records)


def test_a_torn_end_is_mended_on_a_share_too(share):
    (share.disk / "2026-01.jsonl").write_bytes(record(backup_name="one").to_line() + b'{"backup_')
    (share.disk / "2026-01.jsonl").chmod(0o666)
    Ledger(share.storage).append(record(backup_name="two"), now=JANUARY)
    assert list(Ledger(share.storage).read().records) == ["one", "two"]
    assert (share.disk / "2026-01.torn").read_bytes() == b'{"backup_\n'


def test_a_ledger_directory_that_is_not_on_the_share_is_not_there(share, samba):
    ledger = Ledger(SmbStorage(parse_address(f"{share.storage.root}/_manifest", ["nas"]), samba.login()))
    assert not ledger.exists()
    assert not ledger.read().exists
    share.storage.make_directory("_manifest")
    ledger.append(record())
    assert ledger.read().exists


def test_a_study_on_the_instruments_share_is_locked_found_and_unlocked(share):
    share.storage.make_directory("study")
    with study_lock(share.storage, "study", "study"):
        assert (share.disk / "study" / STUDY_LOCK).exists()
        with pytest.raises(LockHeldError):
            take(share.storage, new_lock(f"study/{STUDY_LOCK}"))
    assert not (share.disk / "study" / STUDY_LOCK).exists()

    take(share.storage, new_lock(f"study/{STUDY_LOCK}", now=datetime(2026, 1, 5, tzinfo=UTC)))
    (found,) = find_locks(share.storage, ["study"])
    assert this_host() in str(found)
    assert found.state.alive is False, "it is older than this process"
    assert unlock(share.storage, share.storage, run_name="study", backup_name="study").removed
    assert not (share.disk / "study" / STUDY_LOCK).exists()


def test_a_backup_on_a_share_is_locked_and_taken_over_from_a_worker_that_is_gone(share):
    share.storage.make_directory(LOCKS)
    gone = new_lock(f"{LOCKS}/study.lock", now=datetime(2026, 1, 5, tzinfo=UTC))  # older than this process
    take(share.storage, gone)
    assert find_backup_lock(share.storage, "study", "study") is None
    with backup_lock(share.storage, "study", "study"):
        assert locked_backups(share.storage) == {"study"}
        assert (share.disk / LOCKS / "study.lock").read_bytes() != gone.content
    assert locked_backups(share.storage) == frozenset()


def test_a_locked_study_on_a_share_can_be_moved_to_the_trash(share):
    share.storage.make_directory("study")
    with study_lock(share.storage, "study", "study"):
        share.storage.rename("study", "trash")
    assert (share.disk / "trash" / STUDY_LOCK).exists()
