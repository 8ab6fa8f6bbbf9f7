/* The library's codes as exceptions: tenon/_errors.py has the classes. */
#include "core.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static PyObject *classes, *base, *lost;

int tnp_error_init(PyObject *module)
{
	PyObject *errors = PyImport_ImportModule("tenon._errors");

	(void)module;
	if (!errors)
		return -1;
	classes = PyObject_GetAttrString(errors, "CLASSES");
	base = PyObject_GetAttrString(errors, "Error");
	lost = PyObject_GetAttrString(errors, "LostError");
	Py_DECREF(errors);
	return classes && base && lost ? 0 : -1;
}

/* tenon's own codes begin here; what is above is -errno. */
#define OWN_CODES (-4000)

static int set_facts(PyObject *error, PyObject *code, long position)
{
	PyObject *pos;
	int rc;

	if (PyLong_AsLong(code) != TNP_CLOSED && PyObject_SetAttrString(error, "code", code) < 0)
		return -1;
	if (position < 0)
		return 0;
	pos = PyLong_FromLong(position);
	rc = pos ? PyObject_SetAttrString(error, "position", pos) : -1;
	Py_XDECREF(pos);
	return rc;
}

PyObject *tnp_error_new(int code, const char *words, long position)
{
	PyObject *number = PyLong_FromLong(code), *class, *text, *error = NULL;

	if (!number)
		return NULL;
	class = PyDict_GetItemWithError(classes, number);
	if (!class && PyErr_Occurred()) {
		Py_DECREF(number);
		return NULL;
	}
	if (!class)
		class = base;
	text = tnp_text(words);
	if (text && code > OWN_CODES)
		error = PyObject_CallFunction(class, "iO", -code, text);
	else if (text)
		error = PyObject_CallFunctionObjArgs(class, text, NULL);
	Py_XDECREF(text);
	if (error && set_facts(error, number, position) < 0)
		Py_CLEAR(error);
	Py_DECREF(number);
	return error;
}

static PyObject *raise_new(int code, const char *words, long position)
{
	PyObject *error = tnp_error_new(code, words, position);

	if (error) {
		PyErr_SetObject((PyObject *)Py_TYPE(error), error);
		Py_DECREF(error);
	}
	return NULL;
}

PyObject *tnp_raise(int code)
{
	const char *words = tn_errmsg();

	if (code == -ENOMEM)
		return PyErr_NoMemory();
	return raise_new(code, words && *words ? words : tn_strerror(code), tn_errpos());
}

PyObject *tnp_raise_words(int code, const char *format, ...)
{
	char words[512];
	va_list args;

	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	return raise_new(code, words, -1);
}

bool tnp_error_is_lost(PyObject *object)
{
	return (PyObject *)Py_TYPE(object) == lost;
}

PyObject *tnp_error_lost(PyObject *reason, PyObject *loss)
{
	return PyObject_CallFunctionObjArgs(lost, reason, loss, NULL);
}

int tnp_error_code(PyObject *error)
{
	PyObject *code = PyObject_IsInstance(error, base) == 1 ? PyObject_GetAttrString(error, "code") : NULL;
	long number = code ? PyLong_AsLong(code) : 0;

	Py_XDECREF(code);
	PyErr_Clear();
	return number < 0 && number > -100000 ? (int)number : -ECANCELED;
}
