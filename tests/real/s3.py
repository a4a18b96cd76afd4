"""Real S3 servers for tests: ministack, which refuses wrong checksums and wrong signatures, and moto for breadth.

Both come from the package index with the project's own dependencies, so that nothing here is ever skipped.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from resources.s3 import S3Bucket

ACCESS_KEY = "AKIATESTS3KEY"
SECRET_KEY = "secret/of+the=tests"  # the characters that break careless signers
REGION = "us-east-1"


@dataclass
class S3Server:
    """A server on 127.0.0.1; `stop` and `start` make it go away and come back, with the same port and data."""

    argv: list[str]
    port: int
    environment: dict[str, str]
    log: Path
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, env={**os.environ, **self.environment}, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.argv} ended: {self.log.read_text()[-2000:]}")
            if time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self.argv} does not answer: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
            self.process = None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.url, timeout=2).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def client(self, service: str = "s3"):
        """A plain boto3 client: what another program sees in the bucket."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}),
        )

    def add_user(self, *actions: str) -> tuple[str, str]:
        """Access key and secret key of a new user who may do `actions`; ministack checks the signatures of users."""
        iam, name = self.client("iam"), f"user-{secrets.token_hex(4)}"
        iam.create_user(UserName=name)
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=name, PolicyName="may", PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    def remove_key(self, access_key: str) -> None:
        """Refuse the access key from now on."""
        iam = self.client("iam")
        user = iam.get_access_key_last_used(AccessKeyId=access_key)["UserName"]
        iam.delete_access_key(UserName=user, AccessKeyId=access_key)

    def make_bucket(self) -> str:
        name = f"test-{secrets.token_hex(6)}"
        self.client().create_bucket(Bucket=name)
        return name


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """Certificate and key of ``localhost`` and 127.0.0.1, signed by itself: also the file to trust it by."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test server")])
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "server.crt", directory / "server.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def open_bucket(server: S3Server, bucket: str | None = None, *, prefix: str = "archive", **options) -> S3Bucket:
    """Our client for a new bucket of `server`, or for the one named."""
    options = {"region": REGION, "endpoint_url": server.url, "max_attempts": 2, **options}
    return S3Bucket(bucket or server.make_bucket(), prefix=prefix, **options)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_ministack(directory: Path, *, persist: bool = False) -> S3Server:
    """A ministack that is not started yet; with `persist` its objects survive a restart."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    environment = {
        "AUTH": "true",  # verify signatures and policies: those of users (`add_user`), not those of this first key
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",  # a second port, fixed, that parallel test runs would fight for
        "LOG_LEVEL": "WARNING",
        "S3_DATA_DIR": str(directory / "objects"),
        "S3_PERSIST": "1" if persist else "0",
        "SERVICES": "s3,iam,sts",
        "STATE_DIR": str(directory / "state"),
        "TMPDIR": str(directory),
    }
    argv = [sys.executable, "-m", "ministack"]
    return S3Server(argv, port, environment, directory / "ministack.log")


@contextmanager
def running(server: S3Server) -> Iterator[S3Server]:
    """`server`, started, and stopped at the end whatever happens."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server that refuses wrong checksums and wrong signatures; one for each test process. Do not stop it."""
    with running(make_ministack(tmp_path_factory.mktemp("ministack"))) as server:
        server.access_key, server.secret_key = server.add_user("s3:*")
        yield server


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server of another make, which accepts any checksum and any credentials; one for each test process."""
    port = free_port()
    argv = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    with running(S3Server(argv, port, {}, tmp_path_factory.mktemp("moto") / "moto.log")) as server:
        yield server


def use_keys(monkeypatch: pytest.MonkeyPatch, access_key: str, secret_key: str) -> None:
    """What a user of these keys has in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret_key)


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own AWS set-up: no keys, no profiles, no instance role, no proxy."""
    for name in [name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def s3_credentials(no_aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first key of every test server, in the environment."""
    use_keys(monkeypatch, ACCESS_KEY, SECRET_KEY)


@pytest.fixture
def s3_bucket(s3_server: S3Server, no_aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Bucket]:
    """A new, empty bucket on the server that checks, seen through our client with the prefix ``archive``."""
    use_keys(monkeypatch, s3_server.access_key, s3_server.secret_key)
    bucket = open_bucket(s3_server)
    yield bucket
    bucket.close()


@pytest.fixture
def moto_bucket(moto_server: S3Server, no_aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Bucket]:
    """A new, empty bucket on the server that does not check."""
    use_keys(monkeypatch, moto_server.access_key, moto_server.secret_key)
    bucket = open_bucket(moto_server)
    yield bucket
    bucket.close()
