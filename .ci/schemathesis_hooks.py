"""What schemathesis needs to know of the service beyond its document."""

import schemathesis

# Lines of JSON travel as text.
schemathesis.serializer.alias("application/x-ndjson", "text/plain")


@schemathesis.hook
def before_call(context, case, kwargs):
    """Shortens waits that the document allows: a run would otherwise mostly wait."""
    wait = (case.query or {}).get("wait_ms")
    if isinstance(wait, int) and 100 < wait <= 60_000:
        case.query["wait_ms"] = 100
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("wait_ms"), int) and 100 < body["wait_ms"] <= 60_000:
        case.body = {**body, "wait_ms": 100}  # of a poll
    # A link takes a number from an answer as a number; a header is text.
    for name, value in (case.headers or {}).items():
        if isinstance(value, int):
            case.headers[name] = str(value)
    # An event stream has no end unless it is given one.
    if case.method.upper() == "GET" and case.path.endswith(("/stream", "/follow")) and wait is None:
        case.query = {**(case.query or {}), "wait_ms": 0}
