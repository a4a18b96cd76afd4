"""A strict S3 server on loopback that checks every byte it is sent and keeps next to none.

All contenders upload to it, so that none is measured against a server that is slow, or that believes what it is told.
What belongs here: the requests of S3 and their answers. What does not: connections (`s3_wire`), checksums
(`s3_checks`), the rules of objects (`s3_objects`). Signatures are not checked; GET of an object is refused, for its
bytes are gone, but for a study's sidecar and the ledger's mirror, which are small and read again.

    python -m benchmarks.s3_sink --port 9000

One thread per open connection: receiving and hashing release the GIL, so two cores are used where they are needed.
Threads and their buffers are used again, because some clients (s5cmd) open a connection for nearly every small object.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import secrets
import socket
import threading
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from email.utils import formatdate
from time import gmtime, strftime
from urllib.parse import quote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from benchmarks.s3_checks import CHECKSUM, Checks, Content
from benchmarks.s3_errors import S3Error
from benchmarks.s3_objects import ClaimedPart, Shelf, StoredObject
from benchmarks.s3_wire import BUFFER, Request, Wire

CONNECTIONS = 1024
KEPT = ("_checksums.sha256", ".jsonl")
Answer = tuple[int, dict[str, str], bytes]


def answer(shelf: Shelf, request: Request) -> Answer:
    """What S3 says to a request."""
    if request.bucket == "-":
        return 200, {}, json.dumps(shelf.report()).encode()
    if request.key:
        return OBJECT_METHODS.get(request.method, refuse)(shelf, request)
    return BUCKET_METHODS.get(request.method, refuse)(shelf, request)


def refuse(_shelf: Shelf, request: Request) -> Answer:
    """What no contender needs, or what cannot be answered without the bytes."""
    raise S3Error(501, "NotImplemented", f"{request.method} with {sorted(request.query)} is not implemented")


def put_object(shelf: Shelf, request: Request) -> Answer:
    """PutObject and UploadPart."""
    if "x-amz-copy-source" in request.headers:
        return refuse(shelf, request)
    kept = bytearray() if request.key.endswith(KEPT) else None
    content = checked_content(shelf, request, kept)
    if "uploadId" in request.query:
        etag = shelf.put_part(request.query["uploadId"], int(request.query["partNumber"]), content)
        return 200, {"ETag": f'"{etag}"'}, b""
    stored = shelf.put(
        request.bucket,
        request.key,
        content,
        request.kept_headers(),
        body=None if kept is None else bytes(kept),
        only_new=request.only_new,
    )
    return 200, {"ETag": f'"{stored.etag}"', **checksum_headers(stored)}, b""


def checked_content(shelf: Shelf, request: Request, kept: bytearray | None) -> Content:
    """Take a body, and count which of the client's checksums were really compared with it, and how that ended."""
    checks = Checks(request.headers)
    try:
        content = request.content(checks, kept)
    except S3Error:
        shelf.count(shelf.rejected, checks.compared)
        raise
    shelf.count(shelf.checked, checks.compared or ["nothing"])
    shelf.count(shelf.believed, checks.believed)
    return content


def head_object(shelf: Shelf, request: Request) -> Answer:
    """HeadObject: everything that is known, checksums where they are asked for."""
    return 200, object_headers(request, shelf.bucket(request.bucket).get(request.key)), b""


def object_headers(request: Request, stored: StoredObject) -> dict[str, str]:
    """What S3 says of an object; its checksums only when asked."""
    headers = {
        "Content-Length": str(stored.size),
        "ETag": f'"{stored.etag}"',
        "Last-Modified": formatdate(stored.modified, usegmt=True),
        **stored.headers,
    }
    if request.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
        headers |= checksum_headers(stored)
    return headers


def checksum_headers(stored: StoredObject) -> dict[str, str]:
    """The checksums S3 keeps with an object, as headers."""
    headers = {CHECKSUM + algorithm: value for algorithm, value in stored.checksums.items()}
    return headers | {"x-amz-checksum-type": stored.checksum_type} if headers else headers


def post_object(shelf: Shelf, request: Request) -> Answer:
    """CreateMultipartUpload and CompleteMultipartUpload."""
    where = f"<Bucket>{escape(request.bucket)}</Bucket><Key>{escape(request.key)}</Key>"
    if "uploads" in request.query:
        algorithm = request.headers.get("x-amz-checksum-algorithm", "").lower() or None
        kind = request.headers.get("x-amz-checksum-type", "COMPOSITE").upper()
        if kind == "FULL_OBJECT":
            # S3 has it for CRCs only; checking it here would mean hashing the parts in order.
            raise S3Error(400, "InvalidRequest", f"The FULL_OBJECT checksum type cannot be used with {algorithm}.")
        upload_id = shelf.create_upload(request.bucket, request.key, algorithm, request.kept_headers())
        return xml("InitiateMultipartUploadResult", f"{where}<UploadId>{upload_id}</UploadId>")
    if "uploadId" not in request.query:
        return refuse(shelf, request)
    parts = claimed_parts(request.text(checksum_of_object=True))
    upload = shelf.upload(request.query["uploadId"])
    composite = request.headers.get(CHECKSUM + upload.algorithm) if upload.algorithm else None
    size = request.headers.get("x-amz-mp-object-size")
    stored = shelf.complete(
        request.query["uploadId"], parts, composite, size=int(size) if size else None, only_new=request.only_new
    )
    checksums = "".join(
        f"<Checksum{name.upper()}>{value}</Checksum{name.upper()}>" for name, value in stored.checksums.items()
    )
    kind = f"<ChecksumType>{stored.checksum_type}</ChecksumType>" if checksums else ""
    return xml("CompleteMultipartUploadResult", f'{where}<ETag>"{stored.etag}"</ETag>{checksums}{kind}')


def claimed_parts(text: bytes) -> list[ClaimedPart]:
    """The parts a CompleteMultipartUpload names."""
    parts = []
    for element in ET.fromstring(text):  # noqa: S314  # our own clients, on loopback
        fields = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in element}
        checksums = {
            name.removeprefix("Checksum").lower(): value
            for name, value in fields.items()
            if name.startswith("Checksum")
        }
        parts.append(ClaimedPart(int(fields["PartNumber"]), fields["ETag"].strip('"'), checksums))
    return parts


def get_object(shelf: Shelf, request: Request) -> Answer:
    """ListParts, and GetObject of the few objects whose bytes were kept."""
    if not request.query:
        stored = shelf.bucket(request.bucket).get(request.key)
        if stored.body is None:
            raise S3Error(501, "NotImplemented", "the bytes of this object were discarded")
        return 200, object_headers(request, stored), stored.body
    if "uploadId" not in request.query:
        return refuse(shelf, request)
    upload = shelf.upload(request.query["uploadId"])
    parts = "".join(
        f'<Part><PartNumber>{number}</PartNumber><ETag>"{part.etag}"</ETag><Size>{part.size}</Size></Part>'
        for number, part in sorted(upload.parts.items())
    )
    return xml("ListPartsResult", f"<IsTruncated>false</IsTruncated>{parts}")


def delete_object(shelf: Shelf, request: Request) -> Answer:
    """DeleteObject and AbortMultipartUpload."""
    if "uploadId" in request.query:
        shelf.abort(request.query["uploadId"])
    else:
        with shelf.lock:
            shelf.bucket(request.bucket).remove(request.key)
    return 204, {}, b""


def put_bucket(shelf: Shelf, request: Request) -> Answer:
    """CreateBucket."""
    request.text()  # a location constraint: every region is the same here
    shelf.create_bucket(request.bucket)
    return 200, {}, b""


def head_bucket(shelf: Shelf, request: Request) -> Answer:
    """HeadBucket."""
    shelf.bucket(request.bucket)
    return 200, {"x-amz-bucket-region": "us-east-1"}, b""


def get_bucket(shelf: Shelf, request: Request) -> Answer:
    """ListObjects (both versions), ListMultipartUploads, GetBucketLocation, GetBucketVersioning."""
    if "location" in request.query:
        return xml("LocationConstraint", "")
    if "versioning" in request.query:
        return xml("VersioningConfiguration", "")
    if "uploads" in request.query:
        return list_uploads(shelf, request)
    return list_objects(shelf, request)


def list_uploads(shelf: Shelf, request: Request) -> Answer:
    """Every multipart upload under way in the bucket, on one page."""
    started = timestamp(0)
    with shelf.lock:
        uploads = "".join(
            f"<Upload><Key>{escape(upload.key)}</Key><UploadId>{upload_id}</UploadId>"
            f"<Initiated>{started}</Initiated></Upload>"
            for upload_id, upload in shelf.uploads.items()
            if upload.bucket == request.bucket and upload.key.startswith(request.query.get("prefix", ""))
        )
    return xml("ListMultipartUploadsResult", f"<IsTruncated>false</IsTruncated>{uploads}")


def list_objects(shelf: Shelf, request: Request) -> Answer:
    """One page of a listing; the continuation token is the last name of the page before."""
    query = request.query
    second = query.get("list-type") == "2"
    token = base64.urlsafe_b64decode(query.get("continuation-token", "")).decode()
    after = token or query.get("start-after" if second else "marker", "")
    prefix, limit = query.get("prefix", ""), min(int(query.get("max-keys", "1000")), 1000)
    encoded = query.get("encoding-type") == "url"

    def name(text: str) -> str:
        return quote(text) if encoded else escape(text)

    with shelf.lock:
        bucket = shelf.bucket(request.bucket)
        keys, folded, following = bucket.page(prefix, query.get("delimiter", ""), after, limit)
        contents = "".join(listed(name(key), bucket.objects[key]) for key in keys)
    prefixes = "".join(f"<CommonPrefixes><Prefix>{name(item)}</Prefix></CommonPrefixes>" for item in folded)
    more = f"<NextMarker>{name(following)}</NextMarker>" if following else ""
    if second and following:
        # Opaque: clients decode names that are percent-encoded, but hand a token back as they got it.
        token = base64.urlsafe_b64encode(following.encode()).decode()
        more = f"<NextContinuationToken>{token}</NextContinuationToken>"
    return xml(
        "ListBucketResult",
        f"<Name>{request.bucket}</Name><Prefix>{name(prefix)}</Prefix><KeyCount>{len(keys) + len(folded)}</KeyCount>"
        f"<MaxKeys>{limit}</MaxKeys><IsTruncated>{'true' if following else 'false'}</IsTruncated>{more}"
        + ("<EncodingType>url</EncodingType>" if encoded else "")
        + contents
        + prefixes,
    )


def listed(name: str, stored: StoredObject) -> str:
    """One object in a listing."""
    algorithm = "".join(f"<ChecksumAlgorithm>{name.upper()}</ChecksumAlgorithm>" for name in stored.checksums)
    return (
        f"<Contents><Key>{name}</Key><LastModified>{timestamp(stored.modified)}</LastModified>"
        f'<ETag>"{stored.etag}"</ETag>{algorithm}<Size>{stored.size}</Size><StorageClass>STANDARD</StorageClass></Contents>'
    )


def post_bucket(shelf: Shelf, request: Request) -> Answer:
    """DeleteObjects."""
    if "delete" not in request.query:
        return refuse(shelf, request)
    root = ET.fromstring(request.text())  # noqa: S314  # our own clients, on loopback
    keys = [element.text or "" for element in root.iter() if element.tag.rpartition("}")[2] == "Key"]
    with shelf.lock:
        for key in keys:
            shelf.bucket(request.bucket).remove(key)
    return xml("DeleteResult", "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys))


def timestamp(seconds: float) -> str:
    """A time as S3's XML writes it."""
    return strftime("%Y-%m-%dT%H:%M:%S.000Z", gmtime(seconds))


def xml(root: str, inner: str) -> Answer:
    """An XML answer."""
    text = f'<?xml version="1.0" encoding="UTF-8"?><{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</{root}>'
    return 200, {"Content-Type": "application/xml"}, text.encode()


OBJECT_METHODS = {
    "PUT": put_object,
    "HEAD": head_object,
    "GET": get_object,
    "POST": post_object,
    "DELETE": delete_object,
}
BUCKET_METHODS = {"PUT": put_bucket, "HEAD": head_bucket, "GET": get_bucket, "POST": post_bucket}


def refusal(error: S3Error) -> Answer:
    """An error in S3's words."""
    text = f"<Error><Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>"
    return error.status, {"Content-Type": "application/xml"}, text.encode()


def serve(shelf: Shelf, connection: socket.socket, thread: threading.local) -> None:
    """Answer the requests of one connection until the client leaves."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not hasattr(thread, "buffer"):
        thread.buffer = bytearray(BUFFER)
    wire = Wire(connection, thread.buffer)
    with connection, contextlib.suppress(EOFError, ConnectionError):
        while True:
            request = Request(wire, wire.until(b"\r\n\r\n"))
            shelf.count(shelf.requests, [request.method])
            try:
                status, headers, body = answer(shelf, request)
            except S3Error as error:
                status, headers, body = refusal(error)
            headers = {"Content-Length": str(len(body)), "x-amz-request-id": secrets.token_hex(8), **headers}
            wire.send(status, headers, b"" if request.method == "HEAD" else body)
            if not request.body_taken:
                return  # refused before its body was read: what follows on this connection is not a request


def show_failure(done: Future[None]) -> None:
    """Print what ended a connection that should not have ended so."""
    if error := done.exception():
        traceback.print_exception(error)


def main() -> None:
    """Listen; print the address once connections are accepted."""
    parser = argparse.ArgumentParser(description="A strict S3 server on loopback that discards what it checked.")
    parser.add_argument("--port", type=int, default=0, help="0 (default) takes a free one")
    parser.add_argument("--bucket", default="bench", help="exists from the start")
    options = parser.parse_args()
    shelf = Shelf()
    shelf.create_bucket(options.bucket)
    listener = socket.create_server(("127.0.0.1", options.port), backlog=256)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    # One that found no idle thread would wait for another client to leave; s5cmd comes with 256 at once.
    threads, thread = ThreadPoolExecutor(CONNECTIONS), threading.local()
    while True:
        connection, _ = listener.accept()
        threads.submit(serve, shelf, connection, thread).add_done_callback(show_failure)


if __name__ == "__main__":
    main()
