"""Builds the service: makes every part from the settings and connects them, as one async context."""

import contextlib
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from msgspec import Struct

from receiver import __version__, config
from receiver.clocks import boot_clock, wall_clock
from receiver.config import Network, Settings
from receiver.core.budgets import BudgetRules
from receiver.core.clock_check import ClockWatch
from receiver.core.types import Clock, Policy, PollReply, PollResult, SubmitAnswer, SubmitResult
from receiver.notify.dispatch import NoticeDispatcher
from receiver.notify.senders.sender import AppriseSender, MessageSender
from receiver.pictures.addresses import FetchAllowlist
from receiver.pictures.archive import PictureArchiver
from receiver.pictures.contact_sheets import ContactSheets
from receiver.pictures.drawing.process import DrawingProcess, DrawSheet
from receiver.pictures.files import ArchiveFiles
from receiver.pictures.shared_folder import warn_of_other_folder
from receiver.pictures.signed_links import SignedLinks
from receiver.providers.echoes import EchoRedactor
from receiver.providers.lazy import LazyProvider
from receiver.providers.registry import Provider, default_adapter
from receiver.service.roles import ServiceRole
from receiver.store import Store, open_store
from receiver.store.postgres.place import PostgresPlace
from receiver.tasks.batch_ends import finish_closed
from receiver.tasks.batches import BatchControl
from receiver.tasks.budget_check import BudgetCheck
from receiver.tasks.copied_database import pause_if_copied
from receiver.tasks.follow import FollowLoop
from receiver.tasks.ingest import CallbackIngest
from receiver.tasks.intake import TaskIntake
from receiver.tasks.picks import PickControl
from receiver.tasks.submit import SubmitLoop
from receiver.tasks.sweep import SweepLoop
from receiver.telemetry.metrics import Metrics
from receiver.tokens import Ring
from receiver.upkeep.retention import RetentionPruner

SEND_TIMEOUT_S = 30
SENDERS_SHARED = 8  # messages that a process of several sends at once, so that the first one does not take them all
PRUNER_POOL = 2  # connections
BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
MACHINE_ID_FILE = Path("/etc/machine-id")

log = logging.getLogger(__name__)


class ServiceParts(Struct, frozen=True, kw_only=True, eq=False):
    """Every part of the service, connected. `api_tokens` open the API; sizes are bytes, spans seconds."""

    role: ServiceRole
    store: Store
    ring: Ring
    policy: Policy
    clock: Clock
    metrics: Metrics
    budget: BudgetCheck
    ingest: CallbackIngest
    intake: TaskIntake
    batches: BatchControl
    picks: PickControl
    submit: SubmitLoop
    follow: FollowLoop
    sweep: SweepLoop
    notify: NoticeDispatcher
    archive: PictureArchiver
    prune: RetentionPruner
    sender: MessageSender
    files: ArchiveFiles
    links: SignedLinks
    draw: DrawSheet
    echoes: EchoRedactor
    api_tokens: tuple[str, ...]
    password_hash: Callable[[], str | None]  # of the pages' password, None without one; raises SettingsError
    public_url: str
    max_body: int
    body_timeout_s: float
    trusted_proxies: tuple[Network, ...] = ()

    @property
    def loops(self) -> tuple[SubmitLoop, FollowLoop, SweepLoop, NoticeDispatcher, PictureArchiver, RetentionPruner]:
        """The loops that the worker runs."""
        return self.submit, self.follow, self.sweep, self.notify, self.archive, self.prune


class _KeylessProvider:
    """Stands in for the provider if there is no key: sends nothing, answers nothing."""

    async def submit(self, model: str, params: bytes, callback: str | None) -> SubmitAnswer:
        return SubmitAnswer(SubmitResult.NOT_SENT, "there is no provider key")

    async def poll(self, task_id: str) -> PollReply:
        return PollReply(PollResult.NOTHING, "there is no provider key")


def read_boot_id() -> str:
    """Names this start of the machine; empty if that is unknown. Our units hide the file, and pass what it says."""
    try:
        found = BOOT_ID_FILE.read_text("utf-8").strip()
    except (OSError, ValueError):
        found = os.environ.get("BOOT_ID", "")
    return found.replace("-", "")  # systemd's has none


def read_machine() -> str:
    """Names this machine, as a hash; empty if that is unknown, as in most containers."""
    try:
        found = MACHINE_ID_FILE.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
    return hashlib.sha256(f"receiver/machine/1:{found}".encode()).hexdigest()[:32] if found else ""


def shared_clock(store: Store, clock: Clock) -> Clock:
    """The clock that all processes over the store's database go by; one that was handed in wins."""
    return store.clock if clock is wall_clock and store.clock is not None else clock


async def _watch_clock(store: Store, clock: Clock, boot: Clock | None, *, asked: bool = False) -> ClockWatch:
    """The watch over `clock`, with what an earlier process stored. A clock that was handed in is its own measure.

    What a process over a shared database stored is of another machine, so it says nothing here.
    """
    boot = boot or (boot_clock if clock is wall_clock or clock == store.clock else clock)
    stored = None if store.shared else await store.clock_checks.load()
    return ClockWatch(clock, boot, boot_id=read_boot_id(), stored=stored, asked=asked)


def _locate_database(settings: Settings, role: ServiceRole, pool: int | None = None) -> Path | PostgresPlace:
    """Where the database is, and what this process says of itself there. Raises SettingsError without its driver."""
    path = settings.sqlite_file
    if path is not None:
        return path
    config.refuse_missing_driver()
    return PostgresPlace(
        url=settings.database_url,
        listen_url=settings.database_listen_url,
        pool=pool or settings.pool,
        role=role.value,
        targets=tuple(target.name for target in settings.targets),
        version=__version__,
    )


def choose_senders(settings: Settings, store: Store) -> int | None:
    """How many messages this process sends at once at most, each to another target; None: as the dispatcher has it."""
    return settings.senders or (SENDERS_SHARED if store.shared else None)


@contextlib.asynccontextmanager
async def open_parts(
    settings: Settings,
    *,
    role: ServiceRole = ServiceRole.ALL,
    clock: Clock = wall_clock,
    boot: Clock | None = None,
    sender: MessageSender | None = None,
    provider: Provider | None = None,
) -> AsyncIterator[ServiceParts]:
    """The parts, with the database open and migrated. What is not passed in is made from the settings.

    Every part is there in each role; what differs is which loops run. `boot` is the clock that `clock` is compared
    with.

    Raises SettingsError or a StoreError.
    """
    secret_keys, api_tokens = config.ensure_secrets(settings)
    place = _locate_database(settings, role)
    async with contextlib.AsyncExitStack() as stack:
        store = await open_store(place)
        stack.push_async_callback(store.close)
        clock = shared_clock(store, clock)
        policy = Policy(
            targets=settings.targets,
            confirm=settings.confirm,
            confirm_within_ms=settings.confirm_within * 1000,
            deadline_ms=settings.deadline * 1000,
            sweep_first_ms=settings.sweep_first * 1000,
            sweep_max_ms=settings.sweep_max * 1000,
            picture_wait_ms=settings.picture_wait * 1000,
            can_poll=settings.provider_key is not None,
            started_at=clock(),
        )
        watch = await _watch_clock(store, clock, boot)
        provider = provider or _make_provider(stack, settings, clock)
        apprise = AppriseSender(timeout_s=SEND_TIMEOUT_S)
        stack.push_async_callback(apprise.close)
        ring = Ring(secret_keys)
        files = ArchiveFiles(settings.state_dir / "images", shared=store.shared)
        is_public = config.is_public(settings.public_url)
        links = SignedLinks(ring, settings.public_url, clock, reachable=is_public, pages=True)
        draw = DrawingProcess().draw_sheet
        allow = FetchAllowlist(hosts=frozenset(settings.fetch_allow.hosts), networks=settings.fetch_allow.networks)
        metrics = Metrics(target.name for target in settings.targets)
        archive = PictureArchiver(store, files, policy, clock, draw=draw, allow=allow, metrics=metrics)
        stack.push_async_callback(archive.close)
        await _warn_of_lost_keys(store, ring)
        await finish_closed(store, policy, clock())
        served_on = (await store.identity() or "") if store.shared else read_machine()
        await pause_if_copied(store, policy, served_on, clock())
        await warn_of_other_folder(store, files.root)
        echoes = EchoRedactor(settings.provider_key or "")
        parse = echoes.wrap_parser(default_adapter().parse)
        ingest = CallbackIngest(store, parse, policy, clock, metrics)
        stack.push_async_callback(ingest.close)
        rules = BudgetRules(settings.budget_day, settings.budget_month, settings.prices)
        budget = BudgetCheck(rules, policy, watch)
        intake = TaskIntake(
            store,
            policy,
            ring,
            clock,
            metrics,
            public_url=settings.public_url,
            unreachable=config.why_unreachable(settings),
            budget=budget,
        )
        notify = NoticeDispatcher(
            store,
            sender or apprise,
            policy,
            clock,
            schedule_ms=[gap * 1000 for gap in settings.notify_retry],
            timeout_ms=SEND_TIMEOUT_S * 1000,
            links=links,
            # a drawing process of its own, so that digests never wait behind pictures from outside
            picture=ContactSheets(store, files, DrawingProcess().draw_sheet, links.image_url),
            metrics=metrics,
            watch=watch,
            width=choose_senders(settings, store),
        )
        stack.push_async_callback(notify.close)
        yield ServiceParts(
            role=role,
            store=store,
            ring=ring,
            policy=policy,
            clock=clock,
            metrics=metrics,
            budget=budget,
            ingest=ingest,
            intake=intake,
            batches=BatchControl(store, policy, clock, metrics),
            submit=SubmitLoop(
                store,
                provider,
                policy,
                clock,
                parse=parse,
                callback_url=intake.callback_url,
                key_id=ring.ids[0],
                concurrency=settings.provider_concurrency,
                metrics=metrics,
                budget=budget,
            ),
            picks=PickControl(store, policy, clock, image_url=links.image_url),
            follow=FollowLoop(store, policy, clock, image_url=links.image_url, metrics=metrics),
            sweep=SweepLoop(store, provider, policy, clock, parse=parse, watch=watch, metrics=metrics),
            notify=notify,
            archive=archive,
            prune=RetentionPruner(store, files, policy, clock, keep=settings.retention, watch=watch, metrics=metrics),
            sender=sender or apprise,
            files=files,
            links=links,
            draw=draw,
            echoes=echoes,
            api_tokens=api_tokens,
            password_hash=config.PasswordSource(settings),
            public_url=settings.public_url,
            max_body=settings.max_body,
            body_timeout_s=settings.body_timeout,
            trusted_proxies=settings.trusted_proxies,
        )


@contextlib.asynccontextmanager
async def open_pruner(
    settings: Settings, clock: Clock = wall_clock, boot: Clock | None = None
) -> AsyncIterator[RetentionPruner]:
    """The retention pruner without a service: it has an SQLite database to itself, and shares a PostgreSQL one.

    Raises SettingsError or a StoreError.
    """
    store = await open_store(_locate_database(settings, ServiceRole.WORKER, PRUNER_POOL))
    try:
        clock = shared_clock(store, clock)
        files, policy = ArchiveFiles(settings.state_dir / "images"), Policy(targets=settings.targets)
        watch = await _watch_clock(store, clock, boot, asked=True)
        yield RetentionPruner(store, files, policy, clock, keep=settings.retention, watch=watch, alone=not store.shared)
    finally:
        await store.close()


def _make_provider(stack: contextlib.AsyncExitStack, settings: Settings, clock: Clock) -> Provider:
    if settings.provider_key is None:
        return _KeylessProvider()
    late = LazyProvider(default_adapter(), settings.provider_url, settings.provider_key, clock=clock)
    stack.push_async_callback(late.close)
    return late


async def _warn_of_lost_keys(store: Store, ring: Ring) -> None:
    for key in await store.tasks.open_keys():
        if key not in ring.ids:
            log.warning(
                "some waiting tasks have callback URLs signed with the key %s, which is no longer in SECRET_KEYS, so "
                "their callbacks will be refused; add the key to SECRET_KEYS again, after the first one",
                key,
                extra={"action": "start.keys"},
            )
