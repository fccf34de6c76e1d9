"""Django and Flask under eight threads: views, asynchronous views, sessions, streams, uploads."""

import threading

from harness.apps import notes, wait_notes
from harness.threads import serve
from harness.venv import frameworks

DJANGO = """
    import asyncio

    import django
    from asgiref.sync import async_to_sync, sync_to_async
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import FileResponse, JsonResponse, StreamingHttpResponse
    from django.urls import path
    from django.utils import timezone, translation

    settings.configure(SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], USE_I18N=True, DEBUG=False,
                       LANGUAGES=[("en", "English"), ("de", "German"), ("fr", "French")],
                       DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3",
                                              "NAME": os.path.join(HERE, "database")}},
                       MIDDLEWARE=["django.middleware.common.CommonMiddleware"])
    barrier = threading.Barrier(8)

    def sync(request):
        # The language is kept in a thread-local of asgiref.
        with translation.override(request.GET["language"]):
            barrier.wait(20)
            return JsonResponse({"language": translation.get_language(), "name": request.GET["name"]})

    async def asynchronous(request):
        name = request.GET["name"]
        await asyncio.sleep(0.001)
        again = await sync_to_async(lambda: name.upper())()
        first, second = await asyncio.gather(asyncio.sleep(0.001, name), asyncio.to_thread(lambda: name))
        return JsonResponse({"name": name, "again": again, "both": first + second})

    def bridged(request):
        async def inside():
            await asyncio.sleep(0.001)
            return threading.get_ident()
        return JsonResponse({"same": async_to_sync(inside)() == threading.get_ident(), "name": request.GET["name"]})

    def database(request):
        from django.db import connection
        with connection.cursor() as cursor:
            cursor.execute("select %s", [request.GET["name"]])
            return JsonResponse({"name": cursor.fetchone()[0]})

    def upload(request):
        file = request.FILES["file"]
        return JsonResponse({"name": request.POST["name"], "size": sum(map(len, file.chunks()))})

    def stream(request):
        def blocks():
            try:
                for number in range(50):
                    yield request.GET["name"] * 10_000
            finally:
                note("closed")
        return StreamingHttpResponse(blocks())

    def file(request):
        return FileResponse(open(__file__, "rb"))

    def fails(request):
        raise ValueError(request.GET["name"])

    urlpatterns = [path(view.__name__, view) for view in (sync, asynchronous, bridged, database, upload, stream, file,
                                                          fails)]
    application = get_wsgi_application()
    """
FLASK = """
    import asyncio

    import flask

    application = flask.Flask(__name__)
    application.secret_key = "x"
    barrier = threading.Barrier(8)

    @application.route("/sync")
    def sync():
        flask.g.name = flask.request.args["name"]
        barrier.wait(20)
        return {"name": flask.g.name, "again": flask.request.args["name"]}

    @application.route("/asynchronous")
    async def asynchronous():
        name = flask.request.args["name"]
        await asyncio.sleep(0.001)
        return {"name": flask.request.args["name"], "again": name}

    @application.route("/session")
    def session():
        flask.session["count"] = flask.session.get("count", 0) + 1
        flask.session["name"] = flask.request.args["name"]
        return {"count": flask.session["count"], "name": flask.session["name"]}

    @application.route("/stream")
    def stream():
        @flask.stream_with_context
        def blocks():
            try:
                for number in range(50):
                    yield flask.request.args["name"] * 10_000
            finally:
                note("closed")
        return blocks()

    @application.route("/upload", methods=["POST"])
    def upload():
        return {"name": flask.request.form["name"], "size": len(flask.request.files["file"].read())}

    @application.route("/fails")
    def fails():
        raise ValueError(flask.request.args["name"])

    @application.teardown_request
    def teardown(error):
        assert flask.request.args is not None
    """


def site(nginx, text, **more):
    return serve(nginx, text, threads=8, http=f"wsgi_python_executable {frameworks()}; client_max_body_size 10m;",
                 **{"check_fds": False, **more})


def at_once(server, ask, count=8, turns=4):
    """Eight clients at a time, each a few times; `ask(client, name)` asserts what it gets."""
    problems = []

    def work(number):
        try:
            client = server.connect(timeout=30)
            for turn in range(turns):
                ask(client, f"n{number}t{turn}", number)
        except Exception as error:
            problems.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == [], server.tail()


def multipart(name, size):
    body = (b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + name.encode() +
            b'\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + b"x" * size +
            b"\r\n--b--\r\n")
    return [("Content-Type", "multipart/form-data; boundary=b")], body


def test_django(nginx):
    server = site(nginx, DJANGO)

    def views(client, name, number):
        language = ("en", "de", "fr")[number % 3]
        assert client.request("GET", f"/sync?name={name}&language={language}").json() == {"language": language,
                                                                                        "name": name}
        assert client.request("GET", f"/asynchronous?name={name}").json() == {"name": name, "again": name.upper(),
                                                                            "both": name * 2}
        assert client.request("GET", f"/bridged?name={name}").json()["name"] == name
        assert client.request("GET", f"/database?name={name}").json() == {"name": name}
        assert client.request("GET", f"/stream?name={name}").text == name * 500_000
        headers, body = multipart(name, 300_000)
        assert client.request("POST", "/upload", headers, body).json() == {"name": name, "size": 300_000}
        assert client.request("GET", "/file").body == (server.folder / "app.py").read_bytes()

    at_once(server, views, turns=2)
    assert server.get("/fails?name=x").status == 500
    wait_notes(server, "closed", 16)
    assert len(notes(server, "closed")) == 16
    gone = server.connect(rcvbuf=4096)
    gone.send_request("GET", "/stream?name=gone")
    gone.read_head()
    gone.reset()
    wait_notes(server, "closed", 17)


def test_flask(nginx):
    server = site(nginx, FLASK)

    def views(client, name, number):
        for view in ("sync", "asynchronous"):
            assert client.request("GET", f"/{view}?name={name}").json() == {"name": name, "again": name}
        answer = client.request("GET", f"/session?name={name}")
        cookie = answer.header("Set-Cookie").split(";")[0]
        assert client.request("GET", f"/session?name={name}", [("Cookie", cookie)]).json() == {"count": 2, "name": name}
        assert client.request("GET", f"/stream?name={name}").text == name * 500_000
        headers, body = multipart(name, 300_000)
        assert client.request("POST", "/upload", headers, body).json() == {"name": name, "size": 300_000}

    at_once(server, views, turns=2)
    assert server.get("/fails?name=x").status == 500
    server.wait_for_log("ValueError: x")
    assert len(wait_notes(server, "closed", 16)) == 16


def test_flask_in_interpreters(nginx):
    server = site(nginx, FLASK.replace("threading.Barrier(8)", "threading.Barrier(1)"), start=False)
    (server.folder / "two.py").write_text((server.folder / "app.py").read_text())
    server.parts["http"] += "wsgi_enable_subinterpreters on;"
    server.parts["server"] += "location /two/ { wsgi_pass two.py; }"
    server.start()

    def views(client, name, number):
        prefix = "/two" if number % 2 else ""
        assert client.request("GET", f"{prefix}/sync?name={name}").json() == {"name": name, "again": name}
        assert client.request("GET", f"{prefix}/stream?name={name}").text == name * 500_000

    at_once(server, views, turns=2)
