"""Transactions: what stands between MULTI and EXEC is carried out as one request to one partition, hence atomically.

WATCH notes the versions of keys; EXEC puts a check of each in front, so that all of it fails if one has changed. The
keys of a transaction, watched ones included, share a slot.

What has no keys is answered when the rest is done. FLUSHALL can't stand in a transaction: it is not one request.
"""

from collections.abc import Sequence
from time import perf_counter_ns

from corecache.errors import CoreCacheError
from corecache.identity import Milliseconds
from corecache.operations import Check, ConditionFailed, Operation, Result, keys_of
from corecache.serving.resp.answers import failure_of
from corecache.serving.resp.commands.arguments import checked_keys
from corecache.serving.resp.commands.command import Arguments, Command, Plan, Refusal
from corecache.serving.resp.routing import moved, one_slot
from corecache.serving.resp.session import Session
from corecache.serving.resp.slots import values_bytes
from corecache.wire.resp import Failure, NullArray, Reply, Status

_OK = Status("OK")
_NOT_HERE = frozenset(("flushall", "flushdb"))
_WATCHED_MAX = 10_000


def queue(session: Session, command: Command, arguments: Arguments) -> None:
    """Puts a command into the transaction. Raises: Refusal."""
    if command.name in _NOT_HERE:
        raise Refusal(f"ERR {command.name.upper()} can't stand in a transaction")
    assert session.queued is not None
    resp = session.server.config.resp
    session.queued_bytes += sum(len(word) for word in arguments)
    if len(session.queued) >= resp.operations_max or session.queued_bytes > resp.request_bytes_max:
        raise Refusal("ERR the transaction is too long (resp.operations_max, resp.request_bytes_max)")
    keys = command.keys(arguments)
    if keys:
        one_slot(keys)
        if session.cluster_aware and not session.server.service.leads(keys[0]):
            raise moved(session.server, keys[0])
    session.queued.append((command, list(arguments)))


def multi(session: Session, _: Arguments) -> Reply:
    """Begins a transaction."""
    if session.queued is not None:
        return Failure("ERR MULTI calls can not be nested")
    session.queued = []
    session.queued_bytes = 0
    session.spoiled = False
    return _OK


def drop(session: Session) -> None:
    """Ends the transaction: what was put together is forgotten, and what was watched."""
    session.queued = None
    session.spoiled = False
    session.watched.clear()


def discard(session: Session, _: Arguments) -> Reply:
    """Drops the transaction, and what was watched."""
    if session.queued is None:
        return Failure("ERR DISCARD without MULTI")
    drop(session)
    return _OK


async def watch(session: Session, arguments: Arguments) -> Reply:
    """Notes the versions of keys, for the next transaction."""
    server = session.server
    try:
        keys = checked_keys(arguments[1:])
        one_slot(keys)
    except Refusal:
        # What could not stand anywhere spoils a transaction, as any such command does; a mere WATCH does not.
        session.spoiled = True
        raise
    if session.queued is not None:
        return Failure("ERR WATCH inside MULTI is not allowed")
    if len(session.watched) + len(keys) > _WATCHED_MAX:
        raise Refusal(f"ERR at most {_WATCHED_MAX} keys can be watched")
    if sum(map(len, {*session.watched, *keys})) > server.config.resp.pipeline_bytes_max:
        raise Refusal("ERR the watched keys are too long together (resp.pipeline_bytes_max)")
    if session.cluster_aware and not server.service.leads(arguments[1]):
        raise moved(server, arguments[1])
    deadline = _deadline(session)
    for key in keys:
        if key not in session.watched:
            record = await server.service.get(key, deadline)
            session.watched[key] = record.version if record is not None else None
    return _OK


def unwatch(session: Session, _: Arguments) -> Reply:
    """Forgets what was watched."""
    session.watched.clear()
    return _OK


async def execute(session: Session, _: Arguments) -> Reply:
    """Carries the transaction out: all of it, or nothing and null if a watched key has changed."""
    queued, spoiled, watched = session.queued, session.spoiled, dict(session.watched)
    if queued is None:
        return Failure("ERR EXEC without MULTI")
    drop(session)
    begun_us = perf_counter_ns() // 1000
    if spoiled:
        return Failure("EXECABORT Transaction discarded because of previous errors.")
    plans: list[Plan | Failure | None] = []
    operations: list[Operation] = [Check(key, version) for key, version in watched.items()]
    for command, arguments in queued:
        plan: Plan | Failure | None = None
        if command.plan is not None:
            try:
                plan = command.plan(arguments, session.server.config)
                operations += plan.operations
            except Refusal as refusal:
                plan = Failure(str(refusal))
        plans.append(plan)
    results: Sequence[Result] = ()
    if operations:
        keys = [key for operation in operations for key in keys_of(operation)]
        one_slot(keys)
        if len(operations) > session.server.config.resp.operations_max:
            raise Refusal("ERR the transaction has too many keys (resp.operations_max)")
        results = await session.server.service.write(operations, _deadline(session))
        if any(isinstance(result, ConditionFailed) for result in results):
            return NullArray()
        if values_bytes(results) > session.server.config.resp.pipeline_bytes_max:
            return Failure(
                "ERR the transaction is done; its answer would be longer than resp.pipeline_bytes_max allows"
            )
    answers = await _answers(session, queued, plans, results[len(watched) :])
    # They were carried out together: each has its share of the time.
    share_us = (perf_counter_ns() // 1000 - begun_us) // max(1, len(queued))
    for command, _ in queued:
        session.server.latencies.observe(command.name, share_us)
    return answers


async def _answers(
    session: Session,
    queued: list[tuple[Command, list[bytes]]],
    plans: list[Plan | Failure | None],
    results: Sequence[Result],
) -> Reply:
    answers: list[Reply] = []
    position = 0
    for (command, arguments), plan in zip(queued, plans, strict=True):
        if isinstance(plan, Failure):
            answers.append(plan)
        elif plan is not None:
            end = position + len(plan.operations)
            try:
                answers.append(plan.answer(results[position:end]))
            except Refusal as refusal:
                answers.append(Failure(str(refusal)))
            position = end
        else:
            answers.append(await _answer_without_keys(session, command, arguments))
    return answers


async def _answer_without_keys(session: Session, command: Command, arguments: Arguments) -> Reply:
    try:
        if command.instant is not None:
            return command.instant(session, arguments)
        assert command.slow is not None
        return await command.slow(session, arguments)
    except Refusal as refusal:
        return Failure(str(refusal))
    except CoreCacheError as error:
        return failure_of(error)


def _deadline(session: Session) -> Milliseconds:
    server = session.server
    return Milliseconds(server.clock.now() + server.config.resp.request_timeout_ms)


COMMANDS = (
    Command(
        "multi",
        1,
        ("noscript", "loading", "stale", "fast", "allow_busy"),
        categories=("fast", "transaction"),
        group="transactions",
        since="1.2.0",
        summary="Begins a transaction.",
        instant=multi,
    ),
    Command(
        "exec",
        1,
        ("noscript", "loading", "stale", "skip_slowlog"),
        categories=("slow", "transaction"),
        group="transactions",
        since="1.2.0",
        summary="Carries out the transaction.",
        slow=execute,
    ),
    Command(
        "discard",
        1,
        ("noscript", "loading", "stale", "fast", "allow_busy"),
        categories=("fast", "transaction"),
        group="transactions",
        since="2.0.0",
        summary="Drops the transaction.",
        instant=discard,
    ),
    Command(
        "watch",
        -2,
        ("noscript", "loading", "stale", "fast", "allow_busy"),
        1,
        -1,
        1,
        ("fast", "transaction"),
        "transactions",
        "2.2.0",
        "Makes the next transaction depend on keys staying as they are.",
        slow=watch,
    ),
    Command(
        "unwatch",
        1,
        ("noscript", "loading", "stale", "fast", "allow_busy"),
        categories=("fast", "transaction"),
        group="transactions",
        since="2.2.0",
        summary="Forgets the watched keys.",
        instant=unwatch,
    ),
)
