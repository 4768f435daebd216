/* server/negotiation.h -- the handshake as bytes in, bytes out: fixed newstyle, option by option; no socket here.
 * Spec: proto.md, "Newstyle negotiation", "Fixed newstyle negotiation", "Option types".
 *
 * The owner sends what is in out, empties it, and gives what the client sent, until stage says that it is over.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/access.h"
#include "server/close_reason.h"
#include "server/dialect.h"
#include "server/export.h"
#include "server/lineage.h"
#include "server/nbd_wire.h"
#include "server/tls.h"

/*  CLIENT_FLAGS --> OPTION --GO, EXPORT_NAME--> TRANSMISSION
 *        |          |   ^
 *        |          v   |                  --STARTTLS--> STARTTLS --negotiation_secured()--> OPTION
 *        |       SKIPPING      anything --> OVER, with the reason in close */
enum negotiation_stage {
	NEGOTIATION_CLIENT_FLAGS,
	NEGOTIATION_OPTION,
	NEGOTIATION_SKIPPING, /* the data of an option that is too long */
	NEGOTIATION_STARTTLS, /* when out has left, the TLS handshake follows */
	NEGOTIATION_TRANSMISSION,
	NEGOTIATION_OVER,
};

/* The longest message: a buffer of this size is enough for negotiation_feed(). */
#define NEGOTIATION_MESSAGE_MAX (16 + 16384)

struct negotiation {
	const struct exports *exports; /* borrowed: outlives every handshake */
	enum tls_mode tls;	       /* TLS_OFF unless the owner sets it before the first feed */
	const struct identity
		*who; /* borrowed: the owner's; NULL: not known. Exports it may not see do not exist */
	enum negotiation_stage stage;
	enum close_reason close; /* in OVER; out still has to be sent */
	bool no_zeroes;
	/* 0, or what the owner sets: whatever asks for an export is refused with it. */
	enum nbd_option_error refusal;
	unsigned options;   /* taken so far */
	unsigned listed;    /* exports, in the last reply to NBD_OPT_LIST */
	uint32_t skip_left; /* in SKIPPING: bytes */
	/* What was agreed so far. */
	enum headers headers;
	char *status_of;	/* owned: NULL, or the name of the export for which contexts are selected */
	unsigned contexts;	/* META_BIT() of these */
	uint64_t verifier;	/* that was told, if it is among them */
	struct lineage lineage; /* whose connection it is; identity 0: not told */
	/* What TRANSMISSION starts with. */
	struct dialect dialect;
	struct export *export; /* owned: a reference; who takes it leaves NULL */
	struct {
		uint8_t *bytes; /* owned */
		size_t length, size;
	} out;
};

/* The greeting is in out. */
void negotiation_init(struct negotiation *negotiation, const struct exports *exports);
void negotiation_fini(struct negotiation *negotiation);

/* negotiation_feed() - take the first message of @bytes, whatever the client wrote there.
 * Call it again, while the stage goes on, with the bytes that follow, and with out emptied: so what a client can make us
 * hold is the reply to one option.
 * Returns how many bytes were used: 0 means that the message is not complete. */
size_t negotiation_feed(struct negotiation *negotiation, const uint8_t *bytes, size_t length);

/* negotiation_sent() - the first @length bytes of out have left. */
void negotiation_sent(struct negotiation *negotiation, size_t length);

/* negotiation_secured() - the TLS handshake that STARTTLS asked for is done; who tells what the client proved in it. What
 * was agreed before is forgotten. */
void negotiation_secured(struct negotiation *negotiation);

/* Whether @export is what was chosen, or one of whose metadata contexts was told. */
bool negotiation_concerns(const struct negotiation *negotiation, const struct export *export);
