"""The plain clients as Dagster resources: thin, typed, and with no behaviour of their own.

What belongs here: fields for the UI and for run configuration, and the one method that builds the client. What does
not: anything the plain client could do; the command line uses those without Dagster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from resources.open_storage import open_storage
from resources.s3 import S3Bucket
from resources.smb import SmbServer, password_from
from resources.storage import Storage

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class SmbServerResource(dg.ConfigurableResource[Any]):
    """One SMB server; the password is named by its environment variable and read when a connection is made."""

    host: str
    port: int = 445
    username: str = ""
    password_env: str | None = None
    encrypt: bool = True
    connections: int = 2

    def server(self) -> SmbServer:
        """The plain description the SMB client takes."""
        return SmbServer(
            host=self.host,
            port=self.port,
            username=self.username,
            password=password_from(self.password_env),
            encrypt=self.encrypt,
            connections=self.connections,
        )


class StorageResource(dg.ConfigurableResource[Any]):
    """A root directory: a local, mounted or UNC path, or ``smb://<server name>/share/path``."""

    root: str
    servers: dict[str, SmbServerResource] = Field(default_factory=dict)
    _client: Storage | None = PrivateAttr(default=None)

    def client(self) -> Storage:
        """The storage, opened once for each life of this resource."""
        if self._client is None:
            servers = {name: server.server() for name, server in self.servers.items()}
            self._client = open_storage(self.root, servers)
        return self._client

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Give connections back when the run ends."""
        del context  # Dagster's hook signature
        if self._client is not None:
            self._client.close()
            self._client = None


class S3BucketResource(dg.ConfigurableResource[Any]):
    """A bucket below a prefix, reached as `dagster_aws.s3.S3Resource` reaches S3: same fields, same credentials.

    ``session`` takes that resource's own fields (``region_name``, ``endpoint_url``, ``profile_name``, ``max_attempts``,
    ``verify``, ``aws_access_key_id`` …); what proving data needs beyond them stands here.
    """

    bucket: str
    prefix: str = ""
    storage_class: str | None = None
    sse: str | None = None
    sse_kms_key_id: str | None = None
    session: dict[str, Any] = Field(default_factory=dict)
    _clients: dict[str | None, S3Bucket] = PrivateAttr(default_factory=dict)
    _boto: S3Client | None = PrivateAttr(default=None)

    def client(self) -> S3Bucket:
        """The bucket, opened once for each life of this resource; what it uploads goes to the storage class."""
        return self._open(self.storage_class)

    def warm_client(self) -> S3Bucket:
        """The same bucket for what is rewritten and read again: the storage class is left out."""
        return self._open(None)

    def _open(self, storage_class: str | None) -> S3Bucket:
        if storage_class not in self._clients:
            self._clients[storage_class] = S3Bucket(
                self.bucket,
                prefix=self.prefix,
                storage_class=storage_class,
                sse=self.sse,
                sse_kms_key_id=self.sse_kms_key_id,
                client=self._boto_client(),
            )
        return self._clients[storage_class]

    def _boto_client(self) -> S3Client:
        """One for both buckets: each costs 0.1 s of processor time, in every run."""
        if self._boto is None:
            # Imported here: dagster_aws.s3 takes 1.3 s, and most processes never talk to S3.
            from dagster_aws.s3 import S3Resource

            self._boto = S3Resource(**self.session).get_client()
        return self._boto

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Give connections back when the run ends."""
        del context  # Dagster's hook signature
        for client in self._clients.values():
            client.close()
        self._clients = {}
        self._boto = None
