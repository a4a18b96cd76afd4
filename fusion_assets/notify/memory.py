"""What was mailed while the mailbox could not be used: in memory, so that the same is not mailed at every tick."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime


class Memory:
    """Causes and how they stood when they were mailed."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[str, datetime]] = {}

    def new(self, causes: Mapping[str, str], keep: float | None, now: datetime) -> tuple[str, ...]:
        """Those that were not mailed as they stand, or not within `keep` seconds.

        Args:
            causes: Each with a fingerprint of how it stands.
            keep: None for ever.
            now: The time.
        """
        return tuple(cause for cause, fingerprint in causes.items() if not self._knows(cause, fingerprint, keep, now))

    def told(self, causes: Mapping[str, str], now: datetime) -> None:
        """They were mailed."""
        self._told.update({cause: (fingerprint, now) for cause, fingerprint in causes.items()})

    def standing(self, causes: Iterable[str]) -> frozenset[str]:
        """Those that were mailed and are not gone."""
        return frozenset(cause for cause in causes if cause in self._told)

    def forget(self, causes: Iterable[str]) -> None:
        """They are gone."""
        for cause in causes:
            self._told.pop(cause, None)

    def forget_others(self, prefix: str, still: Collection[str]) -> None:
        """Those that begin with `prefix` and are not in `still` are gone."""
        self.forget([cause for cause in self._told if cause.startswith(prefix) and cause not in still])

    def _knows(self, cause: str, fingerprint: str, keep: float | None, now: datetime) -> bool:
        known, at = self._told.get(cause, ("", now))
        return cause in self._told and known == fingerprint and (keep is None or (now - at).total_seconds() < keep)
