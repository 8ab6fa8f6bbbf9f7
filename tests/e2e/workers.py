"""TENON_WORKERS processes share the tests that one pytest has read: to read them takes each process seconds."""
import multiprocessing
import multiprocessing.connection
import os
import signal
import warnings

import pytest

import system

FORK = multiprocessing.get_context("fork")


class Sender:
    """In a worker: keeps what came of a test, and sends it to the process that tells it."""

    def __init__(self, config, pipe):
        self.config, self.pipe, self.reports, self.warnings = config, pipe, [], []

    def pytest_runtest_logreport(self, report):
        self.reports.append(self.config.hook.pytest_report_to_serializable(config=self.config, report=report))

    def pytest_warning_recorded(self, warning_message, when, nodeid, location):
        words = f"{warning_message.category.__name__}: {warning_message.message}"
        self.warnings.append((words, warning_message.filename, warning_message.lineno, when, nodeid, location))

    def send(self, turn, following):
        self.pipe.send((turn, following, (self.reports, self.warnings)))
        self.reports, self.warnings = [], []


def work(session, turns, pipe, turn, folder):
    """In a worker: runs one after the other the tests that no other worker has taken; first this one, if there is."""
    config, sender = session.config, Sender(session.config, pipe)

    def take():
        with turns.get_lock():
            taken, turns.value = turns.value, turns.value + 1
        return taken if taken < len(session.items) else None
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # fixtures end what they have started
    system.end_with_parent()
    system.adopt_orphans()
    folder.mkdir(exist_ok=True)
    config._tmp_path_factory._basetemp = folder  # in one of all, each new folder is sought among thousands
    config.pluginmanager.unregister(name="terminalreporter")
    config.pluginmanager.register(sender)
    sender.warnings.clear()  # those before it
    capture = config.pluginmanager.getplugin("capturemanager")
    capture.stop_global_capturing()  # into a file that all would share
    capture.start_global_capturing()
    capture.suspend_global_capture()
    turn = take() if turn is None else turn
    try:
        while turn is not None:
            following = take()
            pipe.send((turn, following, None))
            config.hook.pytest_runtest_protocol(item=session.items[turn],
                                                nextitem=None if following is None else session.items[following])
            sender.send(turn, following)
            turn = following
    finally:
        session._setupstate.teardown_exact(None)


class Workers:
    """In the process that tells: which worker runs what, and what is yet to come."""

    def __init__(self, session, count):
        self.session, self.folder = session, session.config._tmp_path_factory.getbasetemp()
        self.turns, self.left, self.started = FORK.Value("i", 0), set(range(len(session.items))), 0
        self.running = {}  # pipe -> its process, what it runs or None, what it will run next
        for _ in range(count):
            self.start(None)

    def start(self, turn):
        mine, its = FORK.Pipe(duplex=False)
        self.started += 1
        process = FORK.Process(target=work, daemon=True, args=(self.session, self.turns, its, turn,
                                                               self.folder / str(self.started)))
        process.start()
        its.close()
        self.running[mine] = process, None, turn

    def tell(self, turn, reports):
        """Hands what came of a test to all that ask for it in this process, as if it had run here."""
        item, hook = self.session.items[turn], self.session.config.hook
        self.left.discard(turn)
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in reports:
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

    def lose(self, turn, why):
        item = self.session.items[turn]
        self.tell(turn, [pytest.TestReport(item.nodeid, item.location, {}, "failed", why, "call")])

    def warn(self, words, filename, lineno, when, nodeid, location):
        message = warnings.WarningMessage(words, UserWarning, filename, lineno)
        self.session.config.hook.pytest_warning_recorded.call_historic(kwargs={
            "warning_message": message, "when": when, "nodeid": nodeid, "location": location})

    def ended(self, pipe):
        """Another takes the place of one that died, and what it would have run next."""
        process, turn, following = self.running.pop(pipe)
        process.join()
        if turn is not None:
            self.lose(turn, f"its worker ended: {process.exitcode}")
        if following is not None:
            self.start(following)

    def heard(self, pipe):
        process, config = self.running[pipe][0], self.session.config
        try:
            turn, following, told = pipe.recv()
        except (EOFError, OSError):
            self.ended(pipe)
            return
        self.running[pipe] = process, None if told else turn, following
        if told:
            self.tell(turn, [config.hook.pytest_report_from_serializable(config=config, data=report)
                             for report in told[0]])
            for warning in told[1]:
                self.warn(*warning)

    def run(self):
        try:
            while self.running:
                for pipe in multiprocessing.connection.wait(list(self.running)):
                    self.heard(pipe)
        except KeyboardInterrupt:
            for _, turn, _ in self.running.values():
                if turn is not None:
                    self.lose(turn, "interrupted")
            raise
        for turn in sorted(self.left):
            self.lose(turn, "it was not run")


def pytest_runtestloop(session):
    count, option = int(os.environ.get("TENON_WORKERS", "1")), session.config.option
    if count < 2 or session.testsfailed or option.collectonly or option.maxfail:
        return None
    Workers(session, count).run()
    return True
