"""What the database of the guestbook holds."""

from django.db import models
from django.utils import timezone


class Entry(models.Model):
    name = models.CharField(max_length=60)
    text = models.TextField(max_length=1000)
    written = models.DateTimeField(default=timezone.now, editable=False)
    visible = models.BooleanField(default=True)

    class Meta:
        ordering = ["-written"]
        verbose_name_plural = "entries"

    def __str__(self):
        return f"{self.name}, {self.written:%Y-%m-%d %H:%M}"
