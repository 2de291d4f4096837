from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, render_template_string, request
from flask.views import MethodView

from flask_orders import orders
from flask_orders.hooks import logged

shop = Blueprint("shop", __name__)
admin = Blueprint("admin", __name__)
PAGE = "{% for line in order %}{{ line.name }} {{ line.cents|money }}\n{% endfor %}{{ order.total|money }}"


@shop.get("/")
def home() -> str:
    return "orders"


@shop.get("/order/<number>")
@logged
def order(number: str) -> str:
    found = orders.find(number)
    found.note("read")
    return render_template_string(PAGE, order=found)


@shop.get("/stream")
def stream() -> Response:
    def pieces(count: int = 3) -> Iterator[str]:
        for number in range(count):
            yield str(number)

    def unused_pieces() -> Iterator[str]:
        yield ""

    return Response(pieces())


@shop.get("/async")
async def later() -> str:
    return await _answer(request.args.get("q", ""))


async def _answer(question: str, *, suffix: str = "!") -> str:
    return question + suffix


class Report(MethodView):
    def get(self, year: int) -> str:
        return orders.shown(orders.report(year)) + orders.conditional("x")

    def post(self, year: int) -> str:
        return "posted"


admin.add_url_rule("/report/<int:year>", view_func=Report.as_view("report"))


@admin.post("/order")
def create() -> dict[str, Any]:
    made = orders.Order.parse(request.get_data(as_text=True))
    return {"lines": len(made), "tax": made.tax(made.total), "empty": made.is_empty}


@admin.delete("/order/<number>")
@logged
def delete(number: str) -> str:
    raise NotImplementedError
