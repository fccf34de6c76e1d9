"""Settings of the Django example. Nothing secret is in here: setup.py makes the key and the password."""

import os
import pathlib

BASE_DIR = pathlib.Path(__file__).resolve().parent.parent
# Everything generated, outside of the code. wsgi_env in examples/nginx.conf says where.
RUN = pathlib.Path(os.environ.get("EXAMPLES_RUN") or BASE_DIR.parents[1] / "build" / "serve") / "django"

SECRET_KEY = (RUN / "secret-key").read_text().strip()
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "guestbook",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"

TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {
        "context_processors": [
            "django.template.context_processors.request",
            "django.contrib.auth.context_processors.auth",
            "django.contrib.messages.context_processors.messages",
        ],
    },
}]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": RUN / "db.sqlite3",
        # A locked database makes the event loop wait, so it may not wait for long.
        "OPTIONS": {"timeout": 2},
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

# nginx serves these, see nginx.conf. The location's name is part of the address.
STATIC_URL = "/django/static/"
STATIC_ROOT = RUN / "static"

# Other examples may run on the same host and port.
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = "/django/"

# Without DEBUG Django would only send mail about errors. stderr is nginx's error log. The root logger is left alone:
# all applications of a worker share it.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "loggers": {"django": {"handlers": ["stderr"], "level": "WARNING"}},
}
