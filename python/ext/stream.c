/* The face without callbacks: messages wait in a queue until somebody takes them, blocking or awaiting. */
#include "core.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <structmember.h>

/* So many bytes wait before the peer is held back; it goes on at half of it. A message counts as this much at least. */
#define WAITING_MAX (256 << 10)
#define ITEM_MIN 64

static PyTypeObject *awaited_type, *done_type, *waiter_type;
static PyObject *done, *str_run, *str_call_soon, *names_context;

struct stream *tnp_stream_new(void)
{
	struct stream *s = PyMem_Calloc(1, sizeof(*s));

	if (!s)
		PyErr_NoMemory();
	return s;
}

static PyObject *itself(PyObject *self)
{
	Py_INCREF(self);
	return self;
}

static void item_free(struct item *item)
{
	Py_XDECREF(item->msg);
	Py_XDECREF(item->peer);
}

void tnp_stream_free(struct stream *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->count; i++)
		item_free(&s->items[(s->head + i) & (s->cap - 1)]);
	PyMem_Free(s->items);
	Py_XDECREF(s->reader);
	Py_XDECREF(s->waiter);
	Py_XDECREF(s->watchers);
	Py_XDECREF(s->sender);
	Py_XDECREF(s->lost);
	PyMem_Free(s);
}

int tnp_stream_visit(const struct stream *s, visitproc visit, void *arg)
{
	for (size_t i = 0; i < s->count; i++)
		Py_VISIT(s->items[(s->head + i) & (s->cap - 1)].msg);
	Py_VISIT(s->reader);
	Py_VISIT(s->waiter);
	Py_VISIT(s->watchers);
	Py_VISIT(s->lost);
	return 0;
}

/* ---- what a task of asyncio waits for: as much of a future as it asks for ---- */

/*
 * A future's callbacks are called when asyncio's loop comes round to it, which costs more than the message that it is
 * about. The tasks that this wakes go on right behind the step in which their messages came (tnp_stream_go_on()).
 */
struct waiter {
	PyObject_HEAD struct loop *loop;
	PyObject *fn, *context; /* what goes on, and in which context */
	PyObject *why;          /* the message of cancel() */
	struct waiter *next;    /* woken in the same step */
	char blocking;          /* asyncio's sign of a future that `await` has given it */
	bool done, cancelled;
};

static struct waiter *waiter_new(struct loop *l)
{
	struct waiter *w = (struct waiter *)((allocfunc)PyType_GetSlot(waiter_type, Py_tp_alloc))(waiter_type, 0);

	if (w) {
		Py_INCREF(l);
		w->loop = l;
	}
	return w;
}

static int waiter_traverse(struct waiter *w, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(w));
	Py_VISIT(w->loop);
	Py_VISIT(w->fn);
	Py_VISIT(w->context);
	return 0;
}

static int waiter_clear(struct waiter *w)
{
	Py_CLEAR(w->fn);
	Py_CLEAR(w->context);
	Py_CLEAR(w->why);
	return 0;
}

static void waiter_dealloc(struct waiter *w)
{
	PyTypeObject *type = Py_TYPE(w);

	PyObject_GC_UnTrack(w);
	waiter_clear(w);
	Py_DECREF(w->loop);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(w);
	Py_DECREF(type);
}

/* At once, in its context: no task runs now. A future of asyncio's own is what it finds its result in most quickly. */
static void go_on(struct waiter *w)
{
	PyObject *args[4] = {NULL, w->context, w->fn, w->loop->resolved}, *result;

	if (!w->fn)
		return;
	w->fn = w->context = NULL;
	result = PyObject_VectorcallMethod(str_run, args + 1, 3 | TNP_SPARE_ARG, NULL);
	if (!result)
		tnp_loop_failed(w->loop, args[2], NULL);
	Py_XDECREF(result);
	Py_DECREF(args[1]);
	Py_DECREF(args[2]);
}

static int go_on_later(struct waiter *w)
{
	PyObject *args[5] = {NULL, w->loop->around, w->fn, (PyObject *)w, w->context}, *result;

	if (!w->fn || !w->loop->around)
		return 0;
	w->fn = w->context = NULL;
	result = PyObject_VectorcallMethod(str_call_soon, args + 1, 3 | TNP_SPARE_ARG, names_context);
	Py_XDECREF(result);
	Py_DECREF(args[2]);
	Py_DECREF(args[4]);
	return result ? 0 : -1;
}

void tnp_stream_go_on(struct loop *l, bool later)
{
	struct waiter *w = l->woken, *next;

	l->woken = NULL;
	l->woken_end = &l->woken;
	for (; w; w = next) {
		next = w->next;
		w->next = NULL;
		if (!later)
			go_on(w);
		else if (go_on_later(w) < 0)
			PyErr_Clear(); /* asyncio's loop is closed */
		Py_DECREF(w);
	}
}

static PyObject *waiter_get_loop(struct waiter *w, PyObject *unused)
{
	PyObject *around = w->loop->around ? w->loop->around : Py_None;

	(void)unused;
	Py_INCREF(around);
	return around;
}

/* add_done_callback(fn, *, context): one alone, the task's. */
static PyObject *waiter_add(struct waiter *w, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
	if (nargs != 1 || !names || PyTuple_Size(names) != 1 || w->fn)
		return tnp_raise_words(TN_ESTATE, "a task waits for messages, and nobody else");
	w->fn = args[0];
	Py_INCREF(w->fn);
	w->context = args[1];
	Py_INCREF(w->context);
	if (w->done && go_on_later(w) < 0)
		return NULL;
	Py_RETURN_NONE;
}

/* cancel(msg=None): the task is told when asyncio's loop comes to it, as others are. */
static PyObject *waiter_cancel(struct waiter *w, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"msg", NULL};
	PyObject *why = NULL;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:cancel", names, &why))
		return NULL;
	if (w->done)
		Py_RETURN_FALSE;
	w->done = w->cancelled = true;
	if (why && why != Py_None) {
		Py_INCREF(why);
		w->why = why;
	}
	if (go_on_later(w) < 0)
		return NULL;
	Py_RETURN_TRUE;
}

static PyObject *waiter_result(struct waiter *w, PyObject *unused)
{
	PyObject *asyncio, *kind;

	(void)unused;
	if (!w->cancelled)
		Py_RETURN_NONE;
	asyncio = PyImport_ImportModule("asyncio");
	kind = asyncio ? PyObject_GetAttrString(asyncio, "CancelledError") : NULL;
	if (kind && w->why)
		PyErr_SetObject(kind, w->why);
	else if (kind)
		PyErr_SetNone(kind);
	Py_XDECREF(asyncio);
	Py_XDECREF(kind);
	return NULL;
}

static PyObject *waiter_done(struct waiter *w, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(w->done);
}

static PyObject *waiter_cancelled(struct waiter *w, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(w->cancelled);
}

static PyMethodDef waiter_methods[] = {
	{"get_loop", (PyCFunction)waiter_get_loop, METH_NOARGS, NULL},
	{"add_done_callback", (PyCFunction)(void (*)(void))waiter_add, METH_FASTCALL | METH_KEYWORDS, NULL},
	{"cancel", (PyCFunction)(void (*)(void))waiter_cancel, METH_VARARGS | METH_KEYWORDS, NULL},
	{"result", (PyCFunction)waiter_result, METH_NOARGS, NULL},
	{"done", (PyCFunction)waiter_done, METH_NOARGS, NULL},
	{"cancelled", (PyCFunction)waiter_cancelled, METH_NOARGS, NULL},
	{NULL, NULL, 0, NULL},
};

static PyMemberDef waiter_members[] = {
	{"_asyncio_future_blocking", T_BOOL, offsetof(struct waiter, blocking), 0, NULL},
	{NULL, 0, 0, 0, NULL},
};

static PyType_Slot waiter_slots[] = {
	{Py_tp_dealloc, waiter_dealloc}, {Py_tp_traverse, waiter_traverse}, {Py_tp_clear, waiter_clear},
	{Py_tp_methods, waiter_methods}, {Py_tp_members, waiter_members},   {0, NULL},
};

static PyType_Spec waiter_spec = {"tenon._Waiter", sizeof(struct waiter), 0,
				  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
					  Py_TPFLAGS_IMMUTABLETYPE,
				  waiter_slots};

/* ---- waking ---- */

void tnp_wake(PyObject *fn)
{
	PyObject *result = PyObject_CallNoArgs(fn);

	if (!result)
		PyErr_WriteUnraisable(fn);
	Py_XDECREF(result);
}

static void wake_reader(struct conn *c)
{
	PyObject *reader = c->stream->reader;
	struct waiter *w = (struct waiter *)reader;

	if (!reader)
		return;
	c->stream->reader = NULL;
	if (Py_TYPE(reader) != waiter_type) {
		tnp_wake(reader);
		Py_DECREF(reader);
		return;
	}
	w->done = true;
	*c->loop->woken_end = w; /* with the reference */
	c->loop->woken_end = &w->next;
}

void tnp_stream_ended(struct conn *c)
{
	wake_reader(c);
}

void tnp_stream_changed(struct conn *c)
{
	PyObject *watchers = c->stream->watchers;

	c->stream->watchers = NULL;
	for (Py_ssize_t i = 0; watchers && i < PyList_Size(watchers); i++)
		tnp_wake(PyList_GetItem(watchers, i));
	Py_XDECREF(watchers);
}

/* ---- the queue ---- */

static bool grow(struct stream *s)
{
	size_t cap = s->cap ? 2 * s->cap : 4;
	struct item *items = PyMem_Malloc(cap * sizeof(*items));

	if (!items)
		return false;
	for (size_t i = 0; i < s->count; i++)
		items[i] = s->items[(s->head + i) & (s->cap - 1)];
	PyMem_Free(s->items);
	s->items = items;
	s->cap = cap;
	s->head = 0;
	return true;
}

void tnp_stream_push(struct conn *c, PyObject *msg, size_t len, PyObject *peer)
{
	struct stream *s = c->stream;
	struct item item = {msg, peer, ITEM_MIN + len};

	if (s->count == s->cap && !grow(s)) {
		item_free(&item);
		tn_abort(c->conn, -ENOMEM);
		return;
	}
	s->items[(s->head + s->count++) & (s->cap - 1)] = item;
	s->bytes += item.bytes;
	if (s->bytes > WAITING_MAX && !s->paused) {
		s->paused = true;
		tn_pause(c->conn);
	}
	wake_reader(c);
}

/* NULL: here the connection was lost, which is raised. */
static PyObject *pop(struct conn *c)
{
	struct stream *s = c->stream;
	struct item item = s->items[s->head];

	s->head = (s->head + 1) & (s->cap - 1);
	s->count--;
	s->bytes -= item.bytes;
	if (tnp_error_is_lost(item.msg) && !--s->losses)
		Py_CLEAR(s->lost);
	Py_XDECREF(s->sender);
	s->sender = item.peer;
	if (s->paused && s->bytes <= WAITING_MAX / 2 && c->conn && tnp_loop_usable(c->loop)) {
		s->paused = false;
		tn_resume(c->conn);
		tnp_loop_kicked(c->loop);
	}
	if (!tnp_error_is_lost(item.msg))
		return item.msg;
	PyErr_SetObject((PyObject *)Py_TYPE(item.msg), item.msg);
	Py_DECREF(item.msg);
	return NULL;
}

/* One loss of two behind one another. NULL: out of memory. `before` is taken over, `error` is not. */
static PyObject *add_up(PyObject *before, PyObject *error)
{
	static const char *const sums[] = {"messages", "unsent"};
	PyObject *first = PyObject_GetAttrString(before, "loss");
	PyObject *then = first ? PyObject_GetAttrString(error, "loss") : NULL;
	PyObject *all = then ? PyDict_Copy(then) : NULL, *reason = all ? PyObject_GetAttrString(error, "reason") : NULL;
	PyObject *result = NULL;
	bool good = reason;

	for (size_t i = 0; good && i < sizeof(sums) / sizeof(sums[0]); i++) {
		PyObject *a = PyDict_GetItemString(first, sums[i]), *b = PyDict_GetItemString(all, sums[i]);
		PyObject *sum = a && b ? PyNumber_Add(a, b) : NULL;

		good = sum && PyDict_SetItemString(all, sums[i], sum) == 0;
		Py_XDECREF(sum);
	}
	if (good)
		result = tnp_error_lost(reason, all);
	Py_XDECREF(first);
	Py_XDECREF(then);
	Py_XDECREF(all);
	Py_XDECREF(reason);
	Py_DECREF(before);
	return result;
}

/* With nothing between them losses are one: who only sends never takes them. */
static int push_loss(struct conn *c, PyObject *error)
{
	struct stream *s = c->stream;
	struct item *last = s->count ? &s->items[(s->head + s->count - 1) & (s->cap - 1)] : NULL;

	if (last && tnp_error_is_lost(last->msg)) {
		PyObject *both = add_up(last->msg, error);

		last->msg = both ? both : itself(error);
		return both ? 0 : -1;
	}
	s->losses++;
	tnp_stream_push(c, itself(error), 0, NULL);
	return 0;
}

/* Who waits in recv() hears of it there. Otherwise whatever is called next tells, send() too. */
int tnp_stream_lost(struct conn *c, PyObject *error, bool was_open)
{
	struct stream *s = c->stream;
	int rc = 0;

	if (!was_open || !s->reader)
		rc = (s->lost = s->lost ? add_up(s->lost, error) : itself(error)) ? 0 : -1;
	if (was_open && push_loss(c, error) < 0)
		rc = -1;
	tnp_stream_changed(c);
	return rc;
}

/* Whether a loss that nobody has heard of is raised now. */
static bool raise_lost(struct conn *c)
{
	PyObject *error = c->stream->lost;

	if (!error)
		return false;
	c->stream->lost = NULL;
	PyErr_SetObject((PyObject *)Py_TYPE(error), error);
	Py_DECREF(error);
	return true;
}

static bool over(const struct conn *c)
{
	return c->stream->ended || !c->conn;
}

/* Why there are no more messages. NULL: in good order. */
static PyObject *reason(const struct conn *c)
{
	return c->error && c->error != Py_None ? c->error : NULL;
}

static PyObject *raise_over(struct conn *c)
{
	PyObject *error = reason(c);

	if (error)
		PyErr_SetObject((PyObject *)Py_TYPE(error), error);
	else
		tnp_raise_words(TNP_CLOSED, c->conn ? "the peer has ended its direction" : "the connection is closed");
	return NULL;
}

/* May it send? Otherwise raises, and returns false. */
static bool can_send(struct conn *c)
{
	if (c->conn || !reason(c))
		return tnp_conn_ok(c);
	raise_over(c);
	return false;
}

/* ---- blocking ---- */

static int fill(struct conn *c, PyObject *timeout)
{
	uint64_t until_ns;

	if (c->stream->count)
		return 0;
	if (tnp_until(timeout, &until_ns) < 0)
		return -1;
	c->loop->stepped = false;
	while (!c->stream->count && !over(c))
		if (!tnp_loop_ok(c->loop) || tnp_loop_wait(c->loop, until_ns) < 0)
			return -1;
	return 0;
}

static PyObject *stream_recv(struct conn *c, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
	PyObject *timeout = nargs || names ? args[0] : Py_None;

	if (nargs + (names ? PyTuple_Size(names) : 0) > 1 ||
	    (names && PyTuple_Size(names) &&
	     PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), "timeout") != 0))
		return PyErr_Format(PyExc_TypeError, "recv() takes a timeout alone");
	if (fill(c, timeout) < 0)
		return NULL;
	return c->stream->count ? pop(c) : raise_over(c);
}

static PyObject *stream_next(struct conn *c, PyObject *unused)
{
	(void)unused;
	if (fill(c, Py_None) < 0)
		return NULL;
	if (c->stream->count)
		return pop(c);
	if (reason(c))
		return raise_over(c);
	PyErr_SetNone(PyExc_StopIteration);
	return NULL;
}

/* The peer takes nothing more; why, is told when what it has said before is read. */
static bool cannot_write(const struct conn *c)
{
	return c->conn && tn_flush(c->conn) == TN_ESTATE;
}

/* Until the kernel has taken all that is queued. Raises why it never will. */
static int drain(struct conn *c, uint64_t until_ns)
{
	struct stream *s = c->stream;

	c->loop->stepped = false;
	while (c->conn && !s->lost) {
		if (tn_flush(c->conn) == 0 && tn_conn_queued(c->conn) == 0)
			return 0;
		if (s->paused && cannot_write(c)) {
			tnp_raise_words(TN_ESTATE,
					"the peer takes nothing more, and what it has said waits for recv()");
			return -1;
		}
		if (tnp_loop_wait(c->loop, until_ns) < 0)
			return -1;
	}
	if (!raise_lost(c))
		raise_over(c);
	return -1;
}

/* send(message, timeout, to) */
static PyObject *stream_send(struct conn *c, PyObject *args)
{
	PyObject *object, *timeout, *to;
	const struct tn_msg *msg = NULL;
	struct tn_msg made;
	uint64_t until_ns;
	int rc;

	if (!PyArg_ParseTuple(args, "OOO:send", &object, &timeout, &to) || !can_send(c) ||
	    tnp_until(timeout, &until_ns) < 0)
		return NULL;
	if (to != Py_None) {
		if (Py_TYPE(to) != tnp_peer_type)
			return PyErr_Format(PyExc_TypeError, "`to` is what `sender` gives, not %R", to);
		made = (struct tn_msg){.peer = &((struct peer *)to)->addr};
		msg = &made;
	}
	if (raise_lost(c))
		return NULL;
	for (;;) {
		rc = tnp_conn_send(c, object, msg);
		if (rc != TN_EFULL && (rc != TN_ESTATE || !cannot_write(c)))
			break;
		if (drain(c, until_ns) < 0)
			return NULL;
	}
	if (rc == 2)
		return NULL;
	if (rc < 0)
		return reason(c) ? raise_over(c) : tnp_raise(rc);
	if (drain(c, until_ns) < 0)
		return NULL;
	Py_RETURN_NONE;
}

/* Waits until it is open. */
static PyObject *stream_open(struct conn *c, PyObject *timeout)
{
	uint64_t until_ns;

	if (tnp_until(timeout, &until_ns) < 0)
		return NULL;
	c->loop->stepped = false;
	while (!c->stream->opened && c->conn)
		if (tnp_loop_wait(c->loop, until_ns) < 0)
			return NULL;
	if (!c->stream->opened)
		return raise_over(c);
	Py_RETURN_NONE;
}

/* Closes in good order and waits for the end. */
static PyObject *stream_close(struct conn *c, PyObject *timeout)
{
	uint64_t until_ns;

	if (!c->conn)
		Py_RETURN_NONE;
	if (!tnp_loop_ok(c->loop) || tnp_until(timeout, &until_ns) < 0)
		return NULL;
	tn_close(c->conn);
	c->loop->stepped = false;
	while (c->conn)
		if (tnp_loop_wait(c->loop, until_ns) < 0)
			return NULL;
	Py_RETURN_NONE;
}

/* ---- awaiting: what `await` is given, which is done at once when a message is there ---- */

struct awaited {
	PyObject_HEAD struct conn *conn;
	struct waiter *waiter; /* NULL: it has not waited yet */
	bool iterates;
};

/* Memory of those that are over: there is one for each message. */
static struct awaited *spare[16];
static size_t nspare;

static PyObject *awaited_new(struct conn *c, bool iterates)
{
	struct awaited *a;

	if (nspare)
		a = (struct awaited *)PyObject_Init((PyObject *)spare[--nspare], awaited_type);
	else
		a = PyObject_GC_New(struct awaited, awaited_type);
	if (!a)
		return NULL;
	Py_INCREF(c);
	a->conn = c;
	a->waiter = NULL;
	a->iterates = iterates;
	return (PyObject *)a;
}

static void awaited_forget(struct awaited *a)
{
	struct waiter *w = a->waiter;
	struct stream *s;

	if (!w)
		return;
	PyObject_GC_UnTrack(a);
	s = a->conn->stream;
	if (s->reader == (PyObject *)w)
		Py_CLEAR(s->reader);
	if (s->waiter == w && (!w->done || w->cancelled)) /* somebody may still look at it */
		Py_CLEAR(s->waiter);
	Py_CLEAR(a->waiter);
}

static int awaited_traverse(struct awaited *a, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(a));
	Py_VISIT(a->conn);
	Py_VISIT(a->waiter);
	return 0;
}

static void awaited_dealloc(struct awaited *a)
{
	PyTypeObject *type = Py_TYPE(a);

	PyObject_GC_UnTrack(a);
	awaited_forget(a);
	Py_CLEAR(a->conn);
	if (nspare < sizeof(spare) / sizeof(spare[0]))
		spare[nspare++] = a;
	else
		PyObject_GC_Del(a);
	Py_DECREF(type);
}

static PyObject *stop_with(PyObject *value)
{
	PyObject *stop;

	if (!PyTuple_Check(value) && !PyObject_TypeCheck(value, (PyTypeObject *)PyExc_BaseException)) {
		PyErr_SetObject(PyExc_StopIteration, value);
	} else {
		stop = PyObject_CallFunctionObjArgs(PyExc_StopIteration, value, NULL);
		if (stop)
			PyErr_SetObject(PyExc_StopIteration, stop);
		Py_XDECREF(stop);
	}
	Py_DECREF(value);
	return NULL;
}

static PyObject *begin_wait(struct awaited *a)
{
	struct conn *c = a->conn;
	struct stream *s = c->stream;

	if (!tnp_loop_ok(c->loop))
		return NULL;
	if (s->reader)
		return tnp_raise_words(TN_ESTATE, "another task waits for messages of this connection already");
	if (!c->loop->around)
		return tnp_raise_words(TN_ESTATE, "the loop is not part of asyncio's");
	if (s->waiter && s->waiter->fn) /* a task that is about to go on has it */
		Py_CLEAR(s->waiter);
	if (!s->waiter)
		s->waiter = waiter_new(c->loop);
	if (!s->waiter)
		return NULL;
	s->waiter->done = false;
	s->waiter->blocking = true;
	Py_INCREF(s->waiter);
	s->reader = (PyObject *)s->waiter;
	PyObject_GC_Track(a);
	Py_INCREF(s->waiter);
	a->waiter = s->waiter;
	return itself((PyObject *)s->waiter);
}

static PySendResult awaited_go(struct awaited *a, PyObject *value, PyObject **result)
{
	struct conn *c = a->conn;

	(void)value;
	*result = NULL;
	awaited_forget(a);
	if (c->stream->count) {
		*result = pop(c);
		return *result ? PYGEN_RETURN : PYGEN_ERROR;
	}
	if (!over(c)) {
		*result = begin_wait(a);
		return *result ? PYGEN_NEXT : PYGEN_ERROR;
	}
	if (!a->iterates || reason(c))
		raise_over(c);
	else
		PyErr_SetNone(PyExc_StopAsyncIteration);
	return PYGEN_ERROR;
}

static PyObject *awaited_next(struct awaited *a)
{
	PyObject *result;

	return awaited_go(a, Py_None, &result) == PYGEN_RETURN ? stop_with(result) : result;
}

/* throw(exception), and of three arguments as generators have it */
static PyObject *raise_thrown(PyObject *args)
{
	PyObject *kind, *value = Py_None, *trace = Py_None;

	if (!PyArg_ParseTuple(args, "O|OO:throw", &kind, &value, &trace))
		return NULL;
	if (PyObject_IsInstance(kind, PyExc_BaseException) == 1) {
		value = kind;
		kind = (PyObject *)Py_TYPE(value);
	}
	Py_INCREF(kind);
	if (value != Py_None)
		Py_INCREF(value);
	if (trace != Py_None)
		Py_INCREF(trace);
	PyErr_Restore(kind, value == Py_None ? NULL : value, trace == Py_None ? NULL : trace);
	return NULL;
}

static PyObject *awaited_throw(struct awaited *a, PyObject *args)
{
	awaited_forget(a);
	return raise_thrown(args);
}

static PyObject *awaited_close(struct awaited *a, PyObject *unused)
{
	(void)unused;
	awaited_forget(a);
	Py_RETURN_NONE;
}

static PyMethodDef awaited_methods[] = {
	{"throw", (PyCFunction)awaited_throw, METH_VARARGS, NULL},
	{"close", (PyCFunction)awaited_close, METH_NOARGS, NULL},
	{NULL, NULL, 0, NULL},
};

static PyType_Slot awaited_slots[] = {
	{Py_tp_dealloc, awaited_dealloc}, {Py_tp_traverse, awaited_traverse},
	{Py_tp_methods, awaited_methods}, {Py_am_await, itself},
	{Py_am_send, awaited_go},         {Py_tp_iter, itself},
	{Py_tp_iternext, awaited_next},   {0, NULL},
};

static PyType_Spec awaited_spec = {"tenon._Awaited", sizeof(struct awaited), 0,
				   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
					   Py_TPFLAGS_IMMUTABLETYPE,
				   awaited_slots};

/* What need not be waited for. A task can be made of it too: it has what a coroutine has. */
static PySendResult done_go(PyObject *self, PyObject *value, PyObject **result)
{
	(void)self;
	(void)value;
	Py_INCREF(Py_None);
	*result = Py_None;
	return PYGEN_RETURN;
}

static PyObject *done_next(PyObject *self)
{
	(void)self;
	return NULL;
}

static PyObject *done_send(PyObject *self, PyObject *value)
{
	(void)self;
	(void)value;
	PyErr_SetNone(PyExc_StopIteration);
	return NULL;
}

static PyObject *done_throw(PyObject *self, PyObject *args)
{
	(void)self;
	return raise_thrown(args);
}

static PyObject *done_close(PyObject *self, PyObject *unused)
{
	(void)self;
	(void)unused;
	Py_RETURN_NONE;
}

static void done_dealloc(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);

	((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
	Py_DECREF(type);
}

static PyMethodDef done_methods[] = {
	{"send", done_send, METH_O, NULL},
	{"throw", done_throw, METH_VARARGS, NULL},
	{"close", done_close, METH_NOARGS, NULL},
	{NULL, NULL, 0, NULL},
};

static PyType_Slot done_slots[] = {
	{Py_tp_dealloc, done_dealloc},
	{Py_tp_methods, done_methods},
	{Py_am_await, itself},
	{Py_am_send, done_go},
	{Py_tp_iter, itself},
	{Py_tp_iternext, done_next},
	{0, NULL},
};

static PyType_Spec done_spec = {"tenon._Done", sizeof(PyObject), 0,
				Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
				done_slots};

static PyObject *stream_arecv(struct conn *c, PyObject *unused)
{
	(void)unused;
	return awaited_new(c, false);
}

static PyObject *stream_anext(struct conn *c)
{
	return awaited_new(c, true);
}

/* What Python's send() does with the rest: 0: all is well, 1: wait for room, -1: wait and send again. */
static PyObject *stream_offer(struct conn *c, PyObject *object, PyObject *to)
{
	const struct tn_msg *msg = NULL;
	struct tn_msg made;
	int rc;

	if (!can_send(c) || raise_lost(c))
		return NULL;
	if (to && to != Py_None) {
		if (Py_TYPE(to) != tnp_peer_type)
			return PyErr_Format(PyExc_TypeError, "`to` is what `sender` gives, not %R", to);
		made = (struct tn_msg){.peer = &((struct peer *)to)->addr};
		msg = &made;
	}
	rc = tnp_conn_send(c, object, msg);
	if (rc == 2)
		return NULL;
	if (rc < 0 && rc != TN_EFULL)
		return reason(c) ? raise_over(c) : tnp_raise(rc);
	tnp_loop_kicked(c->loop);
	if (rc == 0)
		return itself(done);
	return PyObject_CallMethod((PyObject *)c, "_room", "OOO", rc == TN_EFULL ? object : Py_None, to ? to : Py_None,
				   rc == TN_EFULL ? Py_True : Py_False);
}

static PyObject *stream_asend(struct conn *c, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
	Py_ssize_t all = nargs + (names ? PyTuple_Size(names) : 0);

	if (nargs < 1 || all > 2 ||
	    (all > nargs && PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), "to") != 0))
		return PyErr_Format(PyExc_TypeError, "send() takes a message and `to`");
	return stream_offer(c, args[0], all == 2 ? args[1] : NULL);
}

/* ---- waiting by callables, for other loops: called once ---- */

static PyObject *stream_watch(struct conn *c, PyObject *fn)
{
	struct stream *s = c->stream;

	if (!s->watchers)
		s->watchers = PyList_New(0);
	if (!s->watchers || PyList_Append(s->watchers, fn) < 0)
		return NULL;
	Py_RETURN_NONE;
}

/* None withdraws it. */
static PyObject *stream_read(struct conn *c, PyObject *fn)
{
	struct stream *s = c->stream;

	if (fn != Py_None && s->reader)
		return tnp_raise_words(TN_ESTATE, "another task waits for messages of this connection already");
	Py_CLEAR(s->reader);
	if (fn != Py_None) {
		Py_INCREF(fn);
		s->reader = fn;
	}
	Py_RETURN_NONE;
}

/* The next message in a list, [] for none yet; raises at the end. */
static PyObject *stream_take(struct conn *c, PyObject *unused)
{
	PyObject *msg, *list;

	(void)unused;
	if (!c->stream->count)
		return over(c) ? raise_over(c) : PyList_New(0);
	msg = pop(c);
	list = msg ? PyList_New(1) : NULL;
	if (!list || PyList_SetItem(list, 0, msg) < 0) {
		Py_XDECREF(list);
		return NULL;
	}
	return list;
}

static PyObject *stream_hear(struct conn *c, PyObject *unused)
{
	(void)unused;
	if (raise_lost(c))
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *get_opened(struct conn *c, void *unused)
{
	(void)unused;
	return PyBool_FromLong(c->stream->opened);
}

static PyObject *get_waiting(struct conn *c, void *unused)
{
	(void)unused;
	return PyLong_FromSize_t(c->stream->count);
}

static PyObject *get_room(struct conn *c, void *unused)
{
	(void)unused;
	return PyBool_FromLong(c->conn != NULL);
}

static PyMethodDef stream_methods[] = {
	{"_recv", (PyCFunction)(void (*)(void))stream_recv, METH_FASTCALL | METH_KEYWORDS,
	 "recv(timeout=None)\n--\n\nThe next message: bytes, or what the URL's format says. timeout: in seconds, "
	 "None: as long as it takes. Raises TimeoutError; ClosedError: the peer has ended, no more come; otherwise "
	 "why the connection has ended."},
	{"_next", (PyCFunction)stream_next, METH_NOARGS, NULL},
	{"_send", (PyCFunction)stream_send, METH_VARARGS, NULL},
	{"_open", (PyCFunction)stream_open, METH_O, NULL},
	{"_close", (PyCFunction)stream_close, METH_O, NULL},
	{"_arecv", (PyCFunction)stream_arecv, METH_NOARGS, NULL},
	{"_asend", (PyCFunction)(void (*)(void))stream_asend, METH_FASTCALL | METH_KEYWORDS,
	 "send(message, to=None)\n--\n\nSends a message; `await` it: it waits as long as the queue is at its mark "
	 "(key "
	 "queue). See Conn.send(). Raises TooBigError, FormatError, TypeError, and why the connection has ended. "
	 "LostError: with key reconnect, the connection was lost, which no recv() has told or waits for, and this "
	 "message was not sent or is lost with it."},
	{"_watch", (PyCFunction)stream_watch, METH_O, NULL},
	{"_read", (PyCFunction)stream_read, METH_O, NULL},
	{"_take", (PyCFunction)stream_take, METH_NOARGS, NULL},
	{"_hear", (PyCFunction)stream_hear, METH_NOARGS, NULL},
	{NULL, NULL, 0, NULL},
};

static PyGetSetDef stream_getset[] = {
	{"_opened", (getter)get_opened, NULL, NULL, NULL},
	{"_alive", (getter)get_room, NULL, NULL, NULL},
	{"waiting", (getter)get_waiting, NULL, "How many messages have come and wait to be taken.", NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot stream_slots[] = {
	{Py_tp_doc, (void *)"A connection whose messages wait until they are taken."},
	{Py_tp_methods, stream_methods},
	{Py_tp_getset, stream_getset},
	{Py_am_anext, stream_anext},
	{Py_am_aiter, itself},
	{0, NULL},
};

static PyType_Spec stream_spec = {"tenon._Stream", sizeof(struct conn), 0,
				  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION |
					  Py_TPFLAGS_IMMUTABLETYPE,
				  stream_slots};

int tnp_stream_init(PyObject *module)
{
	tnp_stream_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &stream_spec, (PyObject *)tnp_conn_type);
	awaited_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &awaited_spec, NULL);
	done_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &done_spec, NULL);
	waiter_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &waiter_spec, NULL);
	str_run = PyUnicode_InternFromString("run");
	str_call_soon = PyUnicode_InternFromString("call_soon");
	names_context = Py_BuildValue("(s)", "context");
	if (!tnp_stream_type || !awaited_type || !done_type || !waiter_type || !str_run || !str_call_soon ||
	    !names_context)
		return -1;
	done = ((allocfunc)PyType_GetSlot(done_type, Py_tp_alloc))(done_type, 0);
	return done ? PyModule_AddType(module, tnp_stream_type) : -1;
}
