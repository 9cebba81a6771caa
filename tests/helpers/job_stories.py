"""A state machine of jobs, workers and a reaper on a real SQLite, and stories played on it."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from helpers import job_rows
from zoo import jobs
from zoo.errors import UsageError
from zoo.job_spec import JobSpec
from zoo.jobs import (
    MOVES,
    NO_FAILURE,
    TERMINAL,
    Claim,
    Database,
    Outcome,
    Pruner,
    QueueOptions,
    Requests,
)
from zoo.jobs.database import Transaction

SPEC = JobSpec(kind="train", model="logistic", params={}, dataset="digits")

ENDS = st.sampled_from(["succeeded", "failed", "timed_out", "cancelled", "pruned"])


class Promises(RuleBasedStateMachine):
    """Jobs, three workers and a reaper; every word may be said again, and too late."""

    template: Path
    """An empty, migrated database: each example starts from a copy."""
    ids = Bundle("ids")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="zoo-moves-"))
        shutil.copy(self.template, self.folder / "zoo.db")
        self.db = Database(f"sqlite:///{self.folder / 'zoo.db'}")
        self.before: dict[str, Any] = {}
        self.live: dict[str, Claim] = {}
        """The one claim of each running job that may still speak."""
        self.commits: dict[str, int] = {}
        self.needs: dict[str, dict[str, bool]] = {}
        """What each job waits for, and whether any end of it will do."""
        self.swept: dict[str, Pruner] = {}
        """The sweeps with rungs."""
        self.most: dict[str, int] = {}
        """How many jobs of a group may run at once."""
        self.paused = False
        self.named: dict[str, Any] = {}
        """The checkpoint that the row of each job has to name."""

    def teardown(self) -> None:
        self.db.close()
        shutil.rmtree(self.folder)

    @rule(target=ids, priority=st.integers(0, 1), tries=st.integers(1, 3), count=st.integers(1, 2))
    def submit(self, priority: int, tries: int, count: int) -> Any:
        ids, _ = jobs.add(
            self.db, [SPEC] * count, QueueOptions(priority=priority), max_attempts=tries
        )
        return multiple(*ids)

    @rule(target=ids, needed=ids, any_end=st.booleans())
    def submit_after(self, needed: str, any_end: bool) -> str:
        found = self.before[needed]
        after = {needed: any_end}
        if not any_end and found["status"] in TERMINAL - {*NO_FAILURE}:
            with pytest.raises(UsageError):
                job_rows.add(self.db, [SPEC], after=after)
            after = {needed: True}
        (job_id,), _ = job_rows.add(self.db, [SPEC], after=after)
        self.needs[job_id] = after
        return job_id

    @rule(target=ids, most=st.integers(1, 2), count=st.integers(2, 4))
    def submit_group(self, most: int, count: int) -> Any:
        ids, group = jobs.add(
            self.db, [SPEC] * count, QueueOptions(max_parallel=most), group_kind="sweep"
        )
        self.most[str(group)] = most
        return multiple(*ids)

    @rule(target=ids, trials=st.integers(1, 5), most=st.sampled_from([None, 1, 2]))
    def submit_sweep(self, trials: int, most: int | None) -> Any:
        options = QueueOptions(max_parallel=most)
        pruner = Pruner("asha", "val_accuracy", max_resource=4, reduction_factor=2)
        ids, group = jobs.add(self.db, [SPEC] * trials, options, group_kind="sweep", pruner=pruner)
        self.swept[str(group)] = pruner
        if most:
            self.most[str(group)] = most
        return multiple(*ids)

    @rule(claim=claims, value=st.sampled_from([None, 0.1, 0.2, 0.3]))
    def pause_at_rung(self, claim: Claim, value: float | None) -> None:
        before = self.before[claim.job]
        status = jobs.pause_trial(self.db, claim, metrics={"val_accuracy": value})
        may = self.is_live(claim) and before["pause_at"] is not None
        assert (status is not None) == may
        if may:
            assert (status == "cancelled") == bool(before["cancel_requested"])
            del self.live[claim.job]

    @rule(job_id=ids)
    def hold(self, job_id: str) -> None:
        found = self.before[job_id]
        is_free = found["status"] == "queued" and not found["held"]
        assert jobs.hold(self.db, [job_id]) == [job_id] * is_free

    @rule(job_id=ids)
    def unhold(self, job_id: str) -> None:
        found = self.before[job_id]
        was_held = found["status"] == "queued" and found["held"]
        assert jobs.unhold(self.db, [job_id]) == [job_id] * was_held

    @rule(job_id=ids, priority=st.integers(-1, 2))
    def change_priority(self, job_id: str, priority: int) -> None:
        jobs.set_priority(self.db, [job_id], priority)

    @rule()
    def pause_or_resume(self) -> None:
        jobs.resume(self.db, "default") if self.paused else jobs.pause(self.db, "default")
        self.paused = not self.paused

    @rule(target=ids, job_id=ids)
    def retry(self, job_id: str) -> Any:
        needs = {
            each: any_end
            for name, any_end in self.needs.get(job_id, {}).items()
            for each in self.with_retries(name)
        }
        retried = {row["retry_of"] for row in self.before.values()}
        failed = [
            name
            for name, any_end in needs.items()
            if not any_end and name not in retried and self.has_failed(name)
        ]
        try:
            new = jobs.retry(self.db, [job_id], max_attempts=3)
        except UsageError:
            assert failed
            return multiple()
        assert not (new and failed)
        for each in new:  # what has ended is not waited for again
            self.needs[each] = {name: a for name, a in needs.items() if self.is_open(name)}
        return multiple(*new)

    def with_retries(self, name: str) -> set[str]:
        """The job, what it was retried as, and what that was retried as."""
        found, new = set[str](), {name}
        while new:
            found |= new
            new = {i for i, row in self.before.items() if row["retry_of"] in new}
        return found

    def has_failed(self, job_id: str) -> bool:
        return self.before[job_id]["status"] in TERMINAL - {*NO_FAILURE}

    def is_open(self, job_id: str) -> bool:
        return self.before[job_id]["status"] not in TERMINAL

    def claimable(self) -> list[Any]:
        """The rows that a worker may take now, the most urgent first."""
        if self.paused:
            return []
        rows = sorted(self.before.values(), key=lambda j: (-j["priority"], j["seq"]))
        left = dict(self.most)
        for row in rows:
            if row["status"] == "running" and row["group_id"] in left:
                left[row["group_id"]] -= 1
        found = []
        for row in rows:
            waits = any(self.is_open(each) for each in self.needs.get(row["id"], ()))
            if row["status"] != "queued" or row["held"] or row["paused"] or waits:
                continue
            if row["group_id"] in left:
                left[row["group_id"]] -= 1
            if left.get(row["group_id"], 0) >= 0:
                found.append(row)
        return found

    @rule(target=claims, worker=st.sampled_from(["w1", "w2", "w3"]))
    def claim(self, worker: str) -> Any:
        best = next(iter(self.claimable()), None)
        taken = jobs.claim(
            self.db,
            pool="default",
            models={"logistic": "p"},
            datasets=["digits"],
            worker=worker,
            lease=1000,
        )
        assert (taken and taken[0].job) == (best and best["id"])
        if taken is None:
            return multiple()
        assert taken[0].job not in self.live, "two live leases on one job"
        self.live[taken[0].job] = taken[0]
        return taken[0]

    @rule(claim=claims)
    def beat(self, claim: Claim) -> None:
        heard = jobs.beat(self.db, claim, lease=1000)
        assert (heard is not None) == self.is_live(claim)
        if heard is not None:
            before = self.before[claim.job]
            asked = Requests(bool(before["cancel_requested"]), bool(before["stop_requested"]))
            assert heard == asked

    @rule(claim=claims, end=ENDS)
    def finish(self, claim: Claim, end: str) -> None:
        where = f"{claim.job}/{claim.attempt}"
        artifact = (where, "0" * 64) if end == "succeeded" else (None, None)
        done = jobs.finish(self.db, claim, Outcome(end, {}, *artifact))
        assert done == self.is_live(claim)
        if done:
            del self.live[claim.job]
            if end == "succeeded":
                self.named.pop(claim.job, None)
            self.commits[claim.job] = self.commits.get(claim.job, 0) + 1

    @rule(claim=claims, number=st.integers(1, 3), advanced=st.booleans())
    def save_checkpoint(self, claim: Claim, number: int, advanced: bool) -> None:
        where = f"{claim.job}/checkpoints/{claim.attempt}-{number}"
        checkpoint = {"where": where, "step": number, "advanced": advanced}
        done = jobs.save_checkpoint(self.db, claim, checkpoint)
        assert done == self.is_live(claim)
        if done:
            self.named[claim.job] = checkpoint

    @rule(claim=claims)
    def drain(self, claim: Claim) -> None:
        self.gives_back(claim, counts=False)

    @rule(claim=claims)
    def runner_dies(self, claim: Claim) -> None:
        found = self.before[claim.job]
        if found["attempt"] < found["max_attempts"]:  # else its worker finishes it as killed
            self.gives_back(claim, counts=True)

    def gives_back(self, claim: Claim, *, counts: bool) -> None:
        done = jobs.release(self.db, claim, code="x", reason="x", counts=counts)
        assert done == self.is_live(claim)
        if done:
            del self.live[claim.job]

    @rule(job_id=ids)
    def cancel(self, job_id: str) -> None:
        before = self.before[job_id]["status"]
        after = {"queued": "cancelled", "running": "running"}.get(before)
        assert jobs.cancel(self.db, job_id) == after

    @rule(job_id=ids)
    def request_stop(self, job_id: str) -> None:
        is_running = self.before[job_id]["status"] == "running"
        assert jobs.request_stop(self.db, job_id) == is_running

    @rule(claim=consumes(claims))
    def worker_falls_silent(self, claim: Claim) -> None:
        if self.is_live(claim):
            self.lapse(claim.job)

    @rule(claim=claims)
    def worker_sleeps_through_its_lease(self, claim: Claim) -> None:
        if self.is_live(claim):  # and may speak again before, or after, it is reaped
            self.lapse(claim.job)

    def lapse(self, job_id: str) -> None:
        past = "UPDATE job SET lease_until = 1 WHERE id = :id AND status = 'running'"
        with self.db.write() as rows:
            rows.run(past, {"id": job_id})

    @rule()
    def reap(self) -> None:
        lapsed = {i for i, j in self.before.items() if j["lease_until"] == 1}
        moved = dict(jobs.reap(self.db, backoff=0))
        assert set(moved) == lapsed
        for job_id, status in moved.items():
            assert status == self.after_loss(self.before[job_id])
            del self.live[job_id]

    def after_loss(self, before: Any) -> str:
        if before["cancel_requested"]:
            return "cancelled"
        named = self.named.get(before["id"])
        own = f"{before['id']}/checkpoints/{before['attempt']}-"
        if named and named["advanced"] and named["where"].startswith(own):
            return "queued"
        return "lost" if before["attempt"] >= before["max_attempts"] else "queued"

    @rule()
    def hints_are_sent_again(self) -> None:
        waiting = {row["id"] for row in self.claimable()}
        assert {hint.job for hint in jobs.take_stale_hints(self.db, after=-1)} == waiting

    def is_live(self, claim: Claim) -> bool:
        return self.live.get(claim.job) == claim

    @invariant()
    def the_promises_hold(self) -> None:
        with self.db.read() as rows:
            found = {j["id"]: j for j in rows.all("SELECT * FROM job")}
            self.attempts_are_told_truly(rows, found)
        assert set(self.before) <= set(found), "an accepted job is gone"
        for job_id, after in found.items():
            self.is_sound(after)
            if job_id in self.before:
                self.was_a_move(self.before[job_id], after)
        names = {i: json.loads(j["checkpoint"]) for i, j in found.items() if j["checkpoint"]}
        assert names == self.named, "a checkpoint that no live attempt has named"
        assert set(self.live) == {i for i, j in found.items() if j["status"] == "running"}
        assert all(n == 1 for n in self.commits.values()), "two commits of one job"
        self.waits_are_kept(found)
        for group, pruner in self.swept.items():
            self.nobody_waits_in_vain(found, group, pruner)
        self.before = found

    def is_sound(self, after: Any) -> None:
        running, succeeded = after["status"] == "running", after["status"] == "succeeded"
        assert running == (after["owner"] is not None) == (after["lease_until"] is not None)
        assert succeeded == (after["artifact"] is not None)
        if succeeded:
            assert after["artifact"] == f"{after['id']}/{after['attempt']}", "not the winner's"
        if after["status"] == "queued":  # nobody could ever claim it otherwise
            assert not after["cancel_requested"] and after["attempt"] < after["max_attempts"]

    def waits_are_kept(self, found: dict[str, Any]) -> None:
        for job_id, needs in self.needs.items():
            statuses = {name: found[name]["status"] for name in needs}
            if found[job_id]["status"] == "queued":
                unmet = [n for n, s in statuses.items() if s in TERMINAL - {*NO_FAILURE}]
                assert all(needs[n] for n in unmet), "it waits for what will never come"
                assert found[job_id]["blockers"] == len(
                    [s for s in statuses.values() if s not in TERMINAL]
                )
        for group, most in self.most.items():
            members = [j for j in found.values() if j["group_id"] == group]
            assert len([j for j in members if j["status"] == "running"]) <= most

    def nobody_waits_in_vain(self, found: dict[str, Any], group: str, pruner: Pruner) -> None:
        """A paused trial is not among the best of its rung, and may still become one of them."""
        members = [j for j in found.values() if j["group_id"] == group]
        entries = jobs.list_rungs(self.db, group)
        under_way = [
            j["pause_at"]
            for j in members
            if j["status"] not in TERMINAL and not j["paused"] and j["pause_at"] is not None
        ]
        for job in members:
            if not (job["status"] == "queued" and job["paused"]):
                continue
            rung = pruner.rungs.index(job["pause_at"])
            others = [e for e in entries if e.rung == rung and e.value is not None]
            best = sorted(others, key=lambda e: (-e.value, found[e.job_id]["seq"]))  # type: ignore[operator]
            most = len([e for e in entries if e.rung == rung]) // pruner.reduction_factor
            assert job["id"] not in [e.job_id for e in best[:most]], "it was to go on"
            assert under_way and min(under_way) <= job["pause_at"], "it waits in vain"

    def was_a_move(self, before: Any, after: Any) -> None:
        assert after["attempt"] >= before["attempt"], "an attempt was taken back"
        pair = (before["status"], after["status"])
        if before["status"] in TERMINAL:
            assert before == after, "a terminal row has changed"
        elif pair[0] != pair[1]:
            assert pair in MOVES

    def attempts_are_told_truly(self, rows: Transaction, found: dict[str, Any]) -> None:
        open_ones = "SELECT job_id, n FROM attempt WHERE ended_at IS NULL"
        under_way = {(row["job_id"], row["n"]) for row in rows.all(open_ones)}
        running = {(i, j["attempt"]) for i, j in found.items() if j["status"] == "running"}
        assert under_way == running


class Story(Promises):
    """The machine played by hand: after each step the promises are looked at."""

    def step(self, act: str, *args: Any, **named: Any) -> Any:
        given = getattr(self, act)(*args, **named)
        self.the_promises_hold()
        values = getattr(given, "values", (given,))
        return values[0] if values else None

    def one_job(self, tries: int = 3) -> tuple[str, Claim]:
        job_id = self.step("submit", priority=0, tries=tries, count=1)
        return job_id, self.step("claim", worker="w1")

    def is_taken_over(self) -> tuple[Claim, Claim]:
        """A worker sleeps through its lease, and another has the job when it wakes."""
        _, old = self.one_job()
        self.step("worker_sleeps_through_its_lease", old)
        self.step("reap")
        return old, self.step("claim", worker="w2")


def late_finish(story: Story) -> None:
    old, _ = story.is_taken_over()
    story.step("finish", old, "succeeded")


def late_beat(story: Story) -> None:
    old, _ = story.is_taken_over()
    story.step("beat", old)


def late_drain(story: Story) -> None:
    old, _ = story.is_taken_over()
    story.step("drain", old)


def late_checkpoint(story: Story) -> None:
    old, _ = story.is_taken_over()
    story.step("save_checkpoint", old, 1, advanced=True)


def late_finish_while_it_waits(story: Story) -> None:
    _, old = story.one_job()
    story.step("worker_sleeps_through_its_lease", old)
    story.step("reap")
    story.step("finish", old, "failed")


def second_finish(story: Story) -> None:
    _, held = story.one_job()
    story.step("finish", held, "succeeded")
    story.step("finish", held, "failed")


def cancelled_and_lost(story: Story) -> None:
    job_id, held = story.one_job()
    story.step("cancel", job_id)
    story.step("worker_sleeps_through_its_lease", held)
    story.step("reap")


def cancelled_and_drained(story: Story) -> None:
    job_id, held = story.one_job()
    story.step("cancel", job_id)
    story.step("drain", held)


def lost_for_the_last_time(story: Story) -> None:
    _, held = story.one_job(tries=1)
    story.step("worker_sleeps_through_its_lease", held)
    story.step("reap")


def lost_beyond_its_checkpoint(story: Story) -> None:
    _, held = story.one_job(tries=1)
    story.step("save_checkpoint", held, 1, advanced=True)
    story.step("worker_sleeps_through_its_lease", held)
    story.step("reap")
    # Of the next attempt the checkpoint is not.
    story.step("worker_sleeps_through_its_lease", story.step("claim", worker="w2"))
    story.step("reap")


def reaped_in_time(story: Story) -> None:
    story.one_job()
    story.step("reap")


LATE = [
    late_finish,
    late_beat,
    late_drain,
    late_checkpoint,
    late_finish_while_it_waits,
    second_finish,
]

STORIES = [
    *LATE,
    *(cancelled_and_lost, cancelled_and_drained, lost_for_the_last_time, reaped_in_time),
    lost_beyond_its_checkpoint,
]


def claimed_twice(story: Story) -> None:
    story.one_job()
    story.step("claim", worker="w2")


def claimed_after_a_loss(story: Story) -> None:
    story.is_taken_over()


def claimed_by_urgency(story: Story) -> None:
    story.step("submit", priority=0, tries=1, count=1)
    story.step("submit", priority=1, tries=1, count=1)
    story.step("claim", worker="w1")


def claimed_while_held(story: Story) -> None:
    job_id = story.step("submit", priority=0, tries=1, count=1)
    story.step("hold", job_id)
    story.step("claim", worker="w1")


def claimed_before_what_it_waits_for(story: Story) -> None:
    first, _ = story.one_job()
    story.step("submit_after", first, any_end=True)
    story.step("claim", worker="w2")


def claimed_out_of_turn(story: Story) -> None:
    story.step("submit_group", most=1, count=2)
    story.step("claim", worker="w1")
    story.step("claim", worker="w2")


def claimed_from_a_paused_pool(story: Story) -> None:
    story.step("submit", priority=0, tries=1, count=1)
    story.step("pause_or_resume")
    story.step("claim", worker="w1")


def a_need_that_fails(story: Story) -> None:
    first, held = story.one_job()
    story.step("submit_after", first, any_end=False)
    story.step("finish", held, "failed")


def a_need_that_is_lost(story: Story) -> None:
    first, held = story.one_job(tries=1)
    story.step("submit_after", first, any_end=True)
    story.step("worker_sleeps_through_its_lease", held)
    story.step("reap")
    story.step("claim", worker="w2")


def a_need_that_is_cancelled_while_it_runs(story: Story) -> None:
    first, held = story.one_job()
    story.step("submit_after", first, any_end=True)
    story.step("cancel", first)
    story.step("drain", held)
    story.step("claim", worker="w2")


def a_turn_that_goes_on(story: Story) -> None:
    story.step("submit_group", most=1, count=2)
    story.step("finish", story.step("claim", worker="w1"), "failed")
    story.step("claim", worker="w1")


WAITS = [
    *(claimed_while_held, claimed_before_what_it_waits_for, claimed_out_of_turn),
    *(claimed_from_a_paused_pool, a_need_that_fails, a_need_that_is_lost),
    *(a_need_that_is_cancelled_while_it_runs, a_turn_that_goes_on),
]
