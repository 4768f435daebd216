/* client/replay.c -- a ring of bytes: heads, with their data behind them, in the order of completion.
 *
 * Y1  An entry lies in one piece; where the ring's end is too near for it, a head without an entry fills the rest.
 * Y2  Between begin and end there is one such filling at most, and room for it is always kept free: what was reserved fits.
 * Y3  begin and end only grow, so a mark that is older than begin drops nothing.
 */
#include "client/replay.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#include "client/scatter.h"

/* What is in the ring; its size is the grain of everything there. */
struct head {
	uint64_t bytes; /* with this head */
	uint64_t offset, length;
	uint32_t op; /* enum block_op; BLOCK_OPS: Y1's filling */
	uint32_t flags;
	uint8_t spare[32];
};
static_assert(sizeof(struct head) == 64, "a power of two");

#define ENTRY_BYTES_MAX (sizeof(struct head) + REPLAY_DATA_MAX)

static size_t bytes_of(size_t length)
{
	return (sizeof(struct head) + length + sizeof(struct head) - 1) & ~(sizeof(struct head) - 1);
}

static struct head *head_at(const struct replay *replay, uint64_t at)
{
	return (struct head *)(replay->ring + at % replay->size);
}

int replay_init(struct replay *replay, size_t size)
{
	void *ring;

	*replay = (struct replay){ 0 };
	if (!size)
		return 0;
	assert(size >= REPLAY_BYTES_MIN);
	size &= ~(sizeof(struct head) - 1);
	ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ring == MAP_FAILED)
		return -ENOMEM;
	replay->ring = ring;
	replay->size = size;
	return 0;
}

void replay_fini(struct replay *replay)
{
	if (replay->ring)
		munmap(replay->ring, replay->size);
}

/* Y2 */
bool replay_reserve(struct replay *replay, size_t length)
{
	uint64_t used = replay->end - replay->begin + replay->reserved + ENTRY_BYTES_MAX;

	assert(length <= REPLAY_DATA_MAX);
	if (used + bytes_of(length) > replay->size)
		return false;
	replay->reserved += bytes_of(length);
	return true;
}

void replay_release(struct replay *replay, size_t length)
{
	assert(replay->reserved >= bytes_of(length));
	replay->reserved -= bytes_of(length);
}

void replay_release_all(struct replay *replay)
{
	replay->reserved = 0;
}

/* Y1 */
static struct head *append(struct replay *replay, size_t bytes)
{
	size_t left = replay->size - replay->end % replay->size;
	struct head *head;

	if (left < bytes) {
		*head_at(replay, replay->end) = (struct head){ .bytes = left, .op = BLOCK_OPS };
		replay->end += left;
	}
	head = head_at(replay, replay->end);
	head->bytes = bytes;
	replay->end += bytes;
	assert(replay->end - replay->begin <= replay->size);
	return head;
}

void replay_keep(struct replay *replay, const struct replay_entry *entry, const struct iovec *iov,
	unsigned count, size_t at)
{
	size_t length = entry->op == BLOCK_WRITE ? entry->length : 0;
	struct head *head;

	replay_release(replay, length);
	head = append(replay, bytes_of(length));
	head->op = entry->op;
	head->flags = entry->flags;
	head->offset = entry->offset;
	head->length = entry->length;
	if (length)
		scatter_gather(iov, count, at, head + 1, length);
}

/* An empty ring begins anew where its memory is warm. */
void replay_drop(struct replay *replay, uint64_t mark)
{
	if (mark <= replay->begin)
		return;
	assert(mark <= replay->end);
	replay->begin = mark;
	if (replay_is_empty(replay))
		replay->begin = replay->end = (replay->end + replay->size - 1) / replay->size * replay->size;
}

bool replay_next(const struct replay *replay, uint64_t *at, struct replay_entry *entry)
{
	const struct head *head;

	if (*at < replay->end && head_at(replay, *at)->op == BLOCK_OPS)
		*at += head_at(replay, *at)->bytes;
	if (*at >= replay->end)
		return false;
	head = head_at(replay, *at);
	*at += head->bytes;
	*entry = (struct replay_entry){
		.op = (enum block_op)head->op,
		.flags = head->flags,
		.offset = head->offset,
		.length = head->length,
		.data = head->op == BLOCK_WRITE ? (void *)(head + 1) : NULL,
	};
	return true;
}
