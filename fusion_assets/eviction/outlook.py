"""When the NAS of a lab fills, by what was measured so far and now: history, ledger and forecast together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fusion_assets.config import Config
from fusion_assets.eviction.forecast import Forecast, NotEnough, forecast
from fusion_assets.eviction.history import Sample, add_sample, read_samples
from fusion_assets.eviction.telling import evictions_of
from fusion_assets.manifest.fold import LedgerView
from fusion_assets.state import state_folder


def outlook(config: Config, ledger: LedgerView, now: Sample) -> Forecast | NotEnough:
    """When the NAS fills; changes nothing.

    Args:
        config: The lab.
        ledger: As read now, for what was evicted.
        now: What was measured now.
    """
    return _judge(config, ledger, now, lambda: (*read_samples(state_folder(config)), now))


def measure(config: Config, ledger: LedgerView, now: Sample) -> Forecast | NotEnough:
    """Add a measurement to the history, and say when the NAS fills.

    Args:
        config: The lab.
        ledger: As read now, for what was evicted.
        now: What was measured now.
    """
    return _judge(config, ledger, now, lambda: add_sample(state_folder(config), now))


def _judge(
    config: Config, ledger: LedgerView, now: Sample, samples: Callable[[], Sequence[Sample]]
) -> Forecast | NotEnough:
    try:
        known = samples()
    except OSError as error:
        return NotEnough(f"what was measured so far cannot be used: {error}")
    return forecast(known, evictions_of(ledger, now.total), config.cleanup.free_threshold_pct)
