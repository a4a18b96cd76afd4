"""Run the contenders in turn on the same data, the same disk and the same S3 server, and compare what they cost.

What belongs here: the order of runs, and checking that each one really did the job. What does not: the contenders'
commands (`contenders`), reading the kernel's accounts (`measure`), the table (`results`).

    python -m benchmarks.run --set A,B,C --contender ours,rclone --runs 3 [--scale 0.02] [--markdown]

Runs go A B A B …, so that a machine that slows down slows everybody down. Nothing here fails because something was
slow: costs are reported as ratios within one benchmark, never judged.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from os import sync
from pathlib import Path

from benchmarks.command import make_parser, publish
from benchmarks.contenders import BUCKET, CONTENDERS, Contender, Job
from benchmarks.datasets import Dataset, prepare
from benchmarks.machine import describe, drop_caches
from benchmarks.measure import CommandError, machine_cpu, measure, process_cpu, total
from benchmarks.results import Result, load, save, tables

ROOT = Path(__file__).parent.parent
OWN_FILES = {"_checksums.sha256"}
"""What our pipeline adds to a study: the sidecar, in the NAS copy and in S3."""


class NotDoneError(Exception):
    """A contender ended well and had not done the job."""


class Server:
    """The S3 server, as the benchmark sees it."""

    def __init__(self, process: subprocess.Popen[str], endpoint: str) -> None:
        self.pid = process.pid
        self.endpoint = endpoint

    def report(self) -> dict[str, dict[str, int]]:
        """What it holds, and what it checked."""
        with urllib.request.urlopen(f"{self.endpoint}/-/") as answer:  # noqa: S310  # our own server on loopback
            report: dict[str, dict[str, int]] = json.load(answer)
        return report


@contextmanager
def s3_server() -> Iterator[Server]:
    """A fresh S3 server, stopped at the end."""
    argv = [sys.executable, "-m", "benchmarks.s3_sink", "--bucket", BUCKET]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(process, process.stdout.readline().strip())
        finally:
            process.terminate()


def run_once(contender: Contender, dataset: Dataset, work: Path) -> tuple[Result, str]:
    """One contender, one set, once, from cold caches; returns what it cost and how the caches were dropped."""
    nas, scratch, log = work / "nas", work / "scratch", work / "last.log"
    for folder in (nas, scratch):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    log.unlink(missing_ok=True)
    dropped = drop_caches(dataset.source / dataset.study / path for path in dataset.files)
    measure(contender.warm(), env={}, cwd=ROOT, log=log)
    with s3_server() as server:
        job = Job(dataset.source, nas, dataset.study, server.endpoint, scratch)
        machine_before, server_before = machine_cpu(), process_cpu(server.pid)
        steps = {step.name: measure(step.argv, env=step.env, cwd=ROOT, log=log) for step in contender.steps(job)}
        machine, server_cpu = machine_cpu() - machine_before, process_cpu(server.pid) - server_before
        report = server.report()
    began = time.perf_counter()
    sync()
    unflushed = time.perf_counter() - began
    usage = total(list(steps.values()))
    verify(dataset, nas / dataset.study, job.key_prefix, report)
    shutil.rmtree(nas)
    return Result(
        dataset=dataset.name,
        title=dataset.title,
        files=len(dataset.files),
        bytes=dataset.total_bytes,
        contender=contender.name,
        contender_title=contender.title,
        usage=usage,
        steps={name: step.wall for name, step in steps.items()},
        server_cpu=server_cpu,
        unflushed=unflushed,
        other_cores=max(0.0, machine - usage.cpu - server_cpu) / usage.wall,
        checked=report["checked"],
    ), dropped


def verify(dataset: Dataset, copy: Path, key_prefix: str, report: dict[str, dict[str, int]]) -> None:
    """Raise `NotDoneError` unless the NAS copy is the source, byte for byte, and S3 holds every key at its size."""
    found = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()} - OWN_FILES
    if found != dataset.files.keys():
        raise NotDoneError(f"the NAS copy differs in {sorted(found ^ dataset.files.keys())[:5]}")
    with ThreadPoolExecutor(2) as pool:
        digests = dict(zip(dataset.files, pool.map(lambda path: sha256_of(copy / path), dataset.files), strict=True))
    changed = [path for path, (_, digest) in dataset.files.items() if digests[path] != digest]
    if changed:
        raise NotDoneError(f"the NAS copy has other bytes in {changed[:5]}")
    prefix = f"{BUCKET}/{key_prefix}/"
    stored = {key.removeprefix(prefix): size for key, size in report["objects"].items() if key.startswith(prefix)}
    for name in OWN_FILES:
        stored.pop(name, None)
    expected = {path: size for path, (size, _) in dataset.files.items()}
    if stored != expected:
        raise NotDoneError(f"S3 differs in {sorted(dict(stored.items() ^ expected.items()))[:5]}")
    if report["open_uploads"] or report["rejected"]:
        raise NotDoneError(f"left {report['open_uploads']} uploads open, S3 rejected {report['rejected']}")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file; hashing lets other threads run."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def choose(names: str) -> list[Contender]:
    """The contenders named, those that cannot run left out and said so."""
    chosen = []
    for name in names.split(","):
        if name not in CONTENDERS:
            raise SystemExit(f"no contender {name!r}: choose from {', '.join(CONTENDERS)}")
        missing = CONTENDERS[name].missing()
        if missing:
            print(f"{name} cannot run: {missing} is not installed", file=sys.stderr)
        else:
            chosen.append(CONTENDERS[name])
    if not chosen:
        raise SystemExit("no contender can run")
    return chosen


def run_all(options: argparse.Namespace, path: Path) -> None:
    """Every run asked for; each result is kept in `path` at once."""
    contenders = choose(options.contender)
    options.work.mkdir(parents=True, exist_ok=True)
    versions = "; ".join(dict.fromkeys(contender.version() for contender in contenders))
    machine = describe(options.work)
    for name in options.set.split(","):
        dataset = prepare(name, options.scale, options.work)
        for number in range(options.runs):
            for contender in contenders:
                result, dropped = run_once(contender, dataset, options.work)
                if not path.exists():
                    facts = f"{datetime.now(UTC):%Y-%m-%d}, {machine}; {versions}; {dropped}."
                    path.write_text(json.dumps({"machine": facts}) + "\n", encoding="utf-8")
                save(result, path)
                print(
                    f"{name} run {number + 1}/{options.runs} {contender.name}: {result.usage.wall:.1f} s, "
                    f"CPU {result.usage.cpu:.1f} s, peak {result.usage.rss / 1e6:.0f} MB",
                    flush=True,
                )


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = make_parser("Compare the pipeline with what a user would run instead.")
    parser.add_argument("--set", default="A,B,C", help="data sets, comma-separated (default A,B,C)")
    parser.add_argument("--contender", default=",".join(CONTENDERS), help=f"default {','.join(CONTENDERS)}")
    parser.add_argument("--runs", type=int, default=3, help="runs of each contender on each set (default 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the sets (default 1: about 20 GB in all)")
    parser.add_argument("--results", type=Path, help="only print the table of an earlier benchmark's results file")
    return parser.parse_args()


def main() -> None:
    """Run, print the table, and write it into the docs when asked."""
    options = arguments()
    options.work = options.work.absolute()
    folder = options.work / "results"
    folder.mkdir(parents=True, exist_ok=True)
    path = options.results or folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl"
    if not options.results:
        try:
            run_all(options, path)
        except (CommandError, NotDoneError) as error:
            raise SystemExit(f"{error}\nresults so far: {path}, last output: {options.work / 'last.log'}") from error
    facts = json.loads(path.read_text(encoding="utf-8").partition("\n")[0])["machine"]
    text = f"{facts}\n\n{tables(load(path))}"
    publish("benchmark", text, into_document=options.markdown)
    print(f"\nresults: {path}")


if __name__ == "__main__":
    main()
