/* What the library knows, as plain objects: of connections, URLs, options, certificates. */
#include "core.h"

#include <tenon_cert.h>

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define NS_PER_S 1e9

PyObject *tnp_text(const char *text)
{
	if (!text)
		Py_RETURN_NONE;
	return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "backslashreplace");
}

static int add_number(PyObject *dict, const char *name, bool known, uint32_t number)
{
	PyObject *value = known ? PyLong_FromUnsignedLong(number) : Py_NewRef(Py_None);
	int rc = value ? PyDict_SetItemString(dict, name, value) : -1;

	Py_XDECREF(value);
	return rc;
}

/* None where nobody knows: other sockets than those of Unix, and what has closed. */
static int add_credentials(PyObject *dict, const struct tn_conn_info *i)
{
	PyObject *label = tnp_text(*i->peer_label ? i->peer_label : NULL);
	int rc = label ? PyDict_SetItemString(dict, "peer_label", label) : -1;

	Py_XDECREF(label);
	if (rc == 0)
		rc = add_number(dict, "peer_pid", i->peer_known && i->peer_pid, (uint32_t)i->peer_pid);
	if (rc == 0)
		rc = add_number(dict, "peer_uid", i->peer_known, i->peer_uid);
	return rc == 0 ? add_number(dict, "peer_gid", i->peer_known, i->peer_gid) : rc;
}

/* None: there is no program (exec:), or it has not ended so. */
static int add_program(PyObject *dict, const struct tn_conn_info *i)
{
	int rc = add_number(dict, "child_pid", i->child_pid, (uint32_t)i->child_pid);

	if (rc == 0)
		rc = add_number(dict, "child_status", i->child_ended && !i->child_signal, (uint32_t)i->child_status);
	if (rc == 0)
		rc = add_number(dict, "child_signal", i->child_ended && i->child_signal, (uint32_t)i->child_signal);
	return rc == 0 ? PyDict_SetItemString(dict, "child_cut", i->child_cut ? Py_True : Py_False) : rc;
}

PyObject *tnp_info(const struct tn_conn *conn)
{
	struct tn_conn_info i;
	PyObject *peer, *local, *dict;

	tn_conn_info(conn, &i);
	peer = tnp_text(i.peer);
	local = tnp_text(i.local);
	dict = Py_BuildValue("{sK sK sK sK sK sK sd sd sd sd sO si sO sO}", "bytes_in", (unsigned long long)i.bytes_in,
			     "bytes_out", (unsigned long long)i.bytes_out, "msgs_in", (unsigned long long)i.msgs_in,
			     "msgs_out", (unsigned long long)i.msgs_out, "lost", (unsigned long long)i.lost, "dropped",
			     (unsigned long long)i.dropped, "opened", (double)i.opened_ns / NS_PER_S, "stalled",
			     (double)i.stalled_ns / NS_PER_S, "lookup", (double)i.lookup_ns / NS_PER_S, "connected",
			     (double)i.connected_ns / NS_PER_S, "many", i.many ? Py_True : Py_False, "fd", i.fd,
			     "local", local ? local : Py_None, "peer", peer ? peer : Py_None);
	Py_XDECREF(peer);
	Py_XDECREF(local);
	if (dict && (add_credentials(dict, &i) < 0 || add_program(dict, &i) < 0))
		Py_CLEAR(dict);
	return dict;
}

/* {name: text} of a list that ends with NULL. */
static int add_text(PyObject *dict, const char *name, const char *text)
{
	PyObject *value = tnp_text(text);
	int rc = value ? PyDict_SetItemString(dict, name, value) : -1;

	Py_XDECREF(value);
	return rc;
}

PyObject *tnp_security(const struct tn_conn *conn)
{
	struct tn_security s;
	int rc = tn_conn_security(conn, &s);
	PyObject *dict;

	if (rc == -EOPNOTSUPP)
		Py_RETURN_NONE;
	if (rc < 0)
		return tnp_raise(rc);
	dict = Py_BuildValue("{sO}", "resumed", s.resumed ? Py_True : Py_False);
	if (dict && (add_text(dict, "protocol", s.protocol) < 0 || add_text(dict, "cipher", s.cipher) < 0 ||
		     add_text(dict, "alpn", s.alpn) < 0 || add_text(dict, "server_name", s.server_name) < 0 ||
		     add_text(dict, "identity", s.identity) < 0))
		Py_CLEAR(dict);
	return dict;
}

PyObject *tnp_websocket(const struct tn_conn *conn)
{
	struct tn_websocket w;
	int rc = tn_conn_websocket(conn, &w);
	PyObject *dict;

	if (rc == -EOPNOTSUPP)
		Py_RETURN_NONE;
	if (rc < 0)
		return tnp_raise(rc);
	dict = Py_BuildValue("{sO si si sd}", "deflate", w.deflate ? Py_True : Py_False, "peer_code", w.peer_code,
			     "our_code", w.our_code, "round", (double)w.round_ns / NS_PER_S);
	if (dict && (add_text(dict, "subprotocol", w.subprotocol) < 0 || add_text(dict, "target", w.target) < 0 ||
		     add_text(dict, "peer_reason", w.peer_reason) < 0))
		Py_CLEAR(dict);
	return dict;
}

PyObject *tnp_counts(const struct tn_server *server)
{
	static const struct {
		const char *name;
		size_t at;
	} rows[] = {
#define ROW(name) {#name, offsetof(struct tn_counts, name)},
		/* clang-format off */
		ROW(open) ROW(accepted) ROW(closed) ROW(bytes_in) ROW(bytes_out)
		ROW(msgs_in) ROW(msgs_out) ROW(bad) ROW(lost) ROW(dropped)
		ROW(refused_limit) ROW(refused_source) ROW(refused_access) ROW(refused_proxy) ROW(handshakes)
		ROW(resumed) ROW(handshakes_failed) ROW(handshakes_timed_out) ROW(accept_failed) ROW(queue_peak)
	/* clang-format on */
#undef ROW
	};
	PyObject *dict = PyDict_New(), *value;
	struct tn_counts counts;

	tn_server_count(server, &counts);
	for (size_t i = 0; dict && i < sizeof(rows) / sizeof(rows[0]); i++) {
		value = PyLong_FromUnsignedLongLong(*(const uint64_t *)((const char *)&counts + rows[i].at));
		if (!value || PyDict_SetItemString(dict, rows[i].name, value) < 0)
			Py_CLEAR(dict);
		Py_XDECREF(value);
	}
	return dict;
}

/* ---- files ---- */

PyObject *tnp_file(const char *path, enum tn_file_use use)
{
	static const char *const words[] = {[TN_FILE_READ] = "read",
					    [TN_FILE_APPEND] = "append",
					    [TN_FILE_REMOVE] = "remove",
					    [TN_FILE_LOOK] = "look"};
	PyObject *name = PyUnicode_DecodeFSDefault(path);
	PyObject *row = name ? Py_BuildValue("(Os)", name, words[use]) : NULL;

	Py_XDECREF(name);
	return row;
}

static PyObject *url_files(PyObject *self, PyObject *args)
{
	PyObject *list, *row;
	enum tn_file_use use;
	char path[4096];
	const char *url;
	int rc;

	(void)self;
	if (!PyArg_ParseTuple(args, "s:url_files", &url))
		return NULL;
	list = PyList_New(0);
	for (int i = 0; list; i++) {
		rc = tn_url_file(url, i, path, sizeof(path), &use);
		if (rc == -ENOENT)
			return list;
		row = rc < 0 ? tnp_raise(rc) : tnp_file(path, use);
		if (!row || PyList_Append(list, row) < 0)
			Py_CLEAR(list);
		Py_XDECREF(row);
	}
	return NULL;
}

/* ---- the log ---- */

static PyObject *log_fn;

static void write_log(bool important, const char *text, void *arg)
{
	PyGILState_STATE state = PyGILState_Ensure();
	PyObject *fn = log_fn, *words, *result = NULL, *kept[3];

	(void)arg;
	PyErr_Fetch(&kept[0], &kept[1], &kept[2]);
	Py_XINCREF(fn);
	words = fn ? tnp_text(text) : NULL;
	if (words)
		result = PyObject_CallFunctionObjArgs(fn, important ? Py_True : Py_False, words, NULL);
	if (fn && !result)
		PyErr_WriteUnraisable(fn);
	Py_XDECREF(words);
	Py_XDECREF(result);
	Py_XDECREF(fn);
	PyErr_Restore(kept[0], kept[1], kept[2]);
	PyGILState_Release(state);
}

static PyObject *set_log(PyObject *self, PyObject *fn)
{
	PyObject *before = log_fn;

	(void)self;
	if (fn != Py_None && !PyCallable_Check(fn))
		return PyErr_Format(PyExc_TypeError, "a function is wanted, not %R", fn);
	log_fn = fn == Py_None ? NULL : fn;
	Py_XINCREF(log_fn);
	tn_set_log(log_fn ? write_log : NULL, NULL);
	Py_XDECREF(before);
	Py_RETURN_NONE;
}

/* ---- URLs ---- */

static PyObject *url_place(PyObject *self, PyObject *args)
{
	struct tn_place place;
	PyObject *list, *text;
	char address[384];
	const char *url;
	int rc;

	(void)self;
	if (!PyArg_ParseTuple(args, "s:url_place", &url))
		return NULL;
	Py_BEGIN_ALLOW_THREADS;
	rc = tn_url_place(url, &place);
	Py_END_ALLOW_THREADS;
	if (rc < 0)
		return tnp_raise(rc);
	list = PyList_New(0);
	for (int i = 0; list && i < place.naddrs; i++) {
		text = tnp_text(tn_addr_text(&place.addrs[i], address, sizeof(address)));
		if (!text || PyList_Append(list, text) < 0)
			Py_CLEAR(list);
		Py_XDECREF(text);
	}
	return list ? Py_BuildValue("{si si si si sN}", "family", place.family, "type", place.type, "protocol",
				    place.protocol, "port", place.port, "addresses", list)
		    : NULL;
}

static PyObject *socket_option(PyObject *self, PyObject *args)
{
	PyObject *object;
	char value[512];
	const char *key;
	int fd, rc;

	(void)self;
	if (!PyArg_ParseTuple(args, "Os:socket_option", &object, &key))
		return NULL;
	fd = PyObject_AsFileDescriptor(object);
	if (fd < 0)
		return NULL;
	rc = tn_socket_option(fd, key, value, sizeof(value));
	return rc < 0 ? tnp_raise(rc) : tnp_text(value);
}

static PyObject *url_check(PyObject *self, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"url", "serve", NULL};
	const char *url;
	int serve = 0, rc;

	(void)self;
	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s|$p:url_check", names, &url, &serve))
		return NULL;
	rc = tn_url_check(url, serve ? TN_SERVE : TN_DIAL);
	if (rc < 0)
		return tnp_raise(rc);
	Py_RETURN_NONE;
}

static PyObject *url_kind(PyObject *self, PyObject *args)
{
	static const struct {
		int bit;
		const char *name;
	} kinds[] = {
		{TN_URL_PACKETS, "packets"},     {TN_URL_DATAGRAMS, "datagrams"}, {TN_URL_LOSSY, "lossy"},
		{TN_URL_SECURE, "secure"},       {TN_URL_LOCAL, "local"},         {TN_URL_BELOW, "below"},
		{TN_URL_ICMP, "icmp"},           {TN_URL_INHERITED, "inherited"}, {TN_URL_PROXY, "proxy"},
		{TN_URL_WEBSOCKET, "websocket"}, {TN_URL_FILE, "file"},           {TN_URL_MEMORY, "memory"},
	};
	PyObject *set, *name;
	const char *url;
	int bits;

	(void)self;
	if (!PyArg_ParseTuple(args, "s:url_kind", &url))
		return NULL;
	bits = tn_url_kind(url);
	if (bits < 0)
		return tnp_raise(bits);
	set = PyFrozenSet_New(NULL);
	for (size_t i = 0; set && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!(bits & kinds[i].bit))
			continue;
		name = PyUnicode_FromString(kinds[i].name);
		if (!name || PySet_Add(set, name) < 0)
			Py_CLEAR(set);
		Py_XDECREF(name);
	}
	return set;
}

static PyObject *keeps_messages(PyObject *self, PyObject *args)
{
	const char *url;
	int rc;

	(void)self;
	if (!PyArg_ParseTuple(args, "s:keeps_messages", &url))
		return NULL;
	rc = tn_url_keeps_messages(url);
	return rc < 0 ? tnp_raise(rc) : PyBool_FromLong(rc);
}

static PyObject *url_has_key(PyObject *self, PyObject *args)
{
	const char *url, *key;
	int rc;

	(void)self;
	if (!PyArg_ParseTuple(args, "ss:url_has_key", &url, &key))
		return NULL;
	rc = tn_url_has_key(url, key);
	return rc < 0 ? tnp_raise(rc) : PyBool_FromLong(rc);
}

/* ---- tables ---- */

static int append(PyObject *list, PyObject *item)
{
	int rc = item ? PyList_Append(list, item) : -1;

	Py_XDECREF(item);
	return rc;
}

static PyObject *options(PyObject *self, PyObject *unused)
{
	PyObject *list = PyList_New(0);
	struct tn_option o;

	(void)self;
	(void)unused;
	for (int i = 0; list && tn_option_at(i, &o) == 0; i++)
		if (append(list, Py_BuildValue("(szssss)", o.key, o.constant, o.level ? o.level : "", o.type, o.applies,
					       o.meaning)) < 0)
			Py_CLEAR(list);
	return list;
}

static PyObject *schemes(PyObject *self, PyObject *unused)
{
	PyObject *list = PyList_New(0);
	const char *text;

	(void)self;
	(void)unused;
	for (int i = 0; list && (text = tn_scheme_at(i)); i++)
		if (append(list, tnp_text(text)) < 0)
			Py_CLEAR(list);
	return list;
}

static PyObject *table(const char *(*at)(int index, const char **meaning))
{
	PyObject *dict = PyDict_New();
	const char *name, *meaning;

	for (int i = 0; dict && (name = at(i, &meaning)); i++)
		if (add_text(dict, name, meaning) < 0)
			Py_CLEAR(dict);
	return dict;
}

static PyObject *frames(PyObject *self, PyObject *unused)
{
	(void)self;
	(void)unused;
	return table(tn_frame_at);
}

static PyObject *formats(PyObject *self, PyObject *unused)
{
	(void)self;
	(void)unused;
	return table(tn_format_at);
}

static PyObject *features(PyObject *self, PyObject *unused)
{
	const char *const *feature = tn_features();
	PyObject *list = PyList_New(0);

	(void)self;
	(void)unused;
	for (; list && *feature; feature++)
		if (append(list, tnp_text(*feature)) < 0)
			Py_CLEAR(list);
	return list;
}

static PyObject *parse_size(PyObject *self, PyObject *args)
{
	const char *text;
	uint64_t bytes;

	(void)self;
	if (!PyArg_ParseTuple(args, "s:parse_size", &text))
		return NULL;
	if (tn_parse_size(text, &bytes) < 0)
		return PyErr_Format(PyExc_ValueError, "'%s' is no size, such as 4096 or 64KiB", text);
	return PyLong_FromUnsignedLongLong(bytes);
}

static PyObject *parse_duration(PyObject *self, PyObject *args)
{
	const char *text;
	uint64_t ns;

	(void)self;
	if (!PyArg_ParseTuple(args, "s:parse_duration", &text))
		return NULL;
	if (tn_parse_duration(text, &ns) < 0)
		return PyErr_Format(PyExc_ValueError, "'%s' is no duration, such as 20ms or 1.5s", text);
	return PyFloat_FromDouble((double)ns / NS_PER_S);
}

/* ---- certificates ---- */

static PyObject *certificate(const struct tn_cert *cert)
{
	PyObject *dict = Py_BuildValue("{sL sL sO}", "begins", (long long)tn_cert_begins(cert), "ends",
				       (long long)tn_cert_ends(cert), "is_authority",
				       tn_cert_is_authority(cert) ? Py_True : Py_False);
	PyObject *names = dict ? PyList_New(0) : NULL;

	for (size_t i = 0; names && i < tn_cert_nnames(cert); i++)
		if (append(names, tnp_text(tn_cert_name(cert, i))) < 0)
			Py_CLEAR(names);
	if (!names || PyDict_SetItemString(dict, "names", names) < 0 ||
	    add_text(dict, "subject", tn_cert_subject(cert)) < 0 ||
	    add_text(dict, "issuer", tn_cert_issuer(cert)) < 0 || add_text(dict, "serial", tn_cert_serial(cert)) < 0 ||
	    add_text(dict, "key", tn_cert_key(cert)) < 0 || add_text(dict, "signature", tn_cert_signature(cert)) < 0 ||
	    add_text(dict, "usage", tn_cert_usage(cert)) < 0 || add_text(dict, "limits", tn_cert_limits(cert)) < 0 ||
	    add_text(dict, "fingerprint", tn_cert_fingerprint(cert)) < 0 ||
	    add_text(dict, "pin", tn_cert_pin(cert)) < 0 || add_text(dict, "words", tn_cert_words(cert)) < 0)
		Py_CLEAR(dict);
	Py_XDECREF(names);
	return dict;
}

static PyObject *cert_parse(PyObject *self, PyObject *args)
{
	struct tn_cert *cert = NULL;
	const char *name;
	PyObject *list;
	Py_buffer data;
	int rc;

	(void)self;
	if (!PyArg_ParseTuple(args, "s*s:_cert_parse", &data, &name))
		return NULL;
	rc = tn_cert_parse(data.buf, (size_t)data.len, name, &cert);
	PyBuffer_Release(&data);
	if (rc < 0)
		return tnp_raise(rc);
	list = PyList_New(0);
	for (const struct tn_cert *one = cert; list && one; one = tn_cert_next(one))
		if (append(list, certificate(one)) < 0)
			Py_CLEAR(list);
	tn_cert_free(cert);
	return list;
}

#define HOSTS_MAX 64

static PyObject *cert_new(PyObject *self, PyObject *args)
{
	const char *dir, *hosts[HOSTS_MAX];
	PyObject *list;
	unsigned days;
	Py_ssize_t n;
	int rc;

	(void)self;
	if (!PyArg_ParseTuple(args, "sO!I:_cert_new", &dir, &PyTuple_Type, &list, &days))
		return NULL;
	n = PyTuple_Size(list);
	if (n > HOSTS_MAX)
		return PyErr_Format(PyExc_ValueError, "at most %d hosts", HOSTS_MAX);
	for (Py_ssize_t i = 0; i < n; i++) {
		hosts[i] = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(list, i), NULL);
		if (!hosts[i])
			return NULL;
	}
	rc = tn_cert_new(dir, hosts, (size_t)n, days);
	if (rc < 0)
		return tnp_raise(rc);
	Py_RETURN_NONE;
}

PyMethodDef tnp_facts_methods[] = {
	{"url_check", (PyCFunction)(void (*)(void))url_check, METH_VARARGS | METH_KEYWORDS,
	 "url_check(url, *, serve=False)\n--\n\nChecks a URL without opening anything, for dialling or for serving. "
	 "Raises UrlError, which names the key, its position and the nearest valid one."},
	{"url_kind", url_kind, METH_VARARGS,
	 "url_kind(url)\n--\n\nWhat a URL stands for, as a set of words: packets (messages stay whole without a "
	 "frame), datagrams, lossy, secure, local (a Unix socket), below (raw IP, ICMP, packets of a link), icmp, "
	 "inherited (fd:N). An empty set: a stream of bytes on a network."},
	{"keeps_messages", keeps_messages, METH_VARARGS,
	 "keeps_messages(url)\n--\n\nWhether messages have bounds there: datagrams, framed streams."},
	{"url_has_key", url_has_key, METH_VARARGS,
	 "url_has_key(url, key)\n--\n\nWhether a key stands in a URL, in whatever spelling."},
	{"url_place", url_place, METH_VARARGS,
	 "url_place(url)\n--\n\nWhich sockets a URL stands for, without opening any, as a dict: family (0: "
	 "either IP version), type (socket.SOCK_STREAM ...), protocol, port (-1: there are none), addresses (texts; "
	 "[]: any). "
	 "A host name is looked up, for at most 10 s. Raises UrlError, NameError, TimeoutError."},
	{"url_files", url_files, METH_VARARGS,
	 "url_files(url)\n--\n\nThe files that a URL needs which is dialled, as Server.files() has them. Raises "
	 "UrlError."},
	{"socket_option", socket_option, METH_VARARGS,
	 "socket_option(sock, key)\n--\n\nThe value in force of a key of URLs on any socket (a number or an object "
	 "with "
	 "fileno()), as it would stand there: 'on' for 'nodelay'. Raises Error: it does not apply, or is no key."},
	{"set_log", set_log, METH_O,
	 "set_log(fn, /)\n--\n\nfn(important, text) is called for what is no failure but should be known: an option "
	 "that "
	 "the kernel has capped, an engine that was refused. important is False for what only a curious person "
	 "wants to "
	 "read. From any loop's thread. None: nobody is told, as at first. Before loops run."},
	{"_options", options, METH_NOARGS, NULL},
	{"schemes", schemes, METH_NOARGS, "schemes()\n--\n\nHow a URL of each scheme looks."},
	{"frames", frames, METH_NOARGS, "frames()\n--\n\nThe values of key frame, each with its meaning."},
	{"formats", formats, METH_NOARGS, "formats()\n--\n\nThe values of key format, each with its meaning."},
	{"features", features, METH_NOARGS, "features()\n--\n\nWhat this build and this system can do: a line each."},
	{"parse_size", parse_size, METH_VARARGS,
	 "parse_size(text)\n--\n\nA size in bytes: 4096, 64KiB. Raises ValueError."},
	{"parse_duration", parse_duration, METH_VARARGS,
	 "parse_duration(text)\n--\n\nA duration in seconds: 250us, 20ms, 1.5s, 2m, 1h. Raises ValueError."},
	{"_cert_parse", cert_parse, METH_VARARGS, NULL},
	{"_cert_new", cert_new, METH_VARARGS, NULL},
	{NULL, NULL, 0, NULL},
};
