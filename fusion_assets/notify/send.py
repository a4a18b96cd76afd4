"""Sending the mail of an event, as a result and never as an exception: a mail must not hurt the work it reports on.

What belongs here: from event and message to the mail that goes out, and the sentence for the log when none does. What
does not: the words (`messages`), the subscribers (`recipients`), the connection (`resources.smtp`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from fusion_assets.config import Config
from fusion_assets.notify.letter import Message
from fusion_assets.notify.recipients import Event, Subscribers, recipients_folder, subscribers
from resources.errors import AccessDeniedError, NotFoundError, ResourceError, UnavailableError
from resources.smtp import Mail, Refusal, SmtpClient
from resources.smtp_settings import DEFAULT_ENV_FILE, PASSWORD, USER, SmtpSettings, SmtpSettingsError, credentials


class Reason(StrEnum):
    """Why no mail went out."""

    DISABLED = "disabled"
    NOBODY = "nobody"
    NO_CREDENTIALS = "no_credentials"
    SETTINGS = "settings"
    REFUSED = "refused"
    NO_RECIPIENT_TAKEN = "no_recipient_taken"
    UNAVAILABLE = "unavailable"
    UNEXPECTED = "unexpected"


@dataclass(frozen=True, slots=True)
class Sent:
    """A mail went out.

    Attributes:
        recipients: Whom the server took it for.
        problems: A sentence for everything a person should put right.
        refused: The recipients it refused, for good or for now.
    """

    recipients: tuple[str, ...]
    problems: tuple[str, ...] = ()
    refused: Mapping[str, Refusal] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"mail sent to {', '.join(self.recipients)}"


@dataclass(frozen=True, slots=True)
class NotSent:
    """No mail went out.

    Attributes:
        reason: Why, for programs.
        sentence: Why, for the log.
        problems: As in `Sent`.
        refused: As in `Sent`.
    """

    reason: Reason
    sentence: str
    problems: tuple[str, ...] = ()
    refused: Mapping[str, Refusal] = field(default_factory=dict)

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
    config: Config,
    event: Event,
    message: Message,
    *,
    smtp_env: Path | None = None,
    message_id: str = "",
    only: Collection[str] = (),
) -> Prepared | NotSent:
    """Everything but the sending, whether mails are switched on or not. Arguments are those of `notify` and `Mail`.

    Args:
        config: The lab.
        event: What happened.
        message: What to say of it.
        smtp_env: As of `notify`.
        message_id: As of `Mail`.
        only: Of the subscribers those that are still to get it; empty for all.
    """
    found = subscribers(recipients_folder(config), event)
    addresses = tuple(address for address in found.addresses if not only or address in only)
    if not addresses:
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
    mail = Mail(sender, addresses, message.subject, message.text, message.html, message_id)
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
    remarks = {address: f"{address} {_spoken(refusal)}" for address, refusal in refused.items()}
    problems = prepared.problems + tuple(remarks.values())
    taken = tuple(address for address in prepared.mail.recipients if address not in refused)
    if taken:
        return Sent(taken, problems, refused)
    where = f"the mail server {prepared.settings.host}:{prepared.settings.port}"
    sentence = f"{where} took it for nobody: {'; '.join(remarks.values())}"
    return NotSent(Reason.NO_RECIPIENT_TAKEN, sentence, problems, refused)


def _spoken(refusal: Refusal) -> str:
    return f"was refused: {refusal.said}" if refusal.for_good else f"gets it later, as the server asks: {refusal.said}"


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
