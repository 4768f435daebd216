/* conf/ctl_command.h -- the commands of vnbdctl, a row each: what is typed, what is asked, how the answer looks.
 *
 * A row's usage is what is matched as well as what --help and the manual show:
 *
 *	fault        stands as it is
 *	EXPORT       an argument, of ctl_command.c's table: the JSON argument "export"
 *	[EXPORT]     one that may be left out; the first of several are the first to be there
 *	[--keep=...] an option, likewise; with [=...], its value may be left out
 */
#pragma once

#include <jansson.h>

#include "conf/ctl_show.h"

struct ctl_command {
	const char *usage;
	const char *command; /* the request's */
	const char *help;    /* a sentence */
	struct ctl_layout layout;
};

/* Ends with a NULL usage. */
extern const struct ctl_command ctl_commands[];

/* Words of one command. */
#define CTL_WORDS_MAX 16u

/* ctl_command_find() - the command that @count @words, up to CTL_WORDS_MAX, are, and its arguments as a new JSON object.
 * Returns NULL, with the reason in @why (CMDLINE_WHY_SIZE bytes). */
const struct ctl_command *ctl_command_find(
	const char *const *words, unsigned count, json_t **arguments, char *why);
