from django.urls import path, register_converter

from django_library.books import views


class ShelfConverter:
    regex = "[a-z]+"

    def to_python(self, value):
        return value.upper()

    def to_url(self, value):
        return value.lower()


register_converter(ShelfConverter, "shelf")
urlpatterns = [
    path("", views.index),
    path("shelf/<shelf:name>", views.shelf, name="shelf"),
    path("book/<int:pk>", views.BookView.as_view()),
    path("page", views.Page.as_view()),
    path("slow", views.slow),
    path("never", views.never),
]
