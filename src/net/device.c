#include "net/device.h"

#include "base/err.h"
#include "tenon.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(const char *path, int err)
{
	return tni_err(err, "%s: %s", path, tn_strerror(err));
}

/* ---- files ---- */

int tni_file_open_as(const char *path, enum tni_opened opened)
{
	static const int flags[] = {[TNI_OPEN_READ] = O_RDONLY,
				    [TNI_OPEN_WRITE] = O_WRONLY | O_CREAT | O_TRUNC,
				    [TNI_OPEN_APPEND] = O_WRONLY | O_CREAT | O_APPEND};
	struct stat st;
	int fd;

	if (opened == TNI_OPEN_FOLLOW)
		return tni_follow_open(path);
	fd = open(path, flags[opened] | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666); /* no pipe is waited for */
	if (fd < 0)
		return fail(path, -errno);
	if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode) && !S_ISFIFO(st.st_mode))
		return fd;
	close(fd);
	return S_ISDIR(st.st_mode)
		       ? fail(path, -EISDIR)
		       : tni_err(-EINVAL, "%s: a pipe is no file: hand it over (fd:3, and 3<> in the shell)", path);
}

/* ---- terminals ---- */

static const uint32_t sizes[] = {[5] = CS5, [6] = CS6, [7] = CS7, [8] = CS8};

static void make_raw(struct termios2 *t)
{
	t->c_iflag &=
		~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON | IXOFF | IXANY | INPCK);
	t->c_oflag &= ~(tcflag_t)OPOST;
	t->c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
	t->c_cflag |= CREAD | CLOCAL; /* no modem says when there is a line */
	t->c_cc[VMIN] = 1;
	t->c_cc[VTIME] = 0;
}

/* The speeds that have a name, which programs know that ask by the older calls. */
static tcflag_t speed_of(int baud)
{
	static const struct {
		int baud;
		tcflag_t name;
	} speeds[] = {{300, B300},       {600, B600},       {1200, B1200},     {1800, B1800},     {2400, B2400},
		      {4800, B4800},     {9600, B9600},     {19200, B19200},   {38400, B38400},   {57600, B57600},
		      {115200, B115200}, {230400, B230400}, {460800, B460800}, {921600, B921600}, {1000000, B1000000}};

	for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); i++)
		if (speeds[i].baud == baud)
			return speeds[i].name;
	return BOTHER;
}

static void set_line(struct termios2 *t, const struct tni_device_spec *spec)
{
	static const uint32_t parities[] = {[TNI_PARITY_NONE] = 0,
					    [TNI_PARITY_EVEN] = PARENB,
					    [TNI_PARITY_ODD] = PARENB | PARODD,
					    [TNI_PARITY_MARK] = PARENB | CMSPAR | PARODD,
					    [TNI_PARITY_SPACE] = PARENB | CMSPAR};

	t->c_cflag &= ~(tcflag_t)(CSIZE | PARENB | PARODD | CMSPAR | CSTOPB | CRTSCTS);
	t->c_cflag |= sizes[spec->databits] | parities[spec->parity];
	t->c_cflag |= spec->stopbits == 2 ? CSTOPB : 0;
	t->c_cflag |= spec->flow == TNI_FLOW_RTSCTS ? CRTSCTS : 0;
	t->c_iflag |= spec->flow == TNI_FLOW_XONXOFF ? IXON | IXOFF : 0;
	t->c_iflag |= spec->parity == TNI_PARITY_NONE ? 0 : INPCK;
	if (!spec->baud)
		return;
	t->c_cflag &= ~(tcflag_t)(CBAUD | CBAUD << IBSHIFT);
	t->c_cflag |= speed_of(spec->baud);
	t->c_ispeed = t->c_ospeed = (speed_t)spec->baud;
}

static void set_flags(struct termios2 *t, const struct tni_device_spec *spec)
{
	tcflag_t *words[] = {[TNI_IFLAG] = &t->c_iflag,
			     [TNI_OFLAG] = &t->c_oflag,
			     [TNI_CFLAG] = &t->c_cflag,
			     [TNI_LFLAG] = &t->c_lflag};

	for (int i = 0; i < TNI_TERMIOS_WORDS; i++)
		*words[i] = (*words[i] | spec->set[i]) & ~spec->clear[i];
}

/* A driver takes what it can, and tells nothing of the rest. */
static int check(const char *path, int fd, const struct termios2 *asked)
{
	const tcflag_t line = CSIZE | PARENB | PARODD | CMSPAR | CSTOPB | CRTSCTS;
	struct termios2 is;
	unsigned number;
	long off;

	if (ioctl(fd, TCGETS2, &is) < 0)
		return fail(path, -errno);
	off = (long)is.c_ospeed - (long)asked->c_ospeed;
	if ((off < 0 ? -off : off) * 50 > (long)asked->c_ospeed)
		return tni_err(-EINVAL, "%s: the device has no %u baud; it would be %u", path, asked->c_ospeed,
			       is.c_ospeed);
	/* A pseudo-terminal has no wires: it takes eight bits alone, and they are what passes */
	if (ioctl(fd, TIOCGPTN, &number) == 0 || (is.c_cflag & line) == (asked->c_cflag & line))
		return 0;
	return tni_err(-EINVAL, "%s: the device does not take these databits, parity, stopbits and flow", path);
}

static int prepare(const char *path, int fd, const struct tni_device_spec *spec)
{
	struct termios2 t;

	if (ioctl(fd, TCGETS2, &t) < 0)
		return errno == ENOTTY ? tni_err(-ENOTTY, "%s: this is no terminal", path) : fail(path, -errno);
	make_raw(&t);
	set_line(&t, spec);
	set_flags(&t, spec);
	return ioctl(fd, TCSETS2, &t) < 0 ? fail(path, -errno) : check(path, fd, &t);
}

int tni_tty_open(const char *path, const struct tni_device_spec *spec)
{
	/* Without O_NONBLOCK it would wait for a modem */
	int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC), err;

	if (fd < 0)
		return fail(path, -errno);
	err = prepare(path, fd, spec);
	if (err < 0)
		close(fd);
	return err < 0 ? err : fd;
}

/* ---- pseudo-terminals ---- */

#define SLAVE "/dev/pts/"

/*
 * A link that an earlier one has left behind, because it was killed: it leads to a terminal that is there no more, or
 * whose number is ours now.
 */
static bool is_left_behind(const char *path, const char *slave)
{
	char target[PATH_MAX];
	ssize_t len = readlink(path, target, sizeof(target) - 1);
	struct stat st;

	if (len <= 0)
		return false;
	target[len] = '\0';
	if (strcmp(target, slave) == 0)
		return true;
	return strncmp(target, SLAVE, sizeof(SLAVE) - 1) == 0 && stat(path, &st) < 0 && errno == ENOENT;
}

static int link_to(const char *path, const char *slave)
{
	if (symlink(slave, path) == 0)
		return 0;
	if (errno != EEXIST)
		return fail(path, -errno);
	if (is_left_behind(path, slave) && unlink(path) == 0 && symlink(slave, path) == 0)
		return 0;
	return fail(path, -EEXIST);
}

int tni_pty_open(const char *path, const struct tni_device_spec *spec)
{
	int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC), locked = 0, err = 0;
	unsigned number = 0;
	char slave[32];

	if (fd < 0)
		return fail("/dev/ptmx", -errno);
	if (ioctl(fd, TIOCSPTLCK, &locked) < 0 || ioctl(fd, TIOCGPTN, &number) < 0)
		err = fail("/dev/ptmx", -errno);
	snprintf(slave, sizeof(slave), SLAVE "%u", number);
	if (err == 0)
		err = prepare(slave, fd, spec); /* a master's settings are its slave's */
	if (err == 0)
		err = link_to(path, slave);
	if (err < 0)
		close(fd);
	return err < 0 ? err : fd;
}

void tni_pty_leave(const char *path, int fd)
{
	char target[PATH_MAX], slave[32];
	unsigned number;
	ssize_t len = readlink(path, target, sizeof(target) - 1);

	if (len <= 0 || ioctl(fd, TIOCGPTN, &number) < 0)
		return;
	target[len] = '\0';
	snprintf(slave, sizeof(slave), SLAVE "%u", number);
	if (strcmp(target, slave) == 0)
		(void)unlink(path);
}
