"""Small real servers of the flag services, on loopback, for tests.

`FeatBitServer`, `FeatureFlagCoServer` and `HackleServer` speak their protocols from the server's side (Starlette under
uvicorn, real WebSocket, real HTTP) and misbehave on command (`tests.services.faults`). Each is a context manager:

    with FeatBitServer() as server:
        server.put_flag(...)
        ...                                             # connect to server.url, server.ws_url with server.secret
        server.wait_for(lambda s: len(s.events) == 3, timeout_s=5)
        server.misbehave(Stall(at=At.BODY), on=Endpoint.STREAM, times=1)
        server.strike(CloseWith(code=4003))             # open streams, now
        server.refuse(); server.listen()                # the port closes, and comes back
"""
