from __future__ import annotations

from typing import Any

from flask import Flask


class OrderError(Exception):
    def __init__(self, order: str, *, status: int = 400) -> None:
        super().__init__(order)
        self.status = status

    @property
    def text(self) -> str:
        return f"no order {self.args[0]}"

    def retry_after(self) -> int:
        return 5


def register_errors(app: Flask) -> None:
    @app.errorhandler(OrderError)
    def answer(error: OrderError) -> tuple[str, int]:
        return error.text, error.status

    @app.errorhandler(500)
    def broken(error: Any) -> tuple[str, int]:
        return "broken", 500
