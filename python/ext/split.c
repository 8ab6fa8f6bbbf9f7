/* Split: messages out of bytes from anywhere, by the keys of a URL. */
#include "core.h"

#include <errno.h>

static PyTypeObject *split_type;

struct split {
	PyObject_HEAD struct tn_split *split;
	struct tn_value *tree; /* what was read last: its memory is used again */
};

static PyObject *wrap(PyTypeObject *type, struct tn_split *split)
{
	struct split *s = (struct split *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);

	if (s)
		s->split = split;
	else
		tn_split_free(split);
	return (PyObject *)s;
}

static PyObject *split_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"url", NULL};
	struct tn_split *split;
	const char *url;
	int rc;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s:Split", names, &url))
		return NULL;
	rc = tn_split_new(url, &split);
	return rc < 0 ? tnp_raise(rc) : wrap(type, split);
}

static void split_dealloc(struct split *s)
{
	PyTypeObject *type = Py_TYPE(s);

	tn_split_free(s->split);
	tn_value_free(s->tree);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(s);
	Py_DECREF(type);
}

static PyObject *split_another(struct split *s, PyObject *unused)
{
	struct tn_split *split;
	int rc = tn_split_another(s->split, &split);

	(void)unused;
	return rc < 0 ? tnp_raise(rc) : wrap(split_type, split);
}

static PyObject *split_feed(struct split *s, PyObject *object)
{
	Py_buffer data;
	int rc;

	if (!PyArg_Parse(object, "y*", &data))
		return NULL;
	rc = tn_split_feed(s->split, data.buf, (size_t)data.len);
	PyBuffer_Release(&data);
	if (rc < 0)
		return tnp_raise(rc);
	Py_RETURN_NONE;
}

static PyObject *split_end(struct split *s, PyObject *unused)
{
	(void)unused;
	tn_split_end(s->split);
	Py_RETURN_NONE;
}

static PyObject *split_reset(struct split *s, PyObject *unused)
{
	(void)unused;
	tn_split_reset(s->split);
	Py_RETURN_NONE;
}

static PyObject *itself(PyObject *self)
{
	Py_INCREF(self);
	return self;
}

static PyObject *split_next(struct split *s)
{
	const void *data;
	size_t len;
	int rc = tn_split_next(s->split, &data, &len);

	if (rc == 0)
		return NULL;
	if (rc < 0)
		return tnp_raise(rc);
	if (!tn_split_format(s->split))
		return PyBytes_FromStringAndSize(data, (Py_ssize_t)len);
	rc = tn_split_value(s->split, data, len, &s->tree);
	return rc < 0 ? tnp_raise(rc) : tnp_value_read(s->tree);
}

static PyObject *get_waiting(struct split *s, void *unused)
{
	(void)unused;
	return PyLong_FromSize_t(tn_split_waiting(s->split));
}

static PyObject *get_frame(struct split *s, void *unused)
{
	(void)unused;
	return tnp_text(tn_split_frame(s->split));
}

static PyObject *get_format(struct split *s, void *unused)
{
	(void)unused;
	return tnp_text(tn_split_format(s->split));
}

static PyMethodDef split_methods[] = {
	{"feed", (PyCFunction)split_feed, METH_O,
	 "feed(data, /)\n--\n\nAdds bytes, which are copied: as many or few as there are. Raises Error: 4 GiB wait."},
	{"end", (PyCFunction)split_end, METH_NOARGS,
	 "end()\n--\n\nNo more bytes will come: a message that is not whole is an error from now on."},
	{"reset", (PyCFunction)split_reset, METH_NOARGS,
	 "reset()\n--\n\nForgets the bytes that wait, and the end: what is fed next begins a message."},
	{"another", (PyCFunction)split_another, METH_NOARGS,
	 "another()\n--\n\nA Split of the same kind for another stream, which costs little."},
	{NULL, NULL, 0, NULL},
};

static PyGetSetDef split_getset[] = {
	{"waiting", (getter)get_waiting, NULL, "How many bytes wait for the rest of their message.", NULL},
	{"frame", (getter)get_frame, NULL, "The name of the frame, as in a URL.", NULL},
	{"format", (getter)get_format, NULL, "The name of the format, or None.", NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot split_slots[] = {
	{Py_tp_doc,
	 (void *)"Split(url)\n--\n\nTakes a stream of bytes apart into messages as an endpoint of this URL would, "
		 "wherever the bytes come from; nothing is opened. feed() adds bytes, and `for msg in split` "
		 "gives the messages that are whole (values where the URL has a format). Iterating raises "
		 "FormatError, TooBigError: the bytes break the rules. Raises UrlError."},
	{Py_tp_new, split_new},
	{Py_tp_dealloc, split_dealloc},
	{Py_tp_iter, itself},
	{Py_tp_iternext, split_next},
	{Py_tp_methods, split_methods},
	{Py_tp_getset, split_getset},
	{0, NULL},
};

static PyType_Spec split_spec = {"tenon.Split", sizeof(struct split), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
				 split_slots};

int tnp_split_init(PyObject *module)
{
	split_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &split_spec, NULL);
	return split_type ? PyModule_AddType(module, split_type) : -1;
}
