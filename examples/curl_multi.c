/* Fetches all URLs at once: libcurl's multi interface on a tenon loop, which polls its descriptors and keeps its time.
 * Run: curl_multi URL...     Prints status, size and URL of each as it comes. */
#include <curl/curl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <tenon.h>

#define NS_PER_MS 1000000

static struct tn_loop *loop;
static struct tn_timer *timer;
static CURLM *multi;
static int failed;

/* What is polled for one socket of libcurl's. */
struct watch {
	struct tn_poll *poll;
	curl_socket_t fd;
};

static void tell_done(void)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(multi, &left))) {
		CURL *easy = msg->easy_handle;
		CURLcode result = msg->data.result;
		curl_off_t size = 0;
		long status = 0;
		char *url = NULL;

		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
		curl_easy_getinfo(easy, CURLINFO_SIZE_DOWNLOAD_T, &size);
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, &url);
		if (result == CURLE_OK)
			printf("%ld %lld %s\n", status, (long long)size, url);
		else
			fprintf(stderr, "%s: %s\n", url, curl_easy_strerror(result));
		failed |= result != CURLE_OK;
		curl_multi_remove_handle(multi, easy);
		curl_easy_cleanup(easy);
	}
}

static void on_time(void *arg)
{
	int running;

	(void)arg;
	curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
	tell_done();
}

static void on_ready(int revents, void *arg)
{
	struct watch *watch = arg;
	int bits = 0, running;

	if (revents & POLLIN)
		bits |= CURL_CSELECT_IN;
	if (revents & POLLOUT)
		bits |= CURL_CSELECT_OUT;
	if (revents & (POLLERR | POLLHUP))
		bits |= CURL_CSELECT_ERR;
	curl_multi_socket_action(multi, watch->fd, bits, &running); /* may free `watch` */
	tell_done();
}

/* libcurl wants a socket watched, in another way, or not any more. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *old)
{
	struct watch *watch = old;
	int events = (what & CURL_POLL_IN ? POLLIN : 0) | (what & CURL_POLL_OUT ? POLLOUT : 0);

	(void)easy, (void)arg;
	if (what == CURL_POLL_REMOVE) {
		if (watch)
			tn_poll_stop(watch->poll);
		free(watch);
		return 0;
	}
	if (watch)
		return tn_poll_change(watch->poll, events) < 0 ? -1 : 0;
	watch = calloc(1, sizeof(*watch));
	if (!watch)
		return -1;
	watch->fd = fd;
	if (tn_poll_events(loop, fd, events, on_ready, watch, &watch->poll) < 0) {
		fprintf(stderr, "%s\n", tn_errmsg());
		free(watch);
		return -1;
	}
	curl_multi_assign(multi, fd, watch);
	return 0;
}

/* libcurl wants to be called after `ms`; -1: not at all. */
static int on_timeout(CURLM *handle, long ms, void *arg)
{
	(void)handle, (void)arg;
	tn_timer_again(timer, ms < 0 ? UINT64_MAX : (uint64_t)ms * NS_PER_MS, 0);
	return 0;
}

static size_t drop(char *data, size_t size, size_t n, void *arg)
{
	(void)data, (void)arg;
	return size * n;
}

static int fetch(char *url)
{
	CURL *easy = curl_easy_init();

	if (!easy)
		return -1;
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, url);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
	return curl_multi_add_handle(multi, easy) == CURLM_OK ? 0 : -1;
}

int main(int argc, char **argv)
{
	int rc;

	if (argc < 2) {
		fprintf(stderr, "usage: curl_multi URL...\n");
		return 2;
	}
	rc = tn_loop_new(&loop, NULL);
	/* It fires when libcurl says, and is armed for the first time then. */
	if (rc == 0)
		rc = tn_timer_repeat(loop, UINT64_MAX, 0, on_time, NULL, &timer);
	if (rc < 0) {
		fprintf(stderr, "%s\n", tn_errmsg());
		return 1;
	}
	curl_global_init(CURL_GLOBAL_DEFAULT);
	multi = curl_multi_init();
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timeout);
	for (int i = 1; i < argc; i++)
		failed |= fetch(argv[i]) < 0;
	rc = tn_loop_run(loop); /* until libcurl waits for nothing more */
	if (rc < 0)
		fprintf(stderr, "%s\n", tn_errmsg());
	curl_multi_cleanup(multi);
	curl_global_cleanup();
	tn_loop_free(loop);
	return failed || rc < 0;
}
