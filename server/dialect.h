/* server/dialect.h -- what a client and we have agreed on for its transmission phase. */
#pragma once

/* Requests and replies: compact requests with simple replies or with structured ones, or both with extended headers. */
enum headers { HEADERS_SIMPLE, HEADERS_STRUCTURED, HEADERS_EXTENDED };

/* The metadata contexts there are, by their ids in replies to NBD_OPT_SET_META_CONTEXT and behind; a set has their bits. */
enum meta_context {
	META_ALLOCATION = 1, /* base:allocation */
	META_VERIFIER = 2,   /* vnbd:verifier:VALUE; docs/vnbd-namespace.md */
};
#define META_CONTEXTS	  2
#define META_BIT(context) (1u << (context))

struct dialect {
	enum headers headers;
	unsigned contexts; /* META_BIT() of those that are selected for the export in use */
};
