/* What the files of tenon's extension module for Python share. Written on the public headers and CPython's limited API
 * of 3.11 alone. */
#ifndef TENON_PYTHON_CORE_H
#define TENON_PYTHON_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <tenon.h>
#include <tenon_value.h>

#include <stdbool.h>

/* From 3.11 on the limited API wants a PyObject * here. */
#undef Py_DECREF
#define Py_TYPE(object) Py_TYPE((PyObject *)(object))
#define Py_INCREF(object) Py_INCREF((PyObject *)(object))
#define Py_DECREF(object) Py_DECREF((PyObject *)(object))
#define Py_XINCREF(object) Py_XINCREF((PyObject *)(object))
#define Py_XDECREF(object) Py_XDECREF((PyObject *)(object))

/* What on_msg and recv() give. */
enum form {
	FORM_AUTO, /* values where the endpoint has a format, text of WebSocket as str, otherwise bytes */
	FORM_BYTES,
	FORM_VIEW,
};

enum face { FACE_CALLBACK, FACE_STREAM };

/* In the stable ABI from 3.12 on; 3.11 exports the same functions, which need no tuple for the arguments. */
PyAPI_FUNC(PyObject *) PyObject_Vectorcall(PyObject *callable, PyObject *const *args, size_t count, PyObject *names);
PyAPI_FUNC(PyObject *) PyObject_VectorcallMethod(PyObject *name, PyObject *const *args, size_t count, PyObject *names);
/* Added to `count`: args[-1] may be written to meanwhile. */
#define TNP_SPARE_ARG ((size_t)1 << (8 * sizeof(size_t) - 1))

struct loop {
	PyObject_HEAD struct tn_loop *loop; /* NULL: closed */
	PyThreadState *tstate;
	struct loop *prev, *next; /* of all that are open */
	PyObject *raised[3];      /* what ends run(): KeyboardInterrupt and the like */
	PyObject *on_error;
	PyObject *kick;       /* embedded: called when the loop wants to be stepped soon */
	PyObject *around;     /* embedded in asyncio: its loop */
	PyObject *resolved;   /* a future of asyncio's that is done: what tasks are told that go on */
	struct waiter *woken; /* whose tasks go on behind this step, in order */
	struct waiter **woken_end;
	PyObject *servers; /* list: what serves here */
	PyObject *weak;
	struct helper *helpers;
	struct closing *closing; /* what other threads want closed */
	struct tn_poll *signals; /* of the pipe that Python's handler writes to */
	struct tn_timer *waits;  /* keeps the loop during a blocking call */
	struct tn_value *tree;   /* what was decoded last: its memory is used again */
	unsigned long owner;     /* tnp_me() of who stepped it first, to whom it belongs; 0: nobody has */
	const void *thread;      /* that of who steps it now */
	unsigned forks;          /* how often the process had forked when it was made */
	bool held;               /* the stepping thread has the GIL */
	bool stop, kicked, stepped;
	bool quiet; /* its last wait in the main thread has ended without need */
};

#define CALLBACKS 8

/* The callbacks of a server or a dialled connection. Counted references, under the GIL. */
struct handler {
	Py_ssize_t refs;
	PyObject *on_open, *on_msg, *on_drain, *on_end, *on_close, *on_bad, *on_cut, *on_lost;
	PyObject *type; /* of the connections that are made */
	enum form form;
	enum face face;
	bool shared;           /* one socket for many peers: an exception must not end it */
	struct server *server; /* borrowed: it outlives its connections */
};

struct item {
	PyObject *msg, *peer;
	size_t bytes;
};

/* The face without callbacks: messages wait here until they are taken. */
struct stream {
	struct item *items; /* a ring; cap is a power of two */
	size_t head, count, cap;
	size_t bytes;
	PyObject *reader;      /* woken by the next message or the end: a waiter, or a callable */
	struct waiter *waiter; /* of asyncio's tasks, used again */
	PyObject *watchers;    /* list of callables: woken by opening, room, closing */
	PyObject *sender;      /* of the message taken last */
	PyObject *lost;        /* a LostError that neither recv() nor send() has raised, nor will recv(); or NULL */
	size_t losses;         /* items that are LostErrors */
	bool paused, ended, opened;
};

struct flow;

struct conn {
	PyObject_HEAD struct tn_conn *conn; /* NULL: gone */
	struct loop *loop;
	struct handler *handler;
	const struct tn_msg *msg; /* in on_msg and on_bad */
	struct stream *stream;
	struct flow *flow; /* what passes on what comes */
	PyObject *data, *weak;
	PyObject *error; /* why it has ended, None: in good order; NULL: it has not */
};

struct server {
	PyObject_HEAD struct tn_server *server; /* NULL: gone */
	PyObject *loops;   /* tuple: each of them has a reference to the server as long as it serves */
	struct loop *loop; /* the first of them, borrowed */
	struct handler *handler;
	PyObject *on_trouble, *weak, *urls;
	PyObject *accepted; /* list: FACE_STREAM */
	PyObject *waiter;   /* called when one is accepted, and when all has ended */
	PyObject *done;
	bool closing;
};

struct peer {
	PyObject_HEAD struct tn_addr addr;
};

/* ---- error.c ---- */

int tnp_error_init(PyObject *module);
PyObject *tnp_error_new(int code, const char *words, long position);
/* Raise what the library's last failing call in this thread says; what `format` says. Return NULL. */
PyObject *tnp_raise(int code);
#define TNP_CLOSED (-4999) /* the class for what is over; its code is TN_ESTATE */
PyObject *tnp_raise_words(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* An OSError's code, for tn_abort(). */
int tnp_error_code(PyObject *error);
/* What a connection without callbacks raises when it was lost; and one of it, of a reason and a loss. */
bool tnp_error_is_lost(PyObject *object);
PyObject *tnp_error_lost(PyObject *reason, PyObject *loss);

/* ---- loop.c ---- */

extern PyTypeObject *tnp_loop_type;
/* The loop that the library is in now, in this thread. */
extern _Thread_local struct loop *tnp_turning;
extern _Thread_local char tnp_here;
/* The number of this thread, from 1: no later one has it too, as it may have the address. With the GIL. */
unsigned long tnp_me(void);

bool tnp_loop_idle(struct loop *l);         /* the same, and nobody steps it now */
bool tnp_loop_forked(const struct loop *l); /* it is that of a parent process */
/* Of what the library calls before it waits: the GIL is given back, if it was not held before. */
void tnp_give_back(struct loop *l, bool held);
int tnp_loop_init(PyObject *module);
/* May this thread use what lives on the loop? Otherwise raises, and returns false. */
bool tnp_loop_ok(struct loop *l);
/* The same, without raising: is it open, and this thread's? */
bool tnp_loop_usable(const struct loop *l);
/* tn_close() of a connection that nobody has any more, from any thread. */
void tnp_loop_close(struct loop *l, struct tn_conn *conn);
/* It has ended. In its on_close, with the GIL. */
void tnp_loop_closed(struct loop *l, struct tn_conn *conn);
/* Steps the loop without the GIL, which is held again afterwards. 1, 0, or -1: raised. */
int tnp_loop_step(struct loop *l, uint64_t until_ns);
/* An exception that nobody above can catch: a callback's. `conn` may be NULL. */
void tnp_loop_failed(struct loop *l, PyObject *where, struct conn *c);
/* Something was done outside of a step that leaves work: an embedded loop asks to be stepped. */
void tnp_loop_kicked(struct loop *l);
/* One step of a wait in this thread, which signals may end: 1, or -1: raised; the time is over as well. */
int tnp_loop_wait(struct loop *l, uint64_t until_ns);
uint64_t tnp_now_ns(void);
/* A time in seconds, None: never, as a time of CLOCK_MONOTONIC. -1: raised. */
int tnp_until(PyObject *seconds, uint64_t *until_ns);
struct loop *tnp_loop_default(void); /* a new reference */

/* Takes the GIL, which is kept until the step is over. */
static inline struct loop *tnp_hold(struct loop *l)
{
	if (!l->held) {
		PyEval_RestoreThread(l->tstate);
		l->held = true;
	}
	return l;
}

static inline struct loop *tnp_enter(void)
{
	return tnp_hold(tnp_turning);
}

/* ---- value.c ---- */

int tnp_value_init(PyObject *module);
PyObject *tnp_value_read(const struct tn_value *value);
/* A tree of its own, NULL: raised. `format`: what datetime becomes depends on it. */
struct tn_value *tnp_value_make(const char *format, PyObject *object);
extern PyMethodDef tnp_value_methods[];

/* ---- conn.c ---- */

extern PyTypeObject *tnp_conn_type, *tnp_stream_type, *tnp_peer_type;

int tnp_form(const char *word, enum form *form); /* 0, or -1: raised */
int tnp_conn_init(PyObject *module);
struct handler *tnp_handler_new(PyObject *const *callbacks, PyObject *type, enum form form, enum face face);
void tnp_handler_unref(struct handler *h);
void tnp_handler_fill(const struct handler *h, struct tn_handler *out);
int tnp_handler_visit(const struct handler *h, visitproc visit, void *arg);
/* The Python object of a connection, borrowed; made if there is none. NULL: raised. */
struct conn *tnp_conn_of(struct tn_conn *conn, struct handler *h, struct loop *l);
/* Sends an object in answer to `msg`, if that is not NULL: as tn_reply(), or 2: raised. */
int tnp_conn_send(struct conn *c, PyObject *object, const struct tn_msg *msg);
PyObject *tnp_conn_dial(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *tnp_message(struct conn *c, const struct tn_msg *msg);
bool tnp_conn_ok(struct conn *c);

/* ---- handle.c, hist.c, split.c ---- */

int tnp_handle_init(PyObject *module);
PyObject *tnp_handle_new(struct conn *c);
int tnp_hist_init(PyObject *module);
int tnp_split_init(PyObject *module);

/* ---- flow.c ---- */

PyObject *tnp_conn_flow(struct conn *c, PyObject *args, PyObject *kwargs);
void tnp_flow_free(struct flow *f);
int tnp_flow_visit(const struct flow *f, visitproc visit, void *arg);

/* ---- stream.c ---- */

int tnp_stream_init(PyObject *module);
struct stream *tnp_stream_new(void);
void tnp_stream_free(struct stream *s);
int tnp_stream_visit(const struct stream *s, visitproc visit, void *arg);
void tnp_stream_push(struct conn *c, PyObject *msg, size_t len, PyObject *peer);
/* Whoever sends is told, unless somebody waits for messages, and if it was open, whoever takes those. 0, or -1 with an
 * exception set: there is no memory. */
int tnp_stream_lost(struct conn *c, PyObject *error, bool was_open);
void tnp_stream_changed(struct conn *c); /* the watchers are called */
void tnp_stream_ended(struct conn *c);   /* the reader is woken */
void tnp_wake(PyObject *fn);
/* The tasks that what came in the last step has woken go on, here or (`later`) when asyncio's loop comes to it. */
void tnp_stream_go_on(struct loop *l, bool later);

/* ---- shared.c ---- */

extern PyTypeObject *tnp_shared_type;
int tnp_shared_init(PyObject *module);
struct tn_shared *tnp_shared_get(PyObject *object); /* of a Shared, borrowed */
/* A memoryview of a received message, which keeps the message's memory. NULL: raised. */
PyObject *tnp_shared_view(const struct tn_msg *msg);

/* ---- server.c ---- */

extern PyTypeObject *tnp_server_type;
int tnp_server_init(PyObject *module);
PyObject *tnp_serve(PyObject *self, PyObject *args, PyObject *kwargs);
void tnp_server_opened(struct handler *h, struct conn *c);
/* One of its loops has been freed. */
void tnp_server_gone(struct server *s);

/* ---- frame.c ---- */

extern PyMethodDef tnp_frame_methods[];

/* ---- facts.c ---- */

extern PyMethodDef tnp_facts_methods[];
PyObject *tnp_text(const char *text); /* what the library says, whatever bytes are in it */
PyObject *tnp_info(const struct tn_conn *conn);
PyObject *tnp_security(const struct tn_conn *conn);
PyObject *tnp_websocket(const struct tn_conn *conn);
PyObject *tnp_counts(const struct tn_server *server);
/* (path, use) */
PyObject *tnp_file(const char *path, enum tn_file_use use);

#endif
