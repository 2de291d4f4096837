"""A Flask app of the ordinary kind: blueprints, decorators, a service layer, hooks, an error page."""

from flask import Flask

from flask_orders.errors import register_errors
from flask_orders.hooks import register_hooks


def create_app():
    app = Flask(__name__)
    register_hooks(app)
    register_errors(app)
    from flask_orders.views import admin, shop

    app.register_blueprint(shop)
    app.register_blueprint(admin, url_prefix="/admin")
    app.add_template_filter(as_money, "money")
    return app


def as_money(cents, currency="EUR"):
    return f"{cents / 100:.2f} {currency}"


def create_worker():
    raise NotImplementedError
