"""What goes wrong, as exceptions: one class for each kind of failure, all of them `Error`, which is an OSError."""

import builtins
import errno


class Error(OSError):
    """What the library, or the system below it, has refused.

    code: the library's negative code: -errno, or one of the constants EURL, ETLS, ... of this module.
    errno: the system's number, or None where the code is tenon's own.
    position: the byte in the URL or the message where the failure lies, from 0, or None.
    str() of it is the whole story in words.
    """

    code = 0
    position = None

    def __str__(self):
        return str(self.args[-1]) if self.args else ""


class UrlError(Error, ValueError):
    """A bad URL, or a key in it that is unknown, has a bad value or cannot apply: the caller's mistake."""


class NameError(Error):
    """The host's name does not exist, or could not be looked up."""


class FormatError(Error, ValueError):
    """A message that its format or frame does not allow, or a value that the format cannot express."""


class TooBigError(FormatError):
    """A message that is longer than key max allows."""


class FullError(Error, BlockingIOError):
    """The connection's queue is full: the message was not queued. Wait for room (on_drain)."""


class StateError(Error):
    """The object is closed, or busy, or used in a thread that it does not belong to."""


class ClosedError(StateError, EOFError):
    """The peer has ended its direction, or the connection has been closed: no more messages come."""

    code = -4027


class TlsError(Error):
    """The TLS handshake or protocol failed, or the connection was cut off without its close_notify."""


class CertError(TlsError):
    """A certificate that is expired, for another host, or not trusted."""


class LimitError(Error):
    """The server serves as many connections as it may."""


class TimeoutError(Error, builtins.TimeoutError):
    """What was waited for did not come in time; or nothing came or went for the time of key idle."""


class ConnectionRefusedError(Error, builtins.ConnectionRefusedError):
    """Nobody serves there (ECONNREFUSED)."""


class ConnectionResetError(Error, builtins.ConnectionResetError):
    """The peer has cut the connection off (ECONNRESET)."""


class ConnectionAbortedError(Error, builtins.ConnectionAbortedError):
    """The connection was cut off here (ECONNABORTED, ECANCELED)."""


class LostError(Error):
    """The connection was lost and is dialled again (key reconnect): what comes next, comes from another one.

    reason: the Error that ended it, None: the peer's end in good order. loss: the dict that on_lost gets.
    """

    def __init__(self, reason, loss):
        words = str(reason) if reason else "the peer ended the connection"
        code = reason.code if reason else -errno.ECONNRESET
        super().__init__(*((-code, words) if code > _OWN_CODES else (words,)))
        self.code, self.reason, self.loss = code, reason, loss

    def __reduce__(self):
        return type(self), (self.reason, self.loss), self.__dict__


class BrokenPipeError(Error, builtins.BrokenPipeError):
    """The peer reads no more (EPIPE)."""


class PermissionError(Error, builtins.PermissionError):
    """The system does not permit it (EACCES, EPERM)."""


class FileNotFoundError(Error, builtins.FileNotFoundError):
    """There is no such file, socket or engine (ENOENT)."""


_OWN_CODES = -4000  # what is above is -errno

EFORMAT, EDEPTH, ETOOBIG, EUTF8, ETRUNC, EDUPKEY, EREPR = range(-4001, -4008, -1)
EURL, ENAME, ERESOLVE, EIDLE, EDRAIN, ELIMIT, EFULL, ESTATE, ETLS, ECUT, ECERT = range(-4020, -4031, -1)

CLASSES = {
    **dict.fromkeys((EFORMAT, EDEPTH, EUTF8, ETRUNC, EDUPKEY, EREPR), FormatError),
    ETOOBIG: TooBigError, -errno.EMSGSIZE: TooBigError,
    EURL: UrlError, ENAME: NameError, ERESOLVE: NameError, EIDLE: TimeoutError, EDRAIN: TimeoutError,
    ELIMIT: LimitError, EFULL: FullError, ESTATE: StateError, ETLS: TlsError, ECUT: TlsError, ECERT: CertError,
    -4999: ClosedError,
    -errno.ETIMEDOUT: TimeoutError,
    -errno.ECONNREFUSED: ConnectionRefusedError,
    -errno.ECONNRESET: ConnectionResetError,
    -errno.ECONNABORTED: ConnectionAbortedError, -errno.ECANCELED: ConnectionAbortedError,
    -errno.EPIPE: BrokenPipeError,
    -errno.EACCES: PermissionError, -errno.EPERM: PermissionError,
    -errno.ENOENT: FileNotFoundError,
}
