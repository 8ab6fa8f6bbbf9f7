/*
 * What somebody would try who has taken a server over. Preloaded into `tenon serve`; SIGUSR1 makes it try everything,
 * by system call and by the server's own ring, and print a line for each: "probe NAME RESULT", 0 or -errno.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <liburing.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* NOLINTBEGIN(bugprone-signal-handler): the handler interrupts a server that waits, and may do what it likes */

static struct io_uring *ring;

int io_uring_queue_init_params(unsigned entries, struct io_uring *made, struct io_uring_params *params)
{
	int (*real)(unsigned, struct io_uring *, struct io_uring_params *) =
		(int (*)(unsigned, struct io_uring *, struct io_uring_params *))dlsym(RTLD_NEXT, __func__);

	ring = made; /* the last one made is the loop's; those before it were a test of the system */
	return real(entries, made, params);
}

static void tell(const char *name, long rc)
{
	dprintf(STDERR_FILENO, "probe %s %ld\n", name, rc < 0 ? (long)-errno : 0L);
}

static const struct sockaddr *address(void)
{
	static struct sockaddr_in in = {.sin_family = AF_INET};

	in.sin_port = htons(9);
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return (const struct sockaddr *)&in;
}

static long fork_and_end(void)
{
	long pid = syscall(SYS_fork);

	if (pid == 0)
		_exit(0);
	return pid;
}

static void by_call(void)
{
	char *argv[] = {(char[]){"none"}, NULL};
	int listener = 0;
	socklen_t len = sizeof(listener);
	int fd = 3;

	while (fd < 20 && (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listener, &len) < 0 || !listener))
		fd++;
	tell("open", open("/etc/passwd", O_RDONLY));
	tell("create", open("/tmp/tenon-probe-made-this", O_WRONLY | O_CREAT, 0600));
	tell("socket", socket(AF_INET, SOCK_STREAM, 0));
	tell("socketpair", syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, (int[2]){0}));
	tell("connect", connect(fd, address(), sizeof(struct sockaddr_in)));
	tell("bind", bind(fd, address(), sizeof(struct sockaddr_in)));
	tell("fork", fork_and_end());
	tell("ptrace", ptrace(PTRACE_SEIZE, INT_MAX, NULL, NULL)); /* ESRCH: it would be allowed */
	tell("kill", kill(getppid(), 0));
	tell("ring", syscall(SYS_io_uring_setup, 4, &(struct io_uring_params){0}));
	tell("code", (long)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	tell("exec", execve("/nonexistent", argv, NULL)); /* ENOENT: it would be allowed */
}

/* What the process that opens the server's files is asked, as cmd/common/broker.c reads it. Its socket is the one of
 * that type. */
static long ask_broker(int32_t use, const char *path)
{
	char question[sizeof(use) + PATH_MAX];
	size_t size = strlen(path) + 1;
	int32_t code = 0;
	int type = 0, fd = 3;
	socklen_t len = sizeof(type);

	if (size > PATH_MAX)
		return -1;
	while (fd < 40 && (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_SEQPACKET))
		fd++;
	memcpy(question, &use, sizeof(use));
	memcpy(question + sizeof(use), path, size);
	if (send(fd, question, sizeof(use) + size, 0) < 0 || recv(fd, &code, sizeof(code), 0) != sizeof(code))
		return -1;
	errno = -code;
	return code < 0 ? -1 : 0;
}

/* What stands beside the files that the server needs. */
static void by_neighbours(void)
{
	const char *file = getenv("PROBE_OPEN"), *other = getenv("PROBE_REMOVE");
	char path[PATH_MAX];

	if (!file || !other)
		return;
	tell("open-beside", open(file, O_RDONLY));
	tell("remove-beside", unlink(other));
	tell("broker-open", ask_broker(0, file));
	tell("broker-remove", ask_broker(2, other));
	snprintf(path, sizeof(path), "%.*s/server.pem/../ca.key", (int)(strrchr(file, '/') - file), file);
	tell("broker-climb", ask_broker(0, path));
}

static void by_ring(const char *name, void (*prepare)(struct io_uring_sqe *sqe))
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	unsigned head;
	int found = 1;

	prepare(sqe);
	io_uring_sqe_set_data64(sqe, UINT64_MAX);
	io_uring_submit(ring);
	for (int i = 0; i < 100 && found > 0; i++) {
		syscall(SYS_io_uring_enter, ring->ring_fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0);
		io_uring_for_each_cqe(ring, head, cqe)
		{
			if (cqe->user_data != UINT64_MAX)
				continue;
			cqe->user_data = 0;
			found = cqe->res;
		}
		usleep(1000);
	}
	errno = -found;
	tell(name, found < 0 ? -1 : 0);
}

static void prepare_open(struct io_uring_sqe *sqe)
{
	io_uring_prep_openat(sqe, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
}

static void prepare_socket(struct io_uring_sqe *sqe)
{
	io_uring_prep_rw(IORING_OP_SOCKET, sqe, AF_INET, NULL, 0, SOCK_STREAM);
}

static void prepare_connect(struct io_uring_sqe *sqe)
{
	io_uring_prep_connect(sqe, 0, address(), sizeof(struct sockaddr_in));
}

static void prepare_unlink(struct io_uring_sqe *sqe)
{
	io_uring_prep_unlinkat(sqe, AT_FDCWD, "/tmp/tenon-probe-made-this", 0);
}

static void try_all(int number)
{
	(void)number;
	if (ring) {
		by_ring("ring-open", prepare_open);
		by_ring("ring-socket", prepare_socket);
		by_ring("ring-connect", prepare_connect);
		by_ring("ring-unlink", prepare_unlink);
	}
	by_call();
	by_neighbours();
	dprintf(STDERR_FILENO, "probe end 0\n");
}

__attribute__((constructor)) static void begin(void)
{
	signal(SIGUSR1, try_all);
}

/* NOLINTEND(bugprone-signal-handler) */
