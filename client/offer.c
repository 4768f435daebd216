/* client/offer.c -- an export's facts from a libnbd handle; comparing and printing them. */
#include "client/offer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The facts that are abilities, for comparing and printing. */
static const struct {
	const char *name;
	size_t at;
} abilities[] = {
#define ABILITY(field, name)                             \
	{                                                \
		name, offsetof(struct disk_facts, field) \
	}
	ABILITY(can_flush, "flush"),
	ABILITY(can_fua, "fua"),
	ABILITY(can_trim, "trim"),
	ABILITY(can_zero, "zero"),
	ABILITY(can_fast_zero, "fast-zero"),
	ABILITY(can_cache, "cache"),
	ABILITY(can_multi_conn, "multi-conn"),
#undef ABILITY
};

#define ABILITIES (sizeof(abilities) / sizeof(abilities[0]))

static bool has(const struct disk_facts *facts, size_t ability)
{
	return *(const bool *)((const char *)facts + abilities[ability].at);
}

static bool is_power_of_two(int64_t number)
{
	return number > 0 && (number & (number - 1)) == 0;
}

/* What a server that says nothing about a size means: 1, 4096, 32 MiB. */
static int64_t block_size(struct nbd_handle *nbd, int which, int64_t silent)
{
	int64_t size = nbd_get_block_size(nbd, which);

	return size > 0 ? size : silent;
}

static int read_block_sizes(struct nbd_handle *nbd, struct offer *offer, char why[OFFER_WHY_SIZE])
{
	int64_t min = block_size(nbd, LIBNBD_SIZE_MINIMUM, 1);
	int64_t preferred = block_size(nbd, LIBNBD_SIZE_PREFERRED, 4096);
	int64_t max = block_size(nbd, LIBNBD_SIZE_MAXIMUM, OFFER_DATA_MAX_DEFAULT);

	if (!is_power_of_two(min) || min > 65536 || !is_power_of_two(preferred) || preferred > UINT32_MAX) {
		snprintf(why, OFFER_WHY_SIZE,
			"the server's block sizes (minimum %" PRId64 ", preferred %" PRId64
			") are not powers of two, or the minimum is above 64 KiB",
			min, preferred);
		return -1;
	}
	if (max > BLOCK_DATA_MAX)
		max = BLOCK_DATA_MAX;
	if (max < min) {
		snprintf(why, OFFER_WHY_SIZE, "the server's maximum block size is below its minimum");
		return -1;
	}
	offer->facts.block_size_min = (uint32_t)min;
	offer->facts.block_size_preferred = (uint32_t)(preferred > min ? preferred : min);
	offer->facts.data_max = BLOCK_DATA_MAX; /* longer than one command may be: it is split */
	offer->command_data_max = (uint32_t)(max & ~(min - 1));
	return 0;
}

int offer_read(struct nbd_handle *nbd, struct offer *out, char why[OFFER_WHY_SIZE])
{
	int64_t size = nbd_get_size(nbd);

	memset(out, 0, sizeof(*out));
	if (size < 0) {
		snprintf(why, OFFER_WHY_SIZE, "the server told no valid size");
		return -1;
	}
	if (read_block_sizes(nbd, out, why))
		return -1;
	out->native_fua = nbd_can_fua(nbd) > 0;
	out->facts.size = (uint64_t)size;
	out->facts.readonly = nbd_is_read_only(nbd) > 0;
	out->facts.can_flush = nbd_can_flush(nbd) > 0;
	/* NBD has no flag for a volatile cache: a server that takes flushes may have one. */
	out->facts.volatile_cache = out->facts.can_flush;
	out->facts.can_fua = out->native_fua || out->facts.can_flush;
	out->facts.can_trim = nbd_can_trim(nbd) > 0;
	out->facts.can_zero = nbd_can_zero(nbd) > 0;
	out->facts.can_fast_zero = nbd_can_fast_zero(nbd) > 0;
	out->facts.can_cache = nbd_can_cache(nbd) > 0;
	out->facts.can_multi_conn = nbd_can_multi_conn(nbd) > 0;
	out->facts.rotational = nbd_is_rotational(nbd) > 0;
	return 0;
}

int offer_keeps(const struct disk_facts *promised, const struct disk_facts *offered, char why[OFFER_WHY_SIZE])
{
	if (offered->size < promised->size) {
		snprintf(why, OFFER_WHY_SIZE, "the export shrank from %" PRIu64 " to %" PRIu64 " bytes",
			promised->size, offered->size);
		return -1;
	}
	if (offered->readonly && !promised->readonly) {
		snprintf(why, OFFER_WHY_SIZE, "the export became read-only");
		return -1;
	}
	if (offered->block_size_min > promised->block_size_min) {
		snprintf(why, OFFER_WHY_SIZE, "the export's minimum block size grew from %u to %u bytes",
			promised->block_size_min, offered->block_size_min);
		return -1;
	}
	for (size_t i = 0; i < ABILITIES; i++) {
		if (has(promised, i) && !has(offered, i)) {
			snprintf(why, OFFER_WHY_SIZE, "the export lost its ability %s", abilities[i].name);
			return -1;
		}
	}
	return 0;
}

static int print_size(char *out, size_t out_size, uint64_t bytes)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double amount = (double)bytes;
	unsigned unit = 0;

	while (amount >= 1024 && unit < sizeof(units) / sizeof(units[0]) - 1) {
		amount /= 1024;
		unit++;
	}
	return snprintf(out, out_size, "%.*f %s", unit ? 1 : 0, amount, units[unit]);
}

const char *offer_text(const struct offer *offer, char *out, size_t out_size)
{
	const struct disk_facts *facts = &offer->facts;
	FILE *text = fmemopen(out, out_size, "w");
	char size[32];

	if (!text) {
		*out = '\0';
		return out;
	}
	print_size(size, sizeof(size), facts->size);
	fprintf(text, "%s, block size %u..%u", size, facts->block_size_min, facts->block_size_preferred);
	if (facts->readonly)
		fprintf(text, ", read-only");
	for (size_t i = 0; i < ABILITIES; i++)
		if (has(facts, i))
			fprintf(text, ", %s%s", abilities[i].name,
				abilities[i].at == offsetof(struct disk_facts, can_fua) && !offer->native_fua
					? " (by flush)"
					: "");
	fclose(text);
	return out;
}
