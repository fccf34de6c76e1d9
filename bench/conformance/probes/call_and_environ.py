"""Rules 1 to 15: the call and environ."""

import re

from conformance.asked import DEPLOYED, HEADER_OF_PROCESS
from conformance.probes.rules import probe, section
from conformance.probes.tools import expect_json
from conformance.verdicts import Skip, fail
from harness import http

section("The call and environ")


@probe("1", "must", "PEP", "The application is called with two positional arguments")
def _(server):
    expect_json(server.ask("/call"), [2, []])


@probe("2", "must", "PEP", "environ is exactly a dict, which the application may change")
def _(server):
    expect_json(server.ask("/changed"), ["builtins.dict", False])
    expect_json(server.ask("/changed"), ["builtins.dict", False])


@probe("3", "must", "PEP", "Keys are str, and so are all values of CGI variables")
def _(server):
    told = server.ask("/environ?a=b", [("X-Test", "1")]).json()
    wrong = [f"{key} is {type_}" for key, (type_, _) in told["entries"].items() if "." not in key and type_ != "str"]
    wrong += [f"a key is {name}" for name in told["keys"] if name != "str"]
    if wrong:
        fail(", ".join(wrong))


@probe("4a", "must", "PEP", "Bytes of the path are decoded as Latin-1, one character each")
def _(server):
    path = server.environ("/environ/caf%C3%A9/%FF")["PATH_INFO"]
    if path != "/environ/caf\xc3\xa9/\xff":
        fail(f"PATH_INFO is {ascii(path)}")


@probe("4b", "must", "PEP", "Bytes of headers are decoded as Latin-1, one character each")
def _(server):
    value = server.environ(headers=[("X-Bytes", "caf\xc3\xa9 \xff")]).get("HTTP_X_BYTES")
    if value != "caf\xc3\xa9 \xff":
        fail("the header is left out" if value is None else f"HTTP_X_BYTES is {ascii(value)}")


@probe("5a", "must", "PEP", "REQUEST_METHOD, SERVER_NAME, SERVER_PORT are there, not empty")
def _(server):
    for version, headers in (("1.1", [("Host", "localhost")]), ("1.0", [])):
        environ = server.environ(headers=headers, version=version)
        for key in ("REQUEST_METHOD", "SERVER_NAME", "SERVER_PORT"):
            if not environ.get(key):
                fail(f"{key} is {environ.get(key)!r} in HTTP/{version}")


@probe("5b", "must", "PEP", "SERVER_PROTOCOL is the version that the client used")
def _(server):
    for version in ("1.0", "1.1"):
        got = server.environ(version=version).get("SERVER_PROTOCOL")
        if got != f"HTTP/{version}":
            fail(f"{got!r} for HTTP/{version}")


@probe("6a", "must", "PEP", "SCRIPT_NAME of the root is empty, PATH_INFO begins with a slash")
def _(server):
    environ = server.environ("/environ/")
    got = (environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO"))
    if got != ("", "/environ/"):
        fail(f"SCRIPT_NAME and PATH_INFO are {got}")


@probe("6b", "must", "PEP", "Below a prefix SCRIPT_NAME is the prefix, PATH_INFO the rest")
def _(server):
    environ = server.other("mounted").environ("/mounted/environ/a")
    got = (environ.get("SCRIPT_NAME"), environ.get("PATH_INFO"))
    if got != ("/mounted", "/environ/a"):
        fail(f"SCRIPT_NAME and PATH_INFO are {got}")


@probe("6c", "must", "3875 4.1.5", "A longer name than the prefix is not below it")
def _(server):
    answer = server.other("mounted").ask("/mountedx/environ")
    if answer.status == 200:
        path = answer.json()["entries"]["PATH_INFO"][1]
        if path and not path.startswith("/"):
            fail(f"/mountedx is taken for a path below /mounted, PATH_INFO is {path!r}")


@probe("7a", "must", "3875 4.1.5", "PATH_INFO is decoded once")
def _(server):
    path = server.environ("/environ/a%20b%2541")["PATH_INFO"]
    if path != "/environ/a b%41":
        fail(f"PATH_INFO is {path!r}")


@probe("7b", "usual", "", "The target as it was sent is there too, under any key")
def _(server):
    environ = server.environ("/environ/a%2Fb?c=%20")
    if not any(isinstance(value, str) and "/a%2Fb" in value for value in environ.values()):
        fail("no key has it: `%2F` and `/` cannot be told apart")


@probe("8a", "usual", "3875 4.1.7", "QUERY_STRING is there when the query is empty")
def _(server):
    got = server.environ().get("QUERY_STRING")
    if got != "":
        fail("it is absent" if got is None else f"it is {got!r}")


@probe("8b", "must", "3875 4.1.7", "QUERY_STRING is the query, not decoded")
def _(server):
    got = server.environ("/environ?a=%20b+c&d=%C3%A9?/").get("QUERY_STRING")
    if got != "a=%20b+c&d=%C3%A9?/":
        fail(f"QUERY_STRING is {got!r}")


@probe("9a", "must", "3875 4.1.2", "CONTENT_TYPE and CONTENT_LENGTH are set, and not as HTTP_*")
def _(server):
    environ = server.environ(headers=[("Content-Type", "text/x")], method="POST", body=b"1234")
    got = {key: environ.get(key) for key in ("CONTENT_TYPE", "CONTENT_LENGTH")}
    if got != {"CONTENT_TYPE": "text/x", "CONTENT_LENGTH": "4"}:
        fail(f"{got}")
    twins = sorted(set(environ) & {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"})
    if twins:
        fail(" and ".join(twins))


@probe("9b", "usual", "3875 4.1.2", "Without a body CONTENT_LENGTH is absent, not empty")
def _(server):
    got = server.environ().get("CONTENT_LENGTH")
    if got == "":
        fail("it is empty: int() of it fails")


@probe("10a", "must", "3875 4.1.18", "A repeated header is joined by commas, in order")
def _(server):
    got = server.environ(headers=[("X-Two", "1"), ("X-Other", "x"), ("X-Two", "2")]).get("HTTP_X_TWO", "")
    if got.replace(" ", "") != "1,2":
        fail(f"HTTP_X_TWO is {got!r}")


@probe("10b", "usual", "9113 8.2.3", "Repeated Cookie headers are joined by semicolons")
def _(server):
    got = server.environ(headers=[("Cookie", "a=1"), ("Cookie", "b=2")]).get("HTTP_COOKIE", "")
    if got.replace(" ", "") != "a=1;b=2":
        fail(f"HTTP_COOKIE is {got!r}")


@probe("10c", "usual", "", "A header with an underscore cannot pass for one with a hyphen")
def _(server):
    for headers in ([("X-Real-Name", "true"), ("X_Real_Name", "false")], [("X_Real_Name", "false")]):
        answer = server.ask("/environ", headers)
        if answer.status == 400:
            continue  # a refusal is an answer too
        got = answer.json()["entries"].get("HTTP_X_REAL_NAME", ["", ""])[1]
        if "false" in got:
            fail(f"HTTP_X_REAL_NAME is {got!r}")


@probe("10d", "usual", "", "A header named Proxy does not become HTTP_PROXY")
def _(server):
    if "HTTP_PROXY" in server.environ(headers=[("Proxy", "http://elsewhere/")]):
        fail("HTTP_PROXY is in environ")


@probe("10e", "should", "PEP", "HTTP_* keys are there exactly if the header was sent, even empty")
def _(server):
    environ = server.environ(headers=[("X-Empty", "")])
    if environ.get("HTTP_X_EMPTY") != "":
        fail(f"HTTP_X_EMPTY is {environ.get('HTTP_X_EMPTY')!r}")
    extra = {key for key in environ if key.startswith("HTTP_")} - {
        "HTTP_X_EMPTY", "HTTP_HOST", "HTTP_CONNECTION", HEADER_OF_PROCESS}
    if extra:
        fail(f"{', '.join(sorted(extra))} although no such header was sent")


@probe("11", "must", "PEP", "wsgi.version is the tuple (1, 0), wsgi.url_scheme is http")
def _(server):
    entries = server.ask("/environ").json()["entries"]
    if entries.get("wsgi.version") != ["tuple", "(1, 0)"] or entries.get("wsgi.url_scheme") != ["str", "http"]:
        fail(f"{entries.get('wsgi.version')}, {entries.get('wsgi.url_scheme')}")


@probe("12a", "must", "PEP", "Over TLS wsgi.url_scheme is https")
def _(server):
    got = server.other("tls").environ().get("wsgi.url_scheme")
    if got != "https":
        fail(f"it is {got!r}")


@probe("12b", "should", "PEP", "Over TLS there are HTTPS=on and SSL_PROTOCOL")
def _(server):
    environ = server.other("tls").environ()
    missing = [key for key in ("HTTPS", "SSL_PROTOCOL") if key not in environ]
    if missing or environ["HTTPS"] not in ("on", "1"):
        fail(f"no {' and no '.join(missing)}" if missing else f"HTTPS is {environ['HTTPS']!r}")


@probe("13a", "should", "PEP", "Who deploys can put names and values into environ")
def _(server):
    try:
        told = server.other("deployed")
    except Skip as error:
        fail(str(error))
    got = told.environ().get(DEPLOYED[0])
    if got != DEPLOYED[1]:
        fail(f"{DEPLOYED[0]} is {got!r}")


@probe("13b", "usual", "", "Variables of the process stay out of environ unless asked for")
def _(server):
    if "CONFORMANCE_FOLDER" in server.ask("/environ").json()["process"]:
        fail("all of them are in it, which the PEP allows; secrets among them show wherever environ is shown")


@probe("13c", "usual", "", "None of them passes for a header of the request")
def _(server):
    got = server.environ().get(HEADER_OF_PROCESS)
    if got is not None:
        fail(f"{HEADER_OF_PROCESS} is {got!r} without such a header")
    got = server.environ(headers=[("From-Process", "client")]).get(HEADER_OF_PROCESS)
    if got != "client":
        fail(f"{HEADER_OF_PROCESS} is {got!r} whatever the client sends")


@probe("14", "should", "PEP", "Keys of the server are lower-case with dots, or upper-case CGI")
def _(server):
    told = server.ask("/environ").json()
    wrong = [key for key in told["entries"] if key not in told["process"]
             and not re.fullmatch(r"[A-Z][A-Z0-9_]*|(x-wsgiorg\.)?[a-z0-9_]+(\.[a-z0-9_]+)*", key)]
    if wrong:
        fail(", ".join(sorted(wrong)))


@probe("15a", "usual", "", "wsgi.multithread, .multiprocess, .run_once are real bools")
def _(server):
    entries = server.ask("/environ").json()["entries"]
    names = ("wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once")
    wrong = [f"{name}: {' '.join(map(str, entries.get(name, ['missing'])))}" for name in names
             if entries.get(name, [""])[0] != "bool"]
    if wrong:
        fail(", ".join(wrong))


@probe("15b", "should", "PEP", "wsgi.multiprocess is true with two processes")
def _(server):
    if not server.other("two").environ().get("wsgi.multiprocess"):
        fail("wsgi.multiprocess is false")


@probe("15c", "should", "PEP", "wsgi.multithread is true if two threads do call at a time")
def _(server):
    with server.connect() as one, server.connect() as two:
        for client in (one, two):
            client.send(http.build("GET", "/inside", [("Connection", "close")]))
        told = [client.answer().json() for client in (one, two)]
    if max(together for together, _ in told) > 1 and not all(multithread for _, multithread in told):
        fail("two requests were in the application at the same time, but wsgi.multithread is false")
