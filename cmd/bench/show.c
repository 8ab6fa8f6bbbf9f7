#include "show.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/complain.h"
#include "common/output.h"
#include "common/settings.h"
#include "common/status.h"
#include "common/text.h"
#include "common/write.h"
#include "html.h"
#include "json.h"
#include "result.h"
#include "table.h"
#include "tenon.h"

/* Writes a text as a file, and frees it. */
static enum status write_text(const char *path, struct text *text)
{
	int err = text->failed ? -ENOMEM : file_write(path, text->data, text->len);

	if (err < 0)
		complain("%s: %s", path, tn_strerror(err));
	text_free(text);
	return err < 0 ? STATUS_FAILED : STATUS_DONE;
}

static int write_output(const struct result *result, const char *path)
{
	struct text text = {0};

	result_json(result, &text);
	text_bytes(&text, "\n", 1);
	return write_text(path, &text);
}

int result_show(const struct result *result, const char *output, const char *html)
{
	struct text text = {0}, page = {0};
	int status = STATUS_DONE;

	if (settings.json) {
		result_json(result, &text);
		out_line(&text);
	} else {
		result_table(result, &text);
		out_text(&text);
	}
	if (output)
		status = write_output(result, output);
	if (html) {
		result_html(result, &page);
		if (write_text(html, &page) != STATUS_DONE)
			status = STATUS_FAILED;
	}
	return status;
}

bool result_can_write(const char *path)
{
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;

	if (fd >= 0) {
		close(fd);
		unlink(path);
	} else if (path && (errno != EEXIST || access(path, W_OK) < 0)) {
		complain("%s: %s", path, tn_strerror(-errno));
		return false;
	}
	return true;
}
