/* A tenon loop inside libuv's: an echo server.
 * Run: embed_uv [URL [ask]]     then: nc localhost 10011. SIGINT and SIGTERM end it. */
#include <uv.h>

#include "embed.h"

static struct embed embed;
static uv_prepare_t prepare;
static uv_check_t check;
static uv_poll_t watch;
static uv_timer_t timer;
static uv_signal_t signals[2];
static int rc;

static void nothing(uv_timer_t *handle)
{
	(void)handle; /* it has ended the wait: the step comes behind that */
}

static void readable(uv_poll_t *handle, int status, int events)
{
	(void)handle, (void)status, (void)events; /* likewise */
}

static void before_wait(uv_prepare_t *handle)
{
	int ms = tn_loop_timeout_ms(embed.loop);

	(void)handle;
	embed.turns++;
	if (ms < 0)
		uv_timer_stop(&timer);
	else
		uv_timer_start(&timer, nothing, (uint64_t)ms, 0);
}

static void after_wait(uv_check_t *handle)
{
	rc = tn_loop_step(embed.loop, 0);
	embed_ask(&embed);
	if (rc <= 0)
		uv_stop(handle->loop);
}

static void end(uv_signal_t *handle, int number)
{
	(void)number;
	uv_signal_stop(handle);
	tn_server_close(embed.server, DRAIN_MS, NULL, NULL);
}

static void close_handle(uv_handle_t *handle, void *arg)
{
	(void)arg;
	uv_close(handle, NULL);
}

int main(int argc, char **argv)
{
	static const int numbers[] = {SIGINT, SIGTERM};
	uv_loop_t *loop = uv_default_loop();

	rc = embed_start(&embed, argc, argv, "tcp://localhost:10011");
	if (rc < 0)
		return embed_end(&embed, rc);
	uv_prepare_init(loop, &prepare);
	uv_prepare_start(&prepare, before_wait);
	uv_check_init(loop, &check);
	uv_check_start(&check, after_wait);
	uv_timer_init(loop, &timer);
	uv_poll_init(loop, &watch, rc);
	uv_poll_start(&watch, UV_READABLE, readable);
	for (int i = 0; i < 2; i++) {
		uv_signal_init(loop, &signals[i]);
		uv_signal_start(&signals[i], end, numbers[i]);
	}
	uv_run(loop, UV_RUN_DEFAULT);
	uv_walk(loop, close_handle, NULL); /* before the tenon loop closes the descriptor that it watches */
	uv_run(loop, UV_RUN_DEFAULT);
	uv_loop_close(loop);
	return embed_end(&embed, rc);
}
