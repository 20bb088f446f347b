"""Trying a policy out: who decides is asked about somebody imagined, and nothing comes of the answer."""

from collections.abc import Sequence

import msgspec

from admit.accounts.apps import App
from admit.clock import Clock, new_id
from admit.enrollment import asking
from admit.enrollment.asking import Answer
from admit.enrollment.decision_hook import TEST_PREFIX, Exchange, Hook, Question, request_of
from admit.enrollment.decision_task import TaskAsked, TaskDecider, decision_of
from admit.enrollment.policy import AskHook, AskTask
from admit.jobs.lines import NewLine
from admit.outbound.http import HttpClient
from admit.signin.proof import Proof
from admit.task.payloads import Decision


class HookTrial(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent to a hook and what came back at each attempt, and what all of it came to."""

    url: str
    body: bytes
    exchanges: Sequence[Exchange]
    answer: Answer


class TaskTrial(msgspec.Struct, frozen=True, kw_only=True):
    """What a task was told, what it said and returned, and what it would have sent (`GET https://…`)."""

    told: Decision
    result: bytes | None
    lines: Sequence[NewLine]
    blocked: Sequence[str]
    answer: Answer


Trial = HookTrial | TaskTrial


async def try_hook(
    http: HttpClient, ask: AskHook, proof: Proof, secrets: Sequence[str], clock: Clock
) -> HookTrial:
    """Asks as a first login would, with as many attempts and in the same time.

    The id of the question begins with TEST_PREFIX, which is signed with it, and a full request says `test`.
    """
    question = Question(
        admission_id=new_id(TEST_PREFIX),
        url=ask.url,
        secrets=secrets,
        request=request_of(proof, ask.payload, test=True),
    )
    hook = Hook(http, question, clock)
    answer = await asking.ask(hook, ask.timeout_seconds)
    return HookTrial(url=ask.url, body=hook.body, exchanges=hook.exchanges, answer=answer)


async def try_task(tasks: TaskDecider, app: App, ask: AskTask, proof: Proof) -> TaskTrial:
    """Runs the task in test mode, with as many attempts as a first login has and in the same time."""
    decision = decision_of(proof, new_id(TEST_PREFIX))
    run = tasks.rehearse(app, ask.task, decision)
    answer = await asking.ask(TaskAsked(run, ask.task), ask.timeout_seconds)
    return TaskTrial(told=decision, result=run.result, lines=run.lines, blocked=run.blocked, answer=answer)
