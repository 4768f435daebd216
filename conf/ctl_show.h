/* conf/ctl_show.h -- the answers of a control socket, for people: aligned tables and plain sentences. */
#pragma once

#include <jansson.h>
#include <stdio.h>

#define CTL_COLUMNS_MAX 8u

enum ctl_format { CTL_PLAIN, CTL_BYTES, CTL_TIME /* of seconds since 1970, as local time */ };

struct ctl_column {
	const char *key, *title;
	enum ctl_format format;
};

/* What is not told is shown as it comes: an array of objects as a table of their keys, an object as lines "key: value". */
struct ctl_layout {
	const char *sentence; /* for an object: {KEY} stands for its value; NULL: none */
	struct ctl_column columns[CTL_COLUMNS_MAX]; /* for an array of objects */
};

/* ctl_text() - @text, which is UTF-8, with \xNN for what a terminal might obey. The caller's to free(); NULL: out of memory. */
char *ctl_text(const char *text);

/* ctl_show() - @result to @out, its texts as by ctl_text(). */
void ctl_show(FILE *out, const struct ctl_layout *layout, const json_t *result);
