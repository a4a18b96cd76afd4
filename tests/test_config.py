"""config.toml: every mistake is one line that names the key and the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusion_assets.config import Config, ConfigError, load_config, parse_config, refuse_shared_places

SMALL = {"source": {"root": "/s"}, "truenas": {"root": "/n"}, "s3": {"bucket": "bucket"}}


def error_of(**sections: object) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config({**SMALL, **sections})
    return str(caught.value)


def test_only_the_roots_and_the_bucket_are_needed() -> None:
    config = parse_config(SMALL)
    assert config.manifest_root == "/n/_manifest"
    assert (config.backup.idle_days, config.backup.settle_minutes, config.backup.delete_source) == (30, 30, True)


@pytest.mark.parametrize(
    ("section", "key", "meant"),
    [
        ("backup", "idle_day", "backup.idle_days"),
        ("source", "rot", "source.root"),
        ("s3", "endpoint", "s3.endpoint_url"),
        ("cleanup", "treshold_pct", "cleanup.free_threshold_pct"),
    ],
)
def test_a_misspelt_key_is_an_error_that_names_the_nearest_known_one(section: str, key: str, meant: str) -> None:
    message = error_of(**{section: {**SMALL.get(section, {}), key: 1}})
    assert f"unknown key {section}.{key}" in message
    assert f"did you mean {meant}?" in message


def test_a_misspelt_section_is_an_error_too() -> None:
    assert "unknown section [bakcup] | hint: did you mean [backup]?" in error_of(bakcup={})
    assert "unknown key bakcup | hint: did you mean backup?" in error_of(bakcup=1)


def test_a_misspelt_key_of_an_smb_server_is_found() -> None:
    assert "did you mean smb.nas.password_env?" in error_of(smb={"nas": {"host": "nas", "pasword_env": "X"}})


def test_a_missing_section_is_named() -> None:
    with pytest.raises(ConfigError, match=r"section \[s3\] is missing"):
        parse_config({key: value for key, value in SMALL.items() if key != "s3"})


def test_all_mistakes_are_reported_at_once() -> None:
    message = error_of(backup={"idle_days": -1, "max_workers": 0}, notify={"enable": True})
    assert len(message.splitlines()) == 3


def test_a_threshold_that_would_empty_the_nas_is_refused() -> None:
    assert "cleanup.free_threshold_pct" in error_of(cleanup={"free_threshold_pct": 100})


def test_a_threshold_typed_as_the_share_that_may_be_used_is_refused_unless_it_is_meant() -> None:
    message = error_of(cleanup={"free_threshold_pct": 85})
    assert "free_threshold_pct = 85 evicts copies until that share of the NAS is FREE" in message
    assert "max_store_pct" in message
    assert parse_config(SMALL | {"cleanup": {"free_threshold_pct": 50}}).cleanup.max_store_pct == 50
    meant = {"free_threshold_pct": 85, "max_store_pct": 20}
    assert parse_config(SMALL | {"cleanup": meant}).cleanup.free_threshold_pct == 85


def test_two_aliases_that_would_overwrite_each_other_are_refused() -> None:
    assert "both become" in error_of(alias={"a": "20260105_WW_HCC_run1", "b": "20260105_ww_hcc_RUN1"})


@pytest.mark.parametrize("name", ["../x", "_manifest", ".fusion-locks", "20260105_WW_HCC", "20260105_WW_HCC_a/b", ""])
def test_an_alias_that_would_lead_a_study_out_of_the_nas_or_into_the_ledger_is_refused(name: str) -> None:
    assert "which is no name of a study (R1) | hint: write YYYYMMDD_" in error_of(alias={"run 1": name})


@pytest.mark.parametrize("value", ["yes", "true", 1, "false"])
def test_a_source_is_never_deleted_because_a_word_was_taken_for_true(value: object) -> None:
    assert "backup.delete_source" in error_of(backup={"delete_source": value})


@pytest.mark.parametrize("value", [1e12, float("inf"), float("nan")])
@pytest.mark.parametrize("key", ["idle_days", "settle_minutes"])
def test_a_time_no_calendar_has_is_a_mistake_in_the_file_and_stops_no_study(key: str, value: float) -> None:
    assert f"backup.{key}" in error_of(backup={key: value})


def test_the_ledger_stays_on_the_share_when_the_nas_is_a_windows_path() -> None:
    config = parse_config({**SMALL, "truenas": {"root": "\\\\nas\\share\\00_storage"}})
    assert config.manifest_root == "\\\\nas\\share\\00_storage\\_manifest"


SMB = {
    "pc": {"host": "fusion-pc"},
    "again": {"host": "FUSION-PC"},
    "nas": {"host": "nas"},
    "tunnel": {"host": "fusion-pc", "port": 1445},
}


def places(source: str, truenas: str, manifest_root: str | None = None) -> Config:
    ledger = {"manifest_root": manifest_root} if manifest_root else {}
    return parse_config(
        {**SMALL, "source": {"root": source}, "truenas": {"root": truenas, **ledger}, "smb": SMB}, path=Path("c.toml")
    )


@pytest.mark.parametrize(
    ("source", "truenas"),
    [
        ("/data/fusion", "/data/fusion"),
        ("/data/fusion", "/data/fusion/"),
        ("/data/fusion", "/data/../data/fusion/nas"),
        ("/data/fusion", "/data"),
        ("smb://pc/Fusion", "smb://pc/fusion/"),
        ("smb://pc/Fusion/studies", "smb://again/Fusion"),
        ("smb://pc/Fusion", r"\\fusion-pc\Fusion\nas"),
    ],
)
def test_a_nas_on_the_disk_of_the_instrument_is_refused(source: str, truenas: str) -> None:
    with pytest.raises(ConfigError, match=r"c\.toml: .*root .* (lies inside|is the same place as) .*root"):
        refuse_shared_places(places(source, truenas))


def test_a_nas_that_a_link_leads_to_on_the_disk_of_the_instrument_is_refused(tmp_path: Path) -> None:
    (tmp_path / "instrument" / "old").mkdir(parents=True)
    (tmp_path / "nas").symlink_to(tmp_path / "instrument" / "old")
    with pytest.raises(ConfigError, match=r"truenas\.root .*nas lies inside source\.root"):
        refuse_shared_places(places(str(tmp_path / "instrument"), str(tmp_path / "nas")))


def test_a_ledger_on_the_disk_of_the_instrument_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"truenas\.manifest_root /fusion/ledger lies inside source\.root /fusion"):
        refuse_shared_places(places("/fusion", "/nas", "/fusion/ledger"))


@pytest.mark.parametrize(
    ("source", "truenas", "manifest_root"),
    [
        ("/demo/instrument", "/demo/nas", "/demo/ledger"),
        ("/data/fusion", "/data/fusion2", None),
        ("smb://pc/Fusion", "smb://pc/Fusion2", None),
        ("smb://pc/Fusion", "smb://nas/Fusion", None),
        ("smb://pc/Fusion", "smb://tunnel/Fusion", None),
        ("smb://pc/Fusion", "/Fusion", None),
    ],
)
def test_places_side_by_side_are_two_places(source: str, truenas: str, manifest_root: str | None) -> None:
    refuse_shared_places(places(source, truenas, manifest_root))


def test_a_file_that_is_not_toml_says_where(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[source\nroot = 1")
    with pytest.raises(ConfigError, match=r"not valid TOML.*line 1"):
        load_config(path)


@pytest.mark.parametrize("typed", [r"D:\Data\Fusion", r"D:\temp", r"C:\Users\lab"])
def test_a_windows_path_in_double_quotes_is_refused_with_the_way_to_write_it(tmp_path: Path, typed: str) -> None:
    r"""``"D:\temp"`` is TOML: a path with a tab in it, which is never mounted."""
    path = tmp_path / "config.toml"
    rest = "[truenas]\nroot='/n'\n[s3]\nbucket='bucket'\n"
    path.write_text(f'[source]\nroot = "{typed}"\n{rest}')
    with pytest.raises(ConfigError, match="hint: write Windows paths in 'single quotes'"):
        load_config(path)
    path.write_text(f"[source]\nroot = '{typed}'\n{rest}")
    assert load_config(path).source.root == typed


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"smb": {"nas": "x"}}, "smb.nas: must be a section of its own"),
        ({"backup": {"idle_days": "thirty"}}, "backup.idle_days: must be a number (got 'thirty')"),
        ({"backup": {"max_workers": 0}}, "backup.max_workers: must be 1 or more (got 0)"),
        ({"backup": {"delete_source": "yes"}}, "backup.delete_source: must be true or false (got 'yes')"),
        ({"cleanup": {"free_threshold_pct": 100}}, "cleanup.free_threshold_pct: must be less than 100 (got 100)"),
        ({"source": {"root": ""}}, "source.root: needs 1 characters or more"),
        ({"s3": {"bucket": "bucket", "sse": "x"}}, "s3.sse: must be 'AES256', 'aws:kms' or 'aws:kms:dsse' (got 'x')"),
        ({"hooks": {"backup": "mount.sh"}}, "hooks.backup: must be a list, in [ ] (got 'mount.sh')"),
    ],
)
def test_a_value_of_a_wrong_kind_is_told_in_words_of_the_file_and_not_of_python(section, said: str) -> None:
    assert said in error_of(**section)


def test_a_file_written_by_windows_notepad_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[source]\nroot="/s"\n[truenas]\nroot="/n"\n[s3]\nbucket="bucket"\n', encoding="utf-8-sig")
    assert isinstance(load_config(path), Config)


def test_a_config_that_is_not_there_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no configuration at .*nowhere\.toml"):
        load_config(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("share", [0, 100, 150])
def test_a_cleanup_that_may_remove_the_whole_store_is_refused(share):
    assert "cleanup.max_store_pct" in error_of(cleanup={"max_store_pct": share})


def test_a_time_zone_that_does_not_exist_is_named_with_the_nearest_one():
    error = error_of(schedules={"timezone": "Asia/Shangai"})

    assert "schedules.timezone" in error
    assert "Asia/Shanghai" in error


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("check_faild", "there is no event 'check_faild' | hint: did you mean check_failed?"),
        ("toolkit_error", "toolkit_error has toolkit_error_cooldown_seconds instead"),
    ],
)
def test_a_cooldown_of_an_event_that_is_none_names_the_nearest(name: str, hint: str) -> None:
    assert hint in error_of(notify={"cooldown_minutes": {name: 5}})


def test_what_s3_or_smb_would_refuse_hours_later_is_refused_at_once() -> None:
    assert "s3.bucket: a bucket's name has" in error_of(s3={"bucket": "Our_Lab Archive"})
    assert "with its scheme" in error_of(s3={"bucket": "bucket", "endpoint_url": "127.0.0.1:9000"})
    assert "declare it as [smb.inst]" in error_of(source={"root": "smb://inst/Fusion"})
