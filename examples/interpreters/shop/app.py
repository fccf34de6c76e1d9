"""A shop. Its modules have the names of those in the blog next door."""

import os

import settings


def application(environ, start_response):
    lines = [settings.TITLE, *(f"- {what}: {price} {settings.CURRENCY}" for what, price in settings.PRICES.items()), "",
             f"settings is {settings.__file__}", f"in process {os.getpid()}"]
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return ["\n".join(lines).encode() + b"\n"]
