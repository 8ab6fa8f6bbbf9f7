#include "report.h"

#include <unistd.h>

#include "complain.h"
#include "json.h"
#include "log.h"
#include "output.h"
#include "paint.h"
#include "reason.h"
#include "settings.h"
#include "tenon.h"
#include "text.h"

void report_listener(const char *url, const char *handler, const char *shown)
{
	struct text line = {0};

	if (json_is_wanted()) {
		json_begin(&line, "listening");
		json_text(&line, "url", url);
		json_text(&line, "handler", handler);
		json_time(&line, "time");
		json_line(&line);
	}
	if (log_is_kept())
		complain_notice("listening on %s (%s)", url, shown);
	if (settings.json)
		return;
	text_add(&line, "listening %s%s%s (%s)", paint_code(STDOUT_FILENO, PAINT_GREEN), url,
		 paint_code(STDOUT_FILENO, PAINT_NONE), shown);
	out_line(&line);
}

void report_stopped(void)
{
	if (json_is_wanted())
		json_event("stopped");
	if (log_is_kept())
		complain_notice("stopped");
}

bool report_in_words(void)
{
	return !settings.json || log_is_kept();
}

void report_trouble(const struct tn_server *server, const char *url, int err, const char *text)
{
	unsigned suppressed = tn_server_suppressed(server);
	struct text line = {0};

	if (report_in_words() && suppressed)
		complain_about(err, "%s (suppressed: %u)", text, suppressed);
	else if (report_in_words())
		complain_about(err, "%s", text);
	if (!json_is_wanted())
		return;
	json_begin(&line, "trouble");
	json_text(&line, "url", url);
	json_text(&line, "reason", reason_of(err));
	json_text(&line, "error", text);
	json_number(&line, "suppressed", suppressed);
	json_time(&line, "time");
	json_line(&line);
}
