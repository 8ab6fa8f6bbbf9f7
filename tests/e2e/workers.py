"""TENON_WORKERS processes share the tests that one pytest has read: to read them takes each process seconds."""
import multiprocessing
import multiprocessing.connection
import os

import pytest

import system

FORK = multiprocessing.get_context("fork")


class Sender:
    """In a worker: sends what came of a test to the process that tells it."""

    def __init__(self, config, pipe):
        self.config, self.pipe, self.reports = config, pipe, []

    def pytest_runtest_logreport(self, report):
        self.reports.append(self.config.hook.pytest_report_to_serializable(config=self.config, report=report))

    def send(self, turn):
        self.pipe.send((turn, self.reports))
        self.reports = []


def work(session, turns, pipe):
    """In a worker: runs one after the other the tests that no other worker has taken."""
    config, sender = session.config, Sender(session.config, pipe)

    def take():
        with turns.get_lock():
            turn, turns.value = turns.value, turns.value + 1
        return turn if turn < len(session.items) else None
    system.adopt_orphans()
    config.pluginmanager.unregister(name="terminalreporter")
    config.pluginmanager.register(sender)
    capture = config.pluginmanager.getplugin("capturemanager")
    capture.stop_global_capturing()  # into a file that all would share
    capture.start_global_capturing()
    capture.suspend_global_capture()
    turn = take()
    while turn is not None:
        pipe.send((turn, None))
        item, following = session.items[turn], take()
        config.hook.pytest_runtest_protocol(item=item, nextitem=None if following is None else session.items[following])
        sender.send(turn)
        turn = following


def tell(session, turn, reports):
    """Hands what came of a test to all that ask for it in this process, as if it had run here."""
    item, hook = session.items[turn], session.config.hook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in reports:
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def lost(item, why):
    return pytest.TestReport(item.nodeid, item.location, {}, "failed", why, "call")


def pytest_runtestloop(session):
    count, config = int(os.environ.get("TENON_WORKERS", "1")), session.config
    if count < 2 or session.testsfailed or config.option.collectonly:
        return None
    config._tmp_path_factory.getbasetemp()  # one for all
    turns, workers, left = FORK.Value("i", 0), {}, set(range(len(session.items)))
    for _ in range(count):
        mine, its = FORK.Pipe(duplex=False)
        workers[mine] = FORK.Process(target=work, args=(session, turns, its), daemon=True)
        workers[mine].start()
        its.close()
    running = {}
    while workers:
        for pipe in multiprocessing.connection.wait(list(workers)):
            try:
                turn, reports = pipe.recv()
            except EOFError:
                worker = workers.pop(pipe)
                worker.join()
                if pipe in running:
                    turn = running.pop(pipe)
                    left.discard(turn)
                    tell(session, turn, [lost(session.items[turn], f"its worker ended: {worker.exitcode}")])
                continue
            if reports is None:
                running[pipe] = turn
                continue
            running.pop(pipe)
            left.discard(turn)
            tell(session, turn, [config.hook.pytest_report_from_serializable(config=config, data=report)
                                 for report in reports])
    for turn in sorted(left):
        tell(session, turn, [lost(session.items[turn], "no worker was left to run it")])
    return True
