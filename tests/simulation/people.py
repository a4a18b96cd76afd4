"""What the people of a simulated lab do: what their mails ask of them, and a few things nobody asked for.

What belongs here: commands they type, and what they do with their hands. What does not: what fails by itself (`lab`).
"""

from __future__ import annotations

import os
import subprocess

from fusion_assets.partitions import partition_key, studies
from tests.simulation.daemon import Request
from tests.simulation.instrument import Fate, SimulatedStudy
from tests.simulation.lab import PREFIX, SimulatedLab
from tests.simulation.mails import read_mails
from tests.simulation.surroundings import REPOSITORY, child_argv, child_environment


def read_and_act(lab: SimulatedLab) -> None:
    """Read the mails, and do what they ask for: unlock what a crash left, bring back what rotted, repair names."""
    letters = read_mails(lab.mails).letters
    for study in lab.studies:
        lock = lab.source / study.name / ".fusion-toolkit.lock"
        is_told = any("locked by what no longer runs" in each.title and study.name in each.text for each in letters)
        if is_told and not lab.unlocked[study.name] and lock.exists():
            fusion(lab, "unlock", study.name)
            lab.unlocked[study.name] += 1
    for name, path in lab.rotten.items():
        if name not in lab.brought_back and any("copies_intact" in each.text and name in each.text for each in letters):
            _bring_back(lab, name, path)
    for study in lab.studies:
        if study.fate is Fate.RENAMED and " " in study.name and any(study.name in each.text for each in letters):
            _repair_name(lab, study)


def _bring_back(lab: SimulatedLab, name: str, path: str) -> None:
    """Bring a good file from S3 back to the NAS, with its time."""
    file = lab.nas.root / name / path
    if not file.exists():
        return  # it was evicted meanwhile: S3 alone has it, and had the good one all the time
    status = file.stat()
    body = lab.server.client().get_object(Bucket=lab.bucket, Key=f"{PREFIX}/{name}/{path}")["Body"].read()
    file.write_bytes(body)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    lab.brought_back.add(name)
    lab.happened["file brought back from S3"] += 1


def pin_oldest(lab: SimulatedLab) -> None:
    """Pin the copy that would go next."""
    copies = [name for name in lab.copies() if name not in lab.pinned]
    if copies:
        fusion(lab, "pin", copies[0], "--reason", "reviewer 2 asks for it")
        lab.pinned[copies[0]] = lab.now


def backfill(lab: SimulatedLab) -> None:
    """Archive again, in the Dagster UI, a study that is archived already and still on the NAS."""
    copies = [name for name in lab.copies() if name not in lab.rotten]
    if copies:
        study = copies[-1]
        lab.instance.add_dynamic_partitions(str(studies.name), [partition_key(study)])
        lab.daemon.run(Request("archive_study", partition_key(study), ["s3_archive", "manifest_entry"]))
        lab.backfilled.append(study)


def _repair_name(lab: SimulatedLab, study: SimulatedStudy) -> None:
    """Rename a study as the hint says."""
    good = study.name.replace(" ", "-")
    (lab.disk / study.name).rename(lab.disk / good)
    lab.ended_by_hand.add(study.name)
    study.name = good
    lab.happened["study renamed by hand"] += 1


def fusion(lab: SimulatedLab, *arguments: str) -> str:
    """Type a command.

    Args:
        lab: Whose.
        arguments: Behind ``fusion``.

    Returns:
        What it printed.
    """
    argv = child_argv(lab.nas, "cli", *arguments, "--config", str(lab.daemon.config))
    done = subprocess.run(
        argv, env=child_environment(), cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"fusion {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout
