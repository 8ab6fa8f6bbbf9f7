/* The pages that --help prints, made of the tables. */
#ifndef TENON_HELP_H
#define TENON_HELP_H

struct command;
struct option_spec;
struct text;

/*
 * Adds a command's page: examples, usage, what it does, its options and those of every command. In the command's text
 * {frames} and {formats} stand for the names in the library's tables, a line {list} for the command's own
 * table: an entry each, with what it means.
 */
void help_command(struct text *text, const struct command *command);

/* Adds the options of a table, an entry each: its letter and name, its value, what it does, and the values it takes. */
void help_options(struct text *text, const struct option_spec *options);

/* Adds the table of all schemes. */
void help_schemes(struct text *text);

#endif
