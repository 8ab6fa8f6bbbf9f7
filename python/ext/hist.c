/* Histogram: how often each value was counted, to three digits. */
#include "core.h"

#include <tenon_hist.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static PyTypeObject *hist_type;

struct hist {
	PyObject_HEAD struct tn_hist *hist;
};

static int add_text(struct hist *h, PyObject *text)
{
	Py_ssize_t len;
	const char *data = PyUnicode_AsUTF8AndSize(text, &len);
	int rc = data ? tn_hist_decode(h->hist, data, (size_t)len) : 0;

	if (rc < 0)
		tnp_raise(rc);
	return data && rc == 0 ? 0 : -1;
}

static PyObject *hist_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"text", NULL};
	PyObject *text = NULL;
	struct hist *h;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|U:Histogram", names, &text))
		return NULL;
	h = (struct hist *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
	if (!h)
		return NULL;
	if (tn_hist_new(&h->hist) < 0) {
		h->hist = NULL;
		Py_DECREF(h);
		return PyErr_NoMemory();
	}
	if (text && add_text(h, text) < 0)
		Py_CLEAR(h);
	return (PyObject *)h;
}

static void hist_dealloc(struct hist *h)
{
	PyTypeObject *type = Py_TYPE(h);

	tn_hist_free(h->hist);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(h);
	Py_DECREF(type);
}

/* A value from 0 on. -1: raised. */
static int number(PyObject *object, uint64_t *value)
{
	*value = PyLong_AsUnsignedLongLong(object);
	return *value == UINT64_MAX && PyErr_Occurred() ? -1 : 0;
}

static PyObject *hist_add(struct hist *h, PyObject *const *args, Py_ssize_t nargs)
{
	uint64_t value, count = 1;

	if (nargs < 1 || nargs > 2)
		return PyErr_Format(PyExc_TypeError, "add() takes a value and how often");
	if (number(args[0], &value) < 0 || (nargs == 2 && number(args[1], &count) < 0))
		return NULL;
	if (count >> 63 || (tn_hist_count(h->hist) + count) >> 63)
		return PyErr_Format(PyExc_OverflowError, "a histogram counts up to 2**63 values");
	tn_hist_add_many(h->hist, value, count);
	Py_RETURN_NONE;
}

static PyObject *hist_merge(struct hist *h, PyObject *other)
{
	struct hist *from = (struct hist *)other;

	if (Py_TYPE(other) != hist_type)
		return PyErr_Format(PyExc_TypeError, "merge() takes a Histogram, not %R", other);
	if ((tn_hist_count(h->hist) + tn_hist_count(from->hist)) >> 63)
		return PyErr_Format(PyExc_OverflowError, "a histogram counts up to 2**63 values");
	tn_hist_merge(h->hist, from->hist);
	Py_RETURN_NONE;
}

static PyObject *hist_clear(struct hist *h, PyObject *unused)
{
	(void)unused;
	tn_hist_clear(h->hist);
	Py_RETURN_NONE;
}

static PyObject *hist_quantile(struct hist *h, PyObject *share)
{
	double q = PyFloat_AsDouble(share);

	if (q == -1.0 && PyErr_Occurred())
		return NULL;
	if (!(q >= 0 && q <= 1))
		return PyErr_Format(PyExc_ValueError, "a quantile is a share from 0 to 1, such as 0.99");
	return PyLong_FromUnsignedLongLong(tn_hist_quantile(h->hist, q));
}

static PyObject *hist_count_upto(struct hist *h, PyObject *object)
{
	uint64_t value;

	return number(object, &value) < 0 ? NULL : PyLong_FromUnsignedLongLong(tn_hist_count_upto(h->hist, value));
}

static PyObject *hist_buckets(struct hist *h, PyObject *unused)
{
	PyObject *list = PyList_New(0), *row;
	uint64_t low, high, count;
	size_t at = 0;

	(void)unused;
	while (list && tn_hist_next(h->hist, &at, &low, &high, &count)) {
		row = Py_BuildValue("(KKK)", (unsigned long long)low, (unsigned long long)high,
				    (unsigned long long)count);
		if (!row || PyList_Append(list, row) < 0)
			Py_CLEAR(list);
		Py_XDECREF(row);
	}
	return list;
}

static PyObject *hist_encode(struct hist *h, PyObject *unused)
{
	PyObject *text;
	char *out;
	int rc = tn_hist_encode(h->hist, &out);

	(void)unused;
	if (rc < 0)
		return tnp_raise(rc);
	text = PyUnicode_FromString(out);
	free(out);
	return text;
}

static PyObject *hist_decode(struct hist *h, PyObject *text)
{
	if (!PyUnicode_Check(text))
		return PyErr_Format(PyExc_TypeError, "decode() takes a text, not %R", text);
	if (add_text(h, text) < 0)
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *hist_compare(struct hist *h, PyObject *other, int op)
{
	if (Py_TYPE(other) != hist_type || (op != Py_EQ && op != Py_NE))
		Py_RETURN_NOTIMPLEMENTED;
	return PyBool_FromLong(tn_hist_equal(h->hist, ((struct hist *)other)->hist) == (op == Py_EQ));
}

#define GETTER(name, how)                                         \
	static PyObject *get_##name(struct hist *h, void *unused) \
	{                                                         \
		(void)unused;                                     \
		return how(tn_hist_##name(h->hist));              \
	}
GETTER(count, PyLong_FromUnsignedLongLong)
GETTER(min, PyLong_FromUnsignedLongLong)
GETTER(max, PyLong_FromUnsignedLongLong)
GETTER(mean, PyFloat_FromDouble)
GETTER(deviation, PyFloat_FromDouble)
#undef GETTER

static PyMethodDef hist_methods[] = {
	{"add", (PyCFunction)(void (*)(void))hist_add, METH_FASTCALL,
	 "add(value, count=1, /)\n--\n\nCounts an integer from 0 on, once or `count` times. What is above an hour in "
	 "nanoseconds counts as that. Raises OverflowError."},
	{"merge", (PyCFunction)hist_merge, METH_O,
	 "merge(other, /)\n--\n\nAdds all that another Histogram has counted; exact."},
	{"clear", (PyCFunction)hist_clear, METH_NOARGS, "clear()\n--\n\nForgets everything that was counted."},
	{"quantile", (PyCFunction)hist_quantile, METH_O,
	 "quantile(share, /)\n--\n\nThe value that this share (0 to 1) of all counted values does not exceed: 0.99 "
	 "for "
	 "the 99th percentile. 0 when nothing was counted."},
	{"count_upto", (PyCFunction)hist_count_upto, METH_O,
	 "count_upto(value, /)\n--\n\nHow many counted values are at most this, or cannot be told from it."},
	{"buckets", (PyCFunction)hist_buckets, METH_NOARGS,
	 "buckets()\n--\n\nWhat was counted, from the lowest: a list of (low, high, count), where the values from "
	 "low to "
	 "high are not told apart."},
	{"encode", (PyCFunction)hist_encode, METH_NOARGS,
	 "encode()\n--\n\nHdrHistogram's compressed V2 form in base64, as it stands in its logs. Raises Error: the "
	 "library "
	 "was built without zlib."},
	{"decode", (PyCFunction)hist_decode, METH_O,
	 "decode(text, /)\n--\n\nReads such a text, whoever wrote it, and adds what it counts. Raises FormatError: "
	 "it is "
	 "damaged; nothing was added then."},
	{NULL, NULL, 0, NULL},
};

static PyGetSetDef hist_getset[] = {
	{"count", (getter)get_count, NULL, "How many values were counted.", NULL},
	{"min", (getter)get_min, NULL, "The lowest of them; 0: there are none.", NULL},
	{"max", (getter)get_max, NULL, "The highest of them.", NULL},
	{"mean", (getter)get_mean, NULL, "Their mean.", NULL},
	{"deviation", (getter)get_deviation, NULL, "Their standard deviation.", NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot hist_slots[] = {
	{Py_tp_doc,
	 (void *)"Histogram(text='')\n--\n\nCounts integers, most often nanoseconds, and answers which value so "
		 "much of them did not exceed: to three digits, in 270 KB whatever was counted. `text`: what "
		 "encode() has written. One thread at a time uses it."},
	{Py_tp_new, hist_new},
	{Py_tp_dealloc, hist_dealloc},
	{Py_tp_richcompare, hist_compare},
	{Py_tp_hash, PyObject_HashNotImplemented},
	{Py_tp_methods, hist_methods},
	{Py_tp_getset, hist_getset},
	{0, NULL},
};

static PyType_Spec hist_spec = {"tenon.Histogram", sizeof(struct hist), 0,
				Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, hist_slots};

int tnp_hist_init(PyObject *module)
{
	hist_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &hist_spec, NULL);
	return hist_type ? PyModule_AddType(module, hist_type) : -1;
}
