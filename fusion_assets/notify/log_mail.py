"""Mails of the toolkit's own warnings: `toolkit_error`.

What belongs here: a handler for our own loggers, which gathers what they write and posts it, the same message once a
day. What does not: what is logged, and how often mails go out (`mailbox`).

It never raises, never holds up whoever logs (a thread of its own posts), and never mails about mailing: what that
thread logs is passed over, and so is whatever the modules that mail log in any other.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fusion_assets.config import Config
from fusion_assets.notify.mailbox import Mailbox, cooldown_seconds
from fusion_assets.notify.origin import here
from fusion_assets.notify.own_errors import LogLine, toolkit_error_message
from fusion_assets.notify.recipients import Event

OWN_LOGGERS = ("cli", "definitions", "fusion_assets", "resources", "schedules", "sensors")

_MAILING = ("fusion_assets.notify", "resources.smtp")
# A cooldown of minutes says how often mails go out; that the same thing still happens is worth one of them a day.
_SAME_AGAIN = timedelta(days=1)
_GATHER_SECONDS = 1.0
_EXIT_SECONDS = 15.0
_MAX_KEPT = 500
_KEY = 200

_CHANGING = re.compile(
    r"\d{4}[-/]\d\d[-/]\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"  # moments
    r"|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|0x[0-9a-fA-F]+"  # runs, addresses
    r"|(?<!\w)\d[\d.,:]*(?=[A-Za-z%]{0,3}(?!\w))"  # numbers with their units, but not those in a study's name
)


def install_log_mail(
    config: Config, *, smtp_env: Path | None = None, all_at_exit: bool = False, mailbox: Mailbox | None = None
) -> LogMail | None:
    """Mail what our own loggers warn of, from now on until this process ends.

    Args:
        config: The lab.
        smtp_env: ``--smtp-env``; None for the usual chain.
        all_at_exit: Whether what waits for the cooldown is sent when this process ends: after a command, nobody may be
            there to send it; after a run of the daemon, its sensors are.
        mailbox: The mailbox of this process; None for one of its own.

    Returns:
        The handler, the one that is there already if this was called before for this lab, or one in the place of
        another lab's; None when mails are switched off.
    """
    if not config.notify.enabled:
        return None
    for handler in [each for each in logging.getLogger(OWN_LOGGERS[0]).handlers if isinstance(each, LogMail)]:
        if handler.config == config:
            return handler
        handler.close()
    made = LogMail(config, mailbox or Mailbox(config, smtp_env=smtp_env), all_at_exit=all_at_exit)
    for name in OWN_LOGGERS:
        logger = logging.getLogger(name)
        if logging.lastResort and not logger.hasHandlers():
            logger.addHandler(logging.lastResort)  # it prints what no handler takes, which ours does from now on
        logger.addHandler(made)
    return made


class LogMail(logging.Handler):
    """Posts warnings and errors; `logging` flushes and closes it when the process ends.

    Args:
        config: The lab.
        mailbox: Where to post.
        all_at_exit: See `install_log_mail`.
        clock: Tells the time, with a time zone.
    """

    def __init__(
        self,
        config: Config,
        mailbox: Mailbox,
        *,
        all_at_exit: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(logging.WARNING)
        self.config = config
        self._mailbox = mailbox
        self._all_at_exit = all_at_exit
        self._clock = clock
        self._pending: dict[str, LogLine] = {}
        self._repeated: Counter[str] = Counter()
        self._posted = False
        self._guard = threading.Lock()
        self._hurry = threading.Event()
        self._worker: threading.Thread | None = None
        self._here = threading.local()

    def createLock(self) -> None:  # noqa: N802 - logging's name
        """Have none: `logging` holds it while it closes us at exit, and our thread may log while that waits for it."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record; it is posted a moment later, with what else comes."""
        if getattr(self._here, "mailing", False) or record.name.startswith(_MAILING):
            return
        try:
            self._take(record)
        except Exception:  # noqa: BLE001 - logging's own rule: what goes wrong here is printed, never raised
            self.handleError(record)

    def flush(self) -> None:
        """Post what was taken, and wait for that; for as long as a person waits for a command to end."""
        self._hurry.set()
        with self._guard:
            worker = self._worker
        if worker and worker is not threading.current_thread():
            worker.join(_EXIT_SECONDS)
        self._post()
        self._hurry.clear()

    def close(self) -> None:
        """Post what was taken, and take no more."""
        for name in OWN_LOGGERS:
            logging.getLogger(name).removeHandler(self)
        self.flush()
        if self._posted and self._all_at_exit:
            self._quietly(lambda: self._mailbox.deliver(at_once=True))
        super().close()

    def _take(self, record: logging.LogRecord) -> None:
        says = record.getMessage()
        key = f"log:{record.levelname}:{record.name}:{normalised(says)}"
        if record.exc_info:
            says = f"{says}\n{logging.Formatter().formatException(record.exc_info)}"
        with self._guard:
            if known := self._pending.get(key):
                self._pending[key] = replace(known, count=known.count + 1)
            elif len(self._pending) < _MAX_KEPT:
                self._pending[key] = LogLine(record.levelname, record.name, says, self._clock())
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="log-mail", daemon=True)
                self._worker.start()

    def _work(self) -> None:
        while True:
            self._hurry.wait(_GATHER_SECONDS)
            self._post()
            with self._guard:
                if not self._pending:
                    self._worker = None
                    return

    def _post(self) -> None:
        with self._guard:
            lines, self._pending = self._pending, {}
        if lines:
            self._quietly(lambda: self._post_lines(lines))

    def _post_lines(self, lines: Mapping[str, LogLine]) -> None:
        counted = {key: replace(line, count=line.count + self._repeated[key]) for key, line in lines.items()}
        cooldown = timedelta(seconds=cooldown_seconds(self.config, Event.TOOLKIT_ERROR))
        posted = self._mailbox.post(
            Event.TOOLKIT_ERROR,
            dict.fromkeys(lines, ""),
            lambda new: toolkit_error_message([counted[key] for key in new], here(self.config, self._clock())),
            keep=max(cooldown, _SAME_AGAIN),
        )
        self._posted = True
        for key, line in lines.items():
            if key in posted.new:
                del self._repeated[key]
            elif key in self._repeated or len(self._repeated) < _MAX_KEPT:
                self._repeated[key] += line.count

    def _quietly(self, action: Callable[[], object]) -> None:
        self._here.mailing = True
        try:
            with suppress(Exception):
                action()
        finally:
            self._here.mailing = False


def normalised(message: str) -> str:
    """What stays the same when the same thing is logged again: the message without moments, runs and numbers.

    Args:
        message: As it was logged.

    Returns:
        At most 200 characters. Names of studies stay as they are.
    """
    return _CHANGING.sub("#", message)[:_KEY]
