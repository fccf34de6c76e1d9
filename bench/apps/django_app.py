"""Hello by Django, and one row of PostgreSQL by its primary key; the connection stays open."""

import os

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import models
from django.http import HttpResponse, JsonResponse
from django.urls import path

SQL = """
    CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL);
    INSERT INTO item SELECT n, 'item ' || n FROM generate_series(0, 999) n;
    ANALYZE item;
"""

settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="of a benchmark", USE_TZ=True, LOGGING_CONFIG=None,
    MIDDLEWARE=["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"],
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "tester",
        "HOST": os.environ.get("BENCH_DATABASE", ""), "CONN_MAX_AGE": None}})
django.setup()


class Item(models.Model):
    name = models.TextField()

    class Meta:
        app_label, db_table, managed = "bench", "item", False


def hello(request):
    return HttpResponse("Hello, World!", content_type="text/plain")


def item(request):
    return JsonResponse({"name": Item.objects.get(pk=7).name})


urlpatterns = [path("", hello), path("item", item)]
application = get_wsgi_application()
