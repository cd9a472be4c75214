"""One page, its pictures, and the health that a deploy asks for."""

import io
import json
from importlib.util import find_spec
from pathlib import Path

import psycopg
from django import forms
from django.db import connection
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from lxml import etree, html
from PIL import Image

from .models import Entry

# Only in requirements-native.txt.
CRCMOD = find_spec("crcmod") is not None

# Read once, at start: so /health says which release this process runs, not which one lies on the disk by now.
_MANIFEST = Path(__file__).resolve().parent.parent / ".release.json"
RELEASE = json.loads(_MANIFEST.read_text()) if _MANIFEST.exists() else {"id": "development", "revision": ""}


class EntryForm(forms.Form):
    name = forms.CharField(max_length=80)
    message = forms.CharField(max_length=2000, widget=forms.Textarea)
    picture = forms.FileField(required=False)


def book(request):
    """All entries, and the form that adds one."""
    form = EntryForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        picture = thumbnail(values["picture"]) if values["picture"] else None
        Entry.objects.create(name=values["name"], message=plain(values["message"]), picture=picture)
        return redirect("/")
    footer = f"lxml {etree.__version__}, Pillow {Image.__version__}, psycopg {psycopg.pq.version()}"
    if CRCMOD:
        footer += ", crcmod " + ("with" if find_spec("crcmod._crcfunext") else "without") + " its C extension"
    return render(
        request, "book.html", {"entries": Entry.objects.all()[:100], "form": form, "release": RELEASE, "footer": footer}
    )


def plain(text):
    """The text without markup."""
    return html.fromstring(f"<p>{text}</p>").text_content()


def thumbnail(upload):
    """A picture that is small enough to show."""
    try:
        with Image.open(upload) as image:
            image.thumbnail((240, 240))
            out = io.BytesIO()
            image.convert("RGB").save(out, "JPEG")
            return out.getvalue()
    except OSError:
        return None


def picture(request, number):
    entry = Entry.objects.filter(pk=number).first()
    if entry is None or not entry.picture:
        raise Http404
    return HttpResponse(bytes(entry.picture), content_type="image/jpeg")


def health(request):
    """200 when the database answers and has the schema this code wants."""
    connection.ensure_connection()
    Entry.objects.exists()
    return JsonResponse({"status": "ok", "release": RELEASE["id"], "revision": RELEASE["revision"]})
