/*
 * tenon: sockets for programs that depend on them.
 *
 * One loop runs in one thread. On it live servers and connections, each named by a URL such as tcp://localhost:10000,
 * udp://localhost:10000, unix:/run/app.sock or unix:@app. What happens is told to a handler: three to five callbacks.
 *
 *	static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
 *	{
 *		int err = tn_forward(conn, msg);
 *
 *		if (err < 0)
 *			tn_abort(conn, err);
 *	}
 *
 *	int main(void)
 *	{
 *		struct tn_loop *loop;
 *		static const struct tn_handler echo = {.on_msg = on_msg};
 *
 *		if (tn_loop_new(&loop, NULL) < 0 || tn_serve(loop, "tcp://localhost:10000", &echo, NULL, NULL) < 0)
 *			return fprintf(stderr, "%s\n", tn_errmsg()), 1;
 *		return tn_loop_run(loop);
 *	}
 *
 * Conventions. Functions that can fail return 0 or more on success and a negative code on failure: -errno, or one of
 * enum tn_err. tn_strerror() puts a code into words, tn_errmsg() tells the whole story of the last failure on this
 * thread. Nothing here blocks unless its comment says so. Except where said otherwise a function is called from the
 * thread that runs the loop its object lives on, and callbacks are called there, from tn_loop_run(), never from inside
 * another call of the library. Lengths are in bytes. SIGPIPE is never raised by a connection.
 */
#ifndef TENON_H
#define TENON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TN_VERSION_MAJOR 0
#define TN_VERSION_MINOR 1
#define TN_VERSION_PATCH 0

#if defined(__GNUC__)
#define TN_API __attribute__((visibility("default")))
/* The result must be looked at: what was refused has not happened, and no callback tells of it. */
#define TN_MUST_CHECK __attribute__((warn_unused_result))
#else
#define TN_API
#define TN_MUST_CHECK
#endif

struct tn_loop;
struct tn_server;
struct tn_conn;
struct tn_timer;
struct tn_poll;
struct sockaddr;

/* ---- errors ---------------------------------------------------------------------------------------------------- */

/* tenon's own error codes, beside the negative errno values. */
enum tn_err {
	TN_EFORMAT = -4001, /* a message that its format does not allow */
	TN_EDEPTH = -4002,  /* a message nested more deeply than the limit */
	TN_ETOOBIG = -4003, /* a message larger than the limit (key max) */
	TN_EUTF8 = -4004,   /* text that is not valid UTF-8 */
	TN_ETRUNC = -4005,  /* the input ended inside a message */
	TN_EDUPKEY = -4006, /* a map names a key twice */
	TN_EREPR = -4007,   /* a value that the target format cannot represent */
	TN_EURL = -4020, /* a bad URL, or an option that is unknown, ill-valued or cannot apply: the caller's mistake */
	TN_ENAME = -4021,    /* the host name does not exist */
	TN_ERESOLVE = -4022, /* the name could not be looked up */
	TN_EIDLE = -4023,    /* nothing came or went for the time of key idle */
	TN_EDRAIN = -4024,   /* what was queued could not be sent before the deadline of key drain */
	TN_ELIMIT = -4025,   /* the server serves as many connections as it may */
	TN_EFULL = -4026,    /* the connection's queue is full: wait for on_drain */
	TN_ESTATE = -4027,   /* the object is closing, or is of a kind that cannot do this */
	TN_ETLS = -4028,     /* the TLS handshake or protocol failed, or the peer does not speak TLS */
	TN_ECUT = -4029,     /* a secured connection ended without its close_notify: it may have been cut short */
	TN_ECERT = -4030,    /* a certificate that is expired, for another host, or not trusted */
};

/* A constant text for a code, negative errno values included. Never NULL. */
TN_API const char *tn_strerror(int err);

/*
 * What went wrong in the last failing call on this thread, in words: what was tried, where, and why. Inside on_close:
 * why the connection ended. Valid until the next call of the library on this thread.
 */
TN_API const char *tn_errmsg(void);

/* The byte position (from 0) in the URL or message where that failure lies, or -1. */
TN_API long tn_errpos(void);

/* ---- the loop -------------------------------------------------------------------------------------------------- */

/*
 * Makes a loop. `engine`: NULL or "auto" (io_uring where the system allows it, from Linux 6.6 on; otherwise epoll),
 * "uring" (or fail), "epoll", or "sim" / "sim:SEED" (for tests: short reads, one-byte writes, delays and reorderings
 * drawn from the seed). The environment variable TENON_ENGINE stands in for NULL. Free it with tn_loop_free().
 * Errors: -ENOENT (no such engine), -ENOMEM, -EMFILE; with "uring" also what io_uring_setup(2) says.
 */
TN_API TN_MUST_CHECK int tn_loop_new(struct tn_loop **loop, const char *engine);

/*
 * Runs until tn_loop_stop() is called or nothing is left on the loop: no server, connection, timer, poll or posted
 * call. Blocks. What was posted before tn_loop_stop() is called before this returns; and a connection that has been
 * aborted has told its peer. Returns 0, or a negative code when the engine itself failed. TN_ESTATE: called from a
 * callback of this loop.
 */
TN_API TN_MUST_CHECK int tn_loop_run(struct tn_loop *loop);

/*
 * Handles what is due, first waiting for it for at most `timeout_ms` (-1: for as long as it takes, 0: not at all).
 * Returns 1 while anything is left on the loop, 0 when nothing is, or a negative code. TN_ESTATE: called from a
 * callback of this loop.
 */
TN_API int tn_loop_step(struct tn_loop *loop, int timeout_ms);

/*
 * The same, but the wait ends when the loop's clock has reached `until_ns` (UINT64_MAX: never; 0: do not wait): for who
 * has to be in time to the microsecond. It ends as exactly as the kernel wakes a thread (see prctl(2)
 * PR_SET_TIMERSLACK).
 */
TN_API int tn_loop_step_until(struct tn_loop *loop, uint64_t until_ns);

/*
 * For how long, in nanoseconds since it was made, the loop has polled in vain instead of sleeping (key spin). Taken off
 * its thread's CPU time, this leaves what work took.
 */
TN_API uint64_t tn_loop_spun_ns(const struct tn_loop *loop);

/* Makes tn_loop_run() return soon. May be called from any thread. */
TN_API void tn_loop_stop(struct tn_loop *loop);

/*
 * Calls fn(arg) on the loop's own thread, soon. May be called from any thread: it is the one door into a loop.
 * Calls from one thread keep their order. Errors: -ENOMEM.
 * Nothing else is ordered with them: the connection that a call is about may have had its on_close in the meantime.
 * Post an id or a struct of yours that on_close marks, not a bare struct tn_conn.
 */
TN_API TN_MUST_CHECK int tn_loop_post(struct tn_loop *loop, void (*fn)(void *arg), void *arg);

/*
 * Ends everything that lives on the loop at once (on_close is called with -ECANCELED for every connection) and frees
 * it. What has been posted is called, timers that have not fired are not; serving and dialling are refused with
 * TN_ESTATE meanwhile. From the thread that ran it, not from a callback.
 */
TN_API void tn_loop_free(struct tn_loop *loop);

/* "uring", "epoll" or "sim". */
TN_API const char *tn_loop_engine(const struct tn_loop *loop);

/* The loop's clock in nanoseconds: CLOCK_MONOTONIC as of the start of this turn. */
TN_API uint64_t tn_loop_now(const struct tn_loop *loop);

/*
 * Calls fn(arg) once, `delay_ms` from now. `timer` may be NULL when it will not be stopped; otherwise it is valid until
 * fn is called or tn_timer_stop(). A timer knows nothing of connections: what must not fire after an on_close is
 * stopped in it. Errors: -ENOMEM.
 */
TN_API TN_MUST_CHECK int tn_timer_start(struct tn_loop *loop, uint64_t delay_ms, void (*fn)(void *arg), void *arg,
					struct tn_timer **timer);

/* Stops and frees a timer that has not fired. NULL is allowed. */
TN_API void tn_timer_stop(struct tn_timer *timer);

/*
 * Calls fn(arg) whenever a descriptor of yours is readable (poll(2) POLLIN, or hung up): a pidfd, a signalfd, another
 * library's descriptor. The descriptor stays yours, and may be polled more than once, or be a connection's; the poll
 * has a duplicate of its own, so it must be stopped for the last copy to be closed. fn is called again for new events
 * only, so it must read until EAGAIN. Errors: -ENOMEM, -EMFILE, -EPERM (cannot be polled).
 */
TN_API TN_MUST_CHECK int tn_poll_start(struct tn_loop *loop, int fd, void (*fn)(void *arg), void *arg,
				       struct tn_poll **poll);

/* Stops and frees a poll. NULL is allowed. May be called from its own fn. */
TN_API void tn_poll_stop(struct tn_poll *poll);

/* ---- messages and handlers ------------------------------------------------------------------------------------- */

/* The library's own: which of this host's addresses a datagram was sent to. See tn_msg_local(). */
struct tn_local {
	uint32_t index;  /* of the interface, where a link-local address needs it; otherwise 0 */
	uint8_t len;     /* of ip; 0: not known, replies leave from the address that the routes say */
	uint8_t to_many; /* it was sent to a multicast group or a broadcast address */
	unsigned char ip[16];
};

/*
 * The address of a datagram's sender, and of either end of a connection. The sender's also remembers to which address
 * of this host the datagram was sent: a reply leaves from there, now or later. A copy of the struct keeps that; in one
 * that you fill in yourself `local` is all zero.
 */
struct tn_addr {
	uint32_t len;             /* of the socket address; 0: unnamed */
	unsigned char bytes[112]; /* a struct sockaddr_in, _in6, _un or _ll: see tn_addr_sockaddr() */
	struct tn_local local;
};

/*
 * A received message: on a stream without framing whatever came in one piece, on a datagram socket one datagram. It is
 * a view: valid during on_msg. tn_forward() passes it on without copying it.
 */
struct tn_msg {
	const void *data;
	size_t len;
	const struct tn_addr *peer; /* datagram servers, and where many were dialled: who sent it; otherwise NULL */
	unsigned hops;              /* how much further it could have gone; 0: not known (see tn_conn_fade()) */
	void *block;                /* the library's own */
};

/*
 * What happens to a connection. Each may be NULL. They are called in this order: on_open once, when bytes can flow
 * (datagram sockets: when bound or connected); on_msg for every message; on_end at most once, when the peer has ended
 * its direction and everything it sent has been handed over; on_close exactly once, last, with err 0 for an orderly
 * end or the reason (after which the connection is gone). A dialled connection that never opens gets on_close only.
 *
 * on_cut, in place of on_end: a secured connection whose peer's bytes have ended without its close_notify, so that they
 * may have been cut short (RFC 8446 6.1). Whole messages before that have been handed over, a last one that is not
 * whole has not. Our direction goes on; on_close says TN_ECUT. Without on_cut it sends what is queued and closes. The
 * same for a connection that is held (tn_conn_hold()) when a message is refused behind which nothing can be read: what
 * came before may still be answered, and on_close says why.
 *
 * on_bad: a message that is not what the endpoint's format (key format) allows; tn_errmsg() says where and why. It may
 * reply. The key bad decides what becomes of the connection: bad=close closes it (a reply still goes out), bad=skip
 * lets it go on. Without the key it goes on if there is an on_bad, and is closed if there is none. A bad datagram is
 * dropped either way.
 *
 * A connection that is closed because of a message (longer than key max, a broken frame, refused by its format) does
 * not end in good order, which would tell the peer that all was taken. What is queued is sent, and acknowledged by the
 * peer's kernel; then the connection is reset, without a close_notify. The peer reads the replies, then ECONNRESET. On
 * a Unix socket it reads ECONNRESET only where some of what it sent has not been read; otherwise an end. On
 * MPTCP the kernel may drop the last replies when it resets. DTLS ends by close_notify.
 *
 * Without on_end, a connection whose peer has ended sends what is queued and closes: a peer that half-closes still
 * gets every reply. on_drain: the queue, having been at its mark (tn_send() returned 1 or TN_EFULL), has gone down to
 * half of it. A connection whose queue its own on_msg has filled to the mark is not read from until it has drained: a
 * peer that sends and never reads is held by that. Who fills the queue otherwise is the one to pause.
 */
struct tn_handler {
	void (*on_open)(struct tn_conn *conn, void *arg);
	void (*on_msg)(struct tn_conn *conn, const struct tn_msg *msg, void *arg);
	void (*on_drain)(struct tn_conn *conn, void *arg);
	void (*on_end)(struct tn_conn *conn, void *arg);
	void (*on_close)(struct tn_conn *conn, int err, void *arg);
	void (*on_bad)(struct tn_conn *conn, const struct tn_msg *msg, int err, void *arg);
	void (*on_cut)(struct tn_conn *conn, void *arg);
};

/*
 * To which address of this host a message was sent, which is the address that its reply leaves from. `msg` is valid (in
 * on_msg), or has a copy of its peer. Fills `local`, with the port. Returns 0; 1: it was sent to a multicast group or a
 * broadcast address: `local` is then where the reply leaves from, or unnamed where the routes decide; -EOPNOTSUPP: the
 * connection has no socket address (a pipe), or no socket any more.
 */
TN_API int tn_msg_local(const struct tn_conn *conn, const struct tn_msg *msg, struct tn_addr *local);

/* ---- serving and dialling -------------------------------------------------------------------------------------- */

enum tn_role { TN_SERVE, TN_DIAL };

/*
 * Checks a URL without opening anything: grammar, scheme, every key, value and combination for this role; of a secure
 * scheme also the files it names (certificates, keys), which are read.
 * Returns 0 or TN_EURL; tn_errmsg() names the key, its position and the nearest valid one.
 */
TN_API int tn_url_check(const char *url, enum tn_role role);

/* Whether messages have bounds there: datagrams (udp, unix-dgram), sockets that keep them whole (unix-seqpacket),
 * framed streams (key frame). 1 or 0; TN_EURL for a bad URL. */
TN_API int tn_url_keeps_messages(const char *url);

/* What a URL stands for. tn_url_kind() returns these bits; more may come. */
enum tn_url_kind {
	TN_URL_PACKETS = 1,     /* messages stay whole without a frame: datagrams, DTLS, unix-seqpacket */
	TN_URL_DATAGRAMS = 2,   /* sends datagrams (DTLS too). Without TN_URL_SECURE a server is one connection */
	TN_URL_LOSSY = 4,       /* messages can be lost, doubled or reordered on the way: datagrams of a network */
	TN_URL_SECURE = 8,      /* TLS or DTLS */
	TN_URL_LOCAL = 16,      /* a Unix socket */
	TN_URL_BELOW = 32,      /* below the transports: raw IP, ICMP, packets of a link */
	TN_URL_ICMP = 64,       /* ICMP: echo requests and replies */
	TN_URL_INHERITED = 128, /* an open descriptor (fd:N); the other bits say what is open there now */
};

/*
 * Says what a URL stands for, without opening or looking up anything, so that no program has to guess from its first
 * letters. A URL is fine that can be served or dialled. Returns bits of enum tn_url_kind (0: a stream of bytes on a
 * network), TN_EURL or -ENOMEM.
 */
TN_API int tn_url_kind(const char *url);

/*
 * Whether a key stands in a URL, in whatever spelling (%XX). Only the grammar is checked. Returns 1, 0, TN_EURL or
 * -ENOMEM.
 */
TN_API int tn_url_has_key(const char *url, const char *key);

/*
 * Serves an endpoint: binds, listens, and from then on calls `handler` (which is copied) with `arg` for every
 * connection. A datagram endpoint is one connection from the start; its messages carry their sender, which tn_reply()
 * answers. "localhost" binds every loopback address; "*" every interface. A host name is looked up before this
 * returns. `server` may be NULL. Ended by tn_server_close() or tn_loop_free().
 * Errors: TN_EURL, TN_ENAME, -EADDRINUSE, -EACCES, -EADDRNOTAVAIL, -EMFILE, -ENOMEM, ...
 */
TN_API TN_MUST_CHECK int tn_serve(struct tn_loop *loop, const char *url, const struct tn_handler *handler, void *arg,
				  struct tn_server **server);

/*
 * The same over several loops, each of which is run by its own thread later: call it before they run. TCP and UDP get
 * a socket per loop (SO_REUSEPORT: the kernel spreads the peers); Unix and inherited sockets one acceptor, on loops[0],
 * that hands connections round. Callbacks come from the thread of the connection's loop. The server belongs to
 * loops[0]. The loops may be freed in any order, but none before all of them have stopped running: they post to each
 * other. -EINVAL: no loops.
 */
TN_API TN_MUST_CHECK int tn_serve_loops(struct tn_loop *const *loops, int nloops, const char *url,
					const struct tn_handler *handler, void *arg, struct tn_server **server);

/*
 * Serves at most this many connections at a time; further ones are accepted and closed at once. 0: no limit. How many
 * of them one address may hold and how many are accepted a second are keys of the URL: per-source, accept-rate.
 */
TN_API void tn_server_limit(struct tn_server *server, unsigned max_conns);

/* The number of listeners (localhost can have two) and the URL of each, with its real address and port. */
TN_API int tn_server_nurls(const struct tn_server *server);
TN_API const char *tn_server_url(const struct tn_server *server, int index);

/* Connections being served now, over all loops. */
TN_API unsigned tn_server_nconns(const struct tn_server *server);

/*
 * What a server tells besides the handler: for logs and metrics. on_open and on_close come right before the handler's.
 * on_trouble: a TLS handshake failed, which no handler has heard of (TN_ECERT: the peer's certificate; TN_ETLS,
 * -ETIMEDOUT), a connection was refused (TN_ELIMIT: too many, or too many of one source), datagrams came faster than
 * they were read and were dropped by the kernel (-ENOBUFS), accepting failed (out of descriptors: it is tried again by
 * itself), or changed certificate files cannot be used (TN_EURL). Each of these kinds is told once a second at most,
 * and tn_server_suppressed() says how many were not told. `conn` is NULL then. on_bad: a message was refused, as the
 * handler's on_bad is told next; tn_errmsg() says where and why.
 */
struct tn_watch {
	void (*on_open)(struct tn_conn *conn, void *arg);
	void (*on_close)(struct tn_conn *conn, int err, void *arg);
	void (*on_trouble)(struct tn_server *server, int err, const char *text, void *arg);
	void (*on_bad)(struct tn_conn *conn, const struct tn_msg *msg, int err, void *arg);
};

/* Inside on_trouble: how many more of its kind there were since the last one was told, which `text` does not name. */
TN_API unsigned tn_server_suppressed(const struct tn_server *server);

/*
 * Tells trouble that the program has met for a served connection: on_trouble gets it as it gets the library's, from the
 * loop, once a second of each kind (TN_ELIMIT; all others are failures of the system). `text` is copied. Nothing is
 * told of a dialled connection.
 */
TN_API void tn_conn_trouble(struct tn_conn *conn, int err, const char *text);

/* Sets the observer, which is copied. Call it before the loops run. */
TN_API void tn_server_watch(struct tn_server *server, const struct tn_watch *watch, void *arg);

/*
 * Reads a secured server's files (keys cert, key, key-pass-file, ca, crl, psk-file) anew, for connections to come;
 * those that are open go on with what they began with. A server also does this by itself within seconds after its files
 * have changed, whichever way their paths lead to another content; tn_watch's on_trouble tells that it failed. Returns
 * 0; TN_EURL: they cannot be used, the old ones stay; -EOPNOTSUPP: the server is not secured; -ENOMEM. From loops[0]'s
 * thread.
 */
TN_API TN_MUST_CHECK int tn_server_reload(struct tn_server *server);

/* What a running server does with a file. */
enum tn_file_use {
	TN_FILE_READ,   /* reads it, or a folder and the files in it */
	TN_FILE_APPEND, /* writes behind what is there; makes the file, mode 0600, where there is none */
	TN_FILE_REMOVE, /* removes it */
	TN_FILE_LOOK,   /* looks whether it has changed: any file that is read */
};

/*
 * The files a server needs while it runs, for a program that confines itself: certificates and keys, which are
 * read again when they change; the key log, which is opened again when it has been renamed; the file of a Unix socket,
 * which is removed in the end. A path may be a folder (key crl): the files in it are read, those to come as well. Fills
 * path (valid until the server is reloaded or closed) and use, and returns 0; -ENOENT past the end. Before the loops
 * run.
 */
TN_API int tn_server_file(const struct tn_server *server, int index, const char **path, enum tn_file_use *use);

/*
 * Has another function open those files from now on: for a program that gives up its right to open files, and has
 * another process do it. fn(path, use, arg) returns a descriptor with close-on-exec that the library closes
 * (TN_FILE_LOOK: for fstat(2) alone, O_PATH will do), 0 after TN_FILE_REMOVE, or -errno. `path` is one of
 * tn_server_file(), or a file in a folder of those. It is called from any loop's thread and may block for a moment.
 * NULL: the library opens files itself (the default). One function for the process; before the loops run.
 */
TN_API void tn_set_files(int (*fn)(const char *path, enum tn_file_use use, void *arg), void *arg);

/*
 * Stops accepting and lets every connection finish what is in flight:
 * - One that is quiet is closed in good order: nothing has come or gone for 100 ms (a second where the peer was held
 *   back before, since its kernel then waits before it sends on), nothing is queued, no part of a message has come, it
 *   is neither paused (tn_pause()) nor held (tn_conn_hold()).
 * - A busy one goes on until it is quiet.
 * - One whose peer has ended goes on until our direction has ended too.
 * What is left after `drain_ms` is cut off: on_close gets -ECANCELED, and the peer a reset (TCP; a Unix socket has
 * none, its peer sees an end; over TLS it is one without close_notify). A relay therefore holds its connections for as
 * long as the other side may still have something for them. Timers, posted calls and dialled connections go on as ever.
 * Afterwards the server is freed; its Unix socket file is removed. done(arg), when not NULL, is called on loops[0] once
 * all of it has gone. From loops[0]'s thread; a callback may call it. Called a second time it does nothing.
 */
TN_API void tn_server_close(struct tn_server *server, uint64_t drain_ms, void (*done)(void *arg), void *arg);

/*
 * Dials an endpoint. Names are looked up without blocking the loop, addresses tried as RFC 8305 says. `handler` is
 * copied. on_open follows when connected, or on_close alone when that fails (-ECONNREFUSED, -ETIMEDOUT, TN_ENAME, ...).
 * What is sent before on_open is kept and goes out first. A multicast group or (with broadcast=on) a broadcast address
 * of udp and icmp stands for many hosts: what is sent goes to all of them, any of them may answer, msg->peer says
 * which, and tn_reply() answers that one alone. `conn` may be NULL. Errors at once: TN_EURL, -ENOMEM, -EMFILE; then no
 * callback follows.
 */
TN_API TN_MUST_CHECK int tn_dial(struct tn_loop *loop, const char *url, const struct tn_handler *handler, void *arg,
				 struct tn_conn **conn);

/* ---- connections ----------------------------------------------------------------------------------------------- */

/*
 * Queues a message; it is copied. Everything sent in one turn of the loop leaves in one system call at its end. What
 * passes the mark (key queue) before that goes to the kernel at once, inside this call, so that the queue is full only
 * when the kernel has no room: when the peer reads more slowly than we send.
 * Returns 0.
 * 1: queued, and the queue is at its mark, or 1 MiB has gone to the kernel inside callbacks of this turn: better wait
 * for on_drain, so that a peer that reads as fast as we send does not keep the loop from its other connections.
 * TN_EFULL: not queued. The queue would hold more than the mark and one longest message (key max, with its frame). From
 * now on nothing is queued, however short, until on_drain is due: the peer never gets a later message without the
 * earlier. TN_ESTATE: closing, or our direction has been ended by tn_finish() or by a peer that has gone. on_msg still
 * comes then: what the peer has said before is handed over. TN_ETOOBIG: longer than key max. (A stream with frame=none
 * has no messages: there, whatever is sent while the queue is below its mark is taken.) -EMSGSIZE: longer than a
 * datagram, or than 2 GiB. TN_EFORMAT: the frame cannot carry this message (a line feed in a line), or it is empty and
 * the connection is DTLS or unix-seqpacket, where an empty packet reads as the end of the stream. -EDESTADDRREQ: a
 * datagram server sends with tn_reply(). -ENOMEM.
 */
TN_API TN_MUST_CHECK int tn_send(struct tn_conn *conn, const void *data, size_t len);

/* Answers a message: to its sender on a datagram server, otherwise like tn_send(). */
TN_API TN_MUST_CHECK int tn_reply(struct tn_conn *conn, const struct tn_msg *msg, const void *data, size_t len);

/*
 * The same from several pieces, which go out as one message: at most 16 entries of struct iovec (see readv(2)).
 * `msg` may be NULL where there is no sender to answer.
 */
struct iovec;
TN_API TN_MUST_CHECK int tn_replyv(struct tn_conn *conn, const struct tn_msg *msg, const struct iovec *iov, int count);

/*
 * Passes a received message on, to its own connection or another of the same loop, without copying where that pays. On
 * its own datagram server it goes back to its sender. Returns as tn_send().
 */
TN_API TN_MUST_CHECK int tn_forward(struct tn_conn *conn, const struct tn_msg *msg);

/*
 * For what answers any datagram of a served UDP socket: from now on each reply leaves with one hop less to go than what
 * it answers came with (at least 1, at most what key ttl or unicast_hops says). A datagram with a forged sender can
 * make two such servers answer each other; with this, that ends. For it to end between neighbours too, datagrams that
 * came with their last hop are answered 64 times in a row and then 16 times a second for each peer; the rest counts as
 * lost. Called again it does nothing. Returns 0; -EOPNOTSUPP: not a UDP server, or its socket is connected.
 */
TN_API int tn_conn_fade(struct tn_conn *conn);

/* Ends our direction once everything queued is sent (FIN: shutdown(2) SHUT_WR); the peer's goes on. A connection whose
 * both directions have ended closes by itself. Datagrams: does nothing. Returns 0 or TN_ESTATE. */
TN_API int tn_finish(struct tn_conn *conn);

/*
 * Says that a reply is still owed: by a timer, another server, a worker thread, a child process. While a connection is
 * held, tn_server_close() does not take it for quiet, and without an on_end it does not close when its peer has ended.
 * Each call wants one tn_conn_release(), made after the reply was sent. When the connection closes, its holds end with
 * it: nothing is to be released after on_close. On a datagram server it is a reply to any of its peers that is owed.
 * A connection that is held 65,535 times at once stays held until it closes.
 */
TN_API void tn_conn_hold(struct tn_conn *conn);
TN_API void tn_conn_release(struct tn_conn *conn);

/* Stops and resumes reading. While paused nothing is handed over and the peer is held back. */
TN_API void tn_pause(struct tn_conn *conn);
TN_API void tn_resume(struct tn_conn *conn);

/*
 * Closes in good order: sends what is queued (at most for key drain), ends our direction, closes. No on_msg follows;
 * on_close does. May be called from any callback but on_close, and more than once.
 */
TN_API void tn_close(struct tn_conn *conn);

/* Closes at once and drops what is queued; a TCP peer is sent a reset. on_close follows with `err`. */
TN_API void tn_abort(struct tn_conn *conn, int err);

/* A pointer of yours, NULL at first. */
TN_API void tn_conn_set_data(struct tn_conn *conn, void *data);
TN_API void *tn_conn_data(const struct tn_conn *conn);

/* Its number, from 1, unique in the process: for logs. */
TN_API uint64_t tn_conn_id(const struct tn_conn *conn);

TN_API struct tn_loop *tn_conn_loop(const struct tn_conn *conn);

/* The server that accepted it; NULL for a dialled one. */
TN_API struct tn_server *tn_conn_server(const struct tn_conn *conn);

/* Bytes queued and not yet taken by the kernel. */
TN_API size_t tn_conn_queued(const struct tn_conn *conn);

struct tn_conn_info {
	uint64_t bytes_in, bytes_out; /* payload that came from and was taken by the kernel; of a secured connection,
				       * what was decrypted and encrypted */
	uint64_t msgs_in, msgs_out;   /* out: queued, and not lost here */
	uint64_t lost;                /* datagrams that were lost here, on their way in or out */
	uint64_t dropped;             /* of these, those that the kernel dropped before we read them (see key rcvbuf) */
	uint64_t opened_ns;           /* loop clock */
	uint64_t stalled_ns; /* for how long the kernel has taken nothing of what is queued; 0: it takes, nothing is
			      * queued, or datagrams. A peer that has not read for this long is slow */
	bool many;           /* dialled to a multicast group or a broadcast address: see tn_dial() */
	int fd;              /* the descriptor, for getsockopt(2) and the like; -1 before it exists */
	char local[384], peer[384]; /* as URLs: tcp://127.0.0.1:10000; peer empty for a datagram server */
	uint64_t lookup_ns; /* dialled by name: how long it was looked up before the first address was tried; otherwise
			       0 */
};

/*
 * The address of the other end, and ours: also valid in on_close. len 0: unnamed, as Unix sockets that dial are.
 * Returns 0; -ENOTCONN: a datagram server has no peer, or there is no socket yet.
 */
TN_API TN_MUST_CHECK int tn_conn_peer(const struct tn_conn *conn, struct tn_addr *addr);
TN_API TN_MUST_CHECK int tn_conn_local(const struct tn_conn *conn, struct tn_addr *addr);

/* Fills `info`. Also valid in on_close, where the descriptor has gone: fd is -1,
 * and the peer of a Unix socket unknown. */
TN_API void tn_conn_info(const struct tn_conn *conn, struct tn_conn_info *info);

/* What a secured connection (tls://) has agreed upon with its peer. Texts that do not apply are empty. */
struct tn_security {
	char protocol[16];     /* TLSv1.3 */
	char cipher[64];       /* TLS_AES_256_GCM_SHA384 */
	char alpn[256];        /* the application protocol chosen (key alpn) */
	char server_name[256]; /* the name that the client asked for */
	char identity[256];    /* who the peer has proved to be: its certificate's subject (CN=alice, O=Example) or the
				* names in it, or the identity of the pre-shared key; empty when it was not verified */
	bool resumed;          /* by a ticket of an earlier connection */
};

/*
 * Fills `security`: from on_open on, on_close included. Returns 0; -EOPNOTSUPP: the connection is not secured;
 * TN_ESTATE: its handshake has not been completed.
 */
TN_API int tn_conn_security(const struct tn_conn *conn, struct tn_security *security);

/*
 * A certificate that the peer has shown, verified or not, as DER in memory that the caller frees with free(). `index` 0
 * is its own, those behind are whom it names as vouching for it. Returns 0; -ENOENT: it has shown no such; -EOPNOTSUPP:
 * the connection is not secured; -ENOMEM.
 */
TN_API int tn_conn_peer_cert(const struct tn_conn *conn, int index, unsigned char **der, size_t *len);

/*
 * Writes an address as text, 127.0.0.1:80, [::1]:80, /path, @abstract, (unnamed), or of a packet's sender
 * 02:00:00:00:00:01%eth0. A port that is 0 (raw sockets have none) is left out. Returns `out`.
 */
TN_API const char *tn_addr_text(const struct tn_addr *addr, char *out, size_t cap);

/* The socket address inside. */
TN_API const struct sockaddr *tn_addr_sockaddr(const struct tn_addr *addr);

/* ---- request and reply ----------------------------------------------------------------------------------------- */

/*
 * Dials, sends one request, waits for its reply: for programs without a loop of their own business. Blocks for at most
 * `timeout_ms` (-1: for as long as it takes), running `loop` (NULL: one made for this call). The reply is one datagram
 * or message; on a stream without framing, which ends our direction after the request, everything until the peer ends.
 * It is malloc'ed (one zero byte stands behind it): free() it. Errors: as tn_dial(), -ETIMEDOUT, -ECONNRESET, TN_ESTATE
 * (from a callback of `loop`), ...
 */
TN_API TN_MUST_CHECK int tn_call(struct tn_loop *loop, const char *url, const void *request, size_t len, void **reply,
				 size_t *reply_len, int timeout_ms);

/* The table of all schemes: how a URL of each looks ("tcp://HOST:PORT", "unix:/PATH"), until the next call in this
 * thread. NULL past the end. */
TN_API const char *tn_scheme_at(int index);

/* ---- options --------------------------------------------------------------------------------------------------- */

/* One URL key. */
struct tn_option {
	const char *key;      /* nodelay */
	const char *constant; /* TCP_NODELAY; NULL for tenon's own keys */
	const char *level;    /* IPPROTO_TCP */
	const char *type;     /* on|off, integer, size, duration, text, ... */
	const char *applies;  /* the schemes it can apply to, in words */
	const char *meaning;  /* one line */
};

/* The table of all keys: fills `option` and returns 0, or -ENOENT past the end. */
TN_API int tn_option_at(int index, struct tn_option *option);

/* The value in force on an open connection (or a server's first listener), as it would stand in a URL. Returns 0;
 * -EOPNOTSUPP: does not apply here or cannot be read back; -EINVAL: no such key. */
TN_API int tn_conn_option(const struct tn_conn *conn, const char *key, char *value, size_t cap);
TN_API int tn_server_option(const struct tn_server *server, const char *key, char *value, size_t cap);

/*
 * The same for any socket, whoever has opened it and how: "nodelay" gives the "on" that would stand in a URL. It is
 * only read, so a duplicate of another process's descriptor (pidfd_getfd(2)) will do. Keys that are tenon's own are no
 * part of a socket. Returns 0; -EOPNOTSUPP: does not apply to this socket, or cannot be read back; -EINVAL: no such key
 * of the system's; -EBADF, -ENOTSOCK.
 */
TN_API int tn_socket_option(int fd, const char *key, char *value, size_t cap);

/* Which sockets a URL stands for, dialled or served. */
#define TN_PLACE_ADDRS_MAX 64
struct tn_place {
	int family;   /* AF_UNSPEC: either IP version */
	int type;     /* SOCK_STREAM, ...; with a secure scheme that of the socket below */
	int protocol; /* IPPROTO_TCP, ...; 0 for a Unix socket */
	int port;     /* -1: there are none */
	int naddrs;   /* 0: any address (host *) */
	struct tn_addr addrs[TN_PLACE_ADDRS_MAX];
};

/*
 * Says which sockets a URL stands for, without opening any: for looking at what others have opened. A host name is
 * looked up, which blocks for at most 10 s. A URL is fine that can be served or dialled, one for fd:N is not.
 * Errors: TN_EURL, TN_ENAME, TN_ERESOLVE, -ETIMEDOUT, -E2BIG (the name has more addresses than there is room), -ENOMEM.
 */
TN_API int tn_url_place(const char *url, struct tn_place *place);

/*
 * Where the library reports what is no failure but should be known: an option that the kernel capped, an engine that
 * was refused. One sink for the process, set before loops run; NULL: nowhere (the default). `important` is false for
 * what only a curious person wants to read. May be called from any loop's thread.
 */
TN_API void tn_set_log(void (*fn)(bool important, const char *text, void *arg), void *arg);

/* ---- small helps ------------------------------------------------------------------------------------------------ */

/* "0.1.0" */
TN_API const char *tn_version(void);

/* What this build and this system can do, one `name: text` a line; NULL-terminated. */
TN_API const char *const *tn_features(void);

/* A size in bytes: 4096, 64KiB, 1MiB, 2GiB; k, K, M and G are powers of 1024 too. 0, -EINVAL or -ERANGE. */
TN_API int tn_parse_size(const char *text, uint64_t *bytes);

/* A duration: 250us, 20ms, 1.5s, 2m, 1h; without a unit, seconds. Nanoseconds. 0, -EINVAL or -ERANGE. */
TN_API int tn_parse_duration(const char *text, uint64_t *ns);

/* The word of the list that a person most likely meant, or NULL when none is near. */
TN_API const char *tn_nearest(const char *word, const char *const *words, size_t nwords);

#ifdef __cplusplus
}
#endif

#endif
