#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DETAIL_MAX 1024

static _Thread_local char detail[DETAIL_MAX];
static _Thread_local long detail_position = -1;

static const struct {
	int code;
	const char *text;
} own_errors[] = {
	{TN_EURL, "bad URL"},
	{TN_ENAME, "name not found"},
	{TN_ERESOLVE, "name lookup failed"},
	{TN_EIDLE, "idle for too long"},
	{TN_EDRAIN, "deadline passed while closing"},
	{TN_ELIMIT, "too many connections"},
	{TN_EFULL, "queue full"},
	{TN_ESTATE, "not possible in this state"},
	{TN_ETOOBIG, "message too large"},
	{TN_ETRUNC, "message cut short"},
	{TN_EFORMAT, "malformed message"},
	{TN_EDEPTH, "message nested too deeply"},
	{TN_EUTF8, "text is not valid UTF-8"},
	{TN_EDUPKEY, "duplicate key"},
	{TN_EREPR, "value cannot be represented"},
	{TN_ETLS, "TLS failed"},
	{TN_ECUT, "connection cut short"},
	{TN_ECERT, "certificate not accepted"},
};

void tni_err_detail(const char *fmt, ...)
{
	int before = errno;    /* the caller's code may be -errno, and be looked at after this */
	char text[DETAIL_MAX]; /* what is formatted may be the detail itself */
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	memcpy(detail, tn_hide_passwords(text), strlen(text) + 1);
	detail_position = -1;
	errno = before;
}

int tni_err_prefix(int code, const char *fmt, ...)
{
	char tail[DETAIL_MAX];
	va_list ap;
	int used;

	memcpy(tail, detail, sizeof(tail));
	va_start(ap, fmt);
	used = vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
	if (used >= 0 && (size_t)used < sizeof(detail))
		snprintf(detail + used, sizeof(detail) - (size_t)used, ": %.*s", (int)sizeof(tail) - used - 3, tail);
	tn_hide_passwords(detail);
	return code;
}

void tni_err_at(long position)
{
	detail_position = position;
}

const char *tn_errmsg(void)
{
	return detail;
}

long tn_errpos(void)
{
	return detail_position;
}

const char *tn_strerror(int err)
{
	for (size_t i = 0; i < sizeof(own_errors) / sizeof(own_errors[0]); i++)
		if (own_errors[i].code == err)
			return own_errors[i].text;
	if (err == 0)
		return "no error";
	/* strerrordesc_np() gives a constant text, whatever the locale and the thread. */
	const char *text = strerrordesc_np(err < 0 ? (int)-(unsigned)err : err);
	return text ? text : "unknown error";
}
