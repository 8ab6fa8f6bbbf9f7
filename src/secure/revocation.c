#include "secure/revocation.h"

#include "base/err.h"
#include "base/file.h"
#include "secure/cert.h"
#include "secure/creds_in.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/err.h>

static int take_list(X509_CRL *list, void *arg)
{
	return X509_STORE_add_crl(arg, list) ? 0 : tni_err(-ENOMEM, "TLS: out of memory");
}

static int read_file(struct tni_creds *creds, const char *path, enum tni_file_kind kind)
{
	struct tni_text text;
	int rc = tni_files_text(&creds->files, path, "", kind, &text);

	return rc < 0 ? rc : tni_crl_parse(text.data, text.len, path, take_list, SSL_CTX_get_cert_store(creds->ctx));
}

static bool is_folder(const char *path)
{
	struct stat st;

	return tni_file_state(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* 1: it was a list; 0: a folder. */
static int read_entry(struct tni_creds *creds, const char *folder, const char *name)
{
	char *path;
	int rc = asprintf(&path, "%s/%s", folder, name) < 0 ? tni_err(-ENOMEM, "TLS: out of memory") : 0;

	if (rc < 0)
		return rc;
	if (!is_folder(path)) {
		rc = read_file(creds, path, TNI_FILE_INSIDE);
		rc = rc < 0 ? rc : 1;
	}
	free(path);
	return rc;
}

/* Names that begin with a dot are passed over: that is how files look that are still being written. */
static int read_entries(struct tni_creds *creds, const char *path, DIR *dir)
{
	const struct dirent *entry;
	int count = 0, rc = 0;

	while (rc >= 0 && (errno = 0, entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		rc = read_entry(creds, path, entry->d_name);
		count += rc > 0;
	}
	if (rc >= 0 && errno)
		return tni_err(-errno, "cannot read %s: %s", path, tn_strerror(-errno));
	if (rc < 0)
		return rc;
	return count ? 0 : tni_err(TN_EFORMAT, "%s is a folder without a file in it", path);
}

static int read_folder(struct tni_creds *creds, const char *path)
{
	int rc = tni_files_note(&creds->files, path, TNI_FILE_FOLDER), fd;
	DIR *dir;

	if (rc < 0)
		return rc;
	fd = tni_file_open(path, TN_FILE_READ);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		rc = fd < 0 ? fd : -errno;
		if (fd >= 0)
			close(fd);
		return tni_err(rc, "cannot read %s: %s", path, tn_strerror(rc));
	}
	rc = read_entries(creds, path, dir);
	closedir(dir);
	return rc;
}

int tni_revocation_read(struct tni_creds *creds, const char *path)
{
	X509_STORE *store = SSL_CTX_get_cert_store(creds->ctx);
	int rc;

	if (!creds->verifies)
		return tni_err(TN_EURL,
			       creds->server
				       ? "it needs clients that prove who they are: add ca=FILE"
				       : "it needs a server that proves who it is: verify=off cannot stand beside it");
	rc = is_folder(path) ? read_folder(creds, path) : read_file(creds, path, TNI_FILE_WHOLE);
	if (rc < 0)
		return rc;
	X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	return 0;
}

int tni_revocation_judge(int ok, X509_STORE_CTX *store)
{
	if (ok || X509_STORE_CTX_get_error(store) != X509_V_ERR_UNABLE_TO_GET_CRL ||
	    X509_STORE_CTX_get_error_depth(store) == 0)
		return ok;
	X509_STORE_CTX_set_error(store, X509_V_OK);
	return 1;
}
