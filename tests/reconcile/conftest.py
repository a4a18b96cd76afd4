"""A small lab with a real S3 server, for what needs all places at once."""

from tests.real.s3 import no_aws, s3_server
from tests.real.small_lab import small_lab

__all__ = ["no_aws", "s3_server", "small_lab"]
