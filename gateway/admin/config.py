"""``/config``: the whole configuration, read, compared or replaced as one declarative file.

The work is done by a process of its own, one at a time. That there is a database and yet this path
is ours; the rest is as in reference sheet admin-api.md, section 8.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from gateway.admin.actor import actor_of
from gateway.admin.body import read_body
from gateway.admin.endpoint import Handler
from gateway.admin.errors import RETRY_AFTER_S, ApiError, invalid_option, plain
from gateway.admin.query import parse_pairs, parse_query
from gateway.admin.responses import MEDIA_TYPE, VERSION_HEADER, JsonResponse
from gateway.declarative.job import Job, Outcome, Progress, Task, needed_settings
from gateway.declarative.process import Answer, run
from gateway.declarative.text import Format
from gateway.entities.types import Tag
from gateway.settings import NodeSettings

PATH = "/config"
MOST_SELECT_TAGS = 100

OWN_DEADLINE = 0.95
"""The part of the deadline of a request after which we give up, and still have time to say so."""

_STATUS = {
    Outcome.DONE: 200,
    Outcome.INVALID: 400,
    Outcome.REFUSED: 409,
    Outcome.UNAVAILABLE: 503,
}
_FLAGS = {"": True, "1": True, "true": True, "0": False, "false": False}
_FORMATS: dict[str, Format] = {"yaml": "yaml", "json": "json"}
_TAGS: TypeAdapter[list[str]] = TypeAdapter(list[Tag])

_log = structlog.get_logger(__name__)


class ConfigResource:
    """Reads and writes everything; only one request at a time, any other is told to come back."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._progress: Progress | None = None

    def paths(self) -> Mapping[str, Mapping[str, Handler]]:
        """Return the handlers by path and method."""
        return {
            PATH: {"GET": self.export, "POST": self.write},
            f"{PATH}/progress": {"GET": self.progress},
        }

    async def export(self, request: Request) -> Response:
        """Return everything, or what has all of the selected tags, as the text of a file."""
        query = parse_query(request.scope["query_string"])
        form = _FORMATS.get(query.get("format", "yaml"))
        if form is None:
            raise invalid_option("format", f"expected one of: {', '.join(_FORMATS)}")
        job = self._job(request, "export", self._time(), form=form)
        return _response(await self._done(job, b""))

    async def write(self, request: Request) -> Response:
        """Make the configuration what the body says, or tell what that would change."""
        left_s = self._time()
        query = parse_query(request.scope["query_string"])
        task: Task = "compare" if _flag(query, "dry_run") else "write"
        flatten_errors = _flag(query, "flatten_errors")
        self._refuse_if_busy()
        limit_bytes = self._settings.admin_body_limit_bytes
        body = await read_body(request, limit_bytes, "admin_body_limit_bytes")
        job = self._job(request, task, left_s, flatten_errors=flatten_errors)
        return _response(await self._done(job, body), is_write=task == "write")

    async def progress(self, request: Request) -> Response:
        """Tell how far the request is that this node is working on."""
        del request
        return JsonResponse({"progress": self._progress and asdict(self._progress)})

    def _time(self) -> Callable[[], float]:
        """Return what tells how many seconds this request has left from now on."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + OWN_DEADLINE * self._settings.admin_timeout_s
        return lambda: max(0.0, deadline - loop.time())

    def _job(
        self, request: Request, task: Task, left_s: Callable[[], float], **further: Any
    ) -> Job:
        return Job(
            task=task,
            needed=needed_settings(self._settings),
            actor=actor_of(request),
            deadline_s=left_s(),
            select_tags=_select_tags(request),
            content_type=request.headers.get("content-type", ""),
            **further,
        )

    def _refuse_if_busy(self) -> None:
        if self._progress is not None:
            message = {"message": "Currently loading previous configuration"}
            raise ApiError(429, message, {"Retry-After": str(RETRY_AFTER_S)})

    async def _done(self, job: Job, body: bytes) -> Answer:
        """Do a job. Raises the answer if there is another one, or if it is not done in time."""
        self._refuse_if_busy()
        self._progress = Progress("start")
        try:
            async with asyncio.timeout(job.deadline_s):
                return await run(job, body, self._note)
        except TimeoutError:
            raise self._too_late() from None
        finally:
            self._progress = None

    def _too_late(self) -> ApiError:
        message = "Timed out while loading configuration"
        if self._progress is not None and self._progress.step == "commit":
            message += "; it may or may not be committed: compare it again"
        return plain(504, f"{message} (admin_timeout_s is {self._settings.admin_timeout_s:g})")

    def _note(self, progress: Progress) -> None:
        self._progress = progress


def _response(answer: Answer, *, is_write: bool = False) -> Response:
    if answer.outcome is Outcome.FAILED:
        _log.error("a declarative file failed", reason=answer.document.decode())
        raise plain(500, "An unexpected error occurred")
    headers = {}
    if is_write and answer.version is not None:
        headers[VERSION_HEADER] = str(answer.version)
    if answer.outcome is Outcome.UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return Response(answer.document, _STATUS[answer.outcome], headers, MEDIA_TYPE)


def _flag(query: Mapping[str, str], name: str) -> bool:
    flag = _FLAGS.get(query.get(name, "0"))
    if flag is None:
        raise invalid_option(name, "expected 0 or 1")
    return flag


def _select_tags(request: Request) -> tuple[str, ...]:
    """Return all values of ``select_tag``, which may be given more than once."""
    pairs = parse_pairs(request.scope["query_string"])
    tags = [value for name, value in pairs if name == "select_tag"]
    try:
        checked = tuple(_TAGS.validate_python(tags, strict=True))
    except ValidationError:
        raise invalid_option("select_tag", "expected a tag") from None
    if len(checked) > MOST_SELECT_TAGS:
        raise invalid_option("select_tag", f"cannot select by more than {MOST_SELECT_TAGS} tags")
    return checked
