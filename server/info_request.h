/* server/info_request.h -- the data of NBD_OPT_INFO and NBD_OPT_GO: a pure function over foreign bytes.
 * Spec: proto.md, "Option types".
 */
#pragma once

#include <stdint.h>

struct info_request {
	const char *name; /* borrowed: in the option's data */
	uint32_t name_length;
	unsigned wanted; /* 1 << enum nbd_info, of those we know */
};

/* Returns 0, or -EINVAL with the reason in @why. */
int info_request_parse(const uint8_t *data, uint32_t length, struct info_request *out, const char **why);
