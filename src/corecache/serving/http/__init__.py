"""HTTP/1.1 over uvicorn, inside the node's own event loop.

In reading order: `server` listens and drains; `connection` and `exchange` turn bytes into ASGI calls and bound what a
client may cost; `app` sends a request to `keyvalue` (the hot path, bare ASGI) or to one of the routes (`listing`,
`batch`, `views`, by Starlette); `plain_reads` answers the usual GET before any call; `parameters` and `bodies` read
what a client has said; `problems` words the errors; `metrics` counts; `openapi` describes it all. What users are
promised is in `docs/http.md`.
"""
