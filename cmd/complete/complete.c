#include "complete.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "common/command.h"
#include "common/options.h"
#include "common/output.h"
#include "common/status.h"
#include "common/text.h"
#include "tenon.h"

/* Candidates are whole words: `kept` is what stands in front of the part that is looked for, `part`. */
struct typed {
	struct text *out;
	const char *kept;
	size_t kept_len;
	const char *part;
};

static struct typed part_of(struct text *out, const char *word, size_t kept)
{
	return (struct typed){.out = out, .kept = word, .kept_len = kept, .part = word + kept};
}

static void offer(const struct typed *t, const char *name, size_t len, const char *behind, const char *meaning)
{
	if (strncmp(name, t->part, strlen(t->part)) != 0)
		return;
	text_add(t->out, "%.*s%.*s%s\t%s\n", (int)t->kept_len, t->kept, (int)len, name, behind, meaning);
}

/* As a table has it: what its user must put in, capitals, is left to the user (fixed:N, tcp://HOST:PORT). */
static void offer_form(const struct typed *t, const char *form, const char *meaning)
{
	size_t len = strcspn(form, "ABCDEFGHIJKLMNOPQRSTUVWXYZ/");

	len += form[len] == '/' ? strspn(form + len, "/") : 0;
	offer(t, form, len, "", meaning ? meaning : form);
}

static void offer_table(const struct typed *t, const char *(*at)(int index, const char **meaning))
{
	const char *name, *meaning;

	for (int i = 0; (name = at(i, &meaning)); i++)
		offer_form(t, name, meaning);
}

/* ---- URLs ---- */

static void offer_schemes(const struct typed *t)
{
	const char *form;

	for (int i = 0; (form = tn_scheme_at(i)); i++)
		offer_form(t, form, NULL);
}

/* The files of a folder whose path has been begun. */
static void offer_files(const struct typed *t)
{
	const char *slash = strrchr(t->part, '/'), *name = slash ? slash + 1 : t->part;
	size_t folder_len = (size_t)(name - t->part);
	struct typed file = {t->out, t->kept, t->kept_len + folder_len, name};
	char folder[4096];
	struct dirent *entry;
	DIR *dir;

	if (folder_len >= sizeof(folder))
		return;
	snprintf(folder, sizeof(folder), "%.*s", (int)folder_len, t->part);
	dir = opendir(*folder ? folder : ".");
	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if ((entry->d_name[0] != '.' || *name == '.') && !strpbrk(entry->d_name, "\t\n&"))
			offer(&file, entry->d_name, strlen(entry->d_name), entry->d_type == DT_DIR ? "/" : "", "");
	closedir(dir);
}

/* What a key takes, where that is a choice of words: on|off, close|skip. */
static void offer_choice(const struct typed *t, const char *choice)
{
	while (*choice) {
		size_t len = strcspn(choice, "|, "), rest = strspn(choice + len, "|");

		offer(t, choice, len, "", "");
		if (!rest) /* what follows is for people */
			return;
		choice += len + rest;
	}
}

static bool is_word(const char *name, const char *word, size_t len)
{
	return name && strlen(name) == len && strncmp(name, word, len) == 0;
}

static const struct command_key *keys_of(const struct command *command)
{
	static const struct command_key none = {0};

	return command && command->keys ? command->keys : &none;
}

static void offer_values(const struct typed *t, const struct command *command, const char *key, size_t len)
{
	static const struct {
		const char *key;
		const char *(*at)(int index, const char **meaning);
	} tables[] = {{"frame", tn_frame_at}, {"format", tn_format_at}};
	static const char names_files[] = "file"; /* how the type of such a key begins */
	struct tn_option option;

	for (const struct command_key *own = keys_of(command); own->key; own++)
		if (own->of_list && is_word(own->key, key, len)) {
			offer_table(t, command->list_at);
			return;
		}
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		if (is_word(tables[i].key, key, len)) {
			offer_table(t, tables[i].at);
			return;
		}
	for (int i = 0; tn_option_at(i, &option) == 0; i++)
		if (is_word(option.key, key, len)) {
			if (strncmp(option.type, names_files, strlen(names_files)) == 0)
				offer_files(t);
			else if (strchr(option.type, '|'))
				offer_choice(t, option.type);
		}
}

static void offer_keys(const struct typed *t, const struct command *command)
{
	struct tn_option option;

	for (const struct command_key *own = keys_of(command); own->key; own++)
		offer(t, own->key, strlen(own->key), "=", own->meaning);
	for (int i = 0; tn_option_at(i, &option) == 0; i++)
		offer(t, option.key, strlen(option.key), "=", option.meaning);
}

/* Keys stand behind the place, after ? and &. The URL begins at `kept`. */
static void complete_url(struct text *out, const struct command *command, const char *word, size_t kept)
{
	const char *query = strchr(word + kept, '?'), *last, *value;
	struct typed t = part_of(out, word, kept);

	if (!query) {
		offer_schemes(&t);
		return;
	}
	last = strrchr(query, '&');
	last = last ? last + 1 : query + 1;
	value = strchr(last, '=');
	t = part_of(out, word, (size_t)((value ? value + 1 : last) - word));
	if (value)
		offer_values(&t, command, last, (size_t)(value - last));
	else
		offer_keys(&t, command);
}

/* ---- options ---- */

static void offer_options(const struct typed *t, const struct option_spec *specs)
{
	char name[64];

	for (; specs && specs->name; specs++) {
		const char *help = specs->help;

		for (const struct option_spec *next = specs; !help && next->name; next++) /* told with the next one */
			help = next->help;
		snprintf(name, sizeof(name), "--%s", specs->name);
		if (*specs->name)
			offer(t, name, strlen(name), "", help ? help : "");
	}
}

/* The option of a table that is `len` bytes of a word: --name or -n. NULL: there is none. */
static const struct option_spec *find(const struct option_spec *specs, const char *word, size_t len)
{
	for (; specs && specs->name; specs++) {
		size_t name = strlen(specs->name);

		if (name && len == name + 2 && memcmp(word, "--", 2) == 0 && memcmp(word + 2, specs->name, name) == 0)
			return specs;
		if (len == 2 && specs->letter && word[0] == '-' && word[1] == specs->letter)
			return specs;
	}
	return NULL;
}

/* The one that takes the next word as its value. NULL: there is none. */
static const struct option_spec *awaits_value(const struct command *command, const char *word)
{
	const struct option_spec *spec = find(options_common, word, strlen(word));

	if (!spec && command)
		spec = find(command->options, word, strlen(word));
	return spec && (spec->takes == OPTION_VALUE || spec->takes == OPTION_VALUES) ? spec : NULL;
}

static void complete_value(struct text *out, const struct command *command, const struct option_spec *spec,
			   const char *word, size_t kept)
{
	static const struct {
		const char *value;
		const char *(*at)(int index, const char **meaning);
		const char *choice;
	} known[] = {
		{"FORMAT", tn_format_at, NULL},
		{"FRAME", tn_frame_at, NULL},
		{"ENGINE", NULL, "auto|uring|epoll"},
		{"WHEN", NULL, "auto|always|never"},
	};
	struct typed t = part_of(out, word, kept);

	if (!spec->value)
		return;
	if (strcmp(spec->value, "URL") == 0)
		complete_url(out, command, word, kept);
	if (strcmp(spec->value, "NAME") == 0 && command && command->list_at && strcmp(spec->name, "handler") == 0)
		offer_table(&t, command->list_at);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(spec->value, known[i].value) != 0)
			continue;
		if (known[i].at)
			offer_table(&t, known[i].at);
		else
			offer_choice(&t, known[i].choice);
	}
}

/* ---- the line ---- */

static void offer_commands(const struct typed *t, const struct command *const *commands, size_t ncommands)
{
	for (size_t i = 0; i < ncommands; i++)
		offer(t, commands[i]->name, strlen(commands[i]->name), "", commands[i]->meaning);
	offer(t, "help", 4, "", "help for a command");
}

/* One word of the line: an option, its value, or an operand. */
static void complete_word(struct text *out, const struct command *command, const char *word, const char *before)
{
	const struct option_spec *spec = before ? awaits_value(command, before) : NULL;
	const char *value = strncmp(word, "--", 2) == 0 ? strchr(word, '=') : NULL;
	struct typed t = part_of(out, word, 0);

	if (spec) {
		complete_value(out, command, spec, word, 0);
	} else if (value && before) {
		spec = find(options_common, word, (size_t)(value - word));
		spec = spec || !command ? spec : find(command->options, word, (size_t)(value - word));
		if (spec)
			complete_value(out, command, spec, word, (size_t)(value + 1 - word));
	} else if (word[0] == '-' && before) {
		offer_options(&t, command ? command->options : NULL);
		offer_options(&t, options_common);
	} else if (command && command->takes_place) {
		complete_url(out, command, word, 0);
	}
}

int complete(const struct command *const *commands, size_t ncommands, char **words, int count)
{
	const struct command *command = NULL;
	const char *word, *before = ""; /* NULL: behind --, where nothing is an option */
	bool named = false;
	struct text out = {0};
	struct typed t;

	if (count == 0)
		return STATUS_USAGE;
	word = words[count - 1];
	t = part_of(&out, word, 0);
	for (int i = 0; i < count - 1; before = before ? words[i] : NULL, i++) {
		bool value = before && awaits_value(command, before);

		if (!value && strcmp(words[i], "--") == 0) {
			before = NULL;
			break;
		}
		if (named || value || words[i][0] == '-')
			continue;
		named = true;
		for (size_t c = 0; c < ncommands; c++)
			if (strcmp(commands[c]->name, words[i]) == 0)
				command = commands[c];
		if (strcmp(words[i], "help") == 0 && i == count - 2)
			offer_commands(&t, commands, ncommands);
	}
	if (!named && word[0] != '-' && before && !awaits_value(command, before))
		offer_commands(&t, commands, ncommands);
	else if (!named || command)
		complete_word(&out, command, word, before);
	return out_text(&out) ? STATUS_FAILED : STATUS_DONE;
}
