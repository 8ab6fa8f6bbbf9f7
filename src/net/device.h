/* Files, terminals and pseudo-terminals, which are opened by their path: the schemes file, tty and pty. */
#ifndef TNI_NET_DEVICE_H
#define TNI_NET_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

/* What is done with a file. */
enum tni_opened { TNI_OPEN_READ, TNI_OPEN_FOLLOW, TNI_OPEN_WRITE, TNI_OPEN_APPEND };

enum tni_parity { TNI_PARITY_NONE, TNI_PARITY_EVEN, TNI_PARITY_ODD, TNI_PARITY_MARK, TNI_PARITY_SPACE };
enum tni_flow { TNI_FLOW_NONE, TNI_FLOW_RTSCTS, TNI_FLOW_XONXOFF };

/* The words of flags that a terminal has: termios(3). */
enum tni_termios_word { TNI_IFLAG, TNI_OFLAG, TNI_CFLAG, TNI_LFLAG, TNI_TERMIOS_WORDS };

struct tni_device_spec {
	enum tni_opened opened;
	int baud; /* 0: as it is */
	int databits, stopbits;
	enum tni_parity parity;
	enum tni_flow flow;
	uint32_t set[TNI_TERMIOS_WORDS], clear[TNI_TERMIOS_WORDS]; /* single flags, after all else */
};

/* Each returns a descriptor that does not block, the caller's to close, or a negative errno with detail. */

int tni_file_open_as(const char *path, enum tni_opened opened);

/* A terminal: it is made raw, and gets what the spec asks for. */
int tni_tty_open(const char *path, const struct tni_device_spec *spec);

/* The master of a new pair; `path` becomes a link to the other end, which is made so. */
int tni_pty_open(const char *path, const struct tni_device_spec *spec);

/* Removes the link, if it is still that of this master. */
void tni_pty_leave(const char *path, int fd);

/*
 * What a file has, and from then on what is added to it, whichever file has its name: a pipe, which never ends. A
 * thread fills it, which ends when the pipe is closed.
 */
int tni_follow_open(const char *path);

#endif
