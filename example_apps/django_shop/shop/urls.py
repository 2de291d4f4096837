"""URLs of the shop."""

from pathlib import Path

from django.urls import path
from django.views.static import serve

from . import views

STATIC = Path(__file__).parent.parent / "static"

urlpatterns = [
    path("", views.product, name="product"),
    path("checkout", views.checkout, name="checkout"),
    path("visitor/<field>/<value>", views.choose, name="choose"),
    path("flags.json", views.flags_json),
    # Enough for a demo; in production the web server or WhiteNoise serves these files.
    path("static/<path:path>", serve, {"document_root": STATIC}, name="static"),
]
