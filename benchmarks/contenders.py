"""Who moves the data: our own pipeline and what a user would run instead, as commands.

What belongs here: the commands of each contender, its settings, and where its programs are found. What does not:
measuring and verifying them (`run`). Every contender does the same job: copy a study from the source to the NAS, prove
by reading both that the copy is the same, and upload the copy to S3. Settings are each tool's own defaults.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

BUCKET = "bench"
PREFIX = "archive"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "benchmark",
    "AWS_SECRET_ACCESS_KEY": "benchmark",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True, slots=True)
class Job:
    """What one run moves, and where to.

    Attributes:
        source: The folder that stands for the instrument's disk.
        nas: The folder that stands for the NAS.
        study: The study's name in both.
        endpoint: The S3 server's URL.
        scratch: An empty folder for what a tool has to keep.
    """

    source: Path
    nas: Path
    study: str
    endpoint: str
    scratch: Path

    @property
    def key_prefix(self) -> str:
        """What every key of the study begins with."""
        return f"{PREFIX}/{self.study}"


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a contender, and what the command adds to the environment."""

    name: str
    argv: list[str]
    env: dict[str, str]


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the job.

    Attributes:
        name: For the command line.
        title: For the table.
        steps: Its commands, to be run one after the other.
        warm: A command that brings the programs, and only them, into memory before a run begins.
        missing: What has to be installed before it can run; empty when nothing.
        version: What the programs say they are.
    """

    name: str
    title: str
    steps: Callable[[Job], list[Step]]
    warm: Callable[[], list[str]]
    missing: Callable[[], str]
    version: Callable[[], str]


def program(name: str) -> str:
    """A program's path: beside our Python first (packages bring rclone and s5cmd), then wherever the shell finds it."""
    beside = str(Path(sys.executable).parent)
    return shutil.which(name, path=beside) or shutil.which(name) or name


def absent(*names: str) -> str:
    """Those of `names` that are not installed, for a person."""
    return ", ".join(name for name in names if not shutil.which(program(name)))


def first_line(*argv: str) -> str:
    """What a program says when asked for its version."""
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()


def ours(job: Job) -> list[Step]:
    """Our pipeline in a process of its own."""
    argv = [sys.executable, "-m", "benchmarks.ours", "--source", str(job.source), "--nas", str(job.nas)]
    argv += ["--study", job.study, "--endpoint", job.endpoint, "--bucket", BUCKET, "--prefix", PREFIX]
    return [Step("archive", argv, CREDENTIALS)]


def rclone(job: Job) -> list[Step]:
    """`rclone copy`, `rclone check --download`, `rclone copy` to S3."""
    source, copy = str(job.source / job.study), str(job.nas / job.study)
    env = CREDENTIALS | {
        "RCLONE_CONFIG": "/dev/null",
        # "AWS" makes rclone 1.75 send trailing checksums, which its SDK refuses to do without TLS; "Other" is what a
        # user of any other S3 server sets.
        "RCLONE_S3_PROVIDER": "Other",
        "RCLONE_S3_ENDPOINT": job.endpoint,
        "RCLONE_S3_ENV_AUTH": "true",
        "RCLONE_S3_REGION": "us-east-1",
    }
    tool = program("rclone")
    return [
        Step("copy", [tool, "copy", source, copy], env),
        Step("check", [tool, "check", "--download", source, copy], env),
        Step("upload", [tool, "copy", copy, f":s3:{BUCKET}/{job.key_prefix}"], env),
    ]


def rsync(job: Job) -> list[Step]:
    """`rsync -a`, `sha256sum` on both sides, `s5cmd cp`."""
    source, copy = str(job.source / job.study), str(job.nas / job.study)
    sums = shlex.quote(str(job.scratch / "source.sha256"))
    listing = f"cd {shlex.quote(source)} && find . -type f -print0 | xargs -0 sha256sum > {sums}"
    check = f"{listing}; cd {shlex.quote(copy)} && sha256sum --quiet -c {sums}"
    upload = [program("s5cmd"), "--log", "error", "--endpoint-url", job.endpoint]
    upload += ["cp", f"{copy}/", f"s3://{BUCKET}/{job.key_prefix}/"]
    return [
        Step("copy", ["rsync", "-a", f"{source}/", f"{copy}/"], {}),
        Step("check", ["bash", "-euo", "pipefail", "-c", check], {}),
        Step("upload", upload, CREDENTIALS),
    ]


def plain(job: Job) -> list[Step]:
    """The loop one writes first, in Python with boto3."""
    argv = [sys.executable, "-m", "benchmarks.plain_loop", str(job.source / job.study), str(job.nas / job.study)]
    return [Step("archive", [*argv, job.endpoint, BUCKET, job.key_prefix], CREDENTIALS)]


def importing(*modules: str) -> list[str]:
    """A command that imports Python modules."""
    return [sys.executable, "-c", "import " + ", ".join(modules)]


def ours_missing() -> str:
    """Our own transfer engine, as long as it is not there."""
    return "" if find_spec("fusion_assets.transfer") else "fusion_assets.transfer"


def rsync_version() -> str:
    """The versions of rsync and s5cmd."""
    rsync_says = first_line("rsync", "--version").split()
    return f"rsync {rsync_says[2]}; s5cmd {first_line(program('s5cmd'), 'version')}"


def python_version() -> str:
    """The versions of Python and boto3."""
    return f"Python {sys.version.split()[0]}, boto3 " + first_line(
        sys.executable, "-c", "import boto3; print(boto3.__version__)"
    )


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender(
            "ours", "**fusion-toolkit**", ours, lambda: importing("benchmarks.ours"), ours_missing, python_version
        ),
        Contender(
            "rclone",
            "rclone",
            rclone,
            lambda: ["sha256sum", program("rclone")],
            lambda: absent("rclone"),
            lambda: first_line(program("rclone"), "version"),
        ),
        Contender(
            "rsync",
            "rsync, sha256sum, s5cmd",
            rsync,
            # s5cmd's own package starts it from Python: asking its version reads both.
            lambda: [program("s5cmd"), "version"],
            lambda: absent("rsync", "s5cmd"),
            rsync_version,
        ),
        Contender(
            "plain",
            "plain Python loop",
            plain,
            lambda: importing("benchmarks.plain_loop", "boto3.s3.inject", "botocore.httpsession"),
            lambda: "",
            python_version,
        ),
    )
}
