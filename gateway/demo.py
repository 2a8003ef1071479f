"""The demo upstream: echoes what reached it, so that one can see what the gateway forwards.

`python -m gateway.demo PORT` serves it on 127.0.0.1.
"""

from __future__ import annotations

import os
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


async def echo(request: Request) -> JSONResponse:
    """Answer with the request as it arrived."""
    return JSONResponse(
        {
            "message": "Hello from the demo upstream.",
            "instance": {"port": request.scope["server"][1], "process": os.getpid()},
            "method": request.method,
            "path": request.url.path,
            "query": request.url.query,
            "headers": [[name, value] for name, value in request.headers.items()],
            "body_bytes": sum([len(chunk) async for chunk in request.stream()]),
        }
    )


app = Starlette(routes=[Route("/{path:path}", echo, methods=METHODS)])


def main() -> None:
    """Serve until SIGTERM."""
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
