/* cache/overlay_format.h -- an overlay's file: what stands before its data, and where.
 *
 *	0	header: which base it belongs to; written once, before the file gets its name
 *	4 KiB	lifetime: in which boot of which machine, and on which device, the volatile map counts
 *	8 KiB	durable map: a bit a block of the base, the lowest bit of a byte first; set: the block is here
 *		volatile map: likewise, as long
 *		data, from a multiple of 64 KiB on: each block as far behind the first as in the base
 *
 * Numbers are little-endian. A map is whole pages; bits behind the base's last block mean nothing. Pure functions over
 * bytes that others may have written.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What is here or not, as a whole; also the size of the header, of the lifetime and of a map's page. */
#define OVERLAY_BLOCK 4096u

/* Blocks that one page of a map tells of: 128 MiB. */
#define OVERLAY_PAGE_BLOCKS (8ull * OVERLAY_BLOCK)

/* What tells one base from another. */
struct overlay_base {
	uint64_t size;	    /* bytes */
	uint64_t digest;    /* of samples of its data */
	uint64_t written_s; /* a file's last change, since 1970; 0: a device, which knows none */
	uint32_t written_ns;
};

struct overlay_layout {
	uint64_t blocks;			   /* of the base; the last one may be a part */
	uint64_t map_bytes;			   /* of one map; whole pages */
	uint64_t durable_at, volatile_at, data_at; /* bytes */
	uint64_t file_size;			   /* bytes */
};

#define OVERLAY_LIFETIME_AT OVERLAY_BLOCK

/* overlay_layout_of() - the layout for a base of @size bytes. Returns 0, or -EFBIG: no file can be that long. */
int overlay_layout_of(uint64_t size, struct overlay_layout *out);

void overlay_header_write(const struct overlay_base *base, uint8_t out[OVERLAY_BLOCK]);

/* Returns 0; -EINVAL: no overlay's header; -EPROTONOSUPPORT: one of another version; -EBADMSG: a damaged one. */
int overlay_header_read(const uint8_t bytes[OVERLAY_BLOCK], struct overlay_base *out);

/* In what the volatile map was written. */
struct overlay_lifetime {
	char boot[64];		/* the machine's boot id; empty: not known, and no volatile map counts */
	uint64_t device, inode; /* the file's */
	uint64_t birth_ns;	/* since 1970; 0: its filesystem does not tell */
};

void overlay_lifetime_write(const struct overlay_lifetime *lifetime, uint8_t out[OVERLAY_BLOCK]);

/* Whether the page cache of @now, which is where the file was opened, has all that it had in the lifetime of @bytes: in the
 * same boot of the machine, and not in a copy of the device below the filesystem, a snapshot, say, in which the same file
 * is on another device. (A copy that was made by reading the file has all, and is another file.) */
bool overlay_lifetime_counts(const uint8_t bytes[OVERLAY_BLOCK], const struct overlay_lifetime *now);

/* FNV-1a, 64 bits, which goes on from @sum; the first @sum is OVERLAY_SUM_START. */
#define OVERLAY_SUM_START 0xcbf29ce484222325u
uint64_t overlay_sum(uint64_t sum, const void *bytes, uint64_t length);
