"""Rules 22 to 32: start_response()."""

from conformance.client import shown
from conformance.probes.rules import probe, section
from conformance.probes.tools import each, expect
from conformance.verdicts import fail
from harness import http

section("start_response()")


@probe("22", "must", "PEP", "Its three arguments may be positional; it returns write()")
def _(server):
    expect(server.ask("/positional"), 200, b"callable")


@probe("23a", "error", "PEP", "A line break in the status gives 500")
def _(server):
    answer = server.ask("/status?break")
    if answer.header("X-Injected"):
        fail("a header is injected")
    if answer.status != 500:
        fail(str(answer))


@probe("23b", "error", "PEP", "A status without three digits gives 500")
def _(server):
    each(server, "/status", ["letters", "short", "long", "empty"])


@probe("24a", "error", "PEP", "A line break in the value of a header gives 500")
def _(server):
    wrong = []
    for name in ("break", "feed"):
        answer = server.ask(f"/header?{name}")
        if b"X-Injected: 1\r\n" in answer.raw and (answer.header("X-Injected") or name == "feed"):
            wrong.append("a header is injected" if name == "break" else "a bare LF is passed on")
        elif answer.status != 500:
            wrong.append(f"{answer}, the header is {'passed on' if answer.header('X-Value') else 'dropped'}")
    if wrong:
        fail("; ".join(dict.fromkeys(wrong)))


@probe("24b", "error", "PEP", "A name of a header that is no token gives 500")
def _(server):
    each(server, "/header", ["name_space", "name_colon", "name_empty", "name_break"])


@probe("24c", "error", "PEP", "A value that is no str, or has more than Latin-1, gives 500")
def _(server):
    each(server, "/header", ["int", "bytes", "none", "euro"])


@probe("24d", "should", "PEP", "Errors of headers are raised by the call, in the application")
def _(server):
    answer = expect(server.ask("/header_raised"), 200)
    if not answer.body.startswith(b"raised"):
        fail("nothing is raised for a line break")


@probe("24e", "must", "PEP", "Headers go out as they are: Latin-1, empty, repeated")
def _(server):
    answer = expect(server.ask("/headers_sent"), 200)
    if answer.all("X-Latin") != ["caf\xe9"]:
        fail(f"`caf\\xe9` becomes {ascii(answer.header('X-Latin'))}")
    if answer.all("Set-Cookie") != ["a=1", "b=2"]:
        fail(f"Set-Cookie: {answer.all('Set-Cookie')}")
    if answer.all("X-Empty") != [""]:
        fail("the empty one is left out")


HOP = ["Connection=close", "Keep-Alive=timeout=5", "Proxy-Authenticate=Basic", "Proxy-Authorization=Basic",
       "TE=trailers", "Trailers=X-A", "Transfer-Encoding=chunked", "Upgrade=x"]


@probe("25", "should", "PEP", "A hop-by-hop header of the application gives 500")
def _(server):
    accepted, passed = [], []
    for pair in HOP:
        name, _, value = pair.partition("=")
        answer = server.ask(f"/hop?{pair}")
        if answer.status != 500:
            accepted.append(name)
            # The server has headers of its own by the two other names.
            if name not in ("Connection", "Transfer-Encoding") and value in answer.all(name):
                passed.append(name)
    if accepted:
        fail(f"no error for {', '.join(accepted)}; passed on: {', '.join(passed) or 'none'}")


@probe("26", "must", "PEP", "Headers wait for the first block, they are not sent by the call")
def _(server):
    with server.connect() as client:
        client.send(http.build("GET", "/early", [("Connection", "close")]))
        server.wait_notes("started")
        early = client.waits(0.25)
        server.go()
        answer = client.answer()
    if early:
        fail("they are sent while the application still works")
    expect(answer, 200, b"late")


@probe("27a", "must", "PEP", "A second call without exc_info gives 500")
def _(server):
    answer = server.ask("/second")
    if answer.status != 500:
        fail(str(answer))


@probe("27b", "must", "PEP", "It does so even if the first call has raised")
def _(server):
    answer = server.ask("/second_after_error")
    if answer.status != 500:
        fail(str(answer))


@probe("28a", "should", "PEP", "With exc_info, before output, the new status and headers count")
def _(server):
    answer = expect(server.ask("/replaced"), 503)
    if answer.header("X-First") or not answer.header("X-Second"):
        fail("the old headers are sent, and the new ones" if answer.header("X-Second") else "the old headers are sent")
    if answer.body != b"replaced":
        fail(f"the body is {shown(answer.body)}, cut to the old Content-Length" if answer.body == b"rep" else
             f"the body is {shown(answer.body)}" if answer.body else "the body is empty")


@probe("28b", "must", "PEP", "With exc_info, after output, the call raises")
def _(server):
    server.ask("/too_late")
    if not server.wait_notes("raised"):
        fail("nothing is raised" if server.notes("not raised") else "the application does not get that far")


@probe("28c", "should", "PEP", "What it raises then is the given exception")
def _(server):
    server.ask("/too_late")
    got = server.wait_notes("raised") or server.notes("not raised")
    if got != ["raised RuntimeError planned"]:
        fail("nothing is raised" if got in ([], ["not raised"]) else got[0])


@probe("29", "should", "PEP", "No reference to exc_info is kept when the request is over")
def _(server):
    expect(server.ask("/frames"), 500)
    alive, kept = server.ask("/frames_after").json()
    if alive:
        fail("the frame lives on after the request" if kept else "a cycle is left to the collector")


def step(answer, body):
    if answer.status == 200 and answer.body == body:
        fail("status and headers of the application are lost, 200 is sent")
    if expect(answer, 202, body).header("X-Step") != "1":
        fail("the headers of the application are lost")


@probe("30a", "must", "PEP", "The first call may come in the first step of the iteration")
def _(server):
    step(server.ask("/first_step"), b"in the first step")


@probe("30b", "usual", "", "It may come after empty blocks")
def _(server):
    step(server.ask("/later_step"), b"in a later step")


@probe("30c", "error", "PEP", "Data before the call gives 500")
def _(server):
    answer = server.ask("/data_first")
    if answer.status != 500:
        fail(str(answer))


@probe("31a", "must", "9110 6.6.1", "The server adds the Date that HTTP asks for")
def _(server):
    if not expect(server.ask("/ok"), 200).header("Date"):
        fail("no Date")


@probe("31b", "must", "9110 5.3", "Date and Server of the application are not doubled")
def _(server):
    answer = expect(server.ask("/own_date"), 200)
    doubled = [name for name in ("Date", "Server") if len(answer.all(name)) > 1]
    if doubled:
        fail(" and ".join(doubled) + (" are" if len(doubled) > 1 else " is") + " sent twice")


@probe("32", "error", "PEP", "No call at all gives 500")
def _(server):
    answer = server.ask("/none")
    if answer.status != 500:
        fail(str(answer))
