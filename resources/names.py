"""Which file names a storage keeps as they are, and which names it would refuse, mangle or confuse.

What belongs here: pure rules about names, for POSIX, Windows and SMB storages. What does not: the naming standard of
studies, and any look at a real storage.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from resources.errors import UnsafeNameError

MAX_COMPONENT = 255  # bytes on POSIX file systems, UTF-16 units on NTFS and over SMB
_FORBIDDEN = frozenset('\\:?*"<>|')
_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"]
    + [f"{device}{digit}" for device in ("COM", "LPT") for digit in "0123456789¹²³"]
)


def check_relative(path: str, location: str) -> None:
    """Raise `UnsafeNameError` unless `path` is a plain path below a root, whatever the storage.

    Args:
        path: POSIX-style, relative; ``""`` is the root and fine.
        location: How to call it in the message.
    """
    if path and any(part in {"", ".", ".."} for part in path.split("/")):
        raise UnsafeNameError(
            f"{location}: paths are relative to the root, without empty parts, '.' or '..'", path=location
        )
    if "\0" in path:
        raise UnsafeNameError(f"{location!r}: a name cannot contain a NUL character", path=location)


def check_posix(path: str, location: str) -> None:
    """Raise `UnsafeNameError` if a POSIX file system would refuse `path`, or it is not proper text."""
    check_relative(path, location)
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise UnsafeNameError(
            f"{location!r}: the name is not valid UTF-8, so it cannot be written into a sidecar; rename it",
            path=location,
        ) from None
    if len(encoded) <= MAX_COMPONENT:
        return
    for part in encoded.split(b"/"):
        if len(part) > MAX_COMPONENT:
            raise UnsafeNameError(
                f"{location}: {part.decode()!r} is {len(part)} bytes long, {MAX_COMPONENT} are allowed; shorten it",
                path=location,
            )


def check_windows(path: str, location: str) -> None:
    """Raise `UnsafeNameError` if Windows or an SMB server would refuse `path` or keep it under another name.

    The rules are Win32's (Microsoft, "Naming Files, Paths, and Namespaces"). Samba accepts reserved names and trailing
    dots or spaces but lists them mangled (``CON`` as ``CSHOFG~F``), so a check by listing would miss the file.
    """
    check_relative(path, location)
    for part in path.split("/"):
        if reason := _windows_objection(part):
            raise UnsafeNameError(f"{location}: {part!r} {reason}; rename it", path=location)


def _windows_objection(part: str) -> str | None:
    """Why Windows or SMB would not keep the name `part`; None if it would."""
    if bad := sorted(c for c in set(part) if c in _FORBIDDEN or ord(c) < 32):  # noqa: PLR2004 - the control characters
        return f"contains {' '.join(map(repr, bad))}, which Windows and SMB do not allow"
    if part.endswith((".", " ")):
        return "ends in a dot or a space, which Windows and SMB drop or mangle"
    if part.partition(".")[0].rstrip(" ").upper() in _DEVICES:
        return "is the name of a device in Windows"
    try:
        length = len(part.encode("utf-16-le")) // 2
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if length > MAX_COMPONENT:
        return f"is {length} characters long, {MAX_COMPONENT} are allowed"
    return None


def find_collisions(paths: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of paths that become one file on a storage that ignores case or Unicode form (SMB, Windows, macOS).

    Directories count too: ``Scan1/a`` and ``scan1/b`` would end up in one directory, and are reported as
    ``("Scan1", "scan1")``. Over SMB, writing ``case.TIF`` silently overwrites ``Case.tif``, so ask before copying.

    Args:
        paths: POSIX-style relative paths, of files or directories.

    Returns:
        Each group sorted, the groups sorted; empty when every path stays itself.
    """
    named = _with_parents(paths)
    if len({_folded(path) for path in named}) == len(named):
        return []  # as it nearly always is, in half the time
    spellings: defaultdict[str, list[str]] = defaultdict(list)
    for path in named:
        spellings[_folded(path)].append(path)
    return sorted(tuple(sorted(group)) for group in spellings.values() if len(group) > 1)


def _with_parents(paths: Iterable[str]) -> set[str]:
    """The paths, and every directory that they are in."""
    named = set(paths)
    parents = named
    while parents := {path.rpartition("/")[0] for path in parents} - named - {""}:
        named |= parents
    return named


def _folded(path: str) -> str:
    if path.isascii():
        return path.lower()
    # Canonical caseless matching (Unicode 3.13, D145): fold between two normalisations.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())
