"""How gunicorn serves this shop; `python -m gunicorn` reads it when it is started in this folder."""

import os

import flagmw

wsgi_app = "app:app"
bind = f"127.0.0.1:{os.environ.get('PORT', '8000')}"
workers = 2
worker_class = "gthread"  # browsers keep connections open; with "sync" an idle one would occupy a whole worker
threads = 4
graceful_timeout = 3  # seconds; Ctrl-C can find a gthread worker stuck (two signals at once), which is then killed
control_socket_disable = True  # it would be a file in the home directory


def post_worker_init(worker: object) -> None:
    """Let each worker read the flags when it starts; without this it does so in its first request."""
    flagmw.get_client().start()
