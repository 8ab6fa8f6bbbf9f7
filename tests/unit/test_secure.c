/* The pure parts of TLS: keys of tickets, what a hello may hold, names, lists of algorithms, files that change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "secure/algorithms.h"
#include "secure/cert.h"
#include "base/files.h"
#include "secure/creds_in.h"
#include "secure/hello.h"
#include "secure/psk.h"
#include "secure/tickets.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOUR TNI_TICKET_NS

/* ---- tickets ---- */

static void test_ticket_keys_rotate(void **state)
{
	struct tni_tickets tickets = {0};
	struct tni_ticket_key first, second, third, found;
	uint64_t t = 5;

	(void)state;
	tni_tickets_init(&tickets);
	assert_true(tni_tickets_current(&tickets, t, &first));
	assert_true(tni_tickets_current(&tickets, t + HOUR - 1, &found));
	assert_memory_equal(&found, &first, sizeof(first));
	assert_int_equal(tni_tickets_find(&tickets, t + HOUR - 1, first.name, &found), 1);
	assert_true(tni_tickets_current(&tickets, t + HOUR, &second));
	assert_memory_not_equal(&second, &first, sizeof(first));
	assert_memory_not_equal(second.name, first.name, sizeof(first.name));
	assert_memory_not_equal(second.cipher, first.cipher, sizeof(first.cipher));
	assert_int_equal(tni_tickets_find(&tickets, t + 2 * HOUR - 1, first.name, &found), 2);
	assert_memory_equal(&found, &first, sizeof(first));
	assert_int_equal(tni_tickets_find(&tickets, t + 2 * HOUR - 1, second.name, &found), 1);
	/* The last tickets of a key are good for an hour, however late the key was exchanged. */
	assert_int_equal(tni_tickets_find(&tickets, t + 2 * HOUR, first.name, &found), 0);
	assert_int_equal(tni_tickets_find(&tickets, t + 2 * HOUR, second.name, &found), 2);
	assert_true(tni_tickets_current(&tickets, t + 2 * HOUR + HOUR / 2, &third));
	assert_int_equal(tni_tickets_find(&tickets, t + 3 * HOUR - 1, second.name, &found), 2);
	/* Nobody came for long: none of them is good any more. */
	assert_int_equal(tni_tickets_find(&tickets, t + 9 * HOUR, third.name, &found), 0);
	assert_int_equal(tni_tickets_find(&tickets, t + 9 * HOUR, second.name, &found), 0);
	tni_tickets_wipe(&tickets);
}

/* ---- pre-shared keys ---- */

static void test_a_file_of_keys(void **state)
{
	static const unsigned char alice[] = {0x00, 0x09, 0x9a, 0xaf, 0xfa, 0xAF, 0xff, 0xf0,
					      0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x8e};
	static const char *const bad[] = {"alice",
					  "alice:",
					  ":00112233445566778899aabbccddeeff",
					  "alice:00112233445566778899aabbccddeef",
					  "alice:00112233445566778899aabbccddee",
					  "alice:00112233445566778899aabbccddeefg",
					  "alice: 0112233445566778899aabbccddeeff",
					  "alice:0x112233445566778899aabbccddeeff",
					  "# nothing"};
	char text[400] = "# a comment\n\nal:ice:00099aaffaAFfFF0102030405060708E\r\n"
			 "bob:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
			 "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f";
	struct tni_creds creds = {0};

	(void)state;
	assert_int_equal(tni_psk_take(&creds, "keys", text), 0);
	assert_int_equal(creds.npsks, 2);
	assert_string_equal(creds.psks[0].identity, "al:ice");
	assert_int_equal(creds.psks[0].len, sizeof(alice));
	assert_memory_equal(creds.psks[0].key, alice, sizeof(alice));
	assert_string_equal(creds.psks[1].identity, "bob");
	assert_int_equal(creds.psks[1].len, 64);
	for (int i = 0; i < 64; i++)
		assert_int_equal(creds.psks[1].key[i], i);
	tni_psk_free(&creds);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		creds = (struct tni_creds){0};
		snprintf(text, sizeof(text), "%s", bad[i]);
		assert_int_equal(tni_psk_take(&creds, "keys", text), TN_EFORMAT);
		assert_int_equal(creds.npsks, 0);
		tni_psk_free(&creds);
	}
}

/* ---- hellos ---- */

/* A list with its length in front, of so many items. */
static size_t list_of(unsigned char *out, size_t count, const char *item, size_t len)
{
	size_t size = count * len;

	out[0] = (unsigned char)(size >> 8);
	out[1] = (unsigned char)size;
	for (size_t i = 0; i < count; i++)
		memcpy(out + 2 + i * len, item, len);
	return size + 2;
}

static bool is_odd(unsigned extension, size_t count, const char *item, size_t len)
{
	static unsigned char data[65536];

	return tni_hello_odd(extension, data, list_of(data, count, item, len));
}

static void test_hellos(void **state)
{
	unsigned char cut[] = {0xff, 0xff, 0x12, 0x34, 0xff, 0xff};

	(void)state;
	assert_false(is_odd(TLSEXT_TYPE_supported_groups, 64, "\0\x17", 2));
	assert_true(is_odd(TLSEXT_TYPE_supported_groups, 65, "\0\x17", 2));
	assert_false(is_odd(TLSEXT_TYPE_signature_algorithms, 128, "\4\3", 2));
	assert_true(is_odd(TLSEXT_TYPE_signature_algorithms, 129, "\4\3", 2));
	assert_true(is_odd(TLSEXT_TYPE_signature_algorithms_cert, 129, "\4\3", 2));
	assert_false(is_odd(TLSEXT_TYPE_key_share, 16, "\0\x17\0\1x", 5));
	assert_true(is_odd(TLSEXT_TYPE_key_share, 17, "\0\x17\0\1x", 5));
	assert_false(is_odd(TLSEXT_TYPE_psk, 32, "\0\1x\0\0\0\0", 7));
	assert_true(is_odd(TLSEXT_TYPE_psk, 33, "\0\1x\0\0\0\0", 7));
	assert_false(is_odd(TLSEXT_TYPE_application_layer_protocol_negotiation, 128, "\1a", 2));
	assert_true(is_odd(TLSEXT_TYPE_application_layer_protocol_negotiation, 129, "\1a", 2));
	assert_false(is_odd(TLSEXT_TYPE_padding, 30000, "\0", 1));
	/* What is not whole is OpenSSL's to refuse */
	for (size_t len = 0; len <= sizeof(cut); len++)
		assert_null(tni_hello_odd(TLSEXT_TYPE_key_share, cut, len));
}

/* ---- names ---- */

static void test_names(void **state)
{
	static const char *const good[] = {"localhost", "a.example", "a.example.",           "127.0.0.1",
					   "::1",       "_x.a-b.c",  "xn--bcher-kva.example"};
	static const char *const bad[] = {"", ".", ".a", "a..b", "*", "*.a", "a.*.b"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(tni_cert_is_host(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(tni_cert_is_host(bad[i]));
}

/* ---- algorithms ---- */

static int set(const char *groups, const char *ciphers, const char *sigalgs, bool datagrams)
{
	struct tni_creds_spec spec = {.groups = (char *)(uintptr_t)groups,
				      .ciphers = (char *)(uintptr_t)ciphers,
				      .sigalgs = (char *)(uintptr_t)sigalgs,
				      .min_version = 12,
				      .datagrams = datagrams};
	SSL_CTX *ctx = SSL_CTX_new(datagrams ? DTLS_server_method() : TLS_server_method());
	const char *key;
	int rc = tni_algorithms_set(ctx, &spec, &key);

	if (rc < 0)
		assert_string_equal(key, groups ? "groups" : ciphers ? "ciphers" : "sigalgs");
	SSL_CTX_free(ctx);
	return rc;
}

static void test_lists(void **state)
{
	char longest[2000] = "";

	(void)state;
	for (int d = 0; d < 2; d++) {
		assert_int_equal(set(NULL, NULL, NULL, d), 0);
		assert_int_equal(set("X25519", NULL, NULL, d), 0);
		assert_int_equal(set("X25519,P-256:secp384r1", NULL, NULL, d), 0);
		assert_int_equal(set("X25519:", NULL, NULL, d), TN_EURL);
		assert_int_equal(set("*X25519", NULL, NULL, d), TN_EURL);
		assert_int_equal(set("?nothing", NULL, NULL, d), TN_EURL);
		assert_int_equal(set(NULL, "ECDHE+AESGCM:!AES128", NULL, d), 0);
		assert_int_equal(set(NULL, "kECDHEPSK+CHACHA20", NULL, d), 0);
		assert_int_equal(set(NULL, "ECDHEPSK+CHACHA20", NULL, d), TN_EURL);
		assert_int_equal(set(NULL, "DHEPSK+AESGCM", NULL, d), TN_EURL);
		assert_int_equal(set(NULL, "ALL@SECLEVEL=0", NULL, d), TN_EURL);
		assert_int_equal(set(NULL, "DES-CBC3-SHA", NULL, d), TN_EURL);
		assert_int_equal(set(NULL, "!TLS_AES_128_GCM_SHA256", NULL, d), TN_EURL);
		assert_int_equal(set(NULL, NULL, "ed25519:ecdsa_secp256r1_sha256", d), 0);
		assert_int_equal(set(NULL, NULL, "ECDSA+SHA1", d), TN_EURL);
		assert_int_equal(set(NULL, NULL, "ed25518", d), TN_EURL);
	}
	assert_int_equal(set(NULL, "TLS_AES_128_GCM_SHA256", NULL, false), 0);
	for (size_t i = 0; i < 150; i++)
		memcpy(longest + 7 * i, "X25519:", 7);
	memcpy(longest + 7 * 150, "P-256", 6);
	assert_int_equal(set(longest, NULL, NULL, false), TN_EURL);
	memset(longest, 'a', sizeof(longest) - 1);
	assert_int_equal(set(longest, NULL, NULL, false), TN_EURL);
}

/* ---- files ---- */

static char folder[] = "/tmp/tenon-secure-XXXXXX";

static const char *at(const char *name)
{
	static char paths[4][200];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static void put(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");

	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	fclose(out);
}

/* A change counts once it has been seen twice alike. */
static void assert_changes(struct tni_files *files)
{
	assert_true(tni_files_stale(files));
	assert_false(tni_files_changed(files));
	assert_true(tni_files_changed(files));
	tni_files_accept(files);
	assert_false(tni_files_changed(files));
	assert_false(tni_files_stale(files));
}

static void test_files_that_change(void **state)
{
	struct tni_text text, again;
	struct tni_files files = {0};
	struct stat st;

	(void)state;
	assert_non_null(mkdtemp(folder));
	assert_int_equal(mkdir(at("a"), 0700), 0);
	assert_int_equal(mkdir(at("b"), 0700), 0);
	put(at("a/f"), "one");
	put(at("b/f"), "two");
	put(at("log"), "");
	assert_int_equal(symlink("a", at("cur")), 0);
	assert_int_equal(tni_files_text(&files, at("cur/f"), "", TNI_FILE_WHOLE, &text), 0);
	assert_string_equal((const char *)text.data, "one");
	put(at("a/f"), "ONE");
	assert_int_equal(tni_files_text(&files, at("cur/f"), "", TNI_FILE_WHOLE, &again), 0);
	assert_ptr_equal(again.data, text.data); /* within one set a file is read once */
	assert_int_equal(tni_files_note(&files, at("log"), TNI_FILE_LOG), 0);
	tni_files_forget(&files);
	assert_int_equal(files.count, 2);
	assert_changes(&files);
	/* The link leads elsewhere */
	assert_int_equal(symlink("b", at("new")), 0);
	assert_int_equal(rename(at("new"), at("cur")), 0);
	assert_changes(&files);
	/* Rewritten with its old size and time */
	assert_int_equal(stat(at("b/f"), &st), 0);
	put(at("b/f"), "TWO");
	assert_int_equal(utimensat(AT_FDCWD, at("b/f"), (struct timespec[]){st.st_atim, st.st_mtim}, 0), 0);
	assert_changes(&files);
	/* The folder is another one */
	assert_int_equal(rename(at("b"), at("gone")), 0);
	assert_int_equal(rename(at("a"), at("b")), 0);
	assert_changes(&files);
	/* A log that grows is the same log; one that was renamed is not */
	put(at("log"), "a line\n");
	assert_false(tni_files_stale(&files));
	assert_int_equal(rename(at("log"), at("log.1")), 0);
	assert_changes(&files);
	assert_string_equal(tni_files_path(&files, 0), at("cur/f"));
	assert_null(tni_files_path(&files, 1)); /* the log is named by whoever writes it */
	tni_files_free(&files);
	assert_int_equal(unlink(at("b/f")) | unlink(at("gone/f")) | unlink(at("cur")) | unlink(at("log.1")), 0);
	assert_int_equal(rmdir(at("b")) | rmdir(at("gone")) | rmdir(folder), 0);
}

static void test_large_files(void **state)
{
	struct tni_text text;
	char path[] = "/tmp/tenon-large-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, TNI_FILE_MAX), 0);
	assert_int_equal(tni_text_read(path, "", &text), 0);
	assert_int_equal(text.len, TNI_FILE_MAX);
	tni_text_free(&text);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ftruncate(fd, i ? (off_t)1 << 40 : TNI_FILE_MAX + 1), 0);
		assert_int_equal(tni_text_read(path, "", &text), TN_EFORMAT);
		assert_non_null(strstr(tn_errmsg(), "is too large (16 MiB at most)"));
		assert_null(text.data);
	}
	close(fd);
	unlink(path);
}

static void test_a_pipe(void **state)
{
	struct tni_text text, again;
	struct tni_files files = {0};
	char path[64];
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], "secret", 6), 6);
	close(ends[1]);
	snprintf(path, sizeof(path), "/dev/fd/%d", ends[0]);
	assert_int_equal(tni_files_text(&files, path, "", TNI_FILE_WHOLE, &text), 0);
	assert_int_equal(text.len, 6);
	assert_int_equal(tni_files_text(&files, path, "", TNI_FILE_WHOLE, &again), 0);
	assert_ptr_equal(again.data, text.data);
	tni_files_forget(&files);
	assert_false(tni_files_stale(&files));
	assert_null(tni_files_path(&files, 0));
	assert_int_equal(tni_files_text(&files, path, "", TNI_FILE_WHOLE, &text), TN_EFORMAT);
	assert_non_null(strstr(tn_errmsg(), "only once"));
	tni_files_free(&files);
	close(ends[0]);
}

/* The list grows while somebody still holds what stands in its first file. */
static void test_a_text_outlives_the_growth_of_its_list(void **state)
{
	struct tni_files files = {0};
	struct tni_text text, again;
	char path[] = "/tmp/tenon-files-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "hello", 5), 5);
	close(fd);
	assert_int_equal(tni_files_text(&files, path, "", TNI_FILE_WHOLE, &text), 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(tni_files_note(&files, "/nowhere", TNI_FILE_LOG), 0);
	assert_int_equal(text.len, 5);
	assert_string_equal((const char *)text.data, "hello");
	assert_int_equal(tni_files_text(&files, path, "", TNI_FILE_WHOLE, &again), 0);
	assert_ptr_equal(again.data, text.data);
	tni_files_free(&files);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_text_outlives_the_growth_of_its_list),
		cmocka_unit_test(test_ticket_keys_rotate),
		cmocka_unit_test(test_a_file_of_keys),
		cmocka_unit_test(test_hellos),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_files_that_change),
		cmocka_unit_test(test_large_files),
		cmocka_unit_test(test_a_pipe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
