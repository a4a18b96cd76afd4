"""The mail server and its login: what they may be, and the chain of places where they are found.

What belongs here: the variables, the dotenv file, and what cannot be meant. What does not: connecting
(`resources.smtp`). A password is in no message and no repr.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path

from resources.errors import NotFoundError, ResourceError

USER, PASSWORD = "FUSION_SMTP_USER", "FUSION_SMTP_APP_PASSWORD"
HOST, PORT, SECURITY, SENDER = "FUSION_SMTP_HOST", "FUSION_SMTP_PORT", "FUSION_SMTP_SECURITY", "FUSION_SMTP_SENDER"
VARIABLES = (USER, PASSWORD, HOST, PORT, SECURITY, SENDER)

GMAIL = "smtp.gmail.com"
DEFAULT_ENV_FILE = Path("~/.config/fusion-toolkit/smtp.env")

_MAX_ADDRESS = 254  # RFC 5321, 4.5.3.1.3
_MAX_PORT = 65535

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"(?=.{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_HOST = re.compile(r"[A-Za-z0-9_.:-]{1,253}")


class SmtpSettingsError(ResourceError):
    """The mail settings cannot be used as they stand; only a person can change that."""


class Security(StrEnum):
    """How the connection is protected."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


_DEFAULT_PORTS = {Security.STARTTLS: 587, Security.TLS: 465, Security.NONE: 25}


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """A mail server and, where it wants one, a login.

    Attributes:
        host: Its name or address.
        port: Its port.
        security: How the connection is protected.
        user: Who logs in; empty for a relay that asks for no login.
        password: Their (app) password.
        sender: The address mails come from; empty for `user`, or one of this host.
        origin: Where these settings were read, for messages.

    Raises:
        SmtpSettingsError: They cannot be used.
    """

    host: str = GMAIL
    port: int = 587
    security: Security = Security.STARTTLS
    user: str = ""
    password: str = field(default="", repr=False)
    sender: str = ""
    origin: str = ""

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise SmtpSettingsError(f"{self.origin}: {problem}" if self.origin else problem, path=self.origin)

    def _problem(self) -> str:
        if not _HOST.fullmatch(self.host):
            return f"{HOST} {self.host!r} is not the name of a server"
        if not 1 <= self.port <= _MAX_PORT:
            return f"{PORT} must be between 1 and {_MAX_PORT}, not {self.port}"
        if bool(self.user) != bool(self.password):
            given, missing = (USER, PASSWORD) if self.user else (PASSWORD, USER)
            return f"{given} is set, {missing} is not | hint: both are needed, at the same place"
        if not (self.user.isascii() and self.password.isascii()):
            return f"{USER} and {PASSWORD} may hold ASCII characters only | hint: type the password, do not paste it"
        if self.user and self.security is Security.NONE:
            return f"{SECURITY}=none would send the password unprotected | hint: use starttls or tls, or no {USER}"
        if self.sender and not is_address(self.sender):
            return f"{SENDER} {self.sender!r} is not a mail address"
        return ""

    @property
    def from_address(self) -> str:
        """The address mails come from."""
        if self.sender:
            return self.sender
        if is_address(self.user):
            return self.user
        here = f"fusion-toolkit@{socket.getfqdn()}"
        return here if is_address(here) else "fusion-toolkit@localhost"


def is_address(text: str) -> bool:
    """Whether `text` is a mail address as labs have them: ASCII, no quotes, no display name (RFC 5321 dot-string)."""
    return len(text) <= _MAX_ADDRESS and _ADDRESS.fullmatch(text) is not None


def credentials(smtp_env: Path | None = None, environ: Mapping[str, str] | None = None) -> SmtpSettings | None:
    """Find the mail settings: those of the environment, else those of the dotenv file.

    One place says everything; two are never mixed, or the password of one server would be sent to another.

    Args:
        smtp_env: The dotenv file; None for ``~/.config/fusion-toolkit/smtp.env``.
        environ: The environment; None for this process's.

    Returns:
        The settings; None when neither place names a user or a host.

    Raises:
        NotFoundError: `smtp_env` was named and is not there.
        SmtpSettingsError: What is said cannot be used; the message names the place and the variable.
    """
    surroundings = os.environ if environ is None else environ
    from_environment = {name: surroundings[name].strip() for name in VARIABLES if surroundings.get(name, "").strip()}
    if _says_something(from_environment):
        return _settings(from_environment, "the environment")
    file = (smtp_env or DEFAULT_ENV_FILE).expanduser()
    try:
        values = _read_dotenv(file)
    except FileNotFoundError:
        if smtp_env is None:
            return None
        raise NotFoundError(f"{file}: there is no such file of mail credentials", path=str(file)) from None
    return _settings(values, str(file)) if _says_something(values) else None


def _says_something(values: Mapping[str, str]) -> bool:
    return any(values.get(name) for name in (USER, PASSWORD, HOST))


def _settings(values: Mapping[str, str], origin: str) -> SmtpSettings:
    port_text, security_text = values.get(PORT, ""), values.get(SECURITY, "").lower()
    if port_text and not (port_text.isascii() and port_text.isdigit()):
        raise SmtpSettingsError(f"{origin}: {PORT} must be a number, not {port_text!r}", path=origin)
    if security_text and security_text not in set(Security):
        raise SmtpSettingsError(
            f"{origin}: {SECURITY} must be starttls, tls or none, not {security_text!r}", path=origin
        )
    implied = Security.TLS if port_text == "465" else Security.STARTTLS  # 465 never speaks before TLS (RFC 8314)
    security = Security(security_text) if security_text else implied
    host, password = values.get(HOST) or GMAIL, values.get(PASSWORD, "")
    if host == GMAIL:
        # Google shows app passwords in four groups, and copying them brings no-break spaces along.
        password = "".join(password.split())
    return SmtpSettings(
        host=host,
        port=int(port_text or _DEFAULT_PORTS[security]),
        security=security,
        user=values.get(USER, ""),
        password=password,
        sender=values.get(SENDER, ""),
        origin=origin,
    )


def _read_dotenv(file: Path) -> dict[str, str]:
    """Our variables in a dotenv file. A line that cannot be read is named by number only: it may hold a password."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SmtpSettingsError(f"{file}: cannot be read: {reason}", path=str(file)) from None
    values: dict[str, str] = {}
    for number, raw in enumerate(lines, start=1):
        line = raw.strip().removeprefix("export ")
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise SmtpSettingsError(f"{file}: line {number} is not NAME=value", path=str(file))
        name = name.strip()
        if name in VARIABLES:
            values[name] = _unquoted(value.strip())
        elif name.startswith("FUSION_SMTP_"):
            nearest = get_close_matches(name, VARIABLES, n=1, cutoff=0)[0]
            raise SmtpSettingsError(
                f"{file}: line {number}: unknown {name} | hint: did you mean {nearest}?", path=str(file)
            )
    return values


def _unquoted(value: str) -> str:
    if value[:1] in {'"', "'"}:
        end = value.find(value[0], 1)
        return value[1:end] if end > 0 else value
    return re.split(r"\s+#", value, maxsplit=1)[0]
