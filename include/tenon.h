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

/*
 * A function that takes a struct whose size may grow: it passes the size on that the program was compiled with, so that
 * the program works with a later library. See "structs that grow" at the end.
 */
#ifdef TNI_LIBRARY
#define TN_SIZED
#else
#define TN_SIZED static inline
#endif

struct tn_loop;
struct tn_server;
struct tn_conn;
struct tn_timer;
struct tn_poll;
struct tn_handle;
struct tn_endpoint;
struct tn_signal;
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
	TN_EIDLE = -4023,    /* nothing came or went for the time of key idle, or came for twice that of heartbeat */
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
 * why the connection ended. Passwords in URLs are hidden, as by tn_hide_passwords(). Valid until the next call of the
 * library on this thread.
 */
TN_API const char *tn_errmsg(void);

/* The byte position (from 0) in the URL or message where that failure lies, or -1. */
TN_API long tn_errpos(void);

/* ---- the loop -------------------------------------------------------------------------------------------------- */

/*
 * Makes a loop. `engine`: NULL or "auto" (io_uring where the system allows it, from Linux 6.6 on; otherwise epoll),
 * "uring" (or fail) or "epoll". The environment variable TENON_ENGINE stands in for NULL. Free it with tn_loop_free().
 * Errors: -ENOENT (no such engine), -ENOMEM, -EMFILE; with "uring" also what io_uring_setup(2) says.
 */
TN_API TN_MUST_CHECK int tn_loop_new(struct tn_loop **loop, const char *engine);

/*
 * Runs until tn_loop_stop() is called or nothing is left on the loop: no server, connection, timer, poll, signal or
 * posted call (but see tn_timer_keep_loop()). Blocks. What was posted before tn_loop_stop() is called before this
 * returns; and a connection that has been aborted has told its peer. Returns 0, or a negative code when the engine
 * itself failed. TN_ESTATE: called from a callback of this loop, or the loop is another thread's (tn_loop_fd()).
 */
TN_API TN_MUST_CHECK int tn_loop_run(struct tn_loop *loop);

/*
 * Handles what is due, first waiting for it for at most `timeout_ms` (-1: for as long as it takes, 0: not at all).
 * Returns 1 while anything is left on the loop, 0 when nothing is, or a negative code. TN_ESTATE: called from a
 * callback of this loop, or the loop is another thread's (tn_loop_fd()).
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
 * Calls fn(arg) on the loop's own thread, soon. May be called from any thread. Calls from one thread keep their order.
 * Errors: -ENOMEM; TN_ESTATE: the loop is being freed and calls nothing more. What was taken is called for certain.
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

/* "uring" or "epoll". */
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

/*
 * Calls fn(arg) `delay_ns` nanoseconds from now (UINT64_MAX: not before tn_timer_again()), and then every `period_ns`
 * (0: once). Times that the loop was too late for are left out, and those that follow stay where they were: the series
 * does not drift. The timer is the program's until tn_timer_stop(), fired or not, and is armed again without an
 * allocation. It fires as exactly as the kernel wakes a thread (see tn_loop_step_until()). Errors: -ENOMEM.
 */
TN_API TN_MUST_CHECK int tn_timer_repeat(struct tn_loop *loop, uint64_t delay_ns, uint64_t period_ns,
					 void (*fn)(void *arg), void *arg, struct tn_timer **timer);

/*
 * Arms a timer anew, as if it had just been made with this delay and period: what it was armed for before is forgotten.
 * delay_ns UINT64_MAX disarms it. From its own fn too, unless it is one of tn_timer_start(), which has gone by then.
 */
TN_API void tn_timer_again(struct tn_timer *timer, uint64_t delay_ns, uint64_t period_ns);

/* Stops and frees a timer: one of tn_timer_start() that has not fired, any of tn_timer_repeat(), also from its own fn.
 * NULL is allowed. */
TN_API void tn_timer_stop(struct tn_timer *timer);

/*
 * Calls fn(arg) whenever a descriptor of yours is readable (poll(2) POLLIN, or hung up): a pidfd, a signalfd, another
 * library's descriptor. The descriptor stays yours, and may be polled more than once, or be a connection's; the poll
 * has a duplicate of its own, so it must be stopped for the last copy to be closed. fn is called again for new events
 * only, so it must read until EAGAIN. Errors: -ENOMEM, -EMFILE, -EPERM (cannot be polled).
 */
TN_API TN_MUST_CHECK int tn_poll_start(struct tn_loop *loop, int fd, void (*fn)(void *arg), void *arg,
				       struct tn_poll **poll);

/*
 * Calls fn(revents, arg) in each turn in which a descriptor of yours has what is asked for in `events`: POLLIN, POLLOUT
 * or both; 0: nothing for now. `revents` are bits of poll(2): those that were asked for and hold, POLLHUP and POLLERR
 * (unasked). So it is level-triggered, for libraries that want their descriptors polled (examples/curl_multi.c), at the
 * price of one poll(2) for each call. The descriptor is treated as by tn_poll_start(). Errors: the same, and -EINVAL
 * (other events).
 */
TN_API TN_MUST_CHECK int tn_poll_events(struct tn_loop *loop, int fd, int events, void (*fn)(int revents, void *arg),
					void *arg, struct tn_poll **poll);

/*
 * What a poll of tn_poll_events() asks for from now on; fn is not called for anything else. May be called from its own
 * fn. Returns 0; -EINVAL: other events, or a poll of tn_poll_start(); -ENOMEM and what epoll_ctl(2) says: it asks for
 * nothing then.
 */
TN_API TN_MUST_CHECK int tn_poll_change(struct tn_poll *poll, int events);

/* Stops and frees a poll. NULL is allowed. May be called from its own fn. */
TN_API void tn_poll_stop(struct tn_poll *poll);

/* ---- signals --------------------------------------------------------------------------------------------------- */

/*
 * Calls fn(signo, arg) on the loop whenever the process has got a signal. Several that come before it is called count
 * as one. Any number of watches, of any loops of the process, may wait for the same signal; each is called.
 *
 * From the first watch of a signal to the end of the last the library handles it (sigaction(2), SA_RESTART); then what
 * was there before is restored, unless the program has changed it meanwhile. No signal is blocked or unblocked: one
 * that the program blocks in all threads does not come. Threads and children need no care: whichever thread gets the
 * signal, its loop is told; what is started by execve(2) has the default. A child that goes on without execve(2) keeps
 * the handler, which does nothing there.
 *
 * On the loop's thread. `sig` may be NULL when it will not be stopped before the loop is freed; otherwise it is valid
 * until tn_signal_stop(), which takes NULL and may be called from fn. Errors: -EINVAL: no such signal, or none that can
 * be waited for (SIGKILL, SIGSTOP, and those of faults: SIGSEGV, SIGBUS, SIGFPE, SIGILL); -ENOMEM.
 */
TN_API TN_MUST_CHECK int tn_signal_start(struct tn_loop *loop, int signo, void (*fn)(int signo, void *arg), void *arg,
					 struct tn_signal **sig);
TN_API void tn_signal_stop(struct tn_signal *sig);

/* ---- what keeps a loop running --------------------------------------------------------------------------------- */

/*
 * Whether tn_loop_run() goes on for the sake of an object (what other libraries call ref and unref). It does for all of
 * them when they are made; a timer only while it is armed. What does not keep the loop running is served like all else
 * while the loop runs. When nothing but such objects is left, tn_loop_run() returns, and tn_loop_step() says 0; they
 * live on, for the next run or until tn_loop_free().
 *
 * It is a state and no count: to say the same twice changes nothing. Connections do not inherit it from their server,
 * so those that are open are still served to their end; a datagram server's own connection goes with its server.
 * tn_server_keep_loop() returns 0, or -EOPNOTSUPP: the server is one over several loops.
 */
TN_API void tn_timer_keep_loop(struct tn_timer *timer, bool keep);
TN_API void tn_poll_keep_loop(struct tn_poll *poll, bool keep);
TN_API void tn_signal_keep_loop(struct tn_signal *sig, bool keep);
TN_API void tn_conn_keep_loop(struct tn_conn *conn, bool keep);
TN_API TN_MUST_CHECK int tn_server_keep_loop(struct tn_server *server, bool keep);

/* ---- a loop inside another one --------------------------------------------------------------------------------- */

/*
 * A program that has an event loop already (poll(2), libuv, GLib, Qt, asyncio) runs a tenon loop inside it. The rule:
 *
 *	before each wait    ask tn_loop_deadline(), and wait no longer than until then
 *	the wait            ends when tn_loop_fd() is readable (POLLIN), among all else that the program waits for
 *	after each wait     tn_loop_step(loop, 0), at least if the descriptor was readable or the deadline has come
 *
 * That is all, whatever is called in between: tn_send(), tn_dial(), tn_timer_start() and the like, outside of the
 * loop's callbacks, make the deadline "at once" where they leave something to be done. A loop that cannot ask before
 * each wait steps once more after such calls, until the deadline is not 0.
 *
 *	for (;;) {
 *		struct pollfd fds[] = {{.fd = tn_loop_fd(loop), .events = POLLIN}, ...};
 *
 *		poll(fds, n, tn_loop_timeout_ms(loop));
 *		if (tn_loop_step(loop, 0) <= 0)
 *			break;
 *		...
 *	}
 *
 * Examples: embed_poll.c, embed_uv.c, embed_glib.c. The key spin holds here too: where messages have come close behind
 * one another, the deadline is "at once" for so long (60 us at most by default), and the program's loop looks at all
 * that it has instead of sleeping. An embedded loop never waits inside tn_loop_step(loop, 0), and tn_loop_stop() does
 * nothing but end a wait; 0 from tn_loop_step() says that nothing is left on the loop, which may change.
 */

/*
 * The descriptor that is readable while the loop has events to handle: what was received, room to send on, clients,
 * tn_loop_post(). Level-triggered: it stays readable until a step has handled them; now and then it is readable without
 * need. It belongs to the loop and lives as long: it is polled, and neither read nor closed. Asked again it is the same
 * one, so two embedders of one thread may both watch it. From the first call on the loop is this thread's: stepping it,
 * running it or asking for its descriptor in another is TN_ESTATE. Errors: -EMFILE, -ENOMEM.
 */
TN_API TN_MUST_CHECK int tn_loop_fd(struct tn_loop *loop);

/*
 * When the loop wants to be stepped though its descriptor is not readable: a time of its clock in nanoseconds
 * (CLOCK_MONOTONIC), which may have passed; 0: at once; UINT64_MAX: never. It holds until the next call of the library
 * for this loop.
 */
TN_API uint64_t tn_loop_deadline(const struct tn_loop *loop);

/* The same as the timeout of poll(2): milliseconds from now, rounded up; 0: at once; -1: never. */
TN_API int tn_loop_timeout_ms(const struct tn_loop *loop);

/* ---- messages and handlers ------------------------------------------------------------------------------------- */

/* The library's own: which of this host's addresses a datagram was sent to. See tn_msg_local(). */
struct tn_local {
	uint32_t index;  /* of the interface, where a link-local address needs it; otherwise 0 */
	uint8_t len;     /* of ip; 0: not known, replies leave from the address that the routes say */
	uint8_t to_many; /* it was sent to a multicast group or a broadcast address */
	unsigned char ip[16];
	uint8_t via; /* the proxy that replies go to (key proxy) is kept behind the address: its length */
};

/*
 * The address of a datagram's sender, and of either end of a connection. The sender's also remembers to which address
 * of this host the datagram was sent: a reply leaves from there, now or later, and through the proxy it came by (key
 * proxy). A copy of the struct keeps that; in one that you fill in yourself `local` is all zero.
 */
struct tn_addr {
	uint32_t len;             /* of the socket address; 0: unnamed */
	unsigned char bytes[112]; /* a struct sockaddr_in, _in6, _un or _ll: see tn_addr_sockaddr() */
	struct tn_local local;
};

/* What a message is, where the protocol says so: WebSocket (RFC 6455 5.6). */
enum tn_msg_kind {
	TN_MSG_ANY,  /* the protocol knows no kinds; sent: what the endpoint's key kind says */
	TN_MSG_TEXT, /* UTF-8 */
	TN_MSG_BINARY,
};

/*
 * A received message: on a stream without framing whatever came in one piece, on a datagram socket one datagram. It is
 * a view: valid during on_msg. tn_forward() passes it on without copying it.
 */
struct tn_msg {
	const void *data;
	size_t len;
	enum tn_msg_kind kind;      /* of WebSocket: text or binary */
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
 *
 * on_lost: a dialled connection whose URL has key reconnect has been lost, or an attempt to dial it has failed, and it
 * is dialled again after a pause: see tn_loss. on_close follows only when it ends for good.
 *
 * on_pong: WebSocket's peer has answered a ping, that of tn_ping() or of key ping, after so many ns.
 */
struct tn_loss;

struct tn_handler {
	void (*on_open)(struct tn_conn *conn, void *arg);
	void (*on_msg)(struct tn_conn *conn, const struct tn_msg *msg, void *arg);
	void (*on_drain)(struct tn_conn *conn, void *arg);
	void (*on_end)(struct tn_conn *conn, void *arg);
	void (*on_close)(struct tn_conn *conn, int err, void *arg);
	void (*on_bad)(struct tn_conn *conn, const struct tn_msg *msg, int err, void *arg);
	void (*on_cut)(struct tn_conn *conn, void *arg);
	void (*on_pong)(struct tn_conn *conn, uint64_t round_ns, void *arg);
	void (*on_lost)(struct tn_conn *conn, int err, const struct tn_loss *loss, void *arg);
};

/*
 * A client that dials again by itself: key reconnect=FROM-TO of a dialled stream (reconnect=100ms-10s), for programs
 * whose handler has on_lost; others are refused with TN_EURL when they dial such a URL.
 *
 * Whatever ends the connection but the program itself (an error, the peer's end in good order, key idle, a message that
 * is refused), and an attempt that fails, also the first one, is a loss: on_lost is called with the reason, 0 for an
 * end in good order, and tn_errmsg() tells it in words. After a pause it is dialled anew: its name is looked up, its
 * TLS and WebSocket begin from the start. When bytes can flow again, on_open is called again: what a server must be
 * told first (a login, subscriptions) is sent there. Pauses double from FROM to TO, each of random length from half of
 * that to all of it, and begin anew when the connection has held for longer than the last one.
 *
 * `conn`, its data, id, handles, holds, tn_pause() and the sums of tn_conn_info() stay the same all the while.
 * What was queued when it was lost is dropped, and counted in the loss: nothing is sent twice. Those who wait by
 * tn_when_sent() are told the reason before on_lost. What is sent from then on, in on_lost too, is kept within the
 * bound of key queue and goes out first, before what on_open sends; an attempt that fails does not lose it. A program
 * that waits for on_drain gets it when the connection is back and the queue has gone down.
 *
 * It ends for good, with on_close, by tn_close(), tn_finish() and tn_abort(), tn_loop_free(), after key
 * reconnect-tries=N attempts in a row that failed, and where it is part of a path (tn_join(), tn_flow()).
 */
struct tn_loss {
	bool was_open;     /* it was open; otherwise an attempt has failed */
	unsigned failed;   /* attempts that have failed in a row; 0: was_open */
	uint64_t msgs;     /* messages that were sent (tn_send()) before this and after the last loss of an open
			    * connection. Each has arrived, or is lost: those for which the peer has not said so, by
			    * whatever the protocol has for that, are lost */
	uint64_t unsent;   /* bytes of them that the kernel had not taken: these are lost for certain */
	uint64_t again_ns; /* until it is dialled again */
};

/*
 * To which address of this host a message was sent, which is the address that its reply leaves from. `msg` is valid (in
 * on_msg), or has a copy of its peer. Fills `local`, with the port. Returns 0; 1: it was sent to a multicast group or a
 * broadcast address: `local` is then where the reply leaves from, or unnamed where the routes decide; -EOPNOTSUPP: the
 * connection has no socket address (a pipe), or no socket any more.
 */
TN_API int tn_msg_local(const struct tn_conn *conn, const struct tn_msg *msg, struct tn_addr *local);

/* ---- frames of a program's own ----------------------------------------------------------------------------------- */

/*
 * What tells a stream's messages apart when no frame of the library does (docs/formats.md): two functions and a name,
 * which then stands in this program's URLs as frame=NAME. Limits (max), deadlines (request, idle), tn_forward(), TLS,
 * tn_split_new() and all else work as with any frame. examples/resp_server.c is a whole one.
 */

/* What next() says about the message at the front. All zero but `seen` when it is called. */
struct tn_frame_part {
	size_t taken;    /* 1 is returned: bytes of the message with its frame, from the first on; at least 1 */
	size_t at, len;  /* 1: where in them the message lies that on_msg gets. Otherwise: len, if it is known already,
			  * is held against key max at once */
	size_t need;     /* 0: next() is not called again before so many bytes are there; 0: as soon as more are */
	uint32_t seen;   /* 0: a number of its own, given back at the next call for the same message, such as how far it
			  * has looked. 0 at the first call */
	const char *why; /* negative: why, a constant text for tn_errmsg() */
};

#define TN_FRAME_NAME_MAX 32
#define TN_FRAME_ENDS_MAX 64

/* What wrap() puts around a message. */
struct tn_frame_ends {
	size_t head_len, tail_len;
	unsigned char head[TN_FRAME_ENDS_MAX], tail[TN_FRAME_ENDS_MAX];
};

struct iovec;

struct tn_frame {
	size_t size;      /* sizeof(struct tn_frame): the struct may grow */
	const char *name; /* 1 to 32 of a-z, 0-9, '-', '_' and '.', a letter first */

	/*
	 * How much is one message? Looks at the `len` bytes that have come (at least 1, more messages may follow).
	 * Returns 1: the first message is whole, `part` says where. 0: it is not. Negative, such as TN_EFORMAT: the
	 * stream is broken, nothing behind it is read.
	 */
	int (*next)(const unsigned char *data, size_t len, struct tn_frame_part *part, void *arg);

	/*
	 * Wraps a message of `len` bytes that lie in `count` pieces: writes what stands in front of and behind it.
	 * Returns 0, or negative when the frame cannot carry it: tn_send() returns TN_EFORMAT then (or TN_ETOOBIG, if
	 * that was it). NULL: messages are sent as they are, for protocols whose messages have their header in them.
	 */
	int (*wrap)(const struct iovec *iov, int count, size_t len, struct tn_frame_ends *ends, void *arg);

	void *arg; /* for both */
};

/*
 * Makes a frame known to this process for good, under its name. `frame` is copied; functions and `arg` must stay valid.
 * May be called from any thread; URLs that are read afterwards know the name. The functions are called from the threads
 * of all loops that use it, at the same time: they keep nothing and call nothing of the library.
 * Errors: -EEXIST (the library or the program has a frame of this name), -EINVAL (no next(), not a name, `size`; see
 * "structs that grow"), -ENOMEM.
 *
 * What next() says must be possible. A message longer than key max, one that is not whole within max and 256 bytes
 * more, and one with more than 256 bytes beside it in its frame end the connection with TN_ETOOBIG; no bytes or more
 * than there are, a message outside of its frame, bytes that are needed and there, a return value above 1 with
 * TN_EFORMAT. tn_errmsg() names the frame and the figures.
 */
TN_API TN_MUST_CHECK int tn_frame_register(const struct tn_frame *frame);

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
	TN_URL_PACKETS = 1,      /* messages stay whole without a frame: datagrams, DTLS, unix-seqpacket */
	TN_URL_DATAGRAMS = 2,    /* sends datagrams (DTLS too). Without TN_URL_SECURE a server is one connection */
	TN_URL_LOSSY = 4,        /* messages can be lost, doubled or reordered on the way: datagrams of a network */
	TN_URL_SECURE = 8,       /* TLS or DTLS */
	TN_URL_LOCAL = 16,       /* a Unix socket */
	TN_URL_BELOW = 32,       /* below the transports: raw IP, ICMP, packets of a link */
	TN_URL_ICMP = 64,        /* ICMP: echo requests and replies */
	TN_URL_INHERITED = 128,  /* an open descriptor (fd:N); the other bits say what is open there now */
	TN_URL_PROXY = 256,      /* a served proxy: its clients say where they want to go (tn_conn_asked()) */
	TN_URL_HTTP = 512,       /* each message is a request of HTTP, and each that is sent a whole response */
	TN_URL_WEBSOCKET = 1024, /* messages of WebSocket: each is text or binary; tn_ping() */
	TN_URL_FILE = 2048,      /* a file, terminal or program, opened when it is dialled (file:, tty:, pty:, exec:) */
	TN_URL_MEMORY = 4096,    /* its bytes go through shared memory (shm:), not through its socket */
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
 * Hides passwords in the URLs of a text, for logs and messages: of scheme://user:password@host, also inside a key's
 * value (via) and with %XX, each byte of the password becomes '*', so that all else stays where it was. What only looks
 * like one is hidden as well. Changes `text`, and returns it.
 */
TN_API char *tn_hide_passwords(char *text);

/*
 * Serves an endpoint: binds, listens, and from then on calls `handler` (which is copied) with `arg` for every
 * connection. A datagram endpoint is one connection from the start; its messages carry their sender, which tn_reply()
 * answers. "localhost" binds every loopback address; "*" every interface. A host name is looked up before this
 * returns. `server` may be NULL. Ended by tn_server_close() or tn_loop_free(). Servers of WebSocket on the
 * same loops may have one address, each at another path: a client gets to the one whose path it asks for, and any of
 * them may be closed first. All that comes before the path must be the same: options of the socket, keys of TLS,
 * backlog, accept-rate (of all together), mode, user, group, proxy and trust. Otherwise: -EADDRINUSE, and tn_errmsg()
 * names the key.
 * Of http and https endpoints each message is a request (RFC 9112), checked, with its body; what is sent goes out as it
 * stands, so on_msg sends a whole response. A request that is refused is answered with its status by itself.
 * Errors: TN_EURL, TN_ENAME, -EADDRINUSE, -EACCES, -EADDRNOTAVAIL, -EMFILE, -ENOMEM, ...
 */
TN_SIZED TN_MUST_CHECK int tn_serve(struct tn_loop *loop, const char *url, const struct tn_handler *handler, void *arg,
				    struct tn_server **server);

/*
 * The same over several loops, each of which is run by its own thread later: call it before they run. TCP and UDP get
 * a socket per loop (SO_REUSEPORT: the kernel spreads the peers by a hash); Unix and inherited sockets one acceptor, on
 * loops[0]. A connection that has been accepted goes to the loop that has the fewest, if those are clearly fewer than
 * the accepting loop's. Callbacks come from the thread of the connection's loop. The server belongs to
 * loops[0]. The loops may be freed in any order, but none before all of them have stopped running: they post to each
 * other. -EINVAL: no loops.
 */
TN_SIZED TN_MUST_CHECK int tn_serve_loops(struct tn_loop *const *loops, int nloops, const char *url,
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

/* ---- counters ---- */

/*
 * What a server has counted since it was served, over all its loops. Numbers only grow, except for `open` (and
 * `msgs_out`, where a datagram that was queued is lost after all).
 */
struct tn_counts {
	uint64_t open;     /* connections that are there now: accepted, and not closed yet */
	uint64_t accepted; /* let in by tn_server_limit() and the keys per-source, allow and deny. A datagram server's
			    * own connection is not counted */
	uint64_t closed;
	uint64_t bytes_in, bytes_out, msgs_in, msgs_out; /* as in tn_conn_info, of all connections ever, the refused
							  * ones and a datagram server's own included */
	uint64_t bad;     /* messages that their frame or format does not allow; on a stream also those above key max */
	uint64_t lost;    /* datagrams that were lost here, the refused and the bad ones included */
	uint64_t dropped; /* datagrams that the kernel dropped before they were read. It is asked once a second */
	/* Connections that were refused; and datagrams, those of the last two kinds. Each attempt counts. */
	uint64_t refused_limit;  /* more than tn_server_limit() */
	uint64_t refused_source; /* more than key per-source from one address */
	uint64_t refused_access; /* by keys allow and deny */
	uint64_t refused_proxy;  /* their sender may send no PROXY headers (key trust) */
	/* What stands before on_open: TLS, the request of WebSocket, a PROXY header. A client that has left without a
	 * word, or was refused, counts nowhere here. */
	uint64_t handshakes; /* done */
	uint64_t resumed;    /* of these, by a ticket of an earlier connection */
	uint64_t handshakes_failed, handshakes_timed_out;
	uint64_t accept_failed; /* accept(2) failed, or there was no memory for the connection */
	uint64_t queue_peak;    /* the most bytes that one connection has had queued (tn_conn_queued()) after a send */
};

/*
 * Reads the counters. From any thread, as long as the server is there; without a lock, and at no cost to the loops.
 * What a loop is just counting may be missing, so numbers that belong together can differ by what is under way.
 */
TN_SIZED void tn_server_count(const struct tn_server *server, struct tn_counts *counts);

/* ---- a server's connections and observers ---- */

/*
 * Calls fn(conn, arg) for each connection of the server that lives on the calling thread's loop: from a callback of
 * that loop, or outside of any where the server has one loop alone. Those are called for which on_open has been called,
 * and which have not failed or been closed since. fn() may send to, close or abort any connection; it must not run the
 * loop. A datagram server is one connection. For a server over several loops (tn_serve_loops()) post a function to
 * each of them (tn_loop_post()) that calls this, with a reference to the shared message; and post no more after
 * tn_server_close(), unless done() sees to it that none of them runs later: until it has returned the server is there,
 * with the connections that still drain. Returns how many there were; TN_ESTATE: the calling thread runs no loop of
 * the server.
 */
TN_API int tn_server_each(struct tn_server *server, void (*fn)(struct tn_conn *conn, void *arg), void *arg);

/*
 * What a server tells besides the handler: for logs and metrics. on_open and on_close come right before the handler's.
 * on_trouble: a TLS handshake failed, which no handler has heard of (TN_ECERT: the peer's certificate; TN_ETLS,
 * -ETIMEDOUT), a PROXY header is broken or missing (TN_EFORMAT), a connection or a datagram was refused (TN_ELIMIT: too
 * many, or too many of one source; -EACCES: by the keys allow, deny or trust), datagrams came faster than they were
 * read and were dropped by the kernel (-ENOBUFS), accepting failed (out of descriptors: it is tried again by itself),
 * or changed files cannot be used (TN_EURL). Each of these kinds is told once a second at most, and
 * tn_server_suppressed() says how many were not told. `conn` is NULL then. on_bad: a message was refused, as the
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

/*
 * Adds an observer, which is copied. There may be several: they are called in the order they were added, with what
 * happens from now on. From loops[0]'s thread, or before the loops run. Returns 0, or -ENOMEM; adding the first one
 * never fails for want of memory.
 */
TN_SIZED int tn_server_watch(struct tn_server *server, const struct tn_watch *watch, void *arg);

/*
 * Takes the observers with this `arg` away: none of their callbacks begins after this has returned, though one may be
 * under way in the thread of another loop of the server. May be called from any thread, as long as the server is there,
 * and from those callbacks. Their memory (about 60 bytes each) is given back when the server goes.
 */
TN_API void tn_server_unwatch(struct tn_server *server, void *arg);

/*
 * Reads a server's files (keys cert, key, key-pass-file, ca, crl, psk-file, allow, deny, trust) anew, for connections
 * to come; those that are open go on with what they began with. A server also does this by itself within seconds after
 * its files have changed, whichever way their paths lead to another content; tn_watch's on_trouble tells that it
 * failed. Certificates are also read anew for the other servers of WebSocket at the same address, since a client shows
 * which of them it wants when it is encrypted already. Returns 0; TN_EURL: they cannot be used, the old ones of all
 * stay; -EOPNOTSUPP: it has no such files; -ENOMEM. From loops[0]'s thread.
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
 * The files a server needs while it runs, for a program that confines itself: certificates, keys and lists of
 * addresses, which are read again when they change; the key log, which is opened again when it has been renamed; the
 * file of a Unix socket, which is removed in the end. A path may be a folder (key crl): the files in it are read, those
 * to come as well. Fills path (valid until the server is reloaded or closed) and use, and returns 0; -ENOENT past the
 * end. Before the loops run.
 */
TN_API int tn_server_file(const struct tn_server *server, int index, const char **path, enum tn_file_use *use);

/*
 * The same for a URL that is dialled while the program runs: certificates and keys, which are looked at for each
 * connection and read again when they have changed, the key log, and the file of key auth, which is read for each
 * connection; then those of its proxies (key via). (What this system trusts, without key ca, OpenSSL reads by itself.)
 * Fills `path` and `use`, and returns 0; -ENOENT past the end; -ENAMETOOLONG: `cap` is too small;
 * TN_EURL; -ENOMEM.
 */
TN_API int tn_url_file(const char *url, int index, char *path, size_t cap, enum tn_file_use *use);

/*
 * Has another function open those files from now on: for a program that gives up its right to open files, and has
 * another process do it. fn(path, use, arg) returns a descriptor with close-on-exec that the library closes
 * (TN_FILE_LOOK: for fstat(2) alone, O_PATH will do), 0 after TN_FILE_REMOVE, or -errno. `path` is one of
 * tn_server_file(), or a file in a folder of those. It is called from any loop's thread and may block for a moment.
 * NULL: the library opens files itself (the default). One function for the process; before the loops run.
 */
TN_API void tn_set_files(int (*fn)(const char *path, enum tn_file_use use, void *arg), void *arg);

/*
 * Accepts nobody any more: the addresses are free at once, who comes is refused. The connections that are there go on
 * as ever, for as long as they like; tn_server_close() ends them and the server. Called again, or after that, it does
 * nothing; nor does it where the server is one connection (datagrams). From loops[0]'s thread; a callback may call it.
 * The other loops of a server stop soon: until then they may still accept.
 */
TN_API void tn_server_stop(struct tn_server *server);

/*
 * Stops accepting and lets every connection finish what is in flight:
 * - One that is quiet is closed in good order (WebSocket: with code 1001): nothing has come or gone for 100 ms (a
 *   second where the peer was held back before, since its kernel then waits before it sends on), nothing is queued, no
 *   part of a message has come, it is neither paused (tn_pause()) nor held (tn_conn_hold()).
 * - A busy one goes on until it is quiet.
 * - One whose peer has ended goes on until our direction has ended too.
 * What is left after `drain_ms` is cut off: on_close gets -ECANCELED, and the peer a reset (TCP; a Unix socket has
 * none, its peer sees an end; over TLS it is one without close_notify). A relay therefore holds its connections for as
 * long as the other side may still have something for them; tn_join() does so. Timers, posted calls and dialled
 * connections go on as ever. Afterwards the server and its Unix socket file go. done(arg), when not NULL,
 * is called on loops[0] once all of it has gone. From loops[0]'s thread; a callback may call it. Called a second time
 * it does nothing.
 *
 * A server over TCP or UDP whose URL has reuseport=on hands over to another process that listens there: what is new
 * goes to that process from now on, and this one accepts for up to 500 ms more, less if `drain_ms` is, those whose
 * handshake has begun. Nobody is refused: tenon-serve(1), Restarting.
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
TN_SIZED TN_MUST_CHECK int tn_dial(struct tn_loop *loop, const char *url, const struct tn_handler *handler, void *arg,
				   struct tn_conn **conn);

/* ---- prepared endpoints ---------------------------------------------------------------------------------------- */

/*
 * Reads and checks a URL for dialling once. The endpoint that it becomes is dialled any number of times, on any loops.
 * tn_dial() keeps the last few URLs of a loop in this form by itself, so a program gains where it dials more of them in
 * turn, or wants to know beforehand that they are right. A host name and the files that keys name are still looked up
 * at each dial; a service (tcp://localhost:http) and an option that names an interface are looked up here. The endpoint
 * has one reference, the caller's. Errors: as tn_dial() has them for its URL: TN_EURL, -ENOMEM.
 */
TN_API TN_MUST_CHECK int tn_endpoint_new(const char *url, struct tn_endpoint **ep);

/*
 * Takes one more reference, and returns `ep`; lets one go. Connections have references of their own. An endpoint does
 * not change, so that threads may share one. May be called from any thread. NULL may be let go of.
 */
TN_API struct tn_endpoint *tn_endpoint_ref(struct tn_endpoint *ep);
TN_API void tn_endpoint_unref(struct tn_endpoint *ep);

/* Dials as tn_dial() does, with an endpoint in place of its URL: the same callbacks and errors. */
TN_SIZED TN_MUST_CHECK int tn_dial_endpoint(struct tn_loop *loop, struct tn_endpoint *ep,
					    const struct tn_handler *handler, void *arg, struct tn_conn **conn);

/* ---- the PROXY protocol ---------------------------------------------------------------------------------------- */

/*
 * A proxy tells in front of a connection's bytes from where its client comes ("The PROXY protocol", versions 1 and 2,
 * doc/proxy-protocol.txt of HAProxy). Key proxy=accept of a served URL: such a header must come, from addresses in key
 * trust; from then on tn_conn_peer(), tn_conn_info() and the limits of the server speak of the client. Key proxy=v1 or
 * v2 of a dialled URL: one is sent. Over udp each datagram has one, and what goes back has none.
 */

/*
 * Dials as tn_dial() does. Where the URL has key proxy, the header speaks of the client of `of`: its addresses, and in
 * version 2 what its TLS has agreed upon, with its certificate's common name; if it came through a proxy itself, what
 * that has told. `of` is a connection of the same loop, and needed no longer than this call. `msg`: of a datagram
 * server, the message whose sender is meant, valid inside on_msg; otherwise NULL. `of` NULL, and tn_dial(): the
 * connection is of this program itself (LOCAL; UNKNOWN in version 1). A program (exec:) is told the addresses of `of`,
 * in TENON_PEER and TENON_LOCAL. Returns as tn_dial(); TN_ETOOBIG: what is to be told is longer than a header may be.
 */
TN_SIZED TN_MUST_CHECK int tn_dial_for(struct tn_loop *loop, const char *url, const struct tn_handler *handler,
				       void *arg, const struct tn_conn *of, const struct tn_msg *msg,
				       struct tn_conn **conn);

/* Types of what a header of version 2 may tell besides addresses. Programs have 0xe0 to 0xef for their own. */
enum tn_proxy_type {
	TN_PROXY_ALPN = 0x01,
	TN_PROXY_AUTHORITY = 0x02, /* the name that the client has asked for (SNI) */
	TN_PROXY_CRC32C = 0x03,
	TN_PROXY_NOOP = 0x04,
	TN_PROXY_UNIQUE_ID = 0x05,
	TN_PROXY_SSL = 0x20,
	TN_PROXY_SSL_VERSION = 0x21, /* within TN_PROXY_SSL, and so on: TLSv1.3 */
	TN_PROXY_SSL_CN = 0x22,      /* common name of the client's certificate */
	TN_PROXY_SSL_CIPHER = 0x23,
	TN_PROXY_SSL_SIG_ALG = 0x24,
	TN_PROXY_SSL_KEY_ALG = 0x25,
	TN_PROXY_NETNS = 0x30,
};

struct tn_proxy {
	int version;               /* 1 or 2 */
	bool local;                /* it speaks of no client: addresses are empty (LOCAL, UNKNOWN, UNSPEC) */
	struct tn_addr client;     /* from where the client has come; len 0: not told */
	struct tn_addr target;     /* and where to */
	struct tn_addr sender;     /* who has sent the header; len 0: we did, or a Unix socket's other end */
	bool tls;                  /* the client came by TLS */
	bool has_cert, verified;   /* with a certificate; it was found good */
	const unsigned char *tlvs; /* of version 2, checked: a type, two bytes of length, the value; and so on */
	size_t tlvs_len;
};

/*
 * What the PROXY header of a connection has told: one that came (from on_open on, on_close included; of a datagram
 * server inside on_msg, of that message) or one that we send. `proxy` is valid as long as the connection is, of a
 * datagram server during on_msg. Returns 0; -EOPNOTSUPP: it has none.
 */
TN_SIZED TN_MUST_CHECK int tn_conn_proxy(const struct tn_conn *conn, struct tn_proxy *proxy);

/* The value of the first TLV of a type (enum tn_proxy_type, or one's own). Returns 0, or -ENOENT: there is none. */
TN_API int tn_proxy_tlv(const struct tn_proxy *proxy, unsigned type, const unsigned char **value, size_t *len);

/* ---- serving a proxy ------------------------------------------------------------------------------------------- */

/*
 * A served proxy (proxy://, proxy+unix:, tls+proxy://; with key cert proxy:// is the last) speaks SOCKS4, 4a and 5, and
 * CONNECT of HTTP/1.1, with its clients, told apart by their first byte. on_open says that a client has asked for
 * something (and has shown its password, with key users): tn_conn_asked() tells what. Whatever the program does then,
 * it answers once, by tn_conn_answer(). Until then the connection is paused, and nothing is sent; from then on it is a
 * connection like any other one, to which the proxy's protocol adds nothing.
 *
 *	on_open		tn_conn_asked(client, &asked); tn_dial_asked(client, asked.what, asked.host, asked.port, ...)
 *	target's on_open	tn_conn_answer(client, 0, target); tn_join(client, target)
 *	target's on_close	not open before: tn_conn_answer(client, err, NULL); tn_close(client)
 */
enum tn_asked_what {
	TN_ASKED_CONNECT = 1, /* a connection */
	TN_ASKED_UDP = 2,     /* SOCKS5's UDP ASSOCIATE (RFC 1928 7): a socket for datagrams that go to many places */
};

struct tn_asked {
	enum tn_asked_what what;
	const char *protocol; /* socks4, socks4a, socks5 or http */
	const char *host;     /* a name, in ASCII, or an address without brackets; letters, digits and ".:-_" only */
	int port;             /* with TN_ASKED_UDP: with host where the client will send from; 0: it does not say */
	const char *user;     /* who has shown the right password; with socks4 who the client says it is; "": nobody */
};

/*
 * Fills `asked`, from on_open on until the answer. The texts are valid as long. Returns 0; -EOPNOTSUPP: it is no
 * client of a served proxy, or has been answered.
 */
TN_SIZED int tn_conn_asked(const struct tn_conn *client, struct tn_asked *asked);

/*
 * Dials as tn_dial() does, a TCP connection or a UDP socket, for a client of a served proxy, which need not wait for an
 * answer any more. What the proxy's URL says of where clients may go (keys allow-to, deny-to, ports) holds for it: port
 * and addresses are judged before anything is looked up, the addresses of a name when each is about to be connected to.
 * `keys`: what a URL has behind its '?', such as "connect=5s"; NULL: nothing. Returns as tn_dial(); -EACCES: no client
 * may go there, which may also be why on_close is called; -EINVAL: no such host or port; -EOPNOTSUPP: the client is
 * none of a served proxy.
 */
TN_SIZED TN_MUST_CHECK int tn_dial_asked(struct tn_conn *client, enum tn_asked_what what, const char *host, int port,
					 const char *keys, const struct tn_handler *handler, void *arg,
					 struct tn_conn **conn);

/*
 * Answers a client, in its protocol, and resumes it. `err`: 0, or why it cannot be had (-EACCES, -ECONNREFUSED,
 * TN_ENAME, -ETIMEDOUT and so on become the code or status that says so); then tn_close() follows. `used`: the
 * connection or, with TN_ASKED_UDP, the socket whose address is told; NULL: none is. Returns 0; -EOPNOTSUPP: it is no
 * client of a served proxy, or has been answered; TN_ESTATE: it is closing; -ENOMEM.
 */
TN_API int tn_conn_answer(struct tn_conn *client, int err, const struct tn_conn *used);

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
 * The same as tn_send(), as text or binary where the protocol knows the difference (WebSocket). A reply to a message
 * is of its kind by itself. TN_EUTF8: text that is not UTF-8, which the peer would have to close the connection for.
 */
TN_API TN_MUST_CHECK int tn_send_as(struct tn_conn *conn, enum tn_msg_kind kind, const void *data, size_t len);

/*
 * The same from several pieces, which go out as one message: at most 16 entries of struct iovec (see readv(2)).
 * `msg` may be NULL where there is no sender to answer: tn_sendv() is that.
 */
struct iovec;
TN_API TN_MUST_CHECK int tn_sendv(struct tn_conn *conn, const struct iovec *iov, int count);
TN_API TN_MUST_CHECK int tn_replyv(struct tn_conn *conn, const struct tn_msg *msg, const struct iovec *iov, int count);

/*
 * Passes a received message on, to its own connection or another of the same loop, without copying where that pays. On
 * its own datagram server it goes back to its sender. Returns as tn_send(). To many connections, or to those of other
 * loops: tn_shared_from().
 */
TN_API TN_MUST_CHECK int tn_forward(struct tn_conn *conn, const struct tn_msg *msg);

/* ---- shared messages: one to many ---- */

/*
 * A message that is made once and sent to any number of connections, of any loop. The queues of the connections refer
 * to its bytes. What a frame (key frame), or WebSocket with or without compression, makes of it is made once as well,
 * for all connections that have the same.
 *
 *	static void publish(struct tn_conn *conn, void *arg)
 *	{
 *		if (tn_send_shared(conn, arg) < 0)
 *			tn_abort(conn, TN_EFULL);
 *	}
 *
 *	if (tn_shared_new(data, len, TN_MSG_ANY, &shared) == 0) {
 *		tn_server_each(server, publish, shared);
 *		tn_shared_unref(shared);
 *	}
 *
 * It does not change, belongs to no loop and outlives all of them. References are counted: whoever makes one has the
 * first, each tn_shared_ref() adds one, each wants one tn_shared_unref(). What is queued has references of its own, so
 * the program may drop its last one as soon as it has sent the message for the last time. As with free(), a message
 * must not be used by who has no reference to it. All functions here but tn_send_shared() may be called from any
 * thread, for the same message at the same time; a thread sends one by tn_handle_send_shared().
 */
struct tn_shared;

/*
 * Makes one of bytes, which are copied. `kind`: what it is where the protocol says so (WebSocket). Errors: -EMSGSIZE
 * (longer than 2 GiB), -ENOMEM.
 */
TN_API TN_MUST_CHECK int tn_shared_new(const void *data, size_t len, enum tn_msg_kind kind, struct tn_shared **shared);

/*
 * The same of a received message, while it is valid: in on_msg. A long one is not copied: the memory in which it was
 * received becomes the message's.
 */
TN_API TN_MUST_CHECK int tn_shared_from(const struct tn_msg *msg, struct tn_shared **shared);

/* Adds a reference; returns `shared`. */
TN_API struct tn_shared *tn_shared_ref(struct tn_shared *shared);

/* Drops a reference. With the last one, those of the queues included, its memory is freed. NULL is allowed. */
TN_API void tn_shared_unref(struct tn_shared *shared);

/* Its bytes, without a frame, as long as the caller has a reference. `len` may be NULL. */
TN_API const void *tn_shared_data(const struct tn_shared *shared, size_t *len);

/*
 * Queues a shared message, bounded by the connection's queue as any other: returns as tn_send(), TN_EUTF8 as
 * tn_send_as(). From the thread of the connection's loop. The caller keeps its reference. What is short is copied where
 * other messages wait in front of it, and always on datagram sockets.
 */
TN_API TN_MUST_CHECK int tn_send_shared(struct tn_conn *conn, struct tn_shared *shared);

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
 * Each call wants one tn_conn_release(), made after the reply was sent; the last one begins key idle's time anew. When
 * the connection closes, its holds end with
 * it: nothing is to be released after on_close. On a datagram server it is a reply to any of its peers that is owed.
 * A connection that is held 65,535 times at once stays held until it closes.
 */
TN_API void tn_conn_hold(struct tn_conn *conn);
TN_API void tn_conn_release(struct tn_conn *conn);

/* How far something that was sent has come. */
enum tn_sent {
	TN_SENT_TAKEN,        /* the kernel has taken it: it is not in this process any more */
	TN_SENT_ACKNOWLEDGED, /* TCP: the peer's kernel has acknowledged it, the end of our direction (tn_finish())
			       * included; Unix sockets and pipes: the peer has read it. It says nothing of what
			       * the peer's program has done with it */
};

/*
 * Calls fn(conn, 0, arg) once, from the loop, when all that has been queued up to now has come so far. (On a secured
 * connection and on datagrams: when the queue is empty for the first time.) If that cannot happen any more,
 * fn(conn, err, arg) is called with the reason right before on_close: -ECANCELED where the connection was closed
 * without one, or, of a pipe, its end was told before its reader has read all; -ECONNRESET where the peer of a Unix
 * socket, -EPIPE where the reader of a pipe has closed without reading all. Until then the connection does not close
 * by itself, and a server that drains does not take it for quiet. To close a connection when all
 * has arrived: tn_finish(), then this, and tn_close() in fn; unlike tn_close() alone that waits for a slow reader as
 * long as it takes. Returns 0; TN_ESTATE: the connection has failed or is gone; -ENOMEM.
 */
TN_API TN_MUST_CHECK int tn_when_sent(struct tn_conn *conn, enum tn_sent how,
				      void (*fn)(struct tn_conn *conn, int err, void *arg), void *arg);

/*
 * Gives what a stream has queued to the kernel now, inside this call, instead of at the end of the turn (datagrams
 * leave then). Returns 0: nothing is queued any more; 1: the kernel takes no more for now, or the connection is not
 * open yet; the rest follows by itself. TN_ESTATE: the connection has failed.
 */
TN_API int tn_flush(struct tn_conn *conn);

/*
 * Makes one path of two connections: from now on, what comes from each goes out on the other, in order and no faster
 * than the other takes it. Where both are plain streams of bytes and much is moved, it does not pass through this
 * process (splice(2)).
 *
 * - The end of a peer's direction is passed on when everything before it has been: the other end is told as by
 *   tn_finish(), and the other direction goes on. When both have ended, both connections close without an error.
 * - An error is passed on too. When one connection closes with an error, the other sends what it has queued, however
 *   slowly its peer reads it, and is then reset (see tn_handler: as after a refused message); its on_close gets the
 *   same error. What comes from it meanwhile is dropped. A secured connection that is cut (see on_cut), a message that
 *   the other side cannot carry and a lack of memory are such errors.
 * - tn_close() or tn_abort(conn, 0) of one closes the other in good order.
 * - The handlers' on_msg, on_end, on_cut and on_drain are called no more; on_open, on_bad and on_close are. In on_close
 *   of one, the other is free again and can be joined with a third; if it is not, it closes as told here.
 * - What was received before is kept for the path, but for the message that on_msg is being called with. What was
 *   queued goes out first. An end that has been told already (on_end) is passed on. tn_pause() and tn_resume() hold
 *   what comes from one connection, tn_send() adds to what goes to it.
 * - A joined connection is not quiet to tn_server_close(), as long as its other side has not ended. One that is held
 *   back for the other side is not idle (key idle) while the other side takes something. The counters of
 *   tn_conn_info() and all else of each are as ever.
 * - Either may be one that was dialled and is not open yet: what comes from the other is held back until it is. A pipe
 *   or file of one direction is joined in that direction alone: tn_join(input, conn) and tn_join(conn, output) make one
 *   path of fd:0, a socket and fd:1.
 *
 * Both keep messages (key frame, unix-seqpacket, dtls: each message becomes one of the other side), or both are streams
 * of bytes, or both datagram sockets with one peer each, which have no end to pass on. Returns 0, or an error, after
 * which nothing has changed. -EINVAL: bytes with messages, messages with datagrams, a connection with itself, of
 * different loops, or two that have no direction in common. -EBUSY: one is joined already. TN_ESTATE: one is closing,
 * or our direction to it has been ended. -EOPNOTSUPP: a datagram server, which has many peers. -ENOMEM.
 */
TN_API TN_MUST_CHECK int tn_join(struct tn_conn *a, struct tn_conn *b);

/* What a path does with what comes, in place of passing it on as it is. Each may be NULL. */
struct tn_pass {
	/* Sends what it makes of a message, if anything. Returns as tn_send(): 0; 1: `from` is held back until `to` has
	 * room, until the next turn at least (`to` NULL: as 0); < 0: an error of the path, but TN_ESTATE: `to` takes
	 * nothing more. NULL: tn_forward(). */
	int (*msg)(struct tn_conn *from, const struct tn_msg *msg, struct tn_conn *to, void *arg);
	/*
	 * After a 1: `to` has room again. Sends what was kept back. Returns likewise: 1: it is to be called again.
	 * Also called once, right before on_close of `from`, if that closes meanwhile: then `to` takes all that is
	 * sent, beyond its mark. What is kept back even then is never asked for again.
	 */
	int (*room)(struct tn_conn *from, struct tn_conn *to, void *arg);
	/* The peer of `from` has ended its direction, and everything before that was passed on. NULL: tn_finish(to). */
	void (*end)(struct tn_conn *from, struct tn_conn *to, void *arg);
	/* The same without a close_notify: see on_cut. NULL: an error of the path. */
	void (*cut)(struct tn_conn *from, struct tn_conn *to, void *arg);
};

/*
 * One direction of tn_join() alone: what comes from `from` goes out on `to`, by the rules told there. The other
 * direction stays with the handlers, or with another path. `pass` (which is copied) may be NULL; with pass->msg the two
 * may be of different kinds. `to` NULL: what comes is read and dropped, if pass->msg does not use it; the end is told
 * to pass->end alone. When the path has ended, `from` is not free again, `to` is. Returns as tn_join().
 */
TN_SIZED TN_MUST_CHECK int tn_flow(struct tn_conn *from, struct tn_conn *to, const struct tn_pass *pass, void *arg);

/* Stops and resumes reading. While paused nothing is handed over and the peer is held back. */
TN_API void tn_pause(struct tn_conn *conn);
TN_API void tn_resume(struct tn_conn *conn);

/*
 * Closes in good order: sends what is queued (at most for key drain; datagrams: 5 s), ends our direction, closes.
 * Neither on_open nor on_msg follows; on_close does. May be called from any callback but on_close, and more than once.
 */
TN_API void tn_close(struct tn_conn *conn);

/*
 * The same for WebSocket, with what its Close says: a code (RFC 6455 7.4: 1000 to 1003, 1007 to 1014, 3000 to 4999) and
 * a reason of at most 123 bytes of UTF-8, or NULL. Returns 0; TN_EFORMAT, and nothing is closed: they may not be said;
 * -EOPNOTSUPP: the connection is not WebSocket.
 */
TN_API int tn_close_with(struct tn_conn *conn, int code, const char *reason);

/* Closes at once and drops what is queued; a TCP peer is sent a reset. on_close follows with `err`. */
TN_API void tn_abort(struct tn_conn *conn, int err);

/*
 * From now on `handler` (which is copied) is called with `arg`, in place of what the connection began with. What has
 * been told is not told again. From any callback of the loop or outside of them. Returns 0 or -ENOMEM; then nothing has
 * changed.
 */
TN_SIZED TN_MUST_CHECK int tn_conn_set_handler(struct tn_conn *conn, const struct tn_handler *handler, void *arg);

/*
 * Lets a connection go: it closes in good order as by tn_close(), and neither its handler nor what tn_when_sent() was
 * given is called any more, on_close included. `conn` must not be used afterwards. What a server's tn_watch observes is
 * told as ever. A dialled connection that is not open yet and has nothing to send is given up at once.
 */
TN_API void tn_conn_detach(struct tn_conn *conn);

/* What tn_conn_tap() tells of a connection. */
enum tn_tap {
	TN_TAP_IN,      /* a message has come */
	TN_TAP_OUT,     /* a message has been queued to be sent */
	TN_TAP_IN_END,  /* the peer has ended its direction in good order (told again to a path that begins then) */
	TN_TAP_OUT_END, /* ours has ended */
	TN_TAP_CLOSED,  /* on_close follows, or on_lost, with this `err`; told last (after a loss the tap stays, for
			 * the connection that is dialled next) */
};

/*
 * Looks on at what passes: fn(conn, what, msg, err, arg) is called with each message that comes, before anybody else
 * gets it and also when the endpoint's format refuses it, and with each that is sent, when it has been queued, by
 * whatever call. Both are plaintext, without the frame; on a stream of bytes they are the pieces that come, or that
 * were sent. msg->peer is set as in on_msg and tn_reply(). `msg` is valid during the call, and NULL but for TN_TAP_IN
 * and TN_TAP_OUT. fn() only looks: it may ask about the connection, and neither sends nor closes. tn_errmsg() in
 * TN_TAP_CLOSED is that of on_close. As long as somebody looks on, bytes of a path come into this process (no
 * splice(2)). One looks on at a time: who comes later takes the place of who was there; `fn` NULL: nobody does any
 * more. Returns 0; -ENOMEM; -EOPNOTSUPP: this build has no taps.
 */
TN_API TN_MUST_CHECK int tn_conn_tap(struct tn_conn *conn,
				     void (*fn)(struct tn_conn *conn, enum tn_tap what, const struct tn_msg *msg,
						int err, void *arg),
				     void *arg);

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
	uint64_t first_ns;  /* joined (tn_join(), tn_flow()): loop clock when the first of what came from it was passed
			       on; 0: nothing was */
	const char *via;    /* the proxies that it goes through (key via), in their order:
			     * socks5h://gate:1080,http://inner:3128; "": none. `peer` is then the URL's own host, which
			     * may be known to them alone, and tn_conn_peer() the first proxy's address. Valid until it
			     * closes, in on_close too */
	uint64_t connected_ns; /* loop clock when its socket, or the one to the first proxy, was connected or accepted,
				* to a microsecond; 0: it has not been. From then until opened_ns its layers opened:
				* via, a PROXY header, TLS, WebSocket */
	bool peer_known;   /* over a Unix socket with connections, while it is open: the four below are of the process
			    * that holds its other end, as the kernel knew it when it connected, or began to listen
			    * (unix(7), SO_PEERCRED). Behind a PROXY header that is the proxy. Not in a library that
			    * was built without lists of addresses (access) */
	int peer_pid;      /* 0: it is in another name space of processes */
	uint32_t peer_uid; /* its user and group, as numbers of our own user name space */
	uint32_t peer_gid;
	char peer_label[256]; /* what a security module calls it (SO_PEERSEC: SELinux, AppArmor, Smack); "": nothing */
	int child_pid;        /* exec: the process of the program, which leads a group of its own; 0: there is none */
	bool child_ended;     /* in on_close, which waits for its end: the two below say how it has ended. false: it
			       * has not been started, or somebody else has reaped it */
	int child_status;     /* its exit status, unless a signal ended it */
	int child_signal;     /* the signal that ended it, or 0 */
	bool child_cut;       /* the connection ended before the output of the program, or the program had to be ended
			       * (key drain): how it has ended then says nothing of it */
};

/*
 * The address of the other end, and ours: also valid in on_close. len 0: unnamed, as Unix sockets that dial are.
 * Returns 0; -ENOTCONN: a datagram server has no peer, or there is no socket yet.
 */
TN_API TN_MUST_CHECK int tn_conn_peer(const struct tn_conn *conn, struct tn_addr *addr);
TN_API TN_MUST_CHECK int tn_conn_local(const struct tn_conn *conn, struct tn_addr *addr);

/* Fills `info`. Also valid in on_close, where the descriptor has gone: fd is -1,
 * and the peer of a Unix socket unknown. */
TN_SIZED void tn_conn_info(const struct tn_conn *conn, struct tn_conn_info *info);

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
TN_SIZED int tn_conn_security(const struct tn_conn *conn, struct tn_security *security);

/*
 * TLS that begins in the middle, where a protocol begins in plain text and then goes over to it (STARTTLS, NATS).
 *
 * tn_server_tls_later(): connections of this server (tls://) begin without TLS, until the program calls tn_start_tls()
 * for each. `optional`: who does not begin a handshake then goes on without. Before the loops run. tn_tls_later() says
 * the same of a connection that is being dialled, right behind tn_dial(). on_open is called when the stream is
 * connected; nothing that is said before tn_start_tls() is secret, and nobody has proved who he is.
 *
 * tn_start_tls(): what was sent before goes as it is; what is sent from now on waits for the handshake, and what comes
 * came through it. From on_open or on_msg; what the peer has sent in plain text behind that message is not taken for
 * its own: the connection ends with TN_ETLS. No callback tells that hands were shaken: tn_conn_security() does, from
 * the next message on. A handshake that fails, or takes longer than key handshake, ends the connection (on_close:
 * TN_ETLS, -ETIMEDOUT).
 *
 * Errors: -EOPNOTSUPP: no TLS over a stream, or something stands above it (WebSocket); TN_ESTATE: TLS has begun, or the
 * connection is not open; -ENOMEM.
 */
TN_API TN_MUST_CHECK int tn_server_tls_later(struct tn_server *server, bool optional);
TN_API TN_MUST_CHECK int tn_tls_later(struct tn_conn *conn);
TN_API TN_MUST_CHECK int tn_start_tls(struct tn_conn *conn);

/*
 * WebSocket: asks the peer at once whether it is there, by a ping, which every WebSocket answers by itself. on_pong
 * gets the time between the two, as it does for the pings of key ping. One that is asked again before it has answered
 * is asked once more behind its answer. Returns 0; -EOPNOTSUPP: the connection is not WebSocket; TN_ESTATE: it is not
 * open, or ends. (RFC 6455 5.5.2)
 */
TN_API int tn_ping(struct tn_conn *conn);

/* What is known of a WebSocket. Texts are valid until the connection closes, in on_close too. */
struct tn_websocket {
	const char *subprotocol; /* agreed upon (key subprotocol); "": none */
	const char *target;      /* what the client has asked for: /chat?room=1 */
	bool deflate;            /* messages may be compressed */
	int peer_code;           /* of the peer's Close; 1005: it had none; 1006: none had come before tn_close() */
	const char *peer_reason; /* "": none */
	int our_code;            /* of ours; 0: it has not been said */
	uint64_t round_ns;       /* from the last ping (key ping) to its answer; 0: not measured */
};

/* Fills `ws`, from on_open on, on_close included. Returns 0; -EOPNOTSUPP: the connection is not WebSocket. */
TN_SIZED int tn_conn_websocket(const struct tn_conn *conn, struct tn_websocket *ws);

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

/* ---- a connection from any thread ------------------------------------------------------------------------------ */

/*
 * A handle stands for a connection in other threads, and wherever it is not known whether the connection still lives:
 * in a job for a worker thread, a timer, a table. It counts its references and may outlive the connection and its loop;
 * what is asked of it then is refused with TN_ESTATE. Except for tn_conn_handle() and tn_handle_conn() all of this may
 * be called from any thread, the loop's own included, as long as the caller has a reference.
 *
 * What one thread asks for by a handle happens in that order, tn_handle_abort() excepted: sends, calls and closing. It
 * has no order with what the loop's own thread does by tn_send() and tn_close(). What is asked for goes through memory
 * without a lock; the loop is woken only if it sleeps. What has been asked for when the connection closes is dropped,
 * but for calls, which are told so.
 *
 *	static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
 *	{
 *		... tn_conn_handle(conn, &job->handle) ...; tn_conn_hold(conn); give the job to a thread
 *	}
 *
 *	in that thread:	tn_handle_send(job->handle, reply, len);
 *			tn_handle_release(job->handle);
 *			tn_handle_unref(job->handle);
 */

/*
 * Gives a reference to the connection's handle (each connection has one), which the caller lets go of by
 * tn_handle_unref(). On the loop's thread. Errors: TN_ESTATE: the connection has ended (in on_close, too); -ENOMEM.
 */
TN_API TN_MUST_CHECK int tn_conn_handle(struct tn_conn *conn, struct tn_handle **handle);

/* One more reference, and one less. tn_handle_ref() returns `handle`; tn_handle_unref() takes NULL. */
TN_API struct tn_handle *tn_handle_ref(struct tn_handle *handle);
TN_API void tn_handle_unref(struct tn_handle *handle);

/*
 * Sends a message, which is copied, as tn_send() does. Returns:
 * 0: it is on its way to the connection's queue.
 * 1: the same, and as much is on its way as the connection's queue may hold (key queue; each message counts for its
 * length and some 50 bytes more). The next one would be refused.
 * TN_EFULL: refused, and so are all until half of that has gone: tn_handle_wait() waits for it.
 * TN_ESTATE: the connection has gone or is closing, or our direction has been ended.
 * TN_ETOOBIG: longer than key max; -EMSGSIZE: longer than 2 GiB; -ENOMEM.
 *
 * What is on its way waits while the connection's own queue is at its mark; then on_drain is called as if the loop's
 * thread had sent it. It also waits while a connection ends that is dialled again (key reconnect): it goes out with
 * the next one, and is not of what the loss counts. A message that turns out to be one that the connection cannot send
 * (TN_EFORMAT, TN_EUTF8, -ENOMEM: see tn_send()) was taken already: what was sent before it goes out, then the
 * connection is reset, and on_close says why. A datagram that cannot be sent counts as lost.
 */
TN_API TN_MUST_CHECK int tn_handle_send(struct tn_handle *handle, const void *data, size_t len);

/*
 * The same as an answer to `msg`, of which nothing but kind, peer and hops is used (and copied). A thread that answers
 * a datagram server's message late has these from a copy of its own. NULL: tn_handle_send().
 */
TN_API TN_MUST_CHECK int tn_handle_reply(struct tn_handle *handle, const struct tn_msg *msg, const void *data,
					 size_t len);

/* The same with a shared message, which is not copied. The caller keeps its reference. TN_EUTF8 as on_close's reason.
 */
TN_API TN_MUST_CHECK int tn_handle_send_shared(struct tn_handle *handle, struct tn_shared *shared);

/*
 * Blocks until no more than half is on its way of what the connection's queue may hold, for at most `timeout_ms` (-1:
 * for as long as it takes). Returns 0; -ETIMEDOUT; TN_ESTATE: nothing can be sent any more, or the caller is inside a
 * callback of the connection's own loop (those of tn_loop_free() included), which would wait for itself. Nor does the
 * thread that runs or steps this loop call it between two turns: nothing is taken meanwhile.
 */
TN_API TN_MUST_CHECK int tn_handle_wait(struct tn_handle *handle, int timeout_ms);

/*
 * Calls fn(conn, arg) once on the loop's thread, behind what this thread has sent by the handle before; it may do all
 * that a callback may. `conn` is NULL when the connection has gone by then. However many calls are on their way, none
 * is refused. Returns 0; TN_ESTATE: the connection has gone, and fn is not called; -ENOMEM.
 */
TN_API TN_MUST_CHECK int tn_handle_call(struct tn_handle *handle, void (*fn)(struct tn_conn *conn, void *arg),
					void *arg);

/*
 * tn_close(), behind what this thread has sent by the handle before. tn_conn_release(), likewise: a reply that was owed
 * has been sent. tn_abort(), at once: before what waits for room. Return 0; TN_ESTATE: the connection has gone;
 * -ENOMEM.
 */
TN_API int tn_handle_close(struct tn_handle *handle);
TN_API int tn_handle_release(struct tn_handle *handle);
TN_API int tn_handle_abort(struct tn_handle *handle, int err);

/* Whether the connection is there: until its on_close has returned. It may go right after. */
TN_API bool tn_handle_alive(const struct tn_handle *handle);

/* What is on its way to the connection's queue, as tn_handle_send() counts it; and tn_conn_id(), for logs. */
TN_API size_t tn_handle_queued(const struct tn_handle *handle);
TN_API uint64_t tn_handle_id(const struct tn_handle *handle);

/* On the loop's thread: the connection, or NULL when it has gone. A timer keeps a handle, and asks. */
TN_API struct tn_conn *tn_handle_conn(const struct tn_handle *handle);

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

/*
 * The tables of all frames and formats: how the key frame or format has each (line, fixed:N), and one line about it in
 * `meaning` (which may be NULL). NULL past the end.
 */
TN_API const char *tn_frame_at(int index, const char **meaning);
TN_API const char *tn_format_at(int index, const char **meaning);

/*
 * The byte that ends each message of a frame and stands nowhere else in it: '\n' with line, 0 with cobs. So a reader
 * that has lost its place finds the next message. -1: there is none, or it is said behind the name (until), or there is
 * no such frame.
 */
TN_API int tn_frame_delimiter(const char *name);

/* What messages of a format can be. tn_format_kind() returns these bits; more may come. */
enum tn_format_kind {
	TN_FORMAT_VALUES = 1, /* arrays, maps, numbers and so on; without this bit a message is one text or bytes */
	TN_FORMAT_TEXT = 2,   /* text in UTF-8, which people can read and type */
	TN_FORMAT_BLANK = 4,  /* nothing but white space is no message */
};

/*
 * Says what messages of a format can be: bits of enum tn_format_kind, or -EINVAL: this build has no such format.
 * `name` NULL, as tn_conn_format() has it, is raw: 0.
 */
TN_API int tn_format_kind(const char *name);

/* The frame in which messages of a format follow one another in a file; NULL: none, or no such format. */
TN_API const char *tn_format_frame(const char *name);

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
TN_SIZED int tn_option_at(int index, struct tn_option *option);

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
TN_SIZED int tn_url_place(const char *url, struct tn_place *place);

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

/* A size in bytes: 4096, 64KiB, 1MiB, 2GiB, TiB, PiB; k, K, M, G, T and P are the same. 0, -EINVAL or -ERANGE. */
TN_API int tn_parse_size(const char *text, uint64_t *bytes);

/* A duration: 250us, 20ms, 1.5s, 2m, 1h; without a unit, seconds. Nanoseconds. 0, -EINVAL or -ERANGE. */
TN_API int tn_parse_duration(const char *text, uint64_t *ns);

/* The word of the list that a person most likely meant, or NULL when none is near. */
TN_API const char *tn_nearest(const char *word, const char *const *words, size_t nwords);

/* ---- structs that grow ------------------------------------------------------------------------------------------ */

/*
 * What the library exports in place of the functions above, for bindings of other languages: `size` is how large the
 * caller's struct is.
 *
 * A struct that grows gets new fields at its end. Those that a program fills in (tn_handler, tn_watch, tn_pass, and
 * tn_frame, which says its size itself): fields that it does not have count as zero. A program that was compiled for a
 * later library than this one and uses a field that this one does not know is refused with -EINVAL. Those that the
 * library fills in (tn_conn_info, tn_counts, tn_security, tn_websocket, tn_proxy, tn_asked, tn_place, tn_option): it
 * writes what the program has room for, and zero where it knows nothing. Those that only the library makes (tn_msg,
 * tn_frame_part, tn_frame_ends) grow in the same way; of one that a program passes back it reads no later field.
 * tn_addr, tn_local and tn_bytes never change.
 */
TN_API TN_MUST_CHECK int tn_serve_sized(struct tn_loop *loop, const char *url, const struct tn_handler *handler,
					size_t size, void *arg, struct tn_server **server);
TN_API TN_MUST_CHECK int tn_serve_loops_sized(struct tn_loop *const *loops, int nloops, const char *url,
					      const struct tn_handler *handler, size_t size, void *arg,
					      struct tn_server **server);
TN_API int tn_server_watch_sized(struct tn_server *server, const struct tn_watch *watch, size_t size, void *arg);
TN_API void tn_server_count_sized(const struct tn_server *server, struct tn_counts *counts, size_t size);
TN_API TN_MUST_CHECK int tn_dial_sized(struct tn_loop *loop, const char *url, const struct tn_handler *handler,
				       size_t size, void *arg, struct tn_conn **conn);
TN_API TN_MUST_CHECK int tn_dial_for_sized(struct tn_loop *loop, const char *url, const struct tn_handler *handler,
					   size_t size, void *arg, const struct tn_conn *of, const struct tn_msg *msg,
					   struct tn_conn **conn);
TN_API TN_MUST_CHECK int tn_dial_endpoint_sized(struct tn_loop *loop, struct tn_endpoint *ep,
						const struct tn_handler *handler, size_t size, void *arg,
						struct tn_conn **conn);
TN_API int tn_conn_asked_sized(const struct tn_conn *client, struct tn_asked *asked, size_t size);
TN_API TN_MUST_CHECK int tn_dial_asked_sized(struct tn_conn *client, enum tn_asked_what what, const char *host,
					     int port, const char *keys, const struct tn_handler *handler, size_t size,
					     void *arg, struct tn_conn **conn);
TN_API TN_MUST_CHECK int tn_conn_proxy_sized(const struct tn_conn *conn, struct tn_proxy *proxy, size_t size);
TN_API TN_MUST_CHECK int tn_flow_sized(struct tn_conn *from, struct tn_conn *to, const struct tn_pass *pass,
				       size_t size, void *arg);
TN_API TN_MUST_CHECK int tn_conn_set_handler_sized(struct tn_conn *conn, const struct tn_handler *handler, size_t size,
						   void *arg);
TN_API void tn_conn_info_sized(const struct tn_conn *conn, struct tn_conn_info *info, size_t size);
TN_API int tn_conn_security_sized(const struct tn_conn *conn, struct tn_security *security, size_t size);
TN_API int tn_conn_websocket_sized(const struct tn_conn *conn, struct tn_websocket *ws, size_t size);
TN_API int tn_option_at_sized(int index, struct tn_option *option, size_t size);
TN_API int tn_url_place_sized(const char *url, struct tn_place *place, size_t size);

#ifndef TNI_LIBRARY
static inline int tn_serve(struct tn_loop *loop, const char *url, const struct tn_handler *handler, void *arg,
			   struct tn_server **server)
{
	return tn_serve_sized(loop, url, handler, sizeof(*handler), arg, server);
}

static inline int tn_serve_loops(struct tn_loop *const *loops, int nloops, const char *url,
				 const struct tn_handler *handler, void *arg, struct tn_server **server)
{
	return tn_serve_loops_sized(loops, nloops, url, handler, sizeof(*handler), arg, server);
}

static inline int tn_server_watch(struct tn_server *server, const struct tn_watch *watch, void *arg)
{
	return tn_server_watch_sized(server, watch, sizeof(*watch), arg);
}

static inline void tn_server_count(const struct tn_server *server, struct tn_counts *counts)
{
	tn_server_count_sized(server, counts, sizeof(*counts));
}

static inline int tn_dial(struct tn_loop *loop, const char *url, const struct tn_handler *handler, void *arg,
			  struct tn_conn **conn)
{
	return tn_dial_sized(loop, url, handler, sizeof(*handler), arg, conn);
}

static inline int tn_dial_for(struct tn_loop *loop, const char *url, const struct tn_handler *handler, void *arg,
			      const struct tn_conn *of, const struct tn_msg *msg, struct tn_conn **conn)
{
	return tn_dial_for_sized(loop, url, handler, sizeof(*handler), arg, of, msg, conn);
}

static inline int tn_dial_endpoint(struct tn_loop *loop, struct tn_endpoint *ep, const struct tn_handler *handler,
				   void *arg, struct tn_conn **conn)
{
	return tn_dial_endpoint_sized(loop, ep, handler, sizeof(*handler), arg, conn);
}

static inline int tn_conn_proxy(const struct tn_conn *conn, struct tn_proxy *proxy)
{
	return tn_conn_proxy_sized(conn, proxy, sizeof(*proxy));
}

static inline int tn_conn_asked(const struct tn_conn *client, struct tn_asked *asked)
{
	return tn_conn_asked_sized(client, asked, sizeof(*asked));
}

static inline int tn_dial_asked(struct tn_conn *client, enum tn_asked_what what, const char *host, int port,
				const char *keys, const struct tn_handler *handler, void *arg, struct tn_conn **conn)
{
	return tn_dial_asked_sized(client, what, host, port, keys, handler, sizeof(*handler), arg, conn);
}

static inline int tn_flow(struct tn_conn *from, struct tn_conn *to, const struct tn_pass *pass, void *arg)
{
	return tn_flow_sized(from, to, pass, sizeof(*pass), arg);
}

static inline int tn_conn_set_handler(struct tn_conn *conn, const struct tn_handler *handler, void *arg)
{
	return tn_conn_set_handler_sized(conn, handler, sizeof(*handler), arg);
}

static inline void tn_conn_info(const struct tn_conn *conn, struct tn_conn_info *info)
{
	tn_conn_info_sized(conn, info, sizeof(*info));
}

static inline int tn_conn_security(const struct tn_conn *conn, struct tn_security *security)
{
	return tn_conn_security_sized(conn, security, sizeof(*security));
}

static inline int tn_conn_websocket(const struct tn_conn *conn, struct tn_websocket *ws)
{
	return tn_conn_websocket_sized(conn, ws, sizeof(*ws));
}

static inline int tn_option_at(int index, struct tn_option *option)
{
	return tn_option_at_sized(index, option, sizeof(*option));
}

static inline int tn_url_place(const char *url, struct tn_place *place)
{
	return tn_url_place_sized(url, place, sizeof(*place));
}
#endif

#ifdef __cplusplus
}
#endif

#endif
