"""Studies as Dagster partitions: the definition, and keys that any directory name can be turned into and back.

Dagster checks no key: newlines, slashes and ``...`` (its range separator) all pass and break something later. A key
here is the study's name with everything outside ``A-Z a-z 0-9 . _ -`` percent-encoded, so that a badly named study,
too, has a partition in which its violations can be seen.
"""

from __future__ import annotations

import os
from urllib.parse import quote, unquote_to_bytes

import dagster as dg

studies = dg.DynamicPartitionsDefinition(name="studies")


def partition_key(run_name: str) -> str:
    """The partition key of a study.

    Args:
        run_name: The study's name at the source.
    """
    return quote(os.fsencode(run_name), safe="").replace("~", "%7E").replace("..", "%2E%2E")


def run_name_of(key: str) -> str:
    """The study's name at the source.

    Args:
        key: Its partition key.
    """
    return os.fsdecode(unquote_to_bytes(key))
