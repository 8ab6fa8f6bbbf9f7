/* Server: what serves an endpoint, and the connections that nobody has taken yet. */
#include "core.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <structmember.h>

#define LOOPS_MAX 256
#define NS_PER_MS 1e3

PyTypeObject *tnp_server_type;

static void unlist(struct server *s)
{
	for (Py_ssize_t i = 0; s->loops && i < PyTuple_Size(s->loops); i++) {
		struct loop *l = (struct loop *)PyTuple_GetItem(s->loops, i);
		Py_ssize_t at = l->servers ? PySequence_Index(l->servers, (PyObject *)s) : -1;

		if (at < 0)
			PyErr_Clear();
		else
			PySequence_DelItem(l->servers, at);
	}
}

static void call_done(struct server *s, struct loop *l)
{
	PyObject *done = s->done, *result;

	s->done = NULL;
	if (done && done != Py_None) {
		result = PyObject_CallNoArgs(done);
		if (!result)
			tnp_loop_failed(l, done, NULL);
		Py_XDECREF(result);
	}
	Py_XDECREF(done);
	if (s->waiter)
		tnp_wake(s->waiter);
}

/* The first of its loops that is open; NULL: none is. */
static struct loop *open_loop(struct server *s)
{
	for (Py_ssize_t i = 0; i < PyTuple_Size(s->loops); i++) {
		struct loop *l = (struct loop *)PyTuple_GetItem(s->loops, i);

		if (l->loop)
			return l;
	}
	return NULL;
}

void tnp_server_gone(struct server *s)
{
	if (!s->server || open_loop(s))
		return;
	s->server = NULL;
	Py_INCREF(s);
	call_done(s, s->loop);
	Py_DECREF(s);
}

/* All of it has ended: tn_server_close(). */
static void on_done(void *arg)
{
	struct server *s = arg;
	struct loop *l = tnp_enter();

	s->server = NULL;
	Py_INCREF(s);
	unlist(s);
	call_done(s, l);
	Py_DECREF(s);
}

static void on_trouble(struct tn_server *server, int err, const char *text, void *arg)
{
	struct server *s = arg;
	struct loop *l = tnp_enter();
	PyObject *error, *result = NULL;

	(void)server;
	Py_INCREF(s);
	error = tnp_error_new(err, text, -1);
	if (error)
		result = PyObject_CallFunctionObjArgs(s->on_trouble, (PyObject *)s, error, NULL);
	if (!result)
		tnp_loop_failed(l, s->on_trouble, NULL);
	Py_XDECREF(error);
	Py_XDECREF(result);
	Py_DECREF(s);
}

void tnp_server_opened(struct handler *h, struct conn *c)
{
	struct server *s = h->server;

	if (!s || !s->accepted || PyList_Append(s->accepted, (PyObject *)c) < 0) {
		PyErr_Clear();
		Py_DECREF(c);
		return;
	}
	Py_DECREF(c);
	if (s->waiter)
		tnp_wake(s->waiter);
}

/* ---- serving ---- */

static PyObject *urls_of(struct tn_server *server)
{
	int n = tn_server_nurls(server);
	PyObject *urls = PyTuple_New(n);

	for (int i = 0; urls && i < n; i++) {
		PyObject *url = tnp_text(tn_server_url(server, i));

		if (!url || PyTuple_SetItem(urls, i, url) < 0)
			Py_CLEAR(urls);
	}
	return urls;
}

static PyObject *loops_of(PyObject *loops, struct loop *l)
{
	PyObject *tuple = loops && loops != Py_None ? PySequence_Tuple(loops) : NULL;

	if (PyErr_Occurred())
		return NULL;
	if (!tuple) {
		struct loop *own = l ? l : tnp_loop_default();

		tuple = own ? PyTuple_Pack(1, own) : NULL;
		if (own && !l)
			Py_DECREF(own);
		return tuple;
	}
	if (PyTuple_Size(tuple) < 1 || PyTuple_Size(tuple) > LOOPS_MAX)
		PyErr_Format(PyExc_ValueError, "a server has 1 to %d loops", LOOPS_MAX);
	for (Py_ssize_t i = 0; !PyErr_Occurred() && i < PyTuple_Size(tuple); i++) {
		PyObject *one = PyTuple_GetItem(tuple, i);

		if (!PyObject_TypeCheck(one, tnp_loop_type))
			PyErr_Format(PyExc_TypeError, "loops are tenon.Loop, not %R", one);
		else
			tnp_loop_ok((struct loop *)one);
	}
	if (PyErr_Occurred())
		Py_CLEAR(tuple);
	return tuple;
}

static int begin(struct server *s, const char *url, unsigned limit)
{
	struct tn_loop *loops[LOOPS_MAX];
	int n = (int)PyTuple_Size(s->loops), rc;
	static const struct tn_watch watch = {.on_trouble = on_trouble};
	struct tn_handler handler;

	for (int i = 0; i < n; i++)
		loops[i] = ((struct loop *)PyTuple_GetItem(s->loops, i))->loop;
	tnp_handler_fill(s->handler, &handler);
	rc = n == 1 ? tn_serve(loops[0], url, &handler, s->handler, &s->server)
		    : tn_serve_loops(loops, n, url, &handler, s->handler, &s->server);
	if (rc < 0) {
		tnp_raise(rc);
		return -1;
	}
	for (int i = 0; i < n; i++)
		if (PyList_Append(((struct loop *)PyTuple_GetItem(s->loops, i))->servers, (PyObject *)s) < 0)
			return -1;
	if (s->on_trouble)
		tn_server_watch(s->server, &watch, s);
	if (limit)
		tn_server_limit(s->server, limit);
	s->urls = urls_of(s->server);
	return s->urls ? 0 : -1;
}

PyObject *tnp_serve(PyObject *self, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"url",      "on_msg", "on_open", "on_drain",   "on_end",
				"on_close", "on_bad", "on_cut",  "on_trouble", "messages",
				"limit",    "loop",   "loops",   "_type",      NULL};
	PyObject *cb[CALLBACKS] = {NULL}, *type = (PyObject *)tnp_conn_type, *trouble = NULL, *loops = NULL,
		 *given = NULL;
	struct server *s = NULL;
	const char *url, *word = NULL;
	unsigned limit = 0;
	enum form form;
	int kind;

	(void)self;
	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s|O$OOOOOOOzIOOO!:serve", names, &url, &cb[1], &cb[0], &cb[2],
					 &cb[3], &cb[4], &cb[5], &cb[6], &trouble, &word, &limit, &given, &loops,
					 &PyType_Type, &type) ||
	    tnp_form(word, &form) < 0)
		return NULL;
	if (given == Py_None)
		given = NULL;
	if (given && !PyObject_TypeCheck(given, tnp_loop_type))
		return PyErr_Format(PyExc_TypeError, "loop is a tenon.Loop, not %R", given);
	if (given && !tnp_loop_ok((struct loop *)given))
		return NULL;
	if (trouble && trouble != Py_None && !PyCallable_Check(trouble))
		return PyErr_Format(PyExc_TypeError, "a callback is a function, not %R", trouble);
	kind = tn_url_kind(url);
	s = (struct server *)((allocfunc)PyType_GetSlot(tnp_server_type, Py_tp_alloc))(tnp_server_type, 0);
	if (!s)
		return NULL;
	s->loops = loops_of(loops, (struct loop *)given);
	if (!s->loops)
		goto fail;
	s->loop = (struct loop *)PyTuple_GetItem(s->loops, 0);
	s->handler = tnp_handler_new(
		cb, type, form, PyType_IsSubtype((PyTypeObject *)type, tnp_stream_type) ? FACE_STREAM : FACE_CALLBACK);
	if (!s->handler)
		goto fail;
	s->handler->server = s;
	s->handler->shared = kind >= 0 && (kind & TN_URL_DATAGRAMS) && !(kind & TN_URL_SECURE);
	if (s->handler->face == FACE_STREAM && !(s->accepted = PyList_New(0)))
		goto fail;
	if (trouble && trouble != Py_None) {
		Py_INCREF(trouble);
		s->on_trouble = trouble;
	}
	if (begin(s, url, limit) < 0)
		goto fail;
	tnp_loop_kicked(s->loop);
	return (PyObject *)s;
fail:
	Py_DECREF(s);
	return NULL;
}

/* ---- Server ---- */

static int server_traverse(struct server *s, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(s));
	Py_VISIT(s->loops);
	Py_VISIT(s->on_trouble);
	Py_VISIT(s->accepted);
	Py_VISIT(s->waiter);
	Py_VISIT(s->done);
	Py_VISIT(s->urls);
	return s->handler && s->handler->refs == 1 ? tnp_handler_visit(s->handler, visit, arg) : 0;
}

static int server_clear(struct server *s)
{
	Py_CLEAR(s->waiter);
	Py_CLEAR(s->done);
	return 0;
}

static void server_dealloc(struct server *s)
{
	PyTypeObject *type = Py_TYPE(s);

	PyObject_GC_UnTrack(s);
	if (s->weak)
		PyObject_ClearWeakRefs((PyObject *)s);
	if (s->server) /* begin() has failed behind tn_serve(): its loop has no reference */
		tn_server_close(s->server, 0, NULL, NULL);
	server_clear(s);
	if (s->handler)
		s->handler->server = NULL;
	tnp_handler_unref(s->handler);
	Py_XDECREF(s->accepted);
	Py_XDECREF(s->on_trouble);
	Py_XDECREF(s->urls);
	Py_XDECREF(s->loops);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(s);
	Py_DECREF(type);
}

static bool server_ok(struct server *s)
{
	if (!s->server) {
		tnp_raise_words(TN_ESTATE, "the server is closed");
		return false;
	}
	return tnp_loop_ok(s->loop);
}

static PyObject *server_close(struct server *s, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"drain", "done", NULL};
	double drain = 5.0;
	PyObject *done = NULL;
	struct loop *l;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|dO:close", names, &drain, &done))
		return NULL;
	if (!(drain >= 0 && drain < 1e9))
		return PyErr_Format(PyExc_ValueError, "drain is a time in seconds");
	if (!s->server || s->closing)
		Py_RETURN_NONE;
	l = open_loop(s);
	if (!tnp_loop_ok(l ? l : s->loop))
		return NULL;
	if (done && done != Py_None && !PyCallable_Check(done))
		return PyErr_Format(PyExc_TypeError, "done is a function, not %R", done);
	s->closing = true;
	Py_XINCREF(done);
	s->done = done;
	if (s->accepted && PyList_SetSlice(s->accepted, 0, PyList_Size(s->accepted), NULL) < 0)
		return NULL;
	tn_server_close(s->server, (uint64_t)(drain * NS_PER_MS), on_done, s);
	tnp_loop_kicked(l);
	Py_RETURN_NONE;
}

static PyObject *server_reload(struct server *s, PyObject *unused)
{
	int rc;

	(void)unused;
	if (!server_ok(s))
		return NULL;
	rc = tn_server_reload(s->server);
	if (rc < 0)
		return tnp_raise(rc);
	Py_RETURN_NONE;
}

static PyObject *server_option(struct server *s, PyObject *args)
{
	char value[512];
	const char *key;
	int rc;

	if (!PyArg_ParseTuple(args, "s:option", &key) || !server_ok(s))
		return NULL;
	rc = tn_server_option(s->server, key, value, sizeof(value));
	return rc < 0 ? tnp_raise(rc) : tnp_text(value);
}

static PyObject *server_limit(struct server *s, PyObject *number)
{
	unsigned long limit = PyLong_AsUnsignedLong(number);

	if (PyErr_Occurred() || !server_ok(s))
		return NULL;
	tn_server_limit(s->server, limit > UINT32_MAX ? UINT32_MAX : (unsigned)limit);
	Py_RETURN_NONE;
}

static PyObject *server_tls_later(struct server *s, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"optional", NULL};
	int optional = 0, rc;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|p:tls_later", names, &optional) || !server_ok(s))
		return NULL;
	rc = tn_server_tls_later(s->server, optional);
	if (rc < 0)
		return tnp_raise(rc);
	Py_RETURN_NONE;
}

static PyObject *server_counts(struct server *s, PyObject *unused)
{
	(void)unused;
	if (!s->server || !s->loop->loop)
		return tnp_raise_words(TN_ESTATE, "the server is closed");
	return tnp_counts(s->server);
}

static PyObject *server_files(struct server *s, PyObject *unused)
{
	PyObject *list = server_ok(s) ? PyList_New(0) : NULL, *row;
	enum tn_file_use use;
	const char *path;

	(void)unused;
	for (int i = 0; list && tn_server_file(s->server, i, &path, &use) == 0; i++) {
		row = tnp_file(path, use);
		if (!row || PyList_Append(list, row) < 0)
			Py_CLEAR(list);
		Py_XDECREF(row);
	}
	return list;
}

static PyObject *server_keep_loop(struct server *s, PyObject *keep)
{
	int wanted = PyObject_IsTrue(keep), rc;

	if (wanted < 0 || !server_ok(s))
		return NULL;
	rc = tn_server_keep_loop(s->server, wanted);
	if (rc < 0)
		return tnp_raise(rc);
	Py_RETURN_NONE;
}

struct publishing {
	struct tn_shared *shared;
	int count;
};

static void publish_one(struct tn_conn *conn, void *arg)
{
	struct publishing *p = arg;
	int rc = tn_send_shared(conn, p->shared);

	if (rc >= 0)
		p->count++;
	else
		tn_abort(conn, rc);
}

/* On this thread's loop of the server. */
static PyObject *server_publish(struct server *s, PyObject *message)
{
	struct publishing p = {0};
	int rc;

	if (!server_ok(s))
		return NULL;
	if (Py_TYPE(message) == tnp_shared_type)
		Py_INCREF(message);
	else
		message = PyObject_CallFunctionObjArgs((PyObject *)tnp_shared_type, message, NULL);
	if (!message)
		return NULL;
	p.shared = tnp_shared_get(message);
	rc = tn_server_each(s->server, publish_one, &p);
	Py_DECREF(message);
	if (rc < 0)
		return tnp_raise(rc);
	tnp_loop_kicked(s->loop);
	return PyLong_FromLong(p.count);
}

/* The connection that has waited longest; None: none waits. */
static PyObject *server_take(struct server *s, PyObject *unused)
{
	PyObject *c;

	(void)unused;
	if (!s->accepted || PyList_Size(s->accepted) < 1)
		Py_RETURN_NONE;
	c = PyList_GetItem(s->accepted, 0);
	Py_INCREF(c);
	if (PyList_SetSlice(s->accepted, 0, 1, NULL) < 0)
		Py_CLEAR(c);
	return c;
}

static PyObject *server_wait(struct server *s, PyObject *timeout)
{
	uint64_t until_ns;

	if (tnp_until(timeout, &until_ns) < 0)
		return NULL;
	s->loop->stepped = false;
	while (s->server && PyList_Size(s->accepted) < 1)
		if (!tnp_loop_ok(s->loop) || tnp_loop_wait(s->loop, until_ns) < 0)
			return NULL;
	Py_RETURN_NONE;
}

/* Until all of it has ended. */
static PyObject *server_wait_done(struct server *s, PyObject *timeout)
{
	uint64_t until_ns;

	if (tnp_until(timeout, &until_ns) < 0)
		return NULL;
	s->loop->stepped = false;
	while (s->server)
		if (!tnp_loop_ok(s->loop) || tnp_loop_wait(s->loop, until_ns) < 0)
			return NULL;
	Py_RETURN_NONE;
}

static PyObject *server_on_accept(struct server *s, PyObject *fn)
{
	PyObject *old = s->waiter;

	s->waiter = fn == Py_None ? NULL : fn;
	Py_XINCREF(s->waiter);
	Py_XDECREF(old);
	Py_RETURN_NONE;
}

static PyObject *get_urls(struct server *s, void *unused)
{
	(void)unused;
	Py_INCREF(s->urls);
	return s->urls;
}

static PyObject *get_url(struct server *s, void *unused)
{
	(void)unused;
	return PySequence_GetItem(s->urls, 0);
}

static PyObject *get_count(struct server *s, void *unused)
{
	(void)unused;
	return PyLong_FromUnsignedLong(s->server && s->loop->loop ? tn_server_nconns(s->server) : 0);
}

static PyObject *get_closed(struct server *s, void *unused)
{
	(void)unused;
	return PyBool_FromLong(!s->server);
}

static PyObject *get_loop(struct server *s, void *unused)
{
	(void)unused;
	Py_INCREF(s->loop);
	return (PyObject *)s->loop;
}

static PyObject *server_repr(struct server *s)
{
	return s->urls ? PyUnicode_FromFormat("<tenon server %R%s>", s->urls, s->server ? "" : ", closed")
		       : PyUnicode_FromString("<tenon server>");
}

static PyMethodDef server_methods[] = {
	{"close", (PyCFunction)(void (*)(void))server_close, METH_VARARGS | METH_KEYWORDS,
	 "close(drain=5.0, done=None)\n--\n\nStops accepting and lets every connection finish what is in flight; "
	 "what is left after `drain` seconds is cut off. done() is called when all of it has ended. Called again it "
	 "does nothing."},
	{"reload", (PyCFunction)server_reload, METH_NOARGS,
	 "reload()\n--\n\nReads a secured server's files (certificates, keys) anew, for connections to come. Raises "
	 "UrlError: they cannot be used, the old ones stay."},
	{"option", (PyCFunction)server_option, METH_VARARGS,
	 "option(key)\n--\n\nThe value in force of a key of the URL on its first listener, as it would stand there."},
	{"limit", (PyCFunction)server_limit, METH_O,
	 "limit(count)\n--\n\nServes at most this many connections at a time; further ones are closed at once. 0: no "
	 "limit."},
	{"tls_later", (PyCFunction)(void (*)(void))server_tls_later, METH_VARARGS | METH_KEYWORDS,
	 "tls_later(optional=False)\n--\n\nRight behind serve() of tls://: connections begin without TLS, until "
	 "Conn.start_tls(). optional: who does not begin a handshake then goes on without. Raises Error."},
	{"publish", (PyCFunction)server_publish, METH_O,
	 "publish(message)\n--\n\nSends a message, bytes or a Shared, to every connection of this thread's loop; it "
	 "is framed once for all of them. A connection whose queue is full is cut off: it reads too slowly. Returns "
	 "how many got it."},
	{"counts", (PyCFunction)server_counts, METH_NOARGS,
	 "counts()\n--\n\nWhat the server has counted since it was served, over all its loops, as a dict: open, "
	 "accepted, "
	 "closed, bytes_in, bytes_out, msgs_in, msgs_out, bad, lost, dropped, refused_limit, refused_source, "
	 "refused_access, refused_proxy, handshakes, resumed, handshakes_failed, handshakes_timed_out, "
	 "accept_failed, "
	 "queue_peak (struct tn_counts in tenon.h). From any thread. Raises StateError."},
	{"files", (PyCFunction)server_files, METH_NOARGS,
	 "files()\n--\n\nThe files that the server needs while it runs, for a program that confines itself: a list "
	 "of "
	 "(path, use), where use is 'read', 'append', 'remove' or 'look'. A path may be a folder."},
	{"keep_loop", (PyCFunction)server_keep_loop, METH_O,
	 "keep_loop(keep, /)\n--\n\nWhether run() goes on for the sake of this server; it does at first. Raises "
	 "Error: it "
	 "has several loops."},
	{"_take", (PyCFunction)server_take, METH_NOARGS, NULL},
	{"_wait", (PyCFunction)server_wait, METH_O, NULL},
	{"_wait_done", (PyCFunction)server_wait_done, METH_O, NULL},
	{"_on_accept", (PyCFunction)server_on_accept, METH_O, NULL},
	{NULL, NULL, 0, NULL},
};

static PyGetSetDef server_getset[] = {
	{"urls", (getter)get_urls, NULL, "The URL of each listener (localhost can have two), with its real port.",
	 NULL},
	{"url", (getter)get_url, NULL, "The first of them.", NULL},
	{"count", (getter)get_count, NULL, "How many connections are served now.", NULL},
	{"closed", (getter)get_closed, NULL, "Whether all of it has ended.", NULL},
	{"loop", (getter)get_loop, NULL, "The loop it lives on; of several the first.", NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef server_members[] = {
	{"__weaklistoffset__", T_PYSSIZET, offsetof(struct server, weak), READONLY, NULL},
	{NULL, 0, 0, 0, NULL},
};

static PyType_Slot server_slots[] = {
	{Py_tp_doc, (void *)"What serve() returns. It serves until close(), whether or not it is kept."},
	{Py_tp_dealloc, server_dealloc},
	{Py_tp_traverse, server_traverse},
	{Py_tp_clear, server_clear},
	{Py_tp_repr, server_repr},
	{Py_tp_methods, server_methods},
	{Py_tp_getset, server_getset},
	{Py_tp_members, server_members},
	{0, NULL},
};

static PyType_Spec server_spec = {"tenon.Server", sizeof(struct server), 0,
				  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
					  Py_TPFLAGS_IMMUTABLETYPE,
				  server_slots};

int tnp_server_init(PyObject *module)
{
	tnp_server_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &server_spec, NULL);
	return tnp_server_type ? PyModule_AddType(module, tnp_server_type) : -1;
}
