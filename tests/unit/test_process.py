"""Clients in processes that fork and exit: real processes, each running a small program."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest

from flagmw.lifecycle.process import PerProcess
from tests.unit.fork_support import run


def test_a_client_that_was_used_before_a_fork_lives_on_in_the_child(tmp_path: Path) -> None:
    found = run(
        """
        client = Client(FlagFile(PATH))
        client.start()
        def child():
            inherited = client.variation("f", USER)
            before = threads()
            write(1)
            return [inherited, before, until(lambda: client.variation("f", USER) == 1), client.close(5.0), threads()]
        print(json.dumps([in_child(child), until(lambda: client.variation("f", USER) == 1), threads()]))
        """,
        tmp_path,
    )
    assert found == [[0, ["flagmw-source"], True, True, []], True, ["flagmw-source"]]


def test_a_client_that_was_only_built_before_the_fork_starts_in_each_child(tmp_path: Path) -> None:
    found = run(
        """
        client = Client(FlagFile(PATH))
        answers = [in_child(lambda: [client.variation("f", USER), threads()]) for _ in range(3)]
        print(json.dumps([answers, threads()]))
        """,
        tmp_path,
    )
    assert found == [[[0, ["flagmw-source"]]] * 3, []]


def test_a_child_reads_the_file_anew_in_its_first_use(tmp_path: Path) -> None:
    found = run(
        """
        client = Client(FlagFile(PATH))
        client.start()
        client.close(5.0)
        client.start()
        def child():
            write(7)
            return client.variation("f", USER)
        print(json.dumps(in_child(child)))
        """,
        tmp_path,
    )
    assert found == 7


@pytest.mark.parametrize("name", ["flags.json", "flags.yaml"])
def test_a_fork_while_another_thread_starts_the_client_does_no_harm(tmp_path: Path, name: str) -> None:
    """The first start imports what it needs, and a module's lock that is held at a fork is held for ever."""
    found = run(
        """
        answers = []
        for _ in range(30):
            client = Client(FlagFile(PATH))
            starter = threading.Thread(target=client.start)
            starter.start()
            answers.append(in_child(lambda: client.variation("f", USER)))
            starter.join()
            client.close(5.0)
        print(json.dumps(answers))
        """,
        tmp_path,
        name=name,
    )
    assert found == [0] * 30


def test_children_of_children_and_in_memory_updates_after_a_fork(tmp_path: Path) -> None:
    found = run(
        """
        provider = Static({"f": 1})
        client = Client(provider)
        client.start()
        def grandchild():
            provider.update({"f": 3})
            return client.variation("f", USER)
        def child():
            provider.update({"f": 2})
            return [client.variation("f", USER), in_child(grandchild), client.variation("f", USER)]
        print(json.dumps([in_child(child), client.variation("f", USER)]))
        """,
        tmp_path,
    )
    assert found == [[2, 3, 2], 1]


def test_a_process_with_a_running_client_exits_at_once_and_without_a_word(tmp_path: Path) -> None:
    found = run(
        """
        import atexit
        began = time.monotonic()
        atexit.register(lambda: print(json.dumps([threads(), time.monotonic() - began < 5.0])))
        clients = [Client(FlagFile(PATH)) for _ in range(5)]
        for client in clients:
            client.start()
        """,
        tmp_path,
    )
    # This program's exit hook was registered first, so it runs last: nothing of ours is left by then.
    assert found == [[], True]


def test_a_forked_child_of_a_running_client_exits_at_once(tmp_path: Path) -> None:
    found = run(
        """
        client = Client(FlagFile(PATH))
        client.start()
        codes = []
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                client.variation("f", USER)
                sys.exit(0)
            codes.append(os.waitpid(pid, 0)[1])
        print(json.dumps(codes))
        """,
        tmp_path,
    )
    assert found == [0] * 20


def test_importing_flagmw_starts_nothing_and_imports_nothing_heavy(tmp_path: Path) -> None:
    found = run(
        """
        heavy = ["requests", "websocket", "django", "flask", "starlette", "fastapi", "yaml", "watchfiles", "click",
                 "rich", "asyncio", "werkzeug", "socket", "ssl"]
        print(json.dumps([[name for name in heavy if name in sys.modules], threading.active_count()]))
        """,
        tmp_path,
    )
    assert found == [[], 1]


NAMESAKE = """
    def become(pid):
        # ids come back; this process takes that of one that is gone
        import flagmw.client
        os.getpid = flagmw.client.getpid = lambda: pid
"""


def test_a_child_with_the_id_of_a_dead_ancestor_does_not_take_over_its_state(tmp_path: Path) -> None:
    found = run(
        NAMESAKE
        + """
    client = Client(FlagFile(PATH))
    client.start()
    ancestor = os.getpid()
    def grandchild():
        become(ancestor)
        inherited = client.status.state
        value = client.variation("f", USER)
        write(1)
        return [inherited, value, threads(), until(lambda: client.variation("f", USER) == 1)]
    print(json.dumps(in_child(lambda: in_child(grandchild))))
    """,
        tmp_path,
    )
    assert found == ["INITIALIZING", 0, ["flagmw-source"], True]


def test_a_child_with_the_id_of_a_dead_ancestor_does_not_wait_for_its_locks(tmp_path: Path) -> None:
    found = run(
        NAMESAKE
        + """
    import threading
    from flagmw.lifecycle.process import PerProcess
    building, ancestor = threading.Event(), os.getpid()
    def build(previous):
        building.set()
        if ancestor == real():
            time.sleep(60)
        return "built"
    real = os.getpid
    holder = PerProcess(build)
    threading.Thread(target=holder.get, daemon=True).start()
    building.wait(10)
    def child():
        become(ancestor)
        return holder.get()
    print(json.dumps(in_child(child)))
    """,
        tmp_path,
    )
    assert found == "built"


def test_what_an_earlier_hook_of_the_same_fork_has_built_is_kept(tmp_path: Path) -> None:
    found = run(
        """
        client = Client(FlagFile(PATH))
        early = []
        os.register_at_fork(after_in_child=lambda: early.append((client.variation("f", USER), client._processes.state)))
        client.start()
        def child():
            client.variation("f", USER)
            kept = [client._processes.state is early[0][1], threads()]
            hooks.leave()
            return [*kept, until(lambda: not threads())]
        print(json.dumps(in_child(child)))
        """,
        tmp_path,
    )
    assert found == [True, ["flagmw-source"], True]


def test_threads_that_come_at_once_after_a_fork_build_one_state(tmp_path: Path) -> None:
    found = run(
        """
        from flagmw.lifecycle.process import PerProcess
        built = []
        def build(previous):
            built.append(previous)
            time.sleep(0.05)
            return object()
        holder = PerProcess(build)
        holder.get()
        def child():
            built.clear()
            barrier, got = threading.Barrier(8), []
            def come():
                barrier.wait()
                got.append(holder.get())
            comers = [threading.Thread(target=come) for _ in range(8)]
            for comer in comers: comer.start()
            for comer in comers: comer.join()
            return [len(built), len(set(map(id, got)))]
        print(json.dumps([in_child(child) for _ in range(5)]))
        """,
        tmp_path,
    )
    assert found == [[1, 1]] * 5


def test_a_holder_that_nobody_uses_any_more_is_not_kept_alive() -> None:
    holder = PerProcess(lambda previous: 1)
    holder.get()
    gone = weakref.ref(holder)
    del holder
    assert gone() is None


BLIND = """
    os.register_at_fork = lambda **hooks: None  # as where a server forks in C
"""


def test_a_fork_that_runs_no_hook_does_not_wait_for_its_parents_locks(tmp_path: Path) -> None:
    found = run(
        BLIND
        + """
    from flagmw.lifecycle.process import PerProcess
    building, parent = threading.Event(), os.getpid()
    def build(previous):
        building.set()
        if os.getpid() == parent:
            time.sleep(60)
        return "built"
    holder = PerProcess(build)
    threading.Thread(target=holder.get, daemon=True).start()
    building.wait(10)
    print(json.dumps(in_child(holder.get)))
    """,
        tmp_path,
    )
    assert found == "built"


def test_after_a_fork_that_runs_no_hook_flags_and_leaving_are_the_childs_own(tmp_path: Path) -> None:
    found = run(
        BLIND
        + """
    client = Client(FlagFile(PATH))
    client.start()
    leave_a_note()
    hooks.leave(0.0)
    def child():
        inherited = client.variation("f", USER)
        write(1)
        changed = until(lambda: client.variation("f", USER) == 1)
        told = notes()
        leave_a_note()
        hooks.leave(20.0)
        return [inherited, changed, notes() - told]
    until(notes)
    print(json.dumps(in_child(child)))
    """,
        tmp_path,
    )
    assert found == [0, True, 1]
