/* A development authority in a directory: tn_cert_new(). */
#include "tenon_cert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>

#include "base/err.h"
#include "secure/cert.h"
#include "secure/hosts.h"
#include "secure/issue.h"

#define DAYS_MAX 36500
#define AUTHORITY_DAYS 3650
#define NMADE 6

/* What this call has made so far, newest last: all of it goes again when the call fails. */
struct work {
	const char *dir;
	int fd; /* of the directory; -1 before it is open */
	bool dir_made;
	const char *made[NMADE];
	int nmade;
};

/* ---- the directory and its files ---- */

static int work_begin(struct work *work)
{
	work->dir_made = mkdir(work->dir, 0700) == 0;
	if (!work->dir_made && errno != EEXIST)
		return tni_err(-errno, "cannot make the directory %s: %s", work->dir, strerror(errno));
	work->fd = open(work->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (work->fd < 0)
		return tni_err(-errno, "cannot use %s as a directory: %s", work->dir, strerror(errno));
	/* One at a time: nobody may use an authority that another may yet take back.
	 * Where there are no locks, so be it */
	(void)!flock(work->fd, LOCK_EX);
	return 0;
}

static void work_end(struct work *work, int err)
{
	while (err < 0 && work->nmade > 0)
		unlinkat(work->fd, work->made[--work->nmade], 0);
	if (work->fd >= 0) {
		if (err >= 0)
			fsync(work->fd);
		close(work->fd);
	}
	if (err < 0 && work->dir_made)
		rmdir(work->dir);
}

static bool is_there(const struct work *work, const char *name)
{
	struct stat st;

	return fstatat(work->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int in_the_way(const struct work *work, const char *name, const char *remedy)
{
	return tni_err(-EEXIST, "%s/%s is there already, and nothing is overwritten: %s", work->dir, name, remedy);
}

static int write_whole(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t done = write(fd, data, len);

		if (done < 0 && errno != EINTR)
			return -errno;
		data += done > 0 ? done : 0;
		len -= done > 0 ? (size_t)done : 0;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* Gives a finished file its name, which must be free. */
static int name_file(int dir, const char *from, const char *to)
{
	if (linkat(dir, from, dir, to, 0) == 0)
		return 0;
	if (errno == EEXIST)
		return -EEXIST;
	/* Some file systems have no links */
	return renameat2(dir, from, dir, to, RENAME_NOREPLACE) < 0 ? -errno : 0;
}

/* Nobody ever sees half a file: it gets its name when it is whole and on disk. */
static int write_file(struct work *work, const char *name, mode_t mode, const char *data, size_t len)
{
	char part[64];
	int fd, err;

	snprintf(part, sizeof(part), ".%s.%ld", name, (long)getpid());
	fd = openat(work->fd, part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return tni_err(-errno, "cannot write into %s: %s", work->dir, strerror(errno));
	err = write_whole(fd, data, len);
	if (close(fd) < 0 && err == 0)
		err = -errno;
	if (err == 0)
		err = name_file(work->fd, part, name);
	unlinkat(work->fd, part, 0);
	if (err == -EEXIST)
		return in_the_way(work, name, "somebody else is making certificates there");
	if (err < 0)
		return tni_err(err, "cannot write %s/%s: %s", work->dir, name, tn_strerror(err));
	work->made[work->nmade++] = name;
	return 0;
}

/* ---- pairs ---- */

enum kind { AUTHORITY, SERVER, CLIENT };

static const struct {
	const char *cert, *key, *what;
} files[] = {{"ca.pem", "ca.key", "authority"},
	     {"server.pem", "server.key", "server"},
	     {"client.pem", "client.key", "client"}};

static int write_pem(struct work *work, const char *name, mode_t mode, BIO *bio, bool filled)
{
	char *data = NULL;
	long len = bio && filled ? BIO_get_mem_data(bio, &data) : 0;

	return len > 0 ? write_file(work, name, mode, data, (size_t)len) : tni_err(-ENOMEM, "out of memory");
}

/* The key first: where a pair stands half, it is not the half that could be given to others. */
static int pair_write(struct work *work, enum kind kind, const struct tni_pair *pair)
{
	BIO *key = BIO_new(BIO_s_secmem()), *cert = BIO_new(BIO_s_mem());
	bool filled = key && PEM_write_bio_PKCS8PrivateKey(key, pair->key, NULL, NULL, 0, NULL, NULL) == 1;
	int err = write_pem(work, files[kind].key, 0600, key, filled);

	if (err == 0)
		err = write_pem(work, files[kind].cert, 0644, cert, cert && PEM_write_bio_X509(cert, pair->cert) == 1);
	BIO_free(key); /* secmem is wiped */
	BIO_free(cert);
	return err;
}

/* 1: both files of the pair are there, 0: neither; -EEXIST: one is. */
static int pair_there(const struct work *work, enum kind kind)
{
	bool cert = is_there(work, files[kind].cert), key = is_there(work, files[kind].key);

	if (cert == key)
		return cert;
	return tni_err(-EEXIST, "%s/%s is there without its %s: put that back, or move it away", work->dir,
		       cert ? files[kind].cert : files[kind].key, cert ? files[kind].key : files[kind].cert);
}

static int pair_read(const struct work *work, enum kind kind, struct tni_pair *pair)
{
	char cert_file[4096], key_file[4096];
	STACK_OF(X509) *certs = NULL;
	int err;

	snprintf(cert_file, sizeof(cert_file), "%s/%s", work->dir, files[kind].cert);
	snprintf(key_file, sizeof(key_file), "%s/%s", work->dir, files[kind].key);
	err = tni_cert_read(cert_file, &certs);
	if (err < 0)
		return err;
	pair->cert = sk_X509_shift(certs);
	sk_X509_pop_free(certs, X509_free);
	err = tni_cert_read_key(key_file, &pair->key);
	return err < 0 ? err : tni_cert_key_fits(pair->cert, cert_file, pair->key, key_file);
}

/* ---- the three, in order ---- */

/* 0: made; TN_CERT_KEPT_AUTHORITY: the one that was there. */
static int authority(struct work *work, const GENERAL_NAMES *hosts, unsigned days, struct tni_pair *pair)
{
	int there = pair_there(work, AUTHORITY), err;

	if (there < 0)
		return there;
	if (there == 0) {
		err = tni_issue_authority(pair, hosts, days > AUTHORITY_DAYS ? days : AUTHORITY_DAYS);
		return err < 0 ? err : pair_write(work, AUTHORITY, pair);
	}
	err = pair_read(work, AUTHORITY, pair);
	if (err < 0)
		return err;
	if (!(X509_get_extension_flags(pair->cert) & EXFLAG_CA))
		return tni_err(TN_ECERT, "%s/ca.pem may not sign: it is no authority's certificate", work->dir);
	err = tni_cert_check(pair->cert, NULL);
	return err < 0 ? tni_err_prefix(err, "%s/ca.pem (use another directory)", work->dir) : TN_CERT_KEPT_AUTHORITY;
}

static int outside_limits(const struct work *work, X509 *authority)
{
	char *limits = tni_cert_text(authority, TNI_CERT_LIMITS), why[200];

	snprintf(why, sizeof(why), "%s", tn_errmsg());
	tni_err(TN_ECERT, "the authority in %s cannot sign this (%s); it was made for: %s. Use another directory",
		work->dir, why, limits && *limits ? limits : "something else");
	free(limits);
	return TN_ECERT;
}

static int server(struct work *work, const struct tni_pair *by, GENERAL_NAMES *hosts, unsigned days)
{
	struct tni_pair pair = {0};
	int err = tni_issue_server(&pair, by, hosts, days);

	if (err == 0)
		err = tni_issue_verify(pair.cert, by->cert, "server");
	if (err == TN_ECERT)
		err = outside_limits(work, by->cert);
	if (err == 0)
		err = pair_write(work, SERVER, &pair);
	tni_pair_free(&pair);
	return err;
}

static int client(struct work *work, const struct tni_pair *by, unsigned days)
{
	struct tni_pair pair = {0};
	int there = pair_there(work, CLIENT), err;

	if (there < 0)
		return there;
	err = there ? pair_read(work, CLIENT, &pair) : tni_issue_client(&pair, by, days);
	if (err == 0)
		err = tni_issue_verify(pair.cert, by->cert, "client");
	if (err == TN_ECERT)
		tni_err_prefix(err, "%s/client.pem cannot be kept: remove it and client.key", work->dir);
	if (err == 0 && !there)
		err = pair_write(work, CLIENT, &pair);
	tni_pair_free(&pair);
	return err < 0 ? err : there ? TN_CERT_KEPT_CLIENT : 0;
}

static int make(struct work *work, GENERAL_NAMES *hosts, unsigned days)
{
	static const char again[] = "remove server.pem and server.key to make them anew";
	struct tni_pair by = {0};
	int kept, kept_client, err;

	if (is_there(work, files[SERVER].cert) || is_there(work, files[SERVER].key))
		return in_the_way(work, is_there(work, files[SERVER].cert) ? files[SERVER].cert : files[SERVER].key,
				  again);
	kept = authority(work, hosts, days, &by);
	err = kept < 0 ? kept : server(work, &by, hosts, days);
	kept_client = err < 0 ? err : client(work, &by, days);
	tni_pair_free(&by);
	return kept_client < 0 ? kept_client : kept | kept_client;
}

int tn_cert_new(const char *dir, const char *const *hosts, size_t nhosts, unsigned days)
{
	struct work work = {.dir = dir, .fd = -1};
	GENERAL_NAMES *names = NULL;
	int err;

	if (days < 1 || days > DAYS_MAX)
		return tni_err(-EINVAL, "a certificate is valid for 1 to %d days", DAYS_MAX);
	err = tni_hosts_parse(hosts, nhosts, &names);
	if (err < 0)
		return err;
	err = work_begin(&work);
	if (err == 0)
		err = make(&work, names, days);
	work_end(&work, err);
	GENERAL_NAMES_free(names);
	return err;
}
