"""An application of one interpreter inside the slice of another: an error page that the head of a response leads to."""

import pytest

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("ETag", '"one"')])
    return [b"application"]
"""
PAGE = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"page"]
"""


@pytest.mark.parametrize("interpreters", ["a b", "a a", "a main", "main b", "main main"])
def test_an_error_page_inside_of_a_response(nginx, interpreters):
    def interpreter(name):
        return "wsgi_use_main_interpreter on;" if name == "main" else f"wsgi_interpreter {name};"

    first, second = map(interpreter, interpreters.split())
    server = nginx(f"""
        location / {{ wsgi_pass app.py; {first} error_page 412 /page; }}
        location /page {{ wsgi_pass page.py; {second} }}
        """, apps={"app.py": APP, "page.py": PAGE}, http="wsgi_enable_subinterpreters on;")
    for _ in range(3):
        answer = server.get("/", [("If-Match", '"two"')])
        assert (answer.status, answer.body) == (412, b"page")
        assert server.get("/").body == b"application"
