#include "memory.h"

#ifdef TNI_HAVE_CARES
#include <ares.h>
#endif
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef TNI_HAVE_TLS
#include <openssl/crypto.h>
#endif

/* ---- what is allocated: open addressing, no memory of its own ---- */

#define TABLE_SIZE (1U << 18)

static struct live {
	void *block;
	const void *who;
	int line;
} live[TABLE_SIZE];

static char gone; /* the mark of an entry that was freed */
static atomic_flag locked = ATOMIC_FLAG_INIT;
static struct memory_plan *plan;
static _Atomic(bool) armed;

static void lock(void)
{
	while (atomic_flag_test_and_set(&locked))
		;
}

static void unlock(void)
{
	atomic_flag_clear(&locked);
}

static uint32_t place(const void *block)
{
	return (uint32_t)((uintptr_t)block * 0x9e3779b97f4a7c15ULL >> 40) % TABLE_SIZE;
}

static void remember(void *block, const void *who, int line)
{
	uint32_t i;

	if (!plan || !block)
		return;
	lock();
	for (i = place(block); live[i].block && live[i].block != &gone; i = (i + 1) % TABLE_SIZE)
		;
	live[i] = (struct live){block, who, line};
	unlock();
}

static void forget(const void *block)
{
	if (!plan || !block)
		return;
	lock();
	for (uint32_t i = place(block); live[i].block; i = (i + 1) % TABLE_SIZE) {
		if (live[i].block == block) {
			live[i].block = &gone;
			break;
		}
	}
	unlock();
}

size_t memory_left(struct site *sites, size_t max)
{
	size_t n = 0, at;

	lock();
	for (uint32_t i = 0; i < TABLE_SIZE; i++) {
		if (!live[i].block || live[i].block == &gone)
			continue;
		for (at = 0; at < n && (sites[at].who != live[i].who || sites[at].line != live[i].line); at++)
			;
		if (at == max)
			continue;
		if (at == n)
			sites[n++] = (struct site){live[i].who, live[i].line, 0};
		sites[at].count++;
	}
	unlock();
	return n;
}

/* ---- which of them fail ---- */

static bool refuses(const void *who, int line)
{
	uint64_t n;
	bool hit;

	if (!plan || !atomic_load(&armed))
		return false;
	lock();
	n = ++plan->count;
	hit = plan->fail_at && (n == plan->fail_at || (plan->for_ever && n > plan->fail_at));
	if (hit && !plan->failed++)
		plan->failed_at = (struct site){who, line, 1};
	unlock();
	if (hit)
		errno = ENOMEM;
	return hit;
}

void memory_watch(struct memory_plan *to)
{
	plan = to;
}

void memory_arm(bool on)
{
	atomic_store(&armed, on);
}

/* ---- the functions that are ours ---- */

#ifdef WRAPPED
#define NAME(function) __wrap_##function
#define REAL(function) __real_##function
#else
#define NAME(function) function
#define REAL(function) __libc_##function
/* For the C library's own callers (strdup(3), asprintf(3)), and all other libraries: the build hides what it can */
#pragma GCC visibility push(default)
#endif

void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t count, size_t size);
void *REAL(realloc)(void *block, size_t size);
void REAL(free)(void *block);

void *NAME(malloc)(size_t size);
void *NAME(calloc)(size_t count, size_t size);
void *NAME(realloc)(void *block, size_t size);
void NAME(free)(void *block);

#ifndef WRAPPED
#pragma GCC visibility pop
#endif

static void *new_block(size_t size, const void *who, int line)
{
	void *block = refuses(who, line) ? NULL : REAL(malloc)(size);

	remember(block, who, line);
	return block;
}

/* An old block stays what and where it is when there is no new one. */
static void *other_block(void *block, size_t size, const void *who, int line)
{
	void *other;

	if (block && !size) {
		NAME(free)(block);
		return NULL;
	}
	if (refuses(who, line))
		return NULL;
	forget(block);
	other = REAL(realloc)(block, size);
	remember(other ? other : block, who, line);
	return other;
}

void *NAME(malloc)(size_t size)
{
	return new_block(size, __builtin_return_address(0), 0);
}

void *NAME(calloc)(size_t count, size_t size)
{
	void *block = refuses(__builtin_return_address(0), 0) ? NULL : REAL(calloc)(count, size);

	remember(block, __builtin_return_address(0), 0);
	return block;
}

void *NAME(realloc)(void *block, size_t size)
{
	return other_block(block, size, __builtin_return_address(0), 0);
}

void NAME(free)(void *block)
{
	forget(block);
	REAL(free)(block);
}

#ifdef WRAPPED
/* Of the C library's own callers of malloc(), those that our objects use. */
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t max);
int __wrap_vasprintf(char **out, const char *format, va_list ap);
int __wrap_asprintf(char **out, const char *format, ...);
int __real_vasprintf(char **out, const char *format, va_list ap);

char *__wrap_strndup(const char *text, size_t max)
{
	size_t len = strnlen(text, max);
	char *copy = new_block(len + 1, __builtin_return_address(0), 0);

	if (copy) {
		memcpy(copy, text, len);
		copy[len] = '\0';
	}
	return copy;
}

char *__wrap_strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = new_block(size, __builtin_return_address(0), 0);

	return copy ? memcpy(copy, text, size) : NULL;
}

int __wrap_vasprintf(char **out, const char *format, va_list ap)
{
	int len;

	if (refuses(__builtin_return_address(0), 0)) {
		*out = NULL;
		return -1;
	}
	len = __real_vasprintf(out, format, ap);
	if (len >= 0)
		remember(*out, __builtin_return_address(0), 0);
	return len;
}

int __wrap_asprintf(char **out, const char *format, ...)
{
	va_list ap;
	int len;

	va_start(ap, format);
	len = __wrap_vasprintf(out, format, ap);
	va_end(ap);
	return len;
}
#endif

#ifdef TNI_HAVE_TLS
/* OpenSSL tells who asks: the address would always be that of its own CRYPTO_malloc(). */
static void *openssl_malloc(size_t size, const char *file, int line)
{
	return size ? new_block(size, file, line) : NULL;
}

static void *openssl_realloc(void *block, size_t size, const char *file, int line)
{
	return other_block(block, size, file, line);
}

static void openssl_free(void *block, const char *file, int line)
{
	(void)file, (void)line;
	NAME(free)(block);
}
#endif

void memory_init(void)
{
#ifdef TNI_HAVE_TLS
	CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free);
#endif
#if defined(WRAPPED) && defined(TNI_HAVE_CARES)
	ares_library_init_mem(ARES_LIB_INIT_ALL, NAME(malloc), NAME(free), NAME(realloc));
#endif
}
