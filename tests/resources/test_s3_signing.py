from __future__ import annotations

import hashlib
import string

import botocore.auth
import botocore.credentials
import pytest
from botocore.awsrequest import AWSRequest
from hypothesis import given
from hypothesis import strategies as st

from resources.s3_signing import EMPTY_SHA256, Credentials, encode_key, encode_query, sign

# "Examples: Signature Calculations" of the Amazon S3 API reference, sig-v4-header-based-auth.
EXAMPLE = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
HOST = {"host": "examplebucket.s3.amazonaws.com"}


@pytest.mark.parametrize(
    ("method", "key", "query", "headers", "payload", "signature"),
    [
        (
            "GET", "test.txt", {}, {"range": "bytes=0-9"}, EMPTY_SHA256,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT", "test$file.text", {},
            {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            hashlib.sha256(b"Welcome to Amazon S3.").hexdigest(),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET", "", {"lifecycle": ""}, {}, EMPTY_SHA256,
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET", "", {"prefix": "J", "max-keys": "2"}, {}, EMPTY_SHA256,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)  # fmt: skip
def test_the_published_examples_are_signed_as_published(
    *, method: str, key: str, query: dict[str, str], headers: dict[str, str], payload: str, signature: str
) -> None:
    signed = sign(
        method,
        "/" + encode_key(key),
        encode_query(query),
        {**HOST, **headers},
        credentials=EXAMPLE,
        region="us-east-1",
        timestamp="20130524T000000Z",
        payload_sha256=payload,
    )

    assert signed["authorization"].endswith(f"Signature={signature}")


header_values = st.text(string.printable.translate(str.maketrans("", "", "\r\n\x0b\x0c\t")), max_size=40)


@given(
    method=st.sampled_from(["GET", "PUT", "HEAD"]),
    key=st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    query=st.dictionaries(st.text("abcXYZ-.", min_size=1, max_size=8), st.text(max_size=20), max_size=4),
    metadata=st.dictionaries(st.text("abcdef-0123", min_size=1, max_size=10), header_values, max_size=4),
    secret=st.text(string.ascii_letters + string.digits + "+/=", min_size=1, max_size=40),
    token=st.one_of(st.none(), st.text(string.ascii_letters + "+/=", min_size=1, max_size=80)),
    region=st.sampled_from(["us-east-1", "eu-central-1", "cn-north-1"]),
    body=st.binary(max_size=64),
)
def test_any_request_is_signed_as_botocore_signs_it(
    *,
    method: str,
    key: str,
    query: dict[str, str],
    metadata: dict[str, str],
    secret: str,
    token: str | None,
    region: str,
    body: bytes,
) -> None:
    path, encoded_query = "/bucket/" + encode_key(key), encode_query(query)
    headers = {f"x-amz-meta-{name}": value for name, value in metadata.items()}
    url = f"https://s3.example.org:9000{path}" + (f"?{encoded_query}" if encoded_query else "")
    request = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
    signer = botocore.auth.S3SigV4Auth(botocore.credentials.Credentials("AKID", secret, token), "s3", region)
    signer.add_auth(request)
    theirs = request.headers["Authorization"]

    ours = sign(
        method,
        path,
        encoded_query,
        {"host": "s3.example.org:9000", **headers},
        credentials=Credentials("AKID", secret, token),
        region=region,
        timestamp=request.headers["X-Amz-Date"],
        payload_sha256=hashlib.sha256(body).hexdigest(),
    )

    assert ours["authorization"].replace(",SignedHeaders", ", SignedHeaders").replace(",Signature", ", Signature") == (
        theirs
    )


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_a_key_is_sent_byte_for_byte_with_only_its_slashes_bare(key: str) -> None:
    encoded = encode_key(key)

    assert set(encoded) <= set(string.ascii_letters + string.digits + "-._~/%")
    assert encoded.count("/") == key.count("/")
