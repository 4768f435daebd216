/* conf/cmdline.h -- a command line as a table: the parser and --help come from the same rows.
 *
 * Options are GNU long options with an optional letter; "--help" and "--version" are every program's and need no row.
 * An error is told as "PROGRAM: error: ..." and ends the program with CMDLINE_USAGE_EXIT: before main() has done
 * anything that would have to be undone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Exit status for a command line that cannot be obeyed; 1 is for everything that fails later. */
#define CMDLINE_USAGE_EXIT 2

/* Rows a program may have. */
#define CMDLINE_OPTIONS_MAX 64

/* One reason why a value is refused, for an operator. */
#define CMDLINE_WHY_SIZE 512

struct cmdline_option {
	const char *name;     /* without the dashes */
	char letter;	      /* 0: none */
	const char *argument; /* how --help names it; NULL: a flag, set() gets NULL */
	const char *help;     /* lines separated by \n; tells default, unit and consequence */

	/* Stores @value (valid as long as argv) in @settings. Returns 0, or -1 with the reason in @why
	 * (CMDLINE_WHY_SIZE bytes). */
	int (*set)(void *settings, const char *value, char *why);

	/* NULL, or: whether a plain word that follows this option's argument is one more argument of it. */
	bool (*takes_word)(const char *word);
};

struct cmdline {
	const char *program;
	const char *synopsis;		      /* what follows the program's name, lines separated by \n */
	const char *purpose;		      /* a sentence or paragraph */
	const struct cmdline_option *options; /* ends with a row whose name is NULL */
	/* Takes a word that belongs to no option; NULL: such a word is an error. */
	int (*word)(void *settings, const char *word, char *why);
	bool takes_options;   /* a long option of no row is such a word, too */
	const char *epilogue; /* examples, and where to read on */
};

/* Calls set() and word() in the order of the command line. Returns only if every one of them returned 0. */
void cmdline_parse(const struct cmdline *cmdline, int argc, char **argv, void *settings);

/* cmdline_fail() - end as for any other error in the command line, when it shows only after all was read. */
__attribute__((noreturn, format(printf, 2, 3))) void cmdline_fail(
	const struct cmdline *cmdline, const char *format, ...);

/* cmdline_number() - a decimal number from @min to @max.
 * Returns 0 and the number in @out, or -1 with the reason in @why. */
int cmdline_number(const char *text, unsigned min, unsigned max, unsigned *out, char *why);
