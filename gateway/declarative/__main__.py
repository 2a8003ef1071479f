"""The process that does a job with a whole configuration, beside the node: ``job`` has the talk.

What anything else prints goes to standard error.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from typing import Any, BinaryIO

from gateway.declarative.body import read_body
from gateway.declarative.bounds import ReadError
from gateway.declarative.checking import check
from gateway.declarative.job import Ending, Job, Outcome, Progress, line_of
from gateway.declarative.problems import InvalidConfigError
from gateway.declarative.refusals import invalid_config, unreadable_config
from gateway.declarative.text import as_text
from gateway.declarative.work import Result, compare, export, write_all
from gateway.plugins import registry
from gateway.store.errors import StoreError, StoreUnavailable


def main() -> None:
    """Do the job that standard input says."""
    said = _take_standard_output()
    job = Job.from_line(sys.stdin.buffer.readline())
    registry.configure(job.settings())
    outcome, document, version = _do(job, sys.stdin.buffer.read(), said)
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    said.write(line_of(Ending(outcome, len(body), version)) + body)
    said.flush()


def _take_standard_output() -> BinaryIO:
    """Return standard output, and let everybody else write to standard error in its place."""
    said = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return said


def _do(job: Job, body: bytes, said: BinaryIO) -> tuple[Outcome, dict[str, Any], int | None]:
    def tell(step: str, done: int, total: int) -> None:
        said.write(line_of(Progress(step, done, total)))
        said.flush()

    try:
        result = _result(job, body, tell)
    except ReadError as error:
        return Outcome.INVALID, unreadable_config(error), None
    except InvalidConfigError as error:
        return Outcome.INVALID, invalid_config(error, flatten=job.flatten_errors), None
    except (StoreUnavailable, TimeoutError) as error:
        return Outcome.UNAVAILABLE, {"message": str(error) or "the deadline has passed"}, None
    except StoreError as error:
        return Outcome.REFUSED, {"message": str(error)}, None
    except Exception:  # noqa: BLE001 - the node logs it
        return Outcome.FAILED, {"message": traceback.format_exc()}, None
    return Outcome.DONE, result.document, result.version


def _result(job: Job, body: bytes, tell: Any) -> Result:
    if job.task == "export":
        result = _run(job, export(job.settings(), job.select_tags, tell))
        tell("render", 0, 0)
        return Result({"config": as_text(result.document, job.form)}, result.version)
    tell("read", 0, 0)
    value = read_body(body, job.content_type)
    tell("check", 0, 0)
    declaration = check(value, job.select_tags)
    if job.task == "compare":
        return _run(job, compare(job.settings(), declaration, tell))
    return _run(job, write_all(job.settings(), declaration, job.actor, tell))


def _run(job: Job, work: Any) -> Result:
    async def in_time() -> Result:
        async with asyncio.timeout(job.deadline_s):
            result: Result = await work
            return result

    return asyncio.run(in_time())


if __name__ == "__main__":
    main()
