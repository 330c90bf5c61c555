"""What the ledger has said yes to is committed: order, companions, failures, and callers that go away."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any, Self

import pytest
from ledgers import Look, Sqlite, Transactions, incident, on_any, opened, opening, page, put, slot
from movedclock import MovedClock
from msgspec.structs import replace
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from bridge.incidents import Change, Incident
from bridge.store import Overloaded, Scope, Store, Topic, Tx, recall, remember, writer
from bridge.store.tables import incidents, meta, pages, timeline

Job = Callable[[Tx], Awaitable[Any]]


def note(name: str) -> Job:
    """A job that leaves a row, and gives its name back."""

    async def job(tx: Tx) -> str:
        await tx.connection.execute(meta.insert(), {"name": name, "value": "noted"})
        return name

    return job


class Broken(Exception):
    pass


def broken(runs: list[int] | None = None) -> Job:
    """A job that leaves a row and then fails."""

    async def job(tx: Tx) -> None:
        await note("broken")(tx)
        if runs is not None:
            runs.append(len(runs))
        raise Broken

    return job


async def noted(look: Look) -> set[str]:
    return {row["name"] for row in await look.rows(meta, value="noted")}


async def together(*calls: Awaitable[Any]) -> list[Any]:
    """Queue them up before the writer gets its turn, and give what came of each."""
    return await asyncio.gather(*calls, return_exceptions=True)


async def queue_up(store: Store, *jobs: Job) -> list[asyncio.Task[Any]]:
    """Hand jobs in and come back while they wait."""
    callers = [asyncio.create_task(store.write(job)) for job in jobs]
    await asyncio.sleep(0)  # each has had its turn, and nothing but the writer can take them
    assert store.waiting == len(jobs)
    return callers


class Gate:
    """A job that keeps the writer busy until it is opened."""

    def __init__(self, store: Store) -> None:
        self._entered, self._open = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(store.write(self._job))

    async def _job(self, tx: Tx) -> None:
        self._entered.set()
        await self._open.wait()

    async def __aenter__(self) -> Self:
        await self._entered.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._open.set()
        await self.task


# --- committed --------------------------------------------------------------------------------


async def test_what_update_returns_is_committed(store: Store, look: Look) -> None:
    one = incident()
    changes = await store.update(Scope(slots=(one.slot,)), lambda *_: [
        Change(one).page(page(one)).note("triggered", "DiskFull")
    ])  # fmt: skip
    assert [change.incident for change in changes] == [one]
    assert (await look.row(incidents))["id"] == one.id
    assert (await look.row(pages))["id"] == page(one).id
    assert (await look.row(timeline))["text"] == "DiskFull"


async def test_what_write_returns_is_committed(store: Store, look: Look) -> None:
    assert await store.write(note("a")) == "a"
    assert "a" in await noted(look)


async def test_nothing_is_to_be_seen_before_the_commit(store: Store, look: Look) -> None:
    seen: list[set[str]] = []

    async def job(tx: Tx) -> None:
        await note("a")(tx)
        seen.append(await noted(look))

    await store.write(job)
    assert seen == [set()]
    assert "a" in await noted(look)


async def test_jobs_that_queue_up_together_are_committed_together(
    store: Store, transactions: Transactions, look: Look
) -> None:
    names = [f"job {number}" for number in range(50)]
    assert await together(*(store.write(note(name)) for name in names)) == names
    assert transactions.log == ["begin", "commit"]
    assert set(names) <= await noted(look)


async def test_updates_and_other_writes_share_a_transaction_and_keep_their_order(
    store: Store, transactions: Transactions
) -> None:
    one = incident()
    seen: list[tuple[Incident, ...]] = []

    async def read(tx: Tx) -> None:
        seen.append(await tx.incidents(Scope(ids=(one.id,))))

    def again(found: tuple[Incident, ...], *_: Any) -> list[Change]:
        seen.append(found)
        return [Change(replace(found[0], revision=2))]

    await together(
        store.write(read),
        store.update(Scope(slots=(one.slot,)), opening(one)),
        store.write(read),
        store.update(Scope(slots=(one.slot,)), again),
        store.write(read),
    )
    assert seen == [(), (one,), (one,), (replace(one, revision=2),)]
    assert transactions.log == ["begin", "commit"]


async def test_jobs_run_in_the_order_in_which_they_were_handed_in(store: Store) -> None:
    order: list[int] = []

    def job(number: int) -> Job:
        async def run(tx: Tx) -> None:
            order.append(number)

        return run

    await together(*(store.write(job(number)) for number in range(300)))
    assert order == list(range(300))


async def test_a_transaction_has_a_bounded_number_of_jobs(store: Store, transactions: Transactions) -> None:
    await together(*(store.write(note(str(number))) for number in range(300)))
    assert transactions.count("commit") == 3  # of 128 at the most


# --- failures ---------------------------------------------------------------------------------


async def test_a_job_that_raises_fails_alone_and_its_companions_commit(store: Store, look: Look) -> None:
    done = await together(store.write(note("a")), store.write(broken()), store.write(note("b")))
    assert (done[0], type(done[1]), done[2]) == ("a", Broken, "b")
    assert {"a", "b"} <= await noted(look)
    assert "broken" not in await noted(look)


async def test_a_decision_that_raises_fails_alone_and_its_companions_commit(store: Store, look: Look) -> None:
    def bad(*_: Any) -> list[Change]:
        raise Broken

    one, two = incident("One"), incident("Two")
    done = await together(
        store.update(Scope(slots=(one.slot,)), opening(one)),
        store.update(Scope(slots=(one.slot,)), bad),
        store.update(Scope(slots=(two.slot,)), opening(two)),
    )
    assert [type(result) for result in done] == [tuple, Broken, tuple]
    assert {row["id"] for row in await look.rows(incidents)} == {one.id, two.id}


async def test_a_decision_may_run_more_than_once_and_only_what_was_committed_counts(
    store: Store, look: Look
) -> None:
    runs: list[Incident] = []

    def decide(*_: Any) -> list[Change]:
        one = incident(group_key=f"run {len(runs) + 1}")
        runs.append(one)
        return [Change(one).page(page(one)).note("triggered", one.group_key)]

    done = await together(store.update(Scope(slots=(slot(),)), decide), store.write(broken()))
    assert len(runs) == 2
    assert done[0][0].incident == runs[-1]
    assert (await look.row(incidents))["group_key"] == "run 2"
    assert len(await look.rows(pages)) == 1
    assert (await look.row(timeline))["text"] == "run 2"


async def test_a_job_that_raised_among_others_is_tried_once_more_alone(store: Store) -> None:
    runs: list[int] = []
    await together(store.write(note("a")), store.write(broken(runs)))
    assert len(runs) == 2


async def test_a_failure_of_the_database_inside_a_job_fails_that_job_alone(store: Store, look: Look) -> None:
    async def twice(tx: Tx) -> None:
        await note("a")(tx)

    await store.write(note("a"))
    done = await together(store.write(note("b")), store.write(twice), store.write(note("c")))
    assert (done[0], type(done[1]).__name__, done[2]) == ("b", "IntegrityError", "c")
    assert {"a", "b", "c"} <= await noted(look)


@pytest.mark.parametrize("moment", ["begin", "commit"])
async def test_the_whole_batch_fails_when_the_transaction_cannot_begin_or_commit(
    store: Store, transactions: Transactions, look: Look, moment: str
) -> None:
    transactions.failing[moment] = [OperationalError("COMMIT", {}, Exception("disk full"))]
    done = await together(*(store.write(note(name)) for name in "abc"))
    assert [type(result) for result in done] == [OperationalError] * 3
    assert not {"a", "b", "c"} & await noted(look)
    assert transactions.count("commit") == 0

    assert await store.write(note("a")) == "a"
    assert "a" in await noted(look)


async def test_a_commit_that_fails_for_one_alone_fails_that_one(
    store: Store, transactions: Transactions, look: Look
) -> None:
    """The joint transaction fails by a job; of those that run again alone, one cannot be committed."""
    transactions.failing["commit"] = [OperationalError("COMMIT", {}, Exception("disk full"))]
    done = await together(store.write(note("a")), store.write(broken()), store.write(note("b")))
    assert [type(result) for result in done] == [OperationalError, Broken, str]
    assert "a" not in await noted(look)
    assert "b" in await noted(look)


async def test_where_the_database_refuses_one_after_the_other_the_rest_is_not_tried_too(
    store: Store, look: Look
) -> None:
    """Each may wait for the same lock: 128 of them would take many minutes to be told so."""
    runs: list[str] = []

    def refused(name: str) -> Job:
        async def job(tx: Tx) -> None:
            runs.append(name)
            raise OperationalError("UPDATE", {}, Exception("canceling statement due to lock timeout"))

        return job

    done = await together(store.write(note("first")), *(store.write(refused(name)) for name in "abcdef"))
    assert [type(result) for result in done] == [str] + [OperationalError] * 6
    assert runs == ["a", "a", "b"], "a together with the others, then two alone"
    assert "first" in await noted(look)
    assert await store.write(note("later")) == "later"


async def test_what_the_database_refuses_to_one_alone_it_refuses_to_no_other(
    store: Store, look: Look
) -> None:
    async def refused(_: Tx) -> None:
        raise OperationalError("UPDATE", {}, Exception("canceling statement due to lock timeout"))

    done = await together(store.write(refused), *(store.write(note(name)) for name in "abc"))
    assert done[1:] == ["a", "b", "c"]
    assert {"a", "b", "c"} <= await noted(look)


async def test_a_ledger_whose_commit_hangs_does_not_count_as_one_that_commits(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that has gone away under a mount: there is no error, and no end."""
    async with Gate(store):
        assert await store.commits()
        monkeypatch.setattr(writer, "_HUNG", 0.0)
        assert not await store.commits()
    assert await store.commits()


# --- callers ----------------------------------------------------------------------------------


async def test_a_caller_that_goes_away_undoes_nothing(store: Store, look: Look) -> None:
    async with Gate(store):
        (caller,) = await queue_up(store, note("a"))
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
    await store.write(note("b"))
    assert {"a", "b"} <= await noted(look)


async def test_a_failure_that_nobody_waits_for_disturbs_nobody(store: Store) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with Gate(store):
        (caller,) = await queue_up(store, broken())
        caller.cancel()
    await store.write(note("a"))
    await asyncio.wait([caller])
    del caller
    gc.collect()
    assert complaints == []


async def test_jobs_that_the_database_refuses_now_and_then_take_none_with_them_that_it_takes(
    store: Store, look: Look
) -> None:
    """Only refusals one after the other say that the database itself cannot work."""

    async def refused(_: Tx) -> None:
        raise OperationalError("UPDATE", {}, Exception("database or disk is full"))

    jobs = [note("a"), refused, note("b"), refused, note("c"), refused, note("d")]
    async with Gate(store):
        waiting = await queue_up(store, *jobs)
    await asyncio.wait(waiting)
    assert await noted(look) >= {"a", "b", "c", "d"}


async def test_beyond_a_thousand_waiting_writes_the_ledger_says_that_it_is_overloaded(
    store: Store, look: Look
) -> None:
    async with Gate(store):
        waiting = await queue_up(store, *(note(str(number)) for number in range(1024)))
        with pytest.raises(Overloaded, match="1024 writes are waiting"):
            await store.write(note("one too many"))
    await asyncio.gather(*waiting)
    assert store.waiting == 0
    assert await store.write(note("later")) == "later"
    assert len({name for name in await noted(look) if name.isdigit()}) == 1024
    assert "one too many" not in await noted(look)


async def test_stop_commits_what_has_queued_up_and_then_takes_no_more(store: Store, look: Look) -> None:
    async with Gate(store):
        callers = await queue_up(store, *(note(name) for name in "abc"))
        stopping = asyncio.create_task(store.stop())
    await stopping
    assert await asyncio.gather(*callers) == ["a", "b", "c"]
    assert {"a", "b", "c"} <= await noted(look)
    assert not store.working
    with pytest.raises(Overloaded, match="not working"):
        await store.write(note("d"))


# --- hooks, and what is remembered -------------------------------------------------------------


async def test_the_hooks_run_after_the_commit_of_a_decision_that_changed_something(
    store: Store, transactions: Transactions
) -> None:
    commits: list[int] = []
    if store.listener is not None:
        await store.listener.stop()  # it wakes when it begins to hear
    store.on(Topic.CLOCK, lambda _: commits.append(transactions.count("commit")))
    await put(store, incident())
    assert commits == [1]


async def test_no_hook_runs_where_nothing_was_decided(store: Store) -> None:
    calls: list[str] = []
    if store.listener is not None:
        await store.listener.stop()  # it wakes when it begins to hear
    on_any(store, lambda _: calls.append("called"))
    await store.update(Scope(slots=(slot(),)), lambda *_: [])
    await store.write(note("a"))
    await together(store.write(broken()))
    assert calls == []


async def test_what_is_remembered_is_there_after_a_restart(backend: Sqlite, clock: MovedClock) -> None:
    async with opened(backend, clock.now) as store:
        await remember(store, "name", "old")
        await remember(store, "name", "new")
    async with opened(backend, clock.now) as store:
        assert await recall(store, "name") == "new"
        assert await recall(store, "other") is None


async def test_a_read_sees_one_state_of_the_ledger_throughout(store: Store) -> None:
    notes = select(meta.c.name).where(meta.c.value == "noted")

    async def twice(connection: Any) -> list[int]:
        counts = []
        for name in "ab":
            counts.append(len((await connection.execute(notes)).all()))
            await store.write(note(name))
        return counts

    assert await store.read(twice) == [0, 0]


async def test_who_waits_for_a_writer_that_dies_is_told_so(store: Store) -> None:
    gate = await Gate(store).__aenter__()
    callers = await queue_up(store, *(note(name) for name in "ab"))
    task = store._writer._task
    assert task is not None
    task.cancel()
    found = await asyncio.gather(gate.task, *callers, return_exceptions=True)
    assert [type(one) for one in found] == [Overloaded] * 3


# --- two lanes --------------------------------------------------------------------------------


async def test_what_pages_overtakes_what_has_queued_up_before_it(store: Store) -> None:
    """A flood of webhooks, or of phones, delays no page by more than one transaction."""
    done: list[str] = []

    def named(name: str) -> Job:
        async def job(_: Tx) -> None:
            done.append(name)

        return job

    async with Gate(store):
        flood = await queue_up(store, *(named("webhook") for _ in range(1000)))
        claim = asyncio.create_task(store.write(named("claim"), paging=True))
        await asyncio.sleep(0)
    await claim
    assert done.index("claim") == 0
    assert len(done) <= 128, "in the first transaction, which holds no more"
    await asyncio.gather(*flood)


async def test_a_storm_of_pages_leaves_half_of_each_transaction_to_the_others(store: Store) -> None:
    done: list[str] = []

    def named(name: str) -> Job:
        async def job(_: Tx) -> None:
            done.append(name)

        return job

    async with Gate(store):
        storm = [asyncio.create_task(store.write(named("page"), paging=True)) for _ in range(1000)]
        await asyncio.sleep(0)
        webhooks = [asyncio.create_task(store.write(named("webhook"))) for _ in range(100)]
        await asyncio.sleep(0)
    await asyncio.gather(*webhooks, *storm)
    last = max(number for number, name in enumerate(done) if name == "webhook")
    assert last < 256, "in the first two transactions, which hold no more"


async def test_a_full_queue_of_others_refuses_no_page(store: Store) -> None:
    async with Gate(store):
        flood = await queue_up(store, *(note(str(number)) for number in range(1024)))
        page = asyncio.create_task(store.write(note("page"), paging=True))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await store.write(note("one too many"))
    assert await page == "page"
    await asyncio.gather(*flood)


async def test_queries_of_others_leave_a_connection_to_what_pages(store: Store) -> None:
    """The phones' API delays no ring, however much it is asked."""
    opened = asyncio.Event()

    async def slow(connection: Any) -> None:
        await connection.execute(select(meta.c.name))
        await opened.wait()

    async def quick(connection: Any) -> str:
        await connection.execute(select(meta.c.name))
        return "read"

    many = [asyncio.create_task(store.read(slow)) for _ in range(20)]
    try:
        async with asyncio.timeout(30):
            assert await store.read(quick, paging=True) == "read"
        assert not any(task.done() for task in many)
    finally:
        opened.set()
        await asyncio.gather(*many)
