"""docs/json.md says what `-f json` prints: every key with its type, and none that is not there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.main import cli
from resources.local import LocalStorage
from tests.cli.commands import commands, has_json
from tests.eviction.store_lab import StoreLab, Volume
from tests.real.s3 import no_aws, s3_server
from tests.real.small_lab import SmallLab, small_lab

__all__ = ["no_aws", "s3_server", "small_lab"]

pytestmark = pytest.mark.real

TEXT = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
OLDEST, OLD, BROKEN = (f"2026010{day}_WW_HCC_run{day}" for day in (1, 2, 3))
SIMPLE: Mapping[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "true/false": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "pair": lambda value: [type(each) for each in value] == [str, int],
    "anything": lambda _: True,
}


def _tables() -> dict[str, dict[str, tuple[str, str]]]:
    """By heading: each key with its type and what is said of it."""
    sections = re.split(r"^##+ ", TEXT, flags=re.MULTILINE)[1:]
    row = re.compile(r"^\| `?([^ `]+)`? \| (.*?) \| ?(.*?) ?\|$", re.MULTILINE)
    found = {each.partition("\n")[0].strip("`"): row.findall(each)[2:] for each in sections}
    return {heading: {key: (kind, said) for key, kind, said in rows} for heading, rows in found.items()}


TABLES = _tables()


def misfits(value: Any, kind: str, at: str, seen: set[str]) -> list[str]:
    """Where a value is not what a type says; nothing if it is. The tables it was held against are added to `seen`."""
    kind = kind.replace("`", "")
    if " or " in kind:
        tried = [misfits(value, each, at, seen) for each in kind.split(" or ")]
        return min(tried, key=len)
    if kind in SIMPLE:
        return [] if SIMPLE[kind](value) else [f"{at} is no {kind}: {value!r}"]
    if kind.startswith("list of "):
        return [wrong for each in value for wrong in misfits(each, kind.removeprefix("list of "), f"{at}[]", seen)]
    if " by " in kind:
        return [
            wrong
            for key, each in value.items()
            for wrong in misfits(each, kind.partition(" by ")[0], f"{at}.{key}", seen)
        ]
    return _misfits_of_table(value, kind, at, seen)


def _misfits_of_table(value: Any, kind: str, at: str, seen: set[str]) -> list[str]:
    table = TABLES[kind]
    if not isinstance(value, dict):
        return [f"{at} is no {kind}: {value!r}"]
    seen.add(kind)
    missing = {key for key, (_, said) in table.items() if key != "…" and not said.startswith("only ")} - value.keys()
    unknown = value.keys() - table.keys() if "…" not in table else set()
    return [
        *(f"{at}: {key} of {kind} is not there" for key in sorted(missing)),
        *(f"{at}: {key} is not in the document" for key in sorted(unknown)),
        *(w for key, each in value.items() if key in table for w in misfits(each, table[key][0], f"{at}.{key}", seen)),
    ]


@pytest.fixture
def lab(small_lab: SmallLab, monkeypatch: pytest.MonkeyPatch) -> StoreLab:
    """Two archived studies on a NAS that is too full, an invalid one at the source, and a mailbox without a server."""
    for name, value in {"HOME": small_lab.folder, "DAGSTER_HOME": small_lab.folder / ".fusion"}.items():
        monkeypatch.setenv(name, str(value))
    small_lab.write_config(delete_source=False)
    lab = StoreLab(small_lab, Volume([small_lab.nas], 10 * 1024**3))
    lab.archive(OLDEST, OLD, kib=2048)
    small_lab.add_study(BROKEN)
    small_lab.write("notes.txt", b"", BROKEN)
    lab.fill()
    small_lab.config.write_text(small_lab.config.read_text() + "[notify]\nenabled = true\n")
    (small_lab.folder / "recipients").mkdir()
    (small_lab.folder / "recipients" / "default.txt").write_text("ops@lab.example\nno address\n")
    (small_lab.folder / ".fusion").mkdir()
    decided = {BROKEN: {"at": "2026-11-21T02:00:00+00:00", "started": False, "why": "tried once; again at 03:00"}}
    (small_lab.folder / ".fusion" / "decisions.json").write_text(json.dumps(decided))
    monkeypatch.setattr(LocalStorage, "space", lambda _: lab.volume.space())
    monkeypatch.setattr("fusion_assets.eviction.evict.PAUSES", ())
    return lab


def test_every_command_that_answers_in_json_is_in_the_document() -> None:
    described = {re.sub("^fusion | --.*| study$| root$", "", heading) for heading in TABLES if heading[:7] == "fusion "}
    assert described == {name for name, command in commands() if has_json(command)}


def test_every_key_is_in_the_document_with_its_type_and_no_other_is(lab: StoreLab) -> None:
    wrong: list[str] = []
    seen: set[str] = set()

    def check(command: str, *arguments: str) -> None:
        result = CliRunner().invoke(cli, [*command.split(), *arguments, "-f", "json"])
        printed = [json.loads(line) for line in result.stdout.splitlines()]
        assert printed, (command, result.output, result.exception)
        for document in printed:
            kind = f"fusion {command}" if TABLES[f"fusion {command}"] else document["type"]
            wrong.extend(misfits(document, kind, command, seen))

    small = lab.small
    config = ["--config", str(small.config)]
    small.config.write_text(small.config.read_text().replace("settle_minutes = 0", "settle_minutes = 60"))
    check("backup run", *config)
    check("backup run --dry-run", *config)
    small.config.write_text(small.config.read_text().replace("settle_minutes = 60", "settle_minutes = 0"))
    check("backup run --dry-run", *config)
    check("plan", *config)
    check("apply", "--yes", *config)
    for study in (BROKEN, OLD):
        check("explain", study, *config)
    check("status", *config)
    check("status --heartbeat", *config)
    check("manifest show", *config)
    check("notify waiting", *config)
    check("notify list-subscribers", *config)
    lab.pin(OLDEST)
    check("pin --list", *config)
    check("cleanup run --dry-run", *config)
    check("cleanup run", *config)
    log = small.folder / "Fusion.log"
    log.write_text("2026-01-05 10:00:00 INFO Sample: S1 Cycle 3\n2026-01-05 10:00:01 ERROR leak\nFailed to focus\n" * 3)
    check("monitor learn", str(log))
    check("validate study", str(small.source / BROKEN))
    (small.source / "20990101_ZZ_KEEP_busy").mkdir()
    check("validate root", str(small.source))
    small.nas.rename(small.folder / "away")
    small.nas.mkdir()
    check("status", *config)
    assert not wrong, "\n".join(wrong)
    assert seen == {heading for heading, keys in TABLES.items() if keys}, "what was not printed was not compared"
