/* virtio/virtio_blk.c -- features and configuration space from a disk's facts. */
#include "virtio/virtio_blk.h"

#include <endian.h>
#include <string.h>

#include "conf/log.h"

/* What a driver calls a physical block: beyond a page, file systems do not follow. */
#define PHYSICAL_BLOCK_MAX 4096u

/* What drivers make their segments of: a smaller one is no limit that they could keep to. */
#define SEGMENT_MIN 4096u

/* SeaBIOS 1.16 counts the sectors of SEG_MAX segments in 16 bits. Where that comes to 0, with 16 or 32 MiB, it asks for no
 * sector at a time, for ever. */
#define SEGMENT_MAX (8u << 20)
static_assert(SEGMENT_MAX / VIRTIO_BLK_SECTOR_SIZE * VIRTIO_BLK_SEG_MAX % 65536 != 0, "SeaBIOS starts");

/* min_io_size has 16 bits; like every block size it is a power of two. */
#define MIN_IO_BLOCKS_MAX (1u << 15)

/* Discards are aligned to the disk's preferred block, but not to one so large that small files never free space. */
#define DISCARD_ALIGNMENT_MAX (64u << 10)

static uint32_t max32(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static uint32_t min32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t logical_block(const struct disk_facts *facts)
{
	return max32(facts->block_size_min, VIRTIO_BLK_SECTOR_SIZE);
}

/* What the disk takes at once; longer segments are cut, like other long requests. */
static uint32_t segment_max(const struct disk_facts *facts)
{
	uint32_t data_max = facts->data_max & ~(logical_block(facts) - 1);

	return max32(min32(data_max, SEGMENT_MAX), SEGMENT_MIN);
}

static uint64_t features_of(const struct virtio_blk *blk, unsigned num_queues)
{
	const struct disk_facts *facts = &blk->facts;
	const struct {
		bool offered;
		uint64_t feature;
	} table[] = {
		{ true, VIRTIO_F_VERSION_1 | VIRTIO_F_RING_PACKED },
		{ true, VIRTIO_F_RING_INDIRECT_DESC | VIRTIO_F_RING_EVENT_IDX },
		{ true, VIRTIO_BLK_F_SIZE_MAX | VIRTIO_BLK_F_SEG_MAX },
		{ true, VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_TOPOLOGY },
		{ num_queues > 1, VIRTIO_BLK_F_MQ },
		{ facts->readonly, VIRTIO_BLK_F_RO },
		{ facts->can_flush, VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_CONFIG_WCE },
		{ facts->can_trim && !facts->readonly, VIRTIO_BLK_F_DISCARD },
		{ facts->can_zero && !facts->readonly, VIRTIO_BLK_F_WRITE_ZEROES },
	};
	uint64_t features = 0;

	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		features |= table[i].offered ? table[i].feature : 0;
	return features;
}

static void fill_space(struct virtio_blk_space *space, const struct disk_facts *facts, unsigned num_queues)
{
	uint32_t block = logical_block(facts);
	uint32_t preferred = max32(facts->block_size_preferred, block);
	uint32_t physical = max32(min32(preferred, PHYSICAL_BLOCK_MAX), block);
	uint32_t range_sectors = VIRTIO_BLK_RANGE_LENGTH_MAX / VIRTIO_BLK_SECTOR_SIZE;
	uint32_t discard_alignment = max32(min32(preferred, DISCARD_ALIGNMENT_MAX), block);

	*space = (struct virtio_blk_space){
		.capacity = htole64(facts->size / VIRTIO_BLK_SECTOR_SIZE),
		.size_max = htole32(segment_max(facts)),
		.seg_max = htole32(VIRTIO_BLK_SEG_MAX),
		.blk_size = htole32(block),
		.physical_block_exp = (uint8_t)__builtin_ctz(physical / block),
		.min_io_size = htole16((uint16_t)min32(preferred / block, MIN_IO_BLOCKS_MAX)),
		.num_queues = htole16((uint16_t)num_queues),
		.max_discard_sectors = htole32(range_sectors),
		.max_discard_seg = htole32(VIRTIO_BLK_RANGES_MAX),
		.discard_sector_alignment = htole32(discard_alignment / VIRTIO_BLK_SECTOR_SIZE),
		.max_write_zeroes_sectors = htole32(range_sectors),
		.max_write_zeroes_seg = htole32(VIRTIO_BLK_RANGES_MAX),
		.write_zeroes_may_unmap = 1,
	};
}

static int check_config(const struct virtio_blk_config *config)
{
	if (config->num_queues == 0 || config->num_queues > VIRTIO_BLK_QUEUES_MAX) {
		log_error("a device has 1 to %u queues, not %u", VIRTIO_BLK_QUEUES_MAX, config->num_queues);
		return -EINVAL;
	}
	if (config->serial && strlen(config->serial) > VIRTIO_BLK_ID_SIZE) {
		log_error("a serial has up to %u characters: \"%s\" is longer", VIRTIO_BLK_ID_SIZE,
			config->serial);
		return -EINVAL;
	}
	if (config->facts.size < logical_block(&config->facts)) {
		log_error("a disk of %llu bytes is less than one block of %u",
			(unsigned long long)config->facts.size, logical_block(&config->facts));
		return -EINVAL;
	}
	if (config->facts.data_max < logical_block(&config->facts)) {
		log_error("a disk that takes %u bytes at a time cannot take a block of %u",
			config->facts.data_max, logical_block(&config->facts));
		return -EINVAL;
	}
	return 0;
}

/* A guest counts in blocks: it does not see what is left after the last whole one. */
static void round_size(struct disk_facts *facts)
{
	uint64_t rest = facts->size & (logical_block(facts) - 1);

	if (!rest)
		return;
	log_warning(
		"the disk's last %llu of %llu bytes are not a whole block of %u: the guest will not see them",
		(unsigned long long)rest, (unsigned long long)facts->size, logical_block(facts));
	facts->size -= rest;
}

int virtio_blk_init(struct virtio_blk *blk, const struct virtio_blk_config *config)
{
	int error = check_config(config);

	if (error)
		return error;
	memset(blk, 0, sizeof(*blk));
	blk->facts = config->facts;
	blk->facts.readonly |= config->readonly;
	round_size(&blk->facts);
	if (config->serial)
		memcpy(blk->serial, config->serial, strlen(config->serial));
	blk->features = features_of(blk, config->num_queues);
	fill_space(&blk->space, &blk->facts, config->num_queues);
	virtio_blk_reset(blk);
	return 0;
}

bool virtio_blk_resize(struct virtio_blk *blk, uint64_t bytes)
{
	uint64_t capacity = bytes & ~(uint64_t)(logical_block(&blk->facts) - 1);

	if (capacity == blk->facts.size)
		return false;
	blk->facts.size = capacity;
	blk->space.capacity = htole64(capacity / VIRTIO_BLK_SECTOR_SIZE);
	return true;
}

void virtio_blk_reset(struct virtio_blk *blk)
{
	atomic_store(&blk->writeback, blk->features & VIRTIO_BLK_F_FLUSH);
	atomic_store(&blk->writeback_told, false);
	blk->at_work = false;
}

void virtio_blk_begin(struct virtio_blk *blk, bool here)
{
	blk->at_work = true;
	if (!here)
		atomic_store(&blk->writeback_told, false);
}

static const uint32_t writeback_at = offsetof(struct virtio_blk_space, writeback);

static bool covers_writeback(uint32_t offset, size_t size)
{
	return offset <= writeback_at && writeback_at - offset < size;
}

/* Spec: "Device Initialization": "the device MUST initialize writeback to 0"; but not for a legacy driver. */
static bool cannot_flush(uint64_t features)
{
	return (features & VIRTIO_F_VERSION_1) && (features & VIRTIO_BLK_F_CONFIG_WCE) &&
	       !(features & VIRTIO_BLK_F_FLUSH);
}

void virtio_blk_read_space(struct virtio_blk *blk, uint64_t features, uint32_t offset, void *out, size_t size)
{
	struct virtio_blk_space space = blk->space;
	size_t have = 0;

	space.writeback = atomic_load(&blk->writeback) && !cannot_flush(features);
	/* Later, the VMM may read it for reasons of its own. */
	if (covers_writeback(offset, size) && !blk->at_work)
		atomic_store(&blk->writeback_told, true);
	if (offset < sizeof(space)) {
		have = sizeof(space) - offset < size ? sizeof(space) - offset : size;
		memcpy(out, (const char *)&space + offset, have);
	}
	memset((char *)out + have, 0, size - have);
}

int virtio_blk_write_space(
	struct virtio_blk *blk, uint32_t offset, const void *bytes, size_t size, bool restore)
{
	bool has_writeback = blk->features & VIRTIO_BLK_F_CONFIG_WCE;
	uint8_t value;

	if (!restore && (!has_writeback || offset != writeback_at || size != 1))
		return -EPERM;
	if (!has_writeback || !covers_writeback(offset, size))
		return 0;
	value = ((const uint8_t *)bytes)[writeback_at - offset];
	if (value > 1)
		return -EINVAL;
	atomic_store(&blk->writeback, value);
	atomic_store(&blk->writeback_told, true);
	return 0;
}

bool virtio_blk_writes_through(const struct virtio_blk *blk, uint64_t features)
{
	bool writeback = atomic_load_explicit(&blk->writeback, memory_order_acquire);
	bool told = atomic_load_explicit(&blk->writeback_told, memory_order_acquire);

	if (!(features & VIRTIO_BLK_F_FLUSH))
		return true;
	return !writeback || (!told && (features & VIRTIO_BLK_F_CONFIG_WCE));
}
