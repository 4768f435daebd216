/* server/info_request.c -- a name, a count, and that many numbers; what is left over is an error. */
#include "server/info_request.h"

#include <errno.h>

#include "server/nbd_wire.h"

int info_request_parse(const uint8_t *data, uint32_t length, struct info_request *out, const char **why)
{
	/* The length of the name in front, the number of information requests behind it. */
	const uint32_t around_name = sizeof(uint32_t) + sizeof(uint16_t);
	const uint8_t *infos;
	uint32_t count;

	*out = (struct info_request){ 0 };
	*why = "the option is too short";
	if (length < around_name)
		return -EINVAL;
	out->name = (const char *)data + sizeof(uint32_t);
	out->name_length = nbd_get32(data);
	*why = "the export name reaches past the option";
	if (out->name_length > length - around_name)
		return -EINVAL;
	*why = "the export name is longer than 4096 bytes";
	if (out->name_length > NBD_STRING_MAX)
		return -EINVAL;
	infos = data + sizeof(uint32_t) + out->name_length;
	count = nbd_get16(infos);
	*why = "the option's length and its number of information requests differ";
	if (length - around_name - out->name_length != count * sizeof(uint16_t))
		return -EINVAL;
	for (uint32_t i = 1; i <= count; i++) {
		uint16_t info = nbd_get16(infos + i * sizeof(uint16_t));

		if (info <= NBD_INFO_BLOCK_SIZE)
			out->wanted |= 1u << info;
	}
	return 0;
}
