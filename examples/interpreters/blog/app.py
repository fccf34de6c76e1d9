"""A blog. Its modules have the names of those in the shop next door."""

import os

import settings


def application(environ, start_response):
    lines = [settings.TITLE, *(f"- {post}" for post in settings.POSTS), "",
             f"settings is {settings.__file__}", f"in process {os.getpid()}"]
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return ["\n".join(lines).encode() + b"\n"]
