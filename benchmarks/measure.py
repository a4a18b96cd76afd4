"""What a command costs: wall time, processor time, memory and bytes of its whole process tree.

What belongs here: running one command and reading the kernel's accounts of it (Linux, ``/proc``). What does not: what
is run, and in which order.

Times and bytes are exact: the kernel adds a child's accounts to its parent's when the parent waits for it, so the
difference in our own is what the tree used. Memory is sampled every 50 ms: the sum over the processes alive at once,
or the highest mark of a single one, whichever is more.
"""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.05
PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
IO_FIELDS = ("rchar", "wchar", "read_bytes", "write_bytes")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one command cost.

    Attributes:
        wall: Seconds.
        cpu: Seconds of processor time, user and system, of the tree.
        rss: Peak resident bytes of the tree.
        read: Bytes asked for by read calls, whether or not they came from memory. Go also reads sockets that way.
        written: Bytes handed to write calls, by some tools to sockets too.
        device_read: Bytes fetched from the block device.
        device_written: Bytes made dirty, or written directly, that go to the block device.
    """

    wall: float
    cpu: float
    rss: int
    read: int
    written: int
    device_read: int
    device_written: int


class CommandError(Exception):
    """A command did not end well."""


def measure(argv: list[str], *, env: dict[str, str], cwd: Path, log: Path) -> Usage:
    """Run a command to its end.

    Args:
        argv: The command.
        env: Added to our environment.
        cwd: Where it runs.
        log: Takes what it prints.

    Raises:
        CommandError: It ended with another code than 0; names the last lines it printed.
    """
    before_io, before_cpu, began = own_io(), children_cpu(), time.perf_counter()
    with log.open("ab") as output:
        process = subprocess.Popen(argv, env=os.environ | env, cwd=cwd, stdout=output, stderr=output)
        sampler = Sampler(process.pid)
        code = process.wait()
        wall = time.perf_counter() - began
        sampler.stop()
    if code:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
        raise CommandError(f"{' '.join(argv)[:200]} ended with {code}:\n" + "\n".join(tail))
    read, written, device_read, device_written = (
        after - before for after, before in zip(own_io(), before_io, strict=True)
    )
    return Usage(
        wall=wall,
        cpu=children_cpu() - before_cpu,
        rss=sampler.peak,
        read=read - sampler.bytes_read,
        written=written,
        device_read=device_read,
        device_written=device_written,
    )


def total(parts: list[Usage]) -> Usage:
    """What several commands cost, run one after the other."""
    return Usage(
        wall=sum(part.wall for part in parts),
        cpu=sum(part.cpu for part in parts),
        rss=max(part.rss for part in parts),
        read=sum(part.read for part in parts),
        written=sum(part.written for part in parts),
        device_read=sum(part.device_read for part in parts),
        device_written=sum(part.device_written for part in parts),
    )


class Sampler:
    """Watches the memory of a process and its descendants from a thread of its own."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self.bytes_read = 0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End watching."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.is_set():
            memory = [self._memory(pid) for pid in descendants(self._pid, self._read)]
            at_once = sum(now for now, _ in memory)
            self.peak = max(self.peak, at_once, *(highest for _, highest in memory))
            self._ended.wait(SAMPLE_SECONDS)

    def _read(self, path: Path) -> str:
        text = read_proc(path)
        self.bytes_read += len(text)
        return text

    def _memory(self, pid: int) -> tuple[int, int]:
        """Resident bytes of one process now, and the most it had."""
        fields = dict(line.split(":", 1) for line in self._read(PROC / str(pid) / "status").splitlines() if ":" in line)
        now, highest = (int(fields.get(name, "0 kB").split()[0]) << 10 for name in ("VmRSS", "VmHWM"))
        return now, highest


def descendants(pid: int, read: Callable[[Path], str]) -> Iterator[int]:
    """A process and everything it started that is still alive."""
    yield pid
    try:
        threads = list((PROC / str(pid) / "task").iterdir())
    except OSError:
        return
    for thread in threads:
        for child in read(thread / "children").split():
            yield from descendants(int(child), read)


def read_proc(path: Path) -> str:
    """A file of ``/proc``; empty when its process has ended."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def own_io() -> tuple[int, ...]:
    """Our bytes and those of every child waited for, in the order of `IO_FIELDS`."""
    return process_io("self")


def process_io(pid: int | str) -> tuple[int, ...]:
    """A process's bytes, in the order of `IO_FIELDS`."""
    fields = dict(line.split(": ") for line in read_proc(PROC / str(pid) / "io").splitlines())
    return tuple(int(fields[name]) for name in IO_FIELDS)


def children_cpu() -> float:
    """Processor seconds of every child waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def process_cpu(pid: int) -> float:
    """Processor seconds of a running process."""
    fields = read_proc(PROC / str(pid) / "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def machine_cpu() -> float:
    """Processor seconds everybody on this machine has used, stolen time included."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = read_proc(PROC / "stat").split()[1:9]
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / TICKS


class Others:
    """How many processors everybody else uses, from now on; the kernel's own work included."""

    def __init__(self) -> None:
        self._began, self._machine, self._ours = time.perf_counter(), machine_cpu(), own_cpu()

    def cores(self) -> float:
        """Processors used by others since the beginning; what we started counts as ours once it was waited for."""
        used = machine_cpu() - self._machine - (own_cpu() - self._ours)
        return max(0.0, used) / (time.perf_counter() - self._began)


def own_cpu() -> float:
    """Processor seconds of ourselves and every child waited for."""
    return time.process_time() + children_cpu()
