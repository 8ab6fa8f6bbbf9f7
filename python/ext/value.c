/* The library's values as Python's objects, and back. tenon/_values.py has what is rare: tags, times, big integers. */
#include "core.h"

#include <errno.h>
#include <string.h>

/* Deeper values are refused by every format. */
#define DEPTH_MAX 1024

static PyObject *from_tag, *from_ext, *from_simple, *lower, *as_key;

int tnp_value_init(PyObject *module)
{
	PyObject *values = PyImport_ImportModule("tenon._values");

	(void)module;
	if (!values)
		return -1;
	from_tag = PyObject_GetAttrString(values, "from_tag");
	from_ext = PyObject_GetAttrString(values, "from_ext");
	from_simple = PyObject_GetAttrString(values, "Simple");
	lower = PyObject_GetAttrString(values, "lower");
	as_key = PyObject_GetAttrString(values, "as_key");
	Py_DECREF(values);
	return from_tag && from_ext && from_simple && lower && as_key ? 0 : -1;
}

/* ---- reading ---- */

/* -2^64 to -2^63 - 1, which no C type holds: by its digits. */
static PyObject *read_digits(const struct tn_value *value)
{
	struct tn_bytes text = {0};
	PyObject *number = NULL;
	int rc = tn_encode("json", value, 0, &text);
	char digits[32];

	if (rc < 0 || text.len >= sizeof(digits)) {
		tn_bytes_free(&text);
		return tnp_raise(rc < 0 ? rc : TN_EREPR);
	}
	memcpy(digits, text.data, text.len);
	digits[text.len] = '\0';
	number = PyLong_FromString(digits, NULL, 10);
	tn_bytes_free(&text);
	return number;
}

static PyObject *read_int(const struct tn_value *value)
{
	uint64_t big;
	int64_t number;

	if (tn_value_int(value, &number) == 0)
		return PyLong_FromLongLong(number);
	if (tn_value_uint(value, &big) == 0)
		return PyLong_FromUnsignedLongLong(big);
	return read_digits(value);
}

static PyObject *read_array(const struct tn_value *value)
{
	const struct tn_value *item = tn_value_first(value);
	PyObject *list = PyList_New((Py_ssize_t)tn_value_count(value));

	for (Py_ssize_t i = 0; list && item; i++, item = tn_value_next(value, item)) {
		PyObject *object = tnp_value_read(item);

		if (!object || PyList_SetItem(list, i, object) < 0)
			Py_CLEAR(list);
	}
	return list;
}

static PyObject *read_key(const struct tn_value *value)
{
	PyObject *key = tnp_value_read(value), *hashable;
	enum tn_kind kind = tn_value_kind(value);

	if (!key || (kind != TN_ARRAY && kind != TN_MAP && kind != TN_TAG))
		return key;
	hashable = PyObject_CallFunctionObjArgs(as_key, key, NULL);
	Py_DECREF(key);
	return hashable;
}

static PyObject *read_map(const struct tn_value *value)
{
	const struct tn_value *item = tn_value_first(value);
	PyObject *dict = PyDict_New();

	while (dict && item) {
		PyObject *key = read_key(item);
		PyObject *object = NULL;

		item = tn_value_next(value, item);
		if (key)
			object = tnp_value_read(item);
		if (!object || PyDict_SetItem(dict, key, object) < 0)
			Py_CLEAR(dict);
		Py_XDECREF(key);
		Py_XDECREF(object);
		item = tn_value_next(value, item);
	}
	return dict;
}

static PyObject *read_tag(const struct tn_value *value)
{
	PyObject *child = tnp_value_read(tn_value_first(value)), *object;

	if (!child)
		return NULL;
	object = PyObject_CallFunction(from_tag, "KO", (unsigned long long)tn_value_tag(value), child);
	Py_DECREF(child);
	return object;
}

PyObject *tnp_value_read(const struct tn_value *value)
{
	size_t len = 0;
	const void *data;
	double number;

	switch (tn_value_kind(value)) {
	case TN_NULL:
		break;
	case TN_BOOL:
		return PyBool_FromLong(tn_value_bool(value));
	case TN_INT:
		return read_int(value);
	case TN_FLOAT:
		tn_value_float(value, &number);
		return PyFloat_FromDouble(number);
	case TN_TEXT:
		data = tn_value_text(value, &len);
		return PyUnicode_DecodeUTF8(data, (Py_ssize_t)len, NULL);
	case TN_BYTES:
		data = tn_value_bytes(value, &len);
		return PyBytes_FromStringAndSize(data, (Py_ssize_t)len);
	case TN_ARRAY:
		return read_array(value);
	case TN_MAP:
		return read_map(value);
	case TN_TAG:
		return read_tag(value);
	case TN_EXT:
		data = tn_value_bytes(value, &len);
		return PyObject_CallFunction(from_ext, "iy#", tn_value_ext(value), data, (Py_ssize_t)len);
	case TN_SIMPLE:
		return PyObject_CallFunction(from_simple, "i", tn_value_simple(value));
	}
	Py_RETURN_NONE;
}

/* ---- making ---- */

struct maker {
	const char *format;
	struct tn_value *tree;
	int depth;
};

static struct tn_value *make(struct maker *m, PyObject *object);

static struct tn_value *made(struct maker *m, struct tn_value *value)
{
	if (!value && !PyErr_Occurred())
		PyErr_NoMemory();
	else if (!m->tree)
		m->tree = value;
	return value;
}

static struct tn_value *make_bytes(struct maker *m, PyObject *object)
{
	struct tn_value *value;
	Py_buffer view;

	if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) < 0)
		return NULL;
	value = made(m, tn_value_new_bytes(m->tree, view.buf, (size_t)view.len));
	PyBuffer_Release(&view);
	return value;
}

static struct tn_value *make_text(struct maker *m, PyObject *object)
{
	Py_ssize_t len;
	const char *text = PyUnicode_AsUTF8AndSize(object, &len);

	return text ? made(m, tn_value_new_text(m->tree, text, (size_t)len)) : NULL;
}

/* What is nothing of the below is asked for as something that is. */
static struct tn_value *make_lowered(struct maker *m, PyObject *object)
{
	PyObject *simpler = PyObject_CallFunction(lower, "zO", m->format, object);
	struct tn_value *value = NULL, *child;
	PyObject *kind, *number, *content;

	if (!simpler)
		return NULL;
	if (!PyTuple_Check(simpler)) { /* an object of another type */
		value = make(m, simpler);
	} else if (PyTuple_Size(simpler) == 3) {
		kind = PyTuple_GetItem(simpler, 0);
		number = PyTuple_GetItem(simpler, 1);
		content = PyTuple_GetItem(simpler, 2);
		if (PyUnicode_CompareWithASCIIString(kind, "tag") == 0) {
			unsigned long long tag = PyLong_AsUnsignedLongLong(number);

			child = PyErr_Occurred() ? NULL : make(m, content);
			value = child ? made(m, tn_value_new_tag(tag, child)) : NULL;
		} else if (PyUnicode_CompareWithASCIIString(kind, "ext") == 0) {
			Py_ssize_t len = PyBytes_Size(content);

			if (len >= 0)
				value = made(m, tn_value_new_ext(m->tree, (int8_t)PyLong_AsLong(number),
								 PyBytes_AsString(content), (size_t)len));
		} else {
			value = made(m, tn_value_new_simple(m->tree, (uint8_t)PyLong_AsLong(number)));
		}
	}
	Py_DECREF(simpler);
	return value;
}

static struct tn_value *make_int(struct maker *m, PyObject *object)
{
	int overflow;
	long long number = PyLong_AsLongLongAndOverflow(object, &overflow);
	unsigned long long big;

	if (number == -1 && PyErr_Occurred())
		return NULL;
	if (!overflow)
		return made(m, tn_value_new_int(m->tree, number));
	if (overflow > 0) {
		big = PyLong_AsUnsignedLongLong(object);
		if (!PyErr_Occurred())
			return made(m, tn_value_new_uint(m->tree, big));
		PyErr_Clear();
	}
	return make_lowered(m, object);
}

static struct tn_value *make_array(struct maker *m, PyObject *object)
{
	bool list = PyList_Check(object);
	struct tn_value *array = made(m, tn_value_new_array(m->tree));

	/* what an item's own code does may make the list shorter */
	for (Py_ssize_t i = 0; array && i < (list ? PyList_Size(object) : PyTuple_Size(object)); i++) {
		PyObject *item = list ? PyList_GetItem(object, i) : PyTuple_GetItem(object, i);
		struct tn_value *child;

		Py_XINCREF(item);
		child = item ? make(m, item) : NULL;
		Py_XDECREF(item);
		if (!child)
			return NULL;
		tn_value_append(array, child);
	}
	return array;
}

static struct tn_value *make_map(struct maker *m, PyObject *object)
{
	struct tn_value *map = made(m, tn_value_new_map(m->tree)), *name, *value;
	PyObject *items = map ? PyDict_Items(object) : NULL;

	for (Py_ssize_t i = 0; items && i < PyList_Size(items); i++) {
		PyObject *pair = PyList_GetItem(items, i);

		name = make(m, PyTuple_GetItem(pair, 0));
		value = name ? make(m, PyTuple_GetItem(pair, 1)) : NULL;
		if (!value || tn_value_put_pair(map, name, value) < 0) {
			if (!PyErr_Occurred())
				PyErr_NoMemory();
			Py_DECREF(items);
			return NULL;
		}
	}
	Py_XDECREF(items);
	return items ? map : NULL;
}

static struct tn_value *make_plain(struct maker *m, PyObject *object)
{
	if (PyUnicode_CheckExact(object))
		return make_text(m, object);
	if (PyLong_CheckExact(object))
		return make_int(m, object);
	if (PyDict_CheckExact(object))
		return make_map(m, object);
	if (PyList_CheckExact(object) || PyTuple_CheckExact(object))
		return make_array(m, object);
	if (object == Py_None)
		return made(m, tn_value_new_null(m->tree));
	if (PyBool_Check(object))
		return made(m, tn_value_new_bool(m->tree, object == Py_True));
	if (PyFloat_CheckExact(object))
		return made(m, tn_value_new_float(m->tree, PyFloat_AsDouble(object)));
	if (PyBytes_Check(object) || PyByteArray_Check(object) || PyMemoryView_Check(object))
		return make_bytes(m, object);
	return make_lowered(m, object);
}

static struct tn_value *make(struct maker *m, PyObject *object)
{
	struct tn_value *value;

	if (m->depth >= DEPTH_MAX) {
		tnp_raise_words(TN_EDEPTH, "a value nested deeper than %d, or inside itself", DEPTH_MAX);
		return NULL;
	}
	m->depth++;
	value = make_plain(m, object);
	m->depth--;
	return value;
}

struct tn_value *tnp_value_make(const char *format, PyObject *object)
{
	struct maker m = {.format = format};
	struct tn_value *value = make(&m, object);

	if (!value)
		tn_value_free(m.tree);
	return value;
}

/* ---- the module's ---- */

static int flags_of(int strict, int pretty)
{
	return (strict ? TN_STRICT : 0) | (pretty ? TN_PRETTY : 0);
}

static PyObject *no_format(const char *format)
{
	return PyErr_Format(PyExc_ValueError, "there is no format '%s'", format);
}

static PyObject *encode(PyObject *self, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"format", "value", "strict", "pretty", NULL};
	struct tn_bytes bytes = {0};
	struct tn_value *value;
	PyObject *object, *result = NULL;
	const char *format;
	int strict = 0, pretty = 0, rc;

	(void)self;
	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sO|$pp:encode", names, &format, &object, &strict, &pretty))
		return NULL;
	value = tnp_value_make(format, object);
	if (!value)
		return NULL;
	rc = tn_encode(format, value, (unsigned)flags_of(strict, pretty), &bytes);
	tn_value_free(value);
	if (rc == -EINVAL)
		no_format(format);
	else if (rc < 0)
		tnp_raise(rc);
	else
		result = PyBytes_FromStringAndSize((char *)bytes.data, (Py_ssize_t)bytes.len);
	tn_bytes_free(&bytes);
	return result;
}

static PyObject *decode(PyObject *self, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"format", "data", "strict", NULL};
	struct tn_value *value = NULL;
	PyObject *result = NULL;
	const char *format;
	Py_buffer data;
	int strict = 0, rc;

	(void)self;
	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "ss*|$p:decode", names, &format, &data, &strict))
		return NULL;
	rc = tn_decode(format, data.buf, (size_t)data.len, (unsigned)flags_of(strict, 0), &value);
	PyBuffer_Release(&data);
	if (rc == -EINVAL)
		no_format(format);
	else if (rc < 0)
		tnp_raise(rc);
	else
		result = tnp_value_read(value);
	tn_value_free(value);
	return result;
}

PyMethodDef tnp_value_methods[] = {
	{"encode", (PyCFunction)(void (*)(void))encode, METH_VARARGS | METH_KEYWORDS,
	 "encode(format, value, *, strict=False, pretty=False)\n--\n\nThe value as one message in a format: json, "
	 "xml, "
	 "cbor, msgpack, text or raw. None, bool, int of up to 4096 bits, float, str, bytes, list, tuple, dict, "
	 "datetime, Tag, Ext and Simple are values. Raises FormatError (the format cannot express it), ValueError (no "
	 "such format), TypeError, OverflowError (a longer integer)."},
	{"decode", (PyCFunction)(void (*)(void))decode, METH_VARARGS | METH_KEYWORDS,
	 "decode(format, data, *, strict=False)\n--\n\nReads one message, which is all of `data`. Raises "
	 "FormatError, whose `position` is the byte where it goes wrong; ValueError: no such format. docs/formats.md "
	 "has the rules."},
	{NULL, NULL, 0, NULL},
};
