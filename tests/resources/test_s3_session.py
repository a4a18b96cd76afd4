"""Where requests go and whom they trust: endpoint rules, addressing, credentials, TLS and proxies."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

import pytest

from resources.errors import AccessDeniedError, ResourceError, UnavailableError
from resources.s3 import S3Bucket
from resources.s3_session import Session, Settings, open_session
from tests.real.s3 import make_certificate, no_aws, s3_credentials
from tests.resources.scripted_server import ScriptedServer, answer

__all__ = ["no_aws", "s3_credentials"]

SHA = hashlib.sha256(b"data").digest()
OK = answer(200, etag='"e"')


def base_of(session: Session) -> str:
    return session.server.url.geturl() + session.base_path


@pytest.mark.usefixtures("s3_credentials")
@pytest.mark.parametrize(
    ("settings", "base"),
    [
        (Settings("lab", region="eu-central-1"), "https://lab.s3.eu-central-1.amazonaws.com"),
        (Settings("lab"), "https://lab.s3.amazonaws.com"),
        (Settings("lab", region="cn-north-1"), "https://lab.s3.cn-north-1.amazonaws.com.cn"),
        (Settings("lab.example.org", region="eu-west-1"), "https://s3.eu-west-1.amazonaws.com/lab.example.org"),
        (Settings("lab", endpoint_url="https://minio.lab:9000"), "https://minio.lab:9000/lab"),
        (Settings("dots.in.it", endpoint_url="http://10.0.0.5/s3"), "http://10.0.0.5/s3/dots.in.it"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.bucket,
)
def test_requests_go_where_every_aws_tool_sends_them(settings: Settings, base: str) -> None:
    assert base_of(open_session(settings)) == base


@pytest.mark.usefixtures("s3_credentials")
def test_the_endpoint_of_the_environment_is_taken_and_asked_by_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://minio.lab")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")

    session = open_session(Settings("lab"))

    assert base_of(session) == "https://minio.lab/lab"
    assert session.region == "eu-west-3"


@pytest.mark.usefixtures("s3_credentials")
def test_a_client_somebody_else_configured_decides_where_and_as_whom() -> None:
    import boto3

    client = boto3.client(
        "s3",
        region_name="eu-west-2",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="THEIRS",
        aws_secret_access_key="x",
    )

    session = open_session(Settings("lab"), client)

    assert base_of(session) == "http://127.0.0.1:9/lab"
    assert (session.region, session.credentials().access_key) == ("eu-west-2", "THEIRS")


@pytest.mark.usefixtures("no_aws")
def test_no_credentials_at_all_is_said_with_the_way_out_and_without_a_request() -> None:
    with ScriptedServer(OK) as server:
        bucket = S3Bucket("lab", endpoint_url=server.url)
        for attempt in (lambda: bucket.put("a", b"data", sha256=SHA), bucket.check_reachable, lambda: bucket.head("a")):
            with pytest.raises(AccessDeniedError, match="hint: set AWS_ACCESS_KEY_ID"):
                attempt()

    assert server.seen == []


@pytest.mark.usefixtures("no_aws")
def test_a_profile_that_does_not_exist_is_named() -> None:
    with pytest.raises(AccessDeniedError, match="no-such-profile"):
        S3Bucket("lab", profile="no-such-profile").head("a")


@pytest.mark.usefixtures("s3_credentials")
@pytest.mark.parametrize("endpoint", ["minio.lab:9000", "not a url", "http://"])
def test_an_endpoint_that_is_no_url_is_one_clear_error(endpoint: str) -> None:
    with pytest.raises(ResourceError, match=r"cannot use s3://lab"):
        S3Bucket("lab", endpoint_url=endpoint).head("a")


def test_constructing_a_bucket_imports_no_boto3_and_asks_nobody() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from resources.s3 import S3Bucket; S3Bucket('lab', profile='missing'); "
        "sys.exit(any(name.split('.')[0] in ('boto3', 'botocore') for name in sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.usefixtures("s3_credentials")
class TestTls:
    def test_a_server_whose_authority_is_named_is_trusted(self, tmp_path: Path) -> None:
        certificate, context = _server_tls(tmp_path)
        with ScriptedServer(OK, tls=context) as server:
            bucket = S3Bucket("lab", endpoint_url=server.url, ca_bundle=str(certificate), max_attempts=1)
            assert bucket.put("a", b"data", sha256=SHA).etag == '"e"'
            large = bytes(3_000_000)
            bucket.put("b", large, sha256=hashlib.sha256(large).digest())

        assert server.seen[1].body == large
        assert {seen.connection for seen in server.seen} == {1}

    def test_the_authority_may_stand_in_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        certificate, context = _server_tls(tmp_path)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        with ScriptedServer(OK, tls=context) as server:
            S3Bucket("lab", endpoint_url=server.url, max_attempts=1).put("a", b"data", sha256=SHA)

    def test_a_server_nobody_vouches_for_gets_no_data_and_no_second_attempt(self, tmp_path: Path) -> None:
        _, context = _server_tls(tmp_path)
        with ScriptedServer(OK, tls=context) as server:
            bucket = S3Bucket("lab", endpoint_url=server.url, max_attempts=2)
            for attempt in (lambda: bucket.put("a", b"data", sha256=SHA), bucket.check_reachable):
                with pytest.raises(ResourceError, match="authority by AWS_CA_BUNDLE") as caught:
                    attempt()
                assert not isinstance(caught.value, UnavailableError)

        assert server.seen == []

    def test_a_ca_bundle_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        bucket = S3Bucket("lab", endpoint_url="https://minio.lab", ca_bundle=str(tmp_path / "missing.pem"))

        with pytest.raises(ResourceError, match=r"missing\.pem"):
            bucket.head("a")


@pytest.mark.usefixtures("s3_credentials")
class TestProxy:
    def test_plain_http_goes_through_the_proxy_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with ScriptedServer(OK) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://user:p%40ss@127.0.0.1:{proxy.port}")
            S3Bucket("lab", endpoint_url="http://minio.lab:9000").put("a b", b"data", sha256=SHA)

        assert proxy.seen[0].target == "http://minio.lab:9000/lab/a%20b"
        assert proxy.seen[0].headers["host"] == "minio.lab:9000"
        assert proxy.seen[0].headers["proxy-authorization"] == "Basic dXNlcjpwQHNz"

    def test_tls_goes_through_a_tunnel_the_proxy_opens(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        certificate, context = _server_tls(tmp_path)
        with ScriptedServer(OK, tls=context, tunnel="Basic dXNlcjpwQHNz") as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://user:p%40ss@127.0.0.1:{proxy.port}")
            bucket = S3Bucket("lab", endpoint_url="https://localhost:9", ca_bundle=str(certificate), max_attempts=1)
            bucket.put("a", b"data", sha256=SHA)

        assert proxy.tunnels == ["localhost:9"]
        assert proxy.seen[0].body == b"data"

    def test_a_proxy_that_refuses_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with ScriptedServer(answer(407)) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            bucket = S3Bucket("lab", endpoint_url="https://minio.lab", max_attempts=1)
            with pytest.raises(UnavailableError, match=r"proxy 127\.0\.0\.1 refused"):
                bucket.put("a", b"data", sha256=SHA)

    def test_hosts_the_proxy_is_not_for_are_asked_directly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with ScriptedServer(OK) as server:
            S3Bucket("lab", endpoint_url=server.url, max_attempts=1).put("a", b"data", sha256=SHA)

        assert server.seen[0].target == "/lab/a"


def _server_tls(directory: Path) -> tuple[Path, ssl.SSLContext]:
    certificate, key = make_certificate(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context
