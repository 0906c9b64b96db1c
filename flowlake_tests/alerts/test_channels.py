"""Channels against real servers on the loopback: what arrives, what refusals mean, and that secrets stay secret."""

from __future__ import annotations

import json
import logging
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

import pytest

from flowlake.alerts.channels import ChannelDown, NotConfigured, Rejected, Unaccepted, configured, open_channels
from flowlake.alerts.channels.email import EmailChannel
from flowlake.alerts.channels.other import AppriseChannel, ConsoleChannel
from flowlake.alerts.channels.push import PushoverChannel, TelegramChannel
from flowlake.alerts.message import Message
from flowlake.alerts.sample import sample_message
from flowlake.settings import AlertSettings, EmailSettings, PushoverSettings, Settings, TelegramSettings
from flowlake_tests.alerts.mail_server import PASSWORD, USER, MailServer

NOW = datetime(2026, 6, 1, 20, 30, tzinfo=UTC)
SECRET = "tok-3n-s3cr3t"


def message(**more: Any) -> Message:
    facts: dict[str, Any] = {
        "message_id": "<a.1.email@alerts.flowlake.invalid>",
        "thread_id": "<a.1.email@alerts.flowlake.invalid>",
        "subject": "EXTREME 8.5 · ABC",
        "text": "plain words",
        "html": '<p>words</p><img src="cid:factors">',
        "title": "EXTREME 8.5 · ABC",
        "body": "4,000 <calls> & more",
        "date": NOW,
        "link": "https://example.com/daily.html#event-1",
    }
    return Message(**(facts | more))


# --- mail -------------------------------------------------------------------------------------------------------------


def smtp(port: int, **more: Any) -> EmailSettings:
    plain = {"host": "127.0.0.1", "port": port, "security": "none", "recipients": "a@example.com, B <b@example.com>"}
    return EmailSettings(**(plain | {"sender": "flowlake <flow@example.com>", "timeout_seconds": 5} | more))


def test_a_mail_arrives_with_text_html_and_pictures(mail_server: MailServer):
    EmailChannel(smtp(mail_server.port)).send(message(pictures={"factors": b"\x89PNG-1"}))
    mail = mail_server.mails[0]
    assert (mail["Subject"], mail["Message-ID"]) == ("EXTREME 8.5 · ABC", "<a.1.email@alerts.flowlake.invalid>")
    assert mail["To"] == "a@example.com, B <b@example.com>"
    assert mail["In-Reply-To"] is None
    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
    ]
    picture = list(mail.walk())[-1]
    assert picture["Content-ID"] == "<factors>"
    assert picture.get_payload(decode=True) == b"\x89PNG-1"


def test_an_update_refers_to_its_thread(mail_server: MailServer):
    EmailChannel(smtp(mail_server.port)).send(message(message_id="<a.2.email@x.invalid>", reply=True))
    mail = mail_server.mails[0]
    assert mail["In-Reply-To"] == mail["References"] == "<a.1.email@alerts.flowlake.invalid>"


def test_names_cannot_add_headers_or_reorder_a_subject(mail_server: MailServer):
    hostile = "A\r\nBcc: thief@example.com\r\n\r\nbody\u202eCBA\x00" + "W" * 300
    EmailChannel(smtp(mail_server.port)).send(message(subject=hostile))
    mail = mail_server.mails[0]
    assert mail["Bcc"] is None
    assert mail["Subject"].startswith("A Bcc: thief@example.com body")
    assert len(mail["Subject"]) <= 200
    assert not {"\u202e", "\x00", "\n"} & set(mail["Subject"])


@pytest.mark.parametrize(("answer", "kind"), [("451 later", Unaccepted), ("552 too big", Rejected)])
def test_what_the_server_answers_decides_whether_it_is_tried_again(
    answer: str, kind: type[Exception], mail_server: MailServer
):
    mail_server.answers = [answer]
    channel = EmailChannel(smtp(mail_server.port))
    with pytest.raises(kind, match=answer):
        channel.send(message())
    channel.send(message())
    assert len(mail_server.mails) == 1


def test_a_recipient_that_is_refused_does_not_cost_the_others_their_mail(mail_server: MailServer):
    mail_server.refused_recipients = {"b@example.com"}
    assert EmailChannel(smtp(mail_server.port)).send(message()) == "refused for b@example.com"
    mail_server.refused_recipients.add("a@example.com")
    with pytest.raises(Rejected, match="550"):
        EmailChannel(smtp(mail_server.port)).send(message())


def test_a_server_that_is_down_is_named_and_works_once_it_is_up(mail_server: MailServer):
    channel = EmailChannel(smtp(mail_server.port))
    mail_server.stop()
    with pytest.raises(ChannelDown, match=str(mail_server.port)):
        channel.send(message())
    mail_server.start()
    channel.send(message())
    assert len(mail_server.mails) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    extra = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command, *extra], check=True, capture_output=True)
    return key, cert


@pytest.fixture
def secure_server(certificate: tuple[Path, Path]) -> Iterator[MailServer]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate[1], certificate[0])
    server = MailServer(tls=tls, auth=True)
    server.start()
    yield server
    server.stop()


def test_starttls_with_a_login(secure_server: MailServer, certificate: tuple[Path, Path]):
    trusted = ssl.create_default_context(cafile=str(certificate[1]))
    login = smtp(secure_server.port, security="starttls", username=USER, password=PASSWORD)
    channel = EmailChannel(login, trusted)
    assert "STARTTLS" in channel.check()
    assert secure_server.mails == [], "checking sends nothing"
    channel.send(message())
    assert len(secure_server.mails) == 1


def test_a_wrong_password_is_a_matter_of_settings_and_is_not_repeated(
    secure_server: MailServer, certificate: tuple[Path, Path]
):
    trusted = ssl.create_default_context(cafile=str(certificate[1]))
    login = smtp(secure_server.port, security="starttls", username=USER, password="wrong-" + SECRET)
    with pytest.raises(ChannelDown, match="USERNAME") as caught:
        EmailChannel(login, trusted).send(message())
    assert SECRET not in str(caught.value)


def test_a_certificate_nobody_vouches_for_is_refused(secure_server: MailServer):
    login = smtp(secure_server.port, security="starttls", username=USER, password=PASSWORD)
    with pytest.raises(ChannelDown, match="certificate"):
        EmailChannel(login).send(message())
    assert secure_server.mails == []


# --- push -------------------------------------------------------------------------------------------------------------


class Calls(BaseHTTPRequestHandler):
    """Keeps every request; answers what the test put in `replies`, by the end of the path."""

    seen: ClassVar[list[tuple[str, str]]] = []
    replies: ClassVar[list[tuple[int, Any]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
        self.seen.append((self.path, body))
        status, content = self.replies.pop(0) if self.replies else (200, {"ok": True, "status": 1, "result": {}})
        answer = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def web_server(*replies: tuple[int, Any]) -> Iterator[tuple[str, type[Calls]]]:
    handler = type("Handler", (Calls,), {"seen": [], "replies": list(replies)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
    finally:
        server.shutdown()
        server.server_close()


def pushover(url: str) -> PushoverChannel:
    return PushoverChannel(PushoverSettings(base_url=url, token=SECRET, user="u1"))  # pyright: ignore[reportArgumentType]


def telegram(url: str) -> TelegramChannel:
    return TelegramChannel(TelegramSettings(base_url=url, token=SECRET, chat_id="-42"))  # pyright: ignore[reportArgumentType]


def test_pushover_gets_title_body_link_and_priority():
    with web_server() as (url, calls):
        pushover(url).send(message(urgent=True))
    path, body = calls.seen[0]
    form = {name: values[0] for name, values in parse_qs(body).items()}
    assert path == "/1/messages.json"
    assert (form["token"], form["user"], form["priority"]) == (SECRET, "u1", "1")
    assert (form["title"], form["message"]) == ("EXTREME 8.5 · ABC", "4,000 <calls> & more")
    assert form["url"].endswith("#event-1")


def test_telegram_gets_one_text_in_which_nothing_is_markup_but_ours():
    with web_server() as (url, calls):
        telegram(url).send(message(title="<script>alert(1)</script>"))
    path, body = calls.seen[0]
    sent = json.loads(body)
    assert path == f"/bot{SECRET}/sendMessage"
    assert sent["text"].startswith("<b>&lt;script&gt;alert(1)&lt;/script&gt;</b>\n4,000 &lt;calls&gt; &amp; more")
    assert (sent["chat_id"], sent["disable_notification"]) == ("-42", True)


@pytest.mark.parametrize("channel", [pushover, telegram])
@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (429, {"ok": False, "description": "Too Many Requests", "errors": []}, ChannelDown),
        (503, "gone", ChannelDown),
        (400, {"ok": False, "description": "message is too long", "errors": ["message is too long"]}, Rejected),
        (401, {"ok": False, "description": "Unauthorized", "errors": ["application token is invalid"]}, ChannelDown),
    ],
)
def test_what_a_push_service_answers_decides_whether_it_is_tried_again(
    channel: Any, status: int, content: Any, kind: type[Exception]
):
    with web_server((status, content)) as (url, _), pytest.raises(kind) as caught:
        channel(url).send(message())
    assert str(status) in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("channel", [pushover, telegram])
def test_an_unreachable_service_never_shows_the_token(channel: Any, caplog: pytest.LogCaptureFixture):
    with web_server() as (url, _):
        working = channel(url)
        with caplog.at_level(logging.INFO, "flowlake"):
            working.check()
    with pytest.raises(ChannelDown, match=r"127\.0\.0\.1 cannot be reached") as caught:
        working.send(message())
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r} {caplog.text}"


def test_checking_sends_no_message():
    with web_server((200, {"ok": True, "result": {"username": "flow_bot"}})) as (url, calls):
        assert "@flow_bot" in telegram(url).check()
        assert "accepts" in pushover(url).check()
    assert [path.rsplit("/", 1)[1] for path, _ in calls.seen] == ["getMe", "getChat", "validate.json"]


def test_apprise_reaches_any_service_it_knows():
    with web_server() as (url, calls):
        channel = AppriseChannel(url.replace("http", "json"))
        channel.send(message())
    sent = json.loads(calls.seen[0][1])
    assert sent["title"] == "EXTREME 8.5 · ABC"
    assert "4,000 <calls> & more" in sent["message"]
    with pytest.raises(ChannelDown, match="apprise-json"):
        channel.send(message())


def test_every_apprise_url_is_a_channel_of_its_own_and_its_name_hides_it():
    urls = f"json://127.0.0.1:9/{SECRET}, mailto://u:{SECRET}@example.com?to=a@x.com,b@x.com"
    opened = open_channels(AlertSettings(channels="apprise", apprise_urls=urls))  # pyright: ignore[reportArgumentType]
    assert [name.split("-")[1] for name in opened] == ["json", "mailto"]
    assert SECRET not in str(list(opened))


def test_an_apprise_url_nobody_knows_is_refused_without_being_shown():
    with pytest.raises(ChannelDown) as caught:
        AppriseChannel(f"nosuch://{SECRET}").check()
    assert SECRET not in str(caught.value)


# --- choosing ---------------------------------------------------------------------------------------------------------


def test_configured_channels_are_those_with_settings():
    chosen = AlertSettings(
        email=EmailSettings(host="mail.example.com", recipients="a@example.com"),
        telegram=TelegramSettings(token=SECRET, chat_id="1"),  # pyright: ignore[reportArgumentType]
    )
    assert configured(chosen) == ["email", "telegram"]
    assert list(open_channels(chosen)) == ["email", "telegram"]
    assert open_channels(AlertSettings()) == {}


@pytest.mark.parametrize(
    ("channels", "words"),
    [("email", "EMAIL__HOST"), ("pushover", "PUSHOVER__TOKEN"), ("telegram", "TELEGRAM__TOKEN"), ("apprise", "APPRISE"),
     ("carrier-pigeon", "unknown carrier-pigeon")],
)  # fmt: skip
def test_a_channel_without_its_settings_names_them(channels: str, words: str):
    with pytest.raises(NotConfigured, match=words):
        open_channels(AlertSettings(channels=channels))


def test_mail_without_recipients_names_the_setting():
    with pytest.raises(NotConfigured, match="RECIPIENTS"):
        EmailChannel(EmailSettings(host="mail.example.com"))


def test_secrets_never_show_in_settings():
    shown = Settings(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        alerts=AlertSettings(
            email=EmailSettings(password=SECRET),  # pyright: ignore[reportArgumentType]
            pushover=PushoverSettings(token=SECRET, user=SECRET),  # pyright: ignore[reportArgumentType]
            telegram=TelegramSettings(token=SECRET),  # pyright: ignore[reportArgumentType]
            apprise_urls=SECRET,  # pyright: ignore[reportArgumentType]
        ),
    )
    assert SECRET not in repr(shown) + shown.model_dump_json()


def test_the_sample_is_marked_as_a_test_in_every_form():
    printed: list[str] = []
    sample = sample_message(Settings(_env_file=None), "console", NOW)  # pyright: ignore[reportCallIssue]
    ConsoleChannel(printed.append).send(sample)
    assert "TEST" in printed[0].splitlines()[0]
    assert all(word in sample.title + sample.body for word in ("TEST", "invented"))
