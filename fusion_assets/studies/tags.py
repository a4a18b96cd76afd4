"""The tags that our runs bear in Dagster, beside its own."""

from __future__ import annotations

# Since when the study has looked as it does, and how: what whoever launched the run observed of it.
IDLE_SINCE_TAG = "fusion/idle_since"
FINGERPRINT_TAG = "fusion/fingerprint"
# What the run was started for (`fusion_assets.reconcile.launch.state_of`): two runs for one state are two tries.
STATE_TAG = "fusion/state"
# Set on a run that failed for a reason that trying again cannot cure, because the NAS was full, or because another run
# was faster.
RETRY_TAG = "fusion/retry"
HOPELESS = "never"
FOR_ROOM = "when there is room"
OVERTAKEN = "done by another run"
# What a run belongs to: one eviction at a time, however many the sensor, the calendar and people ask for; and some
# backups at a time, so that they never keep an eviction waiting.
KIND_TAG = "fusion/kind"
EVICTION = "eviction"
BACKUP = "backup"
# Who started the run, where that matters: the command line mails its own failures.
STARTED_BY_TAG = "fusion/started_by"
BY_COMMAND = "command line"
# Set by a person who lets an eviction go on although the space of the last one did not come back.
DESPITE_SNAPSHOTS_TAG = "fusion/despite_snapshots"
# Set on a run whose failure was mailed by what it started.
MAILED_TAG = "fusion/mailed"
