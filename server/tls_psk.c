/* server/tls_psk.c -- reads a file of keys, and forgets it thoroughly. */
#include "server/tls_psk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Returns the file's text, or NULL with @why. */
static char *read_text(const char *path, char *why, size_t why_size)
{
	FILE *file = fopen(path, "re");
	char *text = calloc(1, PSK_FILE_MAX + 1);
	size_t length;

	if (!file || !text) {
		snprintf(why, why_size, "%s: %s", path, strerror(errno));
		goto fail;
	}
	setvbuf(file, NULL, _IONBF, 0);
	length = fread(text, 1, PSK_FILE_MAX + 1, file);
	if (ferror(file) || length > PSK_FILE_MAX || strlen(text) != length) {
		snprintf(why, why_size, "%s: %s", path,
			ferror(file) ? strerror(errno) : "no text of at most 1 MiB");
		goto fail;
	}
	fclose(file);
	return text;

fail:
	if (file)
		fclose(file);
	free(text);
	return NULL;
}

static int hex_digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *found = c ? strchr(digits, c | 0x20) : NULL;

	return found ? (int)(found - digits) : -1;
}

static int parse_key(const char *hex, struct psk_key *key)
{
	size_t length = strlen(hex) / 2;

	if (length < PSK_KEY_MIN || length > PSK_KEY_MAX || strlen(hex) % 2)
		return -EINVAL;
	for (size_t i = 0; i < length; i++) {
		int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		key->key[i] = (uint8_t)(high << 4 | low);
	}
	key->length = length;
	return 0;
}

/* '#' in front would mean a user in hexadecimal to other programs, and a comment to people. */
static int parse_line(char *line, struct psk_key *key)
{
	char *colon = strrchr(line, ':');

	if (!colon || colon == line || *line == '#')
		return -EINVAL;
	*colon = '\0';
	key->user = line;
	return parse_key(colon + 1, key);
}

static size_t count_lines(const char *text)
{
	size_t lines = 1;

	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

static int parse_text(struct psk_keys *keys, const char *path, char *why, size_t why_size)
{
	char *next = keys->text;
	unsigned number = 0;

	while (next) {
		char *line = strsep(&next, "\n");
		size_t length = strlen(line);

		number++;
		if (length > 0 && line[length - 1] == '\r')
			line[--length] = '\0';
		if (length == 0)
			continue;
		if (parse_line(line, &keys->keys[keys->count])) {
			snprintf(why, why_size,
				"%s: line %u is not USER:KEY with %d to %d hexadecimal digits", path, number,
				2 * PSK_KEY_MIN, 2 * PSK_KEY_MAX);
			return -1;
		}
		keys->count++;
	}
	if (keys->count > 0)
		return 0;
	snprintf(why, why_size, "%s: no key is in it", path);
	return -1;
}

int psk_keys_load(struct psk_keys *keys, const char *path, char *why, size_t why_size)
{
	int error = -1;

	*keys = (struct psk_keys){ .text = read_text(path, why, why_size) };
	if (!keys->text)
		return -1;
	keys->keys = calloc(count_lines(keys->text), sizeof(keys->keys[0]));
	if (keys->keys)
		error = parse_text(keys, path, why, why_size);
	else
		snprintf(why, why_size, "out of memory");
	if (error)
		psk_keys_fini(keys);
	return error;
}

void psk_keys_fini(struct psk_keys *keys)
{
	if (keys->keys)
		explicit_bzero(keys->keys, keys->count * sizeof(keys->keys[0]));
	if (keys->text)
		explicit_bzero(keys->text, PSK_FILE_MAX);
	free(keys->keys);
	free(keys->text);
	*keys = (struct psk_keys){ 0 };
}

const struct psk_key *psk_keys_find(const struct psk_keys *keys, const void *user, size_t length)
{
	for (size_t i = 0; i < keys->count; i++)
		if (strlen(keys->keys[i].user) == length && memcmp(keys->keys[i].user, user, length) == 0)
			return &keys->keys[i];
	return NULL;
}
