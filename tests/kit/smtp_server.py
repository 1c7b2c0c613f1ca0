"""A real SMTP server on loopback that keeps the mails it gets, and refuses whom it is told to."""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from receiver.core.types import MessageStyle, Target


class Mailbox:
    """What an SMTP server was given; refuses the recipients in `refused` for good, and those in `busy` for now."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.logins: list[tuple[str, bytes, bytes]] = []  # mechanism, user, password; every one is taken
        self.raw: list[bytes] = []
        self.refused: set[str] = set()
        self.busy: set[str] = set()
        self.recipients: list[list[str]] = []  # of each mail, as its envelope has them

    async def handle_RCPT(  # noqa: N802  # aiosmtpd calls it so
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return "550 5.1.1 no such user"
        if address in self.busy:
            return "450 4.2.0 come later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.raw.append(envelope.content)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients.append(sorted(envelope.rcpt_tos))
        return "250 OK"

    def take_login(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: object
    ) -> AuthResult:
        assert isinstance(given, LoginPassword)
        self.logins.append((mechanism, given.login, given.password))
        return AuthResult(success=True)


@asynccontextmanager
async def mailbox(
    user: str = "", *, needs_tls: bool = False, only: str | None = None
) -> AsyncIterator[tuple[Mailbox, Target]]:
    """A running mail server, and a target that mails through it; `user` (as in a URL) logs in if the server allows it.

    The server knows the mechanisms LOGIN and PLAIN, or `only` one of them.
    """
    box = Mailbox()
    loop = asyncio.get_running_loop()
    hidden = {"LOGIN", "PLAIN"} - {only} if only else ()

    def make_session() -> SMTP:
        return SMTP(
            *(box,),
            hostname="localhost",
            loop=loop,
            authenticator=box.take_login,
            auth_require_tls=needs_tls,
            auth_exclude_mechanism=hidden,
        )

    server = await loop.create_server(make_session, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"mailto://{user and user + '@'}127.0.0.1:{port}?from=pings@example.com&to=ann@example.com&cc=bob@example.com"
    try:
        yield box, Target(name="mail", url=url, style=MessageStyle.EMAIL)
    finally:
        server.close()
        await server.wait_closed()
