/* Handle: a connection from any thread. */
#include "core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)
/* A wait without the GIL is as long as this at most, so that signals are looked for. */
#define LOOK_MS 250

static PyTypeObject *handle_type;

struct handle {
	PyObject_HEAD struct tn_handle *handle;
	struct loop *loop;
	char *format; /* in which values are sent, or NULL */
};

PyObject *tnp_handle_new(struct conn *c)
{
	struct handle *h = (struct handle *)((allocfunc)PyType_GetSlot(handle_type, Py_tp_alloc))(handle_type, 0);
	const char *format = c->handler->form == FORM_AUTO ? tn_conn_format(c->conn) : NULL;
	int rc;

	if (!h)
		return NULL;
	h->loop = c->loop;
	Py_INCREF(h->loop);
	rc = format && !(h->format = strdup(format)) ? -ENOMEM : tn_conn_handle(c->conn, &h->handle);
	if (rc < 0) {
		Py_DECREF(h);
		return tnp_raise(rc);
	}
	return (PyObject *)h;
}

static void handle_dealloc(struct handle *h)
{
	PyTypeObject *type = Py_TYPE(h);

	tn_handle_unref(h->handle);
	free(h->format);
	Py_XDECREF(h->loop);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(h);
	Py_DECREF(type);
}

static int refused(void)
{
	tnp_raise_words(TN_ESTATE, "the connection is that of a process before fork()");
	return 2;
}

static int send_value(struct handle *h, PyObject *object)
{
	struct tn_value *value = tnp_value_make(h->format, object);
	struct tn_shared *shared;
	int rc;

	if (!value)
		return 2;
	rc = tn_shared_value(h->format, value, 0, &shared);
	tn_value_free(value);
	if (rc < 0)
		return rc;
	rc = tn_handle_send_shared(h->handle, shared);
	tn_shared_unref(shared);
	return rc;
}

static int send_text(struct handle *h, PyObject *object)
{
	struct tn_shared *shared;
	Py_ssize_t len;
	const char *text = PyUnicode_AsUTF8AndSize(object, &len);
	int rc = text ? tn_shared_new(text, (size_t)len, TN_MSG_TEXT, &shared) : 2;

	if (rc != 0)
		return rc;
	rc = tn_handle_send_shared(h->handle, shared);
	tn_shared_unref(shared);
	return rc;
}

/* As tn_handle_send(), or 2: raised. */
static int send_object(struct handle *h, PyObject *object, PyObject *to)
{
	struct tn_msg made = {.peer = to ? &((struct peer *)to)->addr : NULL};
	Py_buffer data;
	int rc;

	if (tnp_loop_forked(h->loop))
		return refused();
	if (Py_TYPE(object) == tnp_shared_type && !to)
		return tn_handle_send_shared(h->handle, tnp_shared_get(object));
	if (h->format && !to)
		return send_value(h, object);
	if (PyUnicode_Check(object) && !to)
		return send_text(h, object);
	if (!PyArg_Parse(object, "s*;a message is bytes, another buffer or str; other values need the key format",
			 &data))
		return 2;
	rc = tn_handle_reply(h->handle, to ? &made : NULL, data.buf, (size_t)data.len);
	PyBuffer_Release(&data);
	return rc;
}

static PyObject *handle_send(struct handle *h, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"message", "to", NULL};
	PyObject *object, *to = NULL;
	int rc;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:send", names, &object, &to))
		return NULL;
	if (to == Py_None)
		to = NULL;
	if (to && Py_TYPE(to) != tnp_peer_type)
		return PyErr_Format(PyExc_TypeError, "`to` is what Conn.sender gives, not %R", to);
	if (to && h->format)
		return PyErr_Format(PyExc_TypeError, "values go to a sender on the loop's own thread: Handle.call()");
	rc = send_object(h, object, to);
	if (rc == 2)
		return NULL;
	return rc < 0 ? tnp_raise(rc) : PyBool_FromLong(rc == 0);
}

static PyObject *handle_wait(struct handle *h, PyObject *args)
{
	PyObject *timeout = Py_None;
	uint64_t until_ns, now;
	int rc = -ETIMEDOUT, ms;

	if (!PyArg_ParseTuple(args, "|O:wait", &timeout) || tnp_until(timeout, &until_ns) < 0)
		return NULL;
	if (tnp_loop_forked(h->loop)) {
		refused();
		return NULL;
	}
	if (h->loop->loop && h->loop->owner == tnp_me())
		return tnp_raise_words(TN_ESTATE, "the loop's own thread would wait for itself");
	while (rc == -ETIMEDOUT) {
		now = tnp_now_ns();
		ms = until_ns <= now ? 0 : LOOK_MS;
		if (until_ns > now && (until_ns - now) / NS_PER_MS < LOOK_MS)
			ms = (int)((until_ns - now + NS_PER_MS - 1) / NS_PER_MS);
		Py_BEGIN_ALLOW_THREADS;
		rc = tn_handle_wait(h->handle, ms);
		Py_END_ALLOW_THREADS;
		if (PyErr_CheckSignals() < 0)
			return NULL;
		if (ms == 0)
			break;
	}
	if (rc == -ETIMEDOUT)
		return tnp_raise_words(rc, "timed out");
	if (rc < 0)
		return tnp_raise(rc);
	Py_RETURN_NONE;
}

/* fn and its arguments, in a tuple. */
static void called(struct tn_conn *conn, void *arg)
{
	PyObject *all = arg, *args, *result = NULL;
	bool held = tnp_turning->held;
	struct loop *l = tnp_enter();
	PyObject *c = conn ? tn_conn_data(conn) : NULL;

	c = c ? c : Py_None;
	Py_INCREF(c);
	args = PyTuple_New(PyTuple_Size(all));
	for (Py_ssize_t i = 0; args && i < PyTuple_Size(all); i++) { /* the connection in the place of fn */
		PyObject *one = i ? PyTuple_GetItem(all, i) : c;

		Py_INCREF(one);
		PyTuple_SetItem(args, i, one);
	}
	if (args)
		result = PyObject_CallObject(PyTuple_GetItem(all, 0), args);
	if (!result)
		tnp_loop_failed(l, PyTuple_GetItem(all, 0), c == Py_None ? NULL : (struct conn *)c);
	Py_XDECREF(result);
	Py_XDECREF(args);
	Py_DECREF(c);
	Py_DECREF(all);
	tnp_give_back(l, held);
}

static PyObject *handle_call(struct handle *h, PyObject *args)
{
	PyObject *fn = PyTuple_Size(args) > 0 ? PyTuple_GetItem(args, 0) : Py_None, *all;
	int rc;

	if (!PyCallable_Check(fn))
		return PyErr_Format(PyExc_TypeError, "call() takes a function and its arguments");
	if (tnp_loop_forked(h->loop)) {
		refused();
		return NULL;
	}
	all = args;
	Py_INCREF(all);
	rc = tn_handle_call(h->handle, called, all);
	if (rc < 0) {
		Py_DECREF(all);
		return tnp_raise(rc);
	}
	Py_RETURN_NONE;
}

static PyObject *done(int rc)
{
	if (rc < 0 && rc != TN_ESTATE) /* it has gone: that is what was wanted */
		return tnp_raise(rc);
	Py_RETURN_NONE;
}

static PyObject *handle_close(struct handle *h, PyObject *unused)
{
	(void)unused;
	return done(tnp_loop_forked(h->loop) ? 0 : tn_handle_close(h->handle));
}

static PyObject *handle_release(struct handle *h, PyObject *unused)
{
	(void)unused;
	return done(tnp_loop_forked(h->loop) ? 0 : tn_handle_release(h->handle));
}

static PyObject *handle_abort(struct handle *h, PyObject *args)
{
	PyObject *error = NULL;

	if (!PyArg_ParseTuple(args, "|O:abort", &error))
		return NULL;
	return done(
		tnp_loop_forked(h->loop)
			? 0
			: tn_handle_abort(h->handle, error && error != Py_None ? tnp_error_code(error) : -ECANCELED));
}

static PyObject *get_alive(struct handle *h, void *unused)
{
	(void)unused;
	return PyBool_FromLong(!tnp_loop_forked(h->loop) && tn_handle_alive(h->handle));
}

static PyObject *get_queued(struct handle *h, void *unused)
{
	(void)unused;
	return PyLong_FromSize_t(tn_handle_queued(h->handle));
}

static PyObject *get_id(struct handle *h, void *unused)
{
	(void)unused;
	return PyLong_FromUnsignedLongLong(tn_handle_id(h->handle));
}

static PyObject *get_conn(struct handle *h, void *unused)
{
	struct tn_conn *conn;
	PyObject *c = NULL;

	(void)unused;
	if (h->loop->loop && !tnp_loop_ok(h->loop))
		return NULL;
	conn = h->loop->loop ? tn_handle_conn(h->handle) : NULL;
	if (conn)
		c = tn_conn_data(conn);
	c = c ? c : Py_None;
	Py_INCREF(c);
	return c;
}

static PyMethodDef handle_methods[] = {
	{"send", (PyCFunction)(void (*)(void))handle_send, METH_VARARGS | METH_KEYWORDS,
	 "send(message, to=None)\n--\n\nSends a message from any thread, as Conn.send() does on the loop's own. "
	 "`to`: on a "
	 "datagram server, the Peer that sent an earlier one; then the message is bytes or str.\n\nReturns True, or "
	 "False: as "
	 "much is on its way as the connection's queue may hold, and the next one would be refused: wait(). Raises "
	 "FullError (not sent), StateError (the connection has gone, or is closing), TooBigError, FormatError, "
	 "TypeError. A message that its frame cannot carry ends the connection."},
	{"wait", (PyCFunction)handle_wait, METH_VARARGS,
	 "wait(timeout=None)\n--\n\nBlocks until no more than half is on its way of what the queue may hold. "
	 "timeout: in "
	 "seconds, None: as long as it takes. Not on the loop's own thread. Raises TimeoutError, StateError."},
	{"call", (PyCFunction)handle_call, METH_VARARGS,
	 "call(fn, *args)\n--\n\nCalls fn(conn, *args) on the loop's thread, behind what this thread has sent by "
	 "the handle "
	 "before; fn(None, *args) when the connection has gone by then. Raises StateError: it has gone already."},
	{"close", (PyCFunction)handle_close, METH_NOARGS,
	 "close()\n--\n\nCloses in good order, behind what this thread has sent by the handle before."},
	{"release", (PyCFunction)handle_release, METH_NOARGS,
	 "release()\n--\n\nConn.release(), behind what this thread has sent: the reply that was owed is on its way."},
	{"abort", (PyCFunction)handle_abort, METH_VARARGS,
	 "abort(error=None)\n--\n\nConn.abort(), at once: before what is on its way."},
	{NULL, NULL, 0, NULL},
};

static PyGetSetDef handle_getset[] = {
	{"alive", (getter)get_alive, NULL, "Whether the connection is there. It may go right after.", NULL},
	{"queued", (getter)get_queued, NULL, "Bytes on their way to the connection's queue.", NULL},
	{"id", (getter)get_id, NULL, "The connection's id.", NULL},
	{"conn", (getter)get_conn, NULL, "On the loop's thread: the connection, None: it has gone.", NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot handle_slots[] = {
	{Py_tp_doc,
	 (void *)"What Conn.handle() gives: stands for a connection in other threads, and where it is not known "
		 "whether it still lives. It may outlive the connection and its loop."},
	{Py_tp_dealloc, handle_dealloc},
	{Py_tp_methods, handle_methods},
	{Py_tp_getset, handle_getset},
	{0, NULL},
};

static PyType_Spec handle_spec = {"tenon.Handle", sizeof(struct handle), 0,
				  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
				  handle_slots};

int tnp_handle_init(PyObject *module)
{
	handle_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &handle_spec, NULL);
	return handle_type ? PyModule_AddType(module, handle_type) : -1;
}
