/* Conn: a connection, and the callbacks that the library calls. */
#include "core.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <structmember.h>

PyTypeObject *tnp_conn_type, *tnp_stream_type, *tnp_peer_type;

/* ---- Peer ---- */

static PyObject *peer_new(const struct tn_addr *addr)
{
	struct peer *p = (struct peer *)((allocfunc)PyType_GetSlot(tnp_peer_type, Py_tp_alloc))(tnp_peer_type, 0);

	if (p)
		p->addr = *addr;
	return (PyObject *)p;
}

static void peer_dealloc(struct peer *p)
{
	PyTypeObject *type = Py_TYPE(p);

	((freefunc)PyType_GetSlot(type, Py_tp_free))(p);
	Py_DECREF(type);
}

static PyObject *peer_text(struct peer *p)
{
	char text[384];

	return tnp_text(tn_addr_text(&p->addr, text, sizeof(text)));
}

/* Where the sender is, without the address of ours that it was sent to. */
static Py_hash_t peer_hash(struct peer *p)
{
	size_t hash = p->addr.len;

	for (uint32_t i = 0; i < p->addr.len && i < sizeof(p->addr.bytes); i++)
		hash = hash * 1000003 ^ p->addr.bytes[i];
	return (Py_hash_t)hash == -1 ? -2 : (Py_hash_t)hash;
}

static PyObject *peer_compare(struct peer *p, PyObject *other, int op)
{
	struct peer *q = (struct peer *)other;
	bool equal;

	if (Py_TYPE(other) != tnp_peer_type || (op != Py_EQ && op != Py_NE))
		Py_RETURN_NOTIMPLEMENTED;
	equal = p->addr.len == q->addr.len && memcmp(p->addr.bytes, q->addr.bytes, p->addr.len) == 0;
	return PyBool_FromLong(equal == (op == Py_EQ));
}

static PyType_Slot peer_slots[] = {
	{Py_tp_doc, (void *)"Who sent a datagram: the `to` of Conn.send(). str() gives its address."},
	{Py_tp_dealloc, peer_dealloc},
	{Py_tp_str, peer_text},
	{Py_tp_repr, peer_text},
	{Py_tp_hash, peer_hash},
	{Py_tp_richcompare, peer_compare},
	{0, NULL},
};

static PyType_Spec peer_spec = {"tenon.Peer", sizeof(struct peer), 0,
				Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
				peer_slots};

/* ---- handlers ---- */

struct handler *tnp_handler_new(PyObject *const *callbacks, PyObject *type, enum form form, enum face face)
{
	struct handler *h = PyMem_Calloc(1, sizeof(*h));
	PyObject **fields = h ? &h->on_open : NULL;

	if (!h) {
		PyErr_NoMemory();
		return NULL;
	}
	h->refs = 1;
	h->form = form;
	h->face = face;
	h->type = type;
	Py_INCREF(type);
	for (int i = 0; callbacks && i < CALLBACKS; i++) {
		if (!callbacks[i] || callbacks[i] == Py_None)
			continue;
		if (!PyCallable_Check(callbacks[i])) {
			PyErr_Format(PyExc_TypeError, "a callback is a function, not %R", callbacks[i]);
			tnp_handler_unref(h);
			return NULL;
		}
		fields[i] = callbacks[i];
		Py_INCREF(fields[i]);
	}
	return h;
}

_Static_assert(offsetof(struct handler, on_lost) - offsetof(struct handler, on_open) ==
		       (CALLBACKS - 1) * sizeof(PyObject *),
	       "the callbacks stand behind one another");

void tnp_handler_unref(struct handler *h)
{
	PyObject **fields = h ? &h->on_open : NULL;

	if (!h || --h->refs)
		return;
	for (int i = 0; i < CALLBACKS; i++)
		Py_XDECREF(fields[i]);
	Py_DECREF(h->type);
	PyMem_Free(h);
}

int tnp_handler_visit(const struct handler *h, visitproc visit, void *arg)
{
	PyObject *const *fields = &h->on_open;

	for (int i = 0; i < CALLBACKS; i++)
		Py_VISIT(fields[i]);
	return 0;
}

/* ---- objects of connections ---- */

static struct conn *conn_new(struct tn_conn *conn, struct handler *h, struct loop *l)
{
	PyTypeObject *type = (PyTypeObject *)h->type;
	struct conn *c = (struct conn *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);

	if (!c)
		return NULL;
	if (h->face == FACE_STREAM) {
		c->stream = tnp_stream_new();
		if (!c->stream) {
			Py_DECREF(c);
			return NULL;
		}
	}
	c->conn = conn;
	c->loop = l;
	Py_INCREF(l);
	c->handler = h;
	h->refs++;
	return c;
}

struct conn *tnp_conn_of(struct tn_conn *conn, struct handler *h, struct loop *l)
{
	struct conn *c = tn_conn_data(conn);

	if (c)
		return c;
	c = conn_new(conn, h, l);
	if (c)
		tn_conn_set_data(conn, c); /* the library's reference: on_close drops it */
	return c;
}

static int conn_traverse(struct conn *c, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(c));
	Py_VISIT(c->loop);
	Py_VISIT(c->data);
	Py_VISIT(c->error);
	if (c->flow && tnp_flow_visit(c->flow, visit, arg))
		return -1;
	return c->stream ? tnp_stream_visit(c->stream, visit, arg) : 0;
}

static int conn_clear(struct conn *c)
{
	Py_CLEAR(c->data);
	return 0;
}

/* Nobody has it any more: only streams are here while they live, of which the library has no reference. */
static void let_go(struct conn *c)
{
	struct loop *l = c->loop;

	if (!c->conn || !l->loop)
		return;
	tn_conn_set_data(c->conn, NULL);
	tnp_loop_close(l, c->conn);
	c->conn = NULL;
}

static void conn_dealloc(struct conn *c)
{
	PyTypeObject *type = Py_TYPE(c);
	PyObject *error[3];

	PyObject_GC_UnTrack(c);
	if (c->weak)
		PyObject_ClearWeakRefs((PyObject *)c);
	PyErr_Fetch(&error[0], &error[1], &error[2]);
	if (c->loop)
		let_go(c);
	PyErr_Restore(error[0], error[1], error[2]);
	tnp_stream_free(c->stream);
	tnp_flow_free(c->flow);
	Py_XDECREF(c->data);
	Py_XDECREF(c->error);
	Py_XDECREF(c->loop);
	tnp_handler_unref(c->handler);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(c);
	Py_DECREF(type);
}

bool tnp_conn_ok(struct conn *c)
{
	if (!c->conn) {
		tnp_raise_words(TN_ESTATE, "the connection is closed");
		return false;
	}
	return tnp_loop_ok(c->loop);
}

/* ---- messages ---- */

PyObject *tnp_message(struct conn *c, const struct tn_msg *msg)
{
	int rc;

	if (c->handler->form == FORM_AUTO) {
		if (tn_conn_format(c->conn)) {
			rc = tn_msg_value(c->conn, msg, &c->loop->tree);
			return rc < 0 ? tnp_raise(rc) : tnp_value_read(c->loop->tree);
		}
		if (msg->kind == TN_MSG_TEXT)
			return PyUnicode_DecodeUTF8(msg->data, (Py_ssize_t)msg->len, NULL);
	}
	if (c->handler->form == FORM_VIEW)
		return tnp_shared_view(msg);
	return PyBytes_FromStringAndSize(msg->data, (Py_ssize_t)msg->len);
}

static int send_value(struct conn *c, PyObject *object, const struct tn_msg *msg)
{
	struct tn_value *value = tnp_value_make(tn_conn_format(c->conn), object);
	int rc;

	if (!value)
		return 2;
	rc = c->conn ? tn_reply_value(c->conn, msg, value) : TN_ESTATE; /* making it may have run code that closes */
	tn_value_free(value);
	return rc;
}

static int send_buffer(struct conn *c, PyObject *object, const struct tn_msg *msg)
{
	Py_buffer view;
	int rc;

	if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) < 0) {
		if (PyErr_ExceptionMatches(PyExc_TypeError) && !PyObject_CheckBuffer(object))
			PyErr_Format(
				PyExc_TypeError,
				"a message is bytes, another buffer or str, not %R; other values need the key format",
				(PyObject *)Py_TYPE(object));
		return 2;
	}
	rc = c->conn ? tn_reply(c->conn, msg, view.buf, (size_t)view.len) : TN_ESTATE;
	PyBuffer_Release(&view);
	return rc;
}

static int send_text(struct conn *c, PyObject *object, const struct tn_msg *msg)
{
	Py_ssize_t len;
	const char *text = PyUnicode_AsUTF8AndSize(object, &len);

	if (!text)
		return 2;
	if (msg)
		return tn_reply(c->conn, msg, text, (size_t)len);
	return tn_send_as(c->conn, TN_MSG_TEXT, text, (size_t)len);
}

static int send_plain(struct conn *c, PyObject *object, const struct tn_msg *msg)
{
	char *data;
	Py_ssize_t len;

	if (Py_TYPE(object) == &PyBytes_Type) {
		PyBytes_AsStringAndSize(object, &data, &len);
		return msg ? tn_reply(c->conn, msg, data, (size_t)len) : tn_send(c->conn, data, (size_t)len);
	}
	if (PyUnicode_Check(object))
		return send_text(c, object, msg);
	return send_buffer(c, object, msg);
}

int tnp_conn_send(struct conn *c, PyObject *object, const struct tn_msg *msg)
{
	if (Py_TYPE(object) == tnp_shared_type && !msg)
		return tn_send_shared(c->conn, tnp_shared_get(object));
	if (c->handler->form == FORM_AUTO && tn_conn_format(c->conn))
		return send_value(c, object, msg);
	return send_plain(c, object, msg);
}

/* ---- what the library calls ---- */

/* A callback has raised. */
static void failed(struct loop *l, PyObject *where, struct conn *c)
{
	struct tn_conn *conn = c ? c->conn : NULL;
	bool shared = c && c->handler->shared;

	tnp_loop_failed(l, where, c);
	if (conn && !shared)
		tn_abort(conn, -ECANCELED);
}

/* Calls fn(conn) or fn(conn, extra). */
static void callback(PyObject *fn, struct conn *c, PyObject *extra)
{
	struct loop *l = c->loop;
	PyObject *result;

	Py_INCREF(c);
	Py_INCREF(fn);
	result = PyObject_CallFunctionObjArgs(fn, (PyObject *)c, extra, NULL);
	if (!result)
		failed(l, fn, c);
	Py_XDECREF(result);
	Py_DECREF(fn);
	Py_DECREF(c);
}

static struct conn *begin(struct tn_conn *conn, struct handler *h)
{
	struct conn *c = tn_conn_data(conn);

	if (c) {
		tnp_hold(c->loop);
		return c;
	}
	c = tnp_conn_of(conn, h, tnp_enter());
	if (!c) {
		tnp_loop_failed(tnp_turning, Py_None, NULL);
		tn_abort(conn, -ENOMEM);
	}
	return c;
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct handler *h = arg;
	struct conn *c = begin(conn, h);

	if (c)
		callback(h->on_open, c, NULL);
}

/* What on_msg returns is the reply. */
static void reply(struct conn *c, const struct tn_msg *msg, PyObject *object, PyObject *result, PyObject *fn)
{
	int rc;

	if (!c->conn)
		return;
	/* the message itself, unchanged: it need not be copied */
	if (result == object && (c->handler->form != FORM_AUTO || !tn_conn_format(c->conn)))
		rc = tn_forward(c->conn, msg);
	else
		rc = tnp_conn_send(c, result, msg);
	if (rc >= 0 && rc < 2)
		return;
	if (rc < 0 && (rc == TN_ESTATE || c->handler->shared)) /* gone meanwhile, or a datagram lost */
		return;
	if (rc < 0)
		tnp_raise(rc);
	failed(c->loop, fn, c);
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct handler *h = arg;
	struct conn *c = begin(conn, h);
	PyObject *object, *result, *args[3];

	if (!c)
		return;
	Py_INCREF(c);
	object = tnp_message(c, msg);
	if (!object) {
		failed(c->loop, h->on_msg, c);
		Py_DECREF(c);
		return;
	}
	c->msg = msg;
	args[1] = (PyObject *)c;
	args[2] = object;
	result = PyObject_Vectorcall(h->on_msg, args + 1, 2 | TNP_SPARE_ARG, NULL);
	if (!result)
		failed(c->loop, h->on_msg, c);
	else if (result != Py_None)
		reply(c, msg, object, result, h->on_msg);
	c->msg = NULL;
	Py_XDECREF(result);
	Py_DECREF(object);
	Py_DECREF(c);
}

static void on_drain(struct tn_conn *conn, void *arg)
{
	struct handler *h = arg;
	struct conn *c = begin(conn, h);

	if (c)
		callback(h->on_drain, c, NULL);
}

static void on_end(struct tn_conn *conn, void *arg)
{
	struct handler *h = arg;
	struct conn *c = begin(conn, h);

	if (c)
		callback(h->on_end, c, NULL);
}

static void on_cut(struct tn_conn *conn, void *arg)
{
	struct handler *h = arg;
	struct conn *c = begin(conn, h);

	if (c)
		callback(h->on_cut, c, NULL);
}

static void on_bad(struct tn_conn *conn, const struct tn_msg *msg, int err, void *arg)
{
	struct handler *h = arg;
	struct conn *c = begin(conn, h);
	PyObject *error, *data, *result = NULL;

	if (!c)
		return;
	Py_INCREF(c);
	error = tnp_error_new(err, tn_errmsg(), tn_errpos());
	data = PyBytes_FromStringAndSize(msg->data, (Py_ssize_t)msg->len);
	c->msg = msg;
	if (error && data)
		result = PyObject_CallFunctionObjArgs(h->on_bad, (PyObject *)c, data, error, NULL);
	if (!result)
		failed(c->loop, h->on_bad, c);
	else if (result != Py_None)
		reply(c, msg, data, result, h->on_bad);
	c->msg = NULL;
	Py_XDECREF(error);
	Py_XDECREF(data);
	Py_XDECREF(result);
	Py_DECREF(c);
}

static PyObject *why(int err)
{
	PyObject *error;

	if (err == 0) {
		Py_INCREF(Py_None);
		return Py_None;
	}
	error = tnp_error_new(err, tn_errmsg(), -1);
	if (!error) {
		PyErr_Clear();
		Py_INCREF(Py_None);
		return Py_None;
	}
	return error;
}

/* Also where the program knows nothing of the connection yet: then nobody needs to hear of its end. */
static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct handler *h = arg;
	bool served = tn_conn_server(conn) != NULL;
	struct conn *c;
	struct loop *l;

	if (h->face == FACE_CALLBACK && served && !h->on_close && !tn_conn_data(conn))
		return;
	l = tnp_enter();
	c = tn_conn_data(conn);
	if (!c)
		tnp_loop_closed(l, conn);
	if (!c && h->face == FACE_CALLBACK && h->on_close)
		c = tnp_conn_of(conn, h, l);
	if (c) {
		c->error = why(err);
		if (h->face == FACE_STREAM) {
			Py_INCREF(c);
			c->conn = NULL;
			tnp_stream_ended(c);
			tnp_stream_changed(c);
		} else if (h->on_close) {
			callback(h->on_close, c, c->error);
		}
		c->conn = NULL;
		Py_DECREF(c); /* of the face with callbacks: the library's */
	} else {
		PyErr_Clear();
	}
	if (!served)
		tnp_handler_unref(h);
}

/* ---- the same for streams ---- */

/* A new reference: while its message is made, the collector may come. NULL: let go, by another thread perhaps. */
static struct conn *stream_of(struct tn_conn *conn)
{
	struct conn *c;

	tnp_enter(); /* first: who lets it go has the GIL */
	c = tn_conn_data(conn);
	if (c)
		Py_INCREF(c);
	else
		tn_close(conn);
	return c;
}

static void stream_open(struct tn_conn *conn, void *arg)
{
	struct handler *h = arg;
	struct loop *l = tnp_enter();
	struct conn *c = tn_conn_data(conn);

	if (!c && !tn_conn_server(conn)) {
		tn_close(conn); /* dialled, and let go before it was open */
		return;
	}
	if (c) {
		Py_INCREF(c);
		c->stream->opened = true;
		tnp_stream_changed(c);
		Py_DECREF(c);
		return;
	}
	c = conn_new(conn, h, l);
	if (!c) {
		tnp_loop_failed(l, Py_None, NULL);
		tn_abort(conn, -ENOMEM);
		return;
	}
	c->stream->opened = true;
	tn_conn_set_data(conn, c);
	tnp_server_opened(h, c); /* which has the reference now */
}

static void stream_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct conn *c = stream_of(conn);
	PyObject *object, *peer = NULL;

	(void)arg;
	if (!c)
		return;
	object = tnp_message(c, msg);
	if (object && msg->peer)
		peer = peer_new(msg->peer);
	if (!object || (msg->peer && !peer)) {
		Py_XDECREF(object);
		tnp_loop_failed(c->loop, (PyObject *)c, c);
		tn_abort(conn, -ENOMEM);
	} else {
		tnp_stream_push(c, object, msg->len, peer);
	}
	Py_DECREF(c);
}

static void stream_drain(struct tn_conn *conn, void *arg)
{
	struct conn *c = stream_of(conn);

	(void)arg;
	if (c)
		tnp_stream_changed(c);
	Py_XDECREF(c);
}

static PyObject *loss_of(const struct tn_loss *loss)
{
	return Py_BuildValue("{sNsIsKsKsd}", "was_open", PyBool_FromLong(loss->was_open), "failed", loss->failed,
			     "messages", (unsigned long long)loss->msgs, "unsent", (unsigned long long)loss->unsent,
			     "again", (double)loss->again_ns / 1e9);
}

/* The connection is dialled again: it stays the same one. */
static void on_lost(struct tn_conn *conn, int err, const struct tn_loss *loss, void *arg)
{
	struct handler *h = arg;
	struct conn *c = begin(conn, h);
	PyObject *error, *told, *result = NULL;

	if (!c)
		return;
	Py_INCREF(c);
	error = why(err);
	told = loss_of(loss);
	if (told)
		result = PyObject_CallFunctionObjArgs(h->on_lost, (PyObject *)c, error, told, NULL);
	if (!result)
		failed(c->loop, h->on_lost, c);
	Py_DECREF(error);
	Py_XDECREF(told);
	Py_XDECREF(result);
	Py_DECREF(c);
}

/* Behind what has come until then. Attempts that fail are nobody's matter. */
static void stream_lost(struct tn_conn *conn, int err, const struct tn_loss *loss, void *arg)
{
	struct conn *c = stream_of(conn);
	PyObject *reason, *told, *error;

	(void)arg;
	if (!c || (!loss->was_open && !loss->msgs)) {
		Py_XDECREF(c);
		return;
	}
	reason = why(err);
	told = loss_of(loss);
	error = told ? tnp_error_lost(reason, told) : NULL;
	Py_DECREF(reason);
	Py_XDECREF(told);
	if (error && tnp_stream_lost(c, error, loss->was_open) < 0)
		Py_CLEAR(error);
	if (!error) {
		tnp_loop_failed(c->loop, (PyObject *)c, c);
		tn_abort(conn, -ENOMEM);
	}
	Py_XDECREF(error);
	Py_DECREF(c);
}

static void stream_end(struct tn_conn *conn, void *arg)
{
	struct conn *c = stream_of(conn);

	(void)arg;
	if (!c)
		return;
	c->stream->ended = true;
	tnp_stream_ended(c);
	Py_DECREF(c);
}

void tnp_handler_fill(const struct handler *h, struct tn_handler *out)
{
	if (h->face == FACE_STREAM) {
		*out = (struct tn_handler){.on_open = stream_open,
					   .on_msg = stream_msg,
					   .on_drain = stream_drain,
					   .on_end = stream_end,
					   .on_close = on_close};
		return;
	}
	*out = (struct tn_handler){
		.on_open = h->on_open ? on_open : NULL,
		.on_msg = h->on_msg ? on_msg : NULL,
		.on_drain = h->on_drain ? on_drain : NULL,
		.on_end = h->on_end ? on_end : NULL,
		.on_close = on_close,
		.on_bad = h->on_bad ? on_bad : NULL,
		.on_cut = h->on_cut ? on_cut : NULL,
		.on_lost = h->on_lost ? on_lost : NULL,
	};
}

/* ---- dialling ---- */

int tnp_form(const char *word, enum form *form)
{
	*form = FORM_AUTO;
	if (!word || !strcmp(word, "auto"))
		return 0;
	*form = !strcmp(word, "view") ? FORM_VIEW : FORM_BYTES;
	if (*form == FORM_VIEW || !strcmp(word, "bytes"))
		return 0;
	PyErr_Format(PyExc_ValueError, "messages is 'auto', 'bytes' or 'view', not '%s'", word);
	return -1;
}

PyObject *tnp_conn_dial(PyObject *self, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"url",    "on_msg",  "on_open",  "on_drain", "on_end", "on_close", "on_bad",
				"on_cut", "on_lost", "messages", "loop",     "_type",  NULL};
	PyObject *cb[CALLBACKS] = {NULL}, *type = (PyObject *)tnp_conn_type;
	struct loop *l = NULL;
	struct handler *h = NULL;
	struct tn_handler handler;
	struct tn_conn *conn;
	struct conn *c = NULL;
	const char *url, *word = NULL;
	enum form form;
	bool stream;
	int rc;

	(void)self;
	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s|O$OOOOOOOzO!O!:dial", names, &url, &cb[1], &cb[0], &cb[2],
					 &cb[3], &cb[4], &cb[5], &cb[6], &cb[7], &word, tnp_loop_type, &l, &PyType_Type,
					 &type) ||
	    tnp_form(word, &form) < 0)
		return NULL;
	if (!l)
		l = tnp_loop_default();
	else
		Py_INCREF(l);
	if (!l || !tnp_loop_ok(l))
		goto out;
	stream = PyType_IsSubtype((PyTypeObject *)type, tnp_stream_type);
	h = tnp_handler_new(cb, type, form, stream ? FACE_STREAM : FACE_CALLBACK);
	c = h ? conn_new(NULL, h, l) : NULL;
	if (!c)
		goto out;
	tnp_handler_fill(h, &handler);
	if (stream && tn_url_has_key(url, "reconnect") == 1) {
		handler.on_lost = stream_lost;
		handler.on_end = NULL; /* an end is a loss like any other */
	}
	h->refs++; /* the library's, until on_close */
	rc = tn_dial(l->loop, url, &handler, h, &conn);
	if (rc < 0) {
		h->refs--;
		Py_CLEAR(c);
		tnp_raise(rc);
		goto out;
	}
	c->conn = conn;
	tn_conn_set_data(conn, c);
	if (!stream)
		Py_INCREF(c); /* the library's, until on_close */
	tnp_loop_kicked(l);
out:
	tnp_handler_unref(h);
	Py_XDECREF(l);
	return (PyObject *)c;
}

/* ---- methods ---- */

static PyObject *sent(struct conn *c, int rc)
{
	if (rc == 2)
		return NULL;
	if (rc < 0)
		return tnp_raise(rc);
	tnp_loop_kicked(c->loop);
	return PyBool_FromLong(rc == 0);
}

/* The message that `to` stands for; NULL: none. */
static int message_to(PyObject *to, struct tn_msg *msg, const struct tn_msg **out)
{
	*out = NULL;
	if (!to || to == Py_None)
		return 0;
	if (Py_TYPE(to) != tnp_peer_type)
		return PyErr_Format(PyExc_TypeError, "`to` is what Conn.sender gives, not %R", to), -1;
	*msg = (struct tn_msg){.peer = &((struct peer *)to)->addr};
	*out = msg;
	return 0;
}

static PyObject *conn_send(struct conn *c, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
	const struct tn_msg *msg;
	struct tn_msg made;

	if (nargs < 1 || nargs + (names ? PyTuple_Size(names) : 0) > 2 ||
	    (names && PyTuple_Size(names) && PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), "to") != 0))
		return PyErr_Format(PyExc_TypeError, "send() takes a message and `to`");
	if (message_to(nargs + (names ? PyTuple_Size(names) : 0) == 2 ? args[1] : NULL, &made, &msg) < 0 ||
	    !tnp_conn_ok(c))
		return NULL;
	return sent(c, tnp_conn_send(c, args[0], msg));
}

static PyObject *conn_send_bytes(struct conn *c, PyObject *object)
{
	return tnp_conn_ok(c) ? sent(c, send_plain(c, object, NULL)) : NULL;
}

static PyObject *conn_reply(struct conn *c, PyObject *object)
{
	struct tn_msg made;
	const struct tn_msg *msg = c->msg;

	if (!tnp_conn_ok(c))
		return NULL;
	if (!msg && c->stream && c->stream->sender) {
		made = (struct tn_msg){.peer = &((struct peer *)c->stream->sender)->addr};
		msg = &made;
	}
	return sent(c, tnp_conn_send(c, object, msg));
}

static PyObject *done(struct conn *c, int rc)
{
	if (rc < 0)
		return tnp_raise(rc);
	tnp_loop_kicked(c->loop);
	Py_RETURN_NONE;
}

static PyObject *conn_finish(struct conn *c, PyObject *unused)
{
	(void)unused;
	return tnp_conn_ok(c) ? done(c, tn_finish(c->conn)) : NULL;
}

static PyObject *conn_flush(struct conn *c, PyObject *unused)
{
	int rc;

	(void)unused;
	if (!tnp_conn_ok(c))
		return NULL;
	rc = tn_flush(c->conn);
	if (rc < 0)
		return tnp_raise(rc);
	tnp_loop_kicked(c->loop);
	return PyBool_FromLong(rc == 0);
}

static PyObject *conn_close(struct conn *c, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"code", "reason", NULL};
	const char *reason = NULL;
	int code = 0, rc;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|iz:close", names, &code, &reason))
		return NULL;
	if (!c->conn)
		Py_RETURN_NONE;
	if (!tnp_loop_ok(c->loop))
		return NULL;
	if (!code && !reason) {
		tn_close(c->conn);
		return done(c, 0);
	}
	rc = tn_close_with(c->conn, code ? code : 1000, reason);
	return done(c, rc);
}

static PyObject *conn_abort(struct conn *c, PyObject *args)
{
	PyObject *error = NULL;

	if (!PyArg_ParseTuple(args, "|O:abort", &error))
		return NULL;
	if (!c->conn)
		Py_RETURN_NONE;
	if (!tnp_loop_ok(c->loop))
		return NULL;
	tn_abort(c->conn, error && error != Py_None ? tnp_error_code(error) : -ECANCELED);
	return done(c, 0);
}

#define SIMPLE(name)                                                   \
	static PyObject *conn_##name(struct conn *c, PyObject *unused) \
	{                                                              \
		(void)unused;                                          \
		if (!tnp_conn_ok(c))                                   \
			return NULL;                                   \
		tn_##name(c->conn);                                    \
		return done(c, 0);                                     \
	}
SIMPLE(pause)
SIMPLE(resume)
#undef SIMPLE

static PyObject *conn_tls_later(struct conn *c, PyObject *unused)
{
	int rc;

	(void)unused;
	if (!tnp_conn_ok(c))
		return NULL;
	rc = tn_tls_later(c->conn);
	if (rc < 0)
		return tnp_raise(rc);
	Py_RETURN_NONE;
}

static PyObject *conn_start_tls(struct conn *c, PyObject *unused)
{
	int rc;

	(void)unused;
	if (!tnp_conn_ok(c))
		return NULL;
	rc = tn_start_tls(c->conn);
	if (rc < 0)
		return tnp_raise(rc);
	Py_RETURN_NONE;
}

static PyObject *conn_hold(struct conn *c, PyObject *unused)
{
	(void)unused;
	if (!tnp_conn_ok(c))
		return NULL;
	tn_conn_hold(c->conn);
	Py_RETURN_NONE;
}

/* A reply may be ready when nobody is there any more: that is no mistake. */
static PyObject *conn_release(struct conn *c, PyObject *unused)
{
	(void)unused;
	if (!c->conn)
		Py_RETURN_NONE;
	if (!tnp_loop_ok(c->loop))
		return NULL;
	tn_conn_release(c->conn);
	return done(c, 0);
}

static PyObject *conn_join(struct conn *c, PyObject *other)
{
	struct conn *d = (struct conn *)other;

	if (!PyObject_TypeCheck(other, tnp_conn_type))
		return PyErr_Format(PyExc_TypeError, "join() takes a connection, not %R", other);
	return tnp_conn_ok(c) && tnp_conn_ok(d) ? done(c, tn_join(c->conn, d->conn)) : NULL;
}

static PyObject *conn_handle(struct conn *c, PyObject *unused)
{
	(void)unused;
	return tnp_conn_ok(c) ? tnp_handle_new(c) : NULL;
}

static PyObject *conn_fade(struct conn *c, PyObject *unused)
{
	(void)unused;
	if (!tnp_conn_ok(c))
		return NULL;
	if (tn_conn_fade(c->conn) < 0)
		return tnp_raise_words(-EOPNOTSUPP, "fade() is for UDP servers whose socket is not connected");
	Py_RETURN_NONE;
}

static PyObject *conn_keep_loop(struct conn *c, PyObject *keep)
{
	int wanted = PyObject_IsTrue(keep);

	if (wanted < 0 || !tnp_conn_ok(c))
		return NULL;
	tn_conn_keep_loop(c->conn, wanted);
	return done(c, 0);
}

/* Of when_sent(). */
static void was_sent(struct tn_conn *conn, int err, void *arg)
{
	PyObject *fn = arg, *error, *result = NULL;
	struct loop *l = tnp_enter();
	struct conn *c = tn_conn_data(conn);

	error = why(err);
	if (c) {
		Py_INCREF(c);
		result = PyObject_CallFunctionObjArgs(fn, (PyObject *)c, error, NULL);
		if (!result)
			failed(l, fn, c);
		Py_DECREF(c);
	}
	Py_XDECREF(result);
	Py_DECREF(error);
	Py_DECREF(fn);
}

static PyObject *conn_when_sent(struct conn *c, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"fn", "acknowledged", NULL};
	PyObject *fn;
	int acknowledged = 0, rc;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$p:when_sent", names, &fn, &acknowledged) || !tnp_conn_ok(c))
		return NULL;
	if (!PyCallable_Check(fn))
		return PyErr_Format(PyExc_TypeError, "a function is wanted, not %R", fn);
	Py_INCREF(fn);
	rc = tn_when_sent(c->conn, acknowledged ? TN_SENT_ACKNOWLEDGED : TN_SENT_TAKEN, was_sent, fn);
	if (rc < 0)
		Py_DECREF(fn);
	return done(c, rc);
}

static PyObject *conn_option(struct conn *c, PyObject *args)
{
	char value[512];
	const char *key;
	int rc;

	if (!PyArg_ParseTuple(args, "s:option", &key) || !tnp_conn_ok(c))
		return NULL;
	rc = tn_conn_option(c->conn, key, value, sizeof(value));
	return rc < 0 ? tnp_raise(rc) : tnp_text(value);
}

static PyObject *conn_certificate(struct conn *c, PyObject *args)
{
	unsigned char *der;
	PyObject *bytes;
	size_t len;
	int index = 0, rc;

	if (!PyArg_ParseTuple(args, "|i:certificate", &index) || !tnp_conn_ok(c))
		return NULL;
	rc = tn_conn_peer_cert(c->conn, index, &der, &len);
	if (rc == -ENOENT || rc == -EOPNOTSUPP)
		Py_RETURN_NONE;
	if (rc < 0)
		return tnp_raise(rc);
	bytes = PyBytes_FromStringAndSize((char *)der, (Py_ssize_t)len);
	free(der);
	return bytes;
}

#define FACTS(name)                                                    \
	static PyObject *conn_##name(struct conn *c, PyObject *unused) \
	{                                                              \
		(void)unused;                                          \
		return tnp_conn_ok(c) ? tnp_##name(c->conn) : NULL;    \
	}
FACTS(info)
FACTS(security)
FACTS(websocket)
#undef FACTS

static PyObject *get_id(struct conn *c, void *unused)
{
	(void)unused;
	return tnp_conn_ok(c) ? PyLong_FromUnsignedLongLong(tn_conn_id(c->conn)) : NULL;
}

static PyObject *get_queued(struct conn *c, void *unused)
{
	(void)unused;
	if (!c->conn)
		return PyLong_FromLong(0);
	return tnp_loop_ok(c->loop) ? PyLong_FromSize_t(tn_conn_queued(c->conn)) : NULL;
}

static PyObject *get_format(struct conn *c, void *unused)
{
	const char *format;

	(void)unused;
	if (!tnp_conn_ok(c))
		return NULL;
	format = tn_conn_format(c->conn);
	if (!format)
		Py_RETURN_NONE;
	return PyUnicode_FromString(format);
}

static PyObject *get_url(struct conn *c, bool peer)
{
	struct tn_conn_info info;

	if (!tnp_conn_ok(c))
		return NULL;
	tn_conn_info(c->conn, &info);
	return tnp_text(peer ? info.peer : info.local);
}

static PyObject *get_peer(struct conn *c, void *unused)
{
	(void)unused;
	return get_url(c, true);
}

static PyObject *get_local(struct conn *c, void *unused)
{
	(void)unused;
	return get_url(c, false);
}

static PyObject *get_sender(struct conn *c, void *unused)
{
	PyObject *sender = c->stream ? c->stream->sender : NULL;

	(void)unused;
	if (c->msg && c->msg->peer)
		return peer_new(c->msg->peer);
	sender = sender ? sender : Py_None;
	Py_INCREF(sender);
	return sender;
}

static PyObject *get_closed(struct conn *c, void *unused)
{
	(void)unused;
	return PyBool_FromLong(!c->conn);
}

static PyObject *get_loop(struct conn *c, void *unused)
{
	(void)unused;
	Py_INCREF(c->loop);
	return (PyObject *)c->loop;
}

static PyObject *get_server(struct conn *c, void *unused)
{
	PyObject *server = c->handler->server ? (PyObject *)c->handler->server : Py_None;

	(void)unused;
	Py_INCREF(server);
	return server;
}

static PyObject *conn_repr(struct conn *c)
{
	struct tn_conn_info info;

	if (!c->conn || !c->loop->loop || (c->loop->thread && c->loop->thread != &tnp_here))
		return PyUnicode_FromFormat("<%s%s>", "tenon connection", c->conn ? "" : ", closed");
	tn_conn_info(c->conn, &info);
	return PyUnicode_FromFormat("<tenon connection %llu, %s to %s>", (unsigned long long)tn_conn_id(c->conn),
				    info.local, info.peer[0] ? info.peer : "many");
}

static PyMethodDef conn_methods[] = {
	{"send", (PyCFunction)(void (*)(void))conn_send, METH_FASTCALL | METH_KEYWORDS,
	 "send(message, to=None)\n--\n\nQueues a message, which leaves at the end of the loop's turn: bytes or "
	 "another "
	 "buffer, str (as UTF-8), or, where the URL has a format, any of its values. `to`: on a datagram server, the "
	 "sender of an earlier message.\n\nReturns True, or False: the queue is at its mark (key queue), better wait "
	 "for on_drain. Raises FullError (not queued: wait for on_drain), TooBigError, FormatError, StateError "
	 "(closing), TypeError."},
	{"send_bytes", (PyCFunction)conn_send_bytes, METH_O,
	 "send_bytes(message)\n--\n\nThe same with bytes, a buffer or str as it is, whatever the URL's format."},
	{"reply", (PyCFunction)conn_reply, METH_O,
	 "reply(message)\n--\n\nAnswers the message that on_msg or on_bad is being called with: on a datagram server "
	 "its sender. As send()."},
	{"finish", (PyCFunction)conn_finish, METH_NOARGS,
	 "finish()\n--\n\nEnds our direction once all that is queued has been sent; the peer's goes on."},
	{"flush", (PyCFunction)conn_flush, METH_NOARGS,
	 "flush()\n--\n\nGives what is queued to the kernel now. Returns True: nothing is queued any more."},
	{"close", (PyCFunction)(void (*)(void))conn_close, METH_VARARGS | METH_KEYWORDS,
	 "close(code=0, reason=None)\n--\n\nCloses in good order: sends what is queued, ends our direction, closes; "
	 "on_close follows. `code` and `reason`: what the Close of WebSocket says (RFC 6455 7.4)."},
	{"abort", (PyCFunction)conn_abort, METH_VARARGS,
	 "abort(error=None)\n--\n\nCloses at once and drops what is queued; a TCP peer is sent a reset. on_close "
	 "gets an error with the code of `error`."},
	{"pause", (PyCFunction)conn_pause, METH_NOARGS, "pause()\n--\n\nStops reading: the peer is held back."},
	{"resume", (PyCFunction)conn_resume, METH_NOARGS, "resume()\n--\n\nReads again."},
	{"hold", (PyCFunction)conn_hold, METH_NOARGS,
	 "hold()\n--\n\nSays that a reply is still owed: the connection is not closed by its peer's end, nor taken "
	 "for quiet by a server that drains. Each wants one release()."},
	{"release", (PyCFunction)conn_release, METH_NOARGS,
	 "release()\n--\n\nThe reply that was owed has been sent. Does nothing once the connection is closed."},
	{"join", (PyCFunction)conn_join, METH_O,
	 "join(other)\n--\n\nMakes one path of two connections of one loop: what comes from each goes out on the "
	 "other, with back-pressure, ends and errors (tn_join in tenon.h). Raises Error."},
	{"flow", (PyCFunction)(void (*)(void))tnp_conn_flow, METH_VARARGS | METH_KEYWORDS,
	 "flow(to, fn=None, *, on_end=None, on_cut=None)\n--\n\nOne direction of join() alone: what comes from this "
	 "connection goes out on `to`, no faster than that takes it. fn(conn, message, to): what it returns is "
	 "passed on in "
	 "its place, None: nothing. on_end(conn, to): the peer has ended its direction; without it to.finish(). "
	 "on_cut(conn, to): the same without a close_notify; without it an error, which is passed on. on_msg, "
	 "on_end, on_cut "
	 "and on_drain of the connection are called no more. What fn raises ends both connections. tn_flow in "
	 "tenon.h. Raises "
	 "Error: bytes with messages and no fn, one is joined already, another loop; StateError: one is closing."},
	{"handle", (PyCFunction)conn_handle, METH_NOARGS,
	 "handle()\n--\n\nA Handle, which stands for the connection in other threads. Raises StateError."},
	{"fade", (PyCFunction)conn_fade, METH_NOARGS,
	 "fade()\n--\n\nOn a UDP server: each reply leaves with one hop less to go than what it answers came with, "
	 "so that "
	 "two servers that answer each other come to an end. Raises Error: no UDP server."},
	{"keep_loop", (PyCFunction)conn_keep_loop, METH_O,
	 "keep_loop(keep, /)\n--\n\nWhether run() goes on for the sake of this connection; it does at first."},
	{"when_sent", (PyCFunction)(void (*)(void))conn_when_sent, METH_VARARGS | METH_KEYWORDS,
	 "when_sent(fn, *, acknowledged=False)\n--\n\nCalls fn(conn, error or None) once all that is queued now has "
	 "been taken by the kernel or, acknowledged=True, acknowledged by the peer's kernel (Unix sockets: read by "
	 "the peer)."},
	{"option", (PyCFunction)conn_option, METH_VARARGS,
	 "option(key)\n--\n\nThe value in force of a key of the URL, as it would stand there: option('nodelay') is "
	 "'on'."},
	{"certificate", (PyCFunction)conn_certificate, METH_VARARGS,
	 "certificate(index=0)\n--\n\nA certificate that the peer has shown, verified or not, as DER; None: there is "
	 "none. 0 is its own, those behind are whom it names as vouching for it."},
	{"info", (PyCFunction)conn_info, METH_NOARGS,
	 "info()\n--\n\nCounters and times as a dict: bytes_in, bytes_out, msgs_in, msgs_out, lost, dropped, opened, "
	 "stalled, lookup, connected (seconds), many, fd, local, peer."},
	{"security", (PyCFunction)conn_security, METH_NOARGS,
	 "security()\n--\n\nWhat a secured connection has agreed upon, as a dict (protocol, cipher, alpn, "
	 "server_name, "
	 "identity, resumed); None: it is not secured."},
	{"tls_later", (PyCFunction)conn_tls_later, METH_NOARGS,
	 "tls_later()\n--\n\nRight behind dial() of tls://: it begins without TLS, until start_tls(). Raises Error."},
	{"start_tls", (PyCFunction)conn_start_tls, METH_NOARGS,
	 "start_tls()\n--\n\nBegins TLS in the middle, from the handler of the message that asks for it: what was sent "
	 "before goes as it is, the rest waits for the handshake (tn_start_tls in tenon.h). Raises Error."},
	{"websocket", (PyCFunction)conn_websocket, METH_NOARGS,
	 "websocket()\n--\n\nWhat is known of a WebSocket, as a dict (subprotocol, target, deflate, peer_code, "
	 "peer_reason, our_code, round in seconds); None: it is none."},
	{NULL, NULL, 0, NULL},
};

static PyGetSetDef conn_getset[] = {
	{"id", (getter)get_id, NULL, "Its number, from 1, unique in the process.", NULL},
	{"queued", (getter)get_queued, NULL, "Bytes queued and not yet taken by the kernel.", NULL},
	{"format", (getter)get_format, NULL, "The format of its URL, or None.", NULL},
	{"peer", (getter)get_peer, NULL, "The other end as a URL; '' for a datagram server.", NULL},
	{"local", (getter)get_local, NULL, "Our end as a URL.", NULL},
	{"sender", (getter)get_sender, NULL,
	 "Where datagrams come from many: the Peer that sent this message (in on_msg), or the one taken last.", NULL},
	{"closed", (getter)get_closed, NULL, "Whether it has ended.", NULL},
	{"loop", (getter)get_loop, NULL, "The loop it lives on.", NULL},
	{"server", (getter)get_server, NULL, "The server that accepted it, or None.", NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef conn_members[] = {
	{"__weaklistoffset__", T_PYSSIZET, offsetof(struct conn, weak), READONLY, NULL},
	{"data", T_OBJECT, offsetof(struct conn, data), 0, "An object of yours, None at first."},
	{"error", T_OBJECT, offsetof(struct conn, error), READONLY,
	 "Why it has ended; None: it has not, or in good order."},
	{NULL, 0, 0, 0, NULL},
};

static PyType_Slot conn_slots[] = {
	{Py_tp_doc, (void *)"A connection. Made by dial(), or by a server, whose callbacks get it."},
	{Py_tp_dealloc, conn_dealloc},
	{Py_tp_traverse, conn_traverse},
	{Py_tp_clear, conn_clear},
	{Py_tp_repr, conn_repr},
	{Py_tp_methods, conn_methods},
	{Py_tp_getset, conn_getset},
	{Py_tp_members, conn_members},
	{0, NULL},
};

static PyType_Spec conn_spec = {"tenon.Conn", sizeof(struct conn), 0,
				Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
					Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
				conn_slots};

int tnp_conn_init(PyObject *module)
{
	tnp_peer_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &peer_spec, NULL);
	tnp_conn_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &conn_spec, NULL);
	if (!tnp_peer_type || !tnp_conn_type)
		return -1;
	return PyModule_AddType(module, tnp_peer_type) < 0 ? -1 : PyModule_AddType(module, tnp_conn_type);
}
