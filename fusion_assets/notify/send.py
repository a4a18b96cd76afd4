"""Sending the mail of an event, as a result and never as an exception: a mail must not hurt the work it reports on.

What belongs here: from event and message to the mail that goes out, and the sentence for the log when none does. What
does not: the words (`messages`), the subscribers (`recipients`), the connection (`resources.smtp`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fusion_assets.config import Config
from fusion_assets.notify.letter import Message
from fusion_assets.notify.recipients import Event, Subscribers, recipients_folder, subscribers
from resources.errors import AccessDeniedError, NotFoundError, ResourceError, UnavailableError
from resources.smtp import Mail, SmtpClient
from resources.smtp_settings import DEFAULT_ENV_FILE, PASSWORD, USER, SmtpSettings, SmtpSettingsError, credentials


class Reason(StrEnum):
    """Why no mail went out."""

    DISABLED = "disabled"
    NOBODY = "nobody"
    NO_CREDENTIALS = "no_credentials"
    SETTINGS = "settings"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    UNEXPECTED = "unexpected"


@dataclass(frozen=True, slots=True)
class Sent:
    """A mail went out.

    Attributes:
        recipients: Whom the server took it for.
        problems: A sentence for everything a person should put right: bad lines, refused recipients.
    """

    recipients: tuple[str, ...]
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"mail sent to {', '.join(self.recipients)}"


@dataclass(frozen=True, slots=True)
class NotSent:
    """No mail went out.

    Attributes:
        reason: Why, for programs.
        sentence: Why, for the log.
        problems: As in `Sent`.
    """

    reason: Reason
    sentence: str
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"no mail sent: {self.sentence}"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A mail that is ready to go, and the server it would go to."""

    mail: Mail
    settings: SmtpSettings
    problems: tuple[str, ...]


def notify(config: Config, event: Event, message: Message, *, smtp_env: Path | None = None) -> Sent | NotSent:
    """Mail an event to its subscribers, if mails are switched on. Never raises.

    Args:
        config: The lab.
        event: What happened.
        message: What to say of it.
        smtp_env: ``--smtp-env``; None for the usual chain.
    """
    if not config.notify.enabled:
        return NotSent(Reason.DISABLED, "[notify] enabled is false")
    try:
        prepared = prepare(config, event, message, smtp_env=smtp_env)
        return prepared if isinstance(prepared, NotSent) else deliver(prepared)
    except Exception as error:  # noqa: BLE001 - a backup that went well must not fail because its mail did
        return NotSent(Reason.UNEXPECTED, f"unexpected {type(error).__name__}: {error}")


def prepare(
    config: Config, event: Event, message: Message, *, smtp_env: Path | None = None, message_id: str = ""
) -> Prepared | NotSent:
    """Everything but the sending, whether mails are switched on or not. Arguments are those of `notify` and `Mail`."""
    found = subscribers(recipients_folder(config), event)
    if not found.addresses:
        return NotSent(Reason.NOBODY, _nobody(config, found), found.problems)
    try:
        settings = credentials(smtp_env)
    except ResourceError as error:
        return NotSent(Reason.SETTINGS, str(error), found.problems)
    if settings is None:
        file = smtp_env or DEFAULT_ENV_FILE
        sentence = f"no mail credentials | hint: set {USER} and {PASSWORD} in the environment or in {file}"
        return NotSent(Reason.NO_CREDENTIALS, sentence, found.problems)
    sender = settings.from_address
    mail = Mail(sender, found.addresses, message.subject, message.text, message.html, message_id)
    return Prepared(mail, settings, found.problems)


def deliver(prepared: Prepared) -> Sent | NotSent:
    """Hand a prepared mail to its server.

    Args:
        prepared: From `prepare`.
    """
    try:
        refused = SmtpClient(prepared.settings).send(prepared.mail)
    except ResourceError as error:
        return NotSent(_reason(error), str(error), prepared.problems)
    taken = tuple(address for address in prepared.mail.recipients if address not in refused)
    remarks = tuple(f"{address} was refused: {said}" for address, said in refused.items())
    return Sent(taken, prepared.problems + remarks)


def _nobody(config: Config, found: Subscribers) -> str:
    folder = recipients_folder(config)
    return (
        f"nobody subscribed to {found.event.value} | hint: add an address to {folder / f'{found.event.value}.txt'} or "
        f"{folder / 'default.txt'}"
    )


def _reason(error: ResourceError) -> Reason:
    if isinstance(error, UnavailableError):
        return Reason.UNAVAILABLE
    if isinstance(error, SmtpSettingsError | NotFoundError):
        return Reason.SETTINGS
    return Reason.REFUSED if isinstance(error, AccessDeniedError) else Reason.UNEXPECTED
