/* Frames of a program's own, by functions in Python. */
#include "core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

struct frame {
	PyObject *next, *wrap;
};

/* Called by a step of this thread's, or by another call of the library, with the GIL or without. */
static bool take_gil(PyGILState_STATE *state)
{
	if (tnp_turning) {
		tnp_enter();
		return false;
	}
	*state = PyGILState_Ensure();
	return true;
}

static int failed(PyObject *where, int err)
{
	PyErr_WriteUnraisable(where);
	return err;
}

/* None: more is needed; n: the message is the first n bytes; (taken, at, len). */
static int read_part(PyObject *result, struct tn_frame_part *part)
{
	Py_ssize_t taken, at = 0, len;

	if (result == Py_None)
		return 0;
	if (PyLong_Check(result)) {
		taken = len = PyLong_AsSsize_t(result);
		if (taken == -1 && PyErr_Occurred())
			return -1;
	} else if (!PyTuple_Check(result) || !PyArg_ParseTuple(result, "nnn", &taken, &at, &len)) {
		if (!PyErr_Occurred())
			PyErr_SetString(PyExc_TypeError,
					"a frame's next() returns None, a length, or (taken, at, len)");
		return -1;
	}
	if (taken < 0 || at < 0 || len < 0) {
		PyErr_SetString(PyExc_ValueError, "a frame's next() returned a negative number");
		return -1;
	}
	part->taken = (size_t)taken;
	part->at = (size_t)at;
	part->len = (size_t)len;
	return 1;
}

static int next(const unsigned char *data, size_t len, struct tn_frame_part *part, void *arg)
{
	struct frame *f = arg;
	PyGILState_STATE state;
	bool ensured = take_gil(&state);
	PyObject *bytes = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)len), *result;
	int rc = -1;

	result = bytes ? PyObject_CallFunctionObjArgs(f->next, bytes, NULL) : NULL;
	if (result)
		rc = read_part(result, part);
	if (rc < 0) {
		rc = failed(f->next, TN_EFORMAT);
		part->why = "the program's frame has refused it";
	}
	Py_XDECREF(bytes);
	Py_XDECREF(result);
	if (ensured)
		PyGILState_Release(state);
	return rc;
}

static int take_ends(PyObject *result, struct tn_frame_ends *ends)
{
	const char *head, *tail;
	Py_ssize_t head_len, tail_len;

	if (!PyTuple_Check(result) || !PyArg_ParseTuple(result, "y#y#", &head, &head_len, &tail, &tail_len)) {
		if (!PyErr_Occurred())
			PyErr_SetString(PyExc_TypeError, "a frame's wrap() returns (head, tail), both bytes");
		return -1;
	}
	if (head_len > TN_FRAME_ENDS_MAX || tail_len > TN_FRAME_ENDS_MAX) {
		PyErr_Format(PyExc_ValueError, "a frame's ends have at most %d bytes each", TN_FRAME_ENDS_MAX);
		return -1;
	}
	memcpy(ends->head, head, (size_t)head_len);
	memcpy(ends->tail, tail, (size_t)tail_len);
	ends->head_len = (size_t)head_len;
	ends->tail_len = (size_t)tail_len;
	return 0;
}

static int wrap(const struct iovec *iov, int count, size_t len, struct tn_frame_ends *ends, void *arg)
{
	struct frame *f = arg;
	PyGILState_STATE state;
	bool ensured = take_gil(&state);
	PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)len), *result = NULL;
	int rc = -1;

	if (bytes) {
		char *to = PyBytes_AsString(bytes);

		for (int i = 0; i < count; i++) {
			memcpy(to, iov[i].iov_base, iov[i].iov_len);
			to += iov[i].iov_len;
		}
		result = PyObject_CallFunctionObjArgs(f->wrap, bytes, NULL);
	}
	if (result)
		rc = take_ends(result, ends);
	if (rc < 0)
		rc = failed(f->wrap, TN_EFORMAT);
	Py_XDECREF(bytes);
	Py_XDECREF(result);
	if (ensured)
		PyGILState_Release(state);
	return rc;
}

static PyObject *frame_register(PyObject *self, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"name", "next", "wrap", NULL};
	struct tn_frame frame = {.size = sizeof(frame), .next = next};
	PyObject *next_fn, *wrap_fn = Py_None;
	struct frame *f;
	int rc;

	(void)self;
	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sO|O:frame_register", names, &frame.name, &next_fn, &wrap_fn))
		return NULL;
	if (!PyCallable_Check(next_fn) || (wrap_fn != Py_None && !PyCallable_Check(wrap_fn)))
		return PyErr_Format(PyExc_TypeError, "next and wrap are functions");
	f = calloc(1, sizeof(*f));
	if (!f)
		return PyErr_NoMemory();
	*f = (struct frame){next_fn, wrap_fn};
	frame.arg = f;
	if (wrap_fn != Py_None)
		frame.wrap = wrap;
	Py_INCREF(next_fn);
	Py_INCREF(wrap_fn);
	rc = tn_frame_register(&frame);
	if (rc < 0) {
		Py_DECREF(next_fn);
		Py_DECREF(wrap_fn);
		free(f);
		return tnp_raise(rc);
	}
	Py_RETURN_NONE; /* known for good */
}

PyMethodDef tnp_frame_methods[] = {
	{"frame_register", (PyCFunction)(void (*)(void))frame_register, METH_VARARGS | METH_KEYWORDS,
	 "frame_register(name, next, wrap=None)\n--\n\nMakes a frame known to this process for good: frame=NAME in "
	 "URLs.\n\nnext(data): the bytes that have come, at least one; returns None (the first message is not "
	 "whole), its length, or (taken, at, len): so many bytes are taken, and the message is `len` bytes from `at` "
	 "on. wrap(message) returns what stands in front of it and behind it, (head, tail), at most 64 bytes each; "
	 "None: messages are sent as they are. They are called by the loops' threads and do nothing else. Raises "
	 "Error: the name is taken or is none."},
	{NULL, NULL, 0, NULL},
};
