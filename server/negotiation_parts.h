/* server/negotiation_parts.h -- the inside of a negotiation, for the files that make it up, and for nobody else.
 *
 *   negotiation.c          bytes to options, and which of them are answered at all
 *   negotiation_export.c   the options about exports
 *   negotiation_context.c  the options about metadata contexts
 *   negotiation_reply.c    what is said to them, into out
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/limits.h"
#include "server/nbd_wire.h"
#include "server/negotiation.h"

/* One option: its number and data. */
struct option {
	uint32_t number, length;
	const uint8_t *data;
};

/* negotiation.c */

/* Whether TLS has been negotiated. */
bool negotiation_is_secure(const struct negotiation *negotiation);

/* negotiation_reply.c. Without memory the reply cannot be given, and the connection ends. */

/* It is OVER, because of @reason; what is in out still has to be sent. */
void negotiation_end(struct negotiation *negotiation, enum close_reason reason);

/* To be sent next; numbers in the network's order. */
void negotiation_add(struct negotiation *negotiation, const void *bytes, size_t length);
void negotiation_add16(struct negotiation *negotiation, uint16_t number);
void negotiation_add32(struct negotiation *negotiation, uint32_t number);
void negotiation_add64(struct negotiation *negotiation, uint64_t number);

/* The head of a reply; @length bytes of data have to follow. */
void negotiation_reply(struct negotiation *negotiation, uint32_t option, uint32_t type, size_t length);
void negotiation_acknowledge(struct negotiation *negotiation, uint32_t option);
/* @why: a constant, for the client. */
void negotiation_refuse(
	struct negotiation *negotiation, uint32_t option, enum nbd_option_error error, const char *why);

/* negotiation_export.c */

/* The export of that name; NULL also for one that the client may not see, which is like one that does not exist. */
struct export *negotiation_find(const struct negotiation *negotiation, const void *name, size_t length);

/* "The requested export is not available." */
void negotiation_refuse_down(struct negotiation *negotiation, uint32_t option);

/* Returns whether a fault rule has the option refused, whichever export it is about. */
bool negotiation_refuse_by_rule(struct negotiation *negotiation, uint32_t option);

void negotiation_on_export_name(struct negotiation *negotiation, const struct option *option);
void negotiation_on_list(struct negotiation *negotiation, const struct option *option);
void negotiation_on_info(struct negotiation *negotiation, const struct option *option);

/* negotiation_context.c */

void negotiation_forget_contexts(struct negotiation *negotiation);

void negotiation_on_list_meta_context(struct negotiation *negotiation, const struct option *option);
void negotiation_on_set_meta_context(struct negotiation *negotiation, const struct option *option);
