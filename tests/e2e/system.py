"""What the tests ask of the kernel that Python's library does not offer: filters, namespaces, limits."""
import ctypes
import errno
import fcntl
import os
import resource
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time

from harness import COMMAND

LIBC = ctypes.CDLL(None, use_errno=True)
IO_URING_SETUP, IO_URING_ENTER, IO_URING_REGISTER = 425, 426, 427  # on every architecture

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, SECCOMP_MODE_FILTER = 38, 22, 36, 2
PR_CAPBSET_DROP, CAP_KILL, PR_SET_PDEATHSIG = 24, 5, 1
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def adopt_orphans():
    """Processes that a program leaves behind become children of this one, where they are found."""
    check(LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def end_with_parent():
    """This process is sent SIGTERM when the one that started it ends."""
    check(LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0))


def uring_refusal():
    """Why this system gives no ring, or None: it does."""
    params = ctypes.create_string_buffer(120)
    fd = LIBC.syscall(IO_URING_SETUP, 4, params)
    if fd < 0:
        return os.strerror(ctypes.get_errno())
    os.close(fd)
    return None


class Filter(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]


class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.POINTER(Filter))]


# What a ring's set-up asks of the kernel: a system call, and for io_uring_register(2) its operation
RING_STEPS = {
    "setup": (IO_URING_SETUP, None),
    "buffers": (IO_URING_REGISTER, 22),
    "restrictions": (IO_URING_REGISTER, 11),
    "enabling": (IO_URING_REGISTER, 12),
    "self-test": (IO_URING_ENTER, None),
}


def refuse_ring(number, step="setup"):
    """For preexec_fn: io_uring_setup(2) fails with this errno, as under the default filters of containers; or another
    step."""
    load, jump_if_equal, give, allow, refuse = 0x20, 0x15, 0x06, 0x7fff0000, 0x00050000
    call, operation = RING_STEPS[step]
    code = [Filter(load, 0, 0, 0), Filter(jump_if_equal, 0, 1 if operation is None else 3, call)]
    if operation is not None:  # the low half of the second argument
        code += [Filter(load, 0, 0, 24 if sys.byteorder == "little" else 28), Filter(jump_if_equal, 0, 1, operation)]
    code += [Filter(give, 0, 0, refuse | number), Filter(give, 0, 0, allow)]
    program = Program(len(code), (Filter * len(code))(*code))

    def install():
        check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        check(LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0))
    return install


EPOLL_PWAIT2, LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF = 441, 444, 446  # on every architecture


def refuse_call(call, number):
    """For preexec_fn: a system call fails with this errno, as on a kernel that does not have it."""
    load, jump_if_equal, give, allow, refuse = 0x20, 0x15, 0x06, 0x7fff0000, 0x00050000
    code = [Filter(load, 0, 0, 0), Filter(jump_if_equal, 0, 1, call), Filter(give, 0, 0, refuse | number),
            Filter(give, 0, 0, allow)]
    program = Program(len(code), (Filter * len(code))(*code))

    def install():
        check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        check(LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0))
    return install


def never_kill():
    """For preexec_fn, of root: processes of others may not be sent signals (capabilities(7))."""
    check(LIBC.prctl(PR_CAPBSET_DROP, CAP_KILL, 0, 0, 0))


def limit_files(count):
    """For preexec_fn: at most so many descriptors, and no way to raise that."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def allow_files(count):
    """Makes room for so many descriptors in this process, when the system lets us. Returns whether it does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            return False
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    return True


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


class Network:
    """A network of its own, with nothing but a loopback: ports of one's choice, no route to anywhere. Needs root."""

    def __init__(self):
        self.fd, self.why = -1, None
        self.inside(self.create, entered=False)

    def create(self):
        try:
            check(LIBC.unshare(CLONE_NEWNET))
        except OSError as error:
            self.why = error.strerror
            return
        loopback_up()
        self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def enter(self):
        """For preexec_fn, or a thread."""
        check(LIBC.setns(self.fd, CLONE_NEWNET))

    def inside(self, work, entered=True):
        """What work() returns, run in a thread in this network: the sockets it makes belong there for good."""
        result = []

        def run():
            if entered:
                self.enter()
            result.append(work())
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return result[0]

    def socket(self, family, kind, protocol=0):
        return self.inside(lambda: socket.socket(family, kind, protocol))

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)


def replace_file(original, replacement):
    """For preexec_fn: the process and its children see another file in the place of the original. Needs root."""
    def install():
        check(LIBC.unshare(CLONE_NEWNS))
        check(LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
        check(LIBC.mount(os.fsencode(replacement), os.fsencode(os.path.realpath(original)), None, MS_BIND, None))
    return install


def small_disk(folder, size):
    """For preexec_fn: the process and its children have a disk of so many bytes there. Needs root."""
    def install():
        check(LIBC.unshare(CLONE_NEWNS))
        check(LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
        check(LIBC.mount(b"none", os.fsencode(folder), b"tmpfs", 0, b"size=%d" % size))
    return install


def call_kernel_old():
    """For preexec_fn: uname(2) says 2.6 (personality(2), UNAME26)."""
    check(LIBC.personality(0x0020000))


REFUSALS = [errno.EPERM, errno.ENOSYS, errno.ENOMEM, errno.EINVAL, errno.EOPNOTSUPP]


PR_CAPBSET_DROP, CAPABILITIES = 24, 64


def drop_capabilities():
    """For preexec_fn: the program that follows has no capability, even as root."""
    for number in range(CAPABILITIES):
        LIBC.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)


class Wire:
    """Two networks and a cable (veth) between them: 10.9.0.1 and fd09::1 at one end, 10.9.0.2 and fd09::2 at the
    other."""

    def __init__(self, ip):
        self.ip, self.why = ip, None
        self.near, self.far = Network(), Network()
        self.why = self.near.why or self.far.why
        if not self.why:
            self.lay()

    def lay(self):
        self.run(self.near, "link add near type veth peer name far")
        self.run(self.near, f"link set far netns /proc/{os.getpid()}/fd/{self.far.fd}")
        for number, (network, name) in enumerate(((self.near, "near"), (self.far, "far")), 1):
            self.run(network, f"address add 10.9.0.{number}/24 dev {name}")
            self.run(network, f"address add fd09::{number}/64 dev {name} nodad")
            self.run(network, f"link set {name} up")
        # The kernel takes its time; what is sent before is dropped without a word
        deadline = time.monotonic() + 20
        while not self.why and not self.is_up() and time.monotonic() < deadline:
            time.sleep(0.005)

    def is_up(self):
        return all("state UP" in self.run(network, f"-o link show dev {name}")
                   for network, name in ((self.near, "near"), (self.far, "far")))

    def run(self, network, command):
        """What `ip` writes; the first failure is kept."""
        done = subprocess.run([self.ip, *command.split()], preexec_fn=network.enter, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            self.why = self.why or f"ip {command}: {done.stderr.decode(errors='replace')}"
        return done.stdout.decode(errors="replace")

    def close(self):
        self.near.close()
        self.far.close()


def write_inside(network, path, text):
    """Writes a file of /proc/sys that each network has its own of."""
    def write():
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    network.inside(write)


def let_others_reach(path):
    """Other users may go to this folder, and through those above it that the tests have made."""
    for folder in [path, *path.parents]:
        if not folder.stat().st_mode & stat.S_IXOTH and folder.stat().st_uid == os.geteuid():
            if folder.is_relative_to(tempfile.gettempdir()):
                folder.chmod(0o711)


def as_nobody(tenon):
    """Arguments for Popen: without root's rights, in a folder that such a user can reach, with the command in it: this
    checkout may lie where he cannot go."""
    let_others_reach(tenon.folder)
    if os.geteuid() != 0:
        return {}
    return {"user": 65534, "group": 65534, "extra_groups": [],
            "executable": shutil.copy(COMMAND, tenon.folder / "command")}
