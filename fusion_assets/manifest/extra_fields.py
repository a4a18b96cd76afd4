"""The fields that a line of the ledger carries beyond the fixed ones: the names, and what each says.

All are optional, and a reader that does not know one keeps it. docs/ledger.md says the same for people, held to this by
a test. What belongs here: names. What does not: the fixed fields (`record`), and the rules that follow from these.
"""

from __future__ import annotations

HOST_FIELD = "host"
"""The machine that did the work."""

REASON_FIELD = "reason"
"""Why it failed: the error's own words, hint included."""

FINGERPRINT_FIELD = "fingerprint"
"""How the source looked when it was listed for this backup: a digest of all paths, sizes and times."""

FOUND_GOOD_FIELD = "found_good"
"""By the fingerprint of a state that was valid after it had been found invalid: how often it had been until then.

Later records carry that on, so only the number tells whether it speaks of the latest failure.
"""

SIDECAR_FIELD = "sidecar_sha256"
"""SHA-256 (hex) of the sidecar that was proven last: what the files of the study are."""

ANNOUNCED_FIELD = "announced_sidecar_sha256"
"""SHA-256 of a sidecar that is about to replace that one, until it did."""

COPY_OF_FIELD = "copy_of"
"""The study at the source that the copies are of: an alias may be given to another one since."""

COPY_FINGERPRINT_FIELD = "copy_fingerprint"
"""How that study looked."""

COPY_BEGUN_FIELD = "copy_begun_at"
"""When this program began to write files under the name: the time, by the place."""

ARCHIVE_BEGUN_FIELD = "archive_begun_at"
"""When it began to upload objects: the time, by the place."""

ADOPTED_FIELD = "adopted_at"
"""When what lay under the name before was seen to be of this study."""

ADOPTED_ARCHIVE_FIELD = "adopted_archive_sha256"
"""SHA-256 of the sidecar that lay in S3 then; empty if there was none."""

COPY_READ_FIELD = "copy_read_at"
"""When every byte of the copy was last read, if a later run proved only some of its files."""

SCRUBBED_FIELD = "scrubbed_at"
"""When every byte of the copy was read again, and every object asked for, since it was made."""

ACCEPTED_FIELD = "accepted_fingerprint"
"""How the source looked when a person accepted what had changed there."""

ACCEPTED_AT_FIELD = "accepted_at"
"""When that was."""

ACCEPTED_PATHS_FIELD = "accepted_paths"
"""Which files differed to the eye (size or time) then; all others must still be what was proven."""

ACCEPTED_OVER_FIELD = "accepted_over"
"""SHA-256 of the sidecar from which they differed."""

RELEASE_BEGUN_FIELD = "release_begun_at"
"""When the source was moved to its trash, until it is deleted: if it is gone later, a run of ours did that."""

RELEASED_FIELD = "released_at"
"""When the source was released, if the backup had to be repaired since."""

EVICTION_BEGUN_FIELD = "eviction_begun_at"
"""When a cleanup began to move the copy out of its place on the NAS, until it did."""

EVICTED_FIELD = "truenas_evicted_at"
"""When the copy was moved out to make room."""

FREE_BEFORE_FIELD = "free_before"
"""Free bytes of the NAS before that."""

FREE_AFTER_FIELD = "free_after"
"""Free bytes of the NAS when its files were deleted: whether the space came back."""
