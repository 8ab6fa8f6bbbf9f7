"""What several tests share."""
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading

import tenon

LIMIT = 30  # seconds until a test that hangs is a failure


class Background:
    """A server with callbacks that runs in a thread of its own."""

    def __init__(self, url, *args, **keys):
        self.loop = tenon.Loop()
        self.server = tenon.serve(url, *args, loop=self.loop, **keys)
        self.thread = threading.Thread(target=self.loop.run)

    @property
    def url(self):
        return self.server.url

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *unused):
        self.loop.stop()
        self.thread.join(LIMIT)
        assert not self.thread.is_alive()
        self.loop.close()


def reset(sock):
    """Cuts a connection off."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def run_python(code, *, env=None, expect=0):
    """Runs code in a Python of its own and returns what it printed."""
    child = subprocess.Popen([sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code)], text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                             # Who runs the tests may ignore SIGINT, as a script does for what runs beside it
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                             env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **(env or {})})
    try:
        out, err = child.communicate(timeout=LIMIT)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    assert child.returncode == expect, f"status {child.returncode}\n{out}\n{err}"
    return out + err
