"""Where the bytes of a study are that has left the instrument, in words for whoever has to bring something back."""

from __future__ import annotations

from fusion_assets.reconcile.conditions import Name
from fusion_assets.reconcile.plan import ObservedStudy


def whereabouts(observed: ObservedStudy) -> str:
    """What the other places have of a study of which nothing is at the instrument.

    Args:
        observed: The study as it is.

    Returns:
        A sentence or two; empty while it is at the instrument, or its trash.
    """
    if observed.at_host:
        return ""
    on_s3, on_truenas = observed.conditions[Name.ON_S3], observed.conditions[Name.ON_TRUENAS]
    s3 = "S3 has its archive" if on_s3.is_true else f"S3: {on_s3.reason} {on_s3.message}".rstrip()
    nas = "the NAS has its copy" if on_truenas.is_true else "the NAS has no whole copy of it"
    return f"It has left the instrument, so that nothing can be copied from there again. {s3}; {nas}."
