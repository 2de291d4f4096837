"""The test project's pages."""

from __future__ import annotations

from django.urls import path

from tests.contrib.django_app import views

urlpatterns = [
    path("hello/", views.hello, name="hello"),
    path("hello-async/", views.hello_async),
    path("show/", views.show),
    path("show-async/", views.show_async),
    path("show-nested/", views.show_nested),
    path("show-after-auser/", views.show_after_auser),
    path("show-while-busy/", views.show_while_busy),
    path("below/", views.below),
    path("below-async/", views.below_async),
    path("failing/", views.failing),
    path("failing-async/", views.failing_async),
    path("streamed/", views.streamed),
    path("streamed-async/", views.streamed_async),
    path("sign-in/", views.sign_in),
    path("sign-in-async/", views.sign_in_async),
    path("session-first/", views.session_first),
    path("gated/", views.gated),
    path("gated/<int:number>/", views.gated),
    path("gated-async/", views.gated_async),
    path("gated-by-default/", views.gated_by_default),
    path("gated-class/", views.Gated.as_view()),
    path("gated-class-async/", views.GatedAsync.as_view()),
    path("gated-by-nothing/", views.GatedByNothing.as_view()),
    path("page/", views.page),
]
