/* The bytes of a client's handshake: the server must not crash, loop, or keep more than the reply to one option. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/limits.h"
#include "server/negotiation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct disk_ops ops;
static struct disk disk = { .ops = &ops,
	.facts = { .size = 1 << 20, .block_size_min = 1, .data_max = 32 << 20 } };
static struct export third = { .spec = { .name = (char *)"tls", .access.tls = true }, .disk = &disk };
static struct export second = { .spec = { .name = (char *)"vm", .description = (char *)"a disk" },
	.disk = &disk };
static struct export first = { .spec = { .name = (char *)"" }, .disk = &disk };
static struct exports exports;

static void begin(void)
{
	exports_init(&exports);
	if (exports_insert(&exports, &first) || exports_insert(&exports, &second) ||
		exports_insert(&exports, &third))
		abort();
}

/* A copy of exactly so many bytes, so that a read past them is seen. */
static size_t feed(struct negotiation *negotiation, const uint8_t *data, size_t size)
{
	size_t length = size < NEGOTIATION_MESSAGE_MAX ? size : NEGOTIATION_MESSAGE_MAX;
	uint8_t *exact = malloc(length ? length : 1);
	size_t used;

	memcpy(exact, data, length);
	used = negotiation_feed(negotiation, exact, length);
	free(exact);
	return used;
}

/* As if the TLS handshake were done, and the next bytes came through it. */
static void secure(struct negotiation *negotiation, struct identity *who)
{
	if (negotiation->stage != NEGOTIATION_STARTTLS)
		return;
	if (who->tls)
		abort();
	who->tls = true;
	negotiation_secured(negotiation);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct negotiation negotiation;
	struct identity who = { 0 };
	size_t used;

	if (!exports.first)
		begin();
	negotiation_init(&negotiation, &exports);
	negotiation.tls = size > 0 ? data[size - 1] % 3u : TLS_OFF;
	negotiation.who = &who;
	/* As a fault rule has it, in one of four. */
	if (size > 1 && data[size - 2] % 4u == 0)
		negotiation.refusal =
			(enum nbd_option_error)(1 + data[size - 2] / 4u % NBD_REP_ERR_EXT_HEADER_REQD);
	do {
		negotiation_sent(&negotiation, negotiation.out.length);
		secure(&negotiation, &who);
		used = feed(&negotiation, data, size);
		data += used;
		size -= used;
		if (used > NEGOTIATION_MESSAGE_MAX || negotiation.out.length > 4096)
			abort();
	} while (used > 0);
	if (negotiation.export && negotiation.refusal)
		abort();
	if (negotiation.export == &third && !who.tls)
		abort();
	/* A whole message that is not taken would make the connection wait for ever. */
	if (size >= NEGOTIATION_MESSAGE_MAX && negotiation.stage < NEGOTIATION_TRANSMISSION)
		abort();
	negotiation_fini(&negotiation);
	return 0;
}
