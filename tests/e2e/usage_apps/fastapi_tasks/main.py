"""A FastAPI app of the ordinary kind: dependencies, models with validators, background tasks, a lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, computed_field, field_validator

from fastapi_tasks.store import MemoryStore, Store, retry

STORE: Store = MemoryStore()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await STORE.open()
    yield
    await STORE.close()


class Task(BaseModel):
    name: str
    minutes: int = 5

    @field_validator("name")
    @classmethod
    def tidy(cls, value: str) -> str:
        return value.strip()

    @computed_field
    @property
    def hours(self) -> float:
        return self.minutes / 60

    def snooze(self, minutes: int = 5) -> None:
        self.minutes += minutes


def current_user(request: Request) -> Iterator[str]:
    yield request.headers.get("x-user", "nobody")


class Pages:
    def __init__(self, page: int = 1) -> None:
        self.page = page

    def __call__(self) -> int:
        return self.page


User = Annotated[str, Depends(current_user)]
router = APIRouter(prefix="/tasks")


@router.get("/{key}")
async def read(key: str, user: User) -> Task:
    found = await STORE.get(key)
    if found is None:
        raise HTTPException(404, detail=missing(key))
    return Task(**found)


@router.post("/")
def create(task: Task, later: BackgroundTasks, pages: Annotated[Pages, Depends()]) -> dict[str, Any]:
    with timed("create") as times:
        later.add_task(index, task.name, weight=pages())
    return {"name": task.name, "timed": times}


@router.delete("/{key}")
async def delete(key: str) -> Response:
    return Response(status_code=204)


def missing(key: str, *, language: str = "en") -> str:
    return f"no {key} ({language})"


def index(name: str, *, weight: int = 1) -> None:
    STORE.put(name, weight)


@contextmanager
def timed(name: str) -> Iterator[list[str]]:
    times = [name]
    try:
        yield times
    finally:
        times.append("end")


@retry(times=2)
async def flaky(count: int = 0) -> int:
    return count + 1


app = FastAPI(lifespan=lifespan)
app.include_router(router)


@app.middleware("http")
async def stamp(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await proceed(request)
    response.headers["x-stamp"] = "1"
    return response


@app.exception_handler(KeyError)
async def on_key_error(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"missing": str(error)}, status_code=410)


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def pieces(count: int) -> AsyncIterator[str]:
        for number in range(count):
            yield str(number)

    return StreamingResponse(pieces(await flaky(2)))


@app.get("/broken")
def broken() -> None:
    raise KeyError("broken")


@app.get("/never")
def never() -> str:
    return max(["never"], key=lambda text: text)
