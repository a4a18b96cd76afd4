"""Mails against real servers: protected, logged in, refused, broken off; and where the credentials come from."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.errors import AccessDeniedError, NotFoundError, ResourceError, UnavailableError
from resources.smtp import (
    Mail,
    Refusal,
    Security,
    SmtpClient,
    SmtpSettings,
    SmtpSettingsError,
    credentials,
    is_address,
)
from tests.notify.mail_servers import (
    PASSWORD,
    USER,
    Authority,
    Inbox,
    free_port,
    make_authority,
    server,
    starttls_server,
)

# Servers that take logins without STARTTLS are what some tests are about; aiosmtpd warns of each.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

MAIL = Mail(
    "fusion@lab.example", ("ops@lab.example", "boss@lab.example"), "备份 failed", "第一行\nline 2\n", "<p>行</p>"
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"))


def settings(port: int, security: Security = Security.STARTTLS, password: str = PASSWORD) -> SmtpSettings:
    return SmtpSettings("127.0.0.1", port, security, USER if password else "", password, origin="smtp.env")


def test_a_mail_arrives_whole_over_starttls_after_a_login(authority: Authority) -> None:
    with starttls_server(authority) as inbox:
        refused = SmtpClient(settings(inbox.port), context=authority.client_context()).send(MAIL)

    assert refused == {}
    assert inbox.logins == [True]
    assert inbox.envelopes == [("fusion@lab.example", ["ops@lab.example", "boss@lab.example"])]
    (mail,) = inbox.mails
    assert mail["Subject"] == "备份 failed"
    assert mail["To"] == "ops@lab.example, boss@lab.example"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"] is not None
    assert mail["Message-ID"].endswith("@lab.example>")
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert text.get_content().splitlines() == ["第一行", "line 2"]
    assert html is not None
    assert html.get_content().strip() == "<p>行</p>"
    assert inbox.raw[0].isascii(), "a relay without 8BITMIME would mangle it"


def test_a_mail_arrives_over_implicit_tls(authority: Authority) -> None:
    with server(ssl_context=authority.server_context(), auth_required=True, auth_require_tls=False) as inbox:
        SmtpClient(settings(inbox.port, Security.TLS), context=authority.client_context()).send(MAIL)
    assert len(inbox.mails) == 1
    assert inbox.logins == [True]


def test_a_relay_inside_the_campus_needs_neither_tls_nor_login() -> None:
    with server() as inbox:
        SmtpClient(settings(inbox.port, Security.NONE, password="")).send(MAIL)
    assert len(inbox.mails) == 1


def test_a_wrong_password_is_said_to_be_refused_without_repeating_it(authority: Authority) -> None:
    with starttls_server(authority) as inbox:
        wrong = settings(inbox.port, password="s3cret-word")
        with pytest.raises(AccessDeniedError, match=r"refused the login of fusion@lab\.example: 535") as caught:
            SmtpClient(wrong, context=authority.client_context()).send(MAIL)
    assert inbox.mails == []
    assert False in inbox.logins
    assert "s3cret-word" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {wrong!r} {wrong}"
    assert "smtp.env" in str(caught.value)


def test_a_server_nobody_vouches_for_gets_neither_the_password_nor_the_mail(authority: Authority) -> None:
    with starttls_server(authority) as inbox:
        with pytest.raises(SmtpSettingsError, match=r"certificate of .* is not trusted.*nothing was sent"):
            SmtpClient(settings(inbox.port)).send(MAIL)
        assert inbox.logins == []
        assert inbox.mails == []


def test_implicit_tls_is_verified_too(authority: Authority) -> None:
    with server(ssl_context=authority.server_context(), auth_required=True, auth_require_tls=False) as inbox:
        with pytest.raises(SmtpSettingsError, match="not trusted"):
            SmtpClient(settings(inbox.port, Security.TLS)).send(MAIL)
        assert inbox.logins == []


def test_a_certificate_for_another_server_is_not_accepted(tmp_path: Path) -> None:
    elsewhere = make_authority(tmp_path, address="192.0.2.1")
    with starttls_server(elsewhere) as inbox:
        with pytest.raises(SmtpSettingsError, match="not trusted"):
            SmtpClient(settings(inbox.port), context=elsewhere.client_context()).send(MAIL)
        assert inbox.logins == []


def test_a_stripped_starttls_does_not_make_us_send_the_password_in_the_clear(authority: Authority) -> None:
    with server(auth_required=True, auth_require_tls=False) as inbox:
        with pytest.raises(SmtpSettingsError, match="offers no STARTTLS; nothing was sent"):
            SmtpClient(settings(inbox.port), context=authority.client_context()).send(MAIL)
        assert inbox.logins == []


def test_tls_spoken_to_a_port_that_waits_for_starttls_says_which_port_goes_with_which(authority: Authority) -> None:
    with starttls_server(authority) as inbox, pytest.raises(SmtpSettingsError, match=r"starttls goes with port 587"):
        SmtpClient(settings(inbox.port, Security.TLS), context=authority.client_context()).send(MAIL)


def test_a_login_at_a_relay_that_knows_none_says_what_to_remove(authority: Authority) -> None:
    with (
        server(ssl_context=authority.server_context()) as inbox,
        pytest.raises(SmtpSettingsError, match=r"offers no login \| hint: remove FUSION_SMTP_USER"),
    ):
        SmtpClient(settings(inbox.port, Security.TLS), context=authority.client_context()).send(MAIL)


def test_a_server_that_wants_a_login_says_so_when_we_have_none(authority: Authority) -> None:
    with starttls_server(authority) as inbox, pytest.raises(AccessDeniedError, match="wants a login: 530"):
        SmtpClient(settings(inbox.port, password=""), context=authority.client_context()).send(MAIL)


def test_a_server_that_is_down_can_be_tried_again() -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:\d+ cannot be reached: Connection refused"):
        SmtpClient(settings(free_port())).send(MAIL)


def test_a_host_that_does_not_exist_is_named() -> None:
    unknown = SmtpSettings("mail.invalid", 25, Security.NONE)
    with pytest.raises(UnavailableError, match=r"mail\.invalid:25 cannot be reached"):
        SmtpClient(unknown).send(MAIL)


def test_a_host_name_dns_cannot_spell_is_a_wrong_setting() -> None:
    with pytest.raises(SmtpSettingsError, match="FUSION_SMTP_HOST"):
        SmtpClient(SmtpSettings("a" * 70, 25, Security.NONE)).send(MAIL)


@contextlib.contextmanager
def silent_server(*, hang_up: bool) -> Iterator[int]:
    """Accepts connections and says nothing, or hangs up at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                if hang_up:
                    connection.close()
                else:
                    held.append(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)
        for connection in held:
            connection.close()


def test_a_server_that_says_nothing_does_not_hold_up_the_night() -> None:
    with silent_server(hang_up=False) as port, pytest.raises(UnavailableError, match="did not answer in time"):
        SmtpClient(settings(port), timeout=0.3).send(MAIL)


def test_a_server_that_hangs_up_can_be_tried_again() -> None:
    with silent_server(hang_up=True) as port, pytest.raises(UnavailableError, match="broke off"):
        SmtpClient(settings(port), timeout=5).send(MAIL)


def test_one_refused_recipient_does_not_keep_the_mail_from_the_others() -> None:
    with server(Inbox(refuse={"boss@lab.example": "550 5.1.1 no such user"})) as inbox:
        refused = SmtpClient(settings(inbox.port, Security.NONE, password="")).send(MAIL)
    assert refused == {"boss@lab.example": Refusal("550 5.1.1 no such user", for_good=True)}
    assert inbox.envelopes == [("fusion@lab.example", ["ops@lab.example"])]


@pytest.mark.parametrize(("reply", "for_good"), [("550 5.1.1 no such user", True), ("451 greylisted", False)])
def test_of_each_refused_recipient_it_is_said_whether_to_try_again(reply: str, for_good: bool) -> None:
    with server(Inbox(refuse=dict.fromkeys(MAIL.recipients, reply))) as inbox:
        refused = SmtpClient(settings(inbox.port, Security.NONE, password="")).send(MAIL)
    assert refused == dict.fromkeys(MAIL.recipients, Refusal(reply, for_good))


@pytest.mark.parametrize(("reply", "error"), [("421 closing", UnavailableError), ("530 login", AccessDeniedError)])
def test_a_server_that_ends_the_session_or_wants_a_login_says_nothing_about_recipients(
    reply: str, error: type[ResourceError]
) -> None:
    with (
        server(Inbox(refuse=dict.fromkeys(MAIL.recipients, reply))) as inbox,
        pytest.raises(ResourceError, match=f"refused every recipient: ops@lab.example: {reply}") as caught,
    ):
        SmtpClient(settings(inbox.port, Security.NONE, password="")).send(MAIL)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("reply", "error"), [("552 5.3.4 too large", ResourceError), ("452 4.3.1 disk full", UnavailableError)]
)
def test_a_mail_refused_after_it_was_sent_is_not_taken_for_delivered(reply: str, error: type[ResourceError]) -> None:
    with server(Inbox(data_reply=reply)) as inbox, pytest.raises(ResourceError, match=reply) as caught:
        SmtpClient(settings(inbox.port, Security.NONE, password="")).send(MAIL)
    assert type(caught.value) is error


def test_a_rude_goodbye_after_the_mail_was_taken_is_no_failure_or_it_would_be_sent_twice() -> None:
    with server(Inbox(hangs_up=True)) as inbox:
        SmtpClient(settings(inbox.port, Security.NONE, password="")).send(MAIL)
    assert len(inbox.mails) == 1


def test_names_with_line_breaks_and_broken_bytes_neither_forge_headers_nor_stop_the_mail() -> None:
    mail = Mail("a@b", ("c@d",), "study\r\nBcc: thief@evil\udcff", "body \udcff\x07 end", "<p>\udcff</p>")
    with server() as inbox:
        SmtpClient(settings(inbox.port, Security.NONE, password="")).send(mail)
    (received,) = inbox.mails
    assert received["Bcc"] is None
    assert received["Subject"] == "study Bcc: thief@evil\\udcff"
    assert inbox.envelopes == [("a@b", ["c@d"])]


@pytest.mark.parametrize("recipients", [(), ("no address",), ("a@b\nBcc: c@d",), ("ops@lab", "<x@y>")])
def test_a_mail_to_nobody_or_to_something_else_cannot_be_made(recipients: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"recipient|not a mail address"):
        Mail("a@b", recipients, "s", "t")


GOOD = ["ops@lab", "first.last+fusion@sub.uni-x.edu", "o'neil@x.org", "x" * 64 + "@y.org"]
BAD = ["", "ops", "@lab", "ops@", "a b@c", "a@b c", ".a@b", "a..b@c", "a@-b", "a@b-.c",
       "ops\uff20lab.org", "ops@lab\u3002org",
       "a@b@c", "Ops <ops@lab>", "a@b,", "a@b\n", "x" * 65 + "@y.org", "a@" + "b" * 64, "a@" + "b.c" * 90]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_addresses_labs_have_are_accepted(text: str) -> None:
    assert is_address(text)


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_address_is_not_mailed(text: str) -> None:
    assert not is_address(text)


# Where the settings come from


def write(folder: Path, text: str) -> Path:
    file = folder / "smtp.env"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "FUSION_SMTP_USER=file@lab.org\nFUSION_SMTP_APP_PASSWORD=file\n")
    environ = {"FUSION_SMTP_USER": "env@lab.org", "FUSION_SMTP_APP_PASSWORD": "abcd efgh"}
    found = credentials(file, environ)
    assert found == SmtpSettings(user="env@lab.org", password="abcdefgh", origin="the environment")
    assert (found.host, found.port, found.security) == ("smtp.gmail.com", 587, Security.STARTTLS)
    assert found.from_address == "env@lab.org"


def test_a_file_as_people_write_it_is_read(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "\ufeff# mail\n\nexport FUSION_SMTP_USER = 'me@gmail.com'\nOTHER=1\n"
        'FUSION_SMTP_APP_PASSWORD="abcd\u00a0efgh ijkl mnop"  # from Google\n',
    )
    found = credentials(file, {})
    assert found is not None
    assert (found.user, found.password, found.origin) == ("me@gmail.com", "abcdefghijklmnop", str(file))
    assert "abcd" not in repr(found)


def test_the_password_of_the_file_never_goes_to_the_server_of_the_environment(tmp_path: Path) -> None:
    file = write(tmp_path, "FUSION_SMTP_USER=me@gmail.com\nFUSION_SMTP_APP_PASSWORD=secret\n")
    found = credentials(file, {"FUSION_SMTP_HOST": "127.0.0.1", "FUSION_SMTP_PORT": "2525"})
    assert found is not None
    assert (found.host, found.port, found.user, found.password) == ("127.0.0.1", 2525, "", "")


@pytest.mark.parametrize(
    ("values", "port", "security"),
    [
        ({}, 587, Security.STARTTLS),
        ({"FUSION_SMTP_SECURITY": "TLS"}, 465, Security.TLS),
        ({"FUSION_SMTP_SECURITY": "none"}, 25, Security.NONE),
        ({"FUSION_SMTP_PORT": "465"}, 465, Security.TLS),
        ({"FUSION_SMTP_PORT": "465", "FUSION_SMTP_SECURITY": "starttls"}, 465, Security.STARTTLS),
        ({"FUSION_SMTP_PORT": "2525"}, 2525, Security.STARTTLS),
    ],
)
def test_port_and_protection_follow_from_each_other(values: dict[str, str], port: int, security: Security) -> None:
    found = credentials(None, {"FUSION_SMTP_HOST": "relay.lab.org", **values})
    assert found is not None
    assert (found.port, found.security) == (port, security)
    assert is_address(found.from_address)


def test_nothing_said_anywhere_is_no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert credentials(None, {}) is None
    assert credentials(None, {"FUSION_SMTP_USER": " ", "FUSION_SMTP_PORT": "25"}) is None
    assert credentials(write(tmp_path, "# FUSION_SMTP_USER=\nFUSION_SMTP_USER=\n"), {}) is None


def test_the_default_file_is_found_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    folder = tmp_path / ".config" / "fusion-toolkit"
    folder.mkdir(parents=True)
    write(folder, "FUSION_SMTP_USER=me@lab.org\nFUSION_SMTP_APP_PASSWORD=x\n")
    found = credentials(None, {})
    assert found is not None
    assert found.user == "me@lab.org"


def test_a_file_that_was_named_and_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"nowhere\.env"):
        credentials(tmp_path / "nowhere.env", {})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("FUSION_SMTP_USER=me@lab.org", "FUSION_SMTP_APP_PASSWORD is not"),
        ("FUSION_SMTP_APP_PASSWORD=S3CRET", "FUSION_SMTP_USER is not"),
        ("FUSION_SMTP_USER=me\nFUSION_SMTP_APP_PASSWORD S3CRET", "line 2 is not NAME=value"),
        ("FUSION_SMTP_USER=me\nFUSION_SMTP_PASSWORD=S3CRET", "line 2: unknown FUSION_SMTP_PASSWORD"),
        ("FUSION_SMTP_HOST=a b", "not the name of a server"),
        ("FUSION_SMTP_HOST=a\nFUSION_SMTP_PORT=smtp", "must be a number"),
        ("FUSION_SMTP_HOST=a\nFUSION_SMTP_PORT=70000", "between 1 and 65535"),
        ("FUSION_SMTP_HOST=a\nFUSION_SMTP_SECURITY=ssl", "must be starttls, tls or none"),
        ("FUSION_SMTP_HOST=a\nFUSION_SMTP_SENDER=nobody", "not a mail address"),
        ("FUSION_SMTP_HOST=a\nFUSION_SMTP_USER=m\nFUSION_SMTP_APP_PASSWORD=S3CRETä", "ASCII"),
        (
            "FUSION_SMTP_HOST=a\nFUSION_SMTP_SECURITY=none\nFUSION_SMTP_USER=m\nFUSION_SMTP_APP_PASSWORD=S3CRET",
            "send the password unprotected",
        ),
    ],
)
def test_a_wrong_file_is_explained_without_its_password(tmp_path: Path, text: str, complaint: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(SmtpSettingsError, match=complaint) as caught:
        credentials(file, {})
    assert str(file) in str(caught.value)
    assert "S3CRET" not in f"{caught.value!r}{caught.value}"


def test_a_file_of_powershell_in_utf16_is_named(tmp_path: Path) -> None:
    file = tmp_path / "smtp.env"
    file.write_bytes("FUSION_SMTP_USER=me@lab.org".encode("utf-16"))
    with pytest.raises(SmtpSettingsError, match="not UTF-8"):
        credentials(file, {})


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="'\"#"), min_size=1))
def test_any_password_survives_the_file(tmp_path_factory: pytest.TempPathFactory, password: str) -> None:
    file = tmp_path_factory.mktemp("env") / "smtp.env"
    file.write_text(f"FUSION_SMTP_HOST=relay\nFUSION_SMTP_USER=me\nFUSION_SMTP_APP_PASSWORD={password}\n")
    found = credentials(file, {})
    assert found is not None
    assert found.password == password
    assert "password" not in repr(found)
