"""Sending a mail: the connection, its protection, and what a server's refusals mean.

What belongs here: one mail to one server, as Gmail, a campus relay or a test's own server want it. What does not: where
the server and the login come from (`resources.smtp_settings`), who is told what, and when (the notify room).

A password leaves this machine only inside TLS whose certificate was verified, and is in no message and no repr.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid

from resources.errors import AccessDeniedError, ResourceError, UnavailableError, described
from resources.smtp_settings import (
    GMAIL,
    HOST,
    PASSWORD,
    PORT,
    SECURITY,
    USER,
    Security,
    SmtpSettings,
    SmtpSettingsError,
    credentials,
    is_address,
)

__all__ = [
    "Mail",
    "Refusal",
    "Security",
    "SmtpClient",
    "SmtpSettings",
    "SmtpSettingsError",
    "credentials",
    "is_address",
]

# Long enough for a relay that greets slowly on purpose (greylisting waits 10 s), short enough to end a nightly run.
TIMEOUT_SECONDS = 30.0

_MAX_REPLY = 300  # characters of a server's answer that a log line needs
_WANTS_LOGIN = (530, 535)
_CLOSING = 421
_PERMANENT = 500  # RFC 5321, 4.2.1: replies from here on are refusals, 4xx may be cured by trying again


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail.

    Attributes:
        sender: The address it comes from.
        recipients: The addresses it goes to; at least one.
        subject: One line; line breaks in it become spaces.
        text: What it says.
        html: The same for readers of HTML; None for text only.
        message_id: The part of the Message-ID before the ``@``; empty for a new one. A mail that is handed over again,
            since nobody knows whether it was taken, is recognised by it.

    Raises:
        ValueError: There is no recipient, or one is not an address (`is_address`).
    """

    sender: str
    recipients: tuple[str, ...]
    subject: str
    text: str
    html: str | None = None
    message_id: str = ""

    def __post_init__(self) -> None:
        if not self.recipients:
            raise ValueError("a mail needs a recipient")
        for address in (self.sender, *self.recipients):
            if not is_address(address):
                raise ValueError(f"{address!r} is not a mail address")


@dataclass(frozen=True, slots=True)
class Refusal:
    """That a server did not take a mail for one recipient.

    Attributes:
        said: Its answer.
        for_good: Whether trying again is of no use; else it asks to wait: greylisting, or a mailbox that is full.
    """

    said: str
    for_good: bool


class SmtpClient:
    """Sends mails through one server, each over a connection of its own.

    Args:
        settings: The server.
        context: What is trusted; None for the system's certificates (``SSL_CERT_FILE`` replaces them), names verified.
        timeout: Seconds that every answer of the server may take.
    """

    def __init__(
        self, settings: SmtpSettings, *, context: ssl.SSLContext | None = None, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        self._settings = settings
        self._context = context or ssl.create_default_context()
        self._timeout = timeout

    def send(self, mail: Mail) -> dict[str, Refusal]:
        """Hand one mail to the server.

        Args:
            mail: The mail.

        Returns:
            The recipients the server refused, perhaps all of them; it took the mail for the others.

        Raises:
            UnavailableError: The server did not answer, broke off, or asks to try again later.
            AccessDeniedError: It refused the login, or wants one.
            SmtpSettingsError: It does not speak as the settings say, or its certificate is not trusted.
            ResourceError: It refused the mail.
        """
        message = _compose(mail)
        with _translated(self._settings), self._session() as server:
            try:
                refused = server.send_message(message, from_addr=mail.sender, to_addrs=list(mail.recipients))
            except smtplib.SMTPRecipientsRefused as error:
                if _is_about_all_mails(error):
                    raise
                refused = error.recipients
        return {
            address: Refusal(_said(code, reply), for_good=code >= _PERMANENT)
            for address, (code, reply) in refused.items()
        }

    @contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        """A connection, protected and logged in."""
        server = self._connect()
        try:
            self._secure(server)
            yield server
            # The mail was taken; whatever happens to the goodbye, sending it again would be wrong.
            with suppress(smtplib.SMTPException, OSError):
                server.quit()
        finally:
            server.close()

    def _connect(self) -> smtplib.SMTP:
        settings = self._settings
        if settings.security is Security.TLS:
            return smtplib.SMTP_SSL(
                settings.host, settings.port, _greeting(), timeout=self._timeout, context=self._context
            )
        return smtplib.SMTP(settings.host, settings.port, _greeting(), timeout=self._timeout)

    def _secure(self, server: smtplib.SMTP) -> None:
        settings, where = self._settings, _where(self._settings)
        server.ehlo_or_helo_if_needed()
        if settings.security is Security.STARTTLS:
            if not server.has_extn("starttls"):
                raise SmtpSettingsError(
                    f"{where} offers no STARTTLS; nothing was sent | hint: set {SECURITY} to tls (port 465), or to "
                    f"none for a relay inside the campus"
                )
            server.starttls(context=self._context)
            server.ehlo()
        if settings.user:
            if not server.has_extn("auth"):
                raise SmtpSettingsError(f"{where} offers no login | hint: remove {USER} and {PASSWORD} for this relay")
            server.login(settings.user, settings.password)


def _compose(mail: Mail) -> EmailMessage:
    # 7bit: a relay need not know 8BITMIME to pass on Chinese text whole.
    message = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    message["From"] = mail.sender
    message["To"] = ", ".join(mail.recipients)
    message["Subject"] = " ".join(_encodable(mail.subject).split())
    message["Date"] = formatdate(localtime=True)
    domain = mail.sender.rpartition("@")[2]
    message["Message-ID"] = f"<{mail.message_id}@{domain}>" if mail.message_id else make_msgid(domain=domain)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday reply to a machine
    message.set_content(_encodable(mail.text))
    if mail.html is not None:
        message.add_alternative(_encodable(mail.html), subtype="html")
    return message


def _encodable(text: str) -> str:
    """File names that are not UTF-8 arrive as lone surrogates, and control characters break headers."""
    shown = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(char if char.isprintable() or char in "\n\t" else " " for char in shown)


def _greeting() -> str:
    """What we call ourselves. A Windows host may have a name that SMTP cannot spell; RFC 5321, 4.1.4 has a way out."""
    name = socket.getfqdn()
    return name if "." in name and re.fullmatch(r"[A-Za-z0-9.-]+", name) else "[127.0.0.1]"


def _where(settings: SmtpSettings) -> str:
    return f"the mail server {settings.host}:{settings.port}"


def _said(code: int, reply: bytes | str) -> str:
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    return f"{code} {' '.join(text.split())}"[:_MAX_REPLY].strip()


@contextmanager
def _translated(settings: SmtpSettings) -> Iterator[None]:
    """Turn smtplib's and the system's exceptions into ours."""
    try:
        yield
    except smtplib.SMTPException as error:
        raise _refusal(error, settings) from error
    except (OSError, UnicodeError) as error:
        raise _no_connection(error, settings) from error


def _refusal(error: smtplib.SMTPException, settings: SmtpSettings) -> ResourceError:
    """What a server's answer, or its silence, means."""
    where = _where(settings)
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return _no_session(error, where)
    if isinstance(error, smtplib.SMTPResponseException):
        return _no(error, settings)
    if isinstance(error.__context__, TimeoutError):  # how smtplib tells of a server that fell silent
        return _no_connection(error.__context__, settings)
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return UnavailableError(f"{where} broke off: {described(error)}")
    return ResourceError(f"{where} cannot be used: {described(error)}")


def _is_about_all_mails(error: smtplib.SMTPRecipientsRefused) -> bool:
    """Whether it is the session that the server ends or wants opened, in answer to the first recipient it was told."""
    return any(code in (*_WANTS_LOGIN, _CLOSING) for code, _ in error.recipients.values())


def _no_session(error: smtplib.SMTPRecipientsRefused, where: str) -> ResourceError:
    replies = "; ".join(f"{address}: {_said(*reply)}" for address, reply in error.recipients.items())
    sentence = f"{where} refused every recipient: {replies}"
    if any(code == _CLOSING for code, _ in error.recipients.values()):
        return UnavailableError(sentence)
    return AccessDeniedError(f"{sentence} | hint: it wants a login: set {USER} and {PASSWORD}")


def _no(error: smtplib.SMTPResponseException, settings: SmtpSettings) -> ResourceError:
    where, said = _where(settings), _said(error.smtp_code, error.smtp_error)
    if error.smtp_code < _PERMANENT:
        return UnavailableError(f"{where} asks to try again later: {said}")
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return AccessDeniedError(f"{where} refused the login of {settings.user}: {said} | hint: {_hint(settings)}")
    if error.smtp_code in _WANTS_LOGIN:
        return AccessDeniedError(f"{where} wants a login: {said} | hint: set {USER} and {PASSWORD}")
    return ResourceError(f"{where} refused the mail: {said}")


def _hint(settings: SmtpSettings) -> str:
    place = f"check {USER} and {PASSWORD}" + (f" in {settings.origin}" if settings.origin else "")
    return f"{place}; Gmail wants an app password, not the account's" if settings.host == GMAIL else place


def _no_connection(error: OSError | UnicodeError, settings: SmtpSettings) -> ResourceError:
    """What it means that no connection, or no protected one, came about."""
    where = _where(settings)
    if isinstance(error, ssl.SSLCertVerificationError):
        return SmtpSettingsError(
            f"the certificate of {where} is not trusted: {error.verify_message}; nothing was sent | hint: name your "
            f"certificate authority's file in SSL_CERT_FILE"
        )
    if isinstance(error, ssl.SSLError):
        return SmtpSettingsError(
            f"{where} and we agree on no TLS: {error.reason or error} | hint: {SECURITY}=starttls goes with port 587, "
            f"tls with 465"
        )
    if isinstance(error, UnicodeError):
        return SmtpSettingsError(f"{settings.host!r} is not the name of a server | hint: check {HOST}")
    if isinstance(error, TimeoutError):
        return UnavailableError(f"{where} did not answer in time | hint: check {HOST}, {PORT} and the firewall")
    return UnavailableError(f"{where} cannot be reached: {error.strerror or error}")
