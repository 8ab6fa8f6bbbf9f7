/* Conn.flow(): a path of one direction, with functions of the program's. */
#include "core.h"

#include <errno.h>

struct flow {
	PyObject *fn, *on_end, *on_cut;
};

void tnp_flow_free(struct flow *f)
{
	if (!f)
		return;
	Py_XDECREF(f->fn);
	Py_XDECREF(f->on_end);
	Py_XDECREF(f->on_cut);
	PyMem_Free(f);
}

int tnp_flow_visit(const struct flow *f, visitproc visit, void *arg)
{
	Py_VISIT(f->fn);
	Py_VISIT(f->on_end);
	Py_VISIT(f->on_cut);
	return 0;
}

/* Sends what fn has made of a message. As tn_send(). */
static int pass_on(struct conn *from, const struct tn_msg *msg, struct conn *to, PyObject *object, PyObject *result,
		   PyObject *fn)
{
	int rc;

	if (result == Py_None || !to->conn || !from->conn)
		return 0;
	if (result == object && !tn_conn_format(from->conn))
		rc = tn_forward(to->conn, msg);
	else
		rc = tnp_conn_send(to, result, NULL);
	if (rc != 2)
		return rc;
	tnp_loop_failed(from->loop, fn, from);
	return -ECANCELED;
}

static int on_msg(struct tn_conn *a, const struct tn_msg *msg, struct tn_conn *b, void *arg)
{
	struct conn *from = tn_conn_data(a), *to = tn_conn_data(b);
	struct loop *l = tnp_enter();
	struct flow *f = arg;
	PyObject *object, *result = NULL;
	int rc = -ECANCELED;

	if (!from || !to)
		return TN_ESTATE;
	Py_INCREF(from);
	Py_INCREF(to);
	object = tnp_message(from, msg);
	if (object)
		result = PyObject_CallFunctionObjArgs(f->fn, (PyObject *)from, object, (PyObject *)to, NULL);
	if (result)
		rc = pass_on(from, msg, to, object, result, f->fn);
	else
		tnp_loop_failed(l, f->fn, from);
	Py_XDECREF(result);
	Py_XDECREF(object);
	Py_DECREF(to);
	Py_DECREF(from);
	return rc;
}

static void tell(PyObject *fn, struct tn_conn *a, struct tn_conn *b)
{
	struct conn *from = tn_conn_data(a), *to = tn_conn_data(b);
	struct loop *l = tnp_enter();
	PyObject *result;

	if (!from || !to)
		return;
	Py_INCREF(from);
	Py_INCREF(to);
	result = PyObject_CallFunctionObjArgs(fn, (PyObject *)from, (PyObject *)to, NULL);
	if (!result) {
		tnp_loop_failed(l, fn, from);
		if (from->conn)
			tn_abort(from->conn, -ECANCELED);
	}
	Py_XDECREF(result);
	Py_DECREF(to);
	Py_DECREF(from);
}

static void on_end(struct tn_conn *from, struct tn_conn *to, void *arg)
{
	tell(((struct flow *)arg)->on_end, from, to);
}

static void on_cut(struct tn_conn *from, struct tn_conn *to, void *arg)
{
	tell(((struct flow *)arg)->on_cut, from, to);
}

static int take(PyObject **field, PyObject *fn)
{
	if (!fn || fn == Py_None)
		return 0;
	if (!PyCallable_Check(fn)) {
		PyErr_Format(PyExc_TypeError, "a function is wanted, not %R", fn);
		return -1;
	}
	Py_INCREF(fn);
	*field = fn;
	return 0;
}

PyObject *tnp_conn_flow(struct conn *c, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"to", "fn", "on_end", "on_cut", NULL};
	PyObject *other, *fn = NULL, *end = NULL, *cut = NULL;
	struct tn_pass pass = {0};
	struct flow *f;
	struct conn *to;
	int rc;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$OO:flow", names, &other, &fn, &end, &cut))
		return NULL;
	if (!PyObject_TypeCheck(other, tnp_conn_type))
		return PyErr_Format(PyExc_TypeError, "flow() takes a connection, not %R", other);
	to = (struct conn *)other;
	if (!tnp_conn_ok(c) || !tnp_conn_ok(to))
		return NULL;
	if (c->stream || to->stream)
		return tnp_raise_words(TN_ESTATE, "flow() is for connections with callbacks: serve() and dial()");
	if (c->flow)
		return tnp_raise_words(-EBUSY, "the connection has a flow already");
	f = PyMem_Calloc(1, sizeof(*f));
	if (!f)
		return PyErr_NoMemory();
	if (take(&f->fn, fn) < 0 || take(&f->on_end, end) < 0 || take(&f->on_cut, cut) < 0) {
		tnp_flow_free(f);
		return NULL;
	}
	pass.msg = f->fn ? on_msg : NULL;
	pass.end = f->on_end ? on_end : NULL;
	pass.cut = f->on_cut ? on_cut : NULL;
	rc = tn_flow(c->conn, to->conn, &pass, f);
	if (rc < 0) {
		tnp_flow_free(f);
		return tnp_raise(rc);
	}
	c->flow = f;
	tnp_loop_kicked(c->loop);
	Py_RETURN_NONE;
}
