/* conf/control_line.c -- one JSON object a line, and nothing in it that has no meaning. */
#include "conf/control_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/log.h"

static json_t *load(const char *line, size_t length, char *why)
{
	json_error_t error;
	json_t *json = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);

	if (!json)
		snprintf(why, CONTROL_WHY_SIZE, "not JSON: at byte %d: %s", error.position, error.text);
	if (json && !json_is_object(json)) {
		snprintf(why, CONTROL_WHY_SIZE, "not a JSON object");
		json_decref(json);
		return NULL;
	}
	return json;
}

static int check_keys(json_t *whole, char *why)
{
	const char *key;
	json_t *value;

	json_object_foreach(whole, key, value)
	{
		char shown[64];

		if (strcmp(key, "command") == 0 || strcmp(key, "arguments") == 0 || strcmp(key, "id") == 0)
			continue;
		snprintf(why, CONTROL_WHY_SIZE,
			"a request has a 'command', 'arguments' and an 'id', but no '%s'",
			log_quote(shown, sizeof(shown), key, strlen(key)));
		return -1;
	}
	return 0;
}

int control_request_parse(const char *line, size_t length, struct control_request *request, char *why)
{
	json_t *arguments;

	*request = (struct control_request){ .whole = load(line, length, why) };
	if (!request->whole)
		return -1;
	request->id = json_object_get(request->whole, "id");
	if (check_keys(request->whole, why))
		return -1;
	request->command = json_string_value(json_object_get(request->whole, "command"));
	if (!request->command) {
		snprintf(why, CONTROL_WHY_SIZE, "the 'command' is missing, or not a string");
		return -1;
	}
	arguments = json_object_get(request->whole, "arguments");
	if (arguments && !json_is_object(arguments)) {
		snprintf(why, CONTROL_WHY_SIZE, "the 'arguments' are not an object");
		return -1;
	}
	request->arguments = arguments ? json_incref(arguments) : json_object();
	if (request->arguments)
		return 0;
	snprintf(why, CONTROL_WHY_SIZE, "out of memory");
	return -1;
}

void control_request_fini(struct control_request *request)
{
	json_decref(request->arguments);
	json_decref(request->whole);
	*request = (struct control_request){ 0 };
}

/* @object is taken over. */
static char *line_of(json_t *object, size_t *length)
{
	char *text = object ? json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
	char *line = NULL;

	json_decref(object);
	if (text) {
		*length = strlen(text);
		line = realloc(text, *length + 2);
	}
	if (!line) {
		free(text);
		return NULL;
	}
	line[(*length)++] = '\n';
	line[*length] = '\0';
	return line;
}

char *control_request_line(const char *command, json_t *arguments, size_t *length)
{
	return line_of(json_pack("{sssO}", "command", command, "arguments", arguments), length);
}

static json_t *id_or_null(json_t *id)
{
	return id ? json_incref(id) : json_null();
}

char *control_reply_line(json_t *id, json_t *result, size_t *length)
{
	return line_of(json_pack("{sosbso}", "id", id_or_null(id), "ok", 1, "result", result), length);
}

char *control_error_line(json_t *id, const char *error, size_t *length)
{
	return line_of(
		json_pack("{sosbso}", "id", id_or_null(id), "ok", 0, "error", control_text(error)), length);
}

json_t *control_reply_parse(const char *line, size_t length, bool *refused, char *why)
{
	json_t *whole = load(line, length, why);
	json_t *ok = json_object_get(whole, "ok"), *result = json_object_get(whole, "result");
	const char *error = json_string_value(json_object_get(whole, "error"));

	*refused = json_is_false(ok) && error;
	if (*refused)
		snprintf(why, CONTROL_WHY_SIZE, "%s", error);
	else if (whole && !(json_is_true(ok) && result))
		snprintf(why, CONTROL_WHY_SIZE, "not a reply");
	result = json_is_true(ok) ? json_incref(result) : NULL;
	json_decref(whole);
	return result;
}

json_t *control_text(const char *text)
{
	json_t *string = json_string(text);
	size_t size = 4 * strlen(text) + sizeof("...");
	char *quoted;

	if (string)
		return string;
	quoted = malloc(size);
	if (quoted)
		string = json_string(log_quote(quoted, size, text, strlen(text)));
	free(quoted);
	return string;
}
