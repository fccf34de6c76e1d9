"""What `nginx -t` says to a piece of configuration."""

import re


def accepts(server, **parts):
    """Asserts that the configuration is accepted, without a word of warning."""
    accepted, output = server.test_config(**parts)
    assert accepted, output
    assert "[warn]" not in output, output
    return output


def refuses(server, marker, message, **parts):
    """Asserts that it is refused with exactly `message` at the line of the configuration that holds `marker`.

    `message` is text, or a compiled pattern; the place follows it as nginx writes it, ` in FILE:LINE`.
    """
    accepted, output = server.test_config(**parts)
    assert not accepted, "accepted:\n" + server.conf_path.read_text()
    errors = [line for line in output.splitlines() if "[emerg]" in line]
    assert len(errors) == 1, output
    lines = server.conf_path.read_text().splitlines()
    numbers = [number for number, line in enumerate(lines, 1) if server.expand(marker) in line]
    assert numbers, f"{marker!r} is not in the configuration"
    found = re.fullmatch(r"nginx: \[emerg\] (.*) in (\S+):(\d+)", errors[0])
    assert found, errors[0]
    said, file, line = found.groups()
    if isinstance(message, str):
        assert said == server.expand(message), errors[0]
    else:
        assert message.fullmatch(said), errors[0]
    assert file == str(server.conf_path)
    assert int(line) in numbers, f"{errors[0]}\nexpected line {numbers}"
    return said


def not_allowed(name):
    return f'"{name}" directive is not allowed here'


def wrong_count(name):
    return f'invalid number of arguments in "{name}" directive'


def duplicate(name):
    return f'"{name}" directive is duplicate'
