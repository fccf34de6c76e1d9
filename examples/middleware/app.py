"""Says which middleware the request has passed. The application knows nothing else about them."""


def application(environ, start_response):
    passed = [*environ.get("example.trace", []), "application"]
    body = (" -> ".join(passed) + "\n").encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
