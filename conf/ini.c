/* conf/ini.c -- a text, line by line. */
#include "conf/ini.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/log.h"

static const char white[] = " \t\r";

/* -- the file ----------------------------------------------------------------------------------------------------- */

/* Returns how much of @fd there is, up to one byte more than it may be; -errno. */
static ssize_t read_all(int fd, char *text)
{
	size_t length = 0;
	ssize_t got;

	while ((got = read(fd, text + length, INI_FILE_MAX + 1 - length)) > 0)
		length += (size_t)got;
	return got < 0 ? -errno : (ssize_t)length;
}

char *ini_read(const char *path, size_t *length, char why[INI_WHY_SIZE])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = malloc(INI_FILE_MAX + 2);
	ssize_t got = fd < 0 ? -errno : !text ? -ENOMEM : read_all(fd, text);

	if (fd >= 0)
		close(fd);
	if (got >= 0 && got <= INI_FILE_MAX) {
		text[got] = '\0';
		*length = (size_t)got;
		return text;
	}
	free(text);
	if (got < 0)
		snprintf(why, INI_WHY_SIZE, "%s: %s", path, strerror((int)-got));
	else
		snprintf(why, INI_WHY_SIZE, "%s: a configuration has up to %u bytes", path, INI_FILE_MAX);
	return NULL;
}

/* -- lines -------------------------------------------------------------------------------------------------------- */

struct parser {
	const char *name;
	const struct ini_handler *handler;
	void *arg;
	const char *section; /* NULL: none yet */
	unsigned line, section_line;
	char *why;
};

/* @key: NULL: the error is of the section; @section NULL: of the line. */
static int fail(
	const struct parser *parser, unsigned line, const char *section, const char *key, const char *what)
{
	char section_shown[128], key_shown[128];

	snprintf(parser->why, INI_WHY_SIZE, "%s:%u: %s%s%s%s%s", parser->name, line,
		section ? log_quote(section_shown, sizeof(section_shown), section, strlen(section)) : "",
		section ? ": " : "", key ? log_quote(key_shown, sizeof(key_shown), key, strlen(key)) : "",
		key ? ": " : "", what);
	return -1;
}

/* Without white space at both ends; @end is where its NUL may be. */
static char *trim(char *text, char *end)
{
	while (end > text && strchr(white, end[-1]))
		end--;
	*end = '\0';
	return text + strspn(text, white);
}

static int end_section(struct parser *parser)
{
	char what[INI_REASON_SIZE];

	if (!parser->section || !parser->handler->section_end(parser->arg, what))
		return 0;
	return fail(parser, parser->section_line, parser->section, NULL, what);
}

static int parse_section(struct parser *parser, char *line)
{
	char *end = strchr(line, ']');
	char what[INI_REASON_SIZE];

	if (!end || end[1])
		return fail(parser, parser->line, NULL, NULL,
			"a section is a name between '[' and ']', and nothing behind");
	if (end_section(parser))
		return -1;
	parser->section = trim(line + 1, end);
	parser->section_line = parser->line;
	if (parser->handler->section(parser->arg, parser->section, what))
		return fail(parser, parser->line, parser->section, NULL, what);
	return 0;
}

static int parse_key(struct parser *parser, char *line)
{
	char *equals = strchr(line, '=');
	char what[INI_REASON_SIZE], *key, *value;

	if (!equals || equals == line)
		return fail(parser, parser->line, parser->section, NULL, "not of the form 'key = value'");
	value = trim(equals + 1, equals + 1 + strlen(equals + 1));
	key = trim(line, equals);
	if (!parser->section)
		return fail(parser, parser->line, NULL, key, "a key before the first [section]");
	if (parser->handler->key(parser->arg, key, value, what))
		return fail(parser, parser->line, parser->section, key, what);
	return 0;
}

static int parse_line(struct parser *parser, char *line, size_t length)
{
	if (length > INI_LINE_MAX)
		return fail(parser, parser->line, NULL, NULL, "the line is too long");
	if (memchr(line, '\0', length))
		return fail(parser, parser->line, NULL, NULL, "the line has a NUL byte");
	line = trim(line, line + length);
	if (*line == '\0' || *line == '#' || *line == ';')
		return 0;
	return *line == '[' ? parse_section(parser, line) : parse_key(parser, line);
}

int ini_parse(const char *name, char *text, size_t length, const struct ini_handler *handler, void *arg,
	char why[INI_WHY_SIZE])
{
	struct parser parser = { .name = name, .handler = handler, .arg = arg, .why = why };
	char *const end = text + length;

	while (text < end) {
		char *newline = memchr(text, '\n', (size_t)(end - text));
		char *line_end = newline ? newline : end;

		parser.line++;
		if (parse_line(&parser, text, (size_t)(line_end - text)))
			return -1;
		text = line_end + 1;
	}
	return end_section(&parser);
}
