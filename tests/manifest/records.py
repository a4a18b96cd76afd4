"""Records for tests: one that is well-formed, and strategies for all there can be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from fusion_assets.manifest.record import FIELD_SET, TIME_FIELDS, Record, Status

NAME = "20260105_WW_HCC_run1"
START = datetime(2026, 1, 5, 10, tzinfo=UTC)


def record(**changes: Any) -> Record:
    """A complete backup, with `changes`."""
    hour = timedelta(hours=1)
    fields: dict[str, Any] = {
        "backup_name": NAME,
        "run_name": NAME,
        "source_path": f"D:\\Data\\Fusion\\{NAME}",
        "truenas_path": f"/mnt/nas/{NAME}",
        "s3_uri": f"s3://lab/archive/{NAME}",
        "file_count": 300,
        "total_bytes": 10**11,
        "started_at": START,
        "truenas_verified_at": START + hour,
        "s3_verified_at": START + 2 * hour,
        "completed_at": START + 3 * hour,
        "source_deleted_at": None,
        "status": Status.COMPLETE,
    }
    return Record(**{**fields, **changes})


names = st.sampled_from(["a", "b", "20260105_WW_HCC_run1"]) | st.text(min_size=1, max_size=8)
times = st.none() | st.datetimes(timezones=st.just(UTC))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
extras = st.dictionaries(st.text(max_size=8).filter(lambda name: name not in FIELD_SET), json_values, max_size=3)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Any record at all."""
    texts = {name: draw(st.text(max_size=8)) for name in ("run_name", "source_path", "truenas_path", "s3_uri")}
    return Record(
        **texts,
        **{name: draw(times) for name in TIME_FIELDS},
        backup_name=draw(names),
        file_count=draw(st.integers()),
        total_bytes=draw(st.integers()),
        status=draw(st.sampled_from(Status)),
        extra=draw(extras),
    )
