"""The boto3 side of a bucket: credential chain, region, endpoint, TLS and proxy settings, found once at first use.

What belongs here: everything that is looked up in the environment, in ``~/.aws`` or by botocore's endpoint rules, so
that a user's AWS settings mean here what they mean to every other AWS tool. What does not: requests.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from resources.s3_errors import Place, missing_credentials, translated
from resources.s3_http import ANSWER_SECONDS, CONNECT_SECONDS, Server
from resources.s3_signing import Credentials

if TYPE_CHECKING:
    import botocore.credentials
    from mypy_boto3_s3 import S3Client

_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach a bucket; None leaves the choice to the usual AWS environment and files."""

    bucket: str
    region: str | None = None
    endpoint_url: str | None = None
    profile: str | None = None
    ca_bundle: str | None = None
    max_attempts: int = 5
    connections: int = 16


@dataclass(frozen=True, slots=True)
class Session:
    """All that requests need.

    Attributes:
        client: boto3's S3 client.
        server: Where our own requests go.
        base_path: What stands before a key in a request's path: ``/<bucket>`` or nothing, by addressing style.
        region: To sign for.
        credentials: The credentials of this moment; refreshes temporary ones shortly before they expire.
        place: For messages.
    """

    client: S3Client
    server: Server
    base_path: str
    region: str
    credentials: Callable[[], Credentials]
    place: Place


def open_session(settings: Settings, client: S3Client | None = None) -> Session:
    """Look everything up; no request is made, except by credential providers that must ask somebody.

    Args:
        settings: Which bucket, and what config.toml says about it.
        client: A client someone else has configured; then it decides region, endpoint and credentials.

    Raises:
        AccessDeniedError: There are no credentials, or the profile does not exist.
        ResourceError: The settings cannot be used (e.g. an endpoint that is no URL).
    """
    path = f"s3://{settings.bucket}"
    place = Place(settings.bucket, settings.endpoint_url or "AWS", settings.region or "us-east-1")
    with translated(place, action="use", path=path):
        client = client or _make_client(settings)
        # The one public way to ask botocore's endpoint rules (virtual host or path, dual stack, partitions).
        signed = client.generate_presigned_url("head_object", Params={"Bucket": settings.bucket, "Key": "k"})
        url = urlsplit(signed)
        origin = url._replace(path="", query="", fragment="")
        server = Server(origin, _tls(settings, origin.scheme), _proxy(origin.geturl()))
    region = client.meta.region_name or "us-east-1"
    place = Place(settings.bucket, settings.endpoint_url or origin.geturl(), region)
    return Session(
        client=client,
        server=server,
        base_path=url.path.removesuffix("/k"),
        region=region,
        credentials=_credential_source(client, place),
        place=place,
    )


@cache
def _service_data() -> botocore.loaders.Loader:
    """What botocore ships about S3, read once: each client reads it anew otherwise, in 60 ms of processor time."""
    import botocore.loaders

    return botocore.loaders.create_loader()


def _make_client(settings: Settings) -> S3Client:
    import boto3
    import botocore.session
    from botocore.config import Config

    custom = settings.endpoint_url or any(os.environ.get(name) for name in _ENDPOINT_VARIABLES)
    # A wildcard certificate does not cover a bucket name with dots, and few other servers have wildcard DNS.
    by_path = bool(custom) or "." in settings.bucket
    core = botocore.session.Session()
    core.register_component("data_loader", _service_data())
    session = boto3.Session(botocore_session=core, profile_name=settings.profile)
    return session.client(
        "s3",
        region_name=settings.region,
        endpoint_url=settings.endpoint_url,
        verify=settings.ca_bundle,
        config=Config(
            signature_version="s3v4",
            connect_timeout=CONNECT_SECONDS,
            read_timeout=ANSWER_SECONDS,
            max_pool_connections=settings.connections,
            retries={"mode": "standard", "total_max_attempts": settings.max_attempts},
            # We send and compare SHA-256 ourselves; CRCs on top of it break some S3-compatible servers.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if by_path else "virtual"},
        ),
    )


def _credential_source(client: S3Client, place: Place) -> Callable[[], Credentials]:
    # botocore has no public accessor, and a given client's own chain is the one to use.
    from botocore.credentials import RefreshableCredentials

    chain: botocore.credentials.Credentials = client._get_credentials()  # type: ignore[attr-defined]  # noqa: SLF001

    def current() -> Credentials:
        path = f"s3://{place.bucket}"
        with translated(place, action="use", path=path):
            frozen = chain.get_frozen_credentials()
        if not frozen.access_key or not frozen.secret_key:
            raise missing_credentials(f"cannot use {path}", path, "they are empty")
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    # Credentials that never change are asked for once: 12 us of the 100 a small object takes.
    return current if isinstance(chain, RefreshableCredentials) else cache(current)


def _tls(settings: Settings, scheme: str) -> ssl.SSLContext | None:
    if scheme != "https":
        return None
    from botocore.httpsession import get_cert_path

    bundle = settings.ca_bundle or os.environ.get("AWS_CA_BUNDLE") or get_cert_path(verify=True)
    try:
        return ssl.create_default_context(cafile=bundle)
    except OSError as error:
        raise ValueError(f"the certificate authorities in {bundle} cannot be read: {error}") from error


def _proxy(url: str) -> str | None:
    from botocore.utils import get_environ_proxies

    proxies: dict[str, str] = get_environ_proxies(url)
    return proxies.get(urlsplit(url).scheme) or proxies.get("all")
