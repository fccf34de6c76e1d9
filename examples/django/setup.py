"""Makes what the Django example needs in its runtime folder; does nothing when it is there already.

examples/setup.sh runs it with the interpreter of the virtual environment and EXAMPLES_RUN in its environment.
"""

import os
import pathlib
import secrets
import sqlite3
from importlib.metadata import version

HERE = pathlib.Path(__file__).resolve().parent
RUN = pathlib.Path(os.environ.get("EXAMPLES_RUN") or HERE.parents[1] / "build" / "serve") / "django"
PASSWORD = RUN / "admin-password"
READY = RUN / "ready"


def write_secret(path):
    """A random text in a file that only its owner can read; its text."""
    text = secrets.token_urlsafe(40 if path.name == "secret-key" else 12)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
    return text


def recipe():
    """Changes whenever the set-up has to run again: with another Django, or another migration."""
    migrations = sorted(path.name for path in (HERE / "guestbook" / "migrations").glob("0*.py"))
    return " ".join(["django", version("django"), *migrations]) + "\n"


def set_up():
    import django
    from django.core.management import call_command

    os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
    if not (RUN / "secret-key").exists():
        write_secret(RUN / "secret-key")
    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    # Readers and a writer in different workers do not wait for each other. SQLite keeps this in the file.
    with sqlite3.connect(RUN / "db.sqlite3") as database:
        database.execute("PRAGMA journal_mode = WAL")
    database.close()
    call_command("collectstatic", verbosity=0, interactive=False, clear=True)

    from django.contrib.auth import get_user_model
    users = get_user_model().objects
    if not users.filter(username="admin").exists():
        PASSWORD.unlink(missing_ok=True)
        users.create_superuser("admin", password=write_secret(PASSWORD))


def main():
    RUN.mkdir(parents=True, exist_ok=True)
    if not READY.exists() or READY.read_text() != recipe():
        print("examples: preparing the Django project in", RUN)
        set_up()
        READY.write_text(recipe())
    if PASSWORD.exists():
        print("examples: Django's admin: user admin, password", PASSWORD.read_text().strip())


if __name__ == "__main__":
    main()
