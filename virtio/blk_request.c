/* virtio/blk_request.c -- parsing and planning; foreign bytes are copied first and checked then. */
#include "virtio/blk_request.h"

#include <endian.h>
#include <string.h>

enum virtio_blk_status virtio_status_of(int error)
{
	if (error == 0)
		return VIRTIO_BLK_S_OK;
	return error == -ENOTSUP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

/* Copy @length readable bytes, of which there are enough, to @out; the plan's iov then starts behind them. */
static void take_readable(struct blk_request *request, void *out, size_t length)
{
	struct iovec *iov = request->plan.iov;
	char *to = out;

	while (length > 0) {
		size_t piece = iov->iov_len < length ? iov->iov_len : length;

		memcpy(to, iov->iov_base, piece);
		to += piece;
		length -= piece;
		iov->iov_base = (char *)iov->iov_base + piece;
		iov->iov_len -= piece;
		iov += iov->iov_len == 0;
	}
	/* From here on the copy, never the driver's memory again. */
	__asm__ volatile("" : : : "memory");
	request->plan.iov = iov;
}

/* Spec: "The final status byte": the last writable one, whatever descriptor it is in. */
static void take_status(struct blk_request *request)
{
	struct vring_chain *chain = &request->chain;
	struct iovec *last;

	request->status = chain->last_writable;
	if (chain->fault != VRING_CHAIN_SOUND || !chain->writable)
		return;
	last = &request->iov[chain->readable + chain->writable - 1];
	last->iov_len--;
	chain->writable_bytes--;
	chain->writable -= last->iov_len == 0;
}

static int plan_range(const struct virtio_blk *blk, uint64_t sector, uint64_t length)
{
	uint64_t capacity = blk->facts.size / VIRTIO_BLK_SECTOR_SIZE;

	if (length % VIRTIO_BLK_SECTOR_SIZE)
		return -EINVAL;
	if (sector > capacity || length / VIRTIO_BLK_SECTOR_SIZE > capacity - sector)
		return -ERANGE;
	return 0;
}

/* Spec: volatile and stable writes. Where the disk has no FUA, a flush behind the write does it. */
static void plan_stability(struct blk_request *request, const struct virtio_blk *blk, uint64_t features)
{
	if (!virtio_blk_writes_through(blk, features))
		return;
	if (blk->facts.can_fua)
		request->plan.flags |= BLOCK_FUA;
	else
		request->plan.flush = blk->facts.can_flush;
}

static int plan_data(
	struct blk_request *request, const struct virtio_blk *blk, uint64_t sector, uint64_t length)
{
	int error = plan_range(blk, sector, length);

	if (error)
		return error;
	request->plan.offset = sector * VIRTIO_BLK_SECTOR_SIZE;
	request->plan.left = length;
	request->plan.length_max = blk->facts.data_max & ~(blk->facts.block_size_min - 1);
	return 0;
}

/* What there is to log, whenever it turns out that somebody wants to know. */
static void keep_writable(struct blk_request *request)
{
	const struct vring_chain *chain = &request->chain;

	request->filled_count = chain->writable;
	memcpy(request->filled_iov, request->iov + chain->readable,
		chain->writable * sizeof(request->filled_iov[0]));
}

static int plan_in(
	struct blk_request *request, const struct virtio_blk *blk, uint64_t features, uint64_t sector)
{
	const struct vring_chain *chain = &request->chain;

	(void)features;
	request->plan.op = BLOCK_READ;
	request->plan.iov = request->iov + chain->readable;
	request->plan.iov_end = request->plan.iov + chain->writable;
	request->filled = chain->writable_bytes;
	keep_writable(request);
	return plan_data(request, blk, sector, chain->writable_bytes);
}

static int plan_out(
	struct blk_request *request, const struct virtio_blk *blk, uint64_t features, uint64_t sector)
{
	request->plan.op = BLOCK_WRITE;
	plan_stability(request, blk, features);
	return plan_data(
		request, blk, sector, request->chain.readable_bytes - sizeof(struct virtio_blk_header));
}

static int plan_flush(
	struct blk_request *request, const struct virtio_blk *blk, uint64_t features, uint64_t sector)
{
	(void)features;
	(void)sector;
	request->plan.op = BLOCK_FLUSH;
	request->plan.flush = true;
	return blk->facts.can_flush ? 0 : -ENOTSUP;
}

/* Spec: "up to 20 bytes"; a driver that has less room gets the beginning. */
static int answer_id(
	struct blk_request *request, const struct virtio_blk *blk, uint64_t features, uint64_t sector)
{
	const struct vring_chain *chain = &request->chain;
	size_t done = 0;

	(void)features;
	(void)sector;
	for (unsigned i = 0; i < chain->writable && done < sizeof(blk->serial); i++) {
		const struct iovec *to = &request->iov[chain->readable + i];
		size_t piece = to->iov_len;

		if (piece > sizeof(blk->serial) - done)
			piece = sizeof(blk->serial) - done;
		memcpy(to->iov_base, blk->serial + done, piece);
		done += piece;
	}
	request->filled = done;
	keep_writable(request);
	return 0;
}

static int check_range(const struct virtio_blk *blk, const struct virtio_blk_range *range)
{
	uint64_t length = (uint64_t)range->num_sectors * VIRTIO_BLK_SECTOR_SIZE;

	if (length > VIRTIO_BLK_RANGE_LENGTH_MAX)
		return -ERANGE;
	return plan_range(blk, range->sector, length);
}

/* Spec: VIRTIO_BLK_S_UNSUPP "if any unknown flag is set", whatever else is wrong. */
static int plan_ranges(struct blk_request *request, const struct virtio_blk *blk, uint32_t flags_allowed)
{
	uint64_t length = request->chain.readable_bytes - sizeof(struct virtio_blk_header);
	uint32_t flags = 0;
	int error = 0;

	if (length == 0 || length % sizeof(request->ranges[0]) || length > sizeof(request->ranges))
		return -EPROTO;
	take_readable(request, request->ranges, length);
	request->plan.range_count = (unsigned)(length / sizeof(request->ranges[0]));
	for (unsigned i = 0; i < request->plan.range_count; i++) {
		struct virtio_blk_range *range = &request->ranges[i];

		range->sector = le64toh(range->sector);
		range->num_sectors = le32toh(range->num_sectors);
		range->flags = le32toh(range->flags);
		flags |= range->flags;
		if (!error)
			error = check_range(blk, range);
	}
	return flags & ~flags_allowed ? -ENOTSUP : error;
}

static int plan_discard(
	struct blk_request *request, const struct virtio_blk *blk, uint64_t features, uint64_t sector)
{
	(void)features;
	(void)sector;
	if (!blk->facts.can_trim)
		return -ENOTSUP;
	request->plan.op = BLOCK_TRIM;
	return plan_ranges(request, blk, 0);
}

static int plan_write_zeroes(
	struct blk_request *request, const struct virtio_blk *blk, uint64_t features, uint64_t sector)
{
	(void)sector;
	if (!blk->facts.can_zero)
		return -ENOTSUP;
	request->plan.op = BLOCK_ZERO;
	plan_stability(request, blk, features);
	return plan_ranges(request, blk, VIRTIO_BLK_RANGE_UNMAP);
}

static const struct {
	int (*plan)(struct blk_request *request, const struct virtio_blk *blk, uint64_t features,
		uint64_t sector);
	bool changes;
} types[] = {
	[VIRTIO_BLK_T_IN] = { plan_in, false },
	[VIRTIO_BLK_T_OUT] = { plan_out, true },
	[VIRTIO_BLK_T_FLUSH] = { plan_flush, false },
	[VIRTIO_BLK_T_GET_ID] = { answer_id, false },
	[VIRTIO_BLK_T_DISCARD] = { plan_discard, true },
	[VIRTIO_BLK_T_WRITE_ZEROES] = { plan_write_zeroes, true },
};

int blk_request_parse(struct blk_request *request, const struct virtio_blk *blk, uint64_t features)
{
	const struct vring_chain *chain = &request->chain;
	struct virtio_blk_header header;
	uint32_t type;

	memset(&request->plan, 0, sizeof(request->plan));
	request->filled = 0;
	request->filled_count = 0;
	take_status(request);
	if (!request->status || chain->fault != VRING_CHAIN_SOUND)
		return -EPROTO;
	if (chain->readable_bytes < sizeof(header))
		return -EPROTO;
	/* Spec: "Drivers MUST NOT add a descriptor chain longer than 2^32 bytes in total". */
	if (chain->readable_bytes + chain->writable_bytes >= UINT32_MAX)
		return -EPROTO;
	request->plan.iov = request->iov;
	request->plan.iov_end = request->iov + chain->readable;
	take_readable(request, &header, sizeof(header));
	type = le32toh(header.type);
	if (type >= sizeof(types) / sizeof(types[0]) || !types[type].plan)
		return -ENOTSUP;
	if (types[type].changes && blk->facts.readonly)
		return -EROFS;
	return types[type].plan(request, blk, features, le64toh(header.sector));
}

/* The next data: all of it, but where the disk takes less at once. */
static void next_data(struct blk_request *request)
{
	struct block_req *block = &request->block;
	struct iovec *iov = request->plan.iov;
	uint64_t room = request->plan.length_max;

	/* The disk may have used up the entry that the last block request shares with this one. */
	if (request->plan.rest.iov_len)
		*iov = request->plan.rest;
	request->plan.rest.iov_len = 0;
	block->iov = iov;
	block->offset = request->plan.offset;
	if (request->plan.left <= room) {
		block->length = request->plan.left;
		block->iov_count = (unsigned)(request->plan.iov_end - iov);
		request->plan.left = 0;
		return;
	}
	block->length = room;
	for (; iov->iov_len <= room; iov++)
		room -= iov->iov_len;
	block->iov_count = (unsigned)(iov - block->iov);
	if (room) {
		request->plan.rest.iov_base = (char *)iov->iov_base + room;
		request->plan.rest.iov_len = iov->iov_len - room;
		iov->iov_len = room;
		block->iov_count++;
	}
	request->plan.iov = iov;
	request->plan.offset += block->length;
	request->plan.left -= block->length;
}

static void next_range(struct blk_request *request, const struct virtio_blk_range *range)
{
	request->block.offset = range->sector * VIRTIO_BLK_SECTOR_SIZE;
	request->block.length = (uint64_t)range->num_sectors * VIRTIO_BLK_SECTOR_SIZE;
	if (request->plan.op == BLOCK_ZERO && !(range->flags & VIRTIO_BLK_RANGE_UNMAP))
		request->block.flags |= BLOCK_NO_HOLE;
}

bool blk_request_next(struct blk_request *request)
{
	struct block_req *block = &request->block;

	block->op = request->plan.op;
	block->flags = request->plan.flags;
	block->offset = block->length = 0;
	block->iov = NULL;
	block->iov_count = 0;
	if (request->plan.left) {
		next_data(request);
		return true;
	}
	while (request->plan.range < request->plan.range_count) {
		const struct virtio_blk_range *range = &request->ranges[request->plan.range++];

		if (range->num_sectors == 0)
			continue;
		next_range(request, range);
		return true;
	}
	if (!request->plan.flush)
		return false;
	request->plan.flush = false;
	block->op = BLOCK_FLUSH;
	block->flags = 0;
	return true;
}

uint32_t blk_request_finish(struct blk_request *request, int error)
{
	uint64_t filled = error ? 0 : request->filled;

	if (!request->status)
		return 0;
	*request->status = (uint8_t)virtio_status_of(error);
	if (request->chain.fault != VRING_CHAIN_SOUND)
		return 0;
	/* The status byte counts where nothing before it was left out. */
	filled += filled == request->chain.writable_bytes;
	return filled > UINT32_MAX ? 0 : (uint32_t)filled;
}

static void log_bytes(
	const struct guest_memory *memory, struct dirty_log *log, const void *host, uint64_t length)
{
	uint64_t address;

	if (guest_memory_address_of(memory, host, &address))
		dirty_log_mark(log, address, length);
}

void blk_request_log(
	const struct blk_request *request, const struct guest_memory *memory, struct dirty_log *log)
{
	for (unsigned i = 0; i < request->filled_count; i++)
		log_bytes(memory, log, request->filled_iov[i].iov_base, request->filled_iov[i].iov_len);
	if (request->status)
		log_bytes(memory, log, request->status, 1);
}
