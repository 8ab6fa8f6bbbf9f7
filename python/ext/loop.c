/* Loop, Timer and Poll: the library's turns, and who has the GIL meanwhile. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <structmember.h>
#include <time.h>
#include <unistd.h>

/*
 * The GIL is given up before a step and taken by the first callback of it, which keeps it until the step is over: so
 * many messages cost one taking of it, and none is taken by a step without callbacks. What the library calls before it
 * waits (posted calls, polls) must give it back.
 */

#define NS_PER_S UINT64_C(1000000000)
/*
 * A signal can come right before the wait, or to another thread. So the main thread wakes so long after it has begun to
 * wait, to look; then it has Python's own handler of signals write to a pipe that the loop polls
 * (signal.set_wakeup_fd()), which is too much work for each short wait.
 */
#define SIGNAL_NS (NS_PER_S / 4)
#define WAITS_NS (3600 * NS_PER_S)

PyTypeObject *tnp_loop_type;
_Thread_local struct loop *tnp_turning;
_Thread_local char tnp_here;

struct helper;

static PyTypeObject *timer_type, *poll_type, *signal_type;
static struct loop *all;
static unsigned forks;
static unsigned long main_thread;
static PyObject *locals; /* threading.local(): the default loop of each thread */
static PyObject *set_wakeup_fd;
static int signal_pipe[2] = {-1, -1};

uint64_t tnp_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Seconds as nanoseconds; -1: raised. */
static int duration(PyObject *seconds, uint64_t *ns)
{
	double s = PyFloat_AsDouble(seconds);

	if (s == -1.0 && PyErr_Occurred())
		return -1;
	if (!(s >= 0)) {
		PyErr_SetString(PyExc_ValueError, "a time in seconds cannot be negative");
		return -1;
	}
	*ns = s > 1e9 ? UINT64_C(1000000000) * NS_PER_S : (uint64_t)llrint(s * (double)NS_PER_S);
	return 0;
}

int tnp_until(PyObject *seconds, uint64_t *until_ns)
{
	*until_ns = UINT64_MAX;
	if (!seconds || seconds == Py_None)
		return 0;
	if (duration(seconds, until_ns) < 0)
		return -1;
	*until_ns += tnp_now_ns();
	return 0;
}

/* ---- who may use a loop ---- */

unsigned long tnp_me(void)
{
	static _Thread_local unsigned long me;
	static unsigned long threads;

	if (!me)
		me = ++threads;
	return me;
}

bool tnp_loop_ok(struct loop *l)
{
	if (!l->loop)
		tnp_raise_words(TN_ESTATE, "the loop is closed");
	else if (l->forks != forks)
		tnp_raise_words(TN_ESTATE, "the loop was made before fork(): a child makes its own");
	else if (l->thread && l->thread != &tnp_here)
		tnp_raise_words(TN_ESTATE, "the loop is run by another thread: use Loop.call() there");
	else
		return true;
	return false;
}

bool tnp_loop_forked(const struct loop *l)
{
	return l->forks != forks;
}

bool tnp_loop_usable(const struct loop *l)
{
	return l->loop && l->forks == forks && (!l->thread || l->thread == &tnp_here);
}

bool tnp_loop_idle(struct loop *l)
{
	if (!tnp_loop_ok(l))
		return false;
	if (l->thread)
		tnp_raise_words(TN_ESTATE, "the loop runs already: a callback cannot run it again");
	return !l->thread;
}

int tnp_loop_step(struct loop *l, uint64_t until_ns)
{
	struct loop *outer = tnp_turning;
	int rc;

	if (!tnp_loop_idle(l))
		return -1;
	if (l->owner && l->owner != tnp_me()) {
		tnp_raise_words(TN_ESTATE, "the loop belongs to the thread that first ran it, which is another one");
		return -1;
	}
	Py_INCREF(l);
	l->owner = tnp_me();
	l->thread = &tnp_here;
	l->kicked = false;
	l->held = false;
	tnp_turning = l;
	l->tstate = PyEval_SaveThread();
	rc = tn_loop_step_until(l->loop, until_ns);
	if (!l->held)
		PyEval_RestoreThread(l->tstate);
	l->held = true;
	tnp_turning = outer;
	l->thread = NULL;
	if (rc < 0)
		tnp_raise(rc);
	Py_DECREF(l);
	return rc < 0 ? -1 : rc;
}

/* ---- waits of the main thread, which signals end ---- */

static void signalled(void *arg)
{
	char bytes[64];

	(void)arg;
	while (read(signal_pipe[0], bytes, sizeof(bytes)) > 0)
		;
}

/* Python writes to `fd` when a signal comes. Who it wrote to before; -1: nobody, -2: it was not to be had. */
static int write_signals_to(int fd)
{
	PyObject *names = Py_BuildValue("(s)", "warn_on_full_buffer"), *result = NULL, *arg = PyLong_FromLong(fd);
	PyObject *args[3] = {NULL, arg, Py_False};
	long before;

	if (names && arg)
		result = PyObject_Vectorcall(set_wakeup_fd, args + 1, 1 | TNP_SPARE_ARG, names);
	before = result ? PyLong_AsLong(result) : -2;
	PyErr_Clear(); /* not in the interpreter's main thread */
	Py_XDECREF(names);
	Py_XDECREF(arg);
	Py_XDECREF(result);
	return (int)before;
}

/* Until then it is safe to wait without looking for signals. */
static bool signals_end_wait(struct loop *l)
{
	int before;

	if (signal_pipe[0] < 0 && pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return false;
	if (!l->signals && tn_poll_start(l->loop, signal_pipe[0], signalled, NULL, &l->signals) < 0)
		return false;
	tn_poll_keep_loop(l->signals, false);
	before = write_signals_to(signal_pipe[1]);
	if (before >= 0) /* another loop's: asyncio has this thread */
		write_signals_to(before);
	return before == -1;
}

/* A step in any thread. In the main one a signal ends it, and its handlers are called. 1, 0, or -1: raised. */
static int step_for_signals(struct loop *l, uint64_t until_ns)
{
	uint64_t look;
	bool told;
	int rc;

	if (PyThread_get_thread_ident() != main_thread)
		return tnp_loop_step(l, until_ns);
	if (!tnp_loop_idle(l))
		return -1;
	told = l->quiet && signals_end_wait(l);
	look = told ? UINT64_MAX : tnp_now_ns() + SIGNAL_NS;
	if (told && PyErr_CheckSignals() < 0)
		rc = -1;
	else
		rc = tnp_loop_step(l, until_ns < look ? until_ns : look);
	if (told)
		write_signals_to(-1);
	l->quiet = !told && tnp_now_ns() >= look;
	return rc < 0 || (!l->raised[0] && PyErr_CheckSignals() < 0) ? -1 : rc;
}

void tnp_loop_kicked(struct loop *l)
{
	PyObject *result;

	if (!l->kick || l->kicked || l->thread)
		return;
	l->kicked = true;
	result = PyObject_CallNoArgs(l->kick);
	if (!result)
		PyErr_WriteUnraisable(l->kick);
	Py_XDECREF(result);
}

/* ---- ending a wait ---- */

static void nothing(void *arg)
{
	(void)arg;
}

/* A posted call may run right before the wait, which a timer that is due then ends. */
static void nudge(void *loop)
{
	int rc = tn_timer_start(loop, 0, nothing, NULL, NULL);

	(void)rc;
}

static int end_wait(struct loop *l)
{
	if (!l->loop)
		return 0;
	if (l->thread == &tnp_here) {
		nudge(l->loop);
		return 0;
	}
	return tn_loop_post(l->loop, nudge, l->loop);
}

void tnp_loop_failed(struct loop *l, PyObject *where, struct conn *c)
{
	PyObject *error[3], *result = NULL;

	if (!PyErr_ExceptionMatches(PyExc_Exception) && !l->raised[0]) {
		PyErr_Fetch(&l->raised[0], &l->raised[1], &l->raised[2]);
		l->stop = true;
		end_wait(l);
		return;
	}
	if (!l->on_error) {
		PyErr_WriteUnraisable(where);
		return;
	}
	PyErr_Fetch(&error[0], &error[1], &error[2]);
	PyErr_NormalizeException(&error[0], &error[1], &error[2]);
	if (error[2])
		PyException_SetTraceback(error[1], error[2]);
	result = PyObject_CallFunctionObjArgs(l->on_error, error[1], c ? (PyObject *)c : Py_None, NULL);
	for (int i = 0; i < 3; i++)
		Py_XDECREF(error[i]);
	if (!result)
		PyErr_WriteUnraisable(l->on_error);
	Py_XDECREF(result);
}

/* ---- Loop ---- */

static PyObject *loop_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"engine", NULL};
	const char *engine = NULL;
	struct loop *l;
	int rc;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|z:Loop", names, &engine))
		return NULL;
	l = (struct loop *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
	if (!l)
		return NULL;
	l->servers = PyList_New(0);
	rc = l->servers ? tn_loop_new(&l->loop, engine) : -ENOMEM;
	if (rc < 0) {
		l->loop = NULL;
		Py_DECREF(l);
		return tnp_raise(rc);
	}
	l->forks = forks;
	l->woken_end = &l->woken;
	l->next = all;
	if (all)
		all->prev = l;
	all = l;
	return (PyObject *)l;
}

static void unlist(struct loop *l)
{
	if (l->prev)
		l->prev->next = l->next;
	else if (all == l)
		all = l->next;
	if (l->next)
		l->next->prev = l->prev;
	l->prev = l->next = NULL;
}

static void helper_ended(struct helper *h);

/* Ends all that lives on it, whose on_close is called. */
static void shut(struct loop *l)
{
	struct tn_loop *loop = l->loop;
	struct loop *outer = tnp_turning;
	PyObject *servers;

	if (!loop)
		return;
	unlist(l);
	l->held = true;
	l->thread = &tnp_here;
	tnp_turning = l;
	if (l->forks == forks) /* what a child has of its parent's loop is the parent's: closing would end it there */
		tn_loop_free(loop);
	tnp_turning = outer;
	l->thread = NULL;
	l->loop = NULL;
	l->signals = NULL;
	l->waits = NULL;
	tnp_stream_go_on(l, true);
	tn_value_free(l->tree);
	l->tree = NULL;
	servers = l->servers;
	l->servers = PyList_New(0);
	for (Py_ssize_t i = 0; servers && i < PyList_Size(servers); i++)
		tnp_server_gone((struct server *)PyList_GetItem(servers, i));
	Py_XDECREF(servers);
	while (l->helpers)
		helper_ended(l->helpers);
}

static int loop_traverse(struct loop *l, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(l));
	Py_VISIT(l->on_error);
	Py_VISIT(l->kick);
	Py_VISIT(l->around);
	Py_VISIT(l->resolved);
	Py_VISIT(l->servers);
	for (int i = 0; i < 3; i++)
		Py_VISIT(l->raised[i]);
	return 0;
}

static int loop_clear(struct loop *l)
{
	Py_CLEAR(l->on_error);
	Py_CLEAR(l->kick);
	Py_CLEAR(l->around);
	Py_CLEAR(l->resolved);
	for (int i = 0; i < 3; i++)
		Py_CLEAR(l->raised[i]);
	return 0;
}

/* The collector calls this before it clears anything: on_close is called, which needs the handlers of servers. */
static void loop_finalize(struct loop *l)
{
	PyObject *error[3];

	PyErr_Fetch(&error[0], &error[1], &error[2]);
	shut(l);
	PyErr_Restore(error[0], error[1], error[2]);
}

static void loop_dealloc(struct loop *l)
{
	PyTypeObject *type = Py_TYPE(l);

	if (l->loop) { /* callbacks take references to it: the last one that is dropped leads here again */
		Py_INCREF(l);
		loop_finalize(l);
		Py_DECREF(l);
		return;
	}
	PyObject_GC_UnTrack(l);
	if (l->weak)
		PyObject_ClearWeakRefs((PyObject *)l);
	loop_clear(l);
	Py_CLEAR(l->servers);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(l);
	Py_DECREF(type);
}

static PyObject *raise_kept(struct loop *l)
{
	PyErr_Restore(l->raised[0], l->raised[1], l->raised[2]);
	memset(l->raised, 0, sizeof(l->raised));
	return NULL;
}

static PyObject *loop_run(struct loop *l, PyObject *unused)
{
	int rc = 1;

	(void)unused;
	if (!tnp_loop_idle(l))
		return NULL;
	Py_INCREF(l);
	while (rc > 0 && !l->stop)
		rc = step_for_signals(l, UINT64_MAX);
	l->stop = false;
	if (rc >= 0 && l->raised[0])
		raise_kept(l);
	rc = PyErr_Occurred() ? -1 : 0;
	Py_DECREF(l);
	if (rc < 0)
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *loop_step(struct loop *l, PyObject *args)
{
	PyObject *timeout = Py_None;
	uint64_t until_ns;
	int rc;

	if (!PyArg_ParseTuple(args, "|O:step", &timeout) || tnp_until(timeout, &until_ns) < 0)
		return NULL;
	rc = tnp_loop_step(l, until_ns);
	if (rc >= 0 && l->raised[0])
		return raise_kept(l);
	if (rc >= 0 && PyErr_CheckSignals() < 0)
		rc = -1;
	return rc < 0 ? NULL : PyBool_FromLong(rc);
}

static PyObject *loop_stop(struct loop *l, PyObject *unused)
{
	int rc = 0;

	(void)unused;
	if (!l->loop)
		Py_RETURN_NONE;
	l->stop = true;
	if (l->forks == forks)
		rc = end_wait(l);
	if (rc < 0)
		return tnp_raise(rc);
	Py_RETURN_NONE;
}

/* The run that was to stop is over: the next one goes on. */
static PyObject *loop_stopped(struct loop *l, PyObject *unused)
{
	(void)unused;
	l->stop = false;
	Py_RETURN_NONE;
}

static PyObject *loop_close(struct loop *l, PyObject *unused)
{
	(void)unused;
	if (!l->loop)
		Py_RETURN_NONE;
	if (l->thread) {
		return tnp_raise_words(TN_ESTATE,
				       l->thread == &tnp_here
					       ? "close() from a callback of the loop: stop() it first"
					       : "close() while another thread runs the loop: stop() it first");
	}
	Py_INCREF(l);
	shut(l);
	Py_DECREF(l);
	Py_RETURN_NONE;
}

static PyObject *loop_enter(PyObject *self, PyObject *unused)
{
	(void)unused;
	Py_INCREF(self);
	return self;
}

static PyObject *loop_exit(struct loop *l, PyObject *args)
{
	(void)args;
	return loop_close(l, NULL);
}

int tnp_loop_wait(struct loop *l, uint64_t until_ns)
{
	int rc;

	if (until_ns <= tnp_now_ns() && l->stepped) {
		l->stepped = false;
		tnp_raise_words(-ETIMEDOUT, "timed out");
		return -1;
	}
	if (!l->waits) {
		rc = tn_timer_repeat(l->loop, WAITS_NS, WAITS_NS, nothing, NULL, &l->waits);
		if (rc < 0) {
			tnp_raise(rc);
			return -1;
		}
	}
	tn_timer_keep_loop(l->waits, true); /* whatever else does: otherwise a step does not wait */
	rc = step_for_signals(l, until_ns);
	tn_timer_keep_loop(l->waits, false);
	if (rc < 0)
		return -1;
	l->stepped = true;
	if (l->raised[0]) {
		raise_kept(l);
		return -1;
	}
	return 1;
}

/* ---- inside of another loop ---- */

/*
 * A turn on behalf of the loop around it. Tasks that wait for messages go on between its steps, so that the second one
 * sends what they have said. Returns how many seconds from now the next turn is due, None: not before an event. "At
 * once" is asked for by the kick.
 */
static PyObject *loop_turn(struct loop *l, PyObject *unused)
{
	uint64_t deadline, now;

	(void)unused;
	if (!l->loop || l->thread)
		Py_RETURN_NONE;
	for (int steps = 0; steps < 2; steps++) {
		if (tnp_loop_step(l, 0) < 0)
			return NULL;
		if (!l->woken)
			break;
		l->kicked = true;
		tnp_stream_go_on(l, false);
		l->kicked = false;
		if (!l->loop)
			Py_RETURN_NONE;
	}
	if (l->raised[0])
		return raise_kept(l);
	deadline = tn_loop_deadline(l->loop);
	if (deadline == UINT64_MAX)
		Py_RETURN_NONE;
	now = deadline ? tnp_now_ns() : 0;
	if (deadline <= now) {
		tnp_loop_kicked(l);
		Py_RETURN_NONE;
	}
	return PyFloat_FromDouble((double)(deadline - now) / (double)NS_PER_S);
}

/* _embed(kick, around): `around` is asyncio's loop, or None. */
static PyObject *loop_embed(struct loop *l, PyObject *args)
{
	PyObject *kick, *around, *result;
	int fd;

	if (!PyArg_ParseTuple(args, "OO:_embed", &kick, &around) || !tnp_loop_idle(l))
		return NULL;
	fd = tn_loop_fd(l->loop);
	if (fd < 0)
		return tnp_raise(fd);
	Py_INCREF(kick);
	Py_XDECREF(l->kick);
	l->kick = kick;
	if (around != Py_None) {
		Py_INCREF(around);
		Py_XDECREF(l->around);
		l->around = around;
		Py_XDECREF(l->resolved);
		l->resolved = PyObject_CallMethod(around, "create_future", NULL);
		result = l->resolved ? PyObject_CallMethod(l->resolved, "set_result", "O", Py_None) : NULL;
		if (!result)
			return NULL;
		Py_DECREF(result);
	}
	return PyLong_FromLong(fd);
}

/* ---- calls from other threads ---- */

/* A function with its arguments. */
struct call {
	struct loop *loop;
	PyObject *fn, *args;
};

static void call_free(struct call *call)
{
	Py_XDECREF(call->fn);
	Py_XDECREF(call->args);
	free(call);
}

static struct call *call_new(struct loop *l, PyObject *args, Py_ssize_t at)
{
	struct call *call = calloc(1, sizeof(*call));

	if (!call) {
		PyErr_NoMemory();
		return NULL;
	}
	call->loop = l;
	call->fn = PySequence_GetItem(args, at);
	call->args = call->fn ? PyTuple_GetSlice(args, at + 1, PyTuple_Size(args)) : NULL;
	if (call->args && !PyCallable_Check(call->fn)) {
		PyErr_Format(PyExc_TypeError, "a function is wanted, not %R", call->fn);
		Py_CLEAR(call->args);
	}
	if (!call->args) {
		call_free(call);
		return NULL;
	}
	return call;
}

/* Runs in a step, which goes on to wait: the GIL is given back. */
void tnp_give_back(struct loop *l, bool held)
{
	if (!held) {
		l->held = false;
		l->tstate = PyEval_SaveThread();
	}
}

static void run_call(PyObject *fn, PyObject *args, struct loop *l)
{
	PyObject *result = PyObject_CallObject(fn, args);

	if (!result)
		tnp_loop_failed(l, fn, NULL);
	Py_XDECREF(result);
}

static void posted(void *arg)
{
	struct call *call = arg;
	bool held = tnp_turning->held;
	struct loop *l = tnp_enter();

	run_call(call->fn, call->args, l);
	call_free(call);
	tnp_give_back(l, held);
}

/* A connection that was let go by another thread, as the collector does it. */
struct closing {
	struct closing *next;
	struct tn_conn *conn; /* NULL: it has ended meanwhile */
};

static void close_posted(void *arg)
{
	struct closing *one = arg, **at;
	bool held = tnp_turning->held;
	struct loop *l = tnp_enter();

	for (at = &l->closing; *at != one; at = &(*at)->next)
		;
	*at = one->next;
	if (one->conn)
		tn_close(one->conn);
	free(one);
	tnp_give_back(l, held);
}

void tnp_loop_close(struct loop *l, struct tn_conn *conn)
{
	struct closing *one;

	if (tnp_loop_usable(l) && (!l->owner || l->owner == tnp_me())) {
		tn_close(conn);
		tnp_loop_kicked(l);
		return;
	}
	one = l->forks == forks ? calloc(1, sizeof(*one)) : NULL;
	if (!one)
		return;
	one->conn = conn;
	one->next = l->closing;
	l->closing = one;
	if (tn_loop_post(l->loop, close_posted, one) < 0) {
		l->closing = one->next;
		free(one);
	}
}

void tnp_loop_closed(struct loop *l, struct tn_conn *conn)
{
	for (struct closing *one = l->closing; one; one = one->next)
		if (one->conn == conn)
			one->conn = NULL;
}

static PyObject *loop_call(struct loop *l, PyObject *args)
{
	struct call *call;
	int rc;

	if (PyTuple_Size(args) < 1)
		return PyErr_Format(PyExc_TypeError, "call() takes a function and its arguments");
	if (!l->loop)
		return tnp_raise_words(TN_ESTATE, "the loop is closed");
	if (l->forks != forks)
		return tnp_raise_words(TN_ESTATE, "the loop was made before fork(): a child makes its own");
	call = call_new(l, args, 0);
	if (!call)
		return NULL;
	rc = tn_loop_post(l->loop, posted, call);
	if (rc < 0) {
		call_free(call);
		return tnp_raise(rc);
	}
	Py_RETURN_NONE;
}

/* ---- Timer and Poll ---- */

/* What calls a function of the program's, until it is stopped. */
struct helper {
	PyObject_HEAD struct loop *loop;
	PyObject *fn, *args;
	struct helper *prev, *next; /* of the loop's: the library has them, and a reference is its */
	struct tn_timer *timer;
	struct tn_poll *poll;
	struct tn_signal *signal; /* all NULL: it will not be called */
	bool repeats;
};

static struct helper *helper_new(PyTypeObject *type, struct loop *l, PyObject *args)
{
	struct helper *h;

	if (!PyCallable_Check(PyTuple_GetItem(args, 1))) {
		PyErr_Format(PyExc_TypeError, "a function is wanted, not %R", PyTuple_GetItem(args, 1));
		return NULL;
	}
	h = (struct helper *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
	if (!h)
		return NULL;
	h->loop = l;
	Py_INCREF(l);
	h->fn = PyTuple_GetItem(args, 1);
	Py_INCREF(h->fn);
	h->args = PyTuple_GetSlice(args, 2, PyTuple_Size(args));
	if (!h->args)
		Py_CLEAR(h);
	return h;
}

/* The library has it now, or (rc < 0) has refused it. */
static PyObject *helper_begun(struct helper *h, int rc)
{
	struct loop *l = h->loop;

	if (rc < 0) {
		Py_DECREF(h);
		return tnp_raise(rc);
	}
	h->next = l->helpers;
	if (h->next)
		h->next->prev = h;
	l->helpers = h;
	Py_INCREF(h);
	tnp_loop_kicked(l);
	return (PyObject *)h;
}

/* The library has it no more. */
static void helper_ended(struct helper *h)
{
	if (h->prev)
		h->prev->next = h->next;
	else
		h->loop->helpers = h->next;
	if (h->next)
		h->next->prev = h->prev;
	h->prev = h->next = NULL;
	h->timer = NULL;
	h->poll = NULL;
	h->signal = NULL;
	Py_DECREF(h);
}

static void fired(void *arg)
{
	struct helper *h = arg;
	bool held = tnp_turning->held;
	struct loop *l = tnp_enter();

	Py_INCREF(h);
	if (!h->repeats) {
		tn_timer_stop(h->timer);
		helper_ended(h);
	}
	run_call(h->fn, h->args, l);
	Py_DECREF(h);
	tnp_give_back(l, held);
}

static PyObject *begin_timer(struct loop *l, PyObject *args, bool repeats)
{
	struct helper *h;
	uint64_t ns;

	if (PyTuple_Size(args) < 2)
		return PyErr_Format(PyExc_TypeError, "a timer takes seconds, a function and its arguments");
	if (!tnp_loop_ok(l) || duration(PyTuple_GetItem(args, 0), &ns) < 0)
		return NULL;
	if (repeats && !ns)
		return PyErr_Format(PyExc_ValueError, "every() takes a time above 0");
	h = helper_new(timer_type, l, args);
	if (!h)
		return NULL;
	h->repeats = repeats;
	return helper_begun(h, tn_timer_repeat(l->loop, ns, repeats ? ns : 0, fired, h, &h->timer));
}

static PyObject *loop_after(struct loop *l, PyObject *args)
{
	return begin_timer(l, args, false);
}

static PyObject *loop_every(struct loop *l, PyObject *args)
{
	return begin_timer(l, args, true);
}

static void readable(void *arg)
{
	struct helper *h = arg;
	bool held = tnp_turning->held;
	struct loop *l = tnp_enter();

	Py_INCREF(h);
	run_call(h->fn, h->args, l);
	Py_DECREF(h);
	tnp_give_back(l, held);
}

static PyObject *loop_poll(struct loop *l, PyObject *args)
{
	struct helper *h;
	int fd;

	if (PyTuple_Size(args) < 2)
		return PyErr_Format(PyExc_TypeError, "poll() takes a descriptor, a function and its arguments");
	fd = PyObject_AsFileDescriptor(PyTuple_GetItem(args, 0));
	if (fd < 0 || !tnp_loop_ok(l))
		return NULL;
	h = helper_new(poll_type, l, args);
	return h ? helper_begun(h, tn_poll_start(l->loop, fd, readable, h, &h->poll)) : NULL;
}

static void received(int number, void *arg)
{
	(void)number;
	readable(arg);
}

static PyObject *loop_signal(struct loop *l, PyObject *args)
{
	struct helper *h;
	int number;

	if (PyTuple_Size(args) < 2)
		return PyErr_Format(PyExc_TypeError, "signal() takes a number, a function and its arguments");
	number = (int)PyLong_AsLong(PyTuple_GetItem(args, 0));
	if (PyErr_Occurred() || !tnp_loop_ok(l))
		return NULL;
	h = helper_new(signal_type, l, args);
	return h ? helper_begun(h, tn_signal_start(l->loop, number, received, h, &h->signal)) : NULL;
}

static bool active(const struct helper *h)
{
	return h->timer || h->poll || h->signal;
}

static PyObject *helper_keep_loop(struct helper *h, PyObject *keep)
{
	int wanted = PyObject_IsTrue(keep);

	if (wanted < 0 || (active(h) && !tnp_loop_ok(h->loop)))
		return NULL;
	if (h->timer)
		tn_timer_keep_loop(h->timer, wanted);
	if (h->poll)
		tn_poll_keep_loop(h->poll, wanted);
	if (h->signal)
		tn_signal_keep_loop(h->signal, wanted);
	Py_RETURN_NONE;
}

static PyObject *helper_stop(struct helper *h, PyObject *unused)
{
	(void)unused;
	if (!active(h))
		Py_RETURN_NONE;
	if (!tnp_loop_ok(h->loop))
		return NULL;
	tn_timer_stop(h->timer);
	tn_poll_stop(h->poll);
	tn_signal_stop(h->signal);
	helper_ended(h);
	Py_RETURN_NONE;
}

static PyObject *helper_active(struct helper *h, void *unused)
{
	(void)unused;
	return PyBool_FromLong(active(h));
}

static int helper_traverse(struct helper *h, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(h));
	Py_VISIT(h->loop);
	Py_VISIT(h->fn);
	Py_VISIT(h->args);
	return 0;
}

static int helper_clear(struct helper *h)
{
	Py_CLEAR(h->fn);
	Py_CLEAR(h->args);
	return 0;
}

static void helper_dealloc(struct helper *h)
{
	PyTypeObject *type = Py_TYPE(h);

	PyObject_GC_UnTrack(h);
	helper_clear(h);
	Py_CLEAR(h->loop);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(h);
	Py_DECREF(type);
}

/* ---- getters ---- */

static PyObject *loop_engine(struct loop *l, void *unused)
{
	(void)unused;
	if (!l->loop)
		return tnp_raise_words(TN_ESTATE, "the loop is closed");
	return PyUnicode_FromString(tn_loop_engine(l->loop));
}

static PyObject *loop_closed(struct loop *l, void *unused)
{
	(void)unused;
	return PyBool_FromLong(!l->loop);
}

static PyObject *loop_running(struct loop *l, void *unused)
{
	(void)unused;
	return PyBool_FromLong(l->thread != NULL);
}

static PyObject *get_on_error(struct loop *l, void *unused)
{
	PyObject *fn = l->on_error ? l->on_error : Py_None;

	(void)unused;
	Py_INCREF(fn);
	return fn;
}

static int set_on_error(struct loop *l, PyObject *fn, void *unused)
{
	(void)unused;
	if (fn && fn != Py_None && !PyCallable_Check(fn)) {
		PyErr_Format(PyExc_TypeError, "on_error is a function, not %R", fn);
		return -1;
	}
	Py_CLEAR(l->on_error);
	if (fn && fn != Py_None) {
		Py_INCREF(fn);
		l->on_error = fn;
	}
	return 0;
}

PyDoc_STRVAR(loop_doc,
	     "Loop(engine=None)\n--\n\n"
	     "One loop runs in one thread; servers, connections, timers and polls live on it.\n\n"
	     "engine: None or 'auto' (io_uring where the system allows it, otherwise epoll), 'uring' or 'epoll'. "
	     "The\n"
	     "environment variable TENON_ENGINE stands in for None. Raises tenon.Error.");

static PyMethodDef loop_methods[] = {
	{"run", (PyCFunction)loop_run, METH_NOARGS,
	 "run()\n--\n\nRuns until stop() is called or nothing is left on the loop. The GIL is released while it "
	 "waits. "
	 "KeyboardInterrupt and SystemExit of a callback end it and are raised here."},
	{"step", (PyCFunction)loop_step, METH_VARARGS,
	 "step(timeout=None)\n--\n\nHandles what is due, first waiting for it for at most `timeout` seconds (None: "
	 "as "
	 "long as it takes). Returns True while anything is left on the loop."},
	{"stop", (PyCFunction)loop_stop, METH_NOARGS,
	 "stop()\n--\n\nMakes run() return soon. May be called from any thread and any callback."},
	{"call", (PyCFunction)loop_call, METH_VARARGS,
	 "call(fn, *args)\n--\n\nCalls fn(*args) on the loop's own thread, soon. May be called from any thread; "
	 "calls from one thread keep their order. Raises StateError: the loop is closed."},
	{"after", (PyCFunction)loop_after, METH_VARARGS,
	 "after(seconds, fn, *args)\n--\n\nCalls fn(*args) once, `seconds` from now. Returns a Timer."},
	{"every", (PyCFunction)loop_every, METH_VARARGS,
	 "every(seconds, fn, *args)\n--\n\nCalls fn(*args) `seconds` from now and then as often. Times that the loop "
	 "was too late for are left out; the series does not drift. Returns a Timer."},
	{"poll", (PyCFunction)loop_poll, METH_VARARGS,
	 "poll(fd, fn, *args)\n--\n\nCalls fn(*args) for new events of a descriptor (poll(2) POLLIN, or hung up): it "
	 "must read until there is nothing. `fd`: a number or an object with fileno(), which stays the caller's. "
	 "Returns a Poll, to be stopped by its stop()."},
	{"signal", (PyCFunction)loop_signal, METH_VARARGS,
	 "signal(number, fn, *args)\n--\n\nCalls fn(*args) whenever the process has got a signal; several that come "
	 "before "
	 "it is called count as one. Until stop(), Python's own handler of it is not called (signal.signal()). Any "
	 "number of "
	 "loops may wait for one. Returns a Signal. Raises Error: no signal that can be waited for."},
	{"close", (PyCFunction)loop_close, METH_NOARGS,
	 "close()\n--\n\nEnds all that lives on the loop at once; on_close is called for each connection. Not from a "
	 "callback of the loop."},
	{"_stopped", (PyCFunction)loop_stopped, METH_NOARGS, NULL},
	{"_turn", (PyCFunction)loop_turn, METH_NOARGS, NULL},
	{"_embed", (PyCFunction)loop_embed, METH_VARARGS, NULL},
	{"__enter__", loop_enter, METH_NOARGS, NULL},
	{"__exit__", (PyCFunction)loop_exit, METH_VARARGS, NULL},
	{NULL, NULL, 0, NULL},
};

static PyGetSetDef loop_getset[] = {
	{"engine", (getter)loop_engine, NULL, "'uring', 'epoll' or 'sim'.", NULL},
	{"closed", (getter)loop_closed, NULL, "Whether close() was called.", NULL},
	{"running", (getter)loop_running, NULL, "Whether a thread is in run() or step() now.", NULL},
	{"on_error", (getter)get_on_error, (setter)set_on_error,
	 "Called as on_error(exception, connection or None) for what a callback raises. None: sys.unraisablehook.",
	 NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef loop_members[] = {
	{"__weaklistoffset__", T_PYSSIZET, offsetof(struct loop, weak), READONLY, NULL},
	{NULL, 0, 0, 0, NULL},
};

static PyType_Slot loop_slots[] = {
	{Py_tp_doc, (void *)loop_doc},   {Py_tp_new, loop_new},
	{Py_tp_dealloc, loop_dealloc},   {Py_tp_traverse, loop_traverse},
	{Py_tp_clear, loop_clear},       {Py_tp_methods, loop_methods},
	{Py_tp_getset, loop_getset},     {Py_tp_members, loop_members},
	{Py_tp_finalize, loop_finalize}, {0, NULL},
};

static PyType_Spec loop_spec = {"tenon.Loop", sizeof(struct loop), 0,
				Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, loop_slots};

static PyMethodDef helper_methods[] = {
	{"stop", (PyCFunction)helper_stop, METH_NOARGS, "stop()\n--\n\nIts function is not called any more."},
	{"keep_loop", (PyCFunction)helper_keep_loop, METH_O,
	 "keep_loop(keep, /)\n--\n\nWhether run() goes on for its sake; it does at first."},
	{NULL, NULL, 0, NULL},
};

static PyGetSetDef helper_getset[] = {
	{"active", (getter)helper_active, NULL, "Whether its function may still be called.", NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot timer_slots[] = {
	{Py_tp_doc, (void *)"What Loop.after() and Loop.every() return."},
	{Py_tp_dealloc, helper_dealloc},
	{Py_tp_traverse, helper_traverse},
	{Py_tp_clear, helper_clear},
	{Py_tp_methods, helper_methods},
	{Py_tp_getset, helper_getset},
	{0, NULL},
};

static PyType_Slot poll_slots[] = {
	{Py_tp_doc, (void *)"What Loop.poll() returns."},
	{Py_tp_dealloc, helper_dealloc},
	{Py_tp_traverse, helper_traverse},
	{Py_tp_clear, helper_clear},
	{Py_tp_methods, helper_methods},
	{Py_tp_getset, helper_getset},
	{0, NULL},
};

static PyType_Slot signal_slots[] = {
	{Py_tp_doc, (void *)"What Loop.signal() returns."},
	{Py_tp_dealloc, helper_dealloc},
	{Py_tp_traverse, helper_traverse},
	{Py_tp_clear, helper_clear},
	{Py_tp_methods, helper_methods},
	{Py_tp_getset, helper_getset},
	{0, NULL},
};

#define HELPER_FLAGS \
	(Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE)
static PyType_Spec timer_spec = {"tenon.Timer", sizeof(struct helper), 0, HELPER_FLAGS, timer_slots};
static PyType_Spec poll_spec = {"tenon.Poll", sizeof(struct helper), 0, HELPER_FLAGS, poll_slots};

static PyType_Spec signal_spec = {"tenon.Signal", sizeof(struct helper), 0, HELPER_FLAGS, signal_slots};

/* ---- the module's ---- */

struct loop *tnp_loop_default(void)
{
	PyObject *l = PyObject_GetAttrString(locals, "loop");

	if (l && PyObject_TypeCheck(l, tnp_loop_type) && ((struct loop *)l)->loop && ((struct loop *)l)->forks == forks)
		return (struct loop *)l;
	PyErr_Clear();
	Py_XDECREF(l);
	l = PyObject_CallNoArgs((PyObject *)tnp_loop_type);
	if (l && PyObject_SetAttrString(locals, "loop", l) < 0)
		Py_CLEAR(l);
	return (struct loop *)l;
}

static PyObject *default_loop(PyObject *self, PyObject *unused)
{
	(void)self;
	(void)unused;
	return (PyObject *)tnp_loop_default();
}

/* A child of fork(): its parent's loops are not its own. */
static PyObject *forked(PyObject *self, PyObject *unused)
{
	int wakeup;

	(void)self;
	(void)unused;
	forks++;
	main_thread = PyThread_get_thread_ident();
	for (struct loop *l = all; l; l = l->next)
		l->thread = NULL;
	tnp_turning = NULL;
	wakeup = signal_pipe[1] >= 0 ? write_signals_to(-1) : -1;
	if (wakeup >= 0 && wakeup != signal_pipe[1]) /* not ours, whose number the child's next file may have */
		write_signals_to(wakeup);
	for (int i = 0; i < 2; i++) { /* the parent's */
		if (signal_pipe[i] >= 0)
			close(signal_pipe[i]);
		signal_pipe[i] = -1;
	}
	Py_RETURN_NONE;
}

/* The interpreter ends: peers are told, files of Unix sockets removed. Loops of other threads are left alone. */
static PyObject *ending(PyObject *self, PyObject *unused)
{
	struct loop *l = all;

	(void)self;
	(void)unused;
	while (l) {
		if (l->thread || l->forks != forks) {
			l = l->next;
			continue;
		}
		Py_INCREF(l);
		shut(l);
		Py_DECREF(l);
		l = all;
	}
	Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
	{"loop", default_loop, METH_NOARGS,
	 "loop()\n--\n\nThe loop of this thread, on which all lives that is not given another; made when it is first "
	 "asked for."},
	{"_forked", forked, METH_NOARGS, NULL},
	{"_ending", ending, METH_NOARGS, NULL},
	{NULL, NULL, 0, NULL},
};

static int call_later(const char *where, const char *function, PyObject *module, const char *name, const char *keyword)
{
	PyObject *other = PyImport_ImportModule(where);
	PyObject *fn = other ? PyObject_GetAttrString(other, function) : NULL;
	PyObject *hook = fn ? PyObject_GetAttrString(module, name) : NULL;
	PyObject *args = hook ? keyword ? PyTuple_New(0) : PyTuple_Pack(1, hook) : NULL;
	PyObject *kwargs = args && keyword ? Py_BuildValue("{sO}", keyword, hook) : NULL;
	PyObject *result = args && (kwargs || !keyword) ? PyObject_Call(fn, args, kwargs) : NULL;

	Py_XDECREF(other);
	Py_XDECREF(fn);
	Py_XDECREF(hook);
	Py_XDECREF(args);
	Py_XDECREF(kwargs);
	Py_XDECREF(result);
	return result ? 0 : -1;
}

static int find_main_thread(void)
{
	PyObject *threading = PyImport_ImportModule("threading");
	PyObject *main = threading ? PyObject_CallMethod(threading, "main_thread", NULL) : NULL;
	PyObject *ident = main ? PyObject_GetAttrString(main, "ident") : NULL;

	if (ident)
		main_thread = PyLong_AsUnsignedLong(ident);
	locals = ident ? PyObject_CallMethod(threading, "local", NULL) : NULL;
	Py_XDECREF(threading);
	Py_XDECREF(main);
	Py_XDECREF(ident);
	return locals ? 0 : -1;
}

static int find_signals(void)
{
	PyObject *signal = PyImport_ImportModule("signal");

	set_wakeup_fd = signal ? PyObject_GetAttrString(signal, "set_wakeup_fd") : NULL;
	Py_XDECREF(signal);
	return set_wakeup_fd ? 0 : -1;
}

int tnp_loop_init(PyObject *module)
{
	tnp_loop_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &loop_spec, NULL);
	timer_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &timer_spec, NULL);
	poll_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &poll_spec, NULL);
	signal_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &signal_spec, NULL);
	if (!tnp_loop_type || !timer_type || !poll_type || !signal_type || PyModule_AddType(module, signal_type) < 0 ||
	    PyModule_AddType(module, tnp_loop_type) < 0 || PyModule_AddType(module, timer_type) < 0 ||
	    PyModule_AddType(module, poll_type) < 0 || PyModule_AddFunctions(module, module_methods) < 0 ||
	    find_main_thread() < 0 || find_signals() < 0)
		return -1;
	if (call_later("os", "register_at_fork", module, "_forked", "after_in_child") < 0)
		return -1;
	return call_later("atexit", "register", module, "_ending", NULL);
}
