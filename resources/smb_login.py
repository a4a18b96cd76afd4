"""Logging in to an SMB server: the one place where `smbprotocol` is used.

What belongs here: connect, negotiate SMB 3, authenticate, connect to the share, and hand over what was agreed upon.
What does not: everything after that (`smb_channel`).

`smbprotocol` knows NTLM, Kerberos and the key derivations; its data path costs five to ten times what ours does
(`smb_packets` says why), so the socket changes hands once the share is connected.
"""

from __future__ import annotations

import logging
import socket
import struct
import uuid
from dataclasses import dataclass

from smbprotocol.connection import Ciphers, Connection, SigningAlgorithms
from smbprotocol.exceptions import SMBException, SMBResponseException
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect

from resources.errors import AccessDeniedError, NotMountedError, ResourceError, UnavailableError, described
from resources.smb import SmbServer
from resources.smb_errors import StatusError, translated
from resources.smb_protection import Keys

# The library logs what it also raises, with a traceback; without a handler Python would print that to the terminal.
logging.getLogger("smbprotocol").addHandler(logging.NullHandler())

_CONNECT_SECONDS = 15
_CREDITS = 512  # 64 KiB each: eight requests of 4 MiB in flight
_LARGE = 1 << 20  # the least that Windows and Samba offer; listings ask for as much
_UNBUFFERED_SINCE = 0x0302


@dataclass(frozen=True, slots=True)
class Login:
    """A share we are logged in to.

    Attributes:
        socket: Connected; nobody else reads or writes it.
        keys: To sign and to encrypt with.
        encrypt: Whether messages are encrypted, or only signed.
        session: The session's id.
        tree: The id of the connected share.
        message_id: The next one to use.
        credits: How many we have.
        max_request: The most bytes one READ or WRITE may carry.
        unbuffered: Whether the server knows unbuffered reads (SMB 3.0.2).
    """

    socket: socket.socket
    keys: Keys
    encrypt: bool
    session: int
    tree: int
    message_id: int
    credits: int
    max_request: int
    unbuffered: bool


class _HandedOver:
    """Stands in for a connection's transport: still sends for it, but tells its reading thread that all is read.

    That thread looks up the transport before each message. So one last message, sent after the exchange, ends it, and
    the socket is ours.
    """

    connected = True

    def __init__(self, transport: object) -> None:
        self._transport = transport

    def send(self, message: object) -> None:
        self._transport.send(message)  # type: ignore[attr-defined]  # smbprotocol has no types

    def recv(self, timeout: float) -> bytes:  # noqa: ARG002 - the library passes it
        return b""

    def close(self) -> None:
        self.connected = False


def log_in(server: SmbServer, share: str) -> Login:
    """Connect to a share.

    Args:
        server: Where, and as whom.
        share: The share's name.

    Raises:
        UnavailableError: Nobody answers there.
        AccessDeniedError: The account is refused, or the server will not encrypt.
        NotMountedError: There is no such share.
        ResourceError: The server is too old, or offers too little.
    """
    place = f"//{server.host}/{share}"
    connection = Connection(uuid.uuid4(), server.host, server.port, require_signing=True)
    try:
        _negotiate(connection, server)
        return _authenticate(connection, server, share)
    except SMBResponseException as error:
        raise _refused(StatusError(error.status), server, place) from error
    except SMBException as error:
        raise _failed(error, server, place) from error
    except (OSError, ValueError, LookupError, struct.error) as error:
        # Not reached, or what answers is no SMB server and the library stumbles over it.
        raise UnavailableError(
            f"cannot reach an SMB server at {server.host} port {server.port}: {described(error)}; check the "
            "name, the network and the firewall",
            path=place,
        ) from error
    finally:
        # Closes the socket unless it was handed over.
        if getattr(connection, "transport", None) is not None:
            connection.disconnect(close=False)


def _negotiate(connection: Connection, server: SmbServer) -> None:
    """Agree on SMB 3: without HMAC-SHA256 among the algorithms, SMB 2 is not even offered."""
    connection.connect(
        timeout=_CONNECT_SECONDS,
        preferred_encryption_algos=[Ciphers.AES_128_GCM, Ciphers.AES_128_CCM, Ciphers.AES_256_GCM],
        preferred_signing_algos=[SigningAlgorithms.AES_GMAC, SigningAlgorithms.AES_CMAC],
    )
    if not connection.supports_multi_credit or connection.max_transact_size < _LARGE:
        raise ResourceError(
            f"{server.host} takes no requests of {_LARGE} bytes, which SMB 3 servers do by default; raise its limits "
            "(Samba: smb2 max trans, smb2 max read, smb2 max write)",
            path=server.host,
        )
    if server.encrypt and not connection.supports_encryption:
        raise AccessDeniedError(
            f"{server.host} does not encrypt; switch SMB 3 encryption on there, or set encrypt = false for it in "
            "config.toml (messages stay signed)",
            path=server.host,
        )


def _authenticate(connection: Connection, server: SmbServer, share: str) -> Login:
    session = Session(connection, server.username or None, server.password or None, require_encryption=server.encrypt)
    session.connect()
    tree = TreeConnect(session, rf"\\{server.host}\{share}")
    tree.connect()
    if tree.is_dfs_share:
        raise NotMountedError(
            f"//{server.host}/{share} is a DFS namespace; write the file server and its share instead",
            path=f"//{server.host}/{share}",
        )
    taken = _take_over(connection, session)
    return Login(
        socket=taken,
        keys=Keys(
            session=session.session_id,
            gcm=connection.cipher_id in {Ciphers.AES_128_GCM, Ciphers.AES_256_GCM},
            gmac=connection.signing_algorithm_id == SigningAlgorithms.AES_GMAC,
            encryption=session.encryption_key,
            decryption=session.decryption_key,
            signing=session.signing_key,
        ),
        encrypt=bool(session.encrypt_data or tree.encrypt_data),
        session=session.session_id,
        tree=tree.tree_connect_id,
        message_id=connection.sequence_window["low"],
        credits=connection.sequence_window["high"] - connection.sequence_window["low"],
        max_request=min(connection.max_read_size, connection.max_write_size),
        unbuffered=connection.dialect >= _UNBUFFERED_SINCE,
    )


def _take_over(connection: Connection, session: Session) -> socket.socket:
    """End the library's reading thread and take its socket; asks for credits on the way."""
    transport = connection.transport
    connection.transport = _HandedOver(transport)
    try:
        connection.echo(sid=session.session_id, timeout=_CONNECT_SECONDS, credit_request=_CREDITS)
    except BaseException:
        connection.transport = transport  # to be closed with the connection
        raise
    taken: socket.socket = transport._sock  # noqa: SLF001 - the library offers no other way to its socket
    taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return taken


def _refused(error: StatusError, server: SmbServer, place: str) -> ResourceError:
    return translated(error, f"log in as {server.username or 'the current user'} to", place)


def _failed(error: SMBException, server: SmbServer, place: str) -> ResourceError:
    """What the library says itself: authentication, guests, or a connection that broke off."""
    text = str(error)
    if "guest" in text or "authenticate" in text.lower():
        return AccessDeniedError(
            f"{server.host} does not accept the account {server.username!r}; check username and password_env",
            path=place,
        )
    return UnavailableError(f"cannot log in to {place}: {text}; check that it is an SMB 3 server", path=place)
