"""A loopback server that speaks the OpenAI protocol: chat completions, files and batches.

It stands in for api.openai.com, which tests cannot ask: real HTTP over a real socket, made-up
answers. What goes wrong is scripted by the test; the server keeps its own count of what it was
asked and what it answered, so that a client's claims can be checked against it.

As its own process it answers without faults: ``python openai_server.py --latency 0.2`` prints its
address; ``GET /counts`` tells the counts.
"""

import argparse
import asyncio
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, Self

JSON = dict[str, Any]

COMPLETION_TOKENS = 20


@dataclass(frozen=True)
class Asked:
    """One request for a chat completion, as it arrived.

    Attributes:
        body: Its JSON.
        prompt: Its last message.
        times: How often this very body has arrived, this time included.
        at: Clock of the arrival, in seconds.
    """

    body: JSON
    prompt: str
    times: int
    at: float


@dataclass(frozen=True)
class Answer:
    """A completion."""

    content: str | None = "A kind answer."
    finish_reason: str = "stop"
    refusal: str | None = None
    model: str | None = None
    completion_tokens: int = COMPLETION_TOKENS


@dataclass(frozen=True)
class Raw:
    """Any reply: a status, bytes as they are, further headers."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """The first half of a reply, then a reset of the connection."""

    reply: "Answer | Raw" = Answer()


@dataclass(frozen=True)
class Hang:
    """No reply for so many seconds."""

    seconds: float


Reply = Answer | Raw | Cut | Hang


def error(status: int, code: str | None = None, **headers: str) -> Raw:
    """An error in the form that the API gives it; `retry_after` becomes a header."""
    body = {"error": {"message": "made up", "type": "made_up", "code": code}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Raw(json.dumps(body).encode(), status, named)


@dataclass(frozen=True)
class Fate:
    """How a batch ends: its status and the lines of its two files (None: no such file)."""

    status: str = "completed"
    output: list[JSON] | None = None
    errors: list[JSON] | None = None
    error_codes: tuple[str, ...] = ()


def batch_line(request: JSON, **changes: Any) -> JSON:
    """One line of an output file, as section "Batch" of the API reference has it."""
    body = completion(request["body"], Answer(**changes))
    return {
        "id": f"batch_req_{random.getrandbits(64):016x}",
        "custom_id": request["custom_id"],
        "response": {"status_code": 200, "request_id": "req", "body": body},
        "error": None,
    }


def expired_line(request: JSON) -> JSON:
    """One line of the error file of a batch that ran out of time."""
    return {
        "id": f"batch_req_{random.getrandbits(64):016x}",
        "custom_id": request["custom_id"],
        "response": None,
        "error": {"code": "batch_expired", "message": "This request could not be executed."},
    }


def refused_line(request: JSON, status: int = 400) -> JSON:
    """One line of an error file for a request that the server does not accept."""
    body = {"error": {"message": "made up", "code": None, "type": "invalid_request_error"}}
    return {
        "id": f"batch_req_{random.getrandbits(64):016x}",
        "custom_id": request["custom_id"],
        "response": {"status_code": status, "request_id": "req", "body": body},
        "error": None,
    }


def completed(_: int, requests: list[JSON]) -> Fate:
    """All answered, in another order than asked."""
    lines = [batch_line(request) for request in requests]
    random.shuffle(lines)
    return Fate("completed", lines)


def completion(body: JSON, answer: Answer) -> JSON:
    prompt = sum(len(message["content"].split()) for message in body["messages"])
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": answer.model or f"{body['model']}-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": answer.content,
                    "refusal": answer.refusal,
                },
                "logprobs": None,
                "finish_reason": answer.finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": answer.completion_tokens,
            "total_tokens": prompt + answer.completion_tokens,
        },
    }


class OpenAIServer:
    """The server, in a thread of its own while the ``with`` block runs.

    Args:
        behave: Chooses the reply to a chat request; None is a plain answer.
        fate: Chooses how the n-th batch (from 1) with these requests ends.
        spoil: Called with method, path and how often it came, after the request took effect; a
            reply it returns takes the place of the real one.
        latency: Seconds before each answer.
        api_key: The only key that is accepted; None accepts all.
        looks: How often a batch is looked at before it has ended.

    Attributes:
        asked: All chat requests, in order of arrival.
        answered: How often each prompt got a whole answer (as far as the server can know).
        routes: How often each method and path was called.
        batches: All batches by id.
        most_open: The most chat requests under way at a time.
        billed: (prompt tokens, completion tokens) of all completions, cut ones included.
    """

    def __init__(
        self,
        behave: Callable[[Asked], Reply | None] | None = None,
        fate: Callable[[int, list[JSON]], Fate] = completed,
        spoil: Callable[[str, str, int], Reply | None] | None = None,
        latency: float = 0.0,
        api_key: str | None = None,
        looks: int = 1,
    ):
        self._behave, self._fate, self._spoil = behave, fate, spoil
        self._latency, self._api_key, self._looks = latency, api_key, looks
        self.asked: list[Asked] = []
        self.answered: Counter[str] = Counter()
        self.routes: Counter[str] = Counter()
        self.files: dict[str, JSON] = {}
        self.batches: dict[str, JSON] = {}
        self.billed = (0, 0)
        self.most_open = self._open = 0
        self._times: Counter[str] = Counter()
        self.url = ""

    # -- running -----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self.serve(0, ready.set)), daemon=True
        )
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    async def serve(self, port: int, ready: Callable[[], None]) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._connect, "127.0.0.1", port, backlog=1024)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        ready()
        await self._stopped.wait()
        server.close()
        for connection in self._connections:
            connection.cancel()

    def counts(self) -> JSON:
        return {
            "asked": len(self.asked),
            "distinct": len(self._times),
            "answered": sum(self.answered.values()),
            "most_open": self.most_open,
        }

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while True:
                await self._exchange(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client closed, a reply was cut on purpose, or the server ends
        finally:
            self._connections.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        content = await self._read_body(reader, headers)
        path, _, query = target.partition("?")
        self.routes[f"{method} {path}"] += 1
        reply = await self._reply(method, path, query, headers, content)
        if self._spoil is not None:
            reply = self._spoil(method, path, self.routes[f"{method} {path}"]) or reply
        await self._send(reply, writer)

    @staticmethod
    async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await reader.readexactly(int(headers.get("content-length", 0)))
        blocks = []
        while size := int((await reader.readline()).strip(), 16):
            blocks.append(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
        return b"".join(blocks)

    @staticmethod
    async def _send(reply: Reply, writer: asyncio.StreamWriter) -> None:
        if isinstance(reply, Hang):
            await asyncio.sleep(reply.seconds)
            reply = error(504)
        cut = isinstance(reply, Cut)
        whole = reply.reply if isinstance(reply, Cut) else reply
        assert isinstance(whole, Raw)
        lines = [
            f"HTTP/1.1 {whole.status} Made-up",
            "content-type: application/json",
            f"content-length: {len(whole.body)}",
            *(f"{name}: {value}" for name, value in whole.headers.items()),
        ]
        body = whole.body[: len(whole.body) // 2] if cut else whole.body
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        await writer.drain()
        if cut:
            await asyncio.sleep(0.01)
            writer.transport.abort()
            raise ConnectionResetError

    # -- what the API does -------------------------------------------------------------------------

    async def _reply(
        self, method: str, path: str, query: str, headers: dict[str, str], content: bytes
    ) -> Reply:
        if path == "/v1/counts":
            return _json(self.counts())
        if self._api_key and headers.get("authorization") != f"Bearer {self._api_key}":
            self.asked.append(Asked({}, "", 1, time.monotonic()))
            return error(401, "invalid_api_key")
        parts = path.removeprefix("/v1/").split("/")
        reply: Reply = error(404, "unknown_url")
        match method, *parts:
            case "POST", "chat", "completions":
                reply = await self._chat(json.loads(content))
            case "POST", "files":
                reply = _json(self._upload(headers["content-type"], content))
            case "GET", "files":
                reply = _json(_listed([_without(f, "content") for f in self.files.values()], query))
            case "GET", "files", file_id, "content":
                reply = Raw(self.files[file_id]["content"])
            case "DELETE", "files", file_id:
                del self.files[file_id]
                reply = _json({"id": file_id, "object": "file", "deleted": True})
            case "POST", "batches":
                reply = _json(self._create_batch(json.loads(content)))
            case "GET", "batches":
                reply = _json(_listed([_without(b, "looks") for b in self.batches.values()], query))
            case "GET", "batches", batch_id:
                reply = _json(self._look_at(self.batches[batch_id]))
        return reply

    async def _chat(self, body: JSON) -> Reply:
        prompt = body["messages"][-1]["content"]
        self._times[prompt] += 1
        asked = Asked(body, prompt, self._times[prompt], time.monotonic())
        self.asked.append(asked)
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        try:
            await asyncio.sleep(self._latency)
            reply = (self._behave(asked) if self._behave else None) or Answer()
        finally:
            self._open -= 1
        whole = reply.reply if isinstance(reply, Cut) else reply
        if not isinstance(whole, Answer):
            return reply
        answer = completion(body, whole)
        usage = answer["usage"]
        self.billed = (
            self.billed[0] + usage["prompt_tokens"],
            self.billed[1] + usage["completion_tokens"],
        )
        if isinstance(reply, Cut):
            return Cut(_json(answer))
        self.answered[prompt] += 1
        return _json(answer)

    def _upload(self, content_type: str, content: bytes) -> JSON:
        head = f"content-type: {content_type}\r\n\r\n".encode("latin-1")
        for part in BytesParser(policy=HTTP).parsebytes(head + content).iter_parts():
            if part.get_filename():
                return self._store(part.get_filename(), part.get_payload(decode=True))
        raise ValueError("an upload without a file")

    def _store(self, name: str | None, content: bytes) -> JSON:
        file_id = f"file-{len(self.files) + 1}-{random.getrandbits(32):08x}"
        self.files[file_id] = {
            "id": file_id,
            "object": "file",
            "bytes": len(content),
            "created_at": int(time.time()),
            "filename": name,
            "purpose": "batch",
            "status": "processed",
            "content": content,
        }
        return _without(self.files[file_id], "content")

    def _create_batch(self, body: JSON) -> JSON:
        batch_id = f"batch_{len(self.batches) + 1}"
        self.batches[batch_id] = {
            "id": batch_id,
            "object": "batch",
            "endpoint": body["endpoint"],
            "completion_window": body["completion_window"],
            "input_file_id": body["input_file_id"],
            "metadata": body.get("metadata"),
            "status": "in_progress",
            "created_at": int(time.time()),
            "looks": 0,
        }
        return _without(self.batches[batch_id], "looks")

    def _look_at(self, batch: JSON) -> JSON:
        batch["looks"] += 1
        if batch["status"] == "in_progress" and batch["looks"] > self._looks:
            requests = self.requests_of(batch["id"])
            fate = self._fate(int(batch["id"].split("_")[1]), requests)
            batch["status"] = fate.status
            for key, lines in (("output_file_id", fate.output), ("error_file_id", fate.errors)):
                if lines is not None:
                    content = "".join(f"{json.dumps(line)}\n" for line in lines)
                    batch[key] = self._store(f"{key}.jsonl", content.encode())["id"]
            batch["request_counts"] = {
                "total": len(requests),
                "completed": len(fate.output or []),
                "failed": len(fate.errors or []),
            }
            codes = [{"code": code, "message": "made up"} for code in fate.error_codes]
            batch["errors"] = {"object": "list", "data": codes} if codes else None
        return _without(batch, "looks")

    def requests_of(self, batch_id: str) -> list[JSON]:
        """The requests that were handed in with a batch."""
        content = self.files[self.batches[batch_id]["input_file_id"]]["content"]
        return [json.loads(line) for line in content.splitlines()]


def _json(value: JSON) -> Raw:
    return Raw(json.dumps(value).encode(), headers={"x-request-id": "req_made_up"})


def _listed(items: list[JSON], query: str) -> JSON:
    """Newest first, in pages, as the API lists things."""
    wishes = dict(pair.split("=") for pair in query.split("&") if pair)
    newest_first = items[::-1]
    if "after" in wishes:
        ids = [item["id"] for item in newest_first]
        newest_first = newest_first[ids.index(wishes["after"]) + 1 :]
    limit = int(wishes.get("limit", 20))
    return {
        "object": "list",
        "data": newest_first[:limit],
        "has_more": len(newest_first) > limit,
    }


def _without(item: JSON, key: str) -> JSON:
    return {name: value for name, value in item.items() if name != key}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    options = parser.parse_args()
    server = OpenAIServer(latency=options.latency)

    def announce() -> None:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()

    asyncio.run(server.serve(options.port, announce))


if __name__ == "__main__":
    main()
