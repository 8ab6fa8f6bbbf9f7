/*
 * Results of tenon bench, and histogram logs, as files that others made: read or refused; what was read is summed with
 * itself, shown in every form, and written as JSON that is read again.
 */
#include "bench/compare.h"
#include "bench/html.h"
#include "bench/json.h"
#include "bench/result.h"
#include "bench/table.h"
#include "common/status.h"
#include "common/text.h"
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

static char path[32];
static int file;

static void fill(const void *data, size_t size)
{
	CHECK(ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == (ssize_t)size);
}

static void begin(void)
{
	file = memfd_create("result", 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	CHECK(file >= 0);
}

static void show(const struct result *result)
{
	struct text text = {0};

	result_table(result, &text);
	CHECK(!text.failed);
	text_free(&text);
	result_html(result, &text);
	CHECK(!text.failed && text.len > 0);
	text_free(&text);
}

static void there_and_back(const struct result *result)
{
	struct result again;
	struct text text = {0};

	result_json(result, &text);
	fill(text.data, text.len);
	CHECK(result_read(path, &again) == STATUS_DONE);
	CHECK(again.messages == result->messages && again.ncolumns == result->ncolumns);
	result_free(&again);
	text_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct result result;
	char *twice[] = {path, path};
	int status;

	if (!file)
		begin();
	fill(data, size);
	status = result_read(path, &result);
	CHECK(status == STATUS_DONE || status == STATUS_REFUSED);
	if (status == STATUS_REFUSED)
		return 0;
	show(&result);
	result_free(&result);
	CHECK(bench_compare(twice, 2) == STATUS_DONE);
	CHECK(bench_merge(twice, 2, &result) == STATUS_DONE);
	there_and_back(&result);
	result_free(&result);
	return 0;
}
