"""Whether the process that wrote something down still runs on this host.

A pid alone does not say: pids are used again, a container counts its own, and two systems can share one hostname. What
belongs here: this process's identity and the question whether a recorded one is still alive, answered True, False or
None (cannot be seen from here; never to be read as False). What does not: lock files (`resources.lockfile`).
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

# A process is older than what it wrote; 2 s allow for how clocks are set and rounded.
CLOCK_TOLERANCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Birth:
    """When a process began: `exact` never changes while it lives; `at` is seconds since 1970, None if not known."""

    exact: str
    at: float | None


def this_host() -> str:
    """The name of this host, as locks record it."""
    return socket.gethostname()


def this_process() -> str:
    """An identity of this process that no other process ever has, or ``""`` where the system offers none.

    Returns:
        ``<system>:<boot>/<pid namespace>/<start>``: with it `is_alive` needs no clock while the host runs, notices a
        restart of it, and does not take another container's pid 17 for ours.
    """
    birth = _birth(os.getpid())
    return f"{_pid_space()}/{birth.exact}" if birth and birth.exact else ""


def is_alive(hostname: str, pid: int, *, seen_at: datetime, identity: str = "") -> bool | None:
    """Whether the process that was `pid` on `hostname` at `seen_at` still runs.

    Args:
        hostname: Where it ran.
        pid: Its number there.
        seen_at: A moment at which it certainly ran; a process that began later only has the same number.
        identity: What `this_process` said in that process, if it was recorded.

    Returns:
        None when it ran on another host, or in another container or system of this one, which cannot be seen from here.
    """
    if hostname.casefold() != this_host().casefold():
        return None
    exact = ""
    if identity:
        space, _, exact = identity.rpartition("/")
        if (verdict := _judge_space(space, seen_at.timestamp())) != "same":
            return False if verdict == "gone" else None
    birth = _birth(pid)
    if birth is None:
        return False
    if exact:
        return birth.exact == exact
    return birth.at is None or birth.at <= seen_at.timestamp() + CLOCK_TOLERANCE_SECONDS


def _judge_space(space: str, seen_at: float) -> str:
    """``same`` as ours, ``gone`` with an earlier boot of this host, or ``other``: not visible from here."""
    system, _, rest = space.partition(":")
    our_system, _, our_rest = _pid_space().partition(":")
    if system != our_system:
        return "other"  # the Linux subsystem of a Windows host bears its name
    if rest.partition("/")[0] != our_rest.partition("/")[0]:
        # A copy of this virtual machine bears its name, too, and may have booted before or after it.
        return "gone" if seen_at < _booted_at() else "other"
    return "same" if rest == our_rest else "other"


if sys.platform == "win32":
    _QUERY_LIMITED_INFORMATION = 0x1000
    _ACCESS_DENIED = 5
    _STILL_ACTIVE = 259
    _SECONDS_1601_TO_1970 = 11_644_473_600

    def _pid_space() -> str:
        """The boot and the pid namespace in which our pids count; Windows has one, and its start times never recur."""
        return "windows:/"

    def _booted_at() -> float:
        """When this system was started, seconds since 1970; Windows gives no boot a name, so nobody asks."""
        return 0.0

    def _birth(pid: int) -> _Birth | None:
        """The birth of a running process; None if there is no such process."""
        # Not os.kill: there signal 0 is CTRL_C_EVENT, and any other number ends the process.
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = kernel.OpenProcess(_QUERY_LIMITED_INFORMATION, 0, ctypes.c_uint32(pid & 0xFFFFFFFF))
        if not handle:
            return _Birth("", None) if ctypes.get_last_error() == _ACCESS_DENIED else None
        process = ctypes.c_void_p(handle)
        try:
            code = ctypes.c_uint32()
            if kernel.GetExitCodeProcess(process, ctypes.byref(code)) and code.value != _STILL_ACTIVE:
                return None
            created, ended, in_kernel, in_user = (ctypes.c_uint64() for _ in range(4))
            times = [ctypes.byref(moment) for moment in (created, ended, in_kernel, in_user)]
            if not kernel.GetProcessTimes(process, *times):
                return _Birth("", None)
        finally:
            kernel.CloseHandle(process)
        # In 100 ns since 1601.
        return _Birth(str(created.value), created.value / 10_000_000 - _SECONDS_1601_TO_1970)

elif sys.platform == "linux":
    _START_TIME = 19  # of the fields after the name: `starttime`, field 22 of proc(5), in ticks since boot

    def _pid_space() -> str:
        """The boot and the pid namespace in which our pids count."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"linux:{boot}/{Path('/proc/self/ns/pid').readlink()}"

    def _booted_at() -> float:
        """When this system was started, seconds since 1970."""
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

    def _birth(pid: int) -> _Birth | None:
        """The birth of a running process; None if there is no such process (a zombie no longer runs)."""
        if not _exists(pid):
            return None
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return _Birth("", None) if _exists(pid) else None  # hidden from other users, or it ended just now
        except OSError:
            return _Birth("", None)
        fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
        if fields[0] in "ZXx":
            return None
        ticks = int(fields[_START_TIME])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return _Birth(str(ticks), time.time() - age)

else:

    def _pid_space() -> str:
        """No boot and no namespace is known; `this_process` says nothing here."""
        return f"{sys.platform}:/"

    def _booted_at() -> float:
        """When this system was started is not known."""
        return 0.0

    def _birth(pid: int) -> _Birth | None:
        """Whether a process runs is all that is known of it."""
        return _Birth("", None) if _exists(pid) else None


def _exists(pid: int) -> bool:
    """Whether a process has this number; not for Windows."""
    if pid <= 0:  # a group of processes, for `kill`
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # it runs, under another user
    except (ProcessLookupError, OverflowError):
        return False
    return True
