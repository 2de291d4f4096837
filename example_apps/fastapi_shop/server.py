"""Runs this shop under uvicorn: `python server.py` in this folder."""

import os

import uvicorn

if __name__ == "__main__":
    uvicorn.run("main:app", host="127.0.0.1", port=int(os.environ.get("PORT", "8000")), workers=2, access_log=False)
