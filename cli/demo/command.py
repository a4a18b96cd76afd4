"""`fusion demo`: a small lab in a folder, with servers of its own, reconciled before your eyes.

What belongs here: putting the demonstration together and saying where to look. What does not: what is on the
instrument's disk (`lab`), the servers (`servers`), and anything a real lab would need.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.apply import print_end
from cli.demo.mail import mail_server
from cli.demo.servers import CREDENTIALS, REGION, ServerError, free_port, how_to_reach, s3_server, write_environment
from cli.failure_mail import failed_studies, mail_failure
from cli.main import EXIT_FAILED, EXIT_OK
from cli.run import reconciling
from cli.settings import Settings, global_options
from cli.ui import DEFAULT_PORT, refuse_taken_port, serve
from fusion_assets.config import load_config
from fusion_assets.reconcile.recap import Recap, total
from fusion_assets.state import state_folder

if TYPE_CHECKING:
    from cli.demo.lab import Instrument

BUCKET = "demo-archive"
_NEEDED_BYTES = 2 * 1024**3

_CONFIG = """\
# The demonstration's lab. For a real one, name your instrument's disk, your NAS and your bucket, and delete
# endpoint_url; everything not said here has a default (README, "A real lab").
[source]
root = {source}

[truenas]
root = {truenas}

[s3]
bucket = "{bucket}"
region = "{region}"
endpoint_url = "{endpoint}"

[backup]
idle_days = 30
settle_minutes = 0      # a real lab keeps the default of 30: a study must look the same twice
delete_source = true

[notify]
enabled = true          # mails go to the demonstration's own server, which passes none on
"""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path("demo-lab"))
@click.option("--serve", "serving", is_flag=True, help="Leave the Dagster UI running on 127.0.0.1.")
@click.option("--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True, help="Of the UI.")
@global_options
def command(folder: Path, port: int, *, serving: bool) -> None:
    """Build a small lab in FOLDER [default: demo-lab], reconcile it, and say where to look.

    Run it twice: the second run changes nothing. Nothing outside FOLDER is touched.
    """
    if serving:
        refuse_taken_port(port)
    if shutil.disk_usage(folder.absolute().parent).free < _NEEDED_BYTES:
        raise click.UsageError(f"the demonstration needs {_NEEDED_BYTES // 1024**3} GiB free at {folder.absolute()}")
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    os.environ.update(CREDENTIALS)
    settings = click.get_current_context().ensure_object(Settings)
    with _started(folder) as endpoint:
        instrument = _build(folder / "instrument")
        (folder / "nas").mkdir(exist_ok=True)
        _make_bucket(endpoint)
        settings.config_path = _write_config(folder, endpoint)
        recaps = _reconcile(settings)
        _say_where_to_look(folder, instrument)
        if serving:
            config = load_config(settings.config_path)
            sys.exit(serve(config, port, CREDENTIALS))
    sys.exit(_exit_code(instrument, recaps))


@contextmanager
def _started(folder: Path) -> Iterator[str]:
    """The demonstration's servers; one that does not start ends the demonstration with a sentence."""
    with ExitStack() as servers:
        try:
            endpoint = servers.enter_context(s3_server(folder / "s3", free_port()))
            mail = servers.enter_context(mail_server(folder / "mail", free_port()))
        except ServerError as error:
            raise click.ClickException(str(error)) from error
        os.environ.update(mail)
        write_environment(folder, mail)
        yield endpoint


def _build(root: Path) -> Instrument:
    from cli.demo.lab import LabError, build_instrument

    click.echo(f"building an instrument's disk in {root} …", err=True)
    try:
        return build_instrument(root)
    except (LabError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _write_config(folder: Path, endpoint: str) -> Path:
    path = folder / "config.toml"
    text = _CONFIG.format(
        source=_quoted(folder / "instrument"),
        truenas=_quoted(folder / "nas"),
        bucket=BUCKET,
        region=REGION,
        endpoint=endpoint,
    )
    path.write_text(text, encoding="utf-8")
    subscribers = folder / "recipients" / "default.txt"
    subscribers.parent.mkdir(exist_ok=True)
    if not subscribers.exists():
        subscribers.write_text("# one address a line\noperator@lab.example.org\n", encoding="utf-8")
    return path


def _quoted(path: Path) -> str:
    """A path as a TOML literal string, in which a backslash is a backslash."""
    return f"'{path}'"


def _make_bucket(endpoint: str) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=endpoint, region_name=REGION)
    if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=BUCKET)


def _reconcile(settings: Settings) -> dict[str, Recap]:
    with reconciling(settings, as_json=False) as run:
        plans = run.plan(run.observe(None))
        recaps = run.apply(plans)
        print_end(recaps, "text")
        if total(recaps).failed:
            failed = failed_studies(plans, recaps, run.failures)
            mail_failure(run.config, run.smtp_env, failed=failed, recaps=recaps)
    return recaps


def _exit_code(instrument: Instrument, recaps: dict[str, Recap]) -> int:
    """Success when nothing failed but what was built to fail."""
    expected = {study.name for study in instrument.studies if study.role in ("misnamed", "truncated")}
    unexpected = {study: recap for study, recap in recaps.items() if study not in expected}
    return EXIT_FAILED if total(unexpected).failed else EXIT_OK


def _say_where_to_look(folder: Path, instrument: Instrument) -> None:
    config = folder / "config.toml"
    click.echo("\nWhat is on the instrument's disk:")
    width = max(len(study.name) for study in instrument.studies)
    for study in instrument.studies:
        click.echo(f"  {study.name:<{width}}  {study.story}")
    click.echo(
        f"""
Where to look:
  {folder / "instrument"}   what is left at the source: only what could not be proven in both places
  {folder / "nas"}   the copies; try: cd <a study> && sha256sum -c _checksums.sha256
  {folder / "nas" / "_manifest"}   the ledger; fusion manifest show --config {config}
  {folder / "mail"}   the mail about the studies that failed
  {state_folder(load_config(config))}   Dagster's history; make demo SERVE=1 shows it in the browser
Run it again: the recap will say changed=0.
Its servers stop with this command. To try others on it, let them run:
  {how_to_reach(config)}
  {shlex.join([sys.argv[0], "plan", "--config", str(config)])}"""
    )
