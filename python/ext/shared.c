/* Shared: a message that is made once, sent to many, and read in place. */
#include "core.h"

PyTypeObject *tnp_shared_type;

struct shared {
	PyObject_HEAD struct tn_shared *shared;
};

static PyObject *wrap(struct tn_shared *shared)
{
	struct shared *s =
		(struct shared *)((allocfunc)PyType_GetSlot(tnp_shared_type, Py_tp_alloc))(tnp_shared_type, 0);

	if (s)
		s->shared = shared;
	else
		tn_shared_unref(shared);
	return (PyObject *)s;
}

struct tn_shared *tnp_shared_get(PyObject *object)
{
	return ((struct shared *)object)->shared;
}

PyObject *tnp_shared_view(const struct tn_msg *msg)
{
	struct tn_shared *shared;
	int rc = tn_shared_from(msg, &shared);
	PyObject *s, *view;

	if (rc < 0)
		return tnp_raise(rc);
	s = wrap(shared);
	view = s ? PyMemoryView_FromObject(s) : NULL;
	Py_XDECREF(s);
	return view;
}

static PyObject *of_value(const char *format, PyObject *object)
{
	struct tn_value *value = tnp_value_make(format, object);
	struct tn_shared *shared;
	int rc;

	if (!value)
		return NULL;
	rc = tn_shared_value(format, value, 0, &shared);
	tn_value_free(value);
	return rc < 0 ? tnp_raise(rc) : wrap(shared);
}

static PyObject *shared_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"message", "format", NULL};
	struct tn_shared *shared;
	const char *format = NULL;
	PyObject *object;
	Py_buffer data;
	int rc;

	(void)type;
	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|z:Shared", names, &object, &format))
		return NULL;
	if (format)
		return of_value(format, object);
	if (!PyArg_Parse(object, "s*", &data))
		return NULL;
	rc = tn_shared_new(data.buf, (size_t)data.len, PyUnicode_Check(object) ? TN_MSG_TEXT : TN_MSG_ANY, &shared);
	PyBuffer_Release(&data);
	return rc < 0 ? tnp_raise(rc) : wrap(shared);
}

static void shared_dealloc(struct shared *s)
{
	PyTypeObject *type = Py_TYPE(s);

	tn_shared_unref(s->shared);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(s);
	Py_DECREF(type);
}

static int shared_buffer(struct shared *s, Py_buffer *view, int flags)
{
	size_t len;
	const void *data = tn_shared_data(s->shared, &len);

	return PyBuffer_FillInfo(view, (PyObject *)s, (void *)data, (Py_ssize_t)len, 1, flags);
}

static Py_ssize_t shared_length(struct shared *s)
{
	size_t len;

	tn_shared_data(s->shared, &len);
	return (Py_ssize_t)len;
}

static PyType_Slot shared_slots[] = {
	{Py_tp_doc, (void *)"Shared(message, format=None)\n--\n\nA message that is made once and sent to any number of "
			    "connections, of any loop: Conn.send(), Server.publish(). With a format: of a value. A "
			    "buffer, which memoryview() reads in place."},
	{Py_tp_new, shared_new},
	{Py_tp_dealloc, shared_dealloc},
	{Py_bf_getbuffer, shared_buffer},
	{Py_sq_length, shared_length},
	{0, NULL},
};

static PyType_Spec shared_spec = {"tenon.Shared", sizeof(struct shared), 0,
				  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, shared_slots};

int tnp_shared_init(PyObject *module)
{
	tnp_shared_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &shared_spec, NULL);
	return tnp_shared_type ? PyModule_AddType(module, tnp_shared_type) : -1;
}
