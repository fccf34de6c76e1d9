"""What wsgi_preflight says of applications that cannot be imported."""

import re


def complaints(server, **parts):
    """`nginx -t` fails; what it says of the applications: a list of (text, number of the line in nginx.conf)."""
    accepted, output = server.test_config(**parts)
    assert not accepted, f"accepted: {output}"
    return read(server, output)


def read(server, output):
    """The complaints in an output of nginx, or in its log."""
    found = re.findall(r"\[emerg\] (?:\d+#\d+: )?wsgi: (.*) in (\S+):(\d+)$", output, re.M)
    found = [each for each in found if each[1] == str(server.conf_path)]
    return [(text, int(number)) for text, _, number in found]


def line_of(server, marker):
    """The number of the one line of nginx.conf that holds the marker."""
    lines = server.conf_path.read_text().splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if server.expand(marker) in line]
    return number
