"""Our pipeline as one contender: copy, read back and archive one study, in a process of its own.

What belongs here: the one call of our transfer engine, with the defaults of config.toml. What does not: validation, the
ledger and Dagster, which the other contenders do not have either (`planning` and `orchestration` measure those).

    python -m benchmarks.ours --source DIR --nas DIR --study NAME --endpoint URL --bucket NAME --prefix PREFIX
"""

from __future__ import annotations

import argparse

from fusion_assets.config import BackupSection, S3Section
from fusion_assets.standard.listing import read_listing
from fusion_assets.transfer import Study, TransferOptions, copy_and_archive
from resources.local import LocalStorage
from resources.s3 import S3Bucket


def main() -> None:
    """Archive the study named on the command line."""
    parser = argparse.ArgumentParser(description="Archive one study with our own pipeline.")
    for name in ("source", "nas", "study", "endpoint", "bucket", "prefix"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--part-size-mib", type=int, default=S3Section.model_fields["part_size_mib"].default)
    parser.add_argument("--max-workers", type=int, default=BackupSection.model_fields["max_workers"].default)
    arguments = parser.parse_args()
    source = LocalStorage(arguments.source)
    bucket = S3Bucket(arguments.bucket, prefix=arguments.prefix, endpoint_url=arguments.endpoint)
    _, archive = copy_and_archive(
        source,
        LocalStorage(arguments.nas),
        bucket,
        Study(arguments.study, arguments.study, read_listing(source, arguments.study).entries),
        options=TransferOptions(part_size=arguments.part_size_mib << 20, workers=arguments.max_workers),
    )
    if archive.error:
        raise archive.error


if __name__ == "__main__":
    main()
