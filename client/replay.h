/* client/replay.h -- writes the guest believes in that the server may still lose: no sockets, no time.
 *
 *	replay_reserve(replay, length)		before a write is sent: there will be room for it
 *	replay_keep() or replay_release()	when it is answered
 *	mark = replay_mark(replay)		when a flush is sent,
 *	replay_drop(replay, mark)		and when it succeeds
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "cache/block.h"

/* The longest data of one entry; a longer write is more than one. */
#define REPLAY_DATA_MAX (1u << 20)

/* Less than this has no room for a few of the longest; more is no cache that a server would have. */
#define REPLAY_BYTES_MIN (8u << 20)
#define REPLAY_BYTES_MAX (4ull << 30)

struct replay {
	uint8_t *ring;	     /* owned: a mapping; NULL: nothing is kept */
	size_t size;	     /* bytes */
	uint64_t begin, end; /* bytes since the beginning: between them lies what is kept, in order */
	size_t reserved;
};

struct replay_entry {
	enum block_op op;
	unsigned flags; /* of enum block_flag, but for BLOCK_FUA */
	uint64_t offset, length;
	void *data; /* borrowed: of a write, until the entry is dropped */
};

/* replay_init() - @size: REPLAY_BYTES_MIN .. REPLAY_BYTES_MAX; 0: nothing is to be kept, and nothing else is to be called but
 * replay_fini(). Returns 0 or -ENOMEM. */
int replay_init(struct replay *replay, size_t size);
void replay_fini(struct replay *replay);

/* replay_reserve() - room for an entry with @length bytes of data, up to REPLAY_DATA_MAX; 0 for those without.
 * Returns false: not before something is dropped. */
bool replay_reserve(struct replay *replay, size_t length);

/* replay_release() - it is not needed. replay_release_all() - none of them is. */
void replay_release(struct replay *replay, size_t length);
void replay_release_all(struct replay *replay);

/* replay_keep() - what was reserved is complete: @entry behind all others, with a copy of its data, of a write: the
 * entry->length bytes from byte @at of @iov on. */
void replay_keep(struct replay *replay, const struct replay_entry *entry, const struct iovec *iov,
	unsigned count, size_t at);

/* Where the next entry will be. */
static inline uint64_t replay_mark(const struct replay *replay)
{
	return replay->end;
}

/* replay_drop() - what was kept before @mark is stable. */
void replay_drop(struct replay *replay, uint64_t mark);

static inline bool replay_is_empty(const struct replay *replay)
{
	return replay->begin == replay->end;
}

/* Whether more than half of it is in use. */
static inline bool replay_is_filling(const struct replay *replay)
{
	return replay->end - replay->begin > replay->size / 2;
}

/* replay_next() - the entry at @at, which goes on to the one behind it; begin with replay->begin.
 * Returns false where there is none. */
bool replay_next(const struct replay *replay, uint64_t *at, struct replay_entry *entry);
