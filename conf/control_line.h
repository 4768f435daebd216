/* conf/control_line.h -- the lines of a control socket, to and from JSON: conf/control.h tells what stands in them. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* A request, bytes with its newline: a long rule for an export with a long name, and more. */
#define CONTROL_LINE_MAX (64u << 10)

/* A reply, bytes with its newline: 65536 connections with their names. Also what may wait for one controller to be read. */
#define CONTROL_REPLY_MAX (32u << 20)

/* One error, for an operator. */
#define CONTROL_WHY_SIZE 512

struct control_request {
	json_t *whole;	     /* owned; NULL: not JSON */
	json_t *id;	     /* in whole; NULL: none */
	const char *command; /* in whole */
	json_t *arguments;   /* owned: an object */
};

/* control_request_parse() - a line without its newline, any bytes.
 * Returns 0, or -1 with the reason in @why (CONTROL_WHY_SIZE bytes); where an id was found nevertheless, it is there.
 * Either way @request is to be given to control_request_fini(). */
int control_request_parse(const char *line, size_t length, struct control_request *request, char *why);
void control_request_fini(struct control_request *request);

/* A request's line with its newline, the caller's to free(); @arguments is borrowed. NULL: out of memory. */
char *control_request_line(const char *command, json_t *arguments, size_t *length);

/* A reply's line with its newline, the caller's to free(); @id (NULL: none) is borrowed, @result taken over.
 * NULL: out of memory. */
char *control_reply_line(json_t *id, json_t *result, size_t *length);
char *control_error_line(json_t *id, const char *error, size_t *length);

/* control_reply_parse() - a reply's line, with or without its newline. Returns its result, a new reference; or NULL and the
 * reason in @why, either the server's (then @refused) or what is wrong with the line. */
json_t *control_reply_parse(const char *line, size_t length, bool *refused, char *why);

/* control_text() - any bytes as a JSON string: those that are not UTF-8 stand as \xNN. A new reference; NULL: out of
 * memory. */
json_t *control_text(const char *text);
