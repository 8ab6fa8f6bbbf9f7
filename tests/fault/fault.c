/*
 * Runs the scenarios, each trial in a process of its own:
 *
 *	fault                         every scenario, every engine, every allocation: hours
 *	fault --io 1                  every system call and operation of the engine in the place of every allocation
 *	fault --bends 1               nothing fails, but the engine is bent (io/fault.h)
 *	fault --sample 8 --seed 3     so many draws of what fails, for each
 *	fault --part 1/4              a quarter of the scenarios
 *	fault tls-guest               those whose name begins so; "=tls" that one alone
 *	fault tls-guest epoll once 17 one trial, with all it says: what a failure prints
 *	fault tcp uring recv=EIO 2    another: the second receive
 *	fault found                   those in which something was found that has been mended since
 *	fault --here 1 ...            that one in this process, for a debugger
 */
#include "../support/frames.h"
#include "fault.h"

#include "io/fault.h"

#ifdef TNI_HAVE_TLS
#include "../support/certs.h"
#include "secure/creds.h"

#include <openssl/ssl.h>
#endif

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tenon.h"

_Static_assert(TNI_BENDS <= sizeof(((struct trial *)0)->bends) / sizeof(uint64_t), "a trial tells of each bend");

#ifdef WRAPPED
#define SLOW 4 /* with sanitizers */
#else
#define SLOW 1
#endif

#define SCENARIOS_MAX 512
#define HANG_MS (30000 * SLOW)
#define DIR_ROOM 64

struct trial *trial;

static struct scenario scenarios[SCENARIOS_MAX];
static size_t nscenarios;
static char root[DIR_ROOM], dir[DIR_ROOM + 8], certs[DIR_ROOM + 8];
static struct site usual[SITES_MAX]; /* what a trial in which nothing fails leaves: caches */
static size_t nusual;
static uint64_t usual_output;
static int usual_status; /* of a command */
static int outs[2];      /* what a trial's process writes: memory files */
static unsigned ntrials, nfailures;
static bool loud, measuring, here;

/* ---- in the trial's process ---- */

uint64_t trial_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int trial_patience_ms(void)
{
	return HANG_MS * 2 / 3;
}

/* What the parent is to know of the fault engine. */
static void note_fault_engine(void)
{
	trial->op_failed = tni_fault_hits();
	for (size_t i = 0; i < nfailables; i++)
		if (failables[i].is_op)
			trial->calls.seen[i] = tni_fault_seen(failables[i].name);
	for (int i = 0; i < TNI_BENDS; i++)
		trial->bends[i] = tni_fault_bends((enum tni_bend)i);
}

void trial_fails(const char *format, ...)
{
	va_list ap;

	trial_arm(false);
	va_start(ap, format);
	vsnprintf(trial->failure, sizeof(trial->failure), format, ap);
	va_end(ap);
	note_fault_engine();
	_exit(1);
}

void trial_told(int err, const char *words)
{
	if (!*words || strstr(words, "(null)") || strstr(words, "unknown error"))
		trial_fails("error %d is told without words: '%s'", err, words);
	trial->told = true;
	snprintf(trial->words, sizeof(trial->words), "%s", words);
}

bool trial_hit(void)
{
	return trial->memory.failed || trial->calls.failed || tni_fault_hits();
}

void trial_arm(bool on)
{
	memory_arm(on);
	calls_arm(on);
}

static int count_entries(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

/* A recording is wanted; how much of it there is does not matter. */
static void remove_recordings(void)
{
	DIR *d = opendir(dir);
	const struct dirent *entry;

	while (d && (entry = readdir(d)))
		if (strstr(entry->d_name, ".pcapng"))
			unlinkat(dirfd(d), entry->d_name, 0);
	if (d)
		closedir(d);
}

static void check_children(void)
{
	siginfo_t info = {0};

	if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
		trial_fails("a child is left behind: %d", (int)info.si_pid);
}

/* A file that cannot be looked at or removed stays. */
static bool is_about_files(const char *call)
{
	return !strcmp(call, "unlink") || !strcmp(call, "lstat64");
}

/* The descriptors count from 3: the command closes the standard ones as it likes. */
static _Noreturn void run_trial(const struct scenario *s)
{
	int fds;

	if (!here) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	}
	for (int i = 0; i < 2 && !here; i++)
		dup2(outs[i], STDOUT_FILENO + i);
	fds = count_entries("/proc/self/fd");
	trial_arm(false);
	memory_watch(&trial->memory);
	calls_watch(&trial->calls);
	s->run(s->arg);
	trial_arm(false);
	note_fault_engine();
	if (!s->is_command && count_entries("/proc/self/fd") != fds)
		trial_fails("descriptors: %d before, %d after", fds - 3, count_entries("/proc/self/fd") - 3);
	check_children();
	remove_recordings();
	if (count_entries(dir) != 2 && !is_about_files(trial->calls.name))
		trial_fails("a socket file is left behind");
#ifdef TNI_HAVE_TLS
	tni_creds_forget();
	OPENSSL_thread_stop(); /* keeps the words of past errors, which are no leak */
#endif
	trial->nleft = memory_left(trial->left, SITES_MAX);
	trial->ended = true;
	_exit(0);
}

/* ---- beside it ---- */

static const char *name_of_site(const struct site *site)
{
	static char text[256];
	Dl_info info;

	if (site->line)
		snprintf(text, sizeof(text), "%s:%d", (const char *)site->who, site->line);
	else if (dladdr(site->who, &info) && info.dli_fname)
		snprintf(text, sizeof(text), "%s+0x%zx%s%s", info.dli_fname,
			 (size_t)((const char *)site->who - (const char *)info.dli_fbase), info.dli_sname ? " in " : "",
			 info.dli_sname ? info.dli_sname : "");
	else
		snprintf(text, sizeof(text), "%p", site->who);
	return text;
}

static void remove_entries(const char *path)
{
	DIR *d = opendir(path);
	const struct dirent *entry;
	char name[512];

	while (d && (entry = readdir(d))) {
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		if (entry->d_name[0] != '.')
			unlink(name);
	}
	if (d)
		closedir(d);
}

static uint64_t hash_of(int fd, off_t *len)
{
	unsigned char data[4096];
	uint64_t hash = 14695981039346656037ULL;
	ssize_t n;

	*len = 0;
	while ((n = pread(fd, data, sizeof(data), *len)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			hash = (hash ^ data[i]) * 1099511628211ULL;
		*len += n;
	}
	return hash;
}

static void print_output(int fd)
{
	char data[2000];
	ssize_t n = pread(fd, data, sizeof(data) - 1, 0);

	if (n > 0)
		printf("%.*s\n", (int)n, data);
}

/* Waits for the end of the process, and ends it and what it has started when it does not come. */
static int await(pid_t pid)
{
	struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	int status;
	bool hangs = poll(&end, 1, HANG_MS) == 0;

	close(end.fd);
	kill(-pid, SIGKILL);
	waitpid(pid, &status, 0);
	return hangs ? -1 : status;
}

/* OpenSSL's tables of names, algorithms and errors grow while it runs, in another order when something failed. */
static bool is_openssl_table(const struct site *site)
{
	return site->line && (strstr(site->who, "crypto/property/") || strstr(site->who, "crypto/lhash/") ||
			      strstr(site->who, "crypto/err/") || strstr(site->who, "crypto/core_") ||
			      strstr(site->who, "crypto/evp/keymgmt_lib"));
}

/* The dynamic linker and name services keep what they have loaded. */
static bool is_systems_table(const struct site *site)
{
	Dl_info info;

	return !site->line && dladdr(site->who, &info) &&
	       ((info.dli_fname && strstr(info.dli_fname, "/ld-")) ||
		(info.dli_sname && strcmp(info.dli_sname, "__tsearch") == 0));
}

static bool is_usual(const struct site *site)
{
	if (is_openssl_table(site) || is_systems_table(site))
		return true;
	/* Where nothing fails, nothing of ours is left; OpenSSL, whose sites have lines, keeps more than its tables. */
	if (measuring)
		return site->line;
	for (size_t i = 0; i < nusual; i++)
		if (usual[i].who == site->who && usual[i].line == site->line)
			return site->line || site->count <= usual[i].count;
	return false;
}

static void judge_memory(void)
{
	for (size_t i = 0; i < trial->nleft && !trial->failure[0]; i++)
		if (!is_usual(&trial->left[i]))
			snprintf(trial->failure, sizeof(trial->failure), "memory is left behind: %u times that of %s",
				 trial->left[i].count, name_of_site(&trial->left[i]));
}

/* In the parent, of the trial that was. */
static bool was_hit(void)
{
	return trial->memory.failed || trial->calls.failed || trial->op_failed;
}

/* A program that has ended without reading all resets its socket, which is its own business. */
static bool is_programs_own(const struct scenario *s)
{
	return trial->err == EPIPE || (trial->err == ECONNRESET && !strcmp(s->name, "connect-exec"));
}

static void judge_command(const struct scenario *s)
{
	/* Errors are among their results. */
	bool tells_in_output = !strncmp(s->name, "ping", 4) || !strncmp(s->name, "bench", 5);
	off_t out, err;
	uint64_t hash = hash_of(outs[0], &out);

	hash_of(outs[1], &err);
	if (trial->status < 0 || trial->status > 4)
		snprintf(trial->failure, sizeof(trial->failure), "exit status %d", trial->status);
	else if (trial->status && !err && !(out && tells_in_output) && strcmp(trial->calls.name, "write") != 0)
		snprintf(trial->failure, sizeof(trial->failure), "exit status %d without a word", trial->status);
	else if (measuring && trial->status && !s->is_refused)
		snprintf(trial->failure, sizeof(trial->failure), "exit status %d with nothing made to fail",
			 trial->status);
	else if (trial->status != usual_status && trial->harmless && was_hit())
		snprintf(trial->failure, sizeof(trial->failure), "exit status %d of what makes no difference",
			 trial->status);
	else if (!trial->status && s->is_same_output && was_hit() && hash != usual_output && !is_programs_own(s))
		snprintf(trial->failure, sizeof(trial->failure), "exit status 0, and not all of the output");
	if (!measuring)
		return;
	usual_output = hash;
	usual_status = trial->status;
}

static void judge(const struct scenario *s, int status)
{
	if (status == -1)
		snprintf(trial->failure, sizeof(trial->failure), "it hangs");
	else if (WIFSIGNALED(status))
		snprintf(trial->failure, sizeof(trial->failure), "it dies of signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else if (!trial->ended && !trial->failure[0] && !(s->is_command && WEXITSTATUS(status) == 1))
		snprintf(trial->failure, sizeof(trial->failure), "it leaves with exit status %d", WEXITSTATUS(status));
	if (trial->failure[0])
		return;
	if (s->is_command)
		judge_command(s);
	if (measuring ? !s->keeps_memory : !s->is_command)
		judge_memory();
}

/* What is made to fail: the n-th of a call or operation, or of all allocations. */
struct cause {
	const struct failable *what; /* NULL: allocations */
	int err;
	uint64_t n; /* 0: nothing */
	bool for_ever;
};

static const char *name_of_cause(const struct cause *cause)
{
	static char text[80];

	if (!cause->what)
		return cause->for_ever ? "for-ever" : "once";
	snprintf(text, sizeof(text), "%s=%s%s", cause->what->name, strerrorname_np(cause->err),
		 cause->for_ever ? "+" : "");
	return text;
}

static void prepare(const char *engine, const struct cause *cause, char *script, size_t size)
{
	*trial = (struct trial){
		.engine = engine, .dir = dir, .certs = certs, .for_ever = cause->for_ever, .err = cause->err};
	if (cause->what)
		trial->harmless = failable_is_harmless(cause->what, cause->err);
	if (cause->n && cause->what && cause->what->is_op) {
		snprintf(script, size, "fault:%s:0:%s=%s@%ju%s", engine, cause->what->name, strerrorname_np(cause->err),
			 (uintmax_t)cause->n, cause->for_ever ? "+" : "");
		trial->engine = script;
	} else if (cause->n && cause->what) {
		snprintf(trial->calls.name, sizeof(trial->calls.name), "%s", cause->what->name);
		trial->calls.err = cause->err;
		trial->calls.fail_at = cause->n;
		trial->calls.for_ever = cause->for_ever;
	} else {
		trial->memory.fail_at = cause->n;
		trial->memory.for_ever = cause->for_ever;
	}
}

static void tell(const struct scenario *s, const char *engine, const struct cause *cause)
{
	if (trial->failure[0]) {
		nfailures++;
		printf("not ok - %s %s %s %ju: %s\n", s->name, engine, name_of_cause(cause), (uintmax_t)cause->n,
		       trial->failure);
		if (trial->memory.failed)
			printf("#   failed: %s\n", name_of_site(&trial->memory.failed_at));
		else if (trial->told)
			printf("#   told: %s\n", trial->words);
	}
	if (!loud && !(trial->failure[0] && !was_hit()))
		return;
	print_output(outs[0]);
	print_output(outs[1]);
	printf("%ju allocations, %ju failed, %ju calls, %ju operations%s%s\n", (uintmax_t)trial->memory.count,
	       (uintmax_t)trial->memory.failed, (uintmax_t)trial->calls.failed, (uintmax_t)trial->op_failed,
	       trial->told ? "; told: " : "", trial->words);
	for (size_t i = 0; loud && i < trial->nleft; i++)
		printf("left%s: %u of %s\n", is_usual(&trial->left[i]) ? " as usual" : "", trial->left[i].count,
		       name_of_site(&trial->left[i]));
}

static bool one_trial(const struct scenario *s, const char *engine, const struct cause *cause)
{
	char script[96];
	pid_t pid;
	int status;

	prepare(engine, cause, script, sizeof(script));
	remove_entries(dir);
	for (int i = 0; i < 2; i++)
		if (ftruncate(outs[i], 0) < 0 || lseek(outs[i], 0, SEEK_SET) < 0)
			abort();
	fflush(stdout);
	pid = here && loud ? 0 : fork();
	if (pid == 0)
		run_trial(s);
	status = await(pid);
	judge(s, status);
	ntrials++;
	tell(s, engine, cause);
	return !trial->failure[0];
}

/* ---- which trials ---- */

static uint64_t sample, seed = 1;

static uint64_t draw(void)
{
	uint64_t z = seed += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

/* Nothing fails: the measure of what is left, and of how often each thing that can fail is done. */
static bool measure(const struct scenario *s, const char *engine)
{
	bool well;

	measuring = true;
	well = one_trial(s, engine, &(struct cause){0});
	measuring = false;
	nusual = trial->nleft;
	memcpy(usual, trial->left, sizeof(usual));
	return well;
}

static void fail_allocations(const struct scenario *s, const char *engine)
{
	uint64_t total;

	if (!measure(s, engine))
		return;
	total = trial->memory.count;
	for (int mode = 0; mode < 2 && total; mode++) {
		for (uint64_t i = 1; sample ? i <= sample : 1; i++) {
			one_trial(s, engine, &(struct cause){.n = sample ? draw() % total + 1 : i, .for_ever = mode});
			if (!sample && !trial->memory.failed && !trial->failure[0])
				break;
		}
	}
}

static int draw_err(const struct failable *f)
{
	unsigned n = 1;

	while (n < ERRORS_MAX && f->errs[n])
		n++;
	return f->errs[draw() % n];
}

/* A run that goes on after a failure may do the same thing more often than one without: to where nothing fails any
 * more. */
static void fail_each(const struct scenario *s, const char *engine, const struct failable *f, uint64_t total)
{
	for (int i = 0; i < ERRORS_MAX && f->errs[i]; i++) {
		for (int mode = 0; mode <= failable_is_shortage(f->errs[i]); mode++) {
			unsigned before = nfailures;

			for (uint64_t n = 1; nfailures < before + 3; n++) {
				one_trial(s, engine, &(struct cause){f, f->errs[i], n, mode});
				if (n >= total && !was_hit() && !trial->failure[0])
					break;
			}
		}
	}
}

static void fail_io(const struct scenario *s, const char *engine)
{
	uint64_t seen[FAILABLES_MAX];
	const struct failable *f;
	char measured[16];
	size_t i;
	int err;

	snprintf(measured, sizeof(measured), "fault:%s:0", engine);
	if (!measure(s, measured))
		return;
	memcpy(seen, trial->calls.seen, sizeof(seen));
	for (i = 0; i < nfailables && !sample; i++)
		if (seen[i])
			fail_each(s, engine, &failables[i], seen[i]);
	for (uint64_t drawn = 0; drawn < sample; drawn++) {
		do
			i = draw() % FAILABLES_MAX;
		while (!seen[i]);
		f = &failables[i];
		err = draw_err(f);
		one_trial(s, engine,
			  &(struct cause){f, err, draw() % seen[i] + 1, failable_is_shortage(err) && draw() % 2});
	}
}

/* Which kind of failure; by --io and --bends. */
static void (*run_kind)(const struct scenario *s, const char *engine) = fail_allocations;

static void run_scenario(const struct scenario *s, const char *engine)
{
	unsigned before = nfailures, trials = ntrials;

	run_kind(s, engine);
	if (nfailures == before)
		printf("ok - %s %s: %u trials\n", s->name, engine, ntrials - trials);
}

/* ---- bends: nothing of it is an error ---- */

static uint64_t bends[TNI_BENDS];

static void bend_one(const struct scenario *s, const char *engine)
{
	measuring = true;
	one_trial(s, engine, &(struct cause){0});
	measuring = false;
	for (int i = 0; i < TNI_BENDS; i++)
		bends[i] += trial->bends[i];
}

static void bend(const struct scenario *s, const char *engine)
{
	char name[40];

	for (uint64_t i = 0; i < (sample ? sample : 20); i++) {
		snprintf(name, sizeof(name), "fault:%s:%ju", engine, (uintmax_t)(seed + i));
		bend_one(s, name);
	}
	snprintf(name, sizeof(name), "fault:%s:0:bytes", engine);
	if (!s->is_large)
		bend_one(s, name);
}

/* Each must have happened, or nothing is known of it. */
static void judge_bends(const char *engine)
{
	static const char *const names[TNI_BENDS] = {
		[TNI_BEND_PUT_OFF] = "put off",          [TNI_BEND_SHORT_READ] = "short reads",
		[TNI_BEND_SHORT_WRITE] = "short writes", [TNI_BEND_ENDED] = "multishot requests ended",
		[TNI_BEND_NO_BUFFER] = "no buffer",      [TNI_BEND_OVERFLOW] = "completion queue overflows"};
	int n = strcmp(engine, "uring") ? TNI_BEND_ENDED : TNI_BENDS; /* the others are the ring's */

	for (int i = 0; i < n; i++) {
		nfailures += !bends[i];
		printf("%s - %s %s: %ju\n", bends[i] ? "ok" : "not ok", engine, names[i], (uintmax_t)bends[i]);
	}
	memset(bends, 0, sizeof(bends));
}

static bool engine_is_there(const char *engine)
{
	struct tn_loop *loop;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (tn_loop_new(&loop, engine) < 0)
			_exit(1);
		tn_loop_free(loop);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return status == 0;
}

#ifdef TNI_HAVE_TLS
static SSL *warm_side(bool server)
{
	char cert[DIR_ROOM + 32], key[DIR_ROOM + 32], ca[DIR_ROOM + 32];
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());
	SSL *ssl;

	snprintf(cert, sizeof(cert), "%s/a.pem", certs);
	snprintf(key, sizeof(key), "%s/a.key", certs);
	snprintf(ca, sizeof(ca), "%s/ca.pem", certs);
	SSL_CTX_use_certificate_chain_file(ctx, cert);
	SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM);
	SSL_CTX_load_verify_locations(ctx, ca, NULL);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	server ? SSL_set_accept_state(ssl) : SSL_set_connect_state(ssl);
	return ssl;
}

/*
 * A handshake between two of OpenSSL's own ends. What OpenSSL sets up once in a process and could not, it never tries
 * again: some ten thousand allocations that are its tests' business, and not for us to mend.
 */
static void warm_openssl(void)
{
	SSL *ends[2] = {warm_side(false), warm_side(true)};
	BIO *bios[2];
	char byte;

	if (!BIO_new_bio_pair(&bios[0], 0, &bios[1], 0))
		abort();
	for (int i = 0; i < 2; i++)
		SSL_set_bio(ends[i], bios[i], bios[i]);
	for (int i = 0; i < 20; i++)
		SSL_do_handshake(ends[i % 2]);
	if (!SSL_is_init_finished(ends[0]) || SSL_write(ends[1], "x", 1) != 1 || SSL_read(ends[0], &byte, 1) != 1)
		abort();
	for (int i = 0; i < 2; i++)
		SSL_free(ends[i]);
}

static void make_certs(void)
{
	char path[DIR_ROOM + 32];
	FILE *f;

	certs_make(certs, "ca", NULL, NULL, -1, 30);
	certs_make(certs, "a", "ca", "DNS:localhost,IP:127.0.0.1", -1, 30);
	warm_openssl();
	snprintf(path, sizeof(path), "%s/psk", certs);
	f = fopen(path, "w");
	if (f) {
		fputs("me:000102030405060708090a0b0c0d0e0f\n", f);
		fclose(f);
	}
}
#else
static void make_certs(void)
{
}
#endif

static void set_up(void)
{
	snprintf(root, sizeof(root), "/tmp/tenon-fault-XXXXXX");
	if (!mkdtemp(root))
		abort();
	snprintf(dir, sizeof(dir), "%s/d", root);
	snprintf(certs, sizeof(certs), "%s/c", root);
	if (mkdir(dir, 0700) < 0 || mkdir(certs, 0700) < 0)
		abort();
	make_certs();
	if (support_frames() < 0)
		abort();
	trial = mmap(NULL, sizeof(*trial), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	outs[0] = memfd_create("out", MFD_CLOEXEC);
	outs[1] = memfd_create("err", MFD_CLOEXEC);
	nscenarios = talk_scenarios_make(scenarios, SCENARIOS_MAX);
	nscenarios += command_scenarios_make(scenarios + nscenarios, SCENARIOS_MAX - nscenarios);
	if (nscenarios == SCENARIOS_MAX) /* some may be missing */
		abort();
	setvbuf(stdout, NULL, _IOLBF, 0);
}

static void tidy_up(void)
{
	remove_entries(dir);
	remove_entries(certs);
	rmdir(dir);
	rmdir(certs);
	rmdir(root);
}

static const char *const engines[] = {"epoll", "uring"};

static bool is_chosen(const char *name, const char *prefix)
{
	if (!prefix)
		return true;
	return *prefix == '=' ? !strcmp(name, prefix + 1) : !strncmp(name, prefix, strlen(prefix));
}

static void run_all(const char *prefix, const char *engine, unsigned part, unsigned parts)
{
	for (unsigned e = 0; e < sizeof(engines) / sizeof(engines[0]); e++) {
		if ((engine && strcmp(engine, engines[e]) != 0) || !engine_is_there(engines[e]))
			continue;
		for (size_t i = 0; i < nscenarios; i++)
			if (is_chosen(scenarios[i].name, prefix) && i % parts == part &&
			    (scenarios[i].on_engines || e == 0))
				run_scenario(&scenarios[i], engines[e]);
		if (run_kind == bend)
			judge_bends(engines[e]);
	}
}

/* As name_of_cause() has written it. */
static bool parse_cause(struct cause *cause, const char *text, const char *n)
{
	const char *equals = strchr(text, '=');
	char name[40];

	*cause = (struct cause){.n = strtoull(n, NULL, 10), .for_ever = !strcmp(text, "for-ever")};
	if (!equals)
		return true;
	snprintf(name, sizeof(name), "%.*s", (int)(equals - text), text);
	cause->what = failable_find(name);
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(equals + 1, "+"), equals + 1);
	for (int e = 1; e < 200 && !cause->err; e++)
		if (strerrorname_np(e) && !strcmp(strerrorname_np(e), name))
			cause->err = e;
	cause->for_ever = strchr(equals, '+') != NULL;
	return cause->what && cause->err;
}

/* One trial by its words: the scenario, the engine, what fails, which of them. */
static void replay(const char *const *args, bool is_loud)
{
	char measured[40];
	struct cause cause;

	if (!parse_cause(&cause, args[2], args[3])) {
		printf("not ok - nothing that can fail: %s\n", args[2]);
		nfailures++;
		return;
	}
	snprintf(measured, sizeof(measured), cause.what ? "fault:%s:0" : "%s", args[1]);
	for (size_t i = 0; i < nscenarios; i++) {
		if (strcmp(scenarios[i].name, args[0]) != 0)
			continue;
		if (measure(&scenarios[i], measured)) {
			loud = is_loud;
			one_trial(&scenarios[i], args[1], &cause);
		}
		return;
	}
	printf("not ok - no scenario %s\n", args[0]);
	nfailures++;
}

/* What these tests have found, and what was mended since. */
static const char *const found[][4] = {
	{"tcp", "uring", "recv=EINTR", "1"},
	{"tcp", "uring", "recv=EINTR", "2"},
	{"tcp", "uring", "poll=ECANCELED", "2"},
	{"line-guest", "uring", "poll=ECANCELED", "1"},
	{"tcp", "uring", "cancel=ENOMEM", "1"},
	{"tcp", "uring", "cancel=ENOMEM+", "1"},
	{"tcp", "uring", "write=EINTR", "1"},
	{"tcp", "uring", "io_uring_submit_and_wait_timeout=EINTR", "1"},
	{"tcp", "epoll", "call-connect=EAGAIN", "2"},
	{"tcp", "epoll", "call-connect=EINTR", "2"},
	{"tcp", "epoll", "shutdown=EBADF", "1"},
	{"exec", "epoll", "recv=EIO", "3"},
	{"exec", "epoll", "send=EIO", "2"},
	{"exec", "epoll", "fcntl64=EBADF", "4"},
	{"udp-guest", "epoll", "submit=ENOMEM", "4"},
	{"unix-dgram-guest", "uring", "submit=ENOMEM+", "3"},
	{"inspect", "epoll", "call-send=ENOMEM", "3"},
	{"serve-threads", "epoll", "poll=ENOMEM", "1"},
	{"serve-threads", "uring", "io_uring_submit_and_wait_timeout=ENOSYS", "6"},
	{"serve-threads", "epoll", "epoll_pwait2=EBADF", "1"},
	{"serve-threads", "epoll", "call-poll=EINTR", "5"},
	{"serve", "epoll", "read=EINTR", "1"},
	{"serve", "uring", "listen=EBADF", "1"},
	{"chain", "epoll", "getrandom=EINTR", "1"},
#ifdef TNI_HAVE_TLS
	{"tls-psk", "epoll", "for-ever",
	 "2592"}, /* the first connection's BIO_meth_new(); where OpenSSL counts as Debian 12's */
#endif
#if defined(TNI_HAVE_TLS) && defined(TNI_HAVE_ZLIB)
	{"shared-ws-deflate", "epoll", "once", "55"},
#endif
};

static void replay_found(void)
{
	for (size_t i = 0; i < sizeof(found) / sizeof(found[0]); i++)
		if (engine_is_there(found[i][1]))
			replay(found[i], false);
}

/* A name that no scenario has, or has any more, would be no test. */
static void tell_all(const char *engine)
{
	bool nothing = !ntrials && (!engine || engine_is_there(engine));

	nfailures += nothing;
	printf("1..1\n%s - %u trials, %u failures%s\n", nfailures ? "not ok" : "ok", ntrials, nfailures,
	       nothing ? ": there is no such scenario" : "");
}

int main(int argc, char **argv)
{
	unsigned part = 0, parts = 1;
	int at = 1;

	memory_init();
	for (; at + 1 < argc && !strncmp(argv[at], "--", 2); at += 2) {
		if (!strcmp(argv[at], "--sample"))
			sample = strtoull(argv[at + 1], NULL, 10);
		else if (!strcmp(argv[at], "--seed"))
			seed = strtoull(argv[at + 1], NULL, 10);
		else if (!strcmp(argv[at], "--here"))
			here = true;
		else if (!strcmp(argv[at], "--io"))
			run_kind = fail_io;
		else if (!strcmp(argv[at], "--bends"))
			run_kind = bend;
		else if (!strcmp(argv[at], "--part") && sscanf(argv[at + 1], "%u/%u", &part, &parts) == 2)
			part--;
	}
	set_up();
	if (argc - at == 4) {
		replay((const char *const *)argv + at, true);
	} else if (argc - at == 1 && !strcmp(argv[at], "found")) {
		replay_found();
		tell_all(NULL);
	} else {
		if (sample)
			printf("# seed %ju\n", (uintmax_t)seed);
		run_all(at < argc ? argv[at] : NULL, at + 1 < argc ? argv[at + 1] : NULL, part, parts);
		tell_all(at + 1 < argc ? argv[at + 1] : NULL);
	}
	tidy_up();
	return nfailures != 0;
}
