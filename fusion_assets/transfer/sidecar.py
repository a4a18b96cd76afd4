"""The sidecar ``_checksums.sha256``: which bytes every file of a copy must have.

What belongs here: the text, exactly as ``sha256sum -c`` reads it, both ways. What does not: computing digests, and
deciding when a sidecar may be written (only when every file in it is proven).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fusion_assets.standard.listing import SIDECAR_NAME
from resources.storage import Storage, replace_file

# coreutils marks a line whose name it had to escape with a leading backslash.
_LINE = re.compile(r"(\\?)([0-9a-fA-F]{64}) [ *](.+)")
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_ESCAPED = re.compile(r"[\\\n\r]")
_UNESCAPES = {escape: character for character, escape in _ESCAPES.items()}
_ESCAPE = re.compile(r"\\.?")


class SidecarError(ValueError):
    """The text is not a sidecar; the message names the line."""


def format_sidecar(checksums: Mapping[str, str]) -> bytes:
    """The sidecar's bytes: ``<64 hex>␠␠<path>`` lines, sorted by path, ending in LF.

    Names with a backslash, LF or CR are escaped as coreutils 9 does, so that ``sha256sum -c`` finds the files.

    Args:
        checksums: SHA-256 in hex by POSIX path relative to the copy. The sidecar does not list itself.
    """
    return "".join(_format_line(path, checksums[path]) for path in sorted(checksums) if path != SIDECAR_NAME).encode()


def _format_line(path: str, sha256: str) -> str:
    if _ESCAPED.search(path) is None:
        return f"{sha256}  {path}\n"
    return f"\\{sha256}  {_ESCAPED.sub(lambda found: _ESCAPES[found[0]], path)}\n"


def parse_sidecar(data: bytes) -> dict[str, str]:
    """Read a sidecar, ours or one of ``sha256sum``.

    Returns:
        SHA-256 in lower-case hex by path.

    Raises:
        SidecarError: A line cannot be read, or a path stands twice with different digests.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise SidecarError(f"not UTF-8 at byte {error.start}") from error
    checksums: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line:
            continue
        path, sha256 = _parse_line(line.removesuffix("\r"), number)
        if checksums.setdefault(path, sha256) != sha256:
            raise SidecarError(f"line {number}: {path} stands twice, with different checksums")
    return checksums


def _parse_line(line: str, number: int) -> tuple[str, str]:
    found = _LINE.fullmatch(line)
    if found is None:
        raise SidecarError(f"line {number} is not '<64 hex digits>  <path>': {line[:80]!r}")
    escaped, sha256, path = found.groups()
    if escaped:
        path = _ESCAPE.sub(lambda escape: _unescape(escape[0], number), path)
    return path, sha256.lower()


def _unescape(escape: str, number: int) -> str:
    if escape not in _UNESCAPES:
        raise SidecarError(f"line {number}: {escape!r} is not an escape of sha256sum")
    return _UNESCAPES[escape]


def write_sidecar(nas: Storage, backup_name: str, data: bytes) -> None:
    """Put the sidecar into a copy, atomically and durably; the last thing written.

    Args:
        nas: Where the copy is.
        backup_name: The copy's directory.
        data: From `format_sidecar`.
    """
    replace_file(nas, f"{backup_name}/{SIDECAR_NAME}", data)
