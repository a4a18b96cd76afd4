"""The fixtures of the real servers; each kind of server has its own module beside this one."""

from tests.real.s3 import moto_bucket, moto_server, no_aws, s3_bucket, s3_credentials, s3_server
from tests.real.samba import old_samba, own_samba, samba, samba_without_encryption, share
from tests.real.small_lab import small_lab

__all__ = [
    "moto_bucket",
    "moto_server",
    "no_aws",
    "old_samba",
    "own_samba",
    "s3_bucket",
    "s3_credentials",
    "s3_server",
    "samba",
    "samba_without_encryption",
    "share",
    "small_lab",
]
