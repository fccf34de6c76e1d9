"""Hello by Flask."""

from flask import Flask, Response

application = Flask(__name__)


@application.route("/")
def hello():
    return Response("Hello, World!", mimetype="text/plain")
