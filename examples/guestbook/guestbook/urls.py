from django.urls import path

from . import views

urlpatterns = [path("", views.book), path("health", views.health), path("picture/<int:number>", views.picture)]
