"""The client's calls about batches. A batch takes each row once, so that every one of them may be repeated."""

from collections.abc import Iterator, Sequence

import msgspec

from receiver.client.batch_schemas import BatchChange, BatchPage, BatchRowResult, BatchView, NewBatch
from receiver.client.connection import ApiConnection, join_path
from receiver.client.schemas import BatchItem, NewTask

_DOCUMENT_S = 60.0  # a batch's counts and results are read from many rows


class BatchCalls(ApiConnection):
    """The calls of `Client` about batches."""

    def open_batch(self, asked: NewBatch) -> BatchView:
        """Make a batch. The one that has this name already is returned as it is."""
        return self._call_api("POST", "batches", BatchView, body=asked)

    def add_rows(self, name: str, rows: Sequence[NewTask]) -> list[BatchItem]:
        """Queue up to 100 tasks of a batch, each with its `row_key`. Returns the result for each, in the same order."""
        body = {"tasks": rows, "batch": name}
        return self._call_api("POST", "tasks/batch", list[BatchItem], body=body, timeout_s=_DOCUMENT_S)

    def check_rows(self, name: str, rows: Sequence[NewTask]) -> list[BatchItem]:
        """What `add_rows` would answer, also for a batch that does not exist yet. Nothing is queued."""
        body = {"tasks": rows, "batch": name, "dry_run": True}
        return self._call_api("POST", "tasks/batch", list[BatchItem], body=body, timeout_s=_DOCUMENT_S)

    def get_batch(self, name: str) -> BatchView:
        """One batch."""
        return self._call_api("GET", join_path("batches", name), BatchView, timeout_s=_DOCUMENT_S)

    def list_batches(self, *, limit: int | None = None, cursor: str | None = None) -> BatchPage:
        """A page of batches, newest first."""
        return self._call_api("GET", "batches", BatchPage, query={"limit": limit, "cursor": cursor})

    def change_batch(self, name: str, change: str) -> BatchChange:
        """`close`, `pause` or `resume` a batch."""
        return self._call_api("POST", join_path("batches", name, change), BatchChange, timeout_s=_DOCUMENT_S)

    def change_rows(self, name: str, change: str) -> Iterator[BatchChange]:
        """`cancel` or `retry` a batch: many tasks take several calls, whose results are what is returned."""
        path, cursor = join_path("batches", name, change), None
        while True:
            part = self._call_api("POST", path, BatchChange, query={"cursor": cursor}, timeout_s=_DOCUMENT_S)
            yield part
            if part.next is None:
                return
            cursor = part.next

    def stream_results(self, name: str, *, after: int | None = None) -> Iterator[BatchRowResult]:
        """What became of each row of a batch, by line; only those `after` a line, if it is given."""
        params = None if after is None else {"after": after}
        path = join_path("batches", name, "results")
        request = self._http.build_request("GET", path, params=params, timeout=_DOCUMENT_S)
        with self._translate_errors(), self._open_response(request) as answer:
            if answer.status_code != 200:
                raise self._to_api_error(answer.status_code, self._read_body(answer))
            rest = b""
            for piece in answer.iter_raw():
                *lines, rest = (rest + piece).split(b"\n")
                yield from (msgspec.json.decode(line, type=BatchRowResult) for line in lines if line.strip())
            if rest.strip():
                yield msgspec.json.decode(rest, type=BatchRowResult)
