/* conf/size.c -- digits and one letter. */
#include "conf/size.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse_unit(const char *text, unsigned *shift)
{
	static const char units[] = "KMGT";
	const char *unit;

	*shift = 0;
	if (!*text)
		return 0;
	unit = strchr(units, toupper((unsigned char)*text));
	if (!unit || text[1])
		return -EINVAL;
	*shift = 10 * (unsigned)(unit - units + 1);
	return 0;
}

int size_parse(const char *text, uint64_t *out)
{
	unsigned long long number;
	unsigned shift;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (parse_unit(end, &shift))
		return -EINVAL;
	if (errno || number > (uint64_t)INT64_MAX >> shift)
		return -ERANGE;
	*out = (uint64_t)number << shift;
	return 0;
}

const char *size_text(uint64_t bytes, char *out, size_t out_size)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double size = (double)bytes / 1024;
	unsigned unit = 0;

	if (bytes < 1024) {
		snprintf(out, out_size, "%u bytes", (unsigned)bytes);
		return out;
	}
	for (; size >= 1024; unit++)
		size /= 1024;
	snprintf(out, out_size, "%.1f %s", size, units[unit]);
	return out;
}
