"""The cluster's dashboard, which takes jobs, tells of them and streams what they print."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from genpipe.errors import GenpipeError, UsageError, nearest
from genpipe.execution.reach import send_token_if_there_is_one, token_mistake, token_to_send
from genpipe.submission.bundle import write
from genpipe.submission.request import Request

ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
CONNECT_SECONDS = 10.0
POLL_SECONDS = 0.5
LOST_SECONDS = 60.0  # for how long a dashboard that went away is asked again
READY_SECONDS = 120.0  # for how long one is asked again whose node's agent, which starts jobs, is not up yet
NOT_READY = "No available agent to submit job"  # Ray's words
END_SECONDS = 60.0  # between the end of a job's output and its end
TALKATIVE = (  # of uploads, and of streams that close
    "ray._private.runtime_env.packaging",
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
)
RECIPE, BASE = "genpipe_recipe", "genpipe_id"  # in a job's metadata

PENDING, RUNNING, STOPPED, SUCCEEDED, FAILED = "PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"
STOPPED_CODE = 143  # of a process that was ended by SIGTERM, as `genpipe cancel` does


@dataclass(frozen=True)
class RemoteJob:
    """A job on the cluster. started: seconds since 1970; base: the id without the number of the attempt."""

    id: str
    recipe: str
    base: str
    status: str
    started: float | None
    ended: float | None
    exit_code: int | None
    message: str

    @property
    def is_over(self) -> bool:
        return self.status in (STOPPED, SUCCEEDED, FAILED)

    @property
    def is_done(self) -> bool:
        return self.status == SUCCEEDED


class Dashboard:
    """address: `http://host:8265`, or https. Raises UsageError or GenpipeError where none answers there."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        _check_address(address)
        send_token_if_there_is_one()
        os.environ[ADDRESS_VARIABLE] = self.address  # which Ray prefers to the argument, and to RAY_ADDRESS
        try:
            from ray.job_submission import JobSubmissionClient
        except ImportError:
            raise UsageError("Ray with its dashboard is not installed (pip install 'ray[default]')") from None
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.ERROR)
        _knock(self.address)
        with self._told():
            self._client: Any = JobSubmissionClient(self.address)

    def jobs(self) -> list[RemoteJob]:
        """Jobs that genpipe submitted, newest first."""
        with self._told():
            found = self._client.list_jobs()
        ours = [_job(detail) for detail in found if detail.submission_id and BASE in (detail.metadata or {})]
        return sorted(ours, key=lambda job: job.started or time.time(), reverse=True)

    def find(self, reference: str) -> RemoteJob:
        """A job by its id, the unique beginning of one, or its recipe's name (the newest)."""
        jobs = self.jobs()
        for job in jobs:
            if reference in (job.id, job.recipe):
                return job
        close = [job for job in jobs if job.id.startswith(reference)]
        if len(close) == 1:
            return close[0]
        hint = f"; it begins {len(close)} jobs" if close else nearest(reference, [job.id for job in jobs])
        raise UsageError(f"there is no job '{reference}' at {self.address}{hint} (`genpipe jobs` lists them)")

    def attempts(self, request: Request) -> list[RemoteJob]:
        """Jobs of this very request, newest first."""
        return [job for job in self.jobs() if job.base == request.id]

    def submit(self, request: Request, number: int) -> str:
        """Sends a request, to a cluster that is only starting too; gives the job's id. number: of the attempt, from 1."""
        job_id = request.id if number == 1 else f"{request.id}-{number}"
        deadline = time.monotonic() + READY_SECONDS
        with TemporaryDirectory(prefix="genpipe-") as folder, self._told():
            write(request.files, Path(folder))
            while True:
                try:
                    self._client.submit_job(
                        entrypoint=request.entrypoint,
                        submission_id=job_id,
                        runtime_env={"working_dir": folder, "env_vars": dict(request.environment)},
                        metadata={RECIPE: Path(request.recipe).stem, BASE: request.id},
                    )
                    return job_id
                except RuntimeError as error:
                    if "already exists" in str(error):  # somebody sent the same a moment ago
                        return job_id
                    if NOT_READY not in str(error) or time.monotonic() > deadline:
                        raise
                time.sleep(POLL_SECONDS)

    def cancel(self, job: RemoteJob) -> bool:
        """Asks a job to stop; False where it is over."""
        with self._told():
            return bool(self._client.stop_job(job.id))

    def job(self, job_id: str) -> RemoteJob:
        with self._told():
            return _job(self._client.get_job_info(job_id))

    def follow(self, job_id: str, write: Callable[[str], object]) -> RemoteJob:
        """Gives all that a job prints to `write`, as it comes, and the job once it is over."""
        seen, lost = 0, None
        while True:
            try:
                if (job := self.job(job_id)).is_over:  # whose stream Ray is slow to end
                    with self._told():
                        write(self._client.get_job_logs(job_id)[seen:])
                    return job
                for text in self._tail(job_id, seen):
                    seen += len(text)
                    write(text)
                    lost = None
                return self._ended(job_id)
            except GenpipeError:
                lost = lost or time.monotonic()
                if time.monotonic() - lost > LOST_SECONDS:
                    raise
                time.sleep(POLL_SECONDS)

    def _tail(self, job_id: str, skip: int) -> Iterator[str]:
        """What a job prints, after its first `skip` characters."""
        loop = asyncio.new_event_loop()
        stream = self._client.tail_job_logs(job_id)
        try:
            while True:
                with self._told():
                    try:
                        text = loop.run_until_complete(anext(stream))
                    except StopAsyncIteration:
                        return
                if kept := text[skip:]:
                    yield kept
                skip = max(0, skip - len(text))
        finally:
            with contextlib.suppress(Exception):  # a stream that broke off cannot be closed
                loop.run_until_complete(stream.aclose())
            loop.close()

    def _ended(self, job_id: str) -> RemoteJob:
        deadline = time.monotonic() + END_SECONDS
        while not (job := self.job(job_id)).is_over and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return job

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What Ray and the libraries under it raise, for a person."""
        import aiohttp
        import requests
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            raise GenpipeError(f"the cluster at {self.address} {token_mistake()}") from error
        except (OSError, RuntimeError, requests.RequestException, aiohttp.ClientError) as error:
            first = str(error).strip().partition("\n")[0] or type(error).__name__
            raise GenpipeError(f"the dashboard at {self.address}: {first}") from error


def _check_address(address: str) -> None:
    expected = "expected its dashboard's, such as http://host:8265"
    if address.startswith("ray://"):
        raise UsageError(f"'{address}' is the address of a Ray client, for `genpipe run`; {expected}")
    if not address.startswith(("http://", "https://")):
        raise UsageError(f"'{address}' is no address of a cluster to submit to; {expected}")


def _knock(address: str) -> None:
    """GenpipeError where no Ray dashboard answers, or it does not let us in; in seconds where nobody is there."""
    import requests

    token = token_to_send()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = requests.get(f"{address}/api/version", timeout=(CONNECT_SECONDS, LOST_SECONDS), headers=headers)
    except requests.ConnectTimeout:
        raise GenpipeError(f"no dashboard answers at {address} within {CONNECT_SECONDS:g} seconds") from None
    except requests.RequestException as error:
        raise GenpipeError(f"no dashboard answers at {address}: {_reason(error)}") from None
    if answer.status_code in (401, 403):
        raise GenpipeError(f"the cluster at {address} {token_mistake()}")
    try:
        answer.json()["ray_version"]
    except (ValueError, KeyError, TypeError):
        raise GenpipeError(f"what answers at {address} is no dashboard of Ray (HTTP {answer.status_code})") from None


def _reason(error: BaseException) -> str:
    """The innermost of the errors that libraries wrap around what the system said."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _job(detail: Any) -> RemoteJob:
    metadata = detail.metadata or {}
    return RemoteJob(
        id=detail.submission_id,
        recipe=metadata.get(RECIPE, ""),
        base=metadata.get(BASE, ""),
        status=str(detail.status),
        started=detail.start_time / 1000 if detail.start_time else None,
        ended=detail.end_time / 1000 if detail.end_time else None,
        exit_code=detail.driver_exit_code,
        message=detail.message or "",
    )
