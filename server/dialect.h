/* server/dialect.h -- what a client and we have agreed on for its transmission phase. */
#pragma once

#include <stdbool.h>

/* Requests and replies: compact requests with simple replies or with structured ones, or both with extended headers. */
enum headers { HEADERS_SIMPLE, HEADERS_STRUCTURED, HEADERS_EXTENDED };

struct dialect {
	enum headers headers;
	bool allocation; /* the metadata context base:allocation is selected, for the export in use */
};
