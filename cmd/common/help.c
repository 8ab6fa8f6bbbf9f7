#include "help.h"

#include <stdio.h>
#include <string.h>

#include "command.h"
#include "options.h"
#include "tenon.h"
#include "text.h"

#define WIDTH 100      /* of a page */
#define WIDTH_WIDE 110 /* of the table of schemes */
#define COLUMN 24      /* where the text of an option begins */
#define VALUE_WIDTH 12 /* of a value with a line of its own */

/* ---- words in lines ---- */

/*
 * Adds words separated by blanks. `column` is the current column; further lines begin at `indent`. Returns the new
 * column.
 */
static size_t add_words(struct text *text, const char *words, size_t column, size_t indent)
{
	while (*words) {
		size_t len = strcspn(words, " "), rest = len + strspn(words + len, " ");
		bool begins = column == indent;

		if (!begins && column + 1 + len > WIDTH) {
			text_add(text, "\n%*s", (int)indent, "");
			column = indent;
			begins = true;
		}
		text_add(text, "%s%.*s", begins ? "" : " ", (int)len, words);
		column += len + !begins;
		words += rest;
	}
	return column;
}

/* ---- options ---- */

/* One entry on the left: -w, --wait DUR. Returns its width. */
static size_t add_name(char *out, size_t cap, const struct option_spec *option)
{
	char letter[4] = {'-', option->letter}, value[64] = "";

	if (option->value)
		snprintf(value, sizeof(value), option->takes == OPTION_MAYBE ? "[=%s]" : " %s", option->value);
	if (!*option->name)
		return (size_t)snprintf(out, cap, "  %s%s", letter, value);
	return (size_t)snprintf(out, cap, "  %s%s--%s%s", option->letter ? letter : "  ", option->letter ? ", " : "  ",
				option->name, value);
}

/* Adds the text behind a name that ends at `column`. */
static void add_meaning(struct text *text, const char *meaning, size_t column)
{
	bool fits = column + 2 <= COLUMN;

	text_add(text, "%*s", fits ? (int)(COLUMN - column) : 1, "");
	add_words(text, meaning, fits ? COLUMN : column + 1, COLUMN);
	text_add(text, "\n");
}

void help_options(struct text *text, const struct option_spec *options)
{
	size_t column = 0;
	char name[128];

	for (; options->name; options++) {
		size_t len = add_name(name, sizeof(name), options);

		text_add(text, "%s%s", column ? "," : "", column ? name + 1 : name);
		column += len;
		if (!options->help) /* told with the next one */
			continue;
		add_meaning(text, options->help, column);
		column = 0;
	}
}

/* ---- pages ---- */

/* A line of a page; one with {formats} or {frames} grows to several. */
static void add_line(struct text *text, const char *line, size_t len)
{
	static const struct {
		const char *word;
		const char *(*at)(int index, const char **meaning);
	} lists[] = {{"{formats}", tn_format_at}, {"{frames}", tn_frame_at}};
	const char *word, *name;
	size_t column;

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		word = memmem(line, len, lists[i].word, strlen(lists[i].word));
		if (!word)
			continue;
		column = (size_t)(word - line);
		text_bytes(text, line,
			   column ? column - 1 : 0); /* without the blank in front, which add_words() writes */
		for (int n = 0; (name = lists[i].at(n, NULL)); n++)
			column = add_words(text, name, n ? column : column - 1, 0);
		word += strlen(lists[i].word);
		text_bytes(text, word, len - (size_t)(word - line));
		return;
	}
	text_bytes(text, line, len);
}

static void add_list(struct text *text, const char *(*at)(int index, const char **meaning))
{
	const char *name, *meaning;

	for (int i = 0; (name = at(i, &meaning)); i++) {
		text_add(text, "  %s", name);
		add_meaning(text, meaning, 2 + strlen(name));
	}
}

void help_command(struct text *text, const struct command *command)
{
	text_add(text, "tenon %s: %s\n\n", command->name, command->meaning);
	for (const char *line = command->help; *line; line += strcspn(line, "\n") + 1) {
		if (strncmp(line, "{list}\n", 7) == 0) {
			add_list(text, command->list_at);
		} else {
			add_line(text, line, strcspn(line, "\n"));
			text_add(text, "\n");
		}
	}
	text_add(text, "\nOptions:\n");
	help_options(text, command->options);
	text_add(text, "\nEvery command takes:\n");
	help_options(text, options_common);
}

void help_schemes(struct text *text)
{
	size_t column = 0;
	const char *form;

	for (int i = 0; (form = tn_scheme_at(i)); i++) {
		size_t len = strlen(form);

		if (column > 0 && column + 2 + len <= WIDTH_WIDE) {
			text_add(text, "  %s", form);
			column += 2 + len;
		} else {
			text_add(text, "%s%s", i ? "\n      " : "URLs: ", form);
			column = strlen("URLs: ") + len;
		}
	}
	text_add(text, "\n      options as ?key=value&key=value: see tenon options\n");
}
