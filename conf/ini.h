/* conf/ini.h -- sections of keys and values, in nbd-server's dialect.
 *
 *	# a comment; so is a line that begins with ';'
 *	[section]
 *	key = value
 *
 * White space around names and values does not count. A value goes on to the end of its line, whatever is in it: there
 * are no quotes, no escapes, no continuation. Order matters to nobody but the reader of an error, who gets the line.
 *
 * (Debian's inih takes a line of more than 200 bytes for two, and tells no line numbers.)
 */
#pragma once

#include <stddef.h>

/* A configuration of ten thousand exports is a tenth of it. */
#define INI_FILE_MAX (16u << 20)

/* Of one line, bytes: the longest URI and more. */
#define INI_LINE_MAX 4096u

/* Room for every reason below, and for each of a handler's (INI_REASON_SIZE). */
#define INI_REASON_SIZE 512
#define INI_WHY_SIZE	1024

/* Each returns 0, or -1 with the reason in @why (INI_REASON_SIZE bytes). Strings point into the text. */
struct ini_handler {
	int (*section)(void *arg, const char *name, char *why);
	int (*key)(void *arg, const char *key, const char *value, char *why);
	int (*section_end)(void *arg, char *why); /* all of the latest section's keys are there */
};

/* ini_read() - a whole file, with a NUL behind it.
 * Returns it, the caller's to free(), and its length; or NULL and the reason in @why: "PATH: ...". */
char *ini_read(const char *path, size_t *length, char why[INI_WHY_SIZE]);

/* ini_parse() - @text: @length bytes and a NUL, any bytes; it is cut up where it is.
 * Returns 0, or -1 at the first error with the reason in @why: "NAME:LINE: what is wrong", or
 * "NAME:LINE: section: key: what is wrong". @name: the file's. */
int ini_parse(const char *name, char *text, size_t length, const struct ini_handler *handler, void *arg,
	char why[INI_WHY_SIZE]);
