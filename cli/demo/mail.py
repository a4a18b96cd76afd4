"""The mail server of the demonstration: takes every mail on 127.0.0.1 and passes none on.

What belongs here: keeping the mails as files one can open. What does not: anything a real mail server does; it knows
no login and no TLS, and is not meant for real mail.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cli.demo.servers import ServerError
from resources.smtp_settings import HOST, PASSWORD, PORT, SECURITY, SENDER, USER

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, Envelope, Session

_ADDRESS = "127.0.0.1"


@contextmanager
def mail_server(folder: Path, port: int) -> Iterator[dict[str, str]]:
    """A mail server that writes what it receives as ``1.eml``, ``2.eml``, … behind those that are already there.

    Args:
        folder: Where the mails go; made if missing.
        port: On 127.0.0.1.

    Yields:
        The environment in which our mails go there, and no credentials of the person who runs the demonstration count.

    Raises:
        ServerError: It did not start.
    """
    try:
        from aiosmtpd.controller import Controller
    except ImportError as error:
        raise ServerError("the mail server is missing | hint: pip install 'fusion-toolkit[demo]'") from error
    folder.mkdir(parents=True, exist_ok=True)
    controller = Controller(_Folder(folder), hostname=_ADDRESS, port=port)
    try:
        controller.start()
    except (OSError, TimeoutError) as error:
        raise ServerError(f"the mail server did not start on {_ADDRESS}:{port}: {error}") from error
    try:
        yield {HOST: _ADDRESS, PORT: str(port), SECURITY: "none", USER: "", PASSWORD: "", SENDER: ""}
    finally:
        controller.stop()


class _Folder:
    """aiosmtpd's handler. All its calls come from one thread, so that numbering needs no lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last = max((int(file.stem) for file in folder.glob("*.eml") if file.stem.isdecimal()), default=0)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802 - aiosmtpd's
        """Keep one mail."""
        self._last += 1
        content = envelope.content
        data = content if isinstance(content, bytes) else str(content).encode()
        with (self._folder / f"{self._last}.eml").open("xb") as file:
            file.write(data)
        return f"250 kept as {self._last}.eml"
