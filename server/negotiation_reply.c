/* server/negotiation_reply.c -- what is said, put together in out. */
#include "server/negotiation_parts.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

void negotiation_end(struct negotiation *negotiation, enum close_reason reason)
{
	negotiation->stage = NEGOTIATION_OVER;
	negotiation->close = reason;
}

void negotiation_add(struct negotiation *negotiation, const void *bytes, size_t length)
{
	size_t size = negotiation->out.size ? negotiation->out.size : 512;
	uint8_t *grown;

	if (length == 0 || (negotiation->stage == NEGOTIATION_OVER && negotiation->close == CLOSE_memory))
		return;
	while (size - negotiation->out.length < length)
		size *= 2;
	if (size != negotiation->out.size) {
		grown = realloc(negotiation->out.bytes, size);
		if (!grown) {
			negotiation->out.length = 0;
			negotiation_end(negotiation, CLOSE_memory);
			return;
		}
		negotiation->out.bytes = grown;
		negotiation->out.size = size;
	}
	memcpy(negotiation->out.bytes + negotiation->out.length, bytes, length);
	negotiation->out.length += length;
}

void negotiation_add16(struct negotiation *negotiation, uint16_t number)
{
	number = htobe16(number);
	negotiation_add(negotiation, &number, sizeof(number));
}

void negotiation_add32(struct negotiation *negotiation, uint32_t number)
{
	number = htobe32(number);
	negotiation_add(negotiation, &number, sizeof(number));
}

void negotiation_add64(struct negotiation *negotiation, uint64_t number)
{
	number = htobe64(number);
	negotiation_add(negotiation, &number, sizeof(number));
}

void negotiation_reply(struct negotiation *negotiation, uint32_t option, uint32_t type, size_t length)
{
	struct nbd_option_reply_header header = {
		.magic = htobe64(NBD_OPTION_REPLY_MAGIC),
		.option = htobe32(option),
		.type = htobe32(type),
		.length = htobe32((uint32_t)length),
	};

	negotiation_add(negotiation, &header, sizeof(header));
}

void negotiation_acknowledge(struct negotiation *negotiation, uint32_t option)
{
	negotiation_reply(negotiation, option, NBD_REP_ACK, 0);
}

void negotiation_refuse(
	struct negotiation *negotiation, uint32_t option, enum nbd_option_error error, const char *why)
{
	negotiation_reply(negotiation, option, NBD_REP_ERR(error), strlen(why));
	negotiation_add(negotiation, why, strlen(why));
}
