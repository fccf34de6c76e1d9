"""The application of the scenes: small and large answers beside each other."""

import plain


def application(environ, start_response):
    answer = plain.body1m if environ["PATH_INFO"] == "/body1m" else plain.hello
    return answer(environ, start_response)
