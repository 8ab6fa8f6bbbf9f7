/* tenon._core: the extension module. tenon/__init__.py is what programs import. */
#include "core.h"

static PyMethodDef methods[] = {
	{"serve", (PyCFunction)(void (*)(void))tnp_serve, METH_VARARGS | METH_KEYWORDS, NULL},
	{"dial", (PyCFunction)(void (*)(void))tnp_conn_dial, METH_VARARGS | METH_KEYWORDS,
	 "dial(url, on_msg=None, *, on_open=None, on_drain=None, on_end=None, on_close=None, on_bad=None, "
	 "on_cut=None, on_lost=None, "
	 "messages='auto', loop=None)\n--\n\nDials an endpoint. Returns a Conn at once; on_open(conn) follows when "
	 "it is connected, or on_close(conn, error) alone when that fails. What is sent before is kept and goes out "
	 "first. The callbacks are those of serve(), and on_lost(conn, error or None, loss): the URL has key reconnect "
	 "and the connection, which stays the same, is dialled again in loss['again'] seconds; an end in good order is "
	 "None; on_open follows again. Raises UrlError, Error."},
	{NULL, NULL, 0, NULL},
};

/* What is here is the process's: types, loops, who forked. */
static int only_once(void)
{
	static bool loaded;

	if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
		PyErr_SetString(PyExc_ImportError, "tenon works in the main interpreter alone, not in subinterpreters");
		return -1;
	}
	if (loaded) {
		PyErr_SetString(PyExc_ImportError, "tenon cannot be loaded a second time in one process");
		return -1;
	}
	loaded = true;
	return 0;
}

static int exec(PyObject *module)
{
	if (only_once() < 0 || tnp_error_init(module) < 0 || tnp_value_init(module) < 0 || tnp_loop_init(module) < 0 ||
	    tnp_conn_init(module) < 0 || tnp_stream_init(module) < 0 || tnp_shared_init(module) < 0 ||
	    tnp_server_init(module) < 0 || tnp_handle_init(module) < 0 || tnp_hist_init(module) < 0 ||
	    tnp_split_init(module) < 0 || PyModule_AddFunctions(module, tnp_value_methods) < 0 ||
	    PyModule_AddFunctions(module, tnp_frame_methods) < 0 ||
	    PyModule_AddFunctions(module, tnp_facts_methods) < 0)
		return -1;
	return PyModule_AddStringConstant(module, "__version__", tn_version());
}

static PyModuleDef_Slot slots[] = {
	{Py_mod_exec, exec},
	{0, NULL},
};

static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT,
	.m_name = "tenon._core",
	.m_methods = methods,
	.m_slots = slots,
};

PyMODINIT_FUNC PyInit__core(void)
{
	return PyModuleDef_Init(&definition);
}
