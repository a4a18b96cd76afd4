"""The machine a benchmark runs on: its description, and forgetting what it has in memory.

What belongs here: facts about the machine, and dropping caches. What does not: anything about contenders or sets.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

DROP = Path("/proc/sys/vm/drop_caches")


def drop_caches(paths: Iterable[Path]) -> str:
    """Write everything out and forget what was read, so that the next read comes from the disk.

    Args:
        paths: The files to forget where the whole cache cannot be dropped.

    Returns:
        How it was done, for the table: as root the whole page cache with names and inodes, else only those files.
    """
    os.sync()
    try:
        DROP.write_text("3")
    except OSError:
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
        return "the source files' pages dropped before each run (posix_fadvise)"
    return "all caches dropped before each run (/proc/sys/vm/drop_caches)"


def describe(work: Path) -> str:
    """Processor, cores, memory, kernel and the file system of the work folder, in one line."""
    cpu = next(iter(lines_with("/proc/cpuinfo", "model name")), platform.machine())
    memory = int(next(iter(lines_with("/proc/meminfo", "MemTotal")), "0 kB").split()[0]) / 1e6
    flags = next(iter(lines_with("/proc/cpuinfo", "flags")), "").split()
    virtual = "virtual machine, " if "hypervisor" in flags else ""
    sha = "with SHA instructions" if "sha_ni" in flags else "without SHA instructions"
    argv = ["df", "--output=fstype", str(work)]
    filesystem = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[-1]
    return (
        f"{virtual}{os.cpu_count()} cores of {cpu} {sha}, {memory:.0f} GB memory, "
        f"Linux {platform.release().partition('-')[0]}, {filesystem}"
    )


def lines_with(path: str, name: str) -> list[str]:
    """The values of the lines ``name : value`` of a file of ``/proc``."""
    text = Path(path).read_text(encoding="ascii", errors="replace")
    return [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith(name)]
