"""config.toml: every mistake is one line that names the key and the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusion_assets.config import Config, ConfigError, load_config, parse_config

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
    assert "unknown key bakcup | hint: did you mean backup?" in error_of(bakcup={})


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


def test_two_aliases_that_would_overwrite_each_other_are_refused() -> None:
    assert "both become" in error_of(alias={"a": "20260105_WW_HCC_run1", "b": "20260105_ww_hcc_RUN1"})


def test_the_ledger_stays_on_the_share_when_the_nas_is_a_windows_path() -> None:
    config = parse_config({**SMALL, "truenas": {"root": "\\\\nas\\share\\00_storage"}})
    assert config.manifest_root == "\\\\nas\\share\\00_storage\\_manifest"


def test_a_file_that_is_not_toml_says_where(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[source\nroot = 1")
    with pytest.raises(ConfigError, match=r"not valid TOML.*line 1"):
        load_config(path)


def test_a_file_written_by_windows_notepad_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[source]\nroot="/s"\n[truenas]\nroot="/n"\n[s3]\nbucket="bucket"\n', encoding="utf-8-sig")
    assert isinstance(load_config(path), Config)


def test_a_config_that_is_not_there_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no configuration at .*nowhere\.toml"):
        load_config(tmp_path / "nowhere.toml")
