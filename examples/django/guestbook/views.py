"""The one page of the guestbook: a form and the latest entries."""

from django import forms
from django.contrib import messages
from django.shortcuts import redirect, render

from .models import Entry


class EntryForm(forms.ModelForm):
    class Meta:
        model = Entry
        fields = ["name", "text"]
        widgets = {"text": forms.Textarea(attrs={"rows": 4})}


def index(request):
    form = EntryForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        form.save()
        messages.success(request, "Thank you.")
        return redirect("index")
    return render(request, "guestbook/index.html", {"form": form, "entries": Entry.objects.filter(visible=True)[:20]})
