/* The floor of servers in Python: a module that makes bytes of each message and calls one function, and nothing else.
 * bench/python_cost.py builds it. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

/* run(fn, size, times): fn(None, message), whose result is dropped. */
static PyObject *run(PyObject *self, PyObject *args)
{
	PyObject *fn, *call[3] = {NULL, Py_None, NULL}, *result;
	char message[65536];
	Py_ssize_t size;
	long times;

	(void)self;
	if (!PyArg_ParseTuple(args, "Onl", &fn, &size, &times))
		return NULL;
	if (size < 0 || size > (Py_ssize_t)sizeof(message))
		return PyErr_Format(PyExc_ValueError, "size is 0 to %zu", sizeof(message));
	memset(message, 'x', sizeof(message));
	for (long i = 0; i < times; i++) {
		call[2] = PyBytes_FromStringAndSize(message, size);
		result = call[2] ? PyObject_Vectorcall(fn, call + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL) : NULL;
		Py_XDECREF(call[2]);
		Py_XDECREF(result);
		if (!result)
			return NULL;
	}
	Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"run", run, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "python_call", .m_methods = methods};

PyMODINIT_FUNC PyInit_python_call(void)
{
	return PyModule_Create(&definition);
}
