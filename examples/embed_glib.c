/* A tenon loop inside GLib's: an echo server.
 * Run: embed_glib [URL [ask]]     then: nc localhost 10012. SIGINT and SIGTERM end it. */
#include <glib-unix.h>

#include "embed.h"

static struct embed embed;
static GMainLoop *loop;
static gpointer descriptor;
static int rc;

static gboolean before_wait(GSource *source, gint *timeout_ms)
{
	(void)source;
	embed.turns++;
	*timeout_ms = tn_loop_timeout_ms(embed.loop);
	return *timeout_ms == 0;
}

static gboolean after_wait(GSource *source)
{
	return g_source_query_unix_fd(source, descriptor) || tn_loop_timeout_ms(embed.loop) == 0;
}

static gboolean step(GSource *source, GSourceFunc unused, gpointer data)
{
	(void)source, (void)unused, (void)data;
	rc = tn_loop_step(embed.loop, 0);
	embed_ask(&embed);
	if (rc <= 0)
		g_main_loop_quit(loop);
	return G_SOURCE_CONTINUE;
}

static gboolean end(gpointer data)
{
	(void)data;
	tn_server_close(embed.server, DRAIN_MS, NULL, NULL);
	return G_SOURCE_CONTINUE;
}

int main(int argc, char **argv)
{
	static GSourceFuncs functions = {.prepare = before_wait, .check = after_wait, .dispatch = step};
	GSource *source;

	rc = embed_start(&embed, argc, argv, "tcp://localhost:10012");
	if (rc < 0)
		return embed_end(&embed, rc);
	loop = g_main_loop_new(NULL, FALSE);
	source = g_source_new(&functions, sizeof(*source));
	descriptor = g_source_add_unix_fd(source, rc, G_IO_IN);
	g_source_attach(source, NULL);
	g_unix_signal_add(SIGINT, end, NULL);
	g_unix_signal_add(SIGTERM, end, NULL);
	g_main_loop_run(loop);
	g_source_destroy(source);
	g_source_unref(source);
	g_main_loop_unref(loop);
	return embed_end(&embed, rc);
}
