"""A process hears of its beginning and its end, however it was made; each test is a program in processes of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.fork_support import run

TOLD_TO_STOP = 1


def test_importing_and_constructing_register_nothing(tmp_path: Path) -> None:
    found = run(
        """
        import atexit
        hooked = []
        os.register_at_fork = lambda **hooks: hooked.append(hooks)
        before = atexit._ncallbacks()
        client = Client(FlagFile(PATH))
        import flagmw.wsgi, flagmw.asgi, flagmw.providers
        constructed = [atexit._ncallbacks() - before, len(hooked)]
        client.start()
        print(json.dumps([constructed, atexit._ncallbacks() - before > 0, len(hooked) > 0]))
        """,
        tmp_path,
    )
    assert found == [[0, 0], True, True]


def test_threads_are_told_to_stop_when_the_interpreter_exits(tmp_path: Path) -> None:
    run("leave_a_note(); print(1)", tmp_path)
    assert stopped(tmp_path) == TOLD_TO_STOP


def test_threads_of_a_forked_child_are_told_to_stop_when_it_exits_and_the_parents_are_not(tmp_path: Path) -> None:
    found = run(
        """
        leave_a_note()
        if (pid := os.fork()) == 0:
            leave_a_note()
            sys.exit(0)
        code = os.waitpid(pid, 0)[1]
        print(json.dumps([code, notes(), threads()]))
        """,
        tmp_path,
    )
    assert found == [0, 1, ["flagmw-note"]]


def test_a_forked_child_without_threads_of_its_own_stops_nothing(tmp_path: Path) -> None:
    found = run(
        """
        leave_a_note()
        if (pid := os.fork()) == 0:
            sys.exit(0)
        print(json.dumps([os.waitpid(pid, 0)[1], notes(), threads()]))
        """,
        tmp_path,
    )
    assert found == [0, 0, ["flagmw-note"]]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_threads_of_a_multiprocessing_child_are_told_to_stop_when_it_returns(tmp_path: Path, method: str) -> None:
    found = run(
        f"""
        import multiprocessing
        if __name__ == "__main__":
            child = multiprocessing.get_context({method!r}).Process(target=leave_a_note)
            child.start()
            child.join(30)
            print(json.dumps([child.exitcode, notes()]))
        """,
        tmp_path,
    )
    assert found == [0, TOLD_TO_STOP]


def test_a_multiprocessing_child_whose_flags_were_used_while_it_was_forked_is_heard_of_as_well(tmp_path: Path) -> None:
    """multiprocessing throws away what was registered between the fork and its own beginning."""
    found = run(
        """
        import multiprocessing
        os.register_at_fork(after_in_child=leave_a_note)
        child = multiprocessing.get_context("fork").Process(target=int)
        child.start()
        child.join(30)
        print(json.dumps([child.exitcode, notes()]))
        """,
        tmp_path,
    )
    assert found == [0, TOLD_TO_STOP]


def test_a_spawned_child_whose_flags_were_used_while_its_program_was_imported_is_heard_of_as_well(
    tmp_path: Path,
) -> None:
    found = run(
        """
        import multiprocessing
        if __name__ == "__main__":
            child = multiprocessing.get_context("spawn").Process(target=int)
            child.start()
            child.join(30)
            print(json.dumps([child.exitcode, notes()]))
        else:
            leave_a_note()
        """,
        tmp_path,
    )
    assert found == [0, TOLD_TO_STOP]


def test_multiprocessing_is_not_loaded_on_our_account(tmp_path: Path) -> None:
    found = run(
        """
        client = Client(FlagFile(PATH))
        client.start()
        print(json.dumps([name for name in ("multiprocessing.util", "celery", "uwsgi") if name in sys.modules]))
        """,
        tmp_path,
    )
    assert found == []


def test_leaving_is_bounded_however_often_it_is_asked_for(tmp_path: Path) -> None:
    found = run(
        """
        Background("flagmw-deaf", lambda stopping: time.sleep(30), exit_timeout_s=0.3).start()
        began = time.monotonic()
        hooks.leave()
        first = time.monotonic() - began
        hooks.leave()
        hooks.leave()
        print(json.dumps([0.25 < first < 1.0, time.monotonic() - began - first < 0.1]))
        """,
        tmp_path,
    )
    assert found == [True, True]


def test_leaving_waits_for_the_longest_time_that_a_thread_asked_for(tmp_path: Path) -> None:
    found = run(
        """
        ended = []
        def slow(stopping):
            stopping.wait()
            time.sleep(0.5)
            ended.append(1)
        Background("flagmw-quick", lambda stopping: stopping.wait(), exit_timeout_s=0.1).start()
        Background("flagmw-slow", slow, exit_timeout_s=20.0).start()
        began = time.monotonic()
        hooks.leave()
        print(json.dumps([ended, time.monotonic() - began < 10.0]))
        """,
        tmp_path,
    )
    assert found == [[1], True]


def test_a_bound_that_is_given_counts(tmp_path: Path) -> None:
    found = run(
        """
        Background("flagmw-deaf", lambda stopping: time.sleep(30), exit_timeout_s=20.0).start()
        began = time.monotonic()
        hooks.leave(0.2)
        print(json.dumps(0.15 < time.monotonic() - began < 5.0))
        sys.stdout.flush()
        os._exit(0)
        """,
        tmp_path,
    )
    assert found is True


def test_a_child_of_a_process_that_leaves_has_its_own_time_to_leave(tmp_path: Path) -> None:
    found = run(
        """
        Background("flagmw-deaf", lambda stopping: time.sleep(30), exit_timeout_s=0.3).start()
        hooks.leave()
        def child():
            Background("flagmw-deaf", lambda stopping: time.sleep(30), exit_timeout_s=0.3).start()
            began = time.monotonic()
            hooks.leave()
            return 0.25 < time.monotonic() - began < 5.0
        print(json.dumps(in_child(child)))
        """,
        tmp_path,
    )
    assert found is True


def test_evaluating_goes_on_after_leaving(tmp_path: Path) -> None:
    found = run(
        """
        client = Client(FlagFile(PATH))
        client.start()
        hooks.leave()
        print(json.dumps([client.variation("f", USER), until(lambda: not threads())]))
        """,
        tmp_path,
    )
    assert found == [0, True]


def test_no_thread_is_started_once_the_interpreter_goes_down(tmp_path: Path) -> None:
    found = run(
        """
        import atexit
        late = Client(FlagFile(PATH))
        @atexit.register
        def after_ours():
            print(json.dumps([late.variation("f", USER), until(lambda: not threads())]))
        Client(FlagFile(PATH)).start()
        """,
        tmp_path,
    )
    assert found == [0, True]


def test_leaving_raises_nothing_whatever_goes_wrong(tmp_path: Path) -> None:
    found = run(
        """
        logging.disable(logging.CRITICAL)
        @hooks.on_leave
        def fail(timeout_s):
            raise ZeroDivisionError
        leave_a_note()
        hooks.leave()
        print(json.dumps(notes()))
        """,
        tmp_path,
    )
    assert found == TOLD_TO_STOP


def test_beginning_builds_in_a_child_what_its_parent_used_and_nothing_else(tmp_path: Path) -> None:
    found = run(
        """
        used, unused = Client(FlagFile(PATH)), Client(FlagFile(PATH))
        used.start()
        def child():
            before = threads()
            hooks.begin()
            return [before, threads(), unused.status.state]
        print(json.dumps(in_child(child)))
        """,
        tmp_path,
    )
    assert found == [[], ["flagmw-source"], "INITIALIZING"]


def test_celerys_signals_begin_and_end_a_worker_process(tmp_path: Path) -> None:
    found = run(
        """
        from celery import signals
        client = Client(FlagFile(PATH))
        client.start()
        def child():
            signals.worker_process_init.send(sender=None)
            begun = threads()
            signals.worker_process_shutdown.send(sender=None, pid=os.getpid(), exitcode=0)
            return [begun, until(lambda: not threads())]
        print(json.dumps([in_child(child), threads()]))
        """,
        tmp_path,
    )
    assert found == [[["flagmw-source"], True], ["flagmw-source"]]


def test_a_projects_own_module_named_uwsgi_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "uwsgi.py").write_text("masterpid = 1\n")
    found = run(
        """
        import uwsgi
        Client(FlagFile(PATH)).start()
        print(json.dumps([hasattr(uwsgi, "post_fork_hook"), hasattr(uwsgi, "atexit")]))
        """,
        tmp_path,
    )
    assert found == [False, False]


def test_a_childs_copy_of_a_socket_is_closed_without_a_word_to_the_peer(tmp_path: Path) -> None:
    found = run(
        """
        import socket
        from flagmw.lifecycle.descriptors import close_in_children
        hooks.install()
        ours, peers = socket.socketpair()
        close_in_children(ours)
        read_end, write_end = os.pipe()
        peers.settimeout(10)
        if (pid := os.fork()) == 0:
            peers.close()
            os.read(read_end, 1)  # stay until the parent has seen what it wants to see
            os._exit(0)
        ours.send(b"on")
        heard = peers.recv(10).decode()
        ours.close()
        heard_of_the_end = peers.recv(10).decode()
        os.write(write_end, b"!")
        print(json.dumps([heard, heard_of_the_end, os.waitpid(pid, 0)[1]]))
        """,
        tmp_path,
    )
    assert found == ["on", "", 0]


def test_a_childs_copy_of_a_file_is_closed_unless_its_number_has_become_another_files(tmp_path: Path) -> None:
    found = run(
        """
        from flagmw.lifecycle.descriptors import close_file_in_children, forget_file
        hooks.install()
        meant = os.open(PATH, os.O_RDONLY)
        close_file_in_children(meant)
        renumbered = os.open(PATH, os.O_RDONLY)
        close_file_in_children(renumbered)
        os.dup2(os.open(os.devnull, os.O_RDONLY), renumbered)
        forgotten = os.open(PATH, os.O_RDONLY)
        close_file_in_children(forgotten)
        forget_file(forgotten)
        def is_open(number):
            try:
                os.fstat(number)
            except OSError:
                return False
            return True
        all_three = [meant, renumbered, forgotten]
        print(json.dumps([in_child(lambda: list(map(is_open, all_three))), list(map(is_open, all_three))]))
        """,
        tmp_path,
    )
    assert found == [[False, True, True], [True, True, True]]


def stopped(folder: Path) -> int:
    """Count the threads that were told to stop."""
    note = folder / "flags.json.note"
    return len(note.read_text().split()) if note.exists() else 0
