"""Is the process that wrote this down still the one that runs under its number?"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from resources.process import is_alive, this_host, this_process

NOW = datetime.now(UTC)  # this process had begun by then


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_this_process_lives_with_and_without_an_identity():
    assert is_alive(this_host(), os.getpid(), seen_at=NOW) is True
    assert is_alive(this_host().upper(), os.getpid(), seen_at=NOW, identity=this_process()) is True


def test_a_killed_process_is_dead_even_while_nobody_has_collected_it(sleeper):
    seen = datetime.now(UTC)
    assert is_alive(this_host(), sleeper.pid, seen_at=seen) is True
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now: `kill -0` would still find it
    assert is_alive(this_host(), sleeper.pid, seen_at=seen) is False
    sleeper.wait()
    assert is_alive(this_host(), sleeper.pid, seen_at=seen) is False


def test_a_process_that_began_later_only_has_the_same_number():
    assert is_alive(this_host(), os.getpid(), seen_at=NOW - timedelta(days=1)) is False


def test_with_an_identity_a_wrong_clock_does_not_make_a_living_process_dead():
    assert is_alive(this_host(), os.getpid(), seen_at=NOW - timedelta(days=1), identity=this_process()) is True


def test_with_an_identity_a_number_used_again_at_once_is_noticed():
    space, _, start = this_process().rpartition("/")
    assert is_alive(this_host(), os.getpid(), seen_at=NOW, identity=f"{space}/{int(start) - 1}") is False


def test_what_ran_before_this_host_was_restarted_is_dead():
    _, _, rest = this_process().partition("/")
    seen = NOW - timedelta(days=3650)
    assert is_alive(this_host(), os.getpid(), seen_at=seen, identity=f"linux:another-boot/{rest}") is False


def test_what_runs_on_a_copy_of_this_virtual_machine_that_bears_its_name_is_not_taken_for_dead():
    _, _, rest = this_process().partition("/")
    assert is_alive(this_host(), os.getpid(), seen_at=NOW, identity=f"linux:another-boot/{rest}") is None


@pytest.mark.parametrize("identity", ["linux:{boot}/pid:[1]/5", "windows://133", "nonsense", "/"])
def test_a_process_in_another_container_or_system_of_this_host_cannot_be_judged(identity):
    boot = this_process().removeprefix("linux:").partition("/")[0]
    assert is_alive(this_host(), os.getpid(), seen_at=NOW, identity=identity.format(boot=boot)) is None


def test_a_process_of_another_host_cannot_be_judged():
    assert is_alive("microscope-2", os.getpid(), seen_at=NOW) is None


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1, 10**30])
def test_numbers_that_are_no_process_are_dead(pid):
    assert is_alive(this_host(), pid, seen_at=NOW) is False
