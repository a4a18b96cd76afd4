"""Roots as labs write them, and what each is opened as."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from resources.errors import ResourceError
from resources.local import LocalStorage
from resources.open_storage import open_storage
from resources.smb import SmbAddress, SmbServer, parse_address
from resources.smb_storage import SmbStorage

SERVERS = {"nas": SmbServer("nas.lab.example", username="fusion", password="secret"), "host": SmbServer("10.0.0.7")}


@pytest.mark.parametrize(
    ("root", "shown"),
    [
        ("smb://nas/tank", "smb://nas/tank"),
        ("smb://nas/tank/", "smb://nas/tank"),
        ("smb://nas/tank/fusion/archive/", "smb://nas/tank/fusion/archive"),
        ("SMB://host/D$/studies", "smb://host/D$/studies"),
    ],
)
def test_an_smb_address_is_spoken_to_directly_and_connected_later(root: str, shown: str) -> None:
    storage = open_storage(root, SERVERS)
    assert isinstance(storage, SmbStorage)
    assert storage.root == shown
    assert storage.location("20260105_WW_HCC_run1/x") == f"{shown}/20260105_WW_HCC_run1/x"


def test_a_path_is_local(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path), {})
    assert isinstance(storage, LocalStorage)
    assert storage.root == str(tmp_path)


def test_a_mistyped_server_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(ResourceError, match="did you mean 'nas'"):
        open_storage("smb://nsa/tank", SERVERS)
    with pytest.raises(ResourceError, match=r"\[smb\.truenas-2\]"):
        open_storage("smb://truenas-2/tank", SERVERS)


@pytest.mark.parametrize("root", ["smb://", "smb://nas", "smb://nas/", "smb:///tank"])
def test_an_incomplete_address_is_answered_with_its_form(root: str) -> None:
    with pytest.raises(ResourceError, match="smb://<server>/<share>/<path>"):
        open_storage(root, SERVERS)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ResourceError, match="password_env") as caught:
        open_storage("smb://fusion:hunter2@nas/tank", SERVERS)
    assert "hunter2" not in str(caught.value) + caught.value.path


@pytest.mark.skipif(sys.platform == "win32", reason="Windows opens UNC paths itself")
@pytest.mark.parametrize("root", [r"\\nas\tank\fusion", "//nas/tank/fusion"])
def test_a_windows_path_on_linux_is_answered_with_the_way_to_write_it(root: str) -> None:
    with pytest.raises(ResourceError, match="smb://<name>/tank/fusion"):
        open_storage(root, SERVERS)


def test_an_address_is_taken_apart() -> None:
    assert parse_address("smb://nas/tank/a//b/", ["nas"]) == SmbAddress("nas", "tank", "a/b")


def test_opening_a_local_root_does_not_import_the_smb_library() -> None:
    code = "import sys, resources.open_storage as o; o.open_storage('/tmp', {}); sys.exit('smbprotocol' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_password_is_not_in_the_repr_of_a_server() -> None:
    assert "secret" not in repr(SERVERS["nas"])
