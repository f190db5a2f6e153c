"""The process behind `pdp serve`: starts in an order, stops in the reverse order.

    1  settings and our own certificate are judged; an agent is waited for
    2  the port is free
    3  the bundle is fetched and verified     what does not verify stops the start
       keys of token issuers are read         a file that cannot be used stops the start
       before, providers are opened           likewise; none is asked
       the directory of searches is opened    likewise
    4  the spool is opened                    what it finds is made durable
    5  the port is taken and calls are served; polls and health go on until a signal
    6  NOT_SERVING, and still an answer for all who have not heard of it yet
    7  no new calls, those in flight get their time
    8  polls end, the spool is closed last

SIGTERM goes this way. SIGINT comes from somebody at a terminal, and leaves out
6. A second signal of either kind ends all waiting.

Nothing blocks the event loop: polls and fsyncs run in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import Final

import uvloop

import pdp
from pdp.audit.spool import Spool
from pdp.bundle import BundleKeeper
from pdp.bundle.anchor import Anchor
from pdp.config.settings import Address, Limits, Settings
from pdp.decision_point import Clock, SystemClock
from pdp.identity.keys import IssuerKeys
from pdp.identity.source import IdentitySource, open_identity
from pdp.identity.token import TokenVerifier
from pdp.providers.desk import ProviderDesk
from pdp.providers.opening import open_providers
from pdp.search import Searching
from pdp.server.authzen.pages import Offer, load_offer
from pdp.server.key_upkeep import KeyWatch
from pdp.server.listener import DurableRecorder, Server, check_free
from pdp.server.metrics.show import show_metrics
from pdp.server.orphans import recover_orphans
from pdp.server.poll_log import tell_poll
from pdp.server.scheduling import helping_threads
from pdp.server.searching import open_searching
from pdp.server.signals import Signals
from pdp.server.upkeep import IdentityWatch, poll_forever
from pdp.telemetry import Telemetry

# Objects that are more than were freed, from one search for cycles to the next; 700 by default.
# At about 100 bytes each, garbage that only a search finds stays in the megabytes.
_COLLECT_EVERY: Final = 20_000


def run(settings: Settings, *, clock: Clock | None = None) -> None:
    """`pdp serve`: serve until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: nothing was started.
        BundleError: the bundle is refused, or what is remembered of it is damaged.
        SpoolError: records cannot become durable.
    """
    clock = clock or SystemClock()
    keeper = BundleKeeper(settings.bundle, settings.limits.evaluation, clock.wall_ns)
    telemetry = Telemetry(sys.stderr, clock.wall_ns, settings.log_level)
    telemetry.capture_logging()
    end_traces = traced(settings, telemetry)
    try:
        uvloop.run(serve(settings, keeper, clock, telemetry, _say_listening))
    finally:
        end_traces()
        telemetry.close()


def traced(settings: Settings, telemetry: Telemetry) -> Callable[[], None]:
    """Have spans made from now on, if the settings say where to send them.

    Returns:
        To be called at the end.
    """
    if settings.traces is None:
        return lambda: None
    # Not even imported without need.
    from pdp.server.traces import start_traces  # noqa: PLC0415

    return start_traces(settings, settings.traces, telemetry)


def _say_listening(address: Address) -> None:
    """For whoever started this process and must know the port: one line, then nothing."""
    line = {"event": "listening", "address": str(address), "port": address.port}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


# What keeps the bundle current while a server serves.
Polls = Callable[[Server], Coroutine[None, None, None]]


def _plain(spool: Spool) -> DurableRecorder:
    return spool


async def serve(
    settings: Settings,
    keeper: BundleKeeper,
    clock: Clock,
    telemetry: Telemetry,
    listening: Callable[[Address], None],
    *,
    recorder_of: Callable[[Spool], DurableRecorder] = _plain,
    polls: Polls | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; what `pdp serve` and `pdp dev` have in common.

    Args:
        settings: judged.
        keeper: not started yet; started and closed here.
        clock: time.
        telemetry: counters and logs.
        listening: called once, on the event loop, when there are answers.
        recorder_of: what records go through on their way to the spool.
        polls: keeps the bundle current until it is cancelled; by default looks at the store.

    Raises: as `run`.
    """
    signals = Signals()
    async with contextlib.AsyncExitStack() as opened:
        # (1) The settings were judged when they were read.
        source = await _open_identity(settings, keeper.anchor, clock, telemetry, opened)
        # (2) Told now rather than after half a minute of other work; taken in step 5.
        authzen = _check_ports(settings)
        attributes = _open_providers(settings, opened, clock, telemetry)
        # (3) What fails verification ends the process here.
        opened.push_async_callback(asyncio.to_thread, keeper.close)
        tell_poll(telemetry, await asyncio.to_thread(keeper.start))
        tokens, key_watches = await _read_keys(settings, clock, telemetry)
        with helping_threads():
            # (4) Also makes durable what an earlier boot left, or workers that are no more.
            spool = await asyncio.to_thread(_open_spool, settings, clock, telemetry)
            opened.push_async_callback(asyncio.to_thread, spool.close)
            server = Server(
                source.identity,
                keeper,
                recorder_of(spool),
                listen=settings.listen,
                limits=settings.limits,
                capture=settings.record.capture,
                clock=clock,
                telemetry=telemetry,
                tokens=tokens,
                attributes=attributes,
                shared=settings.worker > 0,
                searching=await _open_searching(settings, telemetry, opened),
            )
            opened.push_async_callback(server.stop, 0)  # once bound, or its port stays taken
            await show_metrics(opened, settings, server, spool, keeper, clock, telemetry)
            address = await _bind(server, authzen, settings)
        # (5) From here on there are answers.
        await server.start()
        polls = polls or _polling(settings, keeper, telemetry)
        watch = IdentityWatch(source, server, clock, telemetry)
        endless = [polls(server), watch.forever(settings.tls.poll_interval_s)]
        endless += [each.forever() for each in key_watches]
        upkeep = [asyncio.create_task(task) for task in endless]
        _settle(telemetry, address)
        listening(address)
        await _wind_down(server, settings.limits, signals, telemetry)
        # (8) A poll that is under way ends by itself, before the keeper closes.
        _cancel(upkeep)
    telemetry.log("info", "stopped")


async def _open_identity(
    settings: Settings,
    anchor: Anchor,
    clock: Clock,
    telemetry: Telemetry,
    opened: contextlib.AsyncExitStack,
) -> IdentitySource:
    """Where our identity is from, and what is odd about it in the log; where trust starts fits."""
    anchor.check_place(settings.tls.trust_domain, settings.listen.host)
    telemetry.log("info", "starting", version=pdp.__version__, instance=settings.instance)
    source = await asyncio.to_thread(open_identity, settings.tls, clock.wall_ns)
    opened.push_async_callback(asyncio.to_thread, source.close)
    for warning in source.identity.warnings:
        telemetry.log("warning", "tls", detail=warning)
    return source


def _polling(settings: Settings, keeper: BundleKeeper, telemetry: Telemetry) -> Polls:
    def polls(server: Server) -> Coroutine[None, None, None]:
        return poll_forever(keeper, server, settings.poll_interval_s, telemetry)

    return polls


def _check_ports(settings: Settings) -> Offer | None:
    """What the door for HTTP offers; None: there is to be none.

    Raises:
        ConfigurationError: it cannot, or a port is not free.
    """
    alone = settings.worker == 0  # else the parent holds the ports
    if alone:
        check_free(settings.listen)
    if settings.authzen is None:
        return None
    if alone:
        check_free(settings.authzen.listen, "authzen.listen")
    search = settings.search is not None
    return load_offer(settings.authzen, settings.bundle.tenants, search=search)


async def _open_searching(
    settings: Settings, telemetry: Telemetry, opened: contextlib.AsyncExitStack
) -> Searching | None:
    """What searches need; None: there are none.

    Raises:
        ConfigurationError: the directory cannot be used.
    """
    if settings.search is None:
        return None
    searching = await asyncio.to_thread(open_searching, settings.search, telemetry)
    opened.callback(searching.directory.close)
    return searching


def _open_providers(
    settings: Settings, opened: contextlib.AsyncExitStack, clock: Clock, telemetry: Telemetry
) -> ProviderDesk | None:
    """What callers do not send: whom to ask for it, asked nothing yet; None: nobody.

    Raises:
        ConfigurationError: a file, a statement or an entry point cannot be used.
    """
    desk = open_providers(settings.providers, settings.limits.input, clock, telemetry)
    if desk is not None:
        opened.callback(desk.close)
    return desk


async def _bind(server: Server, authzen: Offer | None, settings: Settings) -> Address:
    """Take every address that the settings name, and offer there what they say."""
    return await server.bind(
        authzen, at=settings.socket, reflect=settings.reflection, envoy=settings.envoy
    )


async def _read_keys(
    settings: Settings, clock: Clock, telemetry: Telemetry
) -> tuple[TokenVerifier | None, list[KeyWatch]]:
    """What verifies subject tokens, after a first look at all key sets; None without issuers."""
    issuers = [IssuerKeys(each, clock) for each in settings.issuers]
    watches = [KeyWatch(keys, telemetry) for keys in issuers]
    await asyncio.gather(*(watch.start() for watch in watches))
    tokens = TokenVerifier(issuers, settings.limits.input) if issuers else None
    return tokens, watches


def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


async def _wind_down(
    server: Server, limits: Limits, signals: Signals, telemetry: Telemetry
) -> None:
    """From a signal on, steps 6 and 7."""
    await signals.first.wait()
    drain_s = limits.drain_s if signals.kindly else 0.0
    telemetry.log("info", "stopping", drain_s=drain_s, grace_s=limits.stop_grace_s)
    # (6) Callers are told first; who looks only now and then, hears of it meanwhile.
    await server.not_serving()
    hurry = asyncio.create_task(signals.second.wait())
    await asyncio.wait([hurry], timeout=drain_s)
    # (7) Whoever is still connected is sent elsewhere.
    ending = asyncio.create_task(server.stop(0 if hurry.done() else limits.stop_grace_s))
    await asyncio.wait([ending, hurry], return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        telemetry.log("warning", "hurried")
        await server.stop(0)
    await ending
    hurry.cancel()


def _settle(telemetry: Telemetry, address: Address) -> None:
    """The last of a start, and the word that it is done."""
    _settle_heap()
    telemetry.log("info", "listening", address=str(address), port=address.port)


def _settle_heap() -> None:
    """Keep the collector of cycles from searching what stays: modules, types, the first bundle.

    A decision makes hundreds of objects and hardly a cycle. With Python's own
    threshold they are searched several times per decision, and now and then so
    is everything that was ever imported.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 10, 10)


def _open_spool(settings: Settings, clock: Clock, telemetry: Telemetry) -> Spool:
    record = settings.record
    if settings.worker == 0:
        # Of several workers, the parent did.
        recover_orphans(settings, telemetry)
    spool = Spool.open(
        record.folder,
        settings.instance,
        settings.worker,
        limits=record.limits,
        clock_ns=clock.wall_ns,
    )
    telemetry.log("info", "spool_opened", pdp_id=spool.pdp_id)
    return spool
