"""Knative's sample in Python: greets TARGET."""

import os

from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.wasi_http_types import (
    Fields,
    IncomingRequest,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        # What a request holds goes with it, or the instance counts as leaking and serves no other.
        with request:
            target = os.environ.get("TARGET", "World")
            response = OutgoingResponse(Fields())
            body = response.body()
            ResponseOutparam.set(response_out, Ok(response))
            with body.write() as stream:
                stream.blocking_write_and_flush(f"Hello {target}!\n".encode())
            OutgoingBody.finish(body, None)
