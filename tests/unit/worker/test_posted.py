"""What is posted to a worker: it starts at once and once, if it is the scheduler's; all else is refused and starts
nothing.
"""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from rota import Context
from rota.domain.errors import Invalid
from rota.domain.run import Reason, State
from rota.engine.claim import given
from rota.engine.sessions import leave
from rota.identity.keys import mint
from rota.worker import posted, wire
from rota.worker.letters import MOST_AHEAD_MS, Answer, Letter, Question, head_of, read_key, sealed
from rota.worker.posted import BODY_BYTES, EXECUTE, HEAD, MOST_READING, SIGNATURE, Post
from rota.worker.runtime import Worker
from tests.services.turns import breathe
from tests.unit.worker.support import LONG_MS, House

TOKEN, OTHER = mint("key").text, mint("key").text


async def quick() -> str:
    return "done"


class Door:
    """A worker's URL, and who posts to it."""

    def __init__(self, house: House, worker: Worker) -> None:
        self.house = house
        self.worker = worker
        self.post = Post(TOKEN, house.time)
        self.post.worker = worker
        transport = httpx.ASGITransport(app=self.post)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://w")
        self.ids = 0

    async def body(self, runs: list[str]) -> bytes:
        return wire.encode(wire.work(await given(self.house.engine, self.worker.session, runs), self.house.time.now()))

    def headers(self, body: bytes, token: str = TOKEN, ahead_ms: int = 30_000, **members: Any) -> dict[str, str]:
        self.ids += 1
        key, digest = read_key(token)
        said = {"id": f"{self.ids:032x}", "key": key, "to": self.worker.session, "reply": "post", "call": "execute"}
        head = Question(**said | members, until=self.house.time.now() + ahead_ms)
        letter = sealed(head, body, digest)
        shown = {HEAD: letter.head.decode(), SIGNATURE: letter.signature.decode()}
        return shown | {"Content-Type": "application/json"}

    async def send(self, body: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
        return await self.client.post(EXECUTE, content=body, headers=headers or self.headers(body))


@pytest.fixture
async def door(house: House) -> Any:
    await house.task(quick)
    worker = await house.worker(address="http://w")
    await house.idle(worker)
    made = Door(house, worker)
    yield made
    await made.client.aclose()


def took(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 202, answer.text
    return list(wire.decode(wire.Took, answer.content).runs)


async def test_what_is_posted_starts_at_once_and_the_answer_is_signed(door: Door, house: House):
    runs = await house.place(door.worker, "quick", 3)
    body = await door.body(runs)
    answer = await door.send(body)
    assert sorted(took(answer)) == sorted(runs)
    said = Letter(answer.headers[SIGNATURE].encode(), answer.headers[HEAD].encode(), answer.content)
    head = head_of(said)
    assert said.bears(read_key(TOKEN)[1])
    assert isinstance(head, Answer)
    assert (head.id, head.status) == (f"{1:032x}", 202)
    ended = await house.all_settled(runs)
    assert {(run.state, run.attempt) for run in ended} == {(State.SUCCESS, 1)}
    assert house.desks[door.worker].of("held") == [], "it did not have to ask"


async def test_a_letter_counts_once_and_a_run_too(door: Door, house: House, gate):
    await house.task(gate, name="gate")
    runs = await house.place(door.worker, "gate", 2)
    body = await door.body(runs)
    headers = door.headers(body)
    assert (await door.send(body, headers)).status_code == 202
    again = await door.send(body, headers)
    assert (again.status_code, SIGNATURE in again.headers) == (409, True)
    assert sorted(took(await door.send(body))) == sorted(runs), "it has them"
    await gate.holds(2)
    assert door.worker.running == 2
    gate.open()
    assert {run.attempt for run in await house.all_settled(runs)} == {1}


async def test_what_it_asked_for_already_is_not_begun_again_by_a_late_post(door: Door, house: House):
    begun = []

    async def noting(context: Context) -> None:
        begun.append(context.run_id)

    await house.task(noting)
    runs = await house.place(door.worker, "noting", 2)
    body = await door.body(runs)
    await house.beat(door.worker)
    await house.all_settled(runs)
    starts = len(house.desks[door.worker].of("given"))
    assert sorted(took(await door.send(body))) == sorted(runs)
    await breathe()
    assert (door.worker.running, starts, house.refused()) == (0, 1, [])
    assert sorted(begun) == sorted(runs)


async def test_what_is_over_is_not_begun_again_by_another_post(door: Door, house: House):
    begun = []

    async def noting(context: Context) -> None:
        begun.append(context.run_id)

    await house.task(noting)
    runs = await house.place(door.worker, "noting", 2)
    body = await door.body(runs)
    assert sorted(took(await door.send(body))) == sorted(runs)
    await house.all_settled(runs)
    await house.until(lambda: house.desks[door.worker].answers["settle"])
    assert sorted(took(await door.send(body))) == sorted(runs)
    await breathe()
    assert (door.worker.running, house.refused()) == (0, [])
    assert sorted(begun) == sorted(runs)


async def test_a_post_waits_until_what_is_asked_at_the_moment_is_known(door: Door, house: House, gate):
    await house.task(gate, name="gate")
    runs = await house.place(door.worker, "gate", 2)
    body, desk = await door.body(runs), house.desks[door.worker]
    answered = desk.hold("given")
    await house.hint(f"session:{door.worker.session}")
    await house.until(lambda: desk.of("given"))
    sending = asyncio.create_task(door.send(body))
    await breathe()
    answered.set()
    assert sorted(took(await sending)) == sorted(runs)
    await gate.holds(2)
    assert door.worker.running == 2
    gate.open()
    await house.all_settled(runs)


async def test_what_there_is_no_room_for_goes_back_unburnt(house: House, gate):
    await house.task(gate, name="gate")
    worker = await house.worker(address="http://w", slots=2)
    await house.idle(worker)
    door = Door(house, worker)
    runs = await house.place(worker, "gate", 3)
    assert len(took(await door.send(await door.body(runs)))) == 3
    await gate.holds(2)
    (back,) = await house.until(lambda: [run for one in runs for run in house.settlements(one)])
    assert (back.state, back.reason, back.tries) == (State.PENDING, Reason.RETURNED, 0)
    gate.open()
    await house.all_ended([run for run in runs if run != back.id])


async def test_what_was_handed_back_before_its_post_came_is_not_begun_by_that(house: House, gate):
    """It is for others by now; a slot that is free again changes nothing."""
    await house.task(gate, name="gate")
    worker = await house.worker(address="http://w", slots=2)
    await house.idle(worker)
    door = Door(house, worker)
    runs = await house.place(worker, "gate", 3)
    body = await door.body(runs)
    await house.beat(worker)
    (back,) = await house.until(lambda: [run for one in runs for run in house.settlements(one)])
    assert (back.state, back.reason) == (State.PENDING, Reason.RETURNED)
    await gate.holds(2)
    worker.slots = 5
    assert len(took(await door.send(body))) == 3
    assert worker.running == 2
    gate.open()
    await house.all_ended([run for run in runs if run != back.id])


async def test_a_worker_that_drains_hands_back_what_is_posted(house: House, gate):
    await house.task(gate, name="gate")
    await house.submit("gate")
    worker = await house.worker(address="http://w", drain_ms=LONG_MS)
    await gate.holds(1)
    door, leaving = Door(house, worker), asyncio.create_task(worker.stop())
    (run,) = await house.place(worker, "gate", 1)
    assert took(await door.send(await door.body([run]))) == [run]
    back = await house.settled(run)
    assert (back.state, back.reason, back.tries, worker.running) == (State.PENDING, Reason.RETURNED, 0, 1)
    gate.open()
    await leaving


async def test_who_was_away_for_too_long_begins_nothing(door: Door, house: House):
    """Its session may have lapsed, and its runs be with others."""
    runs = await house.place(door.worker, "quick", 1)
    body = await door.body(runs)
    house.time.steady += 10_000
    assert took(await door.send(body)) == []
    assert door.worker.running == 0
    assert (await house.run(runs[0])).started_at is None


async def test_who_was_heard_of_meanwhile_begins_what_is_posted(door: Door, house: House):
    for _ in range(3):
        house.time.steady += 9_000
        await house.beat(door.worker)
    runs = await house.place(door.worker, "quick", 1)
    assert took(await door.send(await door.body(runs))) == runs


async def test_a_new_life_takes_nothing_that_is_for_the_old_one(door: Door, house: House):
    (run,) = await house.place(door.worker, "quick", 1)
    body, old = await door.body([run]), door.worker.session
    headers = door.headers(body)
    await leave(house.engine, old, "lapsed")
    await house.until(lambda: door.worker.session != old)
    answer = await door.send(body, headers)
    assert (answer.status_code, SIGNATURE in answer.headers) == (403, True)
    assert took(await door.send(body)) == [], "signed for the new one, but held by the old one"
    assert door.worker.running == 0


async def nothing_begun(door: Door, house: House, run: str) -> None:
    await breathe()
    assert door.worker.running == 0
    held = await house.run(run)
    assert (held.state, held.session) == (State.RUNNING, door.worker.session)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (401, {"token": OTHER}), (401, {"key": "0" * 16}), (403, {"to": "w-" + "0" * 32}), (403, {"call": "settle"}),
        (408, {"ahead_ms": 0}), (408, {"ahead_ms": -1}), (408, {"ahead_ms": MOST_AHEAD_MS + 5_000}),
    ],
)  # fmt: skip
async def test_letters_of_others_and_of_another_time_or_place_are_refused(door: Door, house: House, status, headers):
    (run,) = await house.place(door.worker, "quick", 1)
    body = await door.body([run])
    answer = await door.send(body, door.headers(body, **headers))
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (SIGNATURE in answer.headers) == (status != 401), "who has not proved who it is gets no signature"
    assert answer.json()["detail"]
    await nothing_begun(door, house, run)


async def test_what_is_changed_on_the_way_or_has_no_letter_is_refused(door: Door, house: House):
    (run,) = await house.place(door.worker, "quick", 1)
    body = await door.body([run])
    good = door.headers(body)
    answer_head = sealed(Answer("0" * 32, 202, 0), body, read_key(TOKEN)[1])
    for changed in (
        {SIGNATURE: ""}, {SIGNATURE: "0" * 64}, {HEAD: ""}, {HEAD: "{"}, {HEAD: "null"}, {HEAD: good[HEAD] + " "},
        {HEAD: answer_head.head.decode(), SIGNATURE: answer_head.signature.decode()},
    ):  # fmt: skip
        assert (await door.send(body, good | changed)).status_code == 401, changed
    assert (await door.send(body + b" ", good)).status_code == 401
    assert (await door.send(body, {"Content-Type": "application/json"})).status_code == 401
    assert (await door.send(body, good | {"Content-Type": "text/plain"})).status_code == 415
    await nothing_begun(door, house, run)
    assert took(await door.send(body, good)) == [run], "none of these used up the letter"
    await house.all_settled([run])


async def test_what_is_malformed_or_not_of_the_session_is_refused(door: Door, house: House):
    (run,) = await house.place(door.worker, "quick", 1)
    good = msgspec.json.decode(await door.body([run]))

    def changed(where: str, **members: Any) -> bytes:
        said = msgspec.json.decode(msgspec.json.encode(good))
        (said[where][0]["run"] if where == "runs" else said[where][0]).update(members)
        return msgspec.json.encode(said)

    no_task = msgspec.json.encode(good | {"tasks": []})
    for body in (
        b"", b"{", b"[]", b'"x"', b"\xff", b'{"v":2}', b"[" * 100_000, no_task,
        changed("runs", task="other"), changed("runs", revision=9), changed("tasks", executor="shell"),
        changed("runs", queue="other"),
    ):  # fmt: skip
        answer = await door.send(body)
        assert (answer.status_code, SIGNATURE in answer.headers) == (422, True), body[:80]
    for body in (
        changed("runs", session="w-" + "1" * 32),
        msgspec.json.encode(msgspec.json.decode(changed("runs", lane="main/other/python/", queue="other"))),
    ):
        assert took(await door.send(body)) == []
    await nothing_begun(door, house, run)


async def test_other_paths_and_methods_and_what_is_too_large_are_refused(door: Door, house: House):
    assert (await door.client.get("/health")).json() == {"status": "ok"}
    for method, path, status in (
        ("GET", "/", 404), ("POST", "/api/worker/claim", 404), ("GET", EXECUTE, 405), ("PUT", EXECUTE, 405),
        ("POST", "/health", 405), ("POST", EXECUTE + "/", 404),
    ):  # fmt: skip
        assert (await door.client.request(method, path)).status_code == status, (method, path)
    large = b" " * (BODY_BYTES + 1)
    headers = door.headers(large)
    assert (await door.send(large, headers)).status_code == 413

    async def parts_of_it() -> Any:
        for start in range(0, len(large), 1 << 20):
            yield large[start : start + (1 << 20)]

    assert (await door.client.post(EXECUTE, content=parts_of_it(), headers=headers)).status_code == 413
    assert (await door.send(b"x", door.headers(b"x") | {"Content-Length": "-1"})).status_code == 413


async def test_slow_bodies_are_cut_and_cannot_pile_up(door: Door, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(posted, "READ_S", 0.2)
    never = asyncio.Event()

    async def slow() -> Any:
        yield b"{"
        await never.wait()

    headers = door.headers(b"{}")
    slows = [door.client.post(EXECUTE, content=slow(), headers=headers) for _ in range(MOST_READING + 4)]
    statuses = sorted(one.status_code for one in await asyncio.gather(*slows))
    assert statuses == [408] * MOST_READING + [503] * 4
    assert (await door.send(b"{}")).status_code == 422, "and then it reads again"


async def test_what_cannot_sign_cannot_be_posted_to(house: House):
    for token in ("", "x", mint("link").text):
        with pytest.raises(Invalid, match="token"):
            Post(token, house.time)
