"""A small Flask application: pages, a form, JSON, and an error that explains itself in the log."""

import flask


def create_app():
    """The factory that `wsgi_pass ...:create_app()` calls once per worker."""
    app = flask.Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 1024 * 1024

    @app.route("/", methods=["GET", "POST"])
    def index():
        if flask.request.method == "POST":
            name = flask.request.form.get("name", "").strip() or "nobody"
            return flask.redirect(flask.url_for("greet", name=name), code=303)
        return flask.render_template("index.html")

    @app.route("/hello/<name>")
    def greet(name):
        return flask.render_template("hello.html", name=name)

    @app.route("/api/sum", methods=["POST"])
    def add():
        numbers = flask.request.get_json()
        if not isinstance(numbers, list) or not all(isinstance(number, (int, float)) for number in numbers):
            flask.abort(400, "a JSON list of numbers is expected")
        return {"numbers": numbers, "sum": sum(numbers)}

    @app.route("/error")
    def error():
        app.logger.warning("about to fail on purpose")
        return str(1 / 0)

    return app
