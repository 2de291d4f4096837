"""A small shop on Django. What flagmw needs here is in `settings`: an app, a middleware and one setting."""
